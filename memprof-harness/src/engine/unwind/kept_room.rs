//! Room for the words of one walk that is kept, see `kept_walk`.
//!
//! What a step came to is an *entry*: a frame record, or words that lie anywhere (*scattered*). Of a run of functions that were found by the stack
//! pointer, what lies between two frames of one function is left out and marked, as `excerpt` does it: an entry leads to the one that is next
//! outwards in what is left, so that hashes and stacks are those of what is left.

#![allow(unsafe_code)] // loads from stacks

use crate::engine::unwind::code_at;
use crate::engine::unwind::frame_pointer::{finish, mix, stand, Bounds, Frame, Held, SEED};
use crate::engine::unwind::table_walk::{Ending, Root, Step, TableWalk, Words};
use crate::ledger::layout::ROUNDS_LEFT_OUT;
use std::cell::Cell;

/// Frames of a run that are looked through for the same function.
const LONGEST_RUN: usize = 64;

/// Room for `ENDS - 1` entries. Entry `i` of each array is one step's; those in use stand at the end, so that what is outer keeps its
/// place, and behind the last one (`LEN`) is what that leads to. Zeros are an empty room.
pub(super) struct Room<const ENDS: usize> {
    pub(super) records: [Record; ENDS],
    /// Of a scattered entry: where its frame pointer lies, and a further word with its place.
    pub(super) others: [[Cell<usize>; 3]; ENDS],
    pub(super) frames: [FrameOfEntry; ENDS],
    /// The entries of a walk, until it is known where they go.
    pub(super) fresh: [FreshEntry; ENDS],
    /// How many are kept.
    pub(super) len: Cell<usize>,
    /// The entry whose record is the anchor's; `LEN` = it is not among them.
    pub(super) fixed: Cell<usize>,
    /// The root that the walk was to end at.
    pub(super) root: Cell<[u64; 2]>,
    /// How many libraries had been unloaded.
    pub(super) unloads: Cell<u32>,
    /// The walk could not go on: callers are missing.
    pub(super) is_lost: Cell<bool>,
}

/// The words of an entry.
pub(super) struct Record {
    /// As they are in memory. Of a scattered entry, only the return address lies where it would in a record.
    held: Held,
    place: Cell<usize>,
    /// How many entries from this one on may be read before any of them was compared, if this one is where it was; 0 = it is scattered.
    pub(super) run: Cell<u32>,
    /// The first scattered entry from this one on; `LEN` = none.
    scattered: Cell<u32>,
}

impl Record {
    fn words(&self) -> [usize; 3] {
        [self.place.get(), self.held.next.get(), self.held.address.get() as usize]
    }
}

/// What an entry says of the stack.
pub(super) struct FrameOfEntry {
    /// The return address; 0 = the walk's end.
    address: Cell<u64>,
    /// Where the function that is returned to begins, if it was found by the stack pointer; else 0.
    function: Cell<u64>,
    /// The hash of this and all that it leads to.
    hash: Cell<u64>,
    /// The next entry outwards that is not left out.
    outer: Cell<u32>,
}

pub(super) struct FreshEntry {
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
    /// It was found by frame pointers alone, and is whole.
    pub(crate) is_chain: bool,
    /// The walk could not go on: callers are missing.
    pub(crate) is_lost: bool,
    /// The thread's root, if it was not known and the walk came to it.
    pub(crate) root: Option<Root>,
}

/// The root that a walk is to end at, as two words.
#[inline(always)]
fn root_of(root: Option<Root>) -> [u64; 2] {
    root.map_or([0; 2], |root| [root.place as u64, root.address])
}

/// Why a walk is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotKept {
    /// There is no room for it.
    TooDeep,
    /// Its next one may find something else though all words are what they were.
    Unsure,
}

impl<const ENDS: usize> Room<ENDS> {
    /// Entries; the number behind the last one.
    pub(super) const LEN: usize = ENDS - 1;

    pub(super) fn empty(&self) {
        self.len.set(0);
    }

    /// The words of the stack that is kept, innermost first: return addresses, and [`ROUNDS_LEFT_OUT`] where frames are.
    pub(super) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        let mut at = Self::LEN - self.len.get();
        let mut is_at_gap = false;
        std::iter::from_fn(move || {
            if is_at_gap {
                is_at_gap = false;
                return Some(ROUNDS_LEFT_OUT);
            }
            let frame = self.frames.get(at)?;
            let outer = frame.outer.get() as usize;
            is_at_gap = outer > at + 1;
            at = outer;
            Some(frame.address.get()).filter(|&address| address != 0)
        })
    }

    /// Whether the stack from `frame` outwards is as a whole what is kept.
    #[inline(always)]
    pub(super) fn is_same(&self, frame: usize, root: Option<Root>) -> bool {
        let start = Self::LEN - self.len.get();
        start < Self::LEN
            && at(&self.records, start).place.get() == frame
            && self.root.get() == root_of(root)
            && self.unloads.get() == code_at::unloads()
            && self.standing(start) == Self::LEN
    }

    /// For a stack that is not as a whole what is kept.
    pub(super) fn update(&self, frame: usize, home: Home) -> Result<Known, NotKept> {
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
                let is_lost = match ending {
                    Ending::Whole => false,
                    Ending::Lost { recurs: true } => true,
                    Ending::Lost { recurs: false } | Ending::Stopped => return Err(NotKept::Unsure),
                };
                self.is_lost.set(is_lost);
                self.end_with(if is_lost { SEED_OF_LOST } else { SEED_OF_WALKS });
                self.keep(fresh, Self::LEN, home.own_stack).ok_or(NotKept::TooDeep)?;
                let is_anchor = |at: &usize| self.place(*at) == Some(home.anchor) && !self.is_scattered(*at);
                self.fixed.set((Self::LEN - self.len.get()..Self::LEN).rev().find(is_anchor).unwrap_or(Self::LEN));
                return Ok(self.known(walk.found_root()));
            };
            let changed = self.standing(join);
            if changed == Self::LEN {
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

    pub(super) fn known(&self, root: Option<Root>) -> Known {
        let start = Self::LEN - self.len.get();
        let hash = self.frames.get(start).map_or(0, |frame| frame.hash.get());
        let first_scattered = self.records.get(start).map_or(Self::LEN, |record| record.scattered.get() as usize);
        let is_lost = self.is_lost.get();
        Known { hash: finish(hash), is_chain: first_scattered >= Self::LEN && !is_lost, is_lost, root }
    }

    pub(super) fn place(&self, entry: usize) -> Option<usize> {
        self.records.get(entry).map(|record| record.place.get())
    }

    pub(super) fn is_scattered(&self, entry: usize) -> bool {
        self.records.get(entry).is_some_and(|record| record.scattered.get() as usize == entry)
    }

    /// The innermost entry from `first`, a frame record, outwards that is not what it was; `LEN` where there is none.
    #[inline(always)]
    pub(super) fn standing(&self, first: usize) -> usize {
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
    pub(super) fn standing_by<const TURN: usize>(&self, mut i: usize, end: usize) -> usize {
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

    pub(super) fn push(&self, fresh: &mut usize, step: Step, words: &Words) -> Option<()> {
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
    pub(super) fn end_with(&self, seed: u64) {
        if let (Some(frame), Some(record)) = (self.frames.get(Self::LEN), self.records.get(Self::LEN)) {
            frame.hash.set(seed);
            record.scattered.set(Self::LEN as u32);
            record.run.set(0);
        }
    }

    /// Puts the fresh entries before those from `join` on.
    pub(super) fn keep(&self, fresh: usize, join: usize, own_stack: Bounds) -> Option<()> {
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
            let mut hash = self.frames.get(outer)?.hash.get();
            if outer > entry + 1 {
                hash = mix(hash, ROUNDS_LEFT_OUT);
            }
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

/// What the hash of a walk begins with, and of one that could not go on.
pub(super) const SEED_OF_WALKS: u64 = SEED ^ 5;
const SEED_OF_LOST: u64 = SEED ^ 3;

/// Looks for places among the kept entries, which mostly come in the order in which these stand.
pub(super) struct Search {
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
pub(super) fn is_there_with(place: usize, outer: usize, own_stack: Bounds) -> bool {
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
