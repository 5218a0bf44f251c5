//! What a walk reads: words on the thread's own stack, on a page that was seen to be there, or of which the kernel was asked.

#![allow(unsafe_code)] // a system call, and loads from stacks

use crate::engine::life::seccomp;
use crate::engine::store::ledger_map::Errno;
use crate::engine::unwind::frame_pointer::{raw_record, Bounds};

const PAGE: usize = 4096;
/// What is farther away was not reached by calls alone. In bytes.
const FARTHEST: usize = 1 << 20;

/// The stacks of the calling thread.
pub(crate) struct Memory {
    own_stack: Bounds,
    /// Where a page begins that was seen to be there.
    page: usize,
    /// Where the last record lay that a frame pointer led to.
    last: usize,
}

impl Memory {
    pub(crate) fn new(own_stack: Bounds) -> Memory {
        Memory { own_stack, page: 0, last: 0 }
    }

    /// A walk begins at `frame`, which is there. Of the thread's own stack, what lies further in may not be.
    pub(crate) fn start_at(&mut self, frame: usize) {
        self.page = page_of(frame);
        self.last = frame;
        if self.own_stack.hold(frame) {
            self.own_stack.low = frame;
        }
    }

    /// Whether a frame pointer that the tables vouch for leads outwards on the same stack, so that there is no need to ask.
    #[inline(always)]
    fn is_near(&self, place: usize) -> bool {
        place & 7 == 0 && place >= self.last && place - self.last < FARTHEST
    }

    /// What a frame pointer leads to that nobody vouches for is not near.
    pub(crate) fn ask_for(&mut self, place: usize) {
        self.last = place.saturating_add(FARTHEST);
    }

    /// The word at an address; `None` where there is nothing.
    pub(crate) fn word(&mut self, at: usize) -> Option<usize> {
        if at & 7 != 0 {
            return None;
        }
        if !self.own_stack.hold_word(at) && page_of(at) != self.page {
            peek(at)?;
            self.page = page_of(at);
        }
        // SAFETY: on the thread's own stack, outwards of a frame that is live, or on a page from which was read; a word that begins at a
        // multiple of 8 ends on the same page.
        Some(unsafe { *(at as *const usize) })
    }

    /// The record that a frame pointer leads to, with its return address as it is in memory.
    #[inline(always)]
    pub(crate) fn record(&mut self, place: usize) -> Option<[usize; 2]> {
        let record = if self.own_stack.hold(place) || self.is_near(place) {
            // SAFETY: on a stack of the thread, outwards of a frame that is live.
            unsafe { raw_record(place) }
        } else {
            [self.word(place)?, self.word(place.checked_add(8)?)?]
        };
        self.last = place;
        Some(record)
    }

    /// Takes it that there is something at an address.
    pub(crate) fn is_there(&mut self, at: usize) {
        self.page = page_of(at);
    }

    /// Whether a frame lies on the thread's own stack.
    pub(crate) fn is_own(&self, frame: usize) -> bool {
        self.own_stack.hold(frame)
    }
}

fn page_of(at: usize) -> usize {
    at & !(PAGE - 1)
}

/// The word at an address, if there is one. The kernel is asked: nothing happens where there is none.
pub(crate) fn peek(at: usize) -> Option<usize> {
    let mut word = [0u8; 8];
    copy(&mut word, at).then(|| usize::from_ne_bytes(word))
}

/// Copies what lies at an address; `false` where it is not there.
fn copy(to: &mut [u8; 8], from: usize) -> bool {
    if !seccomp::allows_calls() {
        return false;
    }
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
    use crate::provenance::Address;

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
        assert_eq!(peek(std::ptr::from_ref(&word).address()), Some(word));
        assert_eq!([0, 8, usize::MAX - 7].map(peek), [None; 3]);
        assert!(!follows_a_call(8));
    }
}
