//! The ledger as this process has it mapped: where a chunk comes from, how the file grows, how it is trimmed. What is in
//! the chunks is the business of `lane`, `sites` and `modules`.
//!
//! The whole range the file may ever take is mapped at once, so growing it needs no new mapping: only more blocks on the
//! disk, taken before they are touched so that a full disk is an error here and never a SIGBUS in the test. No
//! descriptor is kept: a test may close every descriptor it finds. `ledger_file` finds the file again.

#![allow(unsafe_code)] // mmap and what lies in it

use crate::engine::record::site_predictor;
use crate::engine::store::calls;
use crate::engine::store::errno::Errno;
use crate::engine::store::ledger_file::{self, Descriptor};
use crate::engine::store::limits;
use crate::engine::store::lock::Lock;
use crate::engine::store::own_memory;
use crate::ledger::layout::{ChunkHeader, Header, Lane, PeakRecord, Site, StackRecord, CHUNK_ALIGN, PEAKED};
use crate::os;
use crate::provenance::Address;
use std::io;
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize};

/// The most a ledger may grow to, in bytes. Address space alone: the file has only the blocks it needs.
pub(crate) const LIMIT: usize = 1 << 30;
/// The file grows by its own length, but by no more than this at a time.
const LARGEST_STEP: u64 = 16 << 20;
const PAGE: u64 = 4096;
/// What the file grows by before the program forbids itself system calls, if there is room for so much.
const AHEAD: [u64; 4] = [16 << 20, 4 << 20, 1 << 20, 256 << 10];

static BASE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static MAPPED: AtomicUsize = AtomicUsize::new(0);
/// Bytes of the file that have blocks on the disk. Changed under `LOCK`.
static FILE_LEN: AtomicU64 = AtomicU64::new(0);
/// Set when no chunk may be taken any more.
static SEALED: AtomicBool = AtomicBool::new(true);
/// Set in a forked child, whose mapping is its parent's ledger.
static ABANDONED: AtomicBool = AtomicBool::new(false);
static LOCK: Lock = Lock::new();

/// Maps the ledger at `path`.
pub(crate) fn attach(path: &Path) -> io::Result<()> {
    let file = ledger_file::open(path.as_os_str().as_bytes())?;
    let stat = file.stat()?;
    let len = u64::try_from(stat.st_size).unwrap_or(0);
    if len < size_of::<Header>() as u64 {
        return Err(io::Error::other("the ledger is shorter than its header"));
    }
    let (base, mapped) = map_shared(&file, len)?;
    MAPPED.store(mapped, Relaxed);
    BASE.store(base, Release);
    recognise(&stat);
    site_predictor::cover(len)?;
    SEALED.store(false, Release);
    Ok(())
}

/// Takes down by what the file is known, and how long it is.
fn recognise(stat: &libc::stat) {
    ledger_file::recognise(stat);
    FILE_LEN.store(u64::try_from(stat.st_size).unwrap_or(0), Relaxed);
}

/// In a forked child: makes a ledger beside the parent's, which begins with the same `prefix` bytes, and maps it where
/// the parent's was. Runs inside an allocation, so it allocates nothing.
pub(crate) fn reattach(prefix: u64) -> bool {
    let errno = Errno::save();
    let done = try_reattach(prefix).is_some();
    errno.restore();
    if done {
        ABANDONED.store(false, Relaxed);
        SEALED.store(false, Release);
    }
    done
}

fn try_reattach(prefix: u64) -> Option<()> {
    if BASE.load(Acquire).is_null() || !calls::allows_calls() || limits::file_size() < prefix {
        return None;
    }
    // SAFETY: has no preconditions.
    let file = ledger_file::create_beside(unsafe { libc::getpid() })?;
    let done = replace_by(&file, prefix);
    if done.is_none() {
        // Nobody is to take it for a ledger.
        ledger_file::remove();
    }
    done
}

/// Maps the file where the parent's ledger was, with the same `prefix` bytes in it.
fn replace_by(file: &Descriptor, prefix: u64) -> Option<()> {
    if os::file::allocate(file.number(), 0, prefix.next_multiple_of(PAGE)) != 0 {
        return None;
    }
    let prefix = usize::try_from(prefix).ok()?;
    // SAFETY: the parent's ledger is still mapped, and is at least as long as its beginning.
    let written = unsafe { libc::pwrite(file.number(), address(0).cast(), prefix, 0) };
    if usize::try_from(written).ok()? != prefix {
        return None;
    }
    recognise(&file.stat().ok()?);
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED);
    // SAFETY: replaces our own mapping by one of the same length; nothing of the parent's ledger is used any more.
    let base = unsafe { libc::mmap(address(0).cast(), MAPPED.load(Relaxed), protection, flags, file.number(), 0) };
    if base == libc::MAP_FAILED {
        // The kernel may have taken the old mapping away before it failed.
        if !os::memory::is_mapped(address(0).cast()) {
            BASE.store(ptr::null_mut(), Release);
        }
        return None;
    }
    header().restart(prefix as u64);
    Some(())
}

/// In a forked child that could make no ledger: that much of it is its parent's to know.
pub(crate) fn count_lost_fork() {
    if !BASE.load(Acquire).is_null() && ABANDONED.load(Relaxed) {
        header().lost_forks.fetch_add(1, Relaxed);
    }
}

/// Maps as much of the range as the engine may take, and the file's own length at least.
fn map_shared(file: &Descriptor, len: u64) -> io::Result<(*mut u8, usize)> {
    let mut want = LIMIT;
    if let Some(space) = limits::space_for_the_engine() {
        while site_predictor::with_links(want) > space && want as u64 / 2 >= len {
            want /= 2;
        }
    }
    loop {
        // SAFETY: a fresh mapping chosen by the kernel overlaps nothing of ours; the descriptor is open.
        let base = unsafe {
            libc::mmap(ptr::null_mut(), want, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.number(), 0)
        };
        if base != libc::MAP_FAILED {
            if site_predictor::reserve(want) {
                return Ok((base.cast(), want));
            }
            // SAFETY: just mapped, and nobody knows of it.
            unsafe { libc::munmap(base, want) };
        }
        let error = io::Error::last_os_error();
        if (want as u64) / 2 < len {
            return Err(error);
        }
        want /= 2;
    }
}

/// Whether this process has a ledger that is its own to write.
pub(crate) fn is_attached() -> bool {
    !BASE.load(Acquire).is_null() && !ABANDONED.load(Relaxed)
}

/// The header page.
///
/// # Panics
/// Never in practice: called only once `attach` succeeded; a null base would be a fault, as for any other misuse.
#[inline(always)]
pub(crate) fn header() -> &'static Header {
    // SAFETY: `attach` checked that the file holds a header; the mapping is never undone, and all fields that change
    // are atomics.
    unsafe { &*BASE.load(Relaxed).cast::<Header>() }
}

/// Takes a chunk of `payload` bytes. Gives the offset of its header, or `None` where the ledger cannot grow.
pub(crate) fn chunk(kind: u32, lane: u32, payload: usize) -> Option<u64> {
    LOCK.hold(|| {
        if SEALED.load(Relaxed) {
            return None;
        }
        let len = (size_of::<ChunkHeader>() + payload).next_multiple_of(CHUNK_ALIGN) as u64;
        let start = header().arena_end.load(Relaxed);
        let end = start.checked_add(len)?;
        if end > FILE_LEN.load(Relaxed) && !grow(end) {
            return None;
        }
        let chunk = chunk_header(start);
        chunk.kind.store(kind, Relaxed);
        chunk.lane.store(lane, Relaxed);
        chunk.len.store(len, Relaxed);
        chunk.used.store(0, Relaxed);
        // A reader follows `arena_end`: the chunk must be whole before it is within.
        header().arena_end.store(end, Release);
        Some(start)
    })
}

/// The program is about to forbid itself system calls: takes what may be wanted without any.
pub(crate) fn take_ahead() {
    LOCK.hold(|| {
        let end = header().arena_end.load(Relaxed);
        // Where there is no room at all, what does not fit into the file is counted.
        let _ = !SEALED.load(Relaxed)
            && AHEAD.iter().map(|more| end + more).any(|end| end <= FILE_LEN.load(Relaxed) || grow(end));
    });
    own_memory::take_ahead();
}

/// Address space that was taken for more of the ledger than there is, in bytes.
pub(crate) fn set_aside() -> usize {
    MAPPED.load(Relaxed).saturating_sub(mapped_for_good())
}

/// Of the ledger's mapping the part that the file has.
fn mapped_for_good() -> usize {
    FILE_LEN.load(Relaxed).next_multiple_of(os::memory::page_size().max(1) as u64) as usize
}

/// Gives that back to the system. The ledger grows no more. Gives whether there was any.
pub(crate) fn give_back_set_aside() -> bool {
    LOCK.hold(|| {
        let (mapped, kept) = (MAPPED.load(Relaxed), mapped_for_good());
        if mapped <= kept {
            return false;
        }
        MAPPED.store(kept, Relaxed);
        site_predictor::give_back(kept, mapped);
        // SAFETY: whole pages of our own mapping, behind all that the file has.
        unsafe { libc::munmap(BASE.load(Relaxed).wrapping_add(kept).cast(), mapped - kept) == 0 }
    })
}

/// Takes blocks on the disk up to `end` at least. Called with the lock held.
fn grow(end: u64) -> bool {
    let old = FILE_LEN.load(Relaxed);
    let mapped = MAPPED.load(Relaxed) as u64;
    if end > mapped {
        return false;
    }
    let errno = Errno::save();
    let roomy = (old + old.clamp(PAGE, LARGEST_STEP)).max(end).next_multiple_of(PAGE).min(mapped);
    let grown = [roomy, end.next_multiple_of(PAGE).min(mapped)].into_iter().find(|&len| reserve(old, len));
    if let Some(len) = grown {
        FILE_LEN.store(len, Relaxed);
    }
    errno.restore();
    grown.is_some()
}

fn reserve(from: u64, to: u64) -> bool {
    if !calls::allows_calls() || limits::file_size() < to {
        return false;
    }
    let Some(file) = ledger_file::reopen() else { return false };
    os::file::allocate(file.number(), from, to - from) == 0 && site_predictor::cover(to).is_ok()
}

/// Lets no more chunk be taken and gives back the blocks behind the last one.
pub(crate) fn seal() {
    LOCK.hold(|| {
        SEALED.store(true, Relaxed);
        let end = header().arena_end.load(Relaxed).next_multiple_of(PAGE);
        if end >= FILE_LEN.load(Relaxed) || !calls::allows_calls_at_the_end() {
            return;
        }
        let (Some(file), Ok(end)) = (ledger_file::reopen(), libc::off_t::try_from(end)) else { return };
        // The file stays longer than it need be where this fails, which harms nobody.
        // SAFETY: nothing behind `arena_end` is ever touched now that no chunk can be taken.
        unsafe { libc::ftruncate(file.number(), end) };
    });
}

/// In a forked child: the ledger is the parent's. Nothing may be taken from it, and nothing was held by us.
pub(crate) fn abandon() {
    ABANDONED.store(true, Relaxed);
    SEALED.store(true, Relaxed);
    LOCK.force_open();
    own_memory::force_open();
}

#[inline(always)]
pub(crate) fn chunk_header(offset: u64) -> &'static ChunkHeader {
    at(offset)
}

/// The lane at `offset`, which lies behind the header of a chunk of lanes.
pub(crate) fn lane(offset: u64) -> &'static Lane {
    at(offset)
}

/// The site at `offset`, as it came out of a chunk of sites.
#[inline(always)]
pub(crate) fn site(offset: u64) -> &'static Site {
    at(offset)
}

/// How many bytes each block of the site at `offset` has; `None` where they differ, as where every stack is
/// noted.
pub(crate) fn size_of_blocks(offset: u64) -> Option<usize> {
    let origin = site(offset).origin.load(Acquire);
    let place = Site::offset_of_origin(origin);
    let stack = if origin & PEAKED == 0 {
        place
    } else {
        Site::offset_of_origin(peak_record(place).origin.load(Relaxed) as u32)
    };
    let size = stack_record(stack).size.load(Relaxed);
    usize::try_from(size).ok().filter(|&size| size != 0)
}

/// The record at `offset`, as it came out of a chunk of stacks.
pub(crate) fn stack_record(offset: u64) -> &'static StackRecord {
    at(offset)
}

/// The record at `offset`, as it came out of a chunk of peaks.
pub(crate) fn peak_record(offset: u64) -> &'static PeakRecord {
    at(offset)
}

/// Lets the pages that lie wholly within `start..end` leave this process's memory. What is in them stays in the file, and comes back
/// where it is touched again.
pub(crate) fn page_out(start: u64, end: u64) {
    let (first, last) = (start.next_multiple_of(PAGE), end / PAGE * PAGE);
    if first >= last || !calls::allows_calls() {
        return;
    }
    let errno = Errno::save();
    // Nothing is lost where it fails.
    // SAFETY: a shared mapping of a file: dropping its pages changes nothing of what is read from them.
    unsafe { os::memory::give_back(address(first).cast(), (last - first) as usize) };
    errno.restore();
}

/// Bytes of the file that are in chunks.
pub(crate) fn used() -> u64 {
    header().arena_end.load(Relaxed)
}

/// `words` 8-byte words at `offset`, in a chunk of stacks or of text.
pub(crate) fn words(offset: u64, words: usize) -> &'static [AtomicU64] {
    debug_assert!(offset % 8 == 0);
    // SAFETY: offsets come from `chunk`, whose length covers these words; all access to them is atomic.
    unsafe { std::slice::from_raw_parts(address(offset).cast::<AtomicU64>(), words) }
}

/// Copies `bytes` to `offset`, in a chunk of text or modules that no one reads yet.
pub(crate) fn put(offset: u64, bytes: &[u8]) {
    // SAFETY: the chunk's length covers the bytes and nothing else refers to them before `used` is raised.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), address(offset), bytes.len()) }
}

#[inline(always)]
fn at<T>(offset: u64) -> &'static T {
    // SAFETY: offsets come from `chunk`, which keeps every one inside the mapped file and aligned to 64, and records are
    // taken from it in multiples of their alignment. The types are made of atomics, for which zeroed memory is valid.
    unsafe { &*address(offset).cast::<T>() }
}

#[inline(always)]
fn address(offset: u64) -> *mut u8 {
    // SAFETY: offsets come from `chunk` and lie inside the mapping, which is one object.
    unsafe { BASE.load(Relaxed).add(offset as usize) }
}

/// Visits where the engine's memory begins and ends: the file as it is mapped, and all that is private. `false` where not all of it is
/// known.
pub(crate) fn for_each_own(mut visit: impl FnMut(usize, usize)) -> bool {
    let base = BASE.load(Relaxed).address();
    visit(base, base + MAPPED.load(Relaxed));
    site_predictor::for_own(MAPPED.load(Relaxed), &mut visit);
    own_memory::for_each(visit)
}
