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
//! What a step came to is an *entry*: a frame record, or words that lie anywhere (*scattered*). Of a run of functions that were found by the stack
//! pointer, what lies between two frames of one function is left out, as `excerpt` does it: an entry leads to the one that is next
//! outwards in what is left, so that hashes and stacks are those of what is left.

#![allow(unsafe_code)] // loads from stacks

use crate::engine::store::own_memory;
use crate::engine::unwind::code_at;
use crate::engine::unwind::frame_pointer::{finish, mix, stand, Bounds, Frame, Held, SEED};
use crate::engine::unwind::table_walk::{Ending, Root, Step, TableWalk, Words, MOST_STEPS};
use std::cell::Cell;
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::atomic::{compiler_fence, Ordering};

/// Entries of the deepest walk that a lane without deep stacks has room for.
const NEAR: usize = 2048;
/// Entries of the deepest walk that is kept. What is deeper is walked anew at each event, and ends there.
const MOST_ENTRIES: usize = MOST_STEPS;
/// A walk of fewer entries than this goes back to the smaller room. Half of it, so that one that grows and shrinks by some frames does
/// not go back and forth.
const SHALLOW: usize = NEAR / 2;
/// Frames of a run that are looked through for the same function.
const LONGEST_RUN: usize = 64;

/// One lane's rooms for such a walk, each made when it is first needed.
pub(crate) struct KeptWalk {
    near: Cell<Option<NonNull<Near>>>,
    /// For a walk that `near` has no room for. Where this keeps one, `near` keeps none.
    deep: Cell<Option<NonNull<Deep>>>,
    /// What the caller knows this stack by; 0 = nothing, or no stack is kept in `near`.
    noted: Cell<u32>,
    /// In use: an event in a signal handler goes without.
    busy: Cell<bool>,
}

/// See [`Room`].
type Near = Room<{ NEAR + 1 }>;
type Deep = Room<{ MOST_ENTRIES + 1 }>;

/// Room for `ENDS - 1` entries. Entry `i` of each array is one step's; those in use stand at the end, so that what is outer keeps its
/// place, and behind the last one (`LEN`) is what that leads to. Zeros are an empty room.
struct Room<const ENDS: usize> {
    records: [Record; ENDS],
    /// Of a scattered entry: where its frame pointer lies, and a further word with its place.
    others: [[Cell<usize>; 3]; ENDS],
    frames: [FrameOfEntry; ENDS],
    /// The entries of a walk, until it is known where they go.
    fresh: [FreshEntry; ENDS],
    /// How many are kept.
    len: Cell<usize>,
    /// The entry whose record is the anchor's; `LEN` = it is not among them.
    fixed: Cell<usize>,
    /// The root that the walk was to end at.
    root: Cell<[u64; 2]>,
    /// How many libraries had been unloaded.
    unloads: Cell<u32>,
}

/// The words of an entry.
struct Record {
    /// As they are in memory. Of a scattered entry, only the return address lies where it would in a record.
    held: Held,
    place: Cell<usize>,
    /// How many entries from this one on may be read before any of them was compared, if this one is where it was; 0 = it is scattered.
    run: Cell<u32>,
    /// The first scattered entry from this one on; `LEN` = none.
    scattered: Cell<u32>,
}

impl Record {
    fn words(&self) -> [usize; 3] {
        [self.place.get(), self.held.next.get(), self.held.address.get() as usize]
    }
}

/// What an entry says of the stack.
struct FrameOfEntry {
    /// The return address; 0 = the walk's end.
    address: Cell<u64>,
    /// Where the function that is returned to begins, if it was found by the stack pointer; else 0.
    function: Cell<u64>,
    /// The hash of this and all that it leads to.
    hash: Cell<u64>,
    /// The next entry outwards that is not left out.
    outer: Cell<u32>,
}

struct FreshEntry {
    record: Cell<[usize; 3]>,
    others: Cell<Option<[usize; 3]>>,
    address: Cell<u64>,
    function: Cell<u64>,
}

/// What is known of the calling thread besides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Home {
    pub(crate) own_stack: Bounds,
    pub(crate) root: Option<Root>,
    /// Where the frames lie, on the thread's own stack, from which on outwards nothing changes; 0 = nowhere.
    pub(crate) anchor: usize,
}

/// The stack as it was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// The hash of the return addresses, which is none that a chain of frame pointers has.
    pub(crate) hash: u64,
    /// It was found by frame pointers alone.
    pub(crate) is_chain: bool,
    /// The thread's root, if it was not known and the walk came to it.
    pub(crate) root: Option<Root>,
}

impl KeptWalk {
    pub(crate) const fn new() -> KeptWalk {
        KeptWalk { near: Cell::new(None), deep: Cell::new(None), noted: Cell::new(0), busy: Cell::new(false) }
    }

    /// A thread may have died in the middle, and what was kept is of another thread.
    pub(crate) fn forget(&self) {
        self.empty();
        self.busy.set(false);
    }

    /// Frames that were taken to stay as they are do so no longer.
    pub(crate) fn empty(&self) {
        self.noted.set(0);
        if let Some(near) = in_room(&self.near) {
            near.empty();
        }
        if let Some(deep) = in_room(&self.deep) {
            deep.empty();
        }
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

    /// Of a stack that is not as a whole what `near` keeps.
    #[cold]
    #[inline(never)]
    fn know_anew(&self, frame: usize, home: Home) -> Option<Known> {
        self.noted.set(0);
        let deep = in_room(&self.deep);
        if !deep.is_some_and(|deep| deep.len.get() >= SHALLOW) {
            let near = made(&self.near)?;
            match near.update(frame, home) {
                Err(NotKept::TooDeep) => near.empty(),
                known => {
                    if let Some(deep) = deep {
                        deep.empty();
                    }
                    return known.ok();
                }
            }
        }
        let deep = made(&self.deep)?;
        match deep.is_same(frame, home.root) {
            true => Some(deep.known(None)),
            false => deep.update(frame, home).ok(),
        }
    }

    /// The return addresses of the stack that is kept, innermost first.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = u64> + '_ {
        let near = in_room(&self.near).into_iter().flat_map(Room::addresses);
        near.chain(in_room(&self.deep).into_iter().flat_map(Room::addresses))
    }
}

/// A room, if it was made.
fn in_room<const ENDS: usize>(room: &Cell<Option<NonNull<Room<ENDS>>>>) -> Option<&Room<ENDS>> {
    // SAFETY: made below, and this lane's for good.
    room.get().map(|room| unsafe { room.as_ref() })
}

/// A room, which is made now if it was not.
fn made<const ENDS: usize>(room: &Cell<Option<NonNull<Room<ENDS>>>>) -> Option<&Room<ENDS>> {
    if room.get().is_none() {
        // Zeroed memory of that length, aligned to a page; zeros are valid cells, and `None`.
        room.set(Some(own_memory::private_bytes(size_of::<Room<ENDS>>())?.cast()));
    }
    in_room(room)
}

/// The root that a walk is to end at, as two words.
#[inline(always)]
fn root_of(root: Option<Root>) -> [u64; 2] {
    root.map_or([0; 2], |root| [root.place as u64, root.address])
}

/// Why a walk is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NotKept {
    /// There is no room for it.
    TooDeep,
    /// It came to no end, or its next one may find something else though all words are what they were.
    Unsure,
}

impl<const ENDS: usize> Room<ENDS> {
    /// Entries; the number behind the last one.
    const LEN: usize = ENDS - 1;

    fn empty(&self) {
        self.len.set(0);
    }

    /// The return addresses of the stack that is kept, innermost first.
    fn addresses(&self) -> impl Iterator<Item = u64> + '_ {
        let mut at = Self::LEN - self.len.get();
        std::iter::from_fn(move || {
            let frame = self.frames.get(at)?;
            at = frame.outer.get() as usize;
            Some(frame.address.get()).filter(|&address| address != 0)
        })
    }

    /// Whether the stack from `frame` outwards is as a whole what is kept.
    #[inline(always)]
    fn is_same(&self, frame: usize, root: Option<Root>) -> bool {
        let start = Self::LEN - self.len.get();
        start < Self::LEN
            && at(&self.records, start).place.get() == frame
            && self.root.get() == root_of(root)
            && self.unloads.get() == code_at::unloads()
            && self.standing(start) == Self::LEN
    }

    /// For a stack that is not as a whole what is kept.
    fn update(&self, frame: usize, home: Home) -> Result<Known, NotKept> {
        let (root, unloads) = (root_of(home.root), code_at::unloads());
        if self.root.replace(root) != root || self.unloads.replace(unloads) != unloads {
            self.empty();
        }
        self.walk(frame, home)
    }

    #[inline(never)]
    fn walk(&self, frame: usize, home: Home) -> Result<Known, NotKept> {
        let mut walk = TableWalk::new(home.own_stack, home.root);
        let mut fresh = 0;
        // Entries further in than this one are gone.
        let mut from = Self::LEN - self.len.get();
        let mut begin = frame;
        loop {
            let mut search = Search { first: from, at: from, last_place: 0 };
            let mut full = false;
            let mut joins_at = None;
            let ending = walk.go(Frame(begin), |step, words| {
                joins_at = words.others.is_none().then(|| search.entry_at(self, words.place)).flatten();
                if joins_at.is_none() {
                    full = self.push(&mut fresh, step, words).is_none();
                }
                full || joins_at.is_some()
            });
            let Some(join) = joins_at else {
                if full {
                    return Err(NotKept::TooDeep);
                }
                if ending != Ending::Whole || walk.has_guessed() {
                    return Err(NotKept::Unsure);
                }
                self.end_with(SEED_OF_WALKS);
                self.keep(fresh, Self::LEN, home.own_stack).ok_or(NotKept::TooDeep)?;
                let is_anchor = |at: &usize| self.place(*at) == Some(home.anchor) && !self.is_scattered(*at);
                self.fixed.set((Self::LEN - self.len.get()..Self::LEN).rev().find(is_anchor).unwrap_or(Self::LEN));
                return Ok(self.known(walk.found_root()));
            };
            let changed = self.standing(join);
            if changed == Self::LEN {
                if walk.has_guessed() {
                    return Err(NotKept::Unsure);
                }
                self.keep(fresh, join, home.own_stack).ok_or(NotKept::TooDeep)?;
                return Ok(self.known(None));
            }
            // Again from the last frame record before what changed: all that a walk goes by is in it.
            let restart = (join..=changed).rev().find(|&at| !self.is_scattered(at)).unwrap_or(join);
            for entry in join..restart {
                self.push_again(&mut fresh, entry).ok_or(NotKept::TooDeep)?;
            }
            begin = self.place(restart).ok_or(NotKept::Unsure)?;
            from = changed + 1;
        }
    }

    fn known(&self, root: Option<Root>) -> Known {
        let start = Self::LEN - self.len.get();
        let hash = self.frames.get(start).map_or(0, |frame| frame.hash.get());
        let first_scattered = self.records.get(start).map_or(Self::LEN, |record| record.scattered.get() as usize);
        Known { hash: finish(hash), is_chain: first_scattered >= Self::LEN, root }
    }

    fn place(&self, entry: usize) -> Option<usize> {
        self.records.get(entry).map(|record| record.place.get())
    }

    fn is_scattered(&self, entry: usize) -> bool {
        self.records.get(entry).is_some_and(|record| record.scattered.get() as usize == entry)
    }

    /// The innermost entry from `first`, a frame record, outwards that is not what it was; `LEN` where there is none.
    #[inline(always)]
    fn standing(&self, first: usize) -> usize {
        let fixed = self.fixed.get();
        let mut i = first;
        while i < fixed {
            let run = at(&self.records, i).run.get() as usize;
            if run == 0 {
                if !self.scattered_stands(i) {
                    return i;
                }
                i += 1;
                continue;
            }
            let end = fixed.min(i + run);
            i = self.standing_by::<16>(i, end);
            i = self.standing_by::<4>(i, end);
            while i < end {
                if !self.stand::<1>(i) {
                    return i;
                }
                i += 1;
            }
        }
        Self::LEN
    }

    /// The first entry from `i` on, after so many turns, that is in a turn which does not stand as a whole, or which goes beyond `end`.
    #[inline(always)]
    fn standing_by<const TURN: usize>(&self, mut i: usize, end: usize) -> usize {
        while i + TURN <= end && self.stand::<TURN>(i) {
            i += TURN;
        }
        i
    }

    /// Whether the records of a run are what they were.
    #[inline(always)]
    fn stand<const TURN: usize>(&self, first: usize) -> bool {
        let records = std::array::from_fn::<_, TURN, _>(|k| {
            let Record { place, held, .. } = at(&self.records, first + k);
            (place.get(), held)
        });
        // SAFETY: all words before the first of these are what they were, so they lead to it; where that is, all of its run is mapped.
        unsafe { stand(records) }
    }

    #[inline(always)]
    fn scattered_stands(&self, i: usize) -> bool {
        let [place, old_frame, old_address] = at(&self.records, i).words();
        let [frame_at, third_at, third] = at(&self.others, i).each_ref().map(Cell::get);
        // SAFETY: all words before this one are what they were, so they lead to it; so for the next two.
        let address = unsafe { *((place + 8) as *const usize) };
        // SAFETY: as above.
        let frame = unsafe { *(frame_at as *const usize) };
        // SAFETY: as above.
        let other = unsafe { *(third_at as *const usize) };
        (frame ^ old_frame) | (address ^ old_address) | (other ^ third) == 0
    }

    fn push(&self, fresh: &mut usize, step: Step, words: &Words) -> Option<()> {
        let entry = self.fresh.get(*fresh)?;
        let address_at = words.place + 8;
        let mut frame = words.frame;
        entry.others.set(words.others.map(|others| {
            let [third_at, third] = others.third.unwrap_or([address_at, words.address]);
            let frame_at = others.frame.unwrap_or_else(|| {
                // It was compared before.
                frame = words.address;
                address_at
            });
            [frame_at, third_at, third]
        }));
        entry.record.set([words.place, frame, words.address]);
        entry.address.set(step.address);
        entry.function.set(step.by_table.unwrap_or(0));
        *fresh += 1;
        Some(())
    }

    fn push_again(&self, fresh: &mut usize, i: usize) -> Option<()> {
        let entry = self.fresh.get(*fresh)?;
        entry.record.set(self.records.get(i)?.words());
        let others = self.others.get(i)?.each_ref().map(Cell::get);
        entry.others.set(self.is_scattered(i).then_some(others));
        let frame = self.frames.get(i)?;
        entry.address.set(frame.address.get());
        entry.function.set(frame.function.get());
        *fresh += 1;
        Some(())
    }

    /// What hashes begin with at the outer end.
    fn end_with(&self, seed: u64) {
        if let (Some(frame), Some(record)) = (self.frames.get(Self::LEN), self.records.get(Self::LEN)) {
            frame.hash.set(seed);
            record.scattered.set(Self::LEN as u32);
            record.run.set(0);
        }
    }

    /// Puts the fresh entries before those from `join` on.
    fn keep(&self, fresh: usize, join: usize, own_stack: Bounds) -> Option<()> {
        let start = join.checked_sub(fresh)?;
        for i in (0..fresh).rev() {
            let (entry, new) = (start + i, self.fresh.get(i)?);
            let [place, next, held_address] = new.record.get();
            let (record, outer) = (self.records.get(entry)?, self.records.get(entry + 1)?);
            record.place.set(place);
            record.held.next.set(next);
            record.held.address.set(held_address as u64);
            match new.others.get() {
                Some(others) => {
                    self.others.get(entry)?.iter().zip(others).for_each(|(to, from)| to.set(from));
                    record.scattered.set(entry as u32);
                    record.run.set(0);
                }
                None => {
                    record.scattered.set(outer.scattered.get());
                    let is_one = is_there_with(place, outer.place.get(), own_stack);
                    record.run.set(1 + if is_one { outer.run.get() } else { 0 });
                }
            }
            let (address, function) = (new.address.get(), new.function.get());
            let outer = self.caller_of(function, entry + 1)?;
            let hash = self.frames.get(outer)?.hash.get();
            let frame = self.frames.get(entry)?;
            frame.address.set(address);
            frame.function.set(function);
            frame.outer.set(outer as u32);
            frame.hash.set(if address == 0 { hash } else { mix(hash, address) });
        }
        self.len.set(Self::LEN - start);
        Some(())
    }

    /// What is next outwards of a frame that `next` called: `next`, or the outermost frame of the same function in the run that begins there.
    fn caller_of(&self, function: u64, next: usize) -> Option<usize> {
        let mut caller = next;
        let mut at = next;
        for _ in 0..LONGEST_RUN {
            if function == 0 || at == Self::LEN {
                break;
            }
            let frame = self.frames.get(at)?;
            match frame.function.get() {
                0 => break,
                other if other == function => caller = at,
                _ => {}
            }
            at = frame.outer.get() as usize;
        }
        Some(caller)
    }
}

/// What the hash of a walk begins with.
const SEED_OF_WALKS: u64 = SEED ^ 5;

/// Looks for places among the kept entries, which mostly come in the order in which these stand.
struct Search {
    first: usize,
    at: usize,
    last_place: usize,
}

impl Search {
    /// The frame record at `place`.
    fn entry_at<const ENDS: usize>(&mut self, room: &Room<ENDS>, place: usize) -> Option<usize> {
        // On another stack, any may come.
        if place < self.last_place {
            self.at = self.first;
        }
        self.last_place = place;
        while self.at < Room::<ENDS>::LEN && room.place(self.at)? < place {
            self.at += 1;
        }
        let is_it = room.place(self.at)? == place && !room.is_scattered(self.at);
        is_it.then_some(self.at)
    }
}

/// Whether there is a record at `outer` where one is at `place`, whatever that holds: farther out on the thread's own stack, or on the
/// same page.
fn is_there_with(place: usize, outer: usize, own_stack: Bounds) -> bool {
    const PAGE: usize = 4096;
    let is_own = own_stack.hold(place) && own_stack.hold(outer);
    place < outer && (is_own || place / PAGE == (outer + 15) / PAGE)
}

/// An element of one of the arrays.
#[inline(always)]
fn at<T>(array: &[T], i: usize) -> &T {
    debug_assert!(i < array.len());
    // SAFETY: entries are numbered up to `LEN`, the last number that the arrays have.
    unsafe { array.get_unchecked(i) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::unwind::table_walk::Others;

    /// A walk's steps, innermost first: an address, and the function if it was found by the stack pointer. Joins what is kept at `join`.
    fn keep(walk: &KeptWalk, steps: &[(u64, u64)], join: usize) -> Known {
        let room = made(&walk.near).expect("there is memory");
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

    fn addresses(walk: &KeptWalk) -> Vec<u64> {
        walk.addresses().collect()
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no memory for it that nobody owns")]
    fn of_recursion_without_frame_pointers_one_round_is_kept() {
        let walk = KeptWalk::new();
        // sort calls itself, and compare; the caller of sort has a frame pointer.
        let outer = [(12, 10), (3, 0)];
        let first = keep(&walk, &[&[(1, 0), (11, 10), (21, 20), (2, 0)], &outer[..]].concat(), NEAR);
        assert_eq!(addresses(&walk), [1, 11, 21, 2, 12, 3]);
        // Deeper by a round, from the record of 2 on as before.
        let deeper = keep(&walk, &[(1, 0), (11, 10), (13, 10), (12, 10), (21, 20)], NEAR - 3);
        assert_eq!(addresses(&walk), [1, 11, 12, 21, 2, 12, 3]);
        // And by one more, which is the same stack with its middle left out.
        let deepest = keep(&walk, &[(1, 0), (11, 10), (13, 10), (14, 10), (12, 10), (21, 20)], NEAR - 3);
        assert_eq!(addresses(&walk), [1, 11, 12, 21, 2, 12, 3]);
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
        assert_eq!(addresses(&walk), [1, 2]);
        assert!(!keep(&walk, &[(1, 0), (11, 10), (2, 0)], NEAR).is_chain);
        // Without what was found by the stack pointer it is one again.
        assert!(keep(&walk, &[(4, 0)], NEAR - 1).is_chain);
        assert_eq!(addresses(&walk), [4, 2]);
        walk.empty();
        assert_eq!(addresses(&walk), [0; 0]);
    }
}
