//! What a walk reads: words on the thread's own stack, on a page that was seen to be there, or of which the kernel was asked.

#![allow(unsafe_code)] // a system call, and loads from stacks

use crate::engine::store::calls;
use crate::engine::store::errno::Errno;
use crate::engine::unwind::code_at;
use crate::engine::unwind::frame_pointer::{raw_record, Bounds};
use crate::engine::unwind::tables;
use crate::os;
use crate::os::weak_symbol::weak_address;

const PAGE: usize = 4096;
/// What is farther away was not reached by calls alone. In bytes.
const FARTHEST: usize = 1 << 20;

/// The largest frame of a function without a table that is looked through for return addresses. In bytes.
const LARGEST_UNTOLD: usize = 16 << 10;

/// musl's own start of a program and of a thread may have been compiled without tables, and uses the frame pointer's register for data.
const STARTS_WITHOUT_TABLE: bool = cfg!(target_env = "musl");
/// The most that lies between the record of a thread's first function and the end of its stack: musl's `start` and what it is told, 300
/// bytes at the most. In bytes.
const OUTERMOST: usize = 384;

/// The stacks of the calling thread.
pub(crate) struct Memory {
    own_stack: Bounds,
    /// Where a page begins that was seen to be there.
    page: usize,
    /// Where the last record lay that a frame pointer led to.
    last: usize,
    /// A frame pointer led away from there: to another stack, or astray.
    has_left: bool,
}

impl Memory {
    pub(crate) fn new(own_stack: Bounds) -> Memory {
        Memory { own_stack, page: 0, last: 0, has_left: false }
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

    /// Whether a frame pointer led away from where it was read, so that the memory there may be gone the next time.
    pub(crate) fn has_left(&self) -> bool {
        self.has_left
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
            self.has_left = true;
            [self.word(place)?, self.word(place.checked_add(8)?)?]
        };
        self.last = place;
        Some(record)
    }

    /// Whether a word from the stack pointer of a function up to the record that its frame pointer leads to may be the function's return
    /// address. If none may, the record is the function's own: the frame pointer of a caller would lead past the return address.
    pub(crate) fn may_hold_return_address(&mut self, stack: usize, frame: usize) -> bool {
        if frame & 7 != 0 || stack & 7 != 0 || frame < stack || frame - stack > LARGEST_UNTOLD {
            return true;
        }
        let own_stack = self.own_stack;
        (stack..frame).step_by(8).any(|at| match self.word(at) {
            // No code lies on the thread's stack, nor on the first page.
            Some(word) if own_stack.hold_word(word) || word < PAGE => false,
            Some(word) => match before(word) {
                Before::Call => true,
                Before::Other => false,
                Before::Unreadable => code_at::object_at(word - 1).is_some(),
            },
            None => true,
        })
    }

    /// Whether two words are there, of which the kernel is asked where nothing is known.
    pub(crate) fn has_record(&mut self, place: usize) -> bool {
        self.word(place).is_some() && place.checked_add(8).is_some_and(|second| self.word(second).is_some())
    }

    /// Takes it that there is something at an address.
    pub(crate) fn is_there(&mut self, at: usize) {
        self.page = page_of(at);
    }

    /// Whether code without a table that a frame record leads back to is the C library's that starts threads and programs: what it called
    /// is `main`, or there is no room for a caller farther out.
    pub(crate) fn is_start(&self, place: usize, callee: u64) -> bool {
        STARTS_WITHOUT_TABLE && self.own_stack.hold(place) && (is_outermost(self.own_stack, place) || is_main(callee))
    }

    /// Whether a frame lies on the thread's own stack.
    pub(crate) fn is_own(&self, frame: usize) -> bool {
        self.own_stack.hold(frame)
    }
}

/// Whether a record lies so far out on a stack that nothing has called what called its function.
fn is_outermost(own_stack: Bounds, place: usize) -> bool {
    own_stack.high - place <= OUTERMOST
}

/// Whether an address lies in the program's `main`, as the C library calls it.
fn is_main(address: u64) -> bool {
    let main = weak_address!("main") as u64;
    main != 0 && address != 0 && tables::rule(address).function == main
}

fn page_of(at: usize) -> usize {
    at & !(PAGE - 1)
}

/// The word at an address, if there is one. The kernel is asked: nothing happens where there is none.
pub(crate) fn peek(at: usize) -> Option<usize> {
    let mut word = [0u8; 8];
    copy(&mut word, at).then(|| usize::from_ne_bytes(word))
}

/// Copies what lies at an address; `false` where it is not all there.
fn copy(to: &mut [u8], from: usize) -> bool {
    if !calls::allows_calls() {
        return false;
    }
    let errno = Errno::save();
    // SAFETY: `to` has room for as many bytes as it is long.
    let copied = unsafe { os::memory::copy_if_there(to.as_mut_ptr().cast(), from, to.len()) };
    errno.restore();
    copied == to.len() as isize
}

/// Code of one function that is looked through for a frame pointer. In bytes.
#[cfg(target_arch = "x86_64")]
const LONGEST_FUNCTION: usize = 256 << 10;

/// `push %rbp; mov %rsp, %rbp`, the second of which assemblers write in two ways.
#[cfg(target_arch = "x86_64")]
fn is_prologue(code: &[u8]) -> bool {
    matches!(code, [0x55, 0x48, 0x89, 0xe5] | [0x55, 0x48, 0x8b, 0xec])
}

#[cfg(target_arch = "x86_64")]
const PROLOGUE_LEN: usize = 4;

/// Whether the code at an address sets a frame pointer before anything else. (`endbr64` may stand there, for indirect calls.)
#[cfg(target_arch = "x86_64")]
pub(crate) fn begins_with_frame_pointer(at: usize) -> bool {
    let mut code = [0u8; PROLOGUE_LEN];
    if copy(&mut code, at) && code == [0xf3, 0x0f, 0x1e, 0xfa] {
        return copy(&mut code, at.wrapping_add(4)) && is_prologue(&code);
    }
    is_prologue(&code)
}

/// Whether a frame pointer is set between two addresses, the start of which may lie in another function before. Only where the caller's is
/// pushed right before does a record begin there, and not the function's variables.
#[cfg(target_arch = "x86_64")]
pub(crate) fn sets_frame_pointer(start: usize, end: usize) -> bool {
    let start = start.max(end.saturating_sub(LONGEST_FUNCTION));
    let mut code = [0u8; 256];
    // From the end on, which is nearer; what lies across two parts is in both.
    let mut part_end = end;
    while part_end.saturating_sub(start) >= PROLOGUE_LEN {
        let part_start = start.max(part_end.saturating_sub(code.len()));
        let Some(part) = code.get_mut(..part_end - part_start).filter(|part| !part.is_empty()) else { return false };
        if !copy(part, part_start) {
            return false;
        }
        if part.windows(PROLOGUE_LEN).any(is_prologue) {
            return true;
        }
        if part_start == start {
            return false;
        }
        part_end = part_start + PROLOGUE_LEN - 1;
    }
    false
}

/// How far the stack has grown since the call, where an instruction of a linker's stub stands: `jmp *ADDRESS; push NUMBER; jmp FIRST`
/// at a multiple of 16 (System V ABI for x86-64, figure 5.2).
#[cfg(target_arch = "x86_64")]
pub(crate) fn grown_in_stub(at: usize) -> Option<u32> {
    let mut code = [0u8; 16];
    let is_stub = copy(&mut code, at & !15) && matches!(code, [0xff, 0x25, _, _, _, _, 0x68, _, _, _, _, 0xe9, ..]);
    match at & 15 {
        0 | 6 if is_stub => Some(0),
        11 if is_stub => Some(8),
        _ => None,
    }
}

/// What the call before an address calls; `None`: what is found as the program runs.
#[cfg(target_arch = "x86_64")]
pub(crate) fn called_before(address: usize) -> Option<usize> {
    let mut code = [0u8; 8];
    if !copy(&mut code, address.wrapping_sub(8)) {
        return None;
    }
    let [_, _, _, 0xe8, way @ ..] = code else { return None };
    Some(address.wrapping_add(i32::from_le_bytes(way) as isize as usize))
}

/// What stands before an address of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) enum Before {
    /// As before every return address.
    Call,
    Other,
    /// Nothing is there, or the system does not let it be read.
    Unreadable,
}

#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) fn before(address: usize) -> Before {
    let mut code = [0u8; 8];
    if !copy(&mut code, address.wrapping_sub(8)) {
        return Before::Unreadable;
    }
    if ends_with_a_call(code) {
        Before::Call
    } else {
        Before::Other
    }
}

/// Whether the code at an address ends a signal's handler: `mov $15, %rax` or `mov $15, %eax`, and `syscall` (15 is `rt_sigreturn` in
/// Linux' `syscall_64.tbl`). Debuggers know such code by these bytes too, as many a C library has no table for it.
#[cfg(target_arch = "x86_64")]
pub(crate) fn returns_from_signal(address: usize) -> bool {
    const WIDE: [u8; 9] = [0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05];
    const NARROW: [u8; 7] = [0xb8, 15, 0, 0, 0, 0x0f, 0x05];
    let mut code = [0u8; 9];
    let (narrow, _) = code.split_at_mut(NARROW.len());
    // The longer one may reach into a page that is not there.
    copy(narrow, address) && *narrow == NARROW || copy(&mut code, address) && code == WIDE
}

/// The same of an address in a function that has a table, or right behind it, and begins at `function`: its code is there.
#[cfg(target_arch = "x86_64")]
pub(crate) fn calls_before(function: usize, address: usize) -> bool {
    let mut code = [0u8; 8];
    let (_, inside) = code.split_at_mut(8 - address.saturating_sub(function).min(8));
    for (byte, at) in inside.iter_mut().rev().zip((function..address).rev()) {
        // SAFETY: within a function of a loaded object, which its unwind tables describe. Whoever unloads one has left its code.
        *byte = unsafe { *(at as *const u8) };
    }
    ends_with_a_call(code)
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
    fn nothing_called_what_lies_at_the_end_of_a_stack() {
        let own = Bounds { low: 0x10000, high: 0x20000 };
        assert!(is_outermost(own, 0x20000 - OUTERMOST) && is_outermost(own, 0x1fff0));
        assert!(!is_outermost(own, 0x20000 - OUTERMOST - 8) && !is_outermost(own, 0x10000));
        // Where tables are expected, code without one is never taken for the start.
        assert_eq!(Memory::new(own).is_start(0x1fff0, 0), cfg!(target_env = "musl"));
        assert!(!Memory::new(own).is_start(0x20000, 0));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no symbols")]
    fn main_is_known_by_the_addresses_in_it() {
        let main = weak_address!("main") as u64;
        assert!(main != 0 && is_main(main + 8), "{main:x} {:x?}", tables::rule(main + 8));
        assert!(!is_main(0));
        assert!(!is_main(main_is_known_by_the_addresses_in_it as fn() as usize as u64 + 1));
    }

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
    #[cfg(target_arch = "x86_64")]
    #[cfg_attr(miri, ignore = "Miri has no process_vm_readv")]
    fn frame_pointers_stubs_and_calls_are_read_from_code() {
        let mut code = vec![0x90u8; 1000];
        let start = code.as_ptr().address();
        assert!(!sets_frame_pointer(start, start + 1000));
        for at in [0, 100, 742, 743, 744, 745, 746, 996] {
            for prologue in [[0x55, 0x48, 0x89, 0xe5], [0x55, 0x48, 0x8b, 0xec]] {
                code[at..at + 4].copy_from_slice(&prologue);
                assert!(sets_frame_pointer(start, start + 1000), "{at}");
                assert!(
                    !sets_frame_pointer(start + at + 1, start + 1000) && !sets_frame_pointer(start, start + at + 3)
                );
                assert!(begins_with_frame_pointer(start + at) && !begins_with_frame_pointer(start + at + 1));
                code[at..at + 4].fill(0x90);
            }
        }
        code[100..108].copy_from_slice(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5]);
        assert!(begins_with_frame_pointer(start + 100) && !begins_with_frame_pointer(8));
        code[100..108].fill(0x90);
        assert!(!sets_frame_pointer(start + 2, start) && !sets_frame_pointer(8, 4096));

        let stub = start.next_multiple_of(16) - start;
        code[stub..stub + 16].copy_from_slice(&[0xff, 0x25, 1, 2, 3, 4, 0x68, 5, 0, 0, 0, 0xe9, 6, 0, 0, 0]);
        let grown: Vec<_> = (0..16).filter_map(|way| Some((way, grown_in_stub(start + stub + way)?))).collect();
        assert_eq!(grown, [(0, 0), (6, 0), (11, 8)]);
        assert_eq!(grown_in_stub(start + stub + 16), None);

        code[500..505].copy_from_slice(&[0xe8, 0xf6, 0xff, 0xff, 0xff]);
        assert_eq!(called_before(start + 505), Some(start + 495));
        assert_eq!([called_before(start + 506), called_before(8)], [None; 2]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no process_vm_readv")]
    fn what_is_not_there_is_not_read() {
        let word = std::hint::black_box(0x1234_5678_usize);
        assert_eq!(peek(std::ptr::from_ref(&word).address()), Some(word));
        assert_eq!([0, 8, usize::MAX - 7].map(peek), [None; 3]);
        assert_eq!(before(8), Before::Unreadable);
    }
}
