//! The reasons for which a search for leaks is not made, or comes to no end.

use crate::ledger::layout::leak_check;

/// Why nothing was searched. Its value is what the ledger has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Skipped {
    /// The process is the fork of another, whose blocks it has too.
    Forked = leak_check::FORKED,
    /// Not all blocks are known: address space is limited, or the program has a sanitizer.
    BlocksUnknown = leak_check::BLOCKS_UNKNOWN,
    /// A thread goes on: what it holds may be anywhere.
    ThreadRunning = leak_check::THREAD_RUNNING,
    /// There is too much memory, or there are too many blocks.
    TooMuch = leak_check::TOO_MUCH,
    /// Not all system calls are allowed.
    Filtered = leak_check::FILTERED,
    /// The kernel does not say what has to be known.
    Unreadable = leak_check::UNREADABLE,
    NoMemory = leak_check::NO_MEMORY,
}
