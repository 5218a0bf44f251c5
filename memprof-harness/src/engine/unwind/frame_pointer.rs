//! Frame pointers: where a walk begins, what one leads to, and the hash of the addresses that a walk finds. What these mean is
//! found out long after, by another program.

#![allow(unsafe_code)] // reads the frame pointer and what it leads to

/// Odd, with bits well spread: 2^64 divided by the golden ratio, as in Fibonacci hashing.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// The stack of one thread, as addresses: `low` inclusive, `high` exclusive.
#[repr(C)] // two words in that order, by which a stack is known
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
        frame >= self.low && frame < self.high.wrapping_sub(15) && frame & 7 == 0
    }

    /// Whether the word at an address, a multiple of 8, lies inside.
    #[inline(always)]
    pub(crate) fn hold_word(self, at: usize) -> bool {
        at >= self.low && at < self.high.wrapping_sub(7)
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
        // SAFETY: a frame pointer leads to one, and the function has not returned yet.
        let [_, address] = unsafe { record(self.0) };
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

/// A frame record: the caller's frame and the return address. This and [`raw_record`] are the places where a chain is read.
///
/// # Safety
/// There is one at `place`: two words that can be read.
#[inline(always)]
pub(crate) unsafe fn record(place: usize) -> [usize; 2] {
    // SAFETY: the caller says that it is there.
    let [frame, address] = unsafe { raw_record(place) };
    [frame, unsigned(address)]
}

/// A frame record as it is in memory.
///
/// # Safety
/// As of [`record`].
#[inline(always)]
pub(crate) unsafe fn raw_record(place: usize) -> [usize; 2] {
    // SAFETY: the caller says that it is there.
    unsafe { *(place as *const [usize; 2]) }
}

/// A return address without its signature: on aarch64 the bits above those of an address may hold one
/// (`-mbranch-protection`), which depends on the stack pointer.
#[inline(always)]
pub(crate) fn unsigned(address: usize) -> usize {
    if cfg!(target_arch = "aarch64") {
        address & ((1 << 48) - 1)
    } else {
        address
    }
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

    #[test]
    fn a_stack_that_nobody_knows_holds_no_frame() {
        for frame in [8, 4096, 1 << 47, usize::MAX & !7, (usize::MAX & !7) - 8] {
            assert!(!Bounds::NOWHERE.hold(frame), "{frame:x}");
            assert!(!Bounds::NOWHERE.hold_word(frame), "{frame:x}");
        }
    }

    #[test]
    fn a_record_must_lie_in_a_stack_as_a_whole() {
        let bounds = Bounds { low: 160, high: 320 };
        assert!([160, 168, 304].into_iter().all(|frame| bounds.hold(frame)));
        assert!(![152, 156, 164, 312, 320].into_iter().any(|frame| bounds.hold(frame)));
        assert!(bounds.hold_word(312) && !bounds.hold_word(320));
    }

    #[test]
    fn a_signature_is_no_part_of_an_address() {
        let kept = if cfg!(target_arch = "aarch64") { 0x0055_0001_8fa3 } else { 0x006e_0055_0001_8fa3 };
        assert_eq!(unsigned(0x006e_0055_0001_8fa3), kept);
    }
}
