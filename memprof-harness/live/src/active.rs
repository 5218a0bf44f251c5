//! Whether anybody counts allocations now: one word, which every call of the allocator reads.

use crate::recorded;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static ACTIVE: AtomicU32 = AtomicU32::new(0);

/// Whether an event has to be passed on.
#[inline(always)]
pub(crate) fn is_active() -> bool {
    ACTIVE.load(Relaxed) != 0
}

/// While it lives, events are passed on.
#[derive(Debug)]
pub(crate) struct Listening(());

impl Listening {
    pub(crate) fn new() -> Listening {
        if ACTIVE.fetch_add(1, Relaxed) == 0 {
            recorded::watch();
        }
        Listening(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if ACTIVE.fetch_sub(1, Relaxed) == 1 {
            recorded::leave();
        }
    }
}
