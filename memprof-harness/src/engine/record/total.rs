//! A lane's running total, and the peaks that it comes to and leaves.

use crate::engine::life::state;
use crate::engine::life::thread;
use crate::engine::record::counters::bump;
use crate::engine::store::ledger_map;
use crate::ledger::layout::Lane;
use std::sync::atomic::Ordering::Relaxed;

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
