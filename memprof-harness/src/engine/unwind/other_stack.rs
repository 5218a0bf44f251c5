//! Stacks that are not the thread's own: a coroutine's, one grown on the heap, a signal handler's. Nobody told us where they
//! end, and what lies behind them may be gone by the next event, so they are not read: the kernel is asked to copy
//! them, a page at a time, and says so where there is nothing.

#![allow(unsafe_code)] // a system call, and loads from what it has seen

use crate::engine::store::ledger_map::{self, Errno};
use crate::engine::unwind::frame_pointer::{self, finish, mix, Bounds, Frame, Walked, SEED};
use crate::ledger::layout::MAX_DEPTH;
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{compiler_fence, Ordering};

/// Bytes copied at a time: stacks lie together, so a page has several frames.
const PAGE: usize = 4096;
/// What is farther away may be no caller's frame: the register was used for something else. In bytes.
const FARTHEST: usize = 16 << 20;

/// Words of a copy.
type Copied = [Cell<usize>; PAGE / size_of::<usize>()];

/// One lane's room for a copy, made when it is first needed.
pub(crate) struct Foreign {
    room: Cell<Option<NonNull<Copied>>>,
    /// In use: an event in a signal handler goes without.
    busy: Cell<bool>,
}

impl Foreign {
    pub(crate) const fn new() -> Foreign {
        Foreign { room: Cell::new(None), busy: Cell::new(false) }
    }

    /// A thread may have died in the middle.
    pub(crate) fn forget(&self) {
        self.busy.set(false);
    }

    /// Walks outwards from `frame`, wherever that is, and hands every return address to `visit`.
    #[inline(always)]
    pub(crate) fn walk(&self, frame: Frame, bounds: Bounds, mut visit: impl FnMut(usize, u64)) -> Walked {
        if bounds.hold(frame.0) {
            frame_pointer::walk(frame, bounds, visit)
        } else {
            self.follow(frame, bounds, &mut visit)
        }
    }

    #[cold]
    #[inline(never)]
    fn follow(&self, frame: Frame, bounds: Bounds, visit: &mut dyn FnMut(usize, u64)) -> Walked {
        if !self.busy.replace(true) {
            compiler_fence(Ordering::SeqCst);
            let errno = Errno::save();
            let walked = self.room().and_then(|room| Copy::new(room).walk(frame.0, bounds, visit));
            errno.restore();
            compiler_fence(Ordering::SeqCst);
            self.busy.set(false);
            if let Some(walked) = walked {
                return walked;
            }
        }
        frame_pointer::walk(frame, bounds, visit)
    }

    fn room(&self) -> Option<&Copied> {
        if self.room.get().is_none() {
            self.room.set(Some(ledger_map::private_bytes(PAGE)?.cast()));
        }
        // SAFETY: zeroed memory of that length, aligned to a page, that is this lane's for good.
        self.room.get().map(|room| unsafe { room.as_ref() })
    }
}

/// A copy of some memory, from `start` on.
struct Copy<'a> {
    room: &'a Copied,
    start: usize,
    len: usize,
}

impl<'a> Copy<'a> {
    fn new(room: &'a Copied) -> Copy<'a> {
        Copy { room, start: 0, len: 0 }
    }

    /// `None` where not even the first frame can be copied: the kernel does not do it.
    fn walk(mut self, frame: usize, bounds: Bounds, visit: &mut dyn FnMut(usize, u64)) -> Option<Walked> {
        let mut at = frame;
        let mut record = self.record(at)?;
        let mut walked = Walked { hash: SEED, depth: 0, truncated: false, unwalkable: false };
        // Whether the walk has come to the thread's own stack, as it does where the one that switched stacks left a link.
        let mut at_home = false;
        loop {
            let [next, address] = record;
            if address == 0 {
                break;
            }
            if walked.depth == MAX_DEPTH {
                walked.truncated = true;
                break;
            }
            visit(walked.depth, address as u64);
            walked.hash = mix(walked.hash, address as u64);
            walked.depth += 1;
            if at_home {
                // As in any walk there.
                if next <= at || !bounds.hold(next) {
                    break;
                }
                record = read(next);
            } else {
                if next == 0 {
                    break;
                }
                at_home = bounds.hold(next);
                let near = next > at && next - at < FARTHEST;
                let copied = if next.is_multiple_of(8) { self.record(next) } else { None };
                // What is far away may be another foreign stack, from which this one was entered.
                let Some(copied) = copied.filter(|[_, address]| at_home || near || follows_a_call(*address)) else {
                    walked.unwalkable = true;
                    break;
                };
                record = copied;
            }
            at = next;
        }
        walked.hash = finish(walked.hash);
        Some(walked)
    }

    /// The frame record at `at`: the caller's frame and the return address. `None` where there is nothing.
    fn record(&mut self, at: usize) -> Option<[usize; 2]> {
        const RECORD: usize = size_of::<[usize; 2]>();
        if at < self.start || at - self.start + RECORD > self.len {
            self.take(at);
        }
        if self.len < RECORD {
            return None;
        }
        let word = (at - self.start) / size_of::<usize>();
        Some([self.room.get(word)?.get(), self.room.get(word + 1)?.get()])
    }

    /// Copies what there is from `at` on, up to a page.
    fn take(&mut self, at: usize) {
        let first = PAGE - at % PAGE;
        let to = libc::iovec { iov_base: self.room.as_ptr().cast_mut().cast(), iov_len: PAGE };
        // In two pieces, because a piece is copied as a whole or not at all.
        let from = [(at, first), (at.wrapping_add(first), PAGE - first)]
            .map(|(start, len)| libc::iovec { iov_base: start as *mut libc::c_void, iov_len: len });
        self.start = at;
        self.len = copy(&to, &from);
    }
}

/// Copies as much as there is, and gives how many bytes that was.
fn copy(to: &libc::iovec, from: &[libc::iovec]) -> usize {
    // SAFETY: has no preconditions.
    let me = unsafe { libc::getpid() };
    // SAFETY: callers pass a place of their own that is as long as it says; whatever the addresses are that are copied from,
    // nothing happens but an error or a short copy.
    let copied = unsafe { libc::process_vm_readv(me, to, 1, from.as_ptr(), from.len() as libc::c_ulong, 0) };
    usize::try_from(copied).unwrap_or(0)
}

/// Whether there is code at an address, with a call before it, as there is at every return address.
fn follows_a_call(address: usize) -> bool {
    let mut code = [0u8; 8];
    let to = libc::iovec { iov_base: code.as_mut_ptr().cast(), iov_len: 8 };
    let from = libc::iovec { iov_base: address.wrapping_sub(8) as *mut libc::c_void, iov_len: 8 };
    copy(&to, &[from]) == 8 && ends_with_a_call(code)
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

fn read(frame: usize) -> [usize; 2] {
    // SAFETY: callers pass frames of the thread's own stack, aligned, outwards of one that was copied, all of which is mapped.
    unsafe { *(frame as *const [usize; 2]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frame records in memory of their own, each of which leads to the one `step` records on, and the last to `end`.
    fn chain(records: &mut [[usize; 2]], step: usize, end: usize) -> Frame {
        let base = records.as_ptr().addr();
        let len = records.len();
        for i in (0..len).step_by(step) {
            let next = if i + step < len { base + (i + step) * 16 } else { end };
            // The walk reads behind the compiler's back.
            std::hint::black_box(&mut *records)[i] = [next, 0x1000 + i];
        }
        Frame(base)
    }

    fn walk(frame: Frame, home: Bounds) -> (Vec<u64>, Walked) {
        let mut seen = Vec::new();
        let walked = Foreign::new().walk(frame, home, |_, address| seen.push(address));
        (seen, walked)
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no process_vm_readv")]
    fn a_foreign_stack_is_walked_over_pages_to_its_end() {
        let mut records = vec![[0; 2]; 3000];
        let frame = chain(&mut records, 100, 0);
        let (seen, walked) = walk(frame, Bounds::NOWHERE);
        assert_eq!(seen, (0..30).map(|i| 0x1000 + i * 100).collect::<Vec<_>>());
        assert_eq!((walked.truncated, walked.unwalkable), (false, false));
        let frame = chain(&mut records, 10, 0);
        let (seen, walked) = walk(frame, Bounds::NOWHERE);
        assert_eq!((seen.len(), walked.truncated, walked.unwalkable), (MAX_DEPTH, true, false));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no process_vm_readv")]
    fn a_foreign_stack_that_leads_home_is_walked_to_the_end_of_that_one() {
        let mut home = vec![[0; 2]; 4];
        let base = chain(&mut home, 1, 0);
        let bounds = Bounds { low: base.0, high: base.0 + 4 * 16 };
        let mut records = vec![[0; 2]; 3];
        let (seen, walked) = walk(chain(&mut records, 1, base.0 + 2 * 16), bounds);
        assert_eq!(seen, [0x1000, 0x1001, 0x1002, 0x1002, 0x1003]);
        assert!(!walked.unwalkable);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no process_vm_readv")]
    fn a_foreign_stack_may_lead_to_another_if_there_is_code() {
        // Somewhere in the code of a function that calls others.
        let code = (0..2000).map(|i| walk as fn(Frame, Bounds) -> (Vec<u64>, Walked) as usize + i);
        let code = code.into_iter().find(|&address| follows_a_call(address)).expect("a call");
        static DATA: [u8; 16] = [0; 16];
        let data = DATA.as_ptr().addr() + 8;
        for (address, follows) in [(code, true), (data, false), (8, false)] {
            // The one it was entered from lies below it, where no caller's frame of its own would.
            let mut records = [[0; 2]; 4];
            let (outer, inner) = records.split_at_mut(2);
            let entered_from = chain(outer, 1, 0);
            std::hint::black_box(outer)[0][1] = address;
            let (seen, walked) = walk(chain(inner, 1, entered_from.0), Bounds::NOWHERE);
            let expected: &[u64] = if follows { &[0x1000, 0x1001, address as u64, 0x1001] } else { &[0x1000, 0x1001] };
            assert_eq!((seen.as_slice(), walked.unwalkable), (expected, !follows));
        }
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
    #[cfg_attr(miri, ignore = "Miri has no process_vm_readv")]
    fn a_foreign_stack_that_leads_astray_is_marked() {
        let mut records = vec![[0; 2]; 3];
        let base = records.as_ptr().addr();
        // Misaligned, back, far away, and where nothing is: the page of the null pointer's, seen from a frame near it.
        for astray in [base + 33, base, base + (1 << 30), 1] {
            let (seen, walked) = walk(chain(&mut records, 1, astray), Bounds::NOWHERE);
            assert_eq!((seen.as_slice(), walked.unwalkable), ([0x1000, 0x1001, 0x1002].as_slice(), true), "{astray:x}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no process_vm_readv")]
    fn a_foreign_stack_that_leads_to_what_is_gone_is_marked() {
        let (read_write, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping overlaps nothing.
        let pages = unsafe { libc::mmap(std::ptr::null_mut(), 2 * PAGE, read_write, private, -1, 0) };
        assert_ne!(pages, libc::MAP_FAILED);
        // SAFETY: two pages of zeros, which this test has alone, and of which the first stays.
        let first = unsafe { std::slice::from_raw_parts_mut(pages.cast::<[usize; 2]>(), PAGE / 16) };
        // SAFETY: nothing refers to the second page.
        assert_eq!(unsafe { libc::mprotect(pages.wrapping_byte_add(PAGE), PAGE, libc::PROT_NONE) }, 0);
        let last = Frame(first.as_ptr().addr() + PAGE - 16);
        std::hint::black_box(first)[PAGE / 16 - 1] = [last.0 + 32, 0x1000];
        let (seen, walked) = walk(last, Bounds::NOWHERE);
        assert_eq!((seen.as_slice(), walked.unwalkable), ([0x1000].as_slice(), true));
        // A frame that is cut in half by the end of what can be read.
        let (seen, walked) = walk(Frame(last.0 + 8), Bounds::NOWHERE);
        assert_eq!((seen.len(), walked.unwalkable), (0, true));
        // SAFETY: the mapping is this test's, and nothing refers to it any more.
        assert_eq!(unsafe { libc::munmap(pages, 2 * PAGE) }, 0);
    }
}
