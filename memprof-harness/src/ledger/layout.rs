//! The bytes of a ledger, defined once: the engine writes through these structs, the reader finds every field by its
//! offset in them. No code that reads or writes lives here.
//!
//! A ledger is a header page followed by chunks. A chunk is a [`ChunkHeader`] and its payload; chunks are only ever
//! appended, each is a multiple of 64 bytes long, and the next one starts where it ends. All integers are in the byte
//! order of the machine that wrote the file. Fields that several threads or a reader in another process see are
//! atomics; a field that only its own lane writes is written with plain relaxed stores.

use std::mem::size_of;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU32, AtomicU64};

/// The first eight bytes of every ledger.
pub const MAGIC: [u8; 8] = *b"MEMPROF\0";
/// Raised by every change of this file that a reader of the old layout would misread.
pub const VERSION: u32 = 3;
/// Bytes of the header page; the first chunk starts here.
pub const HEADER_LEN: usize = 4096;
/// Chunks start at multiples of this, so that a site never straddles two cache lines.
pub const CHUNK_ALIGN: usize = 64;
/// Frames kept of one stack where nothing else is asked for, as Go keeps since 1.23. Of a deeper one the outer quarter and the
/// inner three quarters are kept.
pub const DEFAULT_DEPTH: usize = 128;
/// The least and the most that can be asked for.
pub const LEAST_DEPTH: usize = 16;
pub const MOST_DEPTH: usize = 1024;

/// Among the words of a stack, says how many frames are left out in its place. No code lies in the upper half of the address space.
const LEFT_OUT: u64 = 1 << 63;

/// The word that says that so many frames are left out.
#[must_use]
pub fn left_out(frames: usize) -> u64 {
    LEFT_OUT | frames as u64
}

/// The word that stands for rounds of recursion, however many frames they were.
pub const ROUNDS_LEFT_OUT: u64 = LEFT_OUT;

/// How many frames are left out in the place of a word among a stack's, 0 for [`ROUNDS_LEFT_OUT`]; `None`: it is a return address.
#[must_use]
pub fn frames_left_out(word: u64) -> Option<u64> {
    (word & LEFT_OUT != 0).then_some(word & !LEFT_OUT)
}

/// Size classes: class `k` holds the sizes from 2^k up to 2^(k+1) - 1 bytes.
pub const SIZE_CLASSES: usize = 64;

/// Values of [`Header::state`], in the order in which a healthy process passes through them.
pub mod state {
    /// The parent made the file; the child has not opened it.
    pub const CREATED: u32 = 0;
    /// The child mapped it, and the test has not begun.
    pub const MAPPED: u32 = 1;
    /// The test runs and is recorded. A ledger found in this state was cut short.
    pub const OPEN: u32 = 2;
    /// The test function returned.
    pub const RETURNED: u32 = 3;
    /// The test function returned, with a value that means failure.
    pub const RETURNED_ERR: u32 = 4;
    /// The test function panicked.
    pub const PANICKED: u32 = 5;
    /// A whole program was recorded, and it ended by `exit` or by returning from `main`.
    pub const EXITED: u32 = 6;
}

/// Values of [`Header::outcome`], set by the parent when the process has ended.
pub mod outcome {
    /// The parent never got to say: it was killed, or the process is still running.
    pub const UNKNOWN: u32 = 0;
    pub const OK: u32 = 1;
    pub const FAILED: u32 = 2;
    pub const TIMED_OUT: u32 = 3;
}

/// Values of [`Header::leak_check`]: whether what is still in use was told into what can be reached and what is leaked.
pub mod leak_check {
    /// The process ended before.
    pub const NONE: u32 = 0;
    pub const DONE: u32 = 1;
    /// Why it was not: the process is a fork,
    pub const FORKED: u32 = 2;
    /// not all blocks are known: address space is limited, or the program has a sanitizer,
    pub const BLOCKS_UNKNOWN: u32 = 3;
    /// a thread did not sleep,
    pub const THREAD_RUNNING: u32 = 4;
    /// there is more memory, or there are more blocks, than are searched,
    pub const TOO_MUCH: u32 = 5;
    /// the program has forbidden itself system calls,
    pub const FILTERED: u32 = 6;
    /// the system does not say what has to be known,
    pub const UNREADABLE: u32 = 7;
    /// or has no memory for it.
    pub const NO_MEMORY: u32 = 8;
    /// The recording is being ended. Where it stays so, the process was ended in the middle of that.
    pub const ENDING: u32 = 9;
}

/// The start of the file, one page.
#[repr(C)]
pub struct Header {
    pub magic: [u8; 8],
    pub version: AtomicU32,
    /// Length of this header in bytes.
    pub header_len: AtomicU32,
    /// Mean bytes between samples; 0 = no stacks, 1 = every allocation.
    pub rate: AtomicU64,
    /// The process that records, 0 until it has mapped the file.
    pub pid: AtomicU32,
    /// One of [`state`].
    pub state: AtomicU32,
    /// One of [`outcome`].
    pub outcome: AtomicU32,
    /// What `waitpid` gave, valid where `outcome` is set.
    pub wait_status: AtomicU32,
    /// Wall time of the whole process as its parent saw it, in nanoseconds.
    pub wall_ns: AtomicU64,
    /// Start of the process, in nanoseconds since the Unix epoch.
    pub started_ns: AtomicU64,
    /// End of the last whole chunk, in bytes from the start of the file.
    pub arena_end: AtomicU64,
    /// Lanes in the file; a lane is the part of the ledger that one live thread writes.
    pub lanes: AtomicU32,
    /// Threads that took part, each counted once.
    pub threads: AtomicU32,
    /// 1 once a second thread took part: the peak then carries the bound of [`Header::batch`].
    pub multi: AtomicU32,
    /// Epoch of the peak: rises when the live total first falls after a new peak.
    pub epoch: AtomicU32,
    /// Live bytes as flushed by all lanes. Used where `multi` is 1; a single lane's own total is exact.
    pub live: AtomicI64,
    /// Highest `live`, in bytes. Used where `multi` is 1; also with a single lane whose `hi` is lower.
    pub peak: AtomicI64,
    /// 1 while `live` equals `peak`. Used where `multi` is 1.
    pub at_peak: AtomicU32,
    /// Bytes by which one lane's unflushed total can be off; the error of the peak is at most this times the lanes.
    pub batch: AtomicU32,
    /// Allocations and frees that found no room for a site: they are in the counters, without a stack.
    pub unattributed_objects: AtomicU64,
    pub unattributed_space: AtomicU64,
    pub unattributed_frees: AtomicU64,
    pub unattributed_freed_space: AtomicU64,
    /// Allocations and frees of threads that got no lane; added to the counters by the reader.
    pub laneless_objects: AtomicU64,
    pub laneless_space: AtomicU64,
    pub laneless_frees: AtomicU64,
    pub laneless_freed_space: AtomicU64,
    /// Distinct stacks that were deeper than [`Header::depth`].
    pub truncated_stacks: AtomicU64,
    /// Distinct stacks whose walk could not go on: only the innermost frames are known.
    pub unwalkable_stacks: AtomicU64,
    /// Sampled blocks that the table of live samples had no room for: their frees are not known.
    pub untracked_samples: AtomicU64,
    /// Blocks that there was no room to know: those from before the window, whose frees count as frees; and small ones of the test's
    /// that are no slots, after which the frees of others count, too.
    pub untracked_foreign: AtomicU64,
    /// Times that there was no room to keep what a site had at a peak.
    pub lost_peaks: AtomicU64,
    /// Memory the engine took for itself besides this file, in bytes.
    pub own_memory: AtomicU64,
    /// Processes this one forked while it recorded.
    pub forks: AtomicU32,
    /// Frames kept of one stack, from [`LEAST_DEPTH`] to [`MOST_DEPTH`]; 0 = [`DEFAULT_DEPTH`].
    pub depth: AtomicU32,
    /// What the sampler's lanes draw their seeds from: the same in every run of the same test.
    pub seed: AtomicU64,
    /// Blocks of the test's that code outside of Rust gave back or resized, and the fewest bytes
    /// that they may have had. They are among the frees.
    pub outside_frees: AtomicU64,
    pub outside_freed_space: AtomicU64,
    /// One of [`leak_check`].
    pub leak_check: AtomicU32,
    pub reserved: AtomicU32,
    /// Of all blocks that are leaked, and of all that are in use: as in [`LeakRecord`].
    pub leaked_objects: AtomicU64,
    pub leaked_room: AtomicU64,
    pub leaked_slack: AtomicU64,
    pub live_room: AtomicU64,
    pub live_slack: AtomicU64,
    /// Reserved: the most memory that the process had in use, in bytes.
    pub vm_hwm: AtomicU64,
    /// Forked processes that allocated and could not make a ledger: each counts itself.
    pub lost_forks: AtomicU64,
    /// Reserved: the most memory that the process was allowed, in bytes.
    pub memory_limit: AtomicU64,
}

impl Header {
    /// Nothing recorded yet, in a file that ends at `arena_end`: who the process is and how it samples stay.
    pub(crate) fn restart(&self, arena_end: u64) {
        self.arena_end.store(arena_end, Relaxed);
        for word in [&self.state, &self.outcome, &self.wait_status, &self.lanes, &self.threads, &self.multi] {
            word.store(0, Relaxed);
        }
        for word in [&self.epoch, &self.at_peak, &self.batch, &self.forks] {
            word.store(0, Relaxed);
        }
        for word in [&self.live, &self.peak] {
            word.store(0, Relaxed);
        }
        for word in [
            &self.wall_ns,
            &self.unattributed_objects,
            &self.unattributed_space,
            &self.unattributed_frees,
            &self.unattributed_freed_space,
        ] {
            word.store(0, Relaxed);
        }
        for word in [&self.laneless_objects, &self.laneless_space, &self.laneless_frees, &self.laneless_freed_space] {
            word.store(0, Relaxed);
        }
        for word in [&self.truncated_stacks, &self.unwalkable_stacks, &self.untracked_samples] {
            word.store(0, Relaxed);
        }
        for word in [&self.untracked_foreign, &self.lost_peaks, &self.own_memory] {
            word.store(0, Relaxed);
        }
        for word in [&self.outside_frees, &self.outside_freed_space, &self.vm_hwm, &self.lost_forks] {
            word.store(0, Relaxed);
        }
        self.leak_check.store(leak_check::NONE, Relaxed);
        for word in [&self.leaked_objects, &self.leaked_room, &self.leaked_slack, &self.live_room, &self.live_slack] {
            word.store(0, Relaxed);
        }
    }
}

/// Values of [`ChunkHeader::kind`].
pub mod kind {
    /// Key and value pairs: see `create.rs`.
    pub const TEXT: u32 = 1;
    /// Loaded objects: [`super::ModuleRecord`]s, each followed by its path.
    pub const MODULES: u32 = 2;
    /// One [`super::Lane`].
    pub const LANE: u32 = 3;
    /// [`super::Site`]s.
    pub const SITES: u32 = 4;
    /// [`super::StackRecord`]s, each followed by its new frames.
    pub const STACKS: u32 = 5;
    /// [`super::PeakRecord`]s.
    pub const PEAKS: u32 = 6;
    /// [`super::LeakRecord`]s of all sites with blocks in use at the end, where some of those could no longer be reached, and every
    /// stack is noted.
    pub const LEAKS: u32 = 7;
    /// Reserved: the live total over time.
    pub const TIMELINE: u32 = 8;
    /// Reserved: in what steps buffers grew.
    pub const GROWTH: u32 = 9;
    /// Reserved: the metrics of regions.
    pub const REGION: u32 = 10;
}

/// What every chunk starts with, 64 bytes.
#[repr(C, align(64))]
pub struct ChunkHeader {
    /// One of [`kind`].
    pub kind: AtomicU32,
    /// The lane that owns the chunk; 0 where none does. Lanes are numbered from 1.
    pub lane: AtomicU32,
    /// Bytes from this header to the next chunk's.
    pub len: AtomicU64,
    /// Bytes of the payload that are whole, published after they were written.
    pub used: AtomicU64,
}

/// One lane: the counters of one live thread at a time. Written by the thread that holds it, with plain stores.
#[repr(C, align(64))]
pub struct Lane {
    /// Bytes asked for by successful alloc, alloc_zeroed and realloc calls; also the clock of lifetimes.
    pub alloc_space: AtomicU64,
    /// Bytes live: allocated minus freed by this lane's threads, negative where they free what others allocated.
    pub live: AtomicI64,
    /// Above this `live` calls for attention; with one lane it is that lane's peak, unless something watches and the header
    /// has a higher one.
    pub hi: AtomicI64,
    /// Below this `live` calls for attention.
    pub lo: AtomicI64,
    /// Blocks given back, the old block of a realloc included.
    pub frees: AtomicU64,
    /// `alloc_space` at which the next sample is due.
    pub next_sample: AtomicU64,
    pub reallocs: AtomicU64,
    /// The part of `live` that is in [`Header::live`].
    pub flushed: AtomicI64,
    /// Calls that returned null.
    pub failed: AtomicU64,
    /// Successful allocations by size class; their sum is `alloc_objects`.
    pub classes: [AtomicU64; SIZE_CLASSES],
}

/// What one lane knows of one stack (and, where stacks are sampled, one block size). One cache line, because every event
/// touches one; what few events need is elsewhere.
#[repr(C, align(64))]
pub struct Site {
    /// Allocations recorded here: all of them in exact mode, the sampled ones otherwise.
    pub alloc_objects: AtomicU64,
    pub alloc_space: AtomicU64,
    pub frees: AtomicU64,
    pub freed_space: AtomicU64,
    /// Sum over this site's frees of the bytes its lane allocated between a block's birth and its free.
    pub lifetime_space: AtomicU64,
    /// [`Header::epoch`] when this site last changed.
    pub epoch: AtomicU32,
    /// Blocks freed with nothing allocated since; saturates.
    pub temporary: AtomicU32,
    /// Blocks freed within 4096 bytes of allocation, `temporary` ones included; saturates.
    pub short_lived: AtomicU32,
    pub reallocs: AtomicU32,
    /// Lower half of the hash by which its lane finds it; the upper half is in the lane's index, outside of the file.
    pub key: AtomicU32,
    /// Where the rest is in the file, in units of 8 bytes: its [`StackRecord`], or, with [`PEAKED`] set, a [`PeakRecord`]
    /// that leads there.
    pub origin: AtomicU32,
}

/// See [`Site::origin`].
pub const PEAKED: u32 = 1 << 31;

impl Site {
    /// The offset in the file that an `origin` tells.
    #[must_use]
    pub fn offset_of_origin(origin: u32) -> u64 {
        u64::from(origin & !PEAKED) * 8
    }
}

/// What a site had at the peak that ended the epoch in [`Site::epoch`]. One without it had nothing: so have most, where there are
/// many.
#[repr(C)]
pub struct PeakRecord {
    pub objects: AtomicI64,
    pub space: AtomicI64,
    /// The site's [`Site::origin`] before.
    pub origin: AtomicU64,
}

/// What of a site's blocks that are in use can no longer be reached.
#[repr(C)]
pub struct LeakRecord {
    /// The site's offset in the file.
    pub site: AtomicU64,
    /// Leaked blocks.
    pub objects: AtomicU64,
    /// Bytes that they have, which is what was asked for and at most `slack` more.
    pub room: AtomicU64,
    pub slack: AtomicU64,
    /// The same of all blocks of the site that are in use.
    pub live_room: AtomicU64,
    pub live_slack: AtomicU64,
}

/// A site's stack, told as what differs from the one before, in the order in which a lane first met them: `fresh` return
/// addresses (some of them may be [`left_out`]), innermost first, follow this record; then come the `shared` outermost ones of the stack of the lane's
/// record before that is no alias.
#[repr(C)]
pub struct StackRecord {
    /// Size of every block here in bytes; 0 = they differ (exact mode). In an alias: the offset of the site it stands for.
    pub size: AtomicU64,
    pub fresh: AtomicU16,
    pub shared: AtomicU16,
    /// Bits of [`site_flag`].
    pub flags: AtomicU32,
}

/// Bits of [`StackRecord::flags`].
pub mod site_flag {
    /// The stack was deeper than [`super::Header::depth`]: frames in its middle are left out.
    pub const TRUNCATED: u32 = 1;
    /// The walk could not go on: callers are missing.
    pub const UNWALKABLE: u32 = 2;
    /// Not a site of its own: it counts the frees, by this lane's thread, of blocks that another lane's site allocated.
    pub const ALIAS: u32 = 4;
}

/// One loaded object; `path_len` bytes of its path follow, padded with zeros to a multiple of 8.
#[repr(C)]
pub struct ModuleRecord {
    /// What to take from an address to get the object's own virtual address.
    pub bias: u64,
    /// First byte and end of the object's mapped segments.
    pub start: u64,
    pub end: u64,
    pub path_len: u64,
}

const _: () = assert!(size_of::<Header>() <= HEADER_LEN);
const _: () = assert!(size_of::<ChunkHeader>() == 64);
const _: () = assert!(size_of::<Site>() == 64);
const _: () = assert!(size_of::<Lane>() % CHUNK_ALIGN == 0);
const _: () = assert!(size_of::<StackRecord>() == 16);
const _: () = assert!(size_of::<PeakRecord>() == 24);
