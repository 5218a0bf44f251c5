//! The table of blocks that must be recognised when they are freed, and that have no tag in front: sampled blocks, and blocks from before
//! the window (or from a suspended thread), whose free does not count as the test's.
//!
//! A filter of one counter for each of 4096 kinds of address answers "no" for nearly every free with one load
//! from the first-level cache; only then is the table asked, under its lock.

use crate::engine::alloc::block_tag::Note;
use crate::engine::store::address_table::{Entered, Table};
use crate::engine::store::lock::Lock;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

const FILTER_LEN: usize = 4096;

static FILTER: [AtomicU8; FILTER_LEN] = [const { AtomicU8::new(0) }; FILTER_LEN];
/// Of each block the words of its [`Tracked`].
static TABLE: Table<2, 0> = Table::new();
static LOCK: Lock = Lock::new();

/// What a free of a block in the table means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracked {
    Sampled(Note),
    /// A small block that is no slot, of the process with this place in a line of forks; its stack was not noted.
    Unsampled {
        generation: u32,
    },
    /// The block is from before the window, or from a suspended thread.
    NotTheTests,
}

impl Tracked {
    fn words(self) -> [u64; 2] {
        match self {
            Tracked::Sampled(note) => note.words(),
            Tracked::Unsampled { generation } => [1, u64::from(generation)],
            Tracked::NotTheTests => [0; 2],
        }
    }

    fn of_words(words: [u64; 2]) -> Tracked {
        match (Note::of_words(words), words) {
            (Some(note), _) => Tracked::Sampled(note),
            (None, [1, generation]) => Tracked::Unsampled { generation: generation as u32 },
            (None, _) => Tracked::NotTheTests,
        }
    }
}

#[inline(always)]
fn counter(address: usize) -> &'static AtomicU8 {
    // The low 4 bits of a block's address are always 0, and those above them as good as random.
    &FILTER[(address >> 4) & (FILTER_LEN - 1)]
}

/// Whether `address` may be in the table. "No" is certain.
#[inline(always)]
pub(crate) fn may_hold(address: usize) -> bool {
    counter(address).load(Relaxed) != 0
}

/// Enters a block. `false` where there is no room.
#[cold]
pub(crate) fn enter(address: usize, what: Tracked) -> bool {
    LOCK.hold(|| {
        match TABLE.enter(address, what.words()) {
            Entered::New => {}
            Entered::InPlaceOf(_) => return true,
            Entered::NoRoom => return false,
        }
        let counter = counter(address);
        // At 255 the counter stays: it can no longer tell when the last one goes.
        counter.store(counter.load(Relaxed).saturating_add(1), Relaxed);
        true
    })
}

/// Takes a block out, if it is there.
#[cold]
pub(crate) fn take(address: usize) -> Option<Tracked> {
    LOCK.hold(|| {
        let what = Tracked::of_words(TABLE.take(address)?);
        let counter = counter(address);
        if counter.load(Relaxed) < u8::MAX {
            counter.store(counter.load(Relaxed).saturating_sub(1), Relaxed);
        }
        Some(what)
    })
}

/// Every block that is there.
#[cfg_attr(memprof_native, allow(dead_code))] // only the leak search under the Rust hook asks
pub(crate) fn for_each(mut visit: impl FnMut(usize, Tracked)) {
    LOCK.hold(|| TABLE.for_each(|address, words| visit(address, Tracked::of_words(words))));
}

/// Opens the lock in a forked child.
pub(crate) fn force_open() {
    LOCK.force_open();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::alloc::block_tag::Tag;
    use std::collections::HashMap;

    #[test]
    fn the_table_agrees_with_a_map_through_many_entries_and_removals() {
        let mut truth = HashMap::new();
        let mut random = 1u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize
        };
        // Under Miri as many as take some seconds.
        for round in 0..if cfg!(miri) { 400 } else { 200_000 } {
            let address = (next() % if cfg!(miri) { 100 } else { 3000 } + 1) * 16;
            if next() % 2 == 0 && !truth.contains_key(&address) {
                let what = match round % 3 {
                    0 if round % 2 == 0 => Tracked::Unsampled { generation: round },
                    0 => Tracked::NotTheTests,
                    _ => Tracked::Sampled(Note { tag: Tag::of_lane(round % 65_535), birth: u64::from(round) * 2 }),
                };
                assert!(enter(address, what));
                truth.insert(address, what);
            } else {
                assert!(!truth.contains_key(&address) || may_hold(address));
                assert_eq!(take(address), truth.remove(&address));
            }
        }
        for (address, what) in truth {
            assert_eq!(take(address), Some(what));
        }
    }
}
