//! The stack of the event before. Most of it still stands at the next one: its outer frames are compared with memory, which
//! is faster than following the chain from frame to frame, because no load waits for the one before; only what is
//! inside of them is walked.
//!
//! A frame record that holds what it held is followed by what followed it, so the outermost records that are all
//! unchanged are the outer end of any chain that reaches one of them. Nothing is assumed that was not compared, but for the
//! frames outside of an [`Recent::anchor`], which cannot change while it holds.

#![allow(unsafe_code)] // reads the frames it has kept the addresses of

use super::unwind::{Bounds, Frame, finish, mix};
use crate::ledger::layout::MAX_DEPTH;
use std::cell::Cell;
use std::sync::atomic::{Ordering, compiler_fence};

/// Kept records: a stack of the greatest depth, and the record without a return address that ends it.
const LEN: usize = MAX_DEPTH + 1;
/// Records that are looked at before anything else is.
const BLOCK: usize = 4;
/// Where no frame is: beyond all.
const NOWHERE: usize = usize::MAX;

/// Record `i` of each array is of one frame; 0 is the innermost that there may be. Those in use stand at the end, so what
/// is outer keeps its place.
pub(super) struct Recent {
    /// Where the record lies. The one after the last is nowhere.
    frames: [Cell<usize>; LEN + 1],
    /// The frame that it led to, and the return address; an address of 0 = the end of the chain. In arrays of their own: copied as
    /// one, two words that were just written one by one would stall the processor.
    nexts: [Cell<usize>; LEN + 1],
    addresses: [Cell<usize>; LEN + 1],
    /// The hash of the return addresses from this record outwards.
    hashes: [Cell<u64>; LEN + 1],
    /// The innermost; `LEN` = none is kept.
    start: Cell<usize>,
    /// The record of the anchor; `LEN` = there is none, or it is not on the stack.
    fixed: Cell<usize>,
    /// Where the anchor lies, 0 = nowhere.
    anchor: Cell<usize>,
    /// What the stack as a whole led to last time; 0 = nothing yet.
    site: Cell<u64>,
    /// Whether the records are of the stack that was asked for last, and nobody has noted yet what it leads to: what a stack
    /// that is not kept leads to is not what the kept one does.
    awaits_site: Cell<bool>,
    /// The frames of a walk and what they held, until it is known where they go.
    fresh: [Cell<[usize; 3]>; LEN],
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
        self.frames[LEN].set(NOWHERE);
        self.drop_anchor();
        self.busy.set(false);
    }

    /// Takes it that the frame record at `frame`, and all that it leads to, stays as it is: until [`Recent::drop_anchor`], the
    /// function that has it must not return.
    #[cfg_attr(not(any(test, all(memprof_injected, not(memprof_program)))), allow(dead_code))]
    pub(super) fn anchor(&self, frame: Frame) {
        self.empty();
        self.anchor.set(frame.0);
    }

    /// See [`Recent::anchor`].
    pub(super) fn drop_anchor(&self) {
        self.empty();
        self.anchor.set(0);
    }

    fn empty(&self) {
        self.start.set(LEN);
        self.fixed.set(LEN);
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
    fn update(&self, frame: usize, bounds: Bounds) -> Option<Known> {
        let start = self.start.get();
        let standing = self.standing(start, frame);
        let joins_at = at(&self.frames, standing).get();
        if joins_at == frame && standing == start {
            let site = self.site.get();
            if site != 0 {
                return Some(Known::Site(site));
            }
        }
        self.site.set(0);
        let hash = match self.walk(frame, standing, joins_at) {
            Some(fresh) => self.keep(fresh, standing),
            None => self.rebuild(frame, bounds, standing)?,
        };
        self.awaits_site.set(true);
        Some(Known::Hash(finish(hash)))
    }

    /// The innermost of the outermost records that stand unchanged, none of them inside of `frame`.
    #[inline(always)]
    fn standing(&self, start: usize, frame: usize) -> usize {
        let mut i = self.fixed.get();
        while i >= start + BLOCK && at(&self.frames, i - BLOCK).get() >= frame {
            if (1..=BLOCK).any(|k| self.difference(i - k) != 0) {
                break;
            }
            i -= BLOCK;
        }
        while i > start && at(&self.frames, i - 1).get() >= frame && self.difference(i - 1) == 0 {
            i -= 1;
        }
        i
    }

    /// 0 where the record holds what it held.
    #[inline(always)]
    fn difference(&self, i: usize) -> usize {
        let [next, address] = read(at(&self.frames, i).get());
        (next ^ at(&self.nexts, i).get()) | (address ^ at(&self.addresses, i).get())
    }

    /// Follows the chain up to the record `standing`, which lies at `joins_at`. Gives the number of records on the way;
    /// `None` where the chain does anything else than to lead there, through as many as there is room for.
    #[inline(always)]
    fn walk(&self, frame: usize, standing: usize, joins_at: usize) -> Option<usize> {
        let mut place = frame;
        let mut fresh = 0;
        while place != joins_at {
            // Nothing stands, or too little: even the first of these would be read from anywhere.
            if fresh + 1 >= standing || joins_at == NOWHERE {
                return None;
            }
            let [next, address] = read(place);
            at(&self.fresh, fresh).set([place, next, address]);
            fresh += 1;
            if address == 0 || next <= place || next > joins_at || !next.is_multiple_of(8) {
                return None;
            }
            place = next;
        }
        Some(fresh)
    }

    /// Puts the fresh records before those from `join` on. Gives the hash of it all.
    #[inline(always)]
    fn keep(&self, fresh: usize, join: usize) -> u64 {
        let mut hash = at(&self.hashes, join).get();
        let start = join - fresh;
        let mut i = fresh;
        while i > 0 {
            i -= 1;
            let [frame, next, address] = at(&self.fresh, i).get();
            hash = mix(hash, address as u64);
            at(&self.frames, start + i).set(frame);
            at(&self.nexts, start + i).set(next);
            at(&self.addresses, start + i).set(address);
            at(&self.hashes, start + i).set(hash);
        }
        self.start.set(start);
        hash
    }

    /// As `walk` and `keep`, for any chain: it may go past records that stand, and end anywhere. `None` where it is too long.
    #[cold]
    #[inline(never)]
    fn rebuild(&self, frame: usize, bounds: Bounds, standing: usize) -> Option<u64> {
        let (fresh, join) = match self.walk_on(frame, bounds, standing) {
            Some((fresh, join)) if fresh <= join => (fresh, join),
            _ => {
                self.empty();
                return None;
            }
        };
        let start = join - fresh;
        let mut hash = self.hashes.get(join)?.get();
        for i in (0..fresh).rev() {
            let [frame, next, address] = self.fresh.get(i)?.get();
            if address != 0 {
                hash = mix(hash, address as u64);
            }
            self.frames.get(start + i)?.set(frame);
            self.nexts.get(start + i)?.set(next);
            self.addresses.get(start + i)?.set(address);
            self.hashes.get(start + i)?.set(hash);
        }
        self.start.set(start);
        let anchor = self.anchor.get();
        self.fixed.set((start..LEN).find(|&i| at(&self.frames, i).get() == anchor).unwrap_or(LEN));
        // One record more than a stack may have, and it is no terminator.
        if start == 0 && self.addresses.get(LEN - 1)?.get() != 0 {
            self.empty();
            return None;
        }
        Some(hash)
    }

    /// Follows the chain until it reaches a record from `standing` on, or its end. Gives the number of records on the
    /// way and where it went on.
    fn walk_on(&self, frame: usize, bounds: Bounds, standing: usize) -> Option<(usize, usize)> {
        let mut place = frame;
        let mut join = standing;
        let mut fresh = 0;
        loop {
            while self.frames.get(join)?.get() < place {
                join += 1;
            }
            if self.frames.get(join)?.get() == place {
                return Some((fresh, join));
            }
            let [next, address] = read(place);
            self.fresh.get(fresh)?.set([place, next, address]);
            fresh += 1;
            if address == 0 || next <= place || !bounds.hold(next) {
                return Some((fresh, LEN));
            }
            place = next;
        }
    }
}

/// A frame record: the caller's frame and the return address.
#[inline(always)]
fn read(frame: usize) -> [usize; 2] {
    // SAFETY: callers pass frames between the current one and the end of this thread's stack, aligned, which are mapped.
    unsafe { *(frame as *const [usize; 2]) }
}

/// An element of one of the arrays.
#[inline(always)]
fn at<T>(array: &[T], i: usize) -> &T {
    debug_assert!(i < array.len());
    // SAFETY: records are numbered up to `LEN`, whose frame is beyond all, so that no search goes past it; and a walk has fewer
    // fresh ones than stand before the record it joins.
    unsafe { array.get_unchecked(i) }
}

#[cfg(test)]
mod tests {
    use super::super::unwind::{SEED, walk};
    use super::*;

    /// Under Miri as many as take some seconds.
    const CHANGES: usize = if cfg!(miri) { 60 } else { 20_000 };

    fn empty() -> Box<Recent> {
        let recent = Box::new(Recent {
            frames: [const { Cell::new(0) }; LEN + 1],
            nexts: [const { Cell::new(0) }; LEN + 1],
            addresses: [const { Cell::new(0) }; LEN + 1],
            hashes: [const { Cell::new(0) }; LEN + 1],
            start: Cell::new(0),
            fixed: Cell::new(0),
            anchor: Cell::new(0),
            site: Cell::new(0),
            awaits_site: Cell::new(false),
            fresh: [const { Cell::new([0; 3]) }; LEN],
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

    #[test]
    fn what_is_outside_of_an_anchor_is_not_looked_at() {
        let mut made = Made::new(60, 5);
        made.change(40, 59);
        // Every chain goes through the record at 40, from where on it stays.
        (0..40).for_each(|i| made.set(i, [made.place(i + 1), 0x1000]));
        let recent = empty();
        recent.anchor(Frame(made.place(40)));
        for _ in 0..CHANGES {
            let innermost = made.random(40);
            let from = innermost + made.random(40 - innermost);
            made.change(from, 40);
            let (frame, bounds) = (Frame(made.place(innermost)), made.bounds());
            let truth = truth(frame, bounds);
            match recent.know(frame, bounds) {
                Some(Known::Hash(known) | Known::Site(known)) => assert_eq!(Some(known), truth),
                None => panic!("the chain is short enough"),
            }
            recent.note_site(truth.unwrap_or(0));
            assert!(recent.fixed.get() < LEN);
        }
        // What was taken as fixed is looked at again without the anchor.
        recent.drop_anchor();
        made.change(41, 59);
        let (frame, bounds) = (Frame(made.place(0)), made.bounds());
        assert!(matches!(recent.know(frame, bounds), Some(Known::Hash(hash)) if Some(hash) == truth(frame, bounds)));
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
