//! Whether anybody counts allocations now: one word, which every call of the allocator reads.

use crate::recorded;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Everybody who listens, and, in [`ALL`]s, those among them who have to see each event of each thread.
static ACTIVE: AtomicU32 = AtomicU32::new(0);

/// One who has to see every thread's events; below it are those who count their own threads' alone.
const ALL: u32 = 1 << 20;

/// Who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    Nobody,
    /// The regions of some threads, for which their parts count; no block is known, and nothing records.
    Regions,
    /// Somebody for whom each event has to be looked at.
    All,
}

#[inline(always)]
pub(crate) fn activity() -> Activity {
    match ACTIVE.load(Relaxed) {
        0 => Activity::Nobody,
        1..ALL => Activity::Regions,
        _ => Activity::All,
    }
}

/// While it lives, events are passed on.
#[derive(Debug)]
pub(crate) struct Listening {
    counted: u32,
}

impl Listening {
    /// To what the threads do that work for a region.
    pub(crate) fn to_region() -> Listening {
        // The recording's own calls come beside the allocator's, if there is one: then it is not enough to look at either.
        Listening::new(if recorded::watch() { ALL } else { 1 })
    }

    /// To what all threads do.
    pub(crate) fn to_all() -> Listening {
        recorded::watch();
        Listening::new(ALL)
    }

    fn new(counted: u32) -> Listening {
        ACTIVE.fetch_add(counted, Relaxed);
        Listening { counted }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        ACTIVE.fetch_sub(self.counted, Relaxed);
        recorded::leave();
    }
}
