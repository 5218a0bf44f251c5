//! The stack of the event before. Most of it still stands at the next one: its outer frames are compared with memory, which
//! is faster than following the chain from frame to frame, because no load waits for the one before; only what is
//! inside of them is walked.
//!
//! A frame record that holds what it held is followed by what followed it, so the outermost records that are all
//! unchanged are the outer end of any chain that reaches one of them. Nothing is assumed that was not compared.

#![allow(unsafe_code)] // reads the frames it has kept the addresses of

use super::unwind::{Bounds, Frame, SEED, finish, mix};
use crate::ledger::layout::MAX_DEPTH;
use std::cell::Cell;
use std::sync::atomic::{Ordering, compiler_fence};

/// Kept records: a stack of the greatest depth, and the record without a return address that ends it.
const LEN: usize = MAX_DEPTH + 1;
/// Records compared before the result is looked at.
const BLOCK: usize = 4;

/// A frame record, and the hash of the return addresses from its own outwards.
#[derive(Debug, Clone, Copy)]
struct Record {
    frame: usize,
    /// 0 = the end of the chain; it has no part in the hash.
    address: usize,
    hash: u64,
}

const NO_RECORD: Record = Record { frame: usize::MAX, address: 0, hash: SEED };

/// Innermost first, at the end of the array: what is outer keeps its place.
pub(super) struct Recent {
    records: [Cell<Record>; LEN + 1],
    /// The innermost; `LEN` = none is kept.
    start: Cell<usize>,
    /// Where the outermost record leads.
    beyond: Cell<usize>,
    /// What the stack as a whole led to last time; 0 = nothing yet.
    site: Cell<u64>,
    /// Whether the records are of the stack that was asked for last, and nobody has noted yet what it leads to: what a stack
    /// that is not kept leads to is not what the kept one does.
    awaits_site: Cell<bool>,
    /// The records of a walk, until it is known where they go.
    fresh: [Cell<[usize; 2]>; LEN],
    /// In use: an event in a signal handler goes without.
    busy: Cell<bool>,
}

/// What is known of a stack.
pub(super) enum Known {
    /// It is the one before: this was noted for it.
    Site(u64),
    Hash(u64),
}

impl Recent {
    /// Nothing is known of another thread's stack. What was nothing but zeros so far is ready for use afterwards.
    pub(super) fn forget(&self) {
        self.records[LEN].set(NO_RECORD);
        self.start.set(LEN);
        self.busy.set(false);
    }

    /// Notes what the stack that was asked for last leads to, if it is kept.
    #[inline(always)]
    pub(super) fn note_site(&self, site: u64) {
        if self.awaits_site.replace(false) {
            self.site.set(site);
        }
    }

    /// The stack from `frame` outwards; `None` where it must be walked, and is not kept.
    #[inline(always)]
    pub(super) fn know(&self, frame: Frame, bounds: Bounds) -> Option<Known> {
        self.awaits_site.set(false);
        if !bounds.hold(frame.0) || self.busy.replace(true) {
            return None;
        }
        compiler_fence(Ordering::SeqCst);
        let known = self.update(frame.0, bounds);
        compiler_fence(Ordering::SeqCst);
        self.busy.set(false);
        known
    }

    #[inline(always)]
    fn record(&self, i: usize) -> Record {
        debug_assert!(i <= LEN);
        // SAFETY: callers stay within the array, whose last element is never overwritten.
        unsafe { self.records.get_unchecked(i) }.get()
    }

    #[inline(always)]
    fn update(&self, frame: usize, bounds: Bounds) -> Option<Known> {
        let mut lowest = self.start.get();
        while self.record(lowest).frame < frame {
            lowest += 1;
        }
        let standing = self.standing(lowest);
        if standing == lowest && self.record(lowest).frame == frame && lowest == self.start.get() && lowest < LEN {
            let site = self.site.get();
            if site != 0 {
                return Some(Known::Site(site));
            }
        }
        self.site.set(0);
        let (fresh, join) = self.walk(frame, bounds, standing)?;
        self.keep(fresh, join)
    }

    /// The innermost of the outermost records that stand unchanged, none below `lowest`.
    #[inline(always)]
    fn standing(&self, lowest: usize) -> usize {
        let mut i = LEN;
        let mut next = self.beyond.get();
        while i >= lowest + BLOCK {
            let mut differs = 0;
            let mut before = next;
            for k in 1..=BLOCK {
                let record = self.record(i - k);
                let [led, address] = read(record.frame);
                differs |= (led ^ before) | (address ^ record.address);
                before = record.frame;
            }
            if differs != 0 {
                break;
            }
            next = before;
            i -= BLOCK;
        }
        while i > lowest {
            let record = self.record(i - 1);
            let [led, address] = read(record.frame);
            if led != next || address != record.address {
                break;
            }
            next = record.frame;
            i -= 1;
        }
        i
    }

    /// Follows the chain until it reaches a record from `standing` on, or its end. Gives the number of records on the
    /// way and where it went on; `None` where it is too long.
    #[inline(always)]
    fn walk(&self, frame: usize, bounds: Bounds, standing: usize) -> Option<(usize, usize)> {
        let mut at = frame;
        let mut join = standing;
        let mut fresh = 0;
        loop {
            while self.record(join).frame < at {
                join += 1;
            }
            if self.record(join).frame == at {
                return Some((fresh, join));
            }
            let [next, address] = read(at);
            let Some(place) = self.fresh.get(fresh) else {
                self.start.set(LEN);
                return None;
            };
            place.set([at, address]);
            fresh += 1;
            if address == 0 || next <= at || !bounds.hold(next) {
                self.beyond.set(next);
                return Some((fresh, LEN));
            }
            at = next;
        }
    }

    /// Puts the fresh records before those from `join` on. Gives the hash of it all.
    #[inline(always)]
    fn keep(&self, fresh: usize, join: usize) -> Option<Known> {
        let Some(start) = join.checked_sub(fresh) else {
            self.start.set(LEN);
            return None;
        };
        let mut hash = self.record(join).hash;
        for i in (0..fresh).rev() {
            let [frame, address] = self.fresh[i].get();
            if address != 0 {
                hash = mix(hash, address as u64);
            }
            self.records[start + i].set(Record { frame, address, hash });
        }
        self.start.set(start);
        // One record more than a stack may have, and it is no terminator.
        if start == 0 && self.record(LEN - 1).address != 0 {
            self.start.set(LEN);
            return None;
        }
        self.awaits_site.set(true);
        Some(Known::Hash(finish(hash)))
    }
}

/// A frame record: the caller's frame and the return address.
#[inline(always)]
fn read(frame: usize) -> [usize; 2] {
    // SAFETY: callers pass frames between the current one and the end of this thread's stack, aligned, which are mapped.
    unsafe { *(frame as *const [usize; 2]) }
}

#[cfg(test)]
mod tests {
    use super::super::unwind::walk;
    use super::*;

    /// Under Miri as many as take some seconds.
    const CHANGES: usize = if cfg!(miri) { 60 } else { 20_000 };

    fn empty() -> Box<Recent> {
        let recent = Box::new(Recent {
            records: [const { Cell::new(Record { frame: 0, address: 0, hash: 0 }) }; LEN + 1],
            start: Cell::new(0),
            beyond: Cell::new(0),
            site: Cell::new(0),
            awaits_site: Cell::new(false),
            fresh: [const { Cell::new([0; 2]) }; LEN],
            busy: Cell::new(false),
        });
        recent.forget();
        recent
    }

    /// Frame records, the innermost first, that change at random. The walks read behind the compiler's back, which cells allow.
    struct Made {
        words: Vec<[Cell<usize>; 2]>,
        random: u64,
    }

    impl Made {
        fn new(records: usize, random: u64) -> Made {
            let words: Vec<_> = (0..records).map(|_| [const { Cell::new(0) }; 2]).collect();
            words.as_ptr().expose_provenance();
            Made { words, random }
        }

        fn set(&self, i: usize, [next, address]: [usize; 2]) {
            self.words[i][0].set(next);
            self.words[i][1].set(address);
        }

        fn random(&mut self, below: usize) -> usize {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.random >> 33) as usize % below
        }

        fn place(&self, i: usize) -> usize {
            self.words.as_ptr().addr() + i * 16
        }

        fn bounds(&self) -> Bounds {
            Bounds { low: self.place(0), high: self.place(self.words.len()) }
        }

        /// Lets the chain from the record at `from` outwards lead over others, to other return addresses.
        fn change(&mut self, from: usize, to: usize) {
            let mut at = from;
            while at < to {
                let next = (at + 1 + self.random(4)).min(to);
                let address = 0x1000 + self.random(3);
                let leads_to = self.place(next);
                self.set(at, [leads_to, address]);
                at = next;
            }
        }
    }

    /// What the slow way says: `None` where the stack is too deep to be kept.
    fn truth(frame: Frame, bounds: Bounds) -> Option<u64> {
        let mut addresses = Vec::new();
        let walked = walk(frame, bounds, |_, address| addresses.push(address));
        (!walked.truncated).then(|| finish(addresses.iter().rev().fold(SEED, |hash, &address| mix(hash, address))))
    }

    fn check(records: usize, changes: usize, with_end: bool) {
        let mut made = Made::new(records, records as u64);
        let last = records - 1;
        made.change(0, last);
        // The chain ends at a record without a return address, or where it leads off the stack.
        made.set(last, if with_end { [0, 0] } else { [1, 0x2000] });
        let recent = empty();
        let (mut same, mut deep) = (0, 0);
        let mut before = None;
        for _ in 0..changes {
            let innermost = made.random(records);
            if made.random(3) > 0 {
                let from = innermost + made.random(records - innermost);
                let to = from + made.random(records - from);
                made.change(from, to);
            }
            for _ in 0..2 {
                let frame = Frame(made.place(innermost));
                let truth = truth(frame, made.bounds());
                match recent.know(frame, made.bounds()) {
                    Some(Known::Site(site)) => {
                        same += 1;
                        assert_eq!((Some(site), before), (truth, truth));
                    }
                    Some(Known::Hash(hash)) => assert_eq!(Some(hash), truth),
                    None => {
                        deep += 1;
                        assert_eq!(truth, None);
                    }
                }
                recent.note_site(truth.unwrap_or(0));
                before = truth;
            }
        }
        assert!(same > 0);
        assert_eq!(deep > 0, records > 3 * MAX_DEPTH);
    }

    #[test]
    fn what_is_kept_and_what_is_walked_agree() {
        let depths: &[usize] = if cfg!(miri) { &[3, 9, 30] } else { &[3, 5, 9, 30, 100, MAX_DEPTH] };
        for &records in depths {
            check(records, CHANGES, true);
            check(records, CHANGES, false);
        }
    }

    #[test]
    fn stacks_too_deep_to_keep_are_left_to_the_walk() {
        check(4 * MAX_DEPTH, if cfg!(miri) { 30 } else { 5000 }, true);
        check(4 * MAX_DEPTH, if cfg!(miri) { 30 } else { 5000 }, false);
    }

    #[test]
    fn what_another_stack_leads_to_is_not_noted_for_the_one_that_is_kept() {
        let mut made = Made::new(8, 1);
        made.change(0, 7);
        let (frame, bounds) = (Frame(made.place(0)), made.bounds());
        let recent = empty();
        let kept = |site: u64| matches!(recent.know(frame, bounds), Some(Known::Site(found)) if found == site);
        assert!(matches!(recent.know(frame, bounds), Some(Known::Hash(_))));
        recent.note_site(1);
        assert!(kept(1));
        // On another stack, and in a signal handler that came in the middle.
        for elsewhere in [Bounds::NOWHERE, bounds] {
            recent.busy.set(elsewhere == bounds);
            assert!(recent.know(frame, elsewhere).is_none());
            recent.note_site(2);
            recent.busy.set(false);
            assert!(kept(1));
        }
    }

    #[test]
    fn a_stack_of_the_greatest_depth_is_kept() {
        let made = Made::new(MAX_DEPTH + 2, 0);
        for i in 0..=MAX_DEPTH {
            made.set(i, [made.place(i + 1), 0x1000 + i]);
        }
        made.set(MAX_DEPTH + 1, [0, 0]);
        let recent = empty();
        for first in [1, 0, 1, 0] {
            let frame = Frame(made.place(first));
            assert_eq!(recent.know(frame, made.bounds()).is_some(), first == 1);
            assert_eq!(truth(frame, made.bounds()).is_some(), first == 1);
        }
    }
}
