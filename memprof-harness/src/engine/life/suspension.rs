//! Leaving events of the calling thread out: what the harness itself does on a recorded thread is not the test's.

use crate::engine::life::thread::THREAD;
use std::marker::PhantomData;

/// While it lives, what its thread allocates is not recorded. May be nested.
#[must_use = "recording goes on as soon as the guard is dropped"]
pub struct Suspended(PhantomData<*const ()>);

/// See [`Suspended`].
pub fn suspend() -> Suspended {
    THREAD.with(|thread| {
        thread.suspended.set(thread.suspended.get() + 1);
        thread.expect_nothing();
    });
    Suspended(PhantomData)
}

impl Drop for Suspended {
    fn drop(&mut self) {
        resume();
    }
}

/// Ends a suspension whose guard was forgotten.
pub(crate) fn resume() {
    THREAD.with(|thread| thread.suspended.set(thread.suspended.get().saturating_sub(1)));
}

/// Whether what the calling thread allocates is not recorded.
pub(crate) fn is_suspended() -> bool {
    THREAD.with(|thread| thread.suspended.get() > 0)
}
