//! What every event looks at first: what kind of process this is, and whether the window is open. All of it
//! shares a cache line that threads only read, but for the epoch of the peak.

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU8};

/// How blocks are laid out and what is noted of them. Decided once, by the first allocation of the process, because a
/// block must be freed the way it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Nothing is noted and blocks are the system's own.
    Plain = 1,
    /// Exact counters; one allocation in so many bytes has its stack noted. Blocks are cells or the system's own.
    Sampled = 2,
    /// Every allocation has its stack noted. Blocks are cells or have a header.
    Exact = 3,
}

/// Set in the flags while the window is open.
pub(crate) const OPEN: u8 = 1;
/// Set once a second thread took part.
pub(crate) const MULTI: u8 = 2;
/// Set when the window was shut: it never opens again in this process.
pub(crate) const ENDED: u8 = 4;
/// Set in a forked child of a recorded process, until its first event gives it a ledger of its own.
pub(crate) const FORKED: u8 = 8;
/// Set for good where every allocation has its stack noted.
pub(crate) const EXACT: u8 = 16;
/// Set while the user's own allocator is tried, in a process that is not recorded.
#[cfg(memprof_native)]
pub(crate) const PROBED: u8 = 32;
/// Set for good once something watches the live total.
pub(crate) const WATCHED: u8 = 64;
/// What a thread expects where it must take the slow path whatever the state is: more than any flags.
pub(crate) const NEVER: u8 = 0x80;

const UNDECIDED: u8 = 0;

#[repr(align(64))]
struct Words {
    flags: AtomicU8,
    mode: AtomicU8,
    epoch: AtomicU32,
}

static WORDS: Words = Words { flags: AtomicU8::new(0), mode: AtomicU8::new(UNDECIDED), epoch: AtomicU32::new(0) };

/// The mode, or `None` before the first allocation decided it.
#[inline(always)]
pub(crate) fn mode() -> Option<Mode> {
    match WORDS.mode.load(Relaxed) {
        3 => Some(Mode::Exact),
        2 => Some(Mode::Sampled),
        1 => Some(Mode::Plain),
        _ => None,
    }
}

/// Settles the mode; the first to do so wins.
pub(crate) fn decide(mode: Mode) -> Mode {
    match WORDS.mode.compare_exchange(UNDECIDED, mode as u8, SeqCst, SeqCst) {
        Ok(_) => {
            if mode == Mode::Exact {
                set(EXACT);
            }
            mode
        }
        Err(_) => self::mode().unwrap_or(Mode::Plain),
    }
}

/// The flags as they are: `OPEN`, `MULTI`, `ENDED`.
#[inline(always)]
pub(crate) fn flags() -> u8 {
    WORDS.flags.load(Relaxed)
}

/// As [`flags`], and what was done before they were set is seen.
pub(crate) fn settled_flags() -> u8 {
    WORDS.flags.load(Acquire)
}

#[inline(always)]
pub(crate) fn is_multi() -> bool {
    flags() & MULTI != 0
}

pub(crate) fn is_open() -> bool {
    settled_flags() & OPEN != 0
}

pub(crate) fn has_ended() -> bool {
    settled_flags() & ENDED != 0
}

pub(crate) fn is_forked() -> bool {
    settled_flags() & FORKED != 0
}

/// In a forked child, where no other thread is left: all flags anew, and no peak so far.
pub(crate) fn restart(flags: u8) {
    WORDS.epoch.store(0, Relaxed);
    WORDS.flags.store(flags | self::flags() & EXACT, SeqCst);
}

pub(crate) fn set(flag: u8) {
    WORDS.flags.fetch_or(flag, SeqCst);
}

pub(crate) fn clear(flag: u8) {
    WORDS.flags.fetch_and(!flag, SeqCst);
}

/// Rises whenever the live total first falls after a new peak. Wraps after 2^32 peaks.
#[inline(always)]
pub(crate) fn epoch() -> u32 {
    WORDS.epoch.load(Relaxed)
}

/// A single thread's total fell for the first time since a peak. Gives the new epoch.
#[inline(always)]
pub(crate) fn next_epoch_alone() -> u32 {
    // A program that grows does this at every other event: no locked instruction. Should a second thread just have
    // begun, one peak more or less is told apart, within the bound that several threads have anyway.
    let epoch = epoch().wrapping_add(1);
    WORDS.epoch.store(epoch, Relaxed);
    epoch
}

/// As [`next_epoch_alone`], with several threads.
pub(crate) fn next_epoch() -> u32 {
    WORDS.epoch.fetch_add(1, Relaxed).wrapping_add(1)
}
