//! Blocks to recognise when they are freed, where blocks have no header: the sampled ones, and those from before the
//! window (or from a suspended thread), whose free is not the test's.
//!
//! A filter of one counter for each of 4096 hashes of an address answers "no" for nearly every free with one load
//! from the first-level cache; only then is the table asked, under its lock.

use super::arena::{self, Lock};
use super::lane::{Note, Tag};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize};

const FILTER_LEN: usize = 4096;
const FIRST_TABLE: usize = 512;
/// Entries the table may have: 128 MiB of memory.
const LARGEST_TABLE: usize = 1 << 22;
/// The tag of a block that is not the test's. No site lies at this offset.
const FOREIGN: u64 = u64::MAX;

static FILTER: [AtomicU8; FILTER_LEN] = [const { AtomicU8::new(0) }; FILTER_LEN];
static TABLE: AtomicPtr<Entry> = AtomicPtr::new(std::ptr::null_mut());
static TABLE_LEN: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);
static LOCK: Lock = Lock::new();

/// One block; the address 0 marks an empty place. Touched under the lock alone; atomics, so that it needs no `unsafe`.
struct Entry {
    address: AtomicU64,
    tag: AtomicU64,
    birth: AtomicU64,
}

/// What a free of a block in the table means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracked {
    Sampled(Note),
    Foreign,
}

/// Where an address hashes to. The low 4 bits of a block's address are always 0.
#[inline(always)]
fn spread(address: usize) -> u64 {
    (address as u64 >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[inline(always)]
fn counter(address: usize) -> &'static AtomicU8 {
    &FILTER[(spread(address) >> 52) as usize & (FILTER_LEN - 1)]
}

/// Whether `address` may be in the table. "No" is certain.
#[inline(always)]
pub(super) fn may_hold(address: usize) -> bool {
    counter(address).load(Relaxed) != 0
}

/// Enters a block. `false` where there is no room.
#[cold]
pub(super) fn enter(address: usize, what: Tracked) -> bool {
    LOCK.hold(|| {
        let used = USED.load(Relaxed);
        if (used + 1) * 2 > TABLE_LEN.load(Relaxed) && !grow() {
            return false;
        }
        let (tag, birth) = match what {
            Tracked::Sampled(note) => (note.tag.0, note.birth),
            Tracked::Foreign => (FOREIGN, 0),
        };
        if !put(table(), address as u64, tag, birth) {
            return false;
        }
        USED.store(used + 1, Relaxed);
        let counter = counter(address);
        // At 255 the counter stays: it can no longer tell when the last one goes.
        counter.store(counter.load(Relaxed).saturating_add(1), Relaxed);
        true
    })
}

/// Takes a block out, if it is there.
#[cold]
pub(super) fn take(address: usize) -> Option<Tracked> {
    LOCK.hold(|| {
        let table = table();
        let place = find(table, address as u64)?;
        let entry = &table[place];
        let (tag, birth) = (entry.tag.load(Relaxed), entry.birth.load(Relaxed));
        remove(table, place);
        USED.fetch_sub(1, Relaxed);
        let counter = counter(address);
        if counter.load(Relaxed) < u8::MAX {
            counter.store(counter.load(Relaxed).saturating_sub(1), Relaxed);
        }
        Some(if tag == FOREIGN { Tracked::Foreign } else { Tracked::Sampled(Note { tag: Tag(tag), birth }) })
    })
}

/// Opens the lock in a forked child.
pub(super) fn force_open() {
    LOCK.force_open();
}

#[allow(unsafe_code)]
fn table() -> &'static [Entry] {
    let (start, len) = (TABLE.load(Relaxed), TABLE_LEN.load(Relaxed));
    if start.is_null() {
        return &[];
    }
    // SAFETY: `grow` set both to one mapping of that many entries, under the lock that is held here too.
    unsafe { std::slice::from_raw_parts(start, len) }
}

#[allow(unsafe_code)]
fn grow() -> bool {
    let old = table();
    let len = (old.len() * 2).max(FIRST_TABLE);
    if len > LARGEST_TABLE {
        return false;
    }
    // SAFETY: an entry is three atomics, for which zero is valid.
    let Some(new) = (unsafe { arena::private::<Entry>(len) }) else { return false };
    for entry in old {
        let address = entry.address.load(Relaxed);
        if address != 0 {
            put(new, address, entry.tag.load(Relaxed), entry.birth.load(Relaxed));
        }
    }
    TABLE.store(new.as_ptr().cast_mut(), Relaxed);
    TABLE_LEN.store(len, Relaxed);
    if !old.is_empty() {
        // SAFETY: it came from `private`, and `TABLE` no longer leads to it.
        unsafe { arena::release(old) };
    }
    true
}

fn home(table: &[Entry], address: u64) -> usize {
    spread(address as usize) as usize >> 8 & (table.len() - 1)
}

/// Writes an entry into the first free place from its home.
fn put(table: &[Entry], address: u64, tag: u64, birth: u64) -> bool {
    let home = home(table, address);
    let free = (0..table.len())
        .map(|i| &table[(home + i) & (table.len() - 1)])
        .find(|entry| matches!(entry.address.load(Relaxed), 0) || entry.address.load(Relaxed) == address);
    let Some(entry) = free else { return false };
    entry.tag.store(tag, Relaxed);
    entry.birth.store(birth, Relaxed);
    entry.address.store(address, Relaxed);
    true
}

fn find(table: &[Entry], address: u64) -> Option<usize> {
    if table.is_empty() {
        return None;
    }
    let home = home(table, address);
    for i in 0..table.len() {
        let place = (home + i) & (table.len() - 1);
        match table[place].address.load(Relaxed) {
            0 => return None,
            found if found == address => return Some(place),
            _ => {}
        }
    }
    None
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
        let home = home(table, address);
        // Whether its home lies outside the stretch between the hole and itself.
        if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
            table[hole].tag.store(entry.tag.load(Relaxed), Relaxed);
            table[hole].birth.store(entry.birth.load(Relaxed), Relaxed);
            table[hole].address.store(address, Relaxed);
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
        for round in 0..if cfg!(miri) { 400 } else { 200_000 } {
            let address = (next() % if cfg!(miri) { 100 } else { 3000 } + 1) * 16;
            if next() % 2 == 0 && !truth.contains_key(&address) {
                let what = match round % 3 {
                    0 => Tracked::Foreign,
                    _ => Tracked::Sampled(Note { tag: Tag(round), birth: round * 2 }),
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
