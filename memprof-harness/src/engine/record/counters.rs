//! The exact counters of a lane. Called at every event at every rate, so each is a few plain
//! loads and stores in two cache lines.

use crate::ledger::layout::Lane;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Adds to a field that no other thread writes.
#[inline(always)]
pub(crate) fn bump(field: &AtomicU64, by: u64) {
    field.store(field.load(Relaxed).wrapping_add(by), Relaxed);
}

impl Lane {
    /// As [`Lane::count_alloc`], and the caller sees to a total that [`Lane::is_high`].
    #[inline(always)]
    pub(crate) fn add_alloc(&self, size: u64, delta: i64) -> u64 {
        bump(&self.classes[(size | 1).ilog2() as usize], 1);
        let clock = self.alloc_space.load(Relaxed).wrapping_add(size);
        self.alloc_space.store(clock, Relaxed);
        self.live.store(self.live.load(Relaxed).wrapping_add(delta), Relaxed);
        clock
    }

    /// Whether the total calls for [`Lane::new_peak`].
    #[inline(always)]
    pub(crate) fn is_high(&self) -> bool {
        self.live.load(Relaxed) > self.hi.load(Relaxed)
    }

    /// As [`Lane::count_free`], and the caller sees to a total that [`Lane::is_low`].
    #[inline(always)]
    pub(crate) fn add_free(&self, size: u64) {
        bump(&self.frees, 1);
        self.live.store(self.live.load(Relaxed).wrapping_sub(size as i64), Relaxed);
    }

    /// Whether the total calls for [`Lane::left_peak`].
    #[inline(always)]
    pub(crate) fn is_low(&self) -> bool {
        self.live.load(Relaxed) < self.lo.load(Relaxed)
    }

    pub(crate) fn count_failure(&self) {
        bump(&self.failed, 1);
    }

    /// Bytes this lane has allocated so far: the time by which lifetimes are told.
    #[inline(always)]
    pub(crate) fn clock(&self) -> u64 {
        self.alloc_space.load(Relaxed)
    }

    /// Whether a sample is due at `clock`.
    #[inline(always)]
    pub(crate) fn sample_is_due(&self, clock: u64) -> bool {
        clock >= self.next_sample.load(Relaxed)
    }
}
