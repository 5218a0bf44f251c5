//! Every live block of the window, by its address, where nothing is noted in front of blocks: below the C library. A block is here
//! if and only if the test allocated it, so a free needs nobody's word for its size or its origin.
//!
//! The table is in shards, each under a lock that is held for a few loads and stores. Nothing outside this file sees an
//! entry.

use crate::engine::alloc::block_tag::Note;
use crate::engine::store::address_table::{self, spread, Table};
use crate::engine::store::lock::Lock;

/// 2^6 shards: threads that allocate at the same time seldom meet.
const SHARD_BITS: u32 = 6;

static SHARDS: [Shard; 1 << SHARD_BITS] = [const { Shard { lock: Lock::new(), table: Table::new() } }; 1 << SHARD_BITS];

/// A block of the test's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    /// As asked for, in bytes.
    pub(crate) size: u64,
    /// `None` = its stack was not noted.
    pub(crate) note: Option<Note>,
}

/// How it went to enter a block. One there is no room for is one whose free will not be known.
pub(crate) type Entered = address_table::Entered<Block>;

/// On a cache line of its own.
#[repr(align(64))]
struct Shard {
    lock: Lock,
    /// Of each block its size, tag and birth.
    table: Table<3, SHARD_BITS>,
}

impl Block {
    #[inline(always)]
    fn words(self) -> [u64; 3] {
        let [tag, birth] = self.note.map_or([0; 2], Note::words);
        [self.size, tag, birth]
    }

    #[inline(always)]
    fn of([size, tag, birth]: [u64; 3]) -> Block {
        Block { size, note: Note::of_words([tag, birth]) }
    }
}

fn shard(address: usize) -> &'static Shard {
    &SHARDS[(spread(address) >> (u64::BITS - SHARD_BITS)) as usize]
}

/// Enters a block that was just made.
pub(crate) fn enter(address: usize, block: Block) -> Entered {
    let shard = shard(address);
    match shard.lock.hold(|| shard.table.enter(address, block.words())) {
        address_table::Entered::New => Entered::New,
        address_table::Entered::InPlaceOf(stale) => Entered::InPlaceOf(Block::of(stale)),
        address_table::Entered::NoRoom => Entered::NoRoom,
    }
}

/// Takes a block out that is about to be freed: afterwards its address may be another thread's.
pub(crate) fn take(address: usize) -> Option<Block> {
    let shard = shard(address);
    shard.lock.hold(|| shard.table.take(address)).map(Block::of)
}

/// Every block that is there.
pub(crate) fn for_each(mut visit: impl FnMut(usize, Block)) {
    for shard in &SHARDS {
        shard.lock.hold(|| shard.table.for_each(|address, words| visit(address, Block::of(words))));
    }
}

/// In a forked child: none of the blocks it inherits is its own, and new tables are made.
pub(crate) fn forget_all() {
    for shard in &SHARDS {
        shard.table.forget();
        shard.lock.force_open();
    }
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
        for round in 0..if cfg!(miri) { 500 } else { 400_000 } {
            let address = (next() % if cfg!(miri) { 100 } else { 30_000 } + 1) * 16;
            if next() % 2 == 0 {
                let note = (round % 3 != 0).then_some(Note { tag: Tag::of_lane(round as u32), birth: round * 2 });
                let block = Block { size: round, note };
                let before = truth.insert(address, block);
                assert_eq!(enter(address, block), before.map_or(Entered::New, Entered::InPlaceOf));
            } else {
                assert_eq!(take(address), truth.remove(&address));
            }
        }
        for (address, block) in truth {
            assert_eq!(take(address), Some(block));
            assert_eq!(take(address), None);
        }
    }
}
