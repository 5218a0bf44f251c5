//! The walk by tables of the event before. It is kept as the words that it read: where each of them still is what it was, from the
//! innermost outwards, the walk would come to the same stack again, and no table is asked. Only what is new is walked.
//!
//! This is for stacks that are not the thread's own (a coroutine's, one grown on the heap, a signal handler's), and for those that lead
//! through code without frame pointers or through a signal handler. `cached` has all others, at a lower price.
//!
//! **Invariant**: a step reads where the words before it lead to, by the rule of the return address among them. So a word is at its place
//! if all words before it are what they were, and the first record is the calling function's. The processor need not wait for
//! one word to learn where the next one lies, because it goes on with the kept place as if that were right.
//!
//! The words of one walk are in a `kept_room`.

#![allow(unsafe_code)] // loads from stacks

use crate::engine::store::own_memory::{ample_bytes, private_bytes};
use crate::engine::unwind::excerpt::Spelt;
use crate::engine::unwind::frame_pointer::Frame;
use crate::engine::unwind::kept_room::{Home, Known, NotKept, Room};
use crate::engine::unwind::table_walk::Root;
use std::cell::Cell;
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::atomic::{compiler_fence, Ordering};

/// Entries of the deepest walk that a lane without deep stacks has room for.
const NEAR: usize = 2048;
/// Entries of the deepest walk that a lane has room for where address space is limited: 25 MiB.
const DEEP: usize = 1 << 17;
/// Entries of the deepest walk that is kept: 200 MiB of address space. What is deeper is walked anew at each event.
const MOST_ENTRIES: usize = 1 << 20;

/// A walk in a larger room goes back to one of so many entries where it has fewer than this. Half of it, so that one that grows and
/// shrinks by some frames does not go back and forth.
const fn shallow(entries: usize) -> usize {
    entries / 2
}

/// One lane's rooms for such a walk, each made when it is first needed.
pub(crate) struct KeptWalk {
    near: Cell<Option<NonNull<Near>>>,
    /// For a walk that `near` has no room for, and for one that this has none for. One of the three keeps a walk at a time.
    deep: Cell<Option<NonNull<Deep>>>,
    deepest: Cell<Option<NonNull<Deepest>>>,
    /// What the caller knows this stack by; 0 = nothing, or no stack is kept in `near`.
    noted: Cell<u32>,
    /// In use: an event in a signal handler goes without.
    busy: Cell<bool>,
}

/// See [`Room`].
type Near = Room<{ NEAR + 1 }>;
type Deep = Room<{ DEEP + 1 }>;
type Deepest = Room<{ MOST_ENTRIES + 1 }>;

impl KeptWalk {
    pub(crate) const fn new() -> KeptWalk {
        KeptWalk {
            near: Cell::new(None),
            deep: Cell::new(None),
            deepest: Cell::new(None),
            noted: Cell::new(0),
            busy: Cell::new(false),
        }
    }

    /// A thread may have died in the middle, and what was kept is of another thread.
    pub(crate) fn forget(&self) {
        self.empty();
        self.busy.set(false);
    }

    /// Frames that were taken to stay as they are do so no longer.
    pub(crate) fn empty(&self) {
        self.noted.set(0);
        empty(&self.near);
        empty(&self.deep);
        empty(&self.deepest);
    }

    /// What was noted of the stack from `frame` outwards, if that is the one that is kept.
    #[inline(always)]
    pub(crate) fn noted(&self, frame: Frame, root: Option<Root>) -> Option<u32> {
        if self.noted.get() == 0 || self.busy.replace(true) {
            return None;
        }
        compiler_fence(Ordering::SeqCst);
        let is_same = in_room(&self.near).is_some_and(|near| near.is_same(frame.0, root));
        let noted = self.noted.get();
        self.release();
        is_same.then_some(noted)
    }

    /// Notes something of the stack that is kept, which [`KeptWalk::know`] has just said. 0 = nothing.
    pub(crate) fn note(&self, noted: u32) {
        let is_near = in_room(&self.near).is_some_and(|near| near.len.get() > 0);
        self.noted.set(if is_near { noted } else { 0 });
    }

    /// The stack from `frame` outwards, which is kept until [`KeptWalk::release`] is called; `None` where it cannot be, and must be walked.
    #[inline(never)]
    pub(crate) fn know(&self, frame: Frame, home: Home) -> Option<Known> {
        if self.busy.replace(true) {
            return None;
        }
        compiler_fence(Ordering::SeqCst);
        let same = in_room(&self.near).filter(|near| near.is_same(frame.0, home.root)).map(|near| near.known(None));
        let known = same.or_else(|| self.know_anew(frame.0, home));
        if known.is_none() {
            self.empty();
            self.release();
        }
        known
    }

    /// The stack may be another one from here on.
    pub(crate) fn release(&self) {
        compiler_fence(Ordering::SeqCst);
        self.busy.set(false);
    }

    /// How many words the stack that is kept has, and how many of them stand for frames that are left out.
    fn counts(&self) -> [usize; 2] {
        let deepest = in_room(&self.deepest).filter(|room| room.len.get() > 0).map(Room::counts);
        let deep = in_room(&self.deep).filter(|room| room.len.get() > 0).map(Room::counts);
        deepest.or(deep).or_else(|| in_room(&self.near).map(Room::counts)).unwrap_or([0; 2])
    }

    /// Of a stack that is not as a whole what `near` keeps.
    #[cold]
    #[inline(never)]
    fn know_anew(&self, frame: usize, home: Home) -> Option<Known> {
        self.noted.set(0);
        let [in_deep, in_deepest] = [len(&self.deep), len(&self.deepest)];
        if in_deep.max(in_deepest) < shallow(NEAR) {
            match made(&self.near, private_bytes)?.update(frame, home) {
                Err(NotKept::TooDeep) => empty(&self.near),
                known => {
                    empty(&self.deep);
                    empty(&self.deepest);
                    return known.ok();
                }
            }
        }
        if in_deepest < shallow(DEEP) {
            match update(made(&self.deep, private_bytes)?, frame, home) {
                Err(NotKept::TooDeep) => empty(&self.deep),
                known => {
                    empty(&self.deepest);
                    return known.ok();
                }
            }
        }
        update(made(&self.deepest, ample_bytes)?, frame, home).ok()
    }
}

impl Spelt for KeptWalk {
    fn words(&self) -> usize {
        let [words, _] = self.counts();
        words
    }

    fn marks(&self) -> usize {
        let [_, marks] = self.counts();
        marks
    }

    fn from(&self, word: usize) -> impl Iterator<Item = u64> {
        let near = in_room(&self.near).into_iter().flat_map(move |room| room.words(word));
        let deep = in_room(&self.deep).into_iter().flat_map(move |room| room.words(word));
        near.chain(deep).chain(in_room(&self.deepest).into_iter().flat_map(move |room| room.words(word)))
    }
}

/// A room, if it was made.
fn in_room<const ENDS: usize>(room: &Cell<Option<NonNull<Room<ENDS>>>>) -> Option<&Room<ENDS>> {
    // SAFETY: made below, and this lane's for good.
    room.get().map(|room| unsafe { room.as_ref() })
}

/// A room, which is made of memory from `take` if it was not.
fn made<const ENDS: usize>(
    room: &Cell<Option<NonNull<Room<ENDS>>>>,
    take: fn(usize) -> Option<NonNull<u8>>,
) -> Option<&Room<ENDS>> {
    if room.get().is_none() {
        // Zeroed memory of that length, aligned to a page; zeros are valid cells, and `None`.
        room.set(Some(take(size_of::<Room<ENDS>>())?.cast()));
    }
    in_room(room)
}

fn empty<const ENDS: usize>(room: &Cell<Option<NonNull<Room<ENDS>>>>) {
    if let Some(room) = in_room(room) {
        room.empty();
    }
}

fn len<const ENDS: usize>(room: &Cell<Option<NonNull<Room<ENDS>>>>) -> usize {
    in_room(room).map_or(0, |room| room.len.get())
}

/// The stack from `frame` outwards, kept in a larger room.
fn update<const ENDS: usize>(room: &Room<ENDS>, frame: usize, home: Home) -> Result<Known, NotKept> {
    match room.is_same(frame, home.root) {
        true => Ok(room.known(None)),
        false => room.update(frame, home),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::unwind::frame_pointer::Bounds;
    use crate::engine::unwind::kept_room::{is_there_with, SEED_OF_WALKS};
    use crate::engine::unwind::table_walk::{Others, Step, Words};
    use crate::ledger::layout::ROUNDS_LEFT_OUT;

    /// A walk's steps, innermost first: an address, and the function if it was found by the stack pointer. Joins what is kept at `join`.
    fn keep(walk: &KeptWalk, steps: &[(u64, u64)], join: usize) -> Known {
        let room = made(&walk.near, private_bytes).expect("there is memory");
        let mut fresh = 0;
        for &(address, function) in steps {
            let step = Step { address, by_table: (function != 0).then_some(function) };
            let others = step.by_table.map(|_| Others { frame: None, third: None });
            let words = Words { place: address as usize * 16, address: address as usize, frame: 0, others };
            room.push(&mut fresh, step, &words).expect("there is room");
        }
        room.end_with(SEED_OF_WALKS);
        room.keep(fresh, join, Bounds::NOWHERE).expect("there is room");
        room.known(None)
    }

    fn words(walk: &KeptWalk) -> Vec<u64> {
        walk.from(0).collect()
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no memory for it that nobody owns")]
    fn of_recursion_without_frame_pointers_one_round_is_kept() {
        let walk = KeptWalk::new();
        // sort calls itself, and compare; the caller of sort has a frame pointer.
        let outer = [(12, 10), (3, 0)];
        let first = keep(&walk, &[&[(1, 0), (11, 10), (21, 20), (2, 0)], &outer[..]].concat(), NEAR);
        assert_eq!(words(&walk), [1, 11, 21, 2, 12, 3]);
        // Deeper by a round, from the record of 2 on as before.
        let deeper = keep(&walk, &[(1, 0), (11, 10), (13, 10), (12, 10), (21, 20)], NEAR - 3);
        assert_eq!(words(&walk), [1, 11, ROUNDS_LEFT_OUT, 12, 21, 2, 12, 3]);
        // And by one more, which is the same stack with its middle left out.
        let deepest = keep(&walk, &[(1, 0), (11, 10), (13, 10), (14, 10), (12, 10), (21, 20)], NEAR - 3);
        assert_eq!(words(&walk), [1, 11, ROUNDS_LEFT_OUT, 12, 21, 2, 12, 3]);
        assert!(first.hash != deeper.hash && deeper.hash == deepest.hash && !first.is_chain);
    }

    #[test]
    fn a_record_is_there_with_another_on_its_page_and_on_the_threads_own_stack() {
        let own = Bounds { low: 0x10000, high: 0x20000 };
        for (place, outer, expected) in [
            (0x5000, 0x5ff0, true),
            // Its second word would lie on the next page; on the next page; inwards; the same again.
            (0x5000, 0x5ff8, false),
            (0x5ff0, 0x6000, false),
            (0x5010, 0x5000, false),
            (0x5010, 0x5010, false),
            // From end to end; inwards; off it.
            (0x10000, 0x1fff0, true),
            (0x12000, 0x11000, false),
            (0x1fff0, 0x20000, false),
            (0xfff0, 0x10000, false),
        ] {
            assert_eq!(is_there_with(place, outer, own), expected, "{place:x} {outer:x}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no memory for it that nobody owns")]
    fn records_are_compared_together_as_far_as_they_are_there_together() {
        let walk = KeptWalk::new();
        // Places are addresses times 16, so 255 is the last of a page; 300 was found by the stack pointer.
        keep(&walk, &[(253, 0), (254, 0), (255, 0), (256, 0), (257, 0), (300, 10), (301, 0)], NEAR);
        let room = in_room(&walk.near).expect("it was made");
        let runs: Vec<u32> = room.records[NEAR - 7..].iter().map(|record| record.run.get()).collect();
        assert_eq!(runs, [3, 2, 1, 2, 1, 0, 1, 0]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no memory for it that nobody owns")]
    fn a_walk_by_frame_pointers_alone_is_a_chain() {
        let walk = KeptWalk::new();
        assert!(keep(&walk, &[(1, 0), (2, 0), (0, 0)], NEAR).is_chain);
        assert_eq!(words(&walk), [1, 2]);
        assert!(!keep(&walk, &[(1, 0), (11, 10), (2, 0)], NEAR).is_chain);
        // Without what was found by the stack pointer it is one again.
        assert!(keep(&walk, &[(4, 0)], NEAR - 1).is_chain);
        assert_eq!(words(&walk), [4, 2]);
        walk.empty();
        assert_eq!(words(&walk), [0; 0]);
    }
}
