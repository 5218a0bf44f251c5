//! Every live block of the window, by its address, where blocks have no header: those of the C library. A block is here
//! if and only if the test allocated it, so a free needs nobody's word for its size or its origin.
//!
//! The table is in shards, each under a lock that is held for a few loads and stores. Nothing outside this file sees an
//! entry.

use super::arena::{self, Lock};
use super::lane::{Note, Tag};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};

/// 2^6 shards: threads that allocate at the same time seldom meet.
const SHARD_BITS: u32 = 6;
/// A shard's first table is one page.
const FIRST_TABLE: usize = 4096 / size_of::<Entry>();
/// Entries one shard may have: 8 GiB of memory for all.
const LARGEST_TABLE: usize = 1 << 22;

static SHARDS: [Shard; 1 << SHARD_BITS] = [const { Shard::new() }; 1 << SHARD_BITS];

/// A block of the test's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// As asked for, in bytes.
    pub(super) size: u64,
    /// `None` = its stack was not noted.
    pub(super) note: Option<Note>,
}

/// How it went to enter a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    New,
    /// There was one at this address, so its free went past the hook.
    InPlaceOf(Block),
    /// There is no room: the block's free will not be known.
    NoRoom,
}

/// On a cache line of its own.
#[repr(align(64))]
struct Shard {
    lock: Lock,
    table: AtomicPtr<Entry>,
    /// Entries of the table, 0 or a power of two.
    len: AtomicUsize,
    used: AtomicUsize,
}

/// The address 0 marks an empty place. Touched under the shard's lock alone; atomics, so that it needs no `unsafe`.
struct Entry {
    address: AtomicU64,
    size: AtomicU64,
    /// 0 = no note.
    tag: AtomicU64,
    birth: AtomicU64,
}

impl Entry {
    fn block(&self) -> Block {
        let tag = Tag(self.tag.load(Relaxed));
        let note = (tag != Tag::NONE).then(|| Note { tag, birth: self.birth.load(Relaxed) });
        Block { size: self.size.load(Relaxed), note }
    }

    fn set(&self, address: u64, block: Block) {
        let note = block.note.unwrap_or(Note { tag: Tag::NONE, birth: 0 });
        self.size.store(block.size, Relaxed);
        self.tag.store(note.tag.0, Relaxed);
        self.birth.store(note.birth, Relaxed);
        self.address.store(address, Relaxed);
    }
}

/// Enters a block that was just made.
pub(super) fn enter(address: usize, block: Block) -> Entered {
    let hash = spread(address);
    let shard = Shard::of(hash);
    shard.lock.hold(|| shard.enter(hash, address as u64, block))
}

/// Takes a block out that is about to be freed: afterwards its address may be another thread's.
pub(super) fn take(address: usize) -> Option<Block> {
    let hash = spread(address);
    let shard = Shard::of(hash);
    shard.lock.hold(|| shard.take(hash, address as u64))
}

/// In a forked child: none of the blocks it inherits is its own. Whatever the parent's other threads were in the middle
/// of is left where it is, and new tables are made.
pub(super) fn forget_all() {
    for shard in &SHARDS {
        shard.table.store(std::ptr::null_mut(), Relaxed);
        shard.len.store(0, Relaxed);
        shard.used.store(0, Relaxed);
        shard.lock.force_open();
    }
}

/// A hash whose upper bits depend on all bits of the address. The low 4 bits of a block's address are always 0.
fn spread(address: usize) -> u64 {
    (address as u64 >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Where a hash belongs in a table: by the bits below those that choose the shard.
fn home(table: &[Entry], hash: u64) -> usize {
    ((hash << SHARD_BITS) >> (u64::BITS - table.len().ilog2())) as usize
}

impl Shard {
    const fn new() -> Shard {
        Shard {
            lock: Lock::new(),
            table: AtomicPtr::new(std::ptr::null_mut()),
            len: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
        }
    }

    fn of(hash: u64) -> &'static Shard {
        &SHARDS[(hash >> (u64::BITS - SHARD_BITS)) as usize]
    }

    fn enter(&self, hash: u64, address: u64, block: Block) -> Entered {
        let used = self.used.load(Relaxed);
        let len = self.len.load(Relaxed);
        // Up to three quarters full, where it may grow; fuller where it cannot, but never without an empty place.
        if (used + 1) * 4 > len * 3 && !self.grow() && used + 2 > len {
            return Entered::NoRoom;
        }
        let entry = self.place_of(hash, address);
        let stale = (entry.address.load(Relaxed) == address).then(|| entry.block());
        entry.set(address, block);
        match stale {
            Some(stale) => Entered::InPlaceOf(stale),
            None => {
                self.used.store(used + 1, Relaxed);
                Entered::New
            }
        }
    }

    fn take(&self, hash: u64, address: u64) -> Option<Block> {
        if self.used.load(Relaxed) == 0 {
            return None;
        }
        let table = self.table();
        let entry = self.place_of(hash, address);
        if entry.address.load(Relaxed) != address {
            return None;
        }
        let block = entry.block();
        let place = (std::ptr::from_ref(entry).addr() - table.as_ptr().addr()) / size_of::<Entry>();
        remove(table, place);
        self.used.store(self.used.load(Relaxed) - 1, Relaxed);
        Some(block)
    }

    /// The entry of `address`, or the empty one where it would go. The table has one that is empty.
    fn place_of(&self, hash: u64, address: u64) -> &'static Entry {
        let table = self.table();
        let mut at = home(table, hash);
        loop {
            let entry = &table[at & (table.len() - 1)];
            let found = entry.address.load(Relaxed);
            if found == address || found == 0 {
                return entry;
            }
            at += 1;
        }
    }

    #[allow(unsafe_code)]
    fn table(&self) -> &'static [Entry] {
        let (start, len) = (self.table.load(Relaxed), self.len.load(Relaxed));
        if start.is_null() {
            return &[];
        }
        // SAFETY: `grow` set both to one mapping of that many entries, under the lock that is held here too.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    #[cold]
    #[allow(unsafe_code)]
    fn grow(&self) -> bool {
        let old = self.table();
        let len = (old.len() * 2).max(FIRST_TABLE);
        if len > LARGEST_TABLE {
            return false;
        }
        // SAFETY: an entry is four atomics, for which zero is valid.
        let Some(new) = (unsafe { arena::private::<Entry>(len) }) else { return false };
        self.table.store(new.as_ptr().cast_mut(), Relaxed);
        self.len.store(len, Relaxed);
        for entry in old {
            let address = entry.address.load(Relaxed);
            if address != 0 {
                self.place_of(spread(address as usize), address).set(address, entry.block());
            }
        }
        if !old.is_empty() {
            // SAFETY: it came from `private`, and `table` no longer leads to it.
            unsafe { arena::release(old) };
        }
        true
    }
}

/// Empties a place and moves up what probing would no longer reach (Knuth, volume 3, 6.4, algorithm R).
fn remove(table: &[Entry], place: usize) {
    let mask = table.len() - 1;
    let mut hole = place;
    let mut next = place;
    loop {
        next = (next + 1) & mask;
        let entry = &table[next];
        let address = entry.address.load(Relaxed);
        if address == 0 {
            break;
        }
        let home = home(table, spread(address as usize));
        // Whether its home lies outside the stretch between the hole and itself.
        if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
            table[hole].set(address, entry.block());
            hole = next;
        }
    }
    table[hole].address.store(0, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
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
                let note = (round % 3 != 0).then_some(Note { tag: Tag(round + 1), birth: round * 2 });
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
