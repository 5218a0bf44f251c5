//! What is kept of each step of a walk in a `kept_room`, and where a later walk meets it.

use crate::engine::unwind::frame_pointer::{Frame, Held};
use crate::engine::unwind::table_walk::{Others, Step, Words};
use std::cell::Cell;

/// The words of an entry.
pub(super) struct Record {
    /// As they are in memory. Of a scattered entry, only the return address lies where it would in a record.
    pub(super) held: Held,
    pub(super) place: Cell<usize>,
    /// How many entries from this one on may be read before any of them was compared, if this one is where it was; 0 = it is scattered.
    pub(super) run: Cell<u32>,
    /// The first scattered entry from this one on; `LEN` = none.
    pub(super) scattered: Cell<u32>,
}

impl Record {
    pub(super) fn words(&self) -> [usize; 3] {
        [self.place.get(), self.held.next.get(), self.held.address.get() as usize]
    }
}

/// What an entry says of the stack.
pub(super) struct FrameOfEntry {
    /// The return address; 0 = the walk's end.
    pub(super) address: Cell<u64>,
    /// Where the function that is returned to begins, if it was found by the stack pointer; else 0.
    pub(super) function: Cell<u64>,
    /// What the frame pointer is when the function returns.
    pub(super) frame: Cell<usize>,
    /// The hash of this and all that it leads to.
    pub(super) hash: Cell<u64>,
    /// The next entry outwards that is not left out.
    pub(super) outer: Cell<u32>,
    /// An entry that this one leads to, farther out, by which any is found in as many steps as the logarithm of their number (E. W. Myers, An
    /// applicative random-access stack, 1983).
    pub(super) jump: Cell<u32>,
    /// How many words the stack has from here on, and how many of them are frames.
    pub(super) words: Cell<u32>,
    pub(super) frames: Cell<u32>,
}

pub(super) struct FreshEntry {
    pub(super) record: Cell<[usize; 3]>,
    pub(super) others: Cell<Option<[usize; 3]>>,
    pub(super) address: Cell<u64>,
    pub(super) function: Cell<u64>,
    pub(super) frame: Cell<usize>,
}

impl FreshEntry {
    /// Its return address and its words, which are plain.
    pub(super) fn plain_words(&self) -> (u64, Words) {
        let [place, _, address] = self.record.get();
        let frame = self.others.get().map(|[frame_at, ..]| frame_at).filter(|&at| at != place + 8);
        let others = Some(Others { frame, third: None });
        (self.address.get(), Words { place, address, frame: self.frame.get(), others })
    }
}

/// Where a walk meets an entry that is kept.
pub(super) enum Met {
    /// At this record, which is kept as it is.
    Record(usize),
    /// Behind this entry, which is replaced: it was come to from elsewhere, but all that the walk goes by is the same.
    Behind(usize),
}

/// Where a walk goes on.
pub(super) enum Start {
    At(Frame),
    From(u64, Words),
}

/// An entry, by its number.
pub(super) struct Entry<'a> {
    pub(super) number: usize,
    pub(super) record: &'a Record,
    pub(super) others: &'a [Cell<usize>; 3],
    pub(super) frame: &'a FrameOfEntry,
}

impl Entry<'_> {
    pub(super) fn is_scattered(&self) -> bool {
        self.record.scattered.get() as usize == self.number
    }

    /// The return address of a scattered entry and its words, if these are plain.
    pub(super) fn plain_words(&self) -> Option<(u64, Words)> {
        let [place, _, address] = self.record.words();
        let [frame_at, third_at, _] = self.others.each_ref().map(Cell::get);
        let others = Others { frame: Some(frame_at).filter(|&at| at != place + 8), third: None };
        let words = Words { place, address, frame: self.frame.frame.get(), others: Some(others) };
        (self.is_scattered() && third_at == place + 8).then_some((self.frame.address.get(), words))
    }

    /// Where a step leads to what is kept, if it came to the place of this entry.
    fn meets(&self, step: Step, words: &Words) -> Option<Met> {
        if words.others.is_none() {
            return Some(Met::Record(self.number)).filter(|_| !self.is_scattered());
        }
        let (address, kept) = self.plain_words()?;
        let is_same = address == step.address && kept.address == words.address && kept.frame == words.frame;
        is_same.then_some(Met::Behind(self.number))
    }
}

/// Looks for places among the kept entries, which mostly come in the order in which these stand.
pub(super) struct Search {
    first: usize,
    at: usize,
    last_place: usize,
}

impl Search {
    /// Among the entries from `first` on.
    pub(super) fn from(first: usize) -> Search {
        Search { first, at: first, last_place: 0 }
    }

    /// Where a step leads to what is kept. `entry` gives the entries, `None` behind the last one.
    #[inline(always)]
    pub(super) fn meets<'a>(
        &mut self,
        step: Step,
        words: &Words,
        entry: impl Fn(usize) -> Option<Entry<'a>>,
    ) -> Option<Met> {
        if words.others.is_some() && !words.is_plain() {
            return None;
        }
        // On another stack, any may come.
        if words.place < self.last_place {
            self.at = self.first;
        }
        self.last_place = words.place;
        loop {
            let entry = entry(self.at)?;
            if entry.record.place.get() >= words.place {
                return Some(entry).filter(|entry| entry.record.place.get() == words.place)?.meets(step, words);
            }
            self.at += 1;
        }
    }
}
