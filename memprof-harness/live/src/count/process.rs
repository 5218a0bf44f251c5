//! Regions of the whole process: every thread's events are theirs.

use crate::active::Listening;
use crate::count::events;
use crate::count::owned;
use crate::count::spin::Spin;
use crate::counts::Counts;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

struct Open {
    /// Blocks that were allocated from here on are its own.
    since: u64,
    counts: Counts,
}

static OPEN: Spin<Vec<Open>> = Spin::new(Vec::new());
/// How many are open: with none an event costs one load more.
static COUNT: AtomicU64 = AtomicU64::new(0);
/// Counts blocks and regions, so that each block is before or after a region's beginning.
static CLOCK: AtomicU64 = AtomicU64::new(1);

/// Whether one is open.
#[inline]
pub(crate) fn is_any() -> bool {
    COUNT.load(SeqCst) > 0
}

fn each(change: impl Fn(&mut Open)) {
    if is_any() {
        OPEN.lock().iter_mut().for_each(change);
    }
}

pub(crate) fn allocated(size: usize, is_realloc: bool) {
    each(|open| {
        open.counts.alloc_objects += 1;
        open.counts.alloc_space += size as u64;
        open.counts.reallocs += u64::from(is_realloc);
    });
}

pub(crate) fn freed(size: usize) {
    each(|open| {
        open.counts.frees += 1;
        open.counts.freed_space += size as u64;
    });
}

/// A block is live from now on; the time, where a region of the process is open.
pub(crate) fn born(size: usize) -> Option<u64> {
    if !is_any() {
        return None;
    }
    let mut regions = OPEN.lock();
    let now = CLOCK.fetch_add(1, Relaxed);
    for open in regions.iter_mut() {
        open.counts.inuse_objects += 1;
        grow(&mut open.counts, size as u64);
    }
    Some(now)
}

fn grow(counts: &mut Counts, more: u64) {
    counts.inuse_space += more;
    counts.peak_space = counts.peak_space.max(counts.inuse_space);
}

/// A block that was allocated then is no longer.
pub(crate) fn gone(born: u64, size: u64) {
    each(|open| {
        if born >= open.since {
            open.counts.inuse_objects -= 1;
            open.counts.inuse_space -= size;
        }
    });
}

pub(crate) fn resized(born: u64, old: u64, new: u64) {
    each(|open| {
        if born >= open.since {
            open.counts.inuse_space -= old;
            grow(&mut open.counts, new);
        }
    });
}

/// When the region began that has been open for the longest.
pub(crate) fn oldest() -> Option<u64> {
    OPEN.lock().iter().map(|open| open.since).min()
}

/// A region of the whole process, that is open.
pub(crate) struct Region {
    since: u64,
    _listening: Listening,
}

impl Region {
    pub(crate) fn new() -> Region {
        let _inside = events::inside();
        let mut regions = OPEN.lock();
        let since = CLOCK.fetch_add(1, Relaxed);
        regions.push(Open { since, counts: Counts::default() });
        COUNT.fetch_add(1, SeqCst);
        Region { since, _listening: Listening::to_all() }
    }

    pub(crate) fn close(self) -> Counts {
        self.take()
    }

    fn take(&self) -> Counts {
        let _inside = events::inside();
        let mut regions = OPEN.lock();
        let at = regions.iter().position(|open| open.since == self.since);
        let Some(at) = at else { return Counts::default() };
        COUNT.fetch_sub(1, SeqCst);
        let mut counts = regions.swap_remove(at).counts;
        drop(regions);
        owned::forget_closed();
        owned::rest();
        // Whose they were is not kept apart.
        counts.several_threads = true;
        counts
    }
}

/// Also where what is measured panics.
impl Drop for Region {
    fn drop(&mut self) {
        self.take();
    }
}
