//! A chain of frame records that was walked, and is kept. Most of it still stands at the next event: its outer frames are compared with
//! memory, which is faster than following the chain from frame to frame, because no load waits for the one before; only what is
//! inside of them is walked.
//!
//! A frame record that holds what it held is followed by what followed it, so the outermost records that are all
//! unchanged are the outer end of any chain that reaches one of them. Nothing is assumed that was not compared, but for the
//! frames outside of an anchor, which cannot change while it holds.

#![allow(unsafe_code)] // reads the frames it has kept the addresses of

use crate::engine::unwind::excerpt::Spelt;
use crate::engine::unwind::frame_pointer::{linked_stand, mix, record as read_record, Bounds, Frame, Held, SEED};
use crate::engine::unwind::table_walk::Root;
use std::cell::Cell;

/// Records that are compared in one turn of the innermost loop.
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
    /// The frames, innermost first.
    pub(crate) chain: &'a [Held],
    /// The hash of each of them and all that are outwards of it.
    pub(crate) hashes: &'a [Cell<u64>],
    pub(crate) end: End,
    /// Where it begins.
    pub(crate) frame: Frame,
}

impl Spelt for Kept<'_> {
    fn words(&self) -> usize {
        self.chain.len()
    }

    fn marks(&self) -> usize {
        0
    }

    fn from(&self, word: usize) -> impl Iterator<Item = u64> {
        self.chain.get(word..).unwrap_or(&[]).iter().map(|held| held.address.get())
    }
}

/// What is known of the thread's own stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnStack {
    pub(crate) bounds: Bounds,
    /// Where it ends, if that is known.
    pub(crate) root: Option<Root>,
    /// Where the frames lie that stay as they are; 0 = nowhere.
    pub(crate) anchor: usize,
}

/// Room for a chain of `ROOM - 3` return addresses: besides, there are the record without one that ends it, one in front of all that is never
/// used, and the place behind the last one.
///
/// Record `i` is of one frame; 1 is the innermost that there may be. Those in use stand at the end, so what
/// is outer keeps its place. Of the arrays mostly the ends are ever touched, and of the fresh ones the beginnings: they lie side by side, so
/// that few pages are.
#[repr(C)]
pub(crate) struct Chain<const ROOM: usize> {
    /// What record `i` holds is at `i + 1`, because where it lies is what the record before it holds, at `i`. The last one may lead to
    /// anything. The innermost one has none before it, and before its place is 0, so that a search ends there. A return address of 0 is
    /// the end of the chain.
    held: [Held; ROOM],
    /// The records of a walk, until it is known where they go: where each lies, and its return address.
    fresh: [Held; ROOM],
    /// The hash of the return addresses from this record outwards.
    hashes: [Cell<u64>; ROOM],
    /// The innermost; `LEN` = none is kept.
    start: Cell<usize>,
    /// The record of the anchor; `LEN` = there is none, or it is not on the stack.
    fixed: Cell<usize>,
    /// How the chain ended.
    end: Cell<End>,
}

impl<const ROOM: usize> Chain<ROOM> {
    /// Records; the number behind the last one.
    const LEN: usize = ROOM - 1;

    /// Keeps nothing. What was nothing but zeros so far is ready for use afterwards.
    pub(crate) fn empty(&self) {
        self.begin_at(Self::LEN);
        self.fixed.set(Self::LEN);
        self.end.set(End::Astray);
    }

    /// Records that are kept; 0 = no chain is.
    pub(crate) fn len(&self) -> usize {
        Self::LEN - self.start.get()
    }

    /// Whether the anchor is on the stack.
    #[cfg(test)]
    pub(crate) fn has_anchor(&self) -> bool {
        self.fixed.get() < Self::LEN
    }

    /// Sets which record is the innermost.
    #[inline(always)]
    fn begin_at(&self, start: usize) {
        at(&self.held, start - 1).next.set(0);
        self.start.set(start);
    }

    /// The chain that is kept.
    pub(crate) fn kept(&self) -> Kept<'_> {
        let start = self.start.get();
        let mut chain = self.held.get(start + 1..).unwrap_or(&[]);
        if let Some((last, rest)) = chain.split_last() {
            if last.address.get() == 0 {
                chain = rest;
            }
        }
        let hashes = self.hashes.get(start..start + chain.len()).unwrap_or(&[]);
        Kept { chain, hashes, end: self.end.get(), frame: Frame(self.place(start)) }
    }

    /// The hash of the chain from `frame` outwards, which is kept.
    ///
    /// # Errors
    /// The records that stand, where the chain does anything else than to lead to one of them: it is to be rebuilt.
    #[inline(always)]
    pub(crate) fn update(&self, frame: usize) -> Result<u64, Standing> {
        let standing = self.standing(frame);
        match self.walk(frame, standing) {
            Some(fresh) => Ok(self.keep(fresh, standing)),
            None => Err(Standing(standing)),
        }
    }

    /// Where a record lies.
    #[inline(always)]
    fn place(&self, i: usize) -> usize {
        at(&self.held, i).next.get()
    }

    /// The innermost of the outermost records that stand unchanged, none of them inside of `frame`.
    ///
    /// By turns, so that the end of a deep stack is still foreseen by the processor, which remembers some dozens of branches; and the few
    /// that are left one by one, as most stacks have no more.
    #[inline(always)]
    fn standing(&self, frame: usize) -> usize {
        let i = self.standing_by::<17>(frame, self.fixed.get());
        let mut i = self.standing_by::<5>(frame, i);
        loop {
            for k in 0..UNROLLED {
                let (place, held) = (self.place(i - k - 1), at(&self.held, i - k));
                if place < frame {
                    return i - k;
                }
                let [next, address] = read(place);
                if next != held.next.get() || address as u64 != held.address.get() {
                    return i - k;
                }
            }
            i -= UNROLLED;
        }
    }

    /// The first record that stands, from `i` on inwards, where a turn of `LINKS - 1` does not, or is not all outwards of `frame`.
    #[inline(always)]
    fn standing_by<const LINKS: usize>(&self, frame: usize, mut i: usize) -> usize {
        let start = self.start.get();
        while i > start + LINKS - 2 {
            let first = i - (LINKS - 1);
            if self.place(first) < frame {
                break;
            }
            let links = std::ptr::from_ref(at(&self.held, first)).cast::<[Held; LINKS]>();
            // SAFETY: elements of an array, up to `i`.
            let links = unsafe { &*links };
            // SAFETY: each lies outwards of `frame` on the thread's own stack, where all is mapped.
            if !unsafe { linked_stand(links) } {
                break;
            }
            i = first;
        }
        i
    }

    /// Follows the chain up to the record `standing`. Gives the number of records on the way; `None` where the chain does anything
    /// else than to lead there, through as many as there is room for.
    #[inline(always)]
    fn walk(&self, frame: usize, standing: usize) -> Option<usize> {
        if standing == Self::LEN {
            return None;
        }
        let joins_at = self.place(standing);
        let mut place = frame;
        let mut fresh = 0;
        while place < joins_at {
            if fresh + 2 >= standing {
                return None;
            }
            let [next, address] = read(place);
            at(&self.fresh, fresh).next.set(place);
            at(&self.fresh, fresh).address.set(address as u64);
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
            let Held { next: place, address } = at(&self.fresh, i);
            hash = mix(hash, address.get());
            at(&self.held, start + i).next.set(place.get());
            at(&self.held, start + i + 1).address.set(address.get());
            at(&self.hashes, start + i).set(hash);
        }
        self.begin_at(start);
        hash
    }

    /// As `walk` and `keep`, for any chain: it may go past records that stand, and end anywhere. `None` where it is too long.
    pub(crate) fn rebuild(&self, frame: usize, own: OwnStack, Standing(standing): Standing) -> Option<u64> {
        let Some(Walk { fresh, join, beyond, end }) =
            self.walk_on(frame, own, standing).filter(|walk| walk.fresh < walk.join)
        else {
            self.empty();
            return None;
        };
        let start = join - fresh;
        self.held.get(join)?.next.set(beyond);
        if let Some(end) = end {
            self.end.set(end);
            self.hashes.get(Self::LEN)?.set(end.seed());
        }
        let mut hash = self.hashes.get(join)?.get();
        for i in (0..fresh).rev() {
            let Held { next: place, address } = self.fresh.get(i)?;
            if address.get() != 0 {
                hash = mix(hash, address.get());
            }
            self.held.get(start + i)?.next.set(place.get());
            self.held.get(start + i + 1)?.address.set(address.get());
            self.hashes.get(start + i)?.set(hash);
        }
        self.begin_at(start);
        let is_anchor = |&i: &usize| self.place(i) == own.anchor;
        self.fixed.set((start..Self::LEN).find(is_anchor).unwrap_or(Self::LEN));
        // One record more than a stack may have, and it is no terminator.
        if start == 1 && self.held.get(Self::LEN)?.address.get() != 0 {
            self.empty();
            return None;
        }
        Some(hash)
    }

    /// Follows the chain until it reaches a record from `standing` on, or its end. `None` where it is too long.
    fn walk_on(&self, frame: usize, own: OwnStack, standing: usize) -> Option<Walk> {
        let mut place = frame;
        let mut join = standing;
        let mut fresh = 0;
        loop {
            while join < Self::LEN && self.held.get(join)?.next.get() < place {
                join += 1;
            }
            if join < Self::LEN && self.held.get(join)?.next.get() == place {
                return Some(Walk { fresh, join, beyond: place, end: None });
            }
            let [next, address] = read(place);
            let record = self.fresh.get(fresh)?;
            record.next.set(place);
            record.address.set(address as u64);
            fresh += 1;
            let end = if own.root == Some(Root { place, address: address as u64 }) {
                End::AtRoot
            } else if address == 0 || next == 0 {
                End::NoCaller
            } else if next <= place || !own.bounds.hold(next) {
                End::Astray
            } else {
                place = next;
                continue;
            };
            return Some(Walk { fresh, join: Self::LEN, beyond: next, end: Some(end) });
        }
    }
}

/// The innermost of the records that were found unchanged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing(usize);

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
    // SAFETY: records are numbered up to `LEN`, the last number that the arrays have; a walk has fewer fresh ones than there are numbers
    // before the record it joins, and a search ends at the place before the innermost.
    unsafe { array.get_unchecked(i) }
}
