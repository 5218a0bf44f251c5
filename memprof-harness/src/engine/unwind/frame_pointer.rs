//! Frame pointers: where a walk begins, what one leads to, and the hash of the addresses that a walk finds. What these mean is
//! found out long after, by another program.

#![allow(unsafe_code)] // reads the frame pointer and what it leads to

use std::cell::Cell;

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

/// What a frame record held, as it lies in memory.
#[repr(C, align(16))] // as it is compared with memory
#[derive(Debug)]
pub(crate) struct Held {
    /// Where the caller's record lies.
    pub(crate) next: Cell<usize>,
    /// The return address.
    pub(crate) address: Cell<u64>,
}

/// Whether each of some records holds what it held. All are read, and only then it is said.
///
/// # Safety
/// There is one at each of the places, as for [`record`].
#[inline(always)]
pub(crate) unsafe fn stand<const N: usize>(records: [(usize, &Held); N]) -> bool {
    let mut sameness = Sameness::new();
    for (place, held) in records {
        // SAFETY: the caller says that it is there.
        unsafe { sameness.compare(place, held) };
    }
    sameness.is_all()
}

/// The same for records each of which leads to the next: the first lies where `links` begins, and holds the second of them; and so on.
/// Where a record lies is taken from what was loaded to be compared, so that each costs two loads.
///
/// # Safety
/// As for [`stand`].
#[inline(always)]
pub(crate) unsafe fn linked_stand<const LINKS: usize>(links: &[Held; LINKS]) -> bool {
    let [first, rest @ ..] = links.as_slice() else { return true };
    let mut sameness = Sameness::new();
    let mut place = first.next.get();
    for held in rest {
        // SAFETY: the caller says that it is there.
        place = unsafe { sameness.compare(place, held) };
    }
    sameness.is_all()
}

/// Whether all that was compared was the same.
struct Sameness {
    #[cfg(target_arch = "x86_64")]
    same: std::arch::x86_64::__m128i,
    #[cfg(not(target_arch = "x86_64"))]
    differing: usize,
}

#[cfg(target_arch = "x86_64")]
#[allow(unused_unsafe)] // what only calculates is unsafe for older compilers
impl Sameness {
    #[inline(always)]
    fn new() -> Sameness {
        // SAFETY: every x86_64 has these instructions.
        Sameness { same: unsafe { std::arch::x86_64::_mm_set1_epi8(-1) } }
    }

    /// Compares a record; gives where it led to when it held that.
    ///
    /// # Safety
    /// There is one, as for [`record`].
    #[inline(always)]
    unsafe fn compare(&mut self, place: usize, held: &Held) -> usize {
        use std::arch::x86_64::{_mm_and_si128, _mm_cmpeq_epi32, _mm_cvtsi128_si64, _mm_load_si128, _mm_loadu_si128};
        // SAFETY: two words, at a multiple of 16.
        let before = unsafe { _mm_load_si128(std::ptr::from_ref(held).cast()) };
        // SAFETY: the caller says that two words are there.
        let now = unsafe { _mm_loadu_si128(place as *const _) };
        // SAFETY: calculates.
        let same = unsafe { _mm_cmpeq_epi32(now, before) };
        // SAFETY: calculates.
        self.same = unsafe { _mm_and_si128(self.same, same) };
        // SAFETY: takes the first of the two words.
        unsafe { _mm_cvtsi128_si64(before) as usize }
    }

    #[inline(always)]
    fn is_all(&self) -> bool {
        // SAFETY: calculates.
        unsafe { std::arch::x86_64::_mm_movemask_epi8(self.same) == 0xffff }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Sameness {
    #[inline(always)]
    fn new() -> Sameness {
        Sameness { differing: 0 }
    }

    /// Compares a record; gives where it led to when it held that.
    ///
    /// # Safety
    /// There is one, as for [`record`].
    #[inline(always)]
    unsafe fn compare(&mut self, place: usize, held: &Held) -> usize {
        // SAFETY: the caller says that it is there.
        let [next, address] = unsafe { raw_record(place) };
        let before = held.next.get();
        self.differing |= (next ^ before) | unsigned(address ^ held.address.get() as usize);
        before
    }

    #[inline(always)]
    fn is_all(&self) -> bool {
        self.differing == 0
    }
}

/// A frame record: the caller's frame and the return address. This, [`raw_record`] and [`stand`] are the places where a chain is read.
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
    use crate::provenance::Address;

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
    fn a_difference_in_any_word_of_any_record_is_seen() {
        fn check<const N: usize, const LINKS: usize>() {
            // Each leads to the next, and the last one anywhere.
            let words: Vec<[Cell<usize>; 2]> = (0..N).map(|i| [Cell::new(0), Cell::new(i + 100)]).collect();
            let _ = words.as_ptr() as usize; // Exposed, so that they may be read by address.
            let place = |i: usize| words.as_ptr().address() + i * 16;
            words.iter().enumerate().for_each(|(i, [next, _])| next.set(place(i + 1)));
            let links: [Held; LINKS] =
                std::array::from_fn(|i| Held { next: Cell::new(place(i)), address: Cell::new(i as u64 + 99) });
            let by_place = || std::array::from_fn::<_, N, _>(|i| (place(i), &links[i + 1]));
            let all_stand = || {
                // SAFETY: the records are made above.
                let by_place = unsafe { stand(by_place()) };
                // SAFETY: as above.
                [by_place, unsafe { linked_stand(&links) }]
            };
            assert_eq!(all_stand(), [true; 2]);
            for (word, bit) in words.iter().flatten().flat_map(|word| [(word, 1), (word, 1 << 33), (word, 1 << 47)]) {
                word.set(word.get() ^ bit);
                assert_eq!(all_stand(), [false; 2], "{bit:x}");
                word.set(word.get() ^ bit);
            }
            assert_eq!(all_stand(), [true; 2]);
        }
        check::<1, 2>();
        check::<4, 5>();
        check::<16, 17>();
    }

    #[test]
    fn a_signature_is_no_part_of_an_address() {
        let kept = if cfg!(target_arch = "aarch64") { 0x0055_0001_8fa3 } else { 0x006e_0055_0001_8fa3 };
        assert_eq!(unsigned(0x006e_0055_0001_8fa3), kept);
    }
}
