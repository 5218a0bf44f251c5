//! The window of a test that libtest runs itself, in a program that knows nothing of its interface: it is open as long as a certain
//! function of libtest's is on the stack of the thread that runs the test.
//!
//! Libtest calls every test through a function that is in no other place, and whose code the runner has found by its name. The thread on
//! whose stack a return address into that code is met first is the test's. It is watched at every event from then on: where that frame is
//! no longer among the event's callers, the test function has returned, and what the thread does from then on is the harness's. That
//! it frees blocks of the test's counts even so, as on any suspended thread. All other threads that come to be meanwhile are the test's,
//! as a whole.

#![allow(unsafe_code)] // reads the calling thread's stack

use crate::engine::life::state;
use crate::engine::unwind::frame_pointer::{Bounds, Frame};
use crate::os::loader;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

/// Functions that are looked for at most. A toolchain has some four copies of the one.
const MOST: usize = 16;

/// Where they begin and end, as addresses of this process.
static RANGES: [[AtomicU64; 2]; MOST] = [const { [const { AtomicU64::new(0) }; 2] }; MOST];
/// How many there are; 0 = nothing is watched.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// What is known of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// It has not been seen in the function.
    Unseen,
    /// It is the test's, which runs: where the frame is, and the two words that are there.
    Inside { at: usize, words: [usize; 2] },
    /// It is the test's, which has returned.
    Left,
}

/// What an event on a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// One like any other: nothing is watched, or it is not the test's own thread.
    Usual,
    /// The test's own, which has to be asked about the next one too.
    OfTest,
    /// The harness's.
    OfHarness,
}

/// Has the functions watched that `text` names: `OFFSET+LENGTH` for each in hexadecimal digits, with commas between, offsets as in the
/// executable's file. Gives whether there are any. To be called before there is a second thread.
pub(crate) fn watch(text: &[u8], bias: u64) -> bool {
    let mut count = 0;
    for range in text.split(|byte| *byte == b',').take(MOST) {
        let Some(plus) = range.iter().position(|byte| *byte == b'+') else { continue };
        let (Some(offset), Some(len)) = (number(&range[..plus]), number(&range[plus + 1..])) else { continue };
        let start = bias.wrapping_add(offset);
        RANGES[count][0].store(start, Relaxed);
        RANGES[count][1].store(start.wrapping_add(len), Relaxed);
        count += 1;
    }
    COUNT.store(count, Relaxed);
    count > 0
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        number.checked_mul(16)?.checked_add(u64::from(digit))
    })
}

/// Whether something is watched.
pub(crate) fn is_watching() -> bool {
    COUNT.load(Relaxed) > 0
}

/// What an event is on the thread of which `watch` is known so far, and what is known of it now. Its stack is asked for only where it
/// may be the test's.
#[inline(never)]
pub(crate) fn look(watch: Watch, bounds: impl FnOnce() -> Bounds) -> (Event, Watch) {
    let here = Frame::here();
    match watch {
        Watch::Left => (Event::OfHarness, Watch::Left),
        Watch::Unseen if state::is_open() => (Event::Usual, Watch::Unseen),
        Watch::Unseen if state::has_ended() => (Event::OfHarness, Watch::Unseen),
        Watch::Unseen => match find_among_callers_or_beyond(here, bounds()) {
            Some((at, words)) => (Event::OfTest, Watch::Inside { at, words }),
            None => (Event::OfHarness, Watch::Unseen),
        },
        Watch::Inside { at, words } => {
            // SAFETY: `at` was found inside the thread's stack, which stays mapped as long as the thread lives.
            let kept = unsafe { read(at) } == words;
            // The words alone may be left over from it, in a gap of a later frame.
            match leads_to(here, bounds(), at) {
                Some(true) => (Event::OfTest, watch),
                None if kept => (Event::OfTest, watch),
                _ => (Event::OfHarness, Watch::Left),
            }
        }
    }
}

/// The frame that returns into one of the functions, and its two words: among the callers of `frame`, or where these cannot be followed.
fn find_among_callers_or_beyond(frame: Frame, bounds: Bounds) -> Option<(usize, [usize; 2])> {
    // The runner has libtest start a thread for the test, so it is none of the first's, whose stack is not mapped as a whole.
    find(frame, bounds).or_else(|| if is_first_threads(bounds) { None } else { find_beyond(frame, bounds) })
}

/// Whether `bounds` are those of the first thread's stack, on which the kernel has put some bytes. No system call: a filter may be set.
fn is_first_threads(bounds: Bounds) -> bool {
    (bounds.low..bounds.high).contains(&loader::above_first_stack())
}

/// Where code that keeps no frame pointer is among the callers, or they are on a stack of their own, words tell: nothing but a
/// return address lies within the functions' code.
fn find_beyond(frame: Frame, bounds: Bounds) -> Option<(usize, [usize; 2])> {
    const WORD: usize = std::mem::size_of::<usize>();
    let lowest = if bounds.hold(frame.0) { frame.0 } else { bounds.low };
    // Nothing where the thread's stack is not known.
    let (lowest, highest) = (lowest.checked_next_multiple_of(WORD)?, bounds.high.checked_sub(2 * WORD)? & !(WORD - 1));
    // The functions are called near the upper end, where the stack begins.
    (0..).map(|index| highest - index * WORD).take_while(|&at| at >= lowest).find_map(|at| {
        // SAFETY: both words lie inside the calling thread's stack, all of which can be read.
        let words = unsafe { read(at) };
        is_inside(words[1] as u64).then_some((at, words))
    })
}

/// The innermost frame that returns into one of the functions, and its two words.
fn find(frame: Frame, bounds: Bounds) -> Option<(usize, [usize; 2])> {
    let mut at = frame.0;
    while bounds.hold(at) {
        // SAFETY: both words lie inside the calling thread's stack, at or above its innermost frame.
        let words = unsafe { read(at) };
        let [next, address] = words;
        if is_inside(address as u64) {
            return Some((at, words));
        }
        // Stacks grow down: a caller's frame is higher, or the register was used for something else.
        if next <= at {
            return None;
        }
        at = next;
    }
    None
}

/// Whether the frame at `at` is among the callers of `frame`. `None` = the callers cannot be followed as far as that: code that keeps no
/// frame pointer is among them, or they are on a stack of their own, and whoever resumed that is not known.
fn leads_to(frame: Frame, bounds: Bounds, at: usize) -> Option<bool> {
    let mut here = frame.0;
    while bounds.hold(here) && here < at {
        // SAFETY: both words lie inside the calling thread's stack, at or above its innermost frame.
        let [next, _] = unsafe { read(here) };
        if next <= here {
            return None;
        }
        here = next;
    }
    bounds.hold(here).then_some(here == at)
}

/// # Safety
/// Two words can be read at `at`.
unsafe fn read(at: usize) -> [usize; 2] {
    // SAFETY: by contract. Other code writes there, so it is read anew each time.
    unsafe { (at as *const [usize; 2]).read_volatile() }
}

fn is_inside(address: u64) -> bool {
    let count = COUNT.load(Relaxed).min(MOST);
    // A call that is a function's last instruction returns to the byte behind it.
    RANGES[..count].iter().any(|[start, end]| start.load(Relaxed) < address && address <= end.load(Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::Address;

    #[test]
    fn ranges_are_read_as_the_runner_writes_them_and_nothing_else_is() {
        assert!(watch(b"1f0+10,z+1,2000+8,", 0x1000));
        assert_eq!(COUNT.load(Relaxed), 2);
        assert!(is_inside(0x11f1) && is_inside(0x1200) && is_inside(0x3008));
        assert!(!is_inside(0x11f0) && !is_inside(0x1201) && !is_inside(0x3009) && !is_inside(0));
        assert!(!watch(b"", 0) && !watch(b"1f0", 0) && !is_watching());
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri's threads have no stacks")]
    fn only_the_first_threads_stack_has_the_kernels_bytes() {
        let variable = 0usize;
        let here = std::ptr::addr_of!(variable).address() & !4095;
        assert!(!is_first_threads(Bounds { low: here, high: here + 4096 }));
        let bytes = loader::above_first_stack();
        assert!(is_first_threads(Bounds { low: bytes & !4095, high: (bytes & !4095) + 4096 }));
        assert!(!is_first_threads(Bounds::NOWHERE));
    }
}
