//! A chain of frame records that was walked, and is kept. Most of it still stands at the next event: its outer frames are compared with
//! memory, which is faster than following the chain from frame to frame, because no load waits for the one before; only what is
//! inside of them is walked.
//!
//! A frame record that holds what it held is followed by what followed it, so the outermost records that are all
//! unchanged are the outer end of any chain that reaches one of them. Nothing is assumed that was not compared, but for the
//! frames outside of an anchor, which cannot change while it holds.

#![allow(unsafe_code)] // reads the frames it has kept the addresses of

use crate::engine::unwind::frame_pointer::{mix, record as read_record, Bounds, Frame, SEED};
use crate::engine::unwind::table_walk::Root;
use std::cell::Cell;

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
/// Record `i` of each array is of one frame; 1 is the innermost that there may be. Those in use stand at the end, so what
/// is outer keeps its place. Of the arrays mostly the ends are ever touched, and of the fresh ones the beginnings: they lie side by side, so
/// that few pages are.
#[repr(C)]
pub(crate) struct Chain<const ROOM: usize> {
    /// Where the record lies. It led to where the next one lies; the place after the last one's is what that one held, which is
    /// anything. The place before the innermost one's is 0, so that a search ends there.
    places: [Cell<usize>; ROOM],
    /// The records of a walk, until it is known where they go.
    fresh_places: [Cell<usize>; ROOM],
    /// The return address; 0 = the end of the chain.
    addresses: [Cell<u64>; ROOM],
    fresh_addresses: [Cell<u64>; ROOM],
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
        at(&self.places, start - 1).set(0);
        self.start.set(start);
    }

    /// The chain that is kept.
    pub(crate) fn kept(&self) -> Kept<'_> {
        let start = self.start.get();
        let mut addresses = self.addresses.get(start..Self::LEN).unwrap_or(&[]);
        if let Some((last, rest)) = addresses.split_last() {
            if last.get() == 0 {
                addresses = rest;
            }
        }
        Kept { chain: addresses, end: self.end.get(), frame: Frame(self.places.get(start).map_or(0, Cell::get)) }
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
        if standing == Self::LEN {
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
    pub(crate) fn rebuild(&self, frame: usize, own: OwnStack, Standing(standing): Standing) -> Option<u64> {
        let Some(Walk { fresh, join, beyond, end }) =
            self.walk_on(frame, own, standing).filter(|walk| walk.fresh < walk.join)
        else {
            self.empty();
            return None;
        };
        let start = join - fresh;
        self.places.get(join)?.set(beyond);
        if let Some(end) = end {
            self.end.set(end);
            self.hashes.get(Self::LEN)?.set(end.seed());
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
        let is_anchor = |&i: &usize| at(&self.places, i).get() == own.anchor;
        self.fixed.set((start..Self::LEN).find(is_anchor).unwrap_or(Self::LEN));
        // One record more than a stack may have, and it is no terminator.
        if start == 1 && self.addresses.get(Self::LEN - 1)?.get() != 0 {
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
            while join < Self::LEN && self.places.get(join)?.get() < place {
                join += 1;
            }
            if join < Self::LEN && self.places.get(join)?.get() == place {
                return Some(Walk { fresh, join, beyond: place, end: None });
            }
            let [next, address] = read(place);
            self.fresh_places.get(fresh)?.set(place);
            self.fresh_addresses.get(fresh)?.set(address as u64);
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
