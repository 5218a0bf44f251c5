//! Small blocks. Each is a slot: a tag that says what is noted of the block, and the block behind it. The C library has a word
//! of its own in front of each block, so here a program's data lies as close together as without us. A header in front of the
//! C library's block would move it apart, which costs programs that live in the cache more than recording does.
//!
//! This file decides which blocks are slots, and where memory for them is. Batches of free slots wait in a `central_list` for a lane to take
//! them, a lane's own are in its `thread_cache`, and those that no lane needs are in `spans`.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::{mark_free, SlotState, SlotTag, BIRTH_BITS};
use crate::engine::alloc::central_list::CentralList;
use crate::engine::alloc::open_spans;
use crate::engine::alloc::span_pool;
use crate::engine::alloc::spans::{self, Need, SPAN};
use crate::engine::record::site_predictor::Number;
use crate::engine::store::calls;
use crate::engine::store::errno::Errno;
use crate::engine::store::limits;
use crate::os::memory;
use crate::os::weak_symbol::weak_address;
use crate::provenance::{self, Address};
use std::alloc::Layout;
use std::mem::size_of;
use std::ptr;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize};

/// Blocks of more bytes than this are not small.
pub(crate) const LARGEST: usize = 1023;
/// What the C library aligns blocks to without being asked. Slots are multiples of it.
pub(crate) const ALIGN: usize = 16;
/// How many size classes there are; the first is of no block.
pub(crate) const CLASSES: usize = size_class(LARGEST) + 1;
/// Address space for slots, in bytes. What a program wants beyond it comes from the C library.
pub(crate) const ROOM: usize = if cfg!(miri) { LEAST_ROOM } else { 2 << 30 };
const LEAST_ROOM: usize = if cfg!(miri) { 16 * STEP } else { 8 << 20 };
/// Of limited address space that must be taken before it is wanted, one byte in so many is for slots: most of it is the program's.
const LIMIT_FOR_EACH_BYTE: usize = 8;
/// Memory is made usable when it is wanted, so much at a time.
const STEP: usize = 1 << 20;

/// Of which class a slot for a block of `size` bytes is: how long the slot is, in units of [`ALIGN`].
#[inline(always)]
pub(crate) const fn size_class(size: usize) -> usize {
    (size + size_of::<SlotTag>()).div_ceil(ALIGN)
}

/// How long the slots of a class are.
pub(crate) const fn bytes_of(class: usize) -> usize {
    class * ALIGN
}

/// Slots of a class that go to its central list and come from it together: as many as have 16 KiB, but 64 at most.
pub(crate) const fn batch_of(class: usize) -> u32 {
    const MOST: usize = 64;
    let fit = (16 << 10) / bytes_of(if class == 0 { 1 } else { class });
    if fit < MOST {
        fit as u32
    } else {
        MOST as u32
    }
}

/// Where the slots of this process are, those of a process it was forked from not among them. On a cache line that threads only
/// read.
#[repr(align(64))]
struct Own {
    first: AtomicUsize,
    len: AtomicUsize,
}

static OWN: Own = Own { first: AtomicUsize::new(0), len: AtomicUsize::new(0) };
/// Aligned as spans are.
pub(super) static START: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
/// Bytes from `START` that there may be, and that may be touched.
static RESERVED: AtomicUsize = AtomicUsize::new(0);
static USABLE: AtomicUsize = AtomicUsize::new(0);
/// Set where no address space was taken for what may not be touched: it is limited, and nobody maps anything there.
static IS_TAKEN_LATE: AtomicBool = AtomicBool::new(false);
static CENTRAL: [CentralList; CLASSES] = [const { CentralList::new() }; CLASSES];

/// Whose slots a block is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This process's.
    Own,
    /// Those of a process that this one was forked from.
    Inherited,
    /// Nobody's: it is the C library's.
    System,
}

/// Whether a block is to be a slot if one can be had.
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

/// Whether a block is a slot of this process's.
#[inline(always)]
pub(crate) fn have(block: *mut u8) -> bool {
    block.address().wrapping_sub(OWN.first.load(Relaxed)) < OWN.len.load(Relaxed)
}

pub(crate) fn origin(block: *mut u8) -> Origin {
    if have(block) {
        Origin::Own
    } else if block.address().wrapping_sub(START.load(Relaxed).address()) < taken() {
        Origin::Inherited
    } else {
        Origin::System
    }
}

/// The fewest bytes that the block of a slot in use may have been asked for, and the most that it
/// has.
pub(crate) fn sizes_of(block: *mut u8) -> (usize, usize) {
    let most = bytes_of(spans::class_of(block, START.load(Relaxed))).saturating_sub(size_of::<SlotTag>());
    (most.saturating_sub(ALIGN - 1).max(1), most)
}

/// Whether a slot is of the class for blocks of `size` bytes. It is not where its program gives it back with another size than it
/// asked for. C's `free` does not mind that, and compilers rely on it: what is resized only to be given back they give back without
/// resizing it, with the new size.
#[inline(always)]
pub(crate) fn is_for(block: *mut u8, size: usize) -> bool {
    spans::class_of(block, START.load(Relaxed)) == size_class(size)
}

/// The layout of a slot's block, which its program says is this one: where the slot is of another class, with the fewest bytes that
/// it may have been asked for.
#[inline(always)]
pub(crate) fn layout_of(block: *mut u8, layout: Layout) -> Layout {
    if is_for(block, layout.size()) {
        return layout;
    }
    Layout::from_size_align(sizes_of(block).0, layout.align()).unwrap_or(layout)
}

/// # Safety
/// `block` is a free slot's, and the caller's.
#[inline(always)]
pub(crate) unsafe fn next_of(block: *mut u8) -> *mut u8 {
    // SAFETY: the shortest slot's block has room for a pointer, and is aligned for one.
    unsafe { block.cast::<*mut u8>().read() }
}

/// # Safety
/// `block` is a free slot's, and the caller's.
#[inline(always)]
pub(crate) unsafe fn set_next(block: *mut u8, next: *mut u8) {
    // SAFETY: as above.
    unsafe { block.cast::<*mut u8>().write(next) }
}

/// A batch of free slots: the first, linked to the others, and how many they are. Where some are to be carved, no more than `at_most`.
/// `None` where there is no room for more.
pub(crate) fn take_batch(class: usize, at_most: u32) -> Option<(*mut u8, u32)> {
    CENTRAL.get(class)?.take(class, at_most)
}

/// # Safety
/// `batch` is the first of `count` free slots of that class, [`batch_of`] at most, linked to the others, which were the caller's.
pub(crate) unsafe fn put_batch(class: usize, batch: *mut u8, count: u32) {
    if let Some(central) = CENTRAL.get(class) {
        // SAFETY: as the caller promises.
        unsafe { central.put(class, batch, count) };
    }
}

/// Whether memory has grown, and [`release_unused`] is to be called before it grows further.
#[inline]
pub(crate) fn have_grown() -> bool {
    span_pool::has_grown()
}

/// Has memory that nobody uses go back to the system: all but what lanes have.
#[cold]
pub(crate) fn release_unused() {
    release(Need::Thrift);
}

/// Whether address space is limited, so that what nobody uses goes back with the memory in it.
pub(crate) fn is_space_scarce() -> bool {
    IS_TAKEN_LATE.load(Relaxed)
}

/// The program found no memory: where address space is limited, what nobody uses goes back. Gives whether there was any.
#[cold]
pub(crate) fn make_room() -> bool {
    is_space_scarce() && calls::allows_calls() && release(Need::Room)
}

/// As [`make_room`], where there were no slots to be had; `give_back` has the thread give back its own. What is not freed is not looked for
/// each time.
#[cold]
pub(crate) fn makes_room_again(give_back: impl FnOnce()) -> bool {
    /// A look takes a microsecond for each 1 MiB or so: it is no part of each allocation of a program for which there is no more.
    const LEFT_OUT: usize = 1024;
    static IN_VAIN: AtomicUsize = AtomicUsize::new(0);
    if !is_space_scarce() || IN_VAIN.fetch_add(1, Relaxed) % LEFT_OUT != 0 {
        return false;
    }
    give_back();
    let makes_room = make_room();
    if makes_room {
        IN_VAIN.store(0, Relaxed);
    }
    makes_room
}

/// Gives whether anything went back.
fn release(need: Need) -> bool {
    for (class, central) in CENTRAL.iter().enumerate().filter(|(_, central)| central.batches.load(Relaxed) > 0) {
        central.empty(class);
    }
    open_spans::release_pages(START.load(Relaxed), need, |class, work| {
        if let Some(central) = CENTRAL.get(class) {
            central.lock.hold(|| work(&central.open));
        }
    })
}

/// Takes a block of `size` bytes back from a thread that is not recorded.
///
/// # Safety
/// It is a slot of that class, and nobody uses it any more.
pub(crate) unsafe fn put_back(block: *mut u8, size: usize) {
    let class = size_class(size);
    let Some(central) = CENTRAL.get(class) else { return };
    // SAFETY: as the caller promises.
    unsafe { mark_free(block) };
    // SAFETY: as the caller promises.
    central.lock.hold(|| unsafe { central.open.put(class, block, START.load(Relaxed)) });
}

/// Whether the span at this place can be used: its memory is there, or is now made so. Called under the lock of the spans.
pub(crate) fn usable_span(place: usize) -> bool {
    let end = (place + 1) * SPAN;
    end <= USABLE.load(Relaxed) || extend(end)
}

/// Makes memory usable up to `end` at least.
#[cold]
fn extend(end: usize) -> bool {
    let mut usable = end.next_multiple_of(STEP);
    if usable > RESERVED.load(Relaxed) || !calls::allows_calls() {
        return false;
    }
    let errno = Errno::save();
    let mut done = if is_space_scarce() { take_late(usable) } else { unlock(usable) };
    if !done && is_space_scarce() {
        // There may be room for less.
        usable = end;
        done = take_late(usable);
    }
    errno.restore();
    if done {
        USABLE.fetch_max(usable, Relaxed);
    }
    done
}

fn unlock(usable: usize) -> bool {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the range was reserved, and is ours.
    cfg!(miri) || unsafe { libc::mprotect(START.load(Relaxed).cast(), usable, access) } == 0
}

/// Takes the address space up to `usable` that is not taken yet.
fn take_late(usable: usize) -> bool {
    let (start, before) = (START.load(Relaxed), USABLE.load(Relaxed));
    // SAFETY: the place is as far from all mappings as `reserve_late` found.
    if usable > before && !unsafe { memory::map_at(start.wrapping_add(before).cast(), usable - before) } {
        return false;
    }
    // Before there is a slot there.
    OWN.len.store((start.address() + usable.max(before)).saturating_sub(OWN.first.load(Relaxed)), Release);
    true
}

/// Bytes from `START` that were taken.
fn taken() -> usize {
    (if IS_TAKEN_LATE.load(Relaxed) { &USABLE } else { &RESERVED }).load(Relaxed)
}

/// The program is about to forbid itself system calls: makes memory usable that may be wanted.
pub(crate) fn take_ahead() {
    let most = if limits::is_data_limited() { LEAST_ROOM } else { room_within_limit() };
    let rooms = [most, most / 4, LEAST_ROOM].into_iter().map(|room| room.min(RESERVED.load(Relaxed)));
    // Where there is none, blocks are the C library's.
    let _ = rooms.filter(|&room| room > USABLE.load(Relaxed)).any(extend);
}

/// Takes address space for slots, and says whether there is some. Called once, before any is wanted; without it there are none. Nor are
/// there where a sanitizer looks for what is wrong with blocks: it must know them all.
pub(crate) fn reserve() -> bool {
    if has_sanitizer() {
        return false;
    }
    if room_within_limit() < ROOM && reserve_late() {
        return true;
    }
    // Miri knows no pages that may not be touched.
    let access = if cfg!(miri) { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_NONE };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | memory::UNRESERVED;
    let mut room = room_within_limit();
    while room >= LEAST_ROOM {
        // One span more than are used, so that they can be aligned.
        // SAFETY: a fresh anonymous mapping chosen by the kernel overlaps nothing of ours.
        let mapped = unsafe { libc::mmap(ptr::null_mut(), room + SPAN, access, flags, -1, 0) };
        if mapped != libc::MAP_FAILED {
            let start = mapped.cast::<u8>().wrapping_add(mapped.address().next_multiple_of(SPAN) - mapped.address());
            START.store(start, Relaxed);
            RESERVED.store(room, Relaxed);
            OWN.first.store(start.address(), Relaxed);
            OWN.len.store(room, Release);
            // The first ones are there whatever system calls a test forbids itself.
            extend(STEP);
            return true;
        }
        room = room / 2 - room / 2 % STEP;
    }
    false
}

/// Finds a place for all of [`ROOM`] where nothing else comes, and takes the first of it. For limited address space: all mappings together are
/// no longer than the limit, and the kernel puts each as close below the others as it can.
fn reserve_late() -> bool {
    let Some(limit) = limits::address_space().and_then(|limit| usize::try_from(limit).ok()) else { return false };
    let (protection, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh anonymous mapping chosen by the kernel overlaps nothing of ours.
    let newest = unsafe { libc::mmap(ptr::null_mut(), SPAN, protection, flags, -1, 0) };
    if newest == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: just mapped, and nobody knows of it.
    unsafe { libc::munmap(newest, SPAN) };
    let distance = limit.saturating_mul(2).saturating_add(2 * ROOM);
    let Some(place) = newest.address().checked_sub(distance).map(|place| place - place % SPAN) else { return false };
    if place < distance {
        // The lowest addresses are the executable's and its heap's, on some systems.
        return false;
    }
    START.store(provenance::without_provenance_mut(place), Relaxed);
    OWN.first.store(place, Relaxed);
    IS_TAKEN_LATE.store(true, Relaxed);
    RESERVED.store(ROOM, Relaxed);
    if extend(STEP) {
        return true;
    }
    IS_TAKEN_LATE.store(false, Relaxed);
    RESERVED.store(0, Relaxed);
    false
}

/// Whether the program has a sanitizer's run-time.
fn has_sanitizer() -> bool {
    [
        weak_address!("__asan_init"),
        weak_address!("__lsan_init"),
        weak_address!("__lsan_do_leak_check"),
        weak_address!("__msan_init"),
        weak_address!("__tsan_init"),
        weak_address!("__hwasan_init"),
    ]
    .iter()
    .any(|&address| address != 0)
}

/// How much address space to ask for: all of [`ROOM`], or a part of what the process may have.
fn room_within_limit() -> usize {
    if cfg!(miri) {
        return ROOM;
    }
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is a valid place for the answer; without one it stays as it is.
    unsafe { libc::getrlimit(libc::RLIMIT_AS, &mut limit) };
    let share = usize::try_from(limit.rlim_cur).map_or(usize::MAX, |most| most / LIMIT_FOR_EACH_BYTE);
    ROOM.min(share - share % STEP)
}

/// In a forked child, whose only thread this is: all slots so far are the parent's. Its own begin at the next span.
pub(crate) fn forget_all() {
    for central in &CENTRAL {
        central.lock.force_open();
        central.first.store(ptr::null_mut(), Relaxed);
        central.batches.store(0, Relaxed);
        central.open.forget();
    }
    let inherited = span_pool::forget_all() * SPAN;
    let taken = taken();
    if taken != 0 {
        OWN.len.store(taken - inherited, Relaxed);
        OWN.first.store(START.load(Relaxed).address() + inherited, Relaxed);
    }
}

/// Every slot of this process that is in use: its block, and how many bytes the block may have. For when no other thread is about;
/// else some may be missing, and some be free by then.
pub(crate) fn for_each_live(visit: impl FnMut(*mut u8, usize)) {
    span_pool::for_each_live(START.load(Relaxed), visit);
}

/// Addresses from `start` on, `len` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// Where slots were ever carved.
pub(crate) fn extent() -> Extent {
    Extent { start: START.load(Relaxed).address(), len: span_pool::used_bytes() }
}

/// All address space for slots, whoever's they are; nothing where there are none.
pub(crate) fn reserved() -> Extent {
    Extent { start: START.load(Relaxed).address(), len: taken() }
}

/// The slot that is in use at this address, any byte of its block: the block, and how many bytes it may have. For when no other
/// thread is about, as are those below.
pub(crate) fn holding(address: usize) -> Option<(*mut u8, usize)> {
    span_pool::holding(START.load(Relaxed), address)
}

/// Words that a block may have.
pub(crate) const MOST_WORDS: usize = bytes_of(CLASSES - 1) / size_of::<usize>();

/// The words of a slot that is in use, as they are now.
pub(crate) fn copy_of(block: usize, into: &mut [usize; MOST_WORDS]) -> &[usize] {
    let Some((block, room)) = holding(block) else { return &[] };
    let words = room / size_of::<usize>();
    for (i, copy) in into.iter_mut().enumerate().take(words) {
        // Atomic, because a thread may wake up and write.
        // SAFETY: memory of slots that were carved stays; the word is aligned, and within the block.
        *copy = unsafe { &*block.cast::<AtomicUsize>().wrapping_add(i) }.load(Relaxed);
    }
    into.get(..words).unwrap_or(&[])
}

/// Where the stack of a slot's block was noted, if it was.
pub(crate) fn site_of(block: *mut u8) -> Option<Number> {
    // SAFETY: its callers have it from `for_each_live`.
    match unsafe { SlotTag::read(block) }.state() {
        SlotState::Noted(note) => note.tag.site(),
        SlotState::Free | SlotState::Unsampled(_) | SlotState::Tracked => None,
    }
}

/// Slots of a class that are in batches of its central list.
#[cfg(test)]
pub(crate) fn central(class: usize) -> usize {
    CENTRAL[class].batches.load(Relaxed) as usize * batch_of(class) as usize
}
