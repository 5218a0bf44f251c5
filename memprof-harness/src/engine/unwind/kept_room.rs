//! Room for the words of one walk that is kept, see `kept_walk`.
//!
//! What a step came to is an *entry*: a frame record, or words that lie anywhere (*scattered*). Of a run of functions that were found by the stack
//! pointer, what lies between two frames of one function is left out and marked, as `excerpt` does it: an entry leads to the one that is next
//! outwards in what is left, so that hashes and stacks are those of what is left.

#![allow(unsafe_code)] // loads from stacks

use crate::engine::unwind::code_at;
use crate::engine::unwind::frame_pointer::{finish, mix, stand, Bounds, Frame, SEED};
use crate::engine::unwind::kept_entry::{Entry, FrameOfEntry, FreshEntry, Met, Record, Search, Start};
use crate::engine::unwind::table_walk::{Ending, Root, Step, TableWalk, Words};
use crate::engine::unwind::tables::{self, FramePointer};
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

    /// How many words the stack that is kept has, and how many of them stand for frames that are left out.
    pub(super) fn counts(&self) -> [usize; 2] {
        let frame = self.frames.get(Self::LEN - self.len.get());
        frame.map_or([0; 2], |frame| {
            [frame.words.get(), frame.words.get() - frame.frames.get()].map(|count| count as usize)
        })
    }

    /// The words of the stack that is kept, from the one with this number outwards: return addresses, and [`ROUNDS_LEFT_OUT`] where frames are.
    /// The innermost is 0.
    pub(super) fn words(&self, from: usize) -> impl Iterator<Item = u64> + '_ {
        let [words, _] = self.counts();
        let left = words.saturating_sub(from);
        let mut at = self.entry_with(left);
        // A gap is of the entry before it.
        let mut is_at_gap = self.frames.get(at).is_some_and(|frame| (frame.words.get() as usize) < left);
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

    /// The innermost entry from which on the stack has so many words, or one less.
    fn entry_with(&self, words: usize) -> usize {
        let words_from = |entry: usize| self.frames.get(entry).map_or(0, |frame| frame.words.get() as usize);
        let mut at = Self::LEN - self.len.get();
        while words_from(at) > words {
            let Some(frame) = self.frames.get(at) else { break };
            let [jump, outer] = [&frame.jump, &frame.outer].map(|entry| entry.get() as usize);
            at = if words_from(jump) > words { jump } else { outer };
        }
        at
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
        let mut start = Start::At(Frame(frame));
        loop {
            let mut search = Search::from(from);
            let mut full = false;
            let mut met = None;
            let visit = |step: Step, words: &Words| {
                met = search.meets(step, words, |number| self.entry(number));
                if !matches!(met, Some(Met::Record(_))) {
                    full = self.push(&mut fresh, step, words).is_none();
                }
                full || met.is_some()
            };
            let ending = match start {
                Start::At(frame) => walk.go(frame, visit),
                Start::From(address, words) => walk.resume(address, words, visit),
            };
            if full {
                return Err(NotKept::TooDeep);
            }
            let Some(met) = met else {
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
            let join = match met {
                Met::Record(entry) => entry,
                Met::Behind(entry) => entry + 1,
            };
            if join > self.fixed.get() {
                // The walk did not come by the anchor.
                self.fixed.set(Self::LEN);
            }
            let changed = self.standing(join);
            if changed == Self::LEN {
                self.keep(fresh, join, home.own_stack).ok_or(NotKept::TooDeep)?;
                return Ok(self.known(None));
            }
            // Again from the last entry before what changed that has all in it that the walk goes by.
            start = match self.last_start(join, changed) {
                Some((restart, start)) => {
                    for entry in join..restart {
                        self.push_again(&mut fresh, entry).ok_or(NotKept::TooDeep)?;
                    }
                    start
                }
                // It is the one that was met, as the walk came to it now.
                None => {
                    fresh = fresh.checked_sub(1).ok_or(NotKept::Unsure)?;
                    let (address, words) = self.fresh.get(fresh).map(FreshEntry::plain_words).ok_or(NotKept::Unsure)?;
                    Start::From(address, words)
                }
            };
            from = changed + 1;
        }
    }

    /// The last of the entries from `join` on at which a walk may begin anew, where the one at `changed` is the first that is not what it was.
    fn last_start(&self, join: usize, changed: usize) -> Option<(usize, Start)> {
        (join..=changed).rev().find_map(|entry| {
            let start = if self.is_scattered(entry) {
                self.plain_words(entry).filter(|_| entry < changed).map(|(address, words)| Start::From(address, words))
            } else {
                // A record that changed is still at its place. More is asked of one that was come to by a guess, or where a signal came.
                let is_certain = entry < changed || entry == join || self.calls_surely(entry - 1);
                self.place(entry).filter(|_| is_certain).map(|place| Start::At(Frame(place)))
            };
            Some((entry, start?))
        })
    }

    /// An entry; `None` behind the last one.
    fn entry(&self, number: usize) -> Option<Entry<'_>> {
        let (record, others, frame) = (self.records.get(number)?, self.others.get(number)?, self.frames.get(number)?);
        (number < Self::LEN).then_some(Entry { number, record, others, frame })
    }

    fn plain_words(&self, number: usize) -> Option<(u64, Words)> {
        self.entry(number)?.plain_words()
    }

    /// Whether it is certain how the walk goes on from an entry, by its registers alone.
    fn calls_surely(&self, entry: usize) -> bool {
        let is_told = |frame: &FrameOfEntry| tables::frame_pointer(frame.address.get()) != FramePointer::Guessed;
        let is_certain = !self.is_scattered(entry) || self.plain_words(entry).is_some();
        is_certain && self.frames.get(entry).is_some_and(is_told)
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
        entry.frame.set(words.frame);
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
        entry.frame.set(frame.frame.get());
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
            let is_before_gap = outer > entry + 1;
            let caller = self.frames.get(outer)?;
            let mut hash = caller.hash.get();
            if is_before_gap {
                hash = mix(hash, ROUNDS_LEFT_OUT);
            }
            let frame = self.frames.get(entry)?;
            frame.address.set(address);
            frame.function.set(function);
            frame.frame.set(new.frame.get());
            frame.outer.set(outer as u32);
            frame.jump.set(self.jump_over(outer)?);
            frame.hash.set(if address == 0 { hash } else { mix(hash, address) });
            frame.frames.set(caller.frames.get() + u32::from(address != 0));
            frame.words.set(caller.words.get() + u32::from(is_before_gap) + u32::from(address != 0));
        }
        self.len.set(Self::LEN - start);
        Some(())
    }

    /// Where an entry jumps to that leads to `outer`: as far again as what `outer` jumps over, if that did the same; else to `outer`.
    fn jump_over(&self, outer: usize) -> Option<u32> {
        let frames_and_jump = |entry: usize| {
            let frame = self.frames.get(entry)?;
            Some((frame.frames.get(), if entry == Self::LEN { Self::LEN as u32 } else { frame.jump.get() }))
        };
        let (frames, first) = frames_and_jump(outer)?;
        let (frames_at_first, second) = frames_and_jump(first as usize)?;
        let (frames_at_second, _) = frames_and_jump(second as usize)?;
        Some(if frames - frames_at_first == frames_at_first - frames_at_second { second } else { outer as u32 })
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

#[cfg(test)]
mod tests;
