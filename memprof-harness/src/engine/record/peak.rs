//! How high the live total gets while something watches: the peaks of regions, beside that of the whole window.
//!
//! Nothing is added to what every event does: a lane's `hi`, above which its total calls for attention, is lowered to the
//! highest total that a watch has seen.

use crate::engine::life::state::{self, WATCHED};
use crate::engine::life::thread;
use crate::engine::record::lane::{self, BATCH};
use crate::engine::store::ledger_map;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicI64, AtomicU64};

/// Watches that can be open at once: regions within regions, and on several threads.
const WATCHES: usize = u64::BITS as usize;

/// One bit for each watch that is open.
static OPEN: AtomicU64 = AtomicU64::new(0);
/// The highest total that each has seen.
static HIGHEST: [AtomicI64; WATCHES] = [const { AtomicI64::new(0) }; WATCHES];

/// One that is open.
pub(crate) struct Watch {
    pub(crate) slot: usize,
    /// The live total when it began.
    pub(crate) base: i64,
}

/// Begins to watch; `None` where too many do, or the ledger has no room for the calling thread.
pub(crate) fn begin() -> Option<Watch> {
    let local = thread::own_lane()?;
    lane::prepare_to_watch();
    let base = lane::total();
    let slot = claim()?;
    HIGHEST[slot].store(base, Relaxed);
    // The very next byte above is to be heard of.
    local.attend();
    Some(Watch { slot, base })
}

fn claim() -> Option<usize> {
    let mut open = OPEN.load(Relaxed);
    loop {
        let slot = (!open).trailing_zeros() as usize;
        if slot >= WATCHES {
            return None;
        }
        match OPEN.compare_exchange_weak(open, open | 1 << slot, AcqRel, Relaxed) {
            Ok(_) => return Some(slot),
            Err(now) => open = now,
        }
    }
}

impl Watch {
    /// By how much the live total rose above where it was, and how far that may be from the truth.
    pub(crate) fn end(self) -> (i64, u64) {
        // What lanes kept to themselves counts too.
        rose_to(lane::total());
        let Some(highest) = HIGHEST.get(self.slot).map(|highest| highest.load(Acquire)) else { return (0, 0) };
        OPEN.fetch_and(!(1 << self.slot), AcqRel);
        let lanes = if state::is_multi() { u64::from(ledger_map::header().lanes.load(Relaxed)) } else { 0 };
        (highest.saturating_sub(self.base), lanes * BATCH.unsigned_abs())
    }
}

/// Tells every watch of a total. Gives the lowest of what they have seen: no watch needs to hear of less.
pub(crate) fn rose_to(total: i64) -> i64 {
    let mut open = OPEN.load(Acquire);
    let mut lowest = i64::MAX;
    while open != 0 {
        let highest = &HIGHEST[open.trailing_zeros() as usize];
        lowest = lowest.min(highest.fetch_max(total, AcqRel).max(total));
        open &= open - 1;
    }
    lowest
}

/// Whether anything ever watched in this process.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    state::flags() & WATCHED != 0
}

/// In a forked child: whoever watches is in the parent.
pub(crate) fn forget() {
    OPEN.store(0, Relaxed);
}
