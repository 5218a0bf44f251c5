//! The two words every event looks at first: what kind of process this is, and whether the window is open. They share
//! a cache line that is only read while a single test runs on its own.

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU8, AtomicU64};

/// How blocks are laid out and what is noted of them. Decided once, by the first allocation of the process, because a
/// block must be freed the way it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mode {
    /// Nothing is noted and blocks are the system's own.
    Plain = 1,
    /// Exact counters; one allocation in so many bytes has its stack noted. Blocks are the system's own.
    Sampled = 2,
    /// Every allocation has its stack noted, and every block a header.
    Exact = 3,
}

/// Set in the low byte of the state word while the window is open.
pub(super) const OPEN: u8 = 1;
/// Set once a second thread took part.
pub(super) const MULTI: u8 = 2;
/// Set when the window was shut: it never opens again in this process.
pub(super) const ENDED: u8 = 4;
/// What a thread expects where it must take the slow path whatever the state is.
pub(super) const NEVER: u8 = 0x80;

const EPOCH_SHIFT: u32 = 8;
const UNDECIDED: u8 = 0;

#[repr(align(64))]
struct Words {
    state: AtomicU64,
    mode: AtomicU8,
}

static WORDS: Words = Words { state: AtomicU64::new(0), mode: AtomicU8::new(UNDECIDED) };

/// The mode, or `None` before the first allocation decided it.
#[inline(always)]
pub(super) fn mode() -> Option<Mode> {
    match WORDS.mode.load(Relaxed) {
        3 => Some(Mode::Exact),
        2 => Some(Mode::Sampled),
        1 => Some(Mode::Plain),
        _ => None,
    }
}

/// Settles the mode; the first to do so wins.
pub(super) fn decide(mode: Mode) -> Mode {
    match WORDS.mode.compare_exchange(UNDECIDED, mode as u8, SeqCst, SeqCst) {
        Ok(_) => mode,
        Err(_) => self::mode().unwrap_or(Mode::Plain),
    }
}

/// A reading of the state word.
#[derive(Debug, Clone, Copy)]
pub(super) struct State(u64);

impl State {
    #[inline(always)]
    pub(super) fn now() -> State {
        State(WORDS.state.load(Relaxed))
    }

    pub(super) fn acquire() -> State {
        State(WORDS.state.load(Acquire))
    }

    /// The flags: `OPEN`, `MULTI`, `ENDED`.
    #[inline(always)]
    pub(super) fn flags(self) -> u8 {
        self.0 as u8
    }

    #[inline(always)]
    pub(super) fn is(self, flag: u8) -> bool {
        self.flags() & flag != 0
    }

    /// Rises whenever the live total first falls after a new peak. Wraps after 2^32 peaks.
    #[inline(always)]
    pub(super) fn epoch(self) -> u32 {
        (self.0 >> EPOCH_SHIFT) as u32
    }
}

pub(super) fn set(flag: u8) {
    WORDS.state.fetch_or(u64::from(flag), SeqCst);
}

pub(super) fn clear(flag: u8) {
    WORDS.state.fetch_and(!u64::from(flag), SeqCst);
}

/// The total fell for the first time since a peak. Gives the new epoch.
pub(super) fn next_epoch() -> u32 {
    (WORDS.state.fetch_add(1 << EPOCH_SHIFT, Relaxed) >> EPOCH_SHIFT) as u32 + 1
}
