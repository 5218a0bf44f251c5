//! Stacks that are not the thread's own: a coroutine's, one grown on the heap, a signal handler's. Nobody told us where they
//! end, and what lies behind them may be gone by the next event. So a record is read only where it is known to be there.
//!
//! **Invariant**: the first record is the calling function's, so it is there; and where a function has a frame pointer by its unwind
//! table, its frame pointer leads to a record. So a chain is read from the inside outwards: each record equals the one kept of
//! the event before, whose function was asked for then, or its function is asked for now. The processor need not wait
//! for one record to learn where the next one lies, because it goes on with the kept place as if that were right.
//!
//! What takes more than frame pointers, such as a signal handler's stack, is not kept but walked by its tables each time.

#![allow(unsafe_code)] // a system call, and loads from stacks

use crate::engine::store::ledger_map::{self, Errno};
use crate::engine::unwind::cached::{End, Kept};
use crate::engine::unwind::frame_pointer::{self, finish, mix, Bounds, Frame};
use crate::engine::unwind::table_walk::Root;
use crate::engine::unwind::tables::{self, Rule};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{compiler_fence, Ordering};

/// Frames of the deepest chain that is kept.
const MOST_FRAMES: usize = 1024;
/// Of the arrays: one more, where what the last record led to stands.
const LEN: usize = MOST_FRAMES + 1;
/// What is farther away was not reached by calls alone. In bytes.
const FARTHEST: usize = 1 << 20;

/// One lane's room for such a stack, made when it is first needed.
pub(crate) struct Foreign {
    room: Cell<Option<NonNull<Room>>>,
    /// In use: an event in a signal handler goes without.
    busy: Cell<bool>,
}

/// The chain of the event before. Record `i` of each array is of one frame, and those in use stand at the end, as in
/// [`cached::Recent`](crate::engine::unwind::cached::Recent). Zeros are an empty one.
struct Room {
    /// Where the record lies; of record `LEN`, what the outermost one led to.
    places: [Cell<usize>; LEN + 1],
    /// What the record leads to. That is the place of the next one, but where the function switched stacks: there a word lies that leads
    /// to the next one's.
    leads: [Cell<usize>; LEN],
    addresses: [Cell<u64>; LEN],
    /// The hash of the return addresses from this record outwards.
    hashes: [Cell<u64>; LEN + 1],
    /// The records of a walk, until it is known where they go.
    fresh: [[Cell<usize>; 3]; LEN],
    /// How many are kept.
    len: Cell<usize>,
    /// The record of the anchor; `LEN` = it is not among them.
    fixed: Cell<usize>,
    end: Cell<Option<End>>,
}

/// What is known of the calling thread besides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Home {
    pub(crate) own_stack: Bounds,
    pub(crate) root: Option<Root>,
    /// Where the frames lie, on the thread's own stack, from which on outwards nothing changes; 0 = nowhere.
    pub(crate) anchor: usize,
}

impl Foreign {
    pub(crate) const fn new() -> Foreign {
        Foreign { room: Cell::new(None), busy: Cell::new(false) }
    }

    /// A thread may have died in the middle, and what was kept is of another thread.
    pub(crate) fn forget(&self) {
        self.empty();
        self.busy.set(false);
    }

    /// Frames that were taken to stay as they are do so no longer.
    pub(crate) fn empty(&self) {
        if let Some(room) = self.room.get() {
            // SAFETY: made below, and this lane's for good.
            unsafe { room.as_ref() }.len.set(0);
        }
    }

    /// The hash of the stack from `frame` outwards, which is kept until [`Foreign::release`] is called; `None` where it must be walked
    /// by its tables, and is not kept.
    #[inline(never)]
    pub(crate) fn know(&self, frame: Frame, home: Home) -> Option<u64> {
        if self.busy.replace(true) {
            return None;
        }
        compiler_fence(Ordering::SeqCst);
        let hash = self.room().and_then(|room| room.update(frame.0, home));
        if hash.is_none() {
            self.empty();
            self.release();
        }
        hash.map(finish)
    }

    /// The stack may be another one from here on.
    pub(crate) fn release(&self) {
        compiler_fence(Ordering::SeqCst);
        self.busy.set(false);
    }

    /// The stack that is kept.
    pub(crate) fn kept(&self) -> Option<Kept<'_>> {
        let room = self.room()?;
        let start = LEN - room.len.get();
        Some(Kept {
            addresses: room.addresses.get(start..)?,
            end: room.end.get()?,
            frame: Frame(room.places.get(start)?.get()),
        })
    }

    fn room(&self) -> Option<&Room> {
        if self.room.get().is_none() {
            self.room.set(Some(ledger_map::private_bytes(size_of::<Room>())?.cast()));
        }
        // SAFETY: zeroed memory of that length, aligned to a page, that is this lane's for good; zeros are valid cells.
        self.room.get().map(|room| unsafe { room.as_ref() })
    }
}

impl Room {
    /// `None` where the chain takes more than frame pointers, or is too long.
    fn update(&self, frame: usize, home: Home) -> Option<u64> {
        let mut from = LEN - self.len.get();
        let mut place = frame;
        let mut fresh = 0;
        loop {
            // Records further in than this one are gone.
            let mut i = from;
            while self.places.get(i)?.get() < place && i < LEN {
                i += 1;
            }
            if i < LEN && self.places.get(i)?.get() == place {
                let changed = self.standing(i);
                if changed == LEN {
                    return self.keep(fresh, i);
                }
                for k in i..changed {
                    let [lead, address] = [self.leads.get(k)?.get(), self.addresses.get(k)?.get() as usize];
                    self.push(&mut fresh, [self.places.get(k)?.get(), lead, address])?;
                }
                place = self.places.get(changed)?.get();
                from = changed;
            }
            // SAFETY: the first one, or its function has a frame pointer that led here.
            let [lead, address] = unsafe { frame_pointer::record(place) };
            self.push(&mut fresh, [place, lead, address])?;
            place = match self.after(place, lead, address as u64, home)? {
                Next::Record(next) => next,
                Next::End(end) => {
                    self.places.get(LEN)?.set(lead);
                    self.hashes.get(LEN)?.set(end.seed());
                    self.end.set(Some(end));
                    let hash = self.keep(fresh, LEN);
                    let anchor = self.places.get(..LEN)?.iter().rposition(|place| place.get() == home.anchor);
                    self.fixed.set(anchor.filter(|&at| at >= LEN - self.len.get()).unwrap_or(LEN));
                    return hash;
                }
            };
        }
    }

    /// The innermost record from `first` outwards that is not what it was; `LEN` where there is none.
    fn standing(&self, first: usize) -> usize {
        let mut place = at(&self.places, first).get();
        for i in first..self.fixed.get() {
            let next = at(&self.places, i + 1).get();
            // SAFETY: all records before this one are what they were, so their functions lead to this one.
            let [found, address] = unsafe { frame_pointer::record(place) };
            if found != next && !self.switches(i, found, next) || address as u64 != at(&self.addresses, i).get() {
                return i;
            }
            place = next;
        }
        LEN
    }

    /// Whether the function of record `i` switched stacks, and did so from where the next record lies.
    #[cold]
    fn switches(&self, i: usize, found: usize, next: usize) -> bool {
        // SAFETY: it led there before, and its frame pointer leads to the word that says where from.
        found == at(&self.leads, i).get() && i + 1 < LEN && unsafe { *(found as *const usize) } == next
    }

    fn push(&self, fresh: &mut usize, record: [usize; 3]) -> Option<()> {
        self.fresh.get(*fresh)?.iter().zip(record).for_each(|(place, word)| place.set(word));
        *fresh += 1;
        Some(())
    }

    /// Where a record leads. `None` where it takes more than frame pointers to say.
    fn after(&self, place: usize, lead: usize, address: u64, home: Home) -> Option<Next> {
        if home.root == Some(Root { place, address }) {
            return Some(Next::End(End::AtRoot));
        }
        let next = match tables::rule(address).rule {
            Rule::FramePointer => lead,
            Rule::Outermost => return Some(Next::End(End::Astray)),
            // The caller's frame and the return address lie side by side on the other stack, as everywhere.
            Rule::Switch { link: 0, end, address, frame } if end == frame && address + 8 == frame && lead & 7 == 0 => {
                // SAFETY: the function switched stacks, and its frame pointer leads to the word that says where from.
                unsafe { *(lead as *const usize) }
            }
            _ => return None,
        };
        let is_near = next > place && next - place < FARTHEST;
        // What another stack begins with is looked at before it is believed.
        let is_there = next & 7 == 0 && next != 0 && (is_near || home.own_stack.hold(next) || peek(next).is_some());
        is_there.then_some(Next::Record(next))
    }

    /// Puts the fresh records before those from `join` on. Gives the hash of it all.
    fn keep(&self, fresh: usize, join: usize) -> Option<u64> {
        let mut hash = self.hashes.get(join)?.get();
        let start = join.checked_sub(fresh)?;
        for i in (0..fresh).rev() {
            let [place, lead, address] = self.fresh.get(i)?.each_ref().map(Cell::get);
            hash = mix(hash, address as u64);
            self.places.get(start + i)?.set(place);
            self.leads.get(start + i)?.set(lead);
            self.addresses.get(start + i)?.set(address as u64);
            self.hashes.get(start + i)?.set(hash);
        }
        self.len.set(LEN - start);
        Some(hash)
    }
}

/// An element of one of the arrays.
#[inline(always)]
fn at<T>(array: &[T], i: usize) -> &T {
    debug_assert!(i < array.len());
    // SAFETY: records are numbered below `LEN`, and only the array that has one more is asked for `LEN` itself.
    unsafe { array.get_unchecked(i) }
}

/// What comes after a record.
enum Next {
    /// The record at this place.
    Record(usize),
    End(End),
}

/// The word at an address, if there is one. The kernel is asked: nothing happens where there is none.
pub(crate) fn peek(at: usize) -> Option<usize> {
    let mut word = [0u8; 8];
    copy(&mut word, at).then(|| usize::from_ne_bytes(word))
}

/// Copies what lies at an address; `false` where it is not there.
fn copy(to: &mut [u8; 8], from: usize) -> bool {
    let errno = Errno::save();
    let here = libc::iovec { iov_base: to.as_mut_ptr().cast(), iov_len: to.len() };
    let there = libc::iovec { iov_base: from as *mut libc::c_void, iov_len: to.len() };
    // SAFETY: has no preconditions.
    let me = unsafe { libc::getpid() };
    // SAFETY: `here` is as long as it says; whatever the address is that is copied from, nothing happens but an error.
    let copied = unsafe { libc::process_vm_readv(me, &here, 1, &there, 1, 0) };
    errno.restore();
    copied == to.len() as isize
}

/// Whether there is code at an address, with a call before it, as there is at every return address.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) fn follows_a_call(address: usize) -> bool {
    let mut code = [0u8; 8];
    copy(&mut code, address.wrapping_sub(8)) && ends_with_a_call(code)
}

/// `call` with an address of four bytes behind it, or one through a register or memory, with up to five bytes that say
/// which (Intel's manual, volume 2, CALL: E8, and FF with 2 in the middle bits of the byte behind it).
#[cfg(target_arch = "x86_64")]
fn ends_with_a_call(code: [u8; 8]) -> bool {
    let indirect = |at: usize| code[at] == 0xff && code[at + 1] >> 3 & 7 == 2;
    code[3] == 0xe8 || [1, 2, 4, 5, 6].into_iter().any(indirect)
}

/// `bl` and `blr` (Arm's manual, C6.2).
#[cfg(not(target_arch = "x86_64"))]
fn ends_with_a_call(code: [u8; 8]) -> bool {
    let [.., a, b, c, d] = code;
    let instruction = u32::from_le_bytes([a, b, c, d]);
    instruction >> 26 == 0b10_0101 || instruction & 0xffff_fc1f == 0xd63f_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn calls_are_known_by_their_bytes() {
        for (code, is_call) in [
            // call 0x1234; call *%rax; call *0x1234(%rip); call *8(%r12); nops; mov
            ([0x90, 0x90, 0x90, 0xe8, 0x34, 0x12, 0, 0], true),
            ([0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0], true),
            ([0x90, 0x90, 0xff, 0x15, 0x34, 0x12, 0, 0], true),
            ([0x90, 0x90, 0x90, 0x41, 0xff, 0x54, 0x24, 0x08], true),
            ([0x90; 8], false),
            ([0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0x90], false),
        ] {
            assert_eq!(ends_with_a_call(code), is_call, "{code:x?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no process_vm_readv")]
    fn what_is_not_there_is_not_read() {
        let word = std::hint::black_box(0x1234_5678_usize);
        assert_eq!(peek(std::ptr::from_ref(&word).addr()), Some(word));
        assert_eq!([0, 8, usize::MAX - 7].map(peek), [None; 3]);
        assert!(!follows_a_call(8));
    }
}
