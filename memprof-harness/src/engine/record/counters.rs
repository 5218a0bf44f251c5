//! The exact counters of a lane, and its running total. Called at every event at every rate, so each is a few plain
//! loads and stores in two cache lines.

use crate::engine::life::state;
use crate::engine::life::thread;
use crate::engine::store::ledger_map;
use crate::ledger::layout::Lane;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Adds to a field that no other thread writes.
#[inline(always)]
pub(crate) fn bump(field: &AtomicU64, by: u64) {
    field.store(field.load(Relaxed).wrapping_add(by), Relaxed);
}

impl Lane {
    /// Counts an allocation by which the live total changes by `delta` bytes (a realloc's block was partly there
    /// before). Gives the lane's clock after it.
    ///
    /// The total changes before any site does, so that a site that changes after a peak still has what it had then.
    #[inline(always)]
    pub(crate) fn count_alloc(&self, size: u64, delta: i64) -> u64 {
        let clock = self.add_alloc(size, delta);
        if self.is_high() {
            self.new_peak();
        }
        clock
    }

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

    /// Counts a realloc: an allocation of `size` bytes and, unless the old block was not the test's, a free of
    /// `freed` bytes. Gives the lane's clock after it.
    #[inline(always)]
    pub(crate) fn count_realloc(&self, size: u64, freed: Option<u64>) -> u64 {
        bump(&self.reallocs, 1);
        bump(&self.frees, u64::from(freed.is_some()));
        let clock = self.count_alloc(size, size as i64 - freed.unwrap_or(0) as i64);
        // A single change of the total: one that shrinks may leave a peak.
        if self.is_low() {
            self.left_peak();
        }
        clock
    }

    /// Counts a block given back.
    #[inline(always)]
    pub(crate) fn count_free(&self, size: u64) {
        self.add_free(size);
        if self.is_low() {
            self.left_peak();
        }
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

    /// `live` went above `hi`: a single lane has a new peak, or there are several lanes.
    #[inline(always)]
    pub(crate) fn new_peak(&self) {
        if state::is_multi() {
            thread::flush();
        } else {
            let live = self.live.load(Relaxed);
            self.hi.store(live, Relaxed);
            self.lo.store(live, Relaxed);
        }
    }

    /// `live` went below `lo`: a peak of a single lane was left, or a lane among several has something to tell.
    #[inline(always)]
    pub(crate) fn left_peak(&self) {
        if state::is_multi() {
            thread::flush();
        } else {
            self.lo.store(i64::MIN, Relaxed);
            ledger_map::header().epoch.store(state::next_epoch_alone(), Relaxed);
        }
    }
}
