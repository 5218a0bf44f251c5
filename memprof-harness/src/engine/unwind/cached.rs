//! The stack of the event before. Most of it still stands at the next one: its outer frames are compared with memory, which
//! is faster than following the chain from frame to frame, because no load waits for the one before; only what is
//! inside of them is walked.
//!
//! A frame record that holds what it held is followed by what followed it, so the outermost records that are all
//! unchanged are the outer end of any chain that reaches one of them. Nothing is assumed that was not compared, but for the
//! frames outside of an [`Recent::anchor`], which cannot change while it holds.

#![allow(unsafe_code)] // reads the frames it has kept the addresses of

use crate::engine::unwind::frame_pointer::{finish, mix, record as read_record, Bounds, Frame, SEED};
use crate::engine::unwind::table_walk::{Root, TableWalk};
use std::cell::Cell;
use std::sync::atomic::{compiler_fence, Ordering};

/// Frames of the deepest stack that is kept. What is deeper is walked anew at each event.
pub(crate) const MOST_FRAMES: usize = 4096;

/// Kept records: a stack of the greatest depth, the record without a return address that ends it, and in front of all one that is
/// never used.
const LEN: usize = MOST_FRAMES + 2;

/// Records that are compared in one turn of a loop.
const UNROLLED: usize = 4;

/// How a chain of frame pointers ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// At the thread's root.
    AtRoot,
    /// At a record without a return address or a caller's frame.
    NoCaller,
    /// It led off the stack, or back.
    Astray,
}

impl End {
    /// What the hash of a chain begins with. A chain that ends at the root with the same addresses as one that does not may stand for
    /// another stack.
    pub(crate) fn seed(self) -> u64 {
        match self {
            End::AtRoot => SEED,
            End::NoCaller | End::Astray => !SEED,
        }
    }
}

/// A stack that is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept<'a> {
    /// The return addresses, innermost first.
    pub(crate) chain: &'a [Cell<u64>],
    pub(crate) end: End,
    /// Where it begins.
    pub(crate) frame: Frame,
}

impl<'a> Kept<'a> {
    pub(crate) fn addresses(self) -> impl Iterator<Item = u64> + 'a {
        self.chain.iter().map(Cell::get)
    }
}

/// Record `i` of each array is of one frame; 1 is the innermost that there may be. Those in use stand at the end, so what
/// is outer keeps its place. Of the arrays mostly the ends are ever touched, and of the fresh ones the beginnings: they lie side by side, so
/// that few pages are.
#[repr(C)]
pub(crate) struct Recent {
    /// Where the record lies. It led to where the next one lies; the place after the last one's is what that one held, which is
    /// anything. The place before the innermost one's is 0, so that a search ends there.
    places: [Cell<usize>; LEN + 1],
    /// The records of a walk, until it is known where they go.
    fresh_places: [Cell<usize>; LEN],
    /// The return address; 0 = the end of the chain.
    addresses: [Cell<u64>; LEN],
    fresh_addresses: [Cell<u64>; LEN],
    /// The hash of the return addresses from this record outwards.
    hashes: [Cell<u64>; LEN + 1],
    /// The innermost; `LEN` = none is kept.
    start: Cell<usize>,
    /// The record of the anchor; `LEN` = there is none, or it is not on the stack.
    fixed: Cell<usize>,
    /// Where the anchor lies, 0 = nowhere.
    anchor: Cell<usize>,
    /// How the chain ended.
    end: Cell<End>,
    /// Where the thread's own stack ends; `None`: it is not known.
    root: Cell<Option<Root>>,
    /// The root was looked for.
    sought: Cell<bool>,
    /// Events need not ask: their stacks are no chains of frame pointers.
    parked: Cell<bool>,
    /// In use: an event in a signal handler goes without.
    busy: Cell<bool>,
}

impl Recent {
    /// Nothing is known of another thread's stack. What was nothing but zeros so far is ready for use afterwards.
    pub(crate) fn forget(&self) {
        self.root.set(None);
        self.sought.set(false);
        self.drop_anchor();
        self.busy.set(false);
    }

    /// Where the thread's own stack ends; `None`: it is not known.
    pub(crate) fn root(&self) -> Option<Root> {
        self.root.get()
    }

    /// Takes note of a root that a walk has found. Keys of stacks are others from here on, so none is kept.
    pub(crate) fn set_root(&self, root: Root) {
        self.root.set(Some(root));
        self.empty();
    }

    /// Where the frames lie that stay as they are, see [`Recent::anchor`]; 0 = nowhere.
    pub(crate) fn anchored_at(&self) -> usize {
        self.anchor.get()
    }

    /// Takes it that the frame record at `frame`, and all that it leads to, stays as it is: until [`Recent::drop_anchor`], the
    /// function that has it must not return.
    #[cfg_attr(not(any(test, all(memprof_injected, not(memprof_program)))), allow(dead_code))]
    pub(crate) fn anchor(&self, frame: Frame) {
        self.empty();
        self.anchor.set(frame.0);
    }

    /// See [`Recent::anchor`].
    pub(crate) fn drop_anchor(&self) {
        self.empty();
        self.anchor.set(0);
    }

    fn empty(&self) {
        self.begin_at(LEN);
        self.fixed.set(LEN);
        self.end.set(End::Astray);
        self.parked.set(false);
    }

    /// Chains of frame pointers are not the stacks of what happens now: [`Recent::know`] knows none until [`Recent::unpark`] is called.
    pub(crate) fn park(&self) {
        self.empty();
        self.parked.set(true);
    }

    /// See [`Recent::park`].
    pub(crate) fn unpark(&self) {
        self.parked.set(false);
    }

    pub(crate) fn is_parked(&self) -> bool {
        self.parked.get()
    }

    /// Sets which record is the innermost.
    #[inline(always)]
    fn begin_at(&self, start: usize) {
        at(&self.places, start - 1).set(0);
        self.start.set(start);
    }

    /// The hash of the stack from `frame` outwards, which is kept until [`Recent::release`] is called; `None` where it must be walked,
    /// and is not kept.
    #[inline(always)]
    pub(crate) fn know(&self, frame: Frame, bounds: Bounds) -> Option<u64> {
        if !bounds.hold(frame.0) || self.busy.replace(true) {
            return None;
        }
        compiler_fence(Ordering::SeqCst);
        let hash = self.update(frame.0, bounds);
        if hash.is_none() {
            self.release();
        }
        hash.map(finish)
    }

    /// The stack may be another one from here on.
    #[inline(always)]
    pub(crate) fn release(&self) {
        compiler_fence(Ordering::SeqCst);
        self.busy.set(false);
    }

    /// The stack that is kept.
    pub(crate) fn kept(&self) -> Kept<'_> {
        let start = self.start.get();
        let mut addresses = self.addresses.get(start..).unwrap_or(&[]);
        if let Some((last, rest)) = addresses.split_last() {
            if last.get() == 0 {
                addresses = rest;
            }
        }
        Kept { chain: addresses, end: self.end.get(), frame: Frame(self.places.get(start).map_or(0, Cell::get)) }
    }

    #[inline(always)]
    fn update(&self, frame: usize, bounds: Bounds) -> Option<u64> {
        let standing = self.standing(frame);
        match self.walk(frame, standing) {
            Some(fresh) => Some(self.keep(fresh, standing)),
            None => self.rebuild(frame, bounds, standing),
        }
    }

    /// The innermost of the outermost records that stand unchanged, none of them inside of `frame`.
    ///
    /// One branch after the other, and nothing that waits for them all: the processor goes on with what comes after, as if it ended
    /// where it thinks it will.
    #[inline(always)]
    fn standing(&self, frame: usize) -> usize {
        let mut i = self.fixed.get();
        let mut outer = at(&self.places, i).get();
        loop {
            for k in 0..UNROLLED {
                let place = at(&self.places, i - k - 1).get();
                if place < frame {
                    return i - k;
                }
                let [next, address] = read(place);
                if next != outer || address as u64 != at(&self.addresses, i - k - 1).get() {
                    return i - k;
                }
                outer = place;
            }
            i -= UNROLLED;
        }
    }

    /// Follows the chain up to the record `standing`. Gives the number of records on the way; `None` where the chain does anything
    /// else than to lead there, through as many as there is room for.
    #[inline(always)]
    fn walk(&self, frame: usize, standing: usize) -> Option<usize> {
        if standing == LEN {
            return None;
        }
        let joins_at = at(&self.places, standing).get();
        let mut place = frame;
        let mut fresh = 0;
        while place < joins_at {
            if fresh + 2 >= standing {
                return None;
            }
            let [next, address] = read(place);
            at(&self.fresh_places, fresh).set(place);
            at(&self.fresh_addresses, fresh).set(address as u64);
            fresh += 1;
            if address == 0 || next <= place || next & 7 != 0 {
                return None;
            }
            place = next;
        }
        (place == joins_at).then_some(fresh)
    }

    /// Puts the fresh records before those from `join` on. Gives the hash of it all.
    #[inline(always)]
    fn keep(&self, fresh: usize, join: usize) -> u64 {
        let mut hash = at(&self.hashes, join).get();
        let start = join - fresh;
        let mut i = fresh;
        while i > 0 {
            i -= 1;
            let address = at(&self.fresh_addresses, i).get();
            hash = mix(hash, address);
            at(&self.places, start + i).set(at(&self.fresh_places, i).get());
            at(&self.addresses, start + i).set(address);
            at(&self.hashes, start + i).set(hash);
        }
        self.begin_at(start);
        hash
    }

    /// As `walk` and `keep`, for any chain: it may go past records that stand, and end anywhere. `None` where it is too long.
    #[cold]
    #[inline(never)]
    fn rebuild(&self, frame: usize, bounds: Bounds, standing: usize) -> Option<u64> {
        if self.parked.get() {
            return None;
        }
        if !self.sought.replace(true) {
            let mut walk = TableWalk::new(bounds, None);
            walk.go(Frame(frame), |_, _| false);
            self.root.set(walk.found_root());
        }
        let Some(Walk { fresh, join, beyond, end }) =
            self.walk_on(frame, bounds, standing).filter(|walk| walk.fresh < walk.join)
        else {
            self.empty();
            return None;
        };
        let start = join - fresh;
        self.places.get(join)?.set(beyond);
        if let Some(end) = end {
            self.end.set(end);
            self.hashes.get(LEN)?.set(end.seed());
        }
        let mut hash = self.hashes.get(join)?.get();
        for i in (0..fresh).rev() {
            let address = self.fresh_addresses.get(i)?.get();
            if address != 0 {
                hash = mix(hash, address);
            }
            self.places.get(start + i)?.set(self.fresh_places.get(i)?.get());
            self.addresses.get(start + i)?.set(address);
            self.hashes.get(start + i)?.set(hash);
        }
        self.begin_at(start);
        let anchor = self.anchor.get();
        self.fixed.set((start..LEN).find(|&i| at(&self.places, i).get() == anchor).unwrap_or(LEN));
        // One record more than a stack may have, and it is no terminator.
        if start == 1 && self.addresses.get(LEN - 1)?.get() != 0 {
            self.empty();
            return None;
        }
        Some(hash)
    }

    /// Follows the chain until it reaches a record from `standing` on, or its end. `None` where it is too long.
    fn walk_on(&self, frame: usize, bounds: Bounds, standing: usize) -> Option<Walk> {
        let mut place = frame;
        let mut join = standing;
        let mut fresh = 0;
        loop {
            while join < LEN && self.places.get(join)?.get() < place {
                join += 1;
            }
            if join < LEN && self.places.get(join)?.get() == place {
                return Some(Walk { fresh, join, beyond: place, end: None });
            }
            let [next, address] = read(place);
            self.fresh_places.get(fresh)?.set(place);
            self.fresh_addresses.get(fresh)?.set(address as u64);
            fresh += 1;
            let end = if self.root.get() == Some(Root { place, address: address as u64 }) {
                End::AtRoot
            } else if address == 0 || next == 0 {
                End::NoCaller
            } else if next <= place || !bounds.hold(next) {
                End::Astray
            } else {
                place = next;
                continue;
            };
            return Some(Walk { fresh, join: LEN, beyond: next, end: Some(end) });
        }
    }
}

/// Where a walk came to.
struct Walk {
    /// Records on the way.
    fresh: usize,
    /// The record it reached; `LEN` = none.
    join: usize,
    /// Where the last of the fresh records led to.
    beyond: usize,
    /// How the chain ended, where it joined nothing.
    end: Option<End>,
}

/// A frame record: the caller's frame and the return address.
#[inline(always)]
fn read(frame: usize) -> [usize; 2] {
    // SAFETY: callers pass frames between the current one and the end of this thread's stack, aligned, which are mapped.
    unsafe { read_record(frame) }
}

/// An element of one of the arrays.
#[inline(always)]
fn at<T>(array: &[T], i: usize) -> &T {
    debug_assert!(i < array.len());
    // SAFETY: records are numbered below `LEN`, and only the arrays that have one more are asked for `LEN` itself; a walk has fewer
    // fresh ones than there are numbers before the record it joins, and a search ends at the place before the innermost.
    unsafe { array.get_unchecked(i) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::Address;

    /// Under Miri as many as take some seconds.
    const CHANGES: usize = if cfg!(miri) { 60 } else { 20_000 };

    fn empty() -> Box<Recent> {
        let recent = Box::new(Recent {
            places: [const { Cell::new(0) }; LEN + 1],
            fresh_places: [const { Cell::new(0) }; LEN],
            addresses: [const { Cell::new(0) }; LEN],
            fresh_addresses: [const { Cell::new(0) }; LEN],
            hashes: [const { Cell::new(0) }; LEN + 1],
            start: Cell::new(0),
            fixed: Cell::new(0),
            anchor: Cell::new(0),
            end: Cell::new(End::Astray),
            root: Cell::new(None),
            sought: Cell::new(true),
            parked: Cell::new(false),
            busy: Cell::new(false),
        });
        recent.forget();
        // Nothing is known of made-up addresses.
        recent.sought.set(true);
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
            let _ = words.as_ptr() as usize; // Exposed, so that a walk may read them.
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
            self.words.as_ptr().address() + i * 16
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

    /// What is known of a stack.
    type Known = (u64, Vec<u64>, End);

    /// What the slow way says; `None` where the stack is too deep to be kept.
    fn truth(recent: &Recent, frame: Frame, bounds: Bounds) -> Option<Known> {
        let mut addresses = Vec::new();
        let mut place = frame.0;
        let end = loop {
            let [next, address] = read(place);
            if address == 0 {
                break End::NoCaller;
            }
            addresses.push(address as u64);
            if recent.root() == Some(Root { place, address: address as u64 }) {
                break End::AtRoot;
            }
            if next == 0 {
                break End::NoCaller;
            }
            if next <= place || !bounds.hold(next) {
                break End::Astray;
            }
            place = next;
        };
        let hash = addresses.iter().rev().fold(end.seed(), |hash, &address| mix(hash, address));
        (addresses.len() <= MOST_FRAMES).then_some((finish(hash), addresses, end))
    }

    /// What is kept of the stack, which is free again afterwards.
    fn known(recent: &Recent, frame: Frame, bounds: Bounds) -> Option<Known> {
        let hash = recent.know(frame, bounds)?;
        let kept = recent.kept();
        assert_eq!(kept.frame.0, frame.0);
        let addresses = kept.addresses().collect();
        recent.release();
        Some((hash, addresses, kept.end))
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
            assert!(truth(&recent, frame, bounds).is_some());
            assert_eq!(known(&recent, frame, bounds), truth(&recent, frame, bounds));
            assert!(recent.fixed.get() < LEN);
        }
        // What was taken as fixed is looked at again without the anchor.
        recent.drop_anchor();
        made.change(41, 59);
        let (frame, bounds) = (Frame(made.place(0)), made.bounds());
        assert_eq!(known(&recent, frame, bounds), truth(&recent, frame, bounds));
    }

    fn check(records: usize, changes: usize, with_end: bool) {
        let mut made = Made::new(records, records as u64);
        let last = records - 1;
        made.change(0, last);
        // The chain ends at a record without a return address, or where it leads off the stack.
        made.set(last, if with_end { [0, 0] } else { [1, 0x2000] });
        let recent = empty();
        let (mut kept, mut deep) = (0, 0);
        for _ in 0..changes {
            let innermost = made.random(records);
            if made.random(3) > 0 {
                let from = innermost + made.random(records - innermost);
                let to = from + made.random(records - from);
                made.change(from, to);
            }
            for _ in 0..2 {
                let frame = Frame(made.place(innermost));
                let known = known(&recent, frame, made.bounds());
                *(if known.is_some() { &mut kept } else { &mut deep }) += 1;
                assert_eq!(known, truth(&recent, frame, made.bounds()));
            }
        }
        assert!(kept > 0);
        assert_eq!(deep > 0, records > 3 * MOST_FRAMES);
    }

    #[test]
    fn what_is_kept_and_what_is_walked_agree() {
        let depths: &[usize] = if cfg!(miri) { &[3, 9, 30] } else { &[3, 5, 9, 30, 100, 700] };
        for &records in depths {
            check(records, CHANGES, true);
            check(records, CHANGES, false);
        }
    }

    #[test]
    fn a_chain_ends_at_the_threads_root_and_is_told_apart_from_one_that_ends_before() {
        let mut made = Made::new(40, 3);
        made.change(0, 39);
        // Behind the root the register was used for something else, which looks like a chain.
        made.set(20, [made.place(25), 0x5000]);
        (0..20).for_each(|i| made.set(i, [made.place(i + 1), 0x1000]));
        let recent = empty();
        let (frame, bounds) = (Frame(made.place(0)), made.bounds());
        assert_eq!(known(&recent, frame, bounds), truth(&recent, frame, bounds));
        recent.set_root(Root { place: made.place(20), address: 0x5000 });
        let whole = known(&recent, frame, bounds).expect("it is kept");
        assert_eq!((whole.1.len(), whole.2), (21, End::AtRoot));
        assert_eq!(Some(&whole), truth(&recent, frame, bounds).as_ref());
        // The same addresses, but the last frame is not where the root is.
        made.set(19, [made.place(21), 0x1000]);
        made.set(21, [8, 0x5000]);
        let astray = known(&recent, frame, bounds).expect("it is kept");
        assert_eq!(Some(&astray), truth(&recent, frame, bounds).as_ref());
        assert_eq!((&astray.1, astray.2), (&whole.1, End::Astray));
        assert_ne!(astray.0, whole.0);
    }

    #[test]
    fn stacks_too_deep_to_keep_are_left_to_the_walk() {
        check(4 * MOST_FRAMES, if cfg!(miri) { 3 } else { 200 }, true);
        check(4 * MOST_FRAMES, if cfg!(miri) { 3 } else { 200 }, false);
    }

    #[test]
    fn a_signal_handler_in_the_middle_leaves_the_kept_stack_alone() {
        let mut made = Made::new(8, 1);
        made.change(0, 7);
        let (outer, inner, bounds) = (Frame(made.place(2)), Frame(made.place(0)), made.bounds());
        let recent = empty();
        assert!(recent.know(outer, bounds).is_some());
        assert_eq!(recent.know(inner, bounds), None);
        let kept: Vec<_> = recent.kept().chain.iter().map(Cell::get).collect();
        recent.release();
        assert_eq!(truth(&recent, outer, bounds).map(|(_, addresses, _)| addresses), Some(kept));
        // On another stack nothing is kept, and nothing is in use.
        assert_eq!(recent.know(inner, Bounds::NOWHERE), None);
        assert_eq!(known(&recent, inner, bounds), truth(&recent, inner, bounds));
    }

    #[test]
    fn a_stack_of_the_greatest_depth_is_kept() {
        let made = Made::new(MOST_FRAMES + 2, 0);
        for i in 0..=MOST_FRAMES {
            made.set(i, [made.place(i + 1), 0x1000 + i]);
        }
        made.set(MOST_FRAMES + 1, [0, 0]);
        let recent = empty();
        for first in [1, 0, 1, 0] {
            let frame = Frame(made.place(first));
            let known = known(&recent, frame, made.bounds());
            assert_eq!(known.is_some(), first == 1);
            assert_eq!(known, truth(&recent, frame, made.bounds()));
        }
    }
}
