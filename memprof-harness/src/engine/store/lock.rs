//! A lock for what allocations wait for: it is held for microseconds and asks for no memory.

#![allow(unsafe_code)] // sched_yield

use crate::engine::store::calls;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A lock that needs neither memory nor a wake-up call: it is held for microseconds, when a chunk or a lane is taken.
pub(crate) struct Lock(AtomicBool);

impl Lock {
    pub(crate) const fn new() -> Lock {
        Lock(AtomicBool::new(false))
    }

    pub(crate) fn hold<R>(&self, work: impl FnOnce() -> R) -> R {
        while self.0.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
            if calls::allows_calls() {
                // SAFETY: `sched_yield` has no preconditions.
                unsafe { libc::sched_yield() };
            } else {
                std::hint::spin_loop();
            }
        }
        let result = work();
        self.0.store(false, Release);
        result
    }

    /// In a forked child no other thread is left to open the lock.
    pub(crate) fn force_open(&self) {
        self.0.store(false, Release);
    }
}
