//! The ledger as this process has it mapped: where a chunk comes from, how the file grows, how it is trimmed. What is in
//! the chunks is the business of `lane`, `sites` and `objects`.
//!
//! The whole range the file may ever take is mapped at once, so growing it needs no new mapping: only more blocks on the
//! disk, taken before they are touched so that a full disk is an error here and never a SIGBUS in the test. No
//! descriptor is kept: a test may close every descriptor it finds. The file is found again by its absolute path, and
//! recognised by device and inode.

#![allow(unsafe_code)] // mmap and what lies in it

use crate::engine::life::seccomp;
use crate::engine::record::site_predictor;
use crate::engine::store::limits;
use crate::engine::store::ranges::{Range, Ranges};
use crate::ledger::layout::{ChunkHeader, Header, Lane, PeakRecord, Site, StackRecord, CHUNK_ALIGN};
use crate::os;
use crate::provenance::Address;
use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::io::{self, Write};
use std::mem::{size_of, size_of_val};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize};

/// The most a ledger may grow to, in bytes. Address space alone: the file has only the blocks it needs.
pub(crate) const LIMIT: usize = 1 << 30;
/// The file grows by its own length, but by no more than this at a time.
const LARGEST_STEP: u64 = 16 << 20;
const PAGE: u64 = 4096;
/// What the file grows by before the program forbids itself system calls, if there is room for so much.
const AHEAD: [u64; 4] = [16 << 20, 4 << 20, 1 << 20, 256 << 10];
/// Bytes of private memory that are kept ready then: address space, until they are touched.
const PRIVATE_AHEAD: usize = 64 << 20;
const LEAST_PRIVATE_AHEAD: usize = 1 << 20;

static BASE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static MAPPED: AtomicUsize = AtomicUsize::new(0);
/// Bytes of the file that have blocks on the disk. Changed under `LOCK`.
static FILE_LEN: AtomicU64 = AtomicU64::new(0);
static DEVICE: AtomicU64 = AtomicU64::new(0);
static INODE: AtomicU64 = AtomicU64::new(0);
/// Set when no chunk may be taken any more.
static SEALED: AtomicBool = AtomicBool::new(true);
/// Set in a forked child, whose mapping is its parent's ledger.
static ABANDONED: AtomicBool = AtomicBool::new(false);
/// Bytes of private memory the engine holds.
static OWN_MEMORY: AtomicU64 = AtomicU64::new(0);
/// The private memory.
static PRIVATE: Ranges = Ranges::new();
/// Private memory that is ready, and how much of it is given out.
static READY: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static READY_LEN: AtomicUsize = AtomicUsize::new(0);
static READY_USED: AtomicUsize = AtomicUsize::new(0);
static LOCK: Lock = Lock(AtomicBool::new(false));
static PATH: PathCell = PathCell(UnsafeCell::new([0; libc::PATH_MAX as usize]));

/// The ledger's path as a C string. A fixed place, because a forked child must write it without allocating.
struct PathCell(UnsafeCell<[u8; libc::PATH_MAX as usize]>);
// SAFETY: written while `SEALED` is set, when nobody reads it, by the only thread there is.
unsafe impl Sync for PathCell {}

impl PathCell {
    /// `false` where it is too long.
    fn set(&self, path: &[u8]) -> bool {
        // SAFETY: nobody reads it meanwhile, see above.
        let place = unsafe { &mut *self.0.get() };
        let Some(room) = place.get_mut(..path.len()) else { return false };
        room.copy_from_slice(path);
        match place.get_mut(path.len()) {
            Some(end) => *end = 0,
            None => return false,
        }
        true
    }

    /// Has it end with `more` from `start` on, in place. `false` where it would be too long.
    fn set_end(&self, start: usize, more: &[u8]) -> bool {
        // SAFETY: nobody reads it meanwhile, see above.
        let place = unsafe { &mut *self.0.get() };
        let Some(room) = place.get_mut(start..=start + more.len()) else { return false };
        room.fill(0);
        room.iter_mut().zip(more).for_each(|(byte, &new)| *byte = new);
        true
    }

    fn get(&self) -> Option<&CStr> {
        // SAFETY: nobody writes it while it is read, see above.
        let place = unsafe { &*self.0.get() };
        CStr::from_bytes_until_nul(place).ok()
    }
}

/// A lock that needs neither memory nor a wake-up call: it is held for microseconds, when a chunk or a lane is taken.
pub(crate) struct Lock(AtomicBool);

impl Lock {
    pub(crate) const fn new() -> Lock {
        Lock(AtomicBool::new(false))
    }

    pub(crate) fn hold<R>(&self, work: impl FnOnce() -> R) -> R {
        while self.0.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
            if seccomp::allows_calls() {
                // SAFETY: `sched_yield` has no preconditions.
                unsafe { libc::sched_yield() };
            } else {
                std::hint::spin_loop();
            }
        }
        let result = work();
        self.0.store(false, Release);
        result
    }

    /// In a forked child no other thread is left to open the lock.
    pub(crate) fn force_open(&self) {
        self.0.store(false, Release);
    }
}

/// Maps the ledger at `path`.
pub(crate) fn attach(path: &Path) -> io::Result<()> {
    let path = path.as_os_str().as_bytes();
    if path.contains(&0) || !PATH.set(path) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let file = Descriptor::open(PATH.get().unwrap_or_default(), 0)?;
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

/// Takes down by what the file is known.
fn recognise(stat: &libc::stat) {
    let (device, inode) = os::file::identity(stat);
    DEVICE.store(device, Relaxed);
    INODE.store(inode, Relaxed);
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
    if BASE.load(Acquire).is_null() || !seccomp::allows_calls() || limits::file_size() < prefix {
        return None;
    }
    // SAFETY: has no preconditions.
    let file = create_beside(&PATH, unsafe { libc::getpid() })?;
    let done = replace_by(&file, prefix);
    if let (None, Some(path)) = (done, PATH.get()) {
        // Nobody is to take it for a ledger.
        // SAFETY: `path` is a C string for the length of the call.
        unsafe { libc::unlink(path.as_ptr()) };
    }
    done
}

/// Makes a file whose name begins as that at `path`, and has `path` lead there.
fn create_beside(path: &PathCell, pid: libc::pid_t) -> Option<Descriptor> {
    /// How many processes of one number are told apart: each may be the first of its namespace.
    const ALIKE: u32 = 1 << 16;
    let start = path.get()?.to_bytes().len();
    for number in 1..=ALIKE {
        // In place, because the stack we are on may have less room than a path takes.
        let mut ending = [0u8; 32];
        let mut rest = ending.as_mut_slice();
        match number {
            1 => write!(rest, ".fork-{pid}").ok()?,
            _ => write!(rest, ".fork-{pid}-{number}").ok()?,
        }
        let unused = rest.len();
        if !path.set_end(start, ending.get(..ending.len() - unused)?) {
            return None;
        }
        match Descriptor::open(path.get()?, libc::O_CREAT | libc::O_EXCL) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            result => return result.ok(),
        }
    }
    None
}

/// Maps the file where the parent's ledger was, with the same `prefix` bytes in it.
fn replace_by(file: &Descriptor, prefix: u64) -> Option<()> {
    if os::file::allocate(file.0, 0, prefix.next_multiple_of(PAGE)) != 0 {
        return None;
    }
    let prefix = usize::try_from(prefix).ok()?;
    // SAFETY: the parent's ledger is still mapped, and is at least as long as its beginning.
    let written = unsafe { libc::pwrite(file.0, address(0).cast(), prefix, 0) };
    if usize::try_from(written).ok()? != prefix {
        return None;
    }
    recognise(&file.stat().ok()?);
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED);
    // SAFETY: replaces our own mapping by one of the same length; nothing of the parent's ledger is used any more.
    let base = unsafe { libc::mmap(address(0).cast(), MAPPED.load(Relaxed), protection, flags, file.0, 0) };
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
            libc::mmap(ptr::null_mut(), want, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.0, 0)
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
    let most = limits::space_for_the_engine().map_or(PRIVATE_AHEAD, |space| PRIVATE_AHEAD.min(space as usize));
    let mut len = PRIVATE_AHEAD;
    while len >= LEAST_PRIVATE_AHEAD && READY.load(Relaxed).is_null() {
        if let Some(memory) = (len <= most).then(|| map_private(len)).flatten() {
            READY_LEN.store(len, Relaxed);
            READY.store(memory.as_ptr(), Release);
        }
        len /= 2;
    }
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

/// From what [`take_ahead`] took. It is never given back.
fn ready_bytes(bytes: usize) -> Option<NonNull<u8>> {
    let bytes = bytes.next_multiple_of(PAGE as usize);
    let memory = NonNull::new(READY.load(Acquire))?;
    let take = |used: usize| used.checked_add(bytes).filter(|&end| end <= READY_LEN.load(Relaxed));
    let used = READY_USED.fetch_update(Relaxed, Relaxed, take).ok()?;
    NonNull::new(memory.as_ptr().wrapping_add(used))
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
    if !seccomp::allows_calls() || limits::file_size() < to {
        return false;
    }
    let Some(file) = reopen() else { return false };
    os::file::allocate(file.0, from, to - from) == 0 && site_predictor::cover(to).is_ok()
}

/// The ledger's file again, if its path still leads to it.
fn reopen() -> Option<Descriptor> {
    let file = Descriptor::open(PATH.get()?, 0).ok()?;
    let stat = file.stat().ok()?;
    (os::file::identity(&stat) == (DEVICE.load(Relaxed), INODE.load(Relaxed))).then_some(file)
}

/// Lets no more chunk be taken and gives back the blocks behind the last one.
pub(crate) fn seal() {
    LOCK.hold(|| {
        SEALED.store(true, Relaxed);
        let end = header().arena_end.load(Relaxed).next_multiple_of(PAGE);
        if end >= FILE_LEN.load(Relaxed) || !seccomp::allows_calls_at_the_end() {
            return;
        }
        let (Some(file), Ok(end)) = (reopen(), libc::off_t::try_from(end)) else { return };
        // The file stays longer than it need be where this fails, which harms nobody.
        // SAFETY: nothing behind `arena_end` is ever touched now that no chunk can be taken.
        unsafe { libc::ftruncate(file.0, end) };
    });
}

/// In a forked child: the ledger is the parent's. Nothing may be taken from it, and nothing was held by us.
pub(crate) fn abandon() {
    ABANDONED.store(true, Relaxed);
    SEALED.store(true, Relaxed);
    LOCK.force_open();
    PRIVATE.force_open();
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
    if first >= last || !seccomp::allows_calls() {
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

/// `bytes` of zeroed private memory, page-aligned. `None` where the system has no more.
pub(crate) fn private_bytes(bytes: usize) -> Option<NonNull<u8>> {
    let memory = if seccomp::allows_calls() { map_private(bytes) } else { ready_bytes(bytes) }?;
    holds(bytes as u64);
    Some(memory)
}

fn map_private(bytes: usize) -> Option<NonNull<u8>> {
    let errno = Errno::save();
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | os::memory::UNRESERVED;
    // SAFETY: a fresh anonymous mapping chosen by the kernel overlaps nothing of ours.
    let memory = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    errno.restore();
    if memory == libc::MAP_FAILED {
        return None;
    }
    let start = memory.address();
    PRIVATE.enter(Range { start, end: start + bytes, kept: [0; 2] });
    NonNull::new(memory.cast())
}

/// Zeroed private memory for `count` values of a type made of atomics. `None` where the system has no more.
///
/// # Safety
/// All-zero bytes must be a valid `T`.
pub(crate) unsafe fn private<T>(count: usize) -> Option<&'static [T]> {
    let memory = private_bytes(count.checked_mul(size_of::<T>())?)?;
    // SAFETY: the mapping is page-aligned, zeroed, long enough and lives until `release`; zeroes are valid by contract.
    Some(unsafe { std::slice::from_raw_parts(memory.cast::<T>().as_ptr(), count) })
}

/// Gives private memory back.
///
/// # Safety
/// `memory` came from [`private`] and nothing refers to it any more.
pub(crate) unsafe fn release<T>(memory: &'static [T]) {
    let Some(start) = NonNull::new(memory.as_ptr().cast_mut()) else { return };
    // SAFETY: by contract.
    unsafe { release_bytes(start.cast(), size_of_val(memory)) };
}

/// Gives private memory back.
///
/// # Safety
/// `memory` is `bytes` bytes long, came from [`private_bytes`], and nothing refers to it any more.
pub(crate) unsafe fn release_bytes(memory: NonNull<u8>, bytes: usize) {
    OWN_MEMORY.fetch_sub(bytes as u64, AcqRel);
    if !seccomp::allows_calls() {
        return;
    }
    PRIVATE.leave(memory.as_ptr().address());
    // SAFETY: by contract the whole mapping is ours and unused.
    unsafe { libc::munmap(memory.as_ptr().cast(), bytes) };
}

/// Visits where the engine's memory begins and ends: the file as it is mapped, and all that is private. `false` where not all of it is
/// known.
pub(crate) fn for_each_own(mut visit: impl FnMut(usize, usize)) -> bool {
    let base = BASE.load(Relaxed).address();
    visit(base, base + MAPPED.load(Relaxed));
    site_predictor::for_own(MAPPED.load(Relaxed), &mut visit);
    PRIVATE.for_each(|range| visit(range.start, range.end))
}

/// Counts private memory, in bytes, as the engine's.
pub(crate) fn holds(bytes: u64) {
    OWN_MEMORY.fetch_add(bytes, AcqRel);
}

/// Bytes of private memory held now.
pub(crate) fn own_memory() -> u64 {
    OWN_MEMORY.load(Relaxed)
}

/// `errno` as the test left it: an allocation that succeeds must not change it.
pub(crate) struct Errno(i32);

impl Errno {
    pub(crate) fn save() -> Errno {
        Errno(os::errno::get())
    }

    pub(crate) fn restore(self) {
        os::errno::set(self.0);
    }
}

/// An open file that closes itself, without std's checks (which may allocate or panic).
struct Descriptor(libc::c_int);

impl Descriptor {
    /// Opens a ledger. A link in its place is none: whoever can write to the folder would have the recording written to
    /// what the link leads to.
    fn open(path: &CStr, flags: libc::c_int) -> io::Result<Descriptor> {
        const MODE: libc::c_uint = 0o644;
        const ALWAYS: libc::c_int = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOFOLLOW;
        // SAFETY: `path` is a C string for the length of the call.
        let fd = unsafe { libc::open(path.as_ptr(), ALWAYS | flags, MODE) };
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(Descriptor(fd))
        }
    }

    fn stat(&self) -> io::Result<libc::stat> {
        let mut stat = std::mem::MaybeUninit::uninit();
        // SAFETY: `stat` is a valid place for the answer.
        if unsafe { libc::fstat(self.0, stat.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded and so filled it in.
        Ok(unsafe { stat.assume_init() })
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: opened by us and closed only here.
        unsafe { libc::close(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::fs;

    #[test]
    fn a_link_in_the_place_of_a_ledger_is_not_followed() {
        let folder = std::env::temp_dir().join(format!("memprof-ledger-map-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, link) = (folder.join("file"), folder.join("link"));
        fs::write(&file, "theirs").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let open = |path: &Path| Descriptor::open(&CString::new(path.as_os_str().as_bytes()).unwrap(), 0);
        assert!(open(&file).is_ok());
        assert_eq!(open(&link).err().and_then(|error| error.raw_os_error()), Some(libc::ELOOP));
        assert_eq!(fs::read(&file).unwrap(), b"theirs");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn forks_with_the_same_number_have_a_file_each() {
        let folder = std::env::temp_dir().join(format!("memprof-ledger-alike-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let parents = folder.join("a.ledger");
        for _ in 0..12 {
            let path = PathCell(UnsafeCell::new([0; libc::PATH_MAX as usize]));
            assert!(path.set(parents.as_os_str().as_bytes()));
            assert!(create_beside(&path, 1).is_some());
            // One of its own forks.
            assert!(create_beside(&path, 1).is_some());
        }
        let mut names: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".fork-1.fork-1"))
            .collect();
        names.sort_unstable();
        assert_eq!(names.len(), 23, "{names:?}");
        for name in ["a.ledger.fork-1", "a.ledger.fork-1-2", "a.ledger.fork-1-12", "a.ledger.fork-1-12.fork-1"] {
            assert_eq!(names.iter().any(|made| made == name), !name.ends_with(".fork-1.fork-1"), "{name}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
