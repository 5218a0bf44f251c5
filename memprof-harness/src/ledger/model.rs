//! A ledger as it is read back: what one recorded process did, lanes merged, addresses still addresses. `read` makes it
//! from bytes; nothing here knows them.

use super::counts::signed;
use super::layout;
use super::leaks::Leaks;
use super::stacks::{StackId, Stacks};
use super::{Identity, OutcomeCode};
use std::mem::size_of_val;
use std::path::PathBuf;

/// One ledger, with the lanes merged.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    pub identity: Identity,
    pub end: End,
    /// Mean bytes between samples; 0 = no stacks were recorded, 1 = every allocation was.
    pub rate: u64,
    pub pid: u32,
    /// The process that this one was forked from, while that was recorded. Such a ledger has what the child did itself;
    /// it has no outcome.
    pub fork_of: Option<u32>,
    pub started_ns: u64,
    pub wall_ns: u64,
    pub counters: Counters,
    pub losses: Losses,
    /// In the order in which they were noted; later entries win where two overlap.
    pub modules: Vec<Module>,
    pub stacks: Stacks,
    /// One per distinct stack and size, by stack and then by size. Stacks are in the order in which their innermost nodes were first
    /// met: ones that lie together share most of their callers.
    pub sites: Vec<Site>,
}

/// How the recorded process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The test ran to its end (returned or panicked) and its window was closed in order.
    pub whole: bool,
    /// The test function's first instruction was reached.
    pub started: bool,
    /// `None`: the harness parent did not live to say.
    pub outcome: Option<OutcomeCode>,
    /// What `waitpid` gave; meaningful where `outcome` is set.
    pub wait_status: i32,
    /// [`layout::state::PANICKED`] and its siblings.
    pub state: u32,
    /// What the test panicked with or returned as its error, where it did and it was text.
    pub message: Option<String>,
}

/// Exact, at every rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Successful alloc, alloc_zeroed and realloc calls.
    pub alloc_objects: u64,
    /// Bytes those asked for.
    pub alloc_space: u64,
    pub reallocs: u64,
    /// Blocks given back, old blocks of reallocs included.
    pub frees: u64,
    /// Bytes given back.
    pub freed_space: u64,
    /// Calls that returned null.
    pub failed: u64,
    /// Highest number of live bytes.
    pub peak_space: u64,
    /// How far `peak_space` may be from the truth, in bytes; 0 where one thread allocated.
    pub peak_error: u64,
    /// Live when the window closed (or the process died).
    pub inuse_objects: i64,
    pub inuse_space: i64,
    /// Successful allocations by size class, see [`layout::SIZE_CLASSES`].
    pub classes: [u64; layout::SIZE_CLASSES],
    /// Threads that allocated or freed.
    pub threads: u32,
    /// What of it that is in use is leaked.
    pub leaks: Leaks,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            alloc_objects: 0,
            alloc_space: 0,
            reallocs: 0,
            frees: 0,
            freed_space: 0,
            failed: 0,
            peak_space: 0,
            peak_error: 0,
            inuse_objects: 0,
            inuse_space: 0,
            classes: [0; layout::SIZE_CLASSES],
            threads: 0,
            leaks: Leaks::default(),
        }
    }
}

/// What the ledger does not have, in its own words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Allocations that are in the counters and have no stack, and their bytes; and the same of frees. Where every stack is noted, the sums over
    /// all sites and these are the counters.
    pub unattributed_objects: u64,
    pub unattributed_space: u64,
    pub unattributed_frees: u64,
    pub unattributed_freed_space: u64,
    /// Distinct stacks in the middle of which frames are left out.
    pub truncated_stacks: u64,
    /// Distinct stacks whose frame pointers led off the thread's stack.
    pub unwalkable_stacks: u64,
    /// Sampled blocks whose free could not be followed.
    pub untracked_samples: u64,
    /// Blocks from before the window whose free was counted as the test's.
    pub untracked_foreign: u64,
    /// Blocks of the test's that code outside of Rust gave back or resized, and the fewest bytes
    /// that they had.
    pub outside_frees: u64,
    pub outside_freed_space: u64,
    /// Times that what a site had at a peak could not be kept: its peak is missing or an older one.
    pub lost_peaks: u64,
    /// Sites whose stack could not be read back (a damaged file).
    pub unreadable_sites: u64,
    /// Bytes at the end of the file that could not be read as chunks.
    pub unreadable_bytes: u64,
    /// Memory the engine took for itself, the ledger included, in bytes.
    pub own_memory: u64,
    /// Processes forked by the test, which this ledger does not cover.
    pub forks: u32,
    /// Those of them, and of their forks, that allocated and could not make a ledger.
    pub lost_forks: u64,
}

/// One loaded object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// What to take from an address to get the object's own virtual address.
    pub bias: u64,
    pub start: u64,
    pub end: u64,
    pub path: PathBuf,
}

/// A stack (and, where stacks are sampled, a block size) with what was observed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// `None`: no frame is known.
    pub stack: Option<StackId>,
    /// Frames in the middle of the stack are left out: a word of it says how many, see [`layout::frames_left_out`].
    pub truncated: bool,
    /// The walk left the thread's stack: the outer frames are missing.
    pub unwalkable: bool,
    /// Size of every block here; 0 = they differ (only at rate 1).
    pub size: u64,
    pub values: SiteValues,
}

impl Counters {
    /// Blocks that are in use and not leaked, and their bytes.
    #[must_use]
    pub fn reachable(&self) -> (i64, i64) {
        (self.inuse_objects - self.leaks.leaked_objects, self.inuse_space - self.leaks.leaked_space)
    }
}

impl Ledger {
    /// The words of a site's stack, innermost first: return addresses, and where frames are left out how many.
    #[must_use]
    pub fn stack(&self, site: &Site) -> Vec<u64> {
        self.stacks.frames(site.stack).collect()
    }

    /// Memory that the stacks and sites take, in bytes.
    #[must_use]
    pub fn size_of_stacks(&self) -> usize {
        size_of_val(self.sites.as_slice()) + size_of_val(self.stacks.nodes()) + size_of_val(self.stacks.addresses())
    }
}

/// Observed metrics of one site: of all allocations at rate 1, of the sampled ones otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SiteValues {
    pub alloc_objects: u64,
    pub alloc_space: u64,
    pub frees: u64,
    pub freed_space: u64,
    pub peak_objects: i64,
    pub peak_space: i64,
    pub reallocs: u64,
    /// Sum of the lifetimes of the blocks counted in `timed_frees`, in bytes allocated meanwhile.
    pub lifetime_space: u64,
    /// Frees by the thread that allocated: the ones whose lifetime is known.
    pub timed_frees: u64,
    /// Freed with nothing allocated since.
    pub temporary: u64,
    /// Freed within 4096 bytes of allocation, `temporary` included.
    pub short_lived: u64,
    /// Live at the end and leaked; 0 where stacks are sampled.
    pub leaked_objects: i64,
    pub leaked_space: i64,
}

impl SiteValues {
    /// Adds what another lane saw at the same site.
    pub(super) fn add(&mut self, other: SiteValues) {
        let sum = |a: &mut u64, b: u64| *a = a.saturating_add(b);
        let sum_signed = |a: &mut i64, b: i64| *a = a.saturating_add(b);
        sum(&mut self.alloc_objects, other.alloc_objects);
        sum(&mut self.alloc_space, other.alloc_space);
        sum(&mut self.frees, other.frees);
        sum(&mut self.freed_space, other.freed_space);
        sum_signed(&mut self.peak_objects, other.peak_objects);
        sum_signed(&mut self.peak_space, other.peak_space);
        sum(&mut self.reallocs, other.reallocs);
        sum(&mut self.lifetime_space, other.lifetime_space);
        sum(&mut self.timed_frees, other.timed_frees);
        sum(&mut self.temporary, other.temporary);
        sum(&mut self.short_lived, other.short_lived);
        sum_signed(&mut self.leaked_objects, other.leaked_objects);
        sum_signed(&mut self.leaked_space, other.leaked_space);
    }

    /// Blocks live at the end.
    pub fn inuse_objects(&self) -> i64 {
        signed(self.alloc_objects) - signed(self.frees)
    }

    /// Bytes live at the end.
    pub fn inuse_space(&self) -> i64 {
        signed(self.alloc_space) - signed(self.freed_space)
    }
}

/// Why a file is not a ledger that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerError {
    /// Shorter than its header, or without its first bytes.
    NotALedger,
    /// Written by another version of the harness.
    Version(u32),
    /// Says of itself what cannot be.
    Damaged(&'static str),
}

impl std::fmt::Display for LedgerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LedgerError::NotALedger => f.write_str("it is not a ledger: too short, or without the bytes `MEMPROF`"),
            LedgerError::Version(found) => {
                write!(f, "its format is version {found}; this program reads version {}", layout::VERSION)
            }
            LedgerError::Damaged(what) => write!(f, "it is damaged: {what}"),
        }
    }
}

impl std::error::Error for LedgerError {}
