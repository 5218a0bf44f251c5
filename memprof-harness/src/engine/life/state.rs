//! What every event looks at first: what kind of process this is, and whether the window is open. All of it
//! shares a cache line that threads only read, but for the epoch of the peak.
//!
//! The flags are on a page that the kernel empties in a forked child, whoever made it and however: so no child takes the window
//! for its own before [`crate::engine::life::process`] has seen to it, and none writes into its parent's ledger.

#![allow(unsafe_code)] // madvise

use crate::os::memory;
use std::mem::size_of;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU8};

/// How blocks are laid out and what is noted of them. Decided once, by the first allocation of the process, because a
/// block must be freed the way it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Nothing is noted and blocks are the system's own.
    Plain = 1,
    /// Exact counters; one allocation in so many bytes has its stack noted. Blocks are slots or the system's own.
    Sampled = 2,
    /// Every allocation has its stack noted. Blocks are slots or have a header.
    Exact = 3,
}

/// Set in the flags while the window is open.
pub(crate) const OPEN: u32 = 1;
/// Set once a second thread took part.
pub(crate) const MULTI: u32 = 2;
/// Set when the window was shut: it never opens again in this process.
pub(crate) const ENDED: u32 = 4;
/// Set in a forked child of a recorded process, until its first event gives it a ledger of its own.
pub(crate) const FORKED: u32 = 8;
/// Set for good where every allocation has its stack noted.
pub(crate) const EXACT: u32 = 16;
/// Set while the user's own allocator is tried, in a process that is not recorded.
#[cfg(memprof_native)]
pub(crate) const PROBED: u32 = 32;
/// Set for good once there is a ledger. Where it once was and is not, the flags are those of a forked child that nobody saw to yet.
const ATTACHED: u32 = 128;
/// Set while the crate `memprof` counts a region: every event takes the slow path.
pub(crate) const OBSERVED: u32 = 256;
/// What a thread expects where it must take the slow path whatever the state is: more than any flags.
pub(crate) const NEVER: u32 = 1 << 31;

const UNDECIDED: u8 = 0;

/// At least as long as a page.
const PAGE: usize = if cfg!(target_arch = "x86_64") { 4096 } else { 65_536 };

/// Alone on its page.
#[cfg_attr(target_arch = "x86_64", repr(C, align(4096)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C, align(65536)))]
struct Words {
    flags: AtomicU32,
    epoch: AtomicU32,
}

const _: () = assert!(size_of::<Words>() == PAGE);

static WORDS: Words = Words { flags: AtomicU32::new(0), epoch: AtomicU32::new(0) };
/// The flags as they were last set, which a forked child finds as its parent had them.
static KEPT: AtomicU32 = AtomicU32::new(0);
static WIPING: AtomicBool = AtomicBool::new(false);
static MODE: AtomicU8 = AtomicU8::new(UNDECIDED);

/// The mode, or `None` before the first allocation decided it.
#[inline(always)]
pub(crate) fn mode() -> Option<Mode> {
    match MODE.load(Relaxed) {
        3 => Some(Mode::Exact),
        2 => Some(Mode::Sampled),
        1 => Some(Mode::Plain),
        _ => None,
    }
}

/// Settles the mode; the first to do so wins.
pub(crate) fn decide(mode: Mode) -> Mode {
    match MODE.compare_exchange(UNDECIDED, mode as u8, SeqCst, SeqCst) {
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
pub(crate) fn flags() -> u32 {
    WORDS.flags.load(Relaxed)
}

/// As [`flags`], and what was done before they were set is seen.
pub(crate) fn settled_flags() -> u32 {
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

/// There is a ledger from here on. Has the kernel empty the flags in forked children; where it does not, they are seen to by the
/// C library's word alone.
pub(crate) fn attach() {
    set(ATTACHED);
    // SAFETY: has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    if cfg!(miri) || !usize::try_from(page).is_ok_and(|page| page <= PAGE) {
        return;
    }
    let start: *const Words = &WORDS;
    // SAFETY: whole pages with nothing in them but the flags and the epoch, which are atomics, for which zeros are valid.
    let wipes = unsafe { memory::wipe_in_forks(start.cast_mut().cast(), PAGE) };
    WIPING.store(wipes, Relaxed);
}

/// Whether the kernel empties the flags in forked children.
pub(crate) fn is_wiping() -> bool {
    WIPING.load(Relaxed)
}

/// Whether these flags are those of a forked child that nobody saw to yet.
#[inline(always)]
pub(crate) fn are_wiped(flags: u32) -> bool {
    flags & ATTACHED == 0 && KEPT.load(Relaxed) & ATTACHED != 0
}

/// Whether the window is open, or was in a process that this one was forked from.
pub(crate) fn was_open() -> bool {
    KEPT.load(Relaxed) & (OPEN | FORKED) != 0
}

/// In a forked child, where no other thread is left: all flags anew, and no peak so far.
pub(crate) fn restart(flags: u32) {
    let exact = if mode() == Some(Mode::Exact) { EXACT } else { 0 };
    WORDS.epoch.store(0, Relaxed);
    KEPT.store(flags | exact | ATTACHED, Relaxed);
    WORDS.flags.store(flags | exact | ATTACHED, SeqCst);
}

pub(crate) fn set(flag: u32) {
    KEPT.fetch_or(flag, SeqCst);
    WORDS.flags.fetch_or(flag, SeqCst);
}

pub(crate) fn clear(flag: u32) {
    KEPT.fetch_and(!flag, SeqCst);
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

/// How many processes of a line of forks came before this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// How many processes of a line of forks came before this one.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

/// This process is a fork of the one before.
pub(crate) fn begin_generation() {
    GENERATION.fetch_add(1, Relaxed);
}
