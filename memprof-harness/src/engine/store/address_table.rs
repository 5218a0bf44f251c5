//! Blocks by their address, with some words about each. Open addressing with linear probing; whoever has a table calls it
//! under a lock of its own.

use crate::engine::store::own_memory;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};

/// Entries of a first table.
const FIRST: usize = 128;
/// Entries a table may have.
const LARGEST: usize = 1 << 22;

/// `WORDS` are kept of each block. The upper `SKIPPED` bits of a block's hash have been used to find the table, and are the same
/// for all that is in it.
pub(crate) struct Table<const WORDS: usize, const SKIPPED: u32> {
    start: AtomicPtr<Entry<WORDS>>,
    /// Entries, 0 or a power of two.
    len: AtomicUsize,
    used: AtomicUsize,
}

/// The address 0 marks an empty place. Atomics, so that it needs no `unsafe`; the lock is what orders them.
struct Entry<const WORDS: usize> {
    address: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Entry<WORDS> {
    #[inline(always)]
    fn words(&self) -> [u64; WORDS] {
        std::array::from_fn(|i| self.words[i].load(Relaxed))
    }

    #[inline(always)]
    fn set(&self, address: u64, words: [u64; WORDS]) {
        self.words.iter().zip(words).for_each(|(place, word)| place.store(word, Relaxed));
        self.address.store(address, Relaxed);
    }
}

/// How it went to enter a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entered<T> {
    New,
    /// There was one at this address, so its free went past the hook.
    InPlaceOf(T),
    /// There is no room.
    NoRoom,
}

/// A hash whose upper bits depend on all bits of the address. The low 4 bits of a block's address are always 0.
#[inline(always)]
pub(crate) fn spread(address: usize) -> u64 {
    (address as u64 >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl<const WORDS: usize, const SKIPPED: u32> Table<WORDS, SKIPPED> {
    pub(crate) const fn new() -> Self {
        Table { start: AtomicPtr::new(std::ptr::null_mut()), len: AtomicUsize::new(0), used: AtomicUsize::new(0) }
    }

    #[cfg(any(test, memprof_native))]
    /// In a forked child: what the parent's other threads were in the middle of is left where it is.
    pub(crate) fn forget(&self) {
        self.start.store(std::ptr::null_mut(), Relaxed);
        self.len.store(0, Relaxed);
        self.used.store(0, Relaxed);
    }

    #[inline]
    pub(crate) fn enter(&self, address: usize, words: [u64; WORDS]) -> Entered<[u64; WORDS]> {
        let used = self.used.load(Relaxed);
        let len = self.len.load(Relaxed);
        // Up to three quarters full, where it may grow; fuller where it cannot, but never without an empty place.
        if (used + 1) * 4 > len * 3 && !self.grow() && used + 2 > len {
            return Entered::NoRoom;
        }
        let entries = self.entries();
        let entry = &entries[self.place_of(entries, address as u64)];
        let stale = (entry.address.load(Relaxed) != 0).then(|| entry.words());
        entry.set(address as u64, words);
        match stale {
            Some(stale) => Entered::InPlaceOf(stale),
            None => {
                self.used.store(used + 1, Relaxed);
                Entered::New
            }
        }
    }

    /// Takes a block out, if it is there.
    #[inline]
    pub(crate) fn take(&self, address: usize) -> Option<[u64; WORDS]> {
        let used = self.used.load(Relaxed);
        if used == 0 {
            return None;
        }
        let entries = self.entries();
        let place = self.place_of(entries, address as u64);
        if entries[place].address.load(Relaxed) == 0 {
            return None;
        }
        let words = entries[place].words();
        self.remove(entries, place);
        self.used.store(used - 1, Relaxed);
        Some(words)
    }

    /// Every block that is in it.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(usize, [u64; WORDS])) {
        for entry in self.entries() {
            let address = entry.address.load(Relaxed) as usize;
            if address != 0 {
                visit(address, entry.words());
            }
        }
    }

    /// Where a block belongs.
    #[inline(always)]
    fn home(entries: &[Entry<WORDS>], address: u64) -> usize {
        ((spread(address as usize) << SKIPPED) >> (u64::BITS - entries.len().ilog2())) as usize
    }

    /// The place of `address`, or the empty one where it would go. There is one that is empty.
    #[inline(always)]
    fn place_of(&self, entries: &[Entry<WORDS>], address: u64) -> usize {
        let mask = entries.len() - 1;
        let mut at = Self::home(entries, address);
        loop {
            let found = entries[at & mask].address.load(Relaxed);
            if found == address || found == 0 {
                return at & mask;
            }
            at += 1;
        }
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    fn entries(&self) -> &'static [Entry<WORDS>] {
        let (start, len) = (self.start.load(Relaxed), self.len.load(Relaxed));
        if start.is_null() {
            return &[];
        }
        // SAFETY: `grow` set both to one mapping of that many entries, under the lock that is held here too.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    #[cold]
    #[allow(unsafe_code)]
    fn grow(&self) -> bool {
        let old = self.entries();
        let len = (old.len() * 2).max(FIRST);
        if len > LARGEST {
            return false;
        }
        // SAFETY: an entry is made of atomics, for which zero is valid.
        let Some(new) = (unsafe { own_memory::private::<Entry<WORDS>>(len) }) else { return false };
        for entry in old {
            let address = entry.address.load(Relaxed);
            if address != 0 {
                new[self.place_of(new, address)].set(address, entry.words());
            }
        }
        self.start.store(new.as_ptr().cast_mut(), Relaxed);
        self.len.store(len, Relaxed);
        if !old.is_empty() {
            // SAFETY: it came from `private`, and `start` no longer leads to it.
            unsafe { own_memory::release(old) };
        }
        true
    }

    /// Empties a place and moves up what probing would no longer reach (Knuth, volume 3, 6.4, algorithm R).
    #[inline]
    fn remove(&self, entries: &[Entry<WORDS>], place: usize) {
        let mask = entries.len() - 1;
        let mut hole = place;
        let mut next = place;
        loop {
            next = (next + 1) & mask;
            let entry = &entries[next];
            let address = entry.address.load(Relaxed);
            if address == 0 {
                break;
            }
            let home = Self::home(entries, address);
            // Whether its home lies outside the stretch between the hole and itself.
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                entries[hole].set(address, entry.words());
                hole = next;
            }
        }
        entries[hole].address.store(0, Relaxed);
    }
}
