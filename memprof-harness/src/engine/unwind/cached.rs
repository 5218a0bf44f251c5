//! The stack of the event before, if it is the thread's own and a chain of frame pointers: which room a chain is kept in, and what is
//! known of the thread's stack besides. `chain` has how it is kept and compared.
//!
//! A lane has room for [`NEAR`] frames. With a deeper stack it takes room for [`DEEP`], which few threads need, and with one deeper than that for
//! [`MOST_FRAMES`]. It uses the larger room until stacks are shallow again.

#![allow(unsafe_code)] // a room that is made when it is needed

use crate::engine::store::own_memory::{ample_bytes, private_bytes};
use crate::engine::unwind::chain::{Chain, Kept, OwnStack, Standing};
use crate::engine::unwind::frame_pointer::{finish, Bounds, Frame};
use crate::engine::unwind::table_walk::{Root, TableWalk};
use std::cell::Cell;
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::atomic::{compiler_fence, Ordering};

/// Frames of the deepest stack that every lane has room for.
const NEAR: usize = 4096;
/// Frames of the deepest stack that a lane has room for where address space is limited: 5 MiB.
const DEEP: usize = 1 << 17;
/// Frames of the deepest stack that is kept: 40 MiB. What is deeper is walked anew at each event. A first thread's stack of 8 MiB has room for half as
/// many, of two words each.
pub(crate) const MOST_FRAMES: usize = 1 << 20;

/// See [`Chain`].
type Near = Chain<{ NEAR + 3 }>;
type Deep = Chain<{ DEEP + 3 }>;
type Deepest = Chain<{ MOST_FRAMES + 3 }>;

/// A stack that is in a larger room goes back to one of so many frames where it has fewer than this. Half of it, so that one that grows and
/// shrinks by some frames does not go back and forth.
const fn shallow(frames: usize) -> usize {
    frames / 2
}

#[repr(C)]
pub(crate) struct Recent {
    near: Near,
    /// Where the anchor lies, 0 = nowhere.
    anchor: Cell<usize>,
    /// Room for a stack that `near` has none for, made when the first one is met, and for one that this has none for. One of the three keeps a
    /// stack at a time.
    deep: Cell<Option<NonNull<Deep>>>,
    deepest: Cell<Option<NonNull<Deepest>>>,
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
        self.near.empty();
        self.empty_deep();
        self.empty_deepest();
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

    /// The hash of the stack from `frame` outwards, which is kept until [`Recent::release`] is called; `None` where it must be walked,
    /// and is not kept.
    #[inline(always)]
    pub(crate) fn know(&self, frame: Frame, bounds: Bounds) -> Option<u64> {
        if !bounds.hold(frame.0) || self.busy.replace(true) {
            return None;
        }
        compiler_fence(Ordering::SeqCst);
        let hash = match self.near.update(frame.0) {
            Ok(hash) => Some(hash),
            Err(standing) => self.know_anew(frame, bounds, standing),
        };
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
        if let Some(deepest) = in_room(&self.deepest).filter(|deepest| deepest.len() > 0) {
            return deepest.kept();
        }
        match in_room(&self.deep).filter(|deep| deep.len() > 0) {
            Some(deep) => deep.kept(),
            None => self.near.kept(),
        }
    }

    /// Of a stack that does not just lead to what is kept in `near`.
    #[cold]
    #[inline(never)]
    fn know_anew(&self, frame: Frame, bounds: Bounds, standing: Standing) -> Option<u64> {
        if self.parked.get() {
            return None;
        }
        if !self.sought.replace(true) {
            let mut walk = TableWalk::new(bounds, None);
            walk.go(frame, |_, _| false);
            self.root.set(walk.found_root());
        }
        let own = OwnStack { bounds, root: self.root.get(), anchor: self.anchor.get() };
        let [in_deep, in_deepest] = self.deep_lens();
        if in_deep.max(in_deepest) < shallow(NEAR) {
            if let Some(hash) = self.near.rebuild(frame.0, own, standing) {
                self.empty_deep();
                self.empty_deepest();
                return Some(hash);
            }
        }
        if in_deepest < shallow(DEEP) {
            if let Some(hash) = update(made(&self.deep, private_bytes)?, frame, own) {
                self.empty_deepest();
                return Some(hash);
            }
        }
        update(made(&self.deepest, ample_bytes)?, frame, own)
    }

    fn deep_lens(&self) -> [usize; 2] {
        [in_room(&self.deep).map_or(0, Chain::len), in_room(&self.deepest).map_or(0, Chain::len)]
    }

    fn empty_deep(&self) {
        if let Some(deep) = in_room(&self.deep) {
            deep.empty();
        }
    }

    fn empty_deepest(&self) {
        if let Some(deepest) = in_room(&self.deepest) {
            deepest.empty();
        }
    }
}

/// Keeps a stack in a larger room, if it has room for it. Else it keeps none.
fn update<const ROOM: usize>(chain: &Chain<ROOM>, frame: Frame, own: OwnStack) -> Option<u64> {
    match chain.update(frame.0) {
        Ok(hash) => Some(hash),
        Err(standing) => chain.rebuild(frame.0, own, standing),
    }
}

/// A larger room, if it was made.
fn in_room<const ROOM: usize>(room: &Cell<Option<NonNull<Chain<ROOM>>>>) -> Option<&Chain<ROOM>> {
    // SAFETY: zeroed memory of that length, aligned to a page, that is this lane's for good; zeros are valid cells.
    room.get().map(|room| unsafe { room.as_ref() })
}

/// A larger room, which is made of memory from `take` if it was not.
fn made<const ROOM: usize>(
    room: &Cell<Option<NonNull<Chain<ROOM>>>>,
    take: fn(usize) -> Option<NonNull<u8>>,
) -> Option<&Chain<ROOM>> {
    if room.get().is_none() {
        room.set(Some(take(size_of::<Chain<ROOM>>())?.cast()));
        in_room(room).inspect(|made| made.empty());
    }
    in_room(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::unwind::chain::End;
    use crate::engine::unwind::excerpt::Spelt;
    use crate::engine::unwind::frame_pointer::{mix, record};
    use crate::provenance::Address;

    /// Miri has no memory that nobody owns, which the room for deep stacks is in.
    const MOST: usize = if cfg!(miri) { NEAR } else { MOST_FRAMES };

    /// Under Miri as many as take some seconds.
    const CHANGES: usize = if cfg!(miri) { 60 } else { 20_000 };

    fn empty() -> Box<Recent> {
        // SAFETY: zeros are a room that is ready once it forgets.
        let recent: Box<Recent> = unsafe { Box::new(std::mem::zeroed()) };
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
            // SAFETY: made below.
            let [next, address] = unsafe { record(place) };
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
        (addresses.len() <= MOST).then_some((finish(hash), addresses, end))
    }

    /// What is kept of the stack, which is free again afterwards.
    fn known(recent: &Recent, frame: Frame, bounds: Bounds) -> Option<Known> {
        let hash = recent.know(frame, bounds)?;
        let kept = recent.kept();
        assert_eq!(kept.frame.0, frame.0);
        let addresses = kept.from(0).collect();
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
            assert!(recent.near.has_anchor());
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
        assert_eq!(deep > 0, records > 3 * MOST);
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
    fn stacks_deeper_than_any_lane_has_room_for_are_kept_elsewhere() {
        let changes = if cfg!(miri) { 3 } else { 400 };
        check(4 * NEAR, changes, true);
        check(4 * NEAR, changes, false);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no memory for it that nobody owns")]
    fn stacks_too_deep_to_keep_are_left_to_the_walk() {
        check(4 * MOST, 8, true);
        check(4 * MOST, 8, false);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no memory for it that nobody owns")]
    fn one_room_alone_keeps_a_stack() {
        const FRAMES: usize = 2 * DEEP;
        let made = Made::new(FRAMES + 1, 0);
        for i in 0..FRAMES {
            made.set(i, [made.place(i + 1), 0x1000 + i]);
        }
        let recent = empty();
        let frames_in = |depth: usize| {
            let frame = Frame(made.place(FRAMES - depth));
            assert_eq!(known(&recent, frame, made.bounds()), truth(&recent, frame, made.bounds()), "{depth}");
            let [deep, deepest] = recent.deep_lens();
            [recent.near.len(), deep, deepest].map(|len| len.saturating_sub(1))
        };
        // Back only where a stack is much shallower, and of no use from then on.
        let (shallow, less_deep) = (shallow(NEAR) - 2, shallow(DEEP) - 2);
        let in_near = |depth| (depth, [depth, 0, 0]);
        let in_deep = |depth| (depth, [0, depth, 0]);
        let in_deepest = |depth| (depth, [0, 0, depth]);
        for (depth, expected) in [
            in_near(100),
            in_near(NEAR),
            in_deep(NEAR + 1),
            in_deep(2 * NEAR),
            in_deep(NEAR - 1),
            in_deep(shallow),
            in_near(shallow),
            in_near(NEAR),
            in_deep(DEEP),
            in_deepest(DEEP + 1),
            in_deepest(FRAMES),
            in_deepest(less_deep),
            in_deep(less_deep),
            in_deepest(FRAMES),
            in_deepest(8),
            in_near(8),
        ] {
            assert_eq!(frames_in(depth), expected);
        }
    }

    #[test]
    fn a_signal_handler_in_the_middle_leaves_the_kept_stack_alone() {
        let mut made = Made::new(8, 1);
        made.change(0, 7);
        let (outer, inner, bounds) = (Frame(made.place(2)), Frame(made.place(0)), made.bounds());
        let recent = empty();
        assert!(recent.know(outer, bounds).is_some());
        assert_eq!(recent.know(inner, bounds), None);
        let kept: Vec<_> = recent.kept().from(0).collect();
        recent.release();
        assert_eq!(truth(&recent, outer, bounds).map(|(_, addresses, _)| addresses), Some(kept));
        // On another stack nothing is kept, and nothing is in use.
        assert_eq!(recent.know(inner, Bounds::NOWHERE), None);
        assert_eq!(known(&recent, inner, bounds), truth(&recent, inner, bounds));
    }

    #[test]
    fn a_stack_of_the_greatest_depth_is_kept() {
        let made = Made::new(MOST + 2, 0);
        for i in 0..=MOST {
            made.set(i, [made.place(i + 1), 0x1000 + i]);
        }
        made.set(MOST + 1, [0, 0]);
        let recent = empty();
        for first in [1, 0, 1, 0] {
            let frame = Frame(made.place(first));
            let known = known(&recent, frame, made.bounds());
            assert_eq!(known.is_some(), first == 1);
            assert_eq!(known, truth(&recent, frame, made.bounds()));
        }
    }
}
