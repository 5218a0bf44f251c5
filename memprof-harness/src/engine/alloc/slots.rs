//! Small blocks. Each is a cell: a word that says what is noted of the block, and the block behind it. The C library has a word
//! of its own in front of each block, so here a program's data lies as close together as without us. A header in front of the
//! C library's block would move it apart, which costs programs that live in the cache more than recording does.
//!
//! Here is where cells come from, and the shelves on which free ones wait for a lane to take them, a batch at a time; a lane's own
//! are in `free_cells`. Their memory never goes back to the system, nor from one length to another.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::{mark_free, BatchTag, SlotTag, BIRTH_BITS};
use crate::engine::store::ledger_map::{Errno, Lock};
use std::ptr;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicUsize};

/// Blocks of more bytes than this are not small.
const LARGEST: usize = 1023;
/// What the C library aligns blocks to without being asked. Cells are multiples of it.
const ALIGN: usize = 16;
/// How many lengths of cells there are; none is of length 0.
pub(crate) const LENGTHS: usize = length_of(LARGEST) + 1;
/// Cells that go to a shelf and come from it together, at most.
pub(crate) const BATCH: u32 = 64;
/// Bytes that are made cells of at a time, unless a batch has fewer.
const FRESH: usize = 4096;
/// Address space for cells, in bytes. What a program wants beyond it comes from the C library.
const ROOM: usize = if cfg!(miri) { LEAST_ROOM } else { 2 << 30 };
const LEAST_ROOM: usize = if cfg!(miri) { STEP } else { 64 << 20 };
/// Memory is made usable when it is wanted, so much at a time.
const STEP: usize = 1 << 20;

/// How long a cell for a block of `size` bytes is, in units of [`ALIGN`].
#[inline(always)]
pub(crate) const fn length_of(size: usize) -> usize {
    (size + size_of::<SlotTag>()).div_ceil(ALIGN)
}

/// Where the cells of this process are, those of a process it was forked from not among them. On a cache line that threads only
/// read.
#[repr(align(64))]
struct Own {
    first: AtomicUsize,
    len: AtomicUsize,
}

static OWN: Own = Own { first: AtomicUsize::new(0), len: AtomicUsize::new(0) };
static START: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
/// Bytes from `START` that were reserved, that may be touched, and that are cells. The latter two are changed under `LOCK`.
static RESERVED: AtomicUsize = AtomicUsize::new(0);
static USABLE: AtomicUsize = AtomicUsize::new(0);
static MADE: AtomicUsize = AtomicUsize::new(0);
static LOCK: Lock = Lock::new();
static SHELVES: [Shelf; LENGTHS] =
    [const { Shelf { lock: Lock::new(), first: AtomicPtr::new(ptr::null_mut()) } }; LENGTHS];

/// Batches of free cells of one length. The cells of a batch are linked through the first words of their blocks.
#[repr(align(64))]
struct Shelf {
    lock: Lock,
    first: AtomicPtr<u8>,
}

/// Whose cells a block is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This process's.
    Own,
    /// Those of a process that this one was forked from.
    Inherited,
    /// Nobody's: it is the C library's.
    System,
}

/// Whether a block is to be a cell if one can be had.
#[inline(always)]
pub(crate) fn are_for(size: usize, align: usize) -> bool {
    align <= ALIGN && size <= LARGEST
}

/// As [`are_for`], where the block is to have its note in front: `clock` is the lane's.
#[inline(always)]
pub(crate) fn are_for_notes(size: usize, align: usize, clock: u64) -> bool {
    const SIZE_BITS: u32 = (LARGEST + 1).ilog2();
    const { assert!(LARGEST + 1 == 1 << SIZE_BITS) };
    // When the block is born, too, the clock must fit into a birth's bits.
    let late = clock.wrapping_add(LARGEST as u64) >> (BIRTH_BITS - SIZE_BITS);
    align <= ALIGN && (late | size as u64) <= LARGEST as u64
}

/// Whether a block is a cell of this process's.
#[inline(always)]
pub(crate) fn have(block: *mut u8) -> bool {
    block.addr().wrapping_sub(OWN.first.load(Relaxed)) < OWN.len.load(Relaxed)
}

pub(crate) fn origin(block: *mut u8) -> Origin {
    if have(block) {
        Origin::Own
    } else if block.addr().wrapping_sub(START.load(Relaxed).addr()) < RESERVED.load(Relaxed) {
        Origin::Inherited
    } else {
        Origin::System
    }
}

/// # Safety
/// `block` is a free cell's, and the caller's.
#[inline(always)]
pub(crate) unsafe fn next_of(block: *mut u8) -> *mut u8 {
    // SAFETY: the shortest cell's block has room for a pointer, and is aligned for one.
    unsafe { block.cast::<*mut u8>().read() }
}

/// # Safety
/// `block` is a free cell's, and the caller's.
#[inline(always)]
pub(crate) unsafe fn set_next(block: *mut u8, next: *mut u8) {
    // SAFETY: as above.
    unsafe { block.cast::<*mut u8>().write(next) }
}

/// A batch of free cells: the first, linked to the others, and how many they are. `None` where there is no room for more.
pub(crate) fn take_batch(length: usize) -> Option<(*mut u8, u32)> {
    SHELVES.get(length)?.take().or_else(|| make(length))
}

/// # Safety
/// `batch` is the first of `count` free cells of that length, linked to the others, which were the caller's.
pub(crate) unsafe fn put_batch(length: usize, batch: *mut u8, count: u32) {
    if let Some(shelf) = SHELVES.get(length) {
        // SAFETY: by contract.
        unsafe { shelf.put(batch, count) };
    }
}

/// Takes a block of `size` bytes back from a thread that is not recorded.
///
/// # Safety
/// It is a cell of that length, and nobody uses it any more.
pub(crate) unsafe fn put_back(block: *mut u8, size: usize) {
    // SAFETY: by contract.
    unsafe { mark_free(block) };
    // SAFETY: by contract.
    unsafe { set_next(block, ptr::null_mut()) };
    // SAFETY: by contract.
    unsafe { put_batch(length_of(size), block, 1) };
}

impl Shelf {
    unsafe fn put(&self, batch: *mut u8, count: u32) {
        self.lock.hold(|| {
            let next = self.first.load(Relaxed).addr();
            // SAFETY: its cells are free, and were the caller's.
            unsafe { BatchTag { next, slots: count }.write(batch) };
            self.first.store(batch, Relaxed);
        });
    }

    fn take(&self) -> Option<(*mut u8, u32)> {
        if self.first.load(Relaxed).is_null() {
            return None;
        }
        self.lock.hold(|| {
            let batch = self.first.load(Relaxed);
            if batch.is_null() {
                return None;
            }
            // SAFETY: it is on this shelf.
            let BatchTag { next, slots } = unsafe { BatchTag::read(batch) };
            let next = if next == 0 { ptr::null_mut() } else { START.load(Relaxed).with_addr(next) };
            self.first.store(next, Relaxed);
            // SAFETY: nobody else has it now.
            unsafe { mark_free(batch) };
            Some((batch, slots))
        })
    }
}

/// Makes cells of memory that was never used, as many as a batch has or fewer.
fn make(length: usize) -> Option<(*mut u8, u32)> {
    let bytes = length * ALIGN;
    let count = (FRESH / bytes).clamp(1, BATCH as usize);
    let first = LOCK.hold(|| {
        let start = MADE.load(Relaxed);
        let end = start + count * bytes;
        // A block lies behind its word, and so reaches as far into what comes behind the cell.
        if end + ALIGN > USABLE.load(Relaxed) && !extend(end + ALIGN) {
            return None;
        }
        MADE.store(end, Relaxed);
        Some(START.load(Relaxed).wrapping_add(start + ALIGN))
    })?;
    let block = |i: usize| first.wrapping_add(i * bytes);
    for i in 0..count {
        let next = if i + 1 < count { block(i + 1) } else { ptr::null_mut() };
        // SAFETY: usable memory that nobody else has.
        unsafe { set_next(block(i), next) };
    }
    Some((first, count as u32))
}

/// Makes memory usable up to `end` at least. Called with the lock held.
#[cold]
fn extend(end: usize) -> bool {
    let usable = end.next_multiple_of(STEP);
    if usable > RESERVED.load(Relaxed) {
        return false;
    }
    let errno = Errno::save();
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the range was reserved, and is ours.
    let done = cfg!(miri) || unsafe { libc::mprotect(START.load(Relaxed).cast(), usable, access) } == 0;
    errno.restore();
    if done {
        USABLE.store(usable, Relaxed);
    }
    done
}

/// Takes address space for cells. Called once, before any is wanted; without it there are none. Nor are there where address space
/// is limited: it is the program's.
pub(crate) fn reserve() {
    if is_space_limited() {
        return;
    }
    // Miri knows neither memory that is promised twice nor pages that may not be touched.
    let (access, unreserved) =
        if cfg!(miri) { (libc::PROT_READ | libc::PROT_WRITE, 0) } else { (libc::PROT_NONE, libc::MAP_NORESERVE) };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | unreserved;
    let mut room = ROOM;
    while room >= LEAST_ROOM {
        // SAFETY: a fresh anonymous mapping chosen by the kernel overlaps nothing of ours.
        let start = unsafe { libc::mmap(ptr::null_mut(), room, access, flags, -1, 0) };
        if start != libc::MAP_FAILED {
            START.store(start.cast(), Relaxed);
            RESERVED.store(room, Relaxed);
            OWN.first.store(start.addr(), Relaxed);
            OWN.len.store(room, Release);
            // The first ones are there whatever system calls a test forbids itself.
            LOCK.hold(|| extend(STEP));
            return;
        }
        room /= 2;
    }
}

fn is_space_limited() -> bool {
    if cfg!(miri) {
        return false;
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    let answered = unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) } == 0;
    !answered || limit.rlim_cur != libc::RLIM_INFINITY
}

/// In a forked child, whose only thread this is: all cells so far are the parent's.
pub(crate) fn forget_all() {
    LOCK.force_open();
    for shelf in &SHELVES {
        shelf.lock.force_open();
        shelf.first.store(ptr::null_mut(), Relaxed);
    }
    let (made, reserved) = (MADE.load(Relaxed), RESERVED.load(Relaxed));
    if reserved != 0 {
        OWN.len.store(reserved - made, Relaxed);
        // The last block is there at most.
        OWN.first.store(START.load(Relaxed).addr() + made + 1, Relaxed);
    }
}
