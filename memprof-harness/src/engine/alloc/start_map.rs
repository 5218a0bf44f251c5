//! Where the engine's large blocks begin: those of a KiB or more that come from the C library. A block that is given back and is not
//! here was made by somebody else: by C, by another copy of Rust's allocator, or by a process that this one was forked from.
//!
//! One byte for each KiB of the address space: no two such blocks begin in the same. The byte is 0, or 1 and where in the KiB the block
//! begins, in units of 16 bytes, and how the block's note is kept, in units of 64 ([`Kept`]). There is a leaf for each GiB in which a block
//! ever began, and room for notes for each 64 MiB in which one was ever sampled: so a sampled block takes no lock.

#![allow(unsafe_code)] // memory of its own

use crate::engine::alloc::block_tag::Note;
use crate::engine::store::calls;
use crate::engine::store::lock::Lock;
use crate::engine::store::own_memory::private_bytes;
use crate::os::memory;
use crate::provenance::Address;
use std::mem::size_of;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicU8, AtomicUsize};

/// Blocks of so many bytes are large.
pub(crate) const LEAST: usize = 1 << KIB_BITS;
const KIB_BITS: u32 = 10;
const LEAF_BITS: u32 = 30;
/// Addresses of programs have no more bits on any system we run on: 47 on x86_64, 48 on aarch64.
const ADDRESS_BITS: u32 = 48;
const PLACES: usize = 1 << (LEAF_BITS - KIB_BITS);
/// Blocks that may begin in one KiB, and so what bytes differ by where the rest of them differs.
const UNITS: u8 = (LEAST / 16) as u8;
/// Notes that there is room for at once.
const TOGETHER: usize = 1 << 16;

/// A block's note, in words that are its own while the block is here.
type Words = [AtomicU64; 2];

/// A byte for each KiB of a GiB.
struct Leaf {
    bytes: [AtomicU8; PLACES],
    /// Notes of the blocks that begin there; null where none was ever sampled.
    notes: [AtomicPtr<[Words; TOGETHER]>; PLACES / TOGETHER],
    /// Which GiB it is, and the leaf that was made before.
    number: AtomicUsize,
    next: AtomicPtr<Leaf>,
}

static ROOT: [AtomicPtr<Leaf>; 1 << (ADDRESS_BITS - LEAF_BITS)] =
    [const { AtomicPtr::new(ptr::null_mut()) }; 1 << (ADDRESS_BITS - LEAF_BITS)];
static NEWEST: AtomicPtr<Leaf> = AtomicPtr::new(ptr::null_mut());
static LOCK: Lock = Lock::new();
static INCOMPLETE: AtomicBool = AtomicBool::new(false);

#[inline(always)]
fn leaf(block: usize) -> Option<&'static Leaf> {
    let leaf = ROOT.get(block >> LEAF_BITS)?.load(Acquire);
    // SAFETY: null, or a leaf that `make` published whole and that is never given back.
    unsafe { leaf.as_ref() }
}

#[inline(always)]
fn place(leaf: &'static Leaf, block: usize) -> &'static AtomicU8 {
    &leaf.bytes[block >> KIB_BITS & (PLACES - 1)]
}

/// What the byte of the block's KiB is while it is here, if it has no note.
#[inline(always)]
fn mark(block: usize) -> u8 {
    1 + (block >> 4 & (LEAST / 16 - 1)) as u8
}

/// What is kept of a block besides that it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It has no note.
    Nothing,
    Note(Note),
    /// Its note is in the table of tracked blocks: here was no room for it.
    Elsewhere,
}

/// Enters a large block that was just made. `false` where there is no memory for it.
#[inline(always)]
pub(crate) fn enter(block: *mut u8) -> bool {
    let block = block.address();
    let Some(leaf) = leaf(block).or_else(|| make(block >> LEAF_BITS)) else {
        INCOMPLETE.store(true, Relaxed);
        return false;
    };
    place(leaf, block).store(mark(block), Relaxed);
    true
}

/// Whether there was no memory for a block: one that is not here may be the engine's all the same.
#[inline(always)]
pub(crate) fn is_incomplete() -> bool {
    INCOMPLETE.load(Relaxed)
}

/// As [`leave`], for a block that has no note. `false` where it has, or is not here.
#[inline(always)]
pub(crate) fn leave_without_note(block: *mut u8) -> bool {
    let block = block.address();
    let Some(place) = leaf(block).map(|leaf| place(leaf, block)) else { return false };
    let is_here = place.load(Relaxed) == mark(block);
    if is_here {
        place.store(0, Relaxed);
    }
    is_here
}

/// Takes a block out that is about to be given back or moved: afterwards its address may be another's. `None` where it is not here.
#[inline(always)]
pub(crate) fn leave(block: *mut u8) -> Option<Kept> {
    if leave_without_note(block) {
        return Some(Kept::Nothing);
    }
    leave_otherwise(block)
}

#[inline(never)]
fn leave_otherwise(block: *mut u8) -> Option<Kept> {
    if let Some(note) = leave_with_note(block) {
        return Some(Kept::Note(note));
    }
    let block = block.address();
    let place = leaf(block).map(|leaf| place(leaf, block))?;
    if place.load(Relaxed) != mark(block) + WITH_NOTE_ELSEWHERE {
        return None;
    }
    place.store(0, Relaxed);
    Some(Kept::Elsewhere)
}

/// As [`leave`], for a block whose note lies beside the map. `None` where it does not, or the block is not here.
#[inline(always)]
pub(crate) fn leave_with_note(block: *mut u8) -> Option<Note> {
    let block = block.address();
    let leaf = leaf(block)?;
    let place = place(leaf, block);
    if place.load(Relaxed) != mark(block) + WITH_NOTE {
        return None;
    }
    let note = Note::of_words(words_of(leaf, block)?.each_ref().map(|word| word.load(Relaxed)))?;
    place.store(0, Relaxed);
    Some(note)
}

/// Keeps the note of a block that is here. `false` where there is no room for it, or the block is not here: the note is then to be kept
/// elsewhere.
pub(crate) fn keep_note(block: *mut u8, note: Note) -> bool {
    let block = block.address();
    let Some(leaf) = leaf(block) else { return false };
    let place = place(leaf, block);
    if place.load(Relaxed) != mark(block) {
        return false;
    }
    let Some(words) = words_of(leaf, block).or_else(|| make_room_for_notes(leaf, block)) else {
        place.store(mark(block) + WITH_NOTE_ELSEWHERE, Relaxed);
        return false;
    };
    words.iter().zip(note.words()).for_each(|(place, word)| place.store(word, Relaxed));
    place.store(mark(block) + WITH_NOTE, Relaxed);
    true
}

/// What is added to a byte.
const WITH_NOTE: u8 = UNITS;
const WITH_NOTE_ELSEWHERE: u8 = 2 * UNITS;

/// Where a block's note belongs, if there is room.
#[inline(always)]
fn words_of(leaf: &'static Leaf, block: usize) -> Option<&'static Words> {
    let at = block >> KIB_BITS & (PLACES - 1);
    // SAFETY: null, or room that `make_room_for_notes` published whole and that is never given back.
    let room = unsafe { leaf.notes[at / TOGETHER].load(Acquire).as_ref() }?;
    Some(&room[at % TOGETHER])
}

#[cold]
#[inline(never)]
fn make_room_for_notes(leaf: &'static Leaf, block: usize) -> Option<&'static Words> {
    // What was taken ahead of a filter is for what cannot be kept elsewhere.
    if calls::allows_calls() {
        LOCK.hold(|| {
            let room = &leaf.notes[(block >> KIB_BITS & (PLACES - 1)) / TOGETHER];
            if room.load(Relaxed).is_null() {
                // Fresh and zeroed, large and aligned enough; what is in it are atomics, for which zeros are valid.
                let place = private_bytes(size_of::<[Words; TOGETHER]>())?.cast().as_ptr();
                room.store(place, Release);
            }
            Some(())
        })?;
    }
    words_of(leaf, block)
}

/// Whether a block is here.
pub(crate) fn has(block: *mut u8) -> bool {
    let block = block.address();
    leaf(block).is_some_and(|leaf| unit(place(leaf, block).load(Relaxed)) == unit(mark(block)))
}

/// Where in its KiB the block begins of which this is the byte, in units of 16 bytes; `None` = there is none.
#[inline(always)]
fn unit(byte: u8) -> Option<u8> {
    byte.checked_sub(1).map(|byte| byte % UNITS)
}

#[cold]
#[inline(never)]
fn make(number: usize) -> Option<&'static Leaf> {
    LOCK.hold(|| {
        let root = ROOT.get(number)?;
        if root.load(Relaxed).is_null() {
            let place = private_bytes(size_of::<Leaf>())?.cast::<Leaf>().as_ptr();
            // SAFETY: fresh, zeroed, large and aligned enough; a leaf is made of atomics, for which zeros are valid.
            let leaf = unsafe { &*place };
            leaf.number.store(number, Relaxed);
            leaf.next.store(NEWEST.load(Relaxed), Relaxed);
            NEWEST.store(place, Relaxed);
            root.store(place, Release);
        }
        // SAFETY: published whole, now or before, and never given back.
        unsafe { root.load(Relaxed).as_ref() }
    })
}

fn leaves() -> impl Iterator<Item = &'static Leaf> {
    // SAFETY: null, or a leaf that was published whole and is never given back; so is the one before.
    let newest = unsafe { NEWEST.load(Acquire).as_ref() };
    std::iter::successors(newest, |leaf| {
        // SAFETY: as above.
        unsafe { leaf.next.load(Relaxed).as_ref() }
    })
}

/// In a forked child, whose only thread this is.
pub(crate) fn force_open() {
    LOCK.force_open();
}

/// In a forked child where being here means to be the process's own: no block so far is.
pub(crate) fn forget_all() {
    for leaf in leaves() {
        let start = leaf.bytes.as_ptr().cast_mut().cast();
        // SAFETY: the bytes are the first pages of a private mapping; the child has one thread, which is here.
        if !(calls::allows_calls() && unsafe { memory::give_back(start, PLACES) }) {
            leaf.bytes.iter().filter(|byte| byte.load(Relaxed) != 0).for_each(|byte| byte.store(0, Relaxed));
        }
    }
}

/// Every block that is here. For when no other thread is about.
pub(crate) fn for_each(mut visit: impl FnMut(usize)) {
    /// Places that are looked at together: nearly all are empty.
    const AT_ONCE: usize = 64;
    for leaf in leaves() {
        let start = leaf.number.load(Relaxed) << LEAF_BITS;
        for (i, bytes) in leaf.bytes.chunks(AT_ONCE).enumerate() {
            if bytes.iter().fold(0, |any, byte| any | byte.load(Relaxed)) == 0 {
                continue;
            }
            for (j, byte) in bytes.iter().enumerate() {
                if let Some(unit) = unit(byte.load(Relaxed)) {
                    visit(start + ((i * AT_ONCE + j) << KIB_BITS) + usize::from(unit) * 16);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::alloc::block_tag::Tag;
    use crate::provenance;
    use std::collections::BTreeMap;

    #[test]
    fn a_block_is_here_from_when_it_is_entered_until_it_leaves() {
        let mut random = 1u64;
        let mut next = move |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        let at = |address: usize| provenance::without_provenance_mut::<u8>(address);
        let mut here: BTreeMap<usize, Kept> = BTreeMap::new();
        for _ in 0..if cfg!(miri) { 300 } else { 50_000 } {
            // In two GiB, one of them the last.
            let address = [0x7fff_c000_0000, 0x5555_4000_0000][next(2)] + next(1 << 18) * 16;
            let is_near = here.range(address.saturating_sub(LEAST - 1)..address + LEAST).next().is_some();
            if next(2) == 0 && !is_near {
                assert!(enter(at(address)) && has(at(address)));
                let note = Note { tag: Tag::of_lane(next(65_535) as u32), birth: next(1 << 31) as u64 };
                let is_sampled = next(3) == 0;
                assert!(!is_sampled || keep_note(at(address), note));
                here.insert(address, if is_sampled { Kept::Note(note) } else { Kept::Nothing });
            } else {
                assert_eq!(has(at(address)), here.contains_key(&address));
                assert_eq!(leave(at(address)), here.remove(&address));
                let any = here.keys().next().copied();
                if let Some(any) = any.filter(|_| next(4) == 0) {
                    assert_eq!((leave(at(any)), leave(at(any))), (here.remove(&any), None));
                }
            }
        }
        let mut found = Vec::new();
        for_each(|block| found.push(block));
        found.sort_unstable();
        assert_eq!(found, here.keys().copied().collect::<Vec<_>>());
        assert!(!enter(at(1 << ADDRESS_BITS)) && leave(at(1 << ADDRESS_BITS)).is_none());
        here.into_iter().for_each(|(block, kept)| assert_eq!(leave(at(block)), Some(kept)));
    }
}
