//! The frame-pointer walk. It reads the thread's own stack and nothing else; what the addresses mean is found out
//! long after, by another program.

#![allow(unsafe_code)] // reads the frame pointer and the chain it heads

use crate::ledger::layout::MAX_DEPTH;

/// Odd, with bits well spread: 2^64 divided by the golden ratio, as in Fibonacci hashing.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
/// The smallest page of any system we run on, in bytes.
const PAGE: usize = 4096;

/// The stack of one thread, as addresses: `low` inclusive, `high` exclusive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) low: usize,
    pub(crate) high: usize,
}

impl Bounds {
    /// Of a thread whose stack nobody knows: it holds nothing. Not at 0, where the end of the last record would be before the
    /// first address.
    pub(crate) const NOWHERE: Bounds = Bounds { low: usize::MAX, high: usize::MAX };

    #[inline(always)]
    pub(crate) fn hold(self, frame: usize) -> bool {
        // A frame record is two words; both must lie inside.
        frame >= self.low && frame < self.high.wrapping_sub(15) && frame.is_multiple_of(8)
    }
}

/// Where a walk begins: a frame pointer read in a function that has one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame(pub(crate) usize);

impl Frame {
    /// The frame of the function this is inlined into.
    #[inline(always)]
    pub(crate) fn here() -> Frame {
        let frame: usize;
        #[cfg(target_arch = "x86_64")]
        // SAFETY: copies a register.
        unsafe {
            std::arch::asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags));
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: copies a register.
        unsafe {
            std::arch::asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags));
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            frame = 0;
        }
        Frame(frame)
    }

    /// Where the function returns to.
    #[cfg(memprof_native)]
    #[inline(always)]
    pub(crate) fn caller(self) -> usize {
        // SAFETY: a frame pointer leads to [caller's frame, return address], and the function has not returned yet.
        let [_, address] = unsafe { *(self.0 as *const [usize; 2]) };
        address
    }
}

/// Hands the frame of the function this is inlined into to `work`, and keeps it until that is done: `work` would else be that function's
/// last call, and have its frame's place.
#[inline(always)]
pub(crate) fn in_frame<R>(work: impl FnOnce(Frame) -> R) -> R {
    let result = work(Frame::here());
    // SAFETY: does nothing.
    unsafe { std::arch::asm!("", options(nomem, nostack, preserves_flags)) };
    result
}

/// What a walk found, besides the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Of the return addresses, never 0.
    pub(crate) hash: u64,
    pub(crate) depth: usize,
    /// There were more than [`MAX_DEPTH`].
    pub(crate) truncated: bool,
    /// The chain did not begin on the thread's own stack: only the frames on the same page were followed.
    pub(crate) unwalkable: bool,
}

/// Walks outwards from `frame` and hands every return address to `visit`.
#[inline(always)]
pub(crate) fn walk(frame: Frame, bounds: Bounds, mut visit: impl FnMut(usize, u64)) -> Walked {
    let mut at = frame.0;
    let mut hash = 0u64;
    let mut depth = 0;
    let unwalkable = !bounds.hold(at);
    // A stack that is not the thread's own (a coroutine's, say): nobody told us where it ends, but what shares a page
    // with a live frame can be read.
    let bounds = if unwalkable { Bounds { low: at, high: (at | (PAGE - 1)) + 1 } } else { bounds };
    if !bounds.hold(at) {
        return Walked { hash: 1, depth: 0, truncated: false, unwalkable };
    }
    loop {
        // SAFETY: `at` was checked to lie, with the word after it, inside this thread's stack, which is mapped and
        // readable from the current frame outwards. A frame record is [caller's frame, return address].
        let [next, address] = unsafe { *(at as *const [usize; 2]) };
        // The outermost function of a thread has no caller.
        if address == 0 {
            break;
        }
        if depth == MAX_DEPTH {
            return Walked { hash: finish(hash), depth, truncated: true, unwalkable };
        }
        visit(depth, address as u64);
        hash = (hash.rotate_left(5) ^ address as u64).wrapping_mul(SPREAD);
        depth += 1;
        // Stacks grow down: a caller's frame is higher, or the register was used for something else.
        if next <= at || !bounds.hold(next) {
            break;
        }
        at = next;
    }
    Walked { hash: finish(hash), depth, truncated: false, unwalkable }
}

/// The hash of no return address.
pub(crate) const SEED: u64 = 0;

/// Adds a return address to the hash of those outside of it.
#[inline(always)]
pub(crate) fn mix(hash: u64, address: u64) -> u64 {
    (hash.rotate_left(5) ^ address).wrapping_mul(SPREAD)
}

#[inline(always)]
pub(crate) fn finish(hash: u64) -> u64 {
    (hash ^ (hash >> 32)) | 1
}

/// A stack's hash with a block's size mixed in.
#[inline(always)]
pub(crate) fn with_size(hash: u64, size: u64) -> u64 {
    finish((hash.rotate_left(5) ^ size).wrapping_mul(SPREAD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A frame record. The walk reads behind the compiler's back, which a cell allows.
    type Record = [Cell<usize>; 2];

    fn records(len: usize) -> Vec<Record> {
        (0..len).map(|_| [const { Cell::new(0) }; 2]).collect()
    }

    /// Frame records laid out by hand: each points to the next, the last to nowhere.
    fn chain(records: &[Record]) -> (Frame, Bounds) {
        let base = records.as_ptr().expose_provenance();
        let len = records.len();
        for (i, [next, address]) in records.iter().enumerate() {
            next.set(if i + 1 < len { base + (i + 1) * 16 } else { 0 });
            address.set(0x1000 + i);
        }
        (Frame(base), Bounds { low: base, high: base + len * 16 })
    }

    fn addresses(frame: Frame, bounds: Bounds) -> (Vec<u64>, Walked) {
        let mut seen = Vec::new();
        let walked = walk(frame, bounds, |_, address| seen.push(address));
        (seen, walked)
    }

    #[test]
    fn a_walk_follows_the_chain_to_its_end() {
        let records = records(4);
        let (frame, bounds) = chain(&records);
        let (seen, walked) = addresses(frame, bounds);
        assert_eq!(seen, [0x1000, 0x1001, 0x1002, 0x1003]);
        assert_eq!((walked.depth, walked.truncated, walked.unwalkable), (4, false, false));
    }

    #[test]
    fn a_walk_stops_where_a_frame_leads_off_the_stack_or_back() {
        let records = records(4);
        let (frame, bounds) = chain(&records);
        for next in [8, frame.0, bounds.high - 8] {
            records[2][0].set(next);
            assert_eq!(addresses(frame, bounds).0, [0x1000, 0x1001, 0x1002]);
        }
    }

    #[test]
    fn a_stack_that_nobody_knows_holds_no_frame() {
        for frame in [8, 4096, 1 << 47, usize::MAX & !7, (usize::MAX & !7) - 8] {
            assert!(!Bounds::NOWHERE.hold(frame), "{frame:x}");
        }
    }

    #[test]
    fn a_walk_on_a_foreign_stack_stays_on_its_page() {
        #[repr(align(4096))]
        struct Page([Record; 512]);
        let page = Box::new(Page([const { [const { Cell::new(0) }; 2] }; 512]));
        let (frame, bounds) = chain(&page.0);
        let inner = Frame(frame.0 + 253 * 16);
        let mut seen = Vec::new();
        let walked = walk(inner, Bounds { low: 4096, high: 8192 }, |_, address| seen.push(address));
        assert!(walked.unwalkable);
        // 512 records of 16 bytes are two pages; the walk began three records before the end of the first.
        assert_eq!(seen, [0x10fd, 0x10fe, 0x10ff]);
        assert_eq!(bounds.high - bounds.low, 8192);
    }

    #[test]
    fn a_deep_stack_is_cut_at_the_limit_and_marked() {
        let deep = records(MAX_DEPTH + 3);
        let (frame, bounds) = chain(&deep);
        let (seen, walked) = addresses(frame, bounds);
        assert_eq!((seen.len(), walked.truncated), (MAX_DEPTH, true));
        let deep = records(MAX_DEPTH);
        let (frame, bounds) = chain(&deep);
        assert!(!addresses(frame, bounds).1.truncated);
    }
}
