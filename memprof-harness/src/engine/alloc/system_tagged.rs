//! Exact mode's blocks that are no slots: large ones, those with a large alignment, and those of threads that are not recorded. They
//! are the C library's, with a header in front that says which site a block belongs to and when it was born.
//!
//! Rust may also give back what it never took from here: blocks of C's `malloc`, and of another copy of Rust's allocator. They have no
//! header and go to the C library as they are. A large block has one if it is in the [`start_map`]; a smaller one if the bits of its
//! address stand in the words in front, where C's blocks have their size.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::Note;
use crate::engine::alloc::start_map;
use crate::engine::alloc::system::{self, UsableSize};
use crate::engine::life::state;
use crate::engine::life::thread::{access, Access};
use crate::engine::record::both_modes::{count_failure, count_laneless, count_outside, free_while_shut};
use crate::engine::record::lane::Local;
use crate::engine::store::address_table::spread;
use crate::engine::store::calls;
use crate::engine::store::errno::Errno;
use crate::engine::unwind::frame_pointer::{Bounds, Frame};
use crate::os::memory;
use crate::provenance::Address;
use std::alloc::Layout;
use std::ptr;

/// A header is a [`Note`]'s two words right in front of the block; with a larger alignment, unused bytes come first. In bits that
/// a note leaves, they also say how many bytes are in front of the block, and which block it is.
const HEADER: usize = 16;
/// Of the first word: the logarithm of how many bytes are in front.
const FRONT_SHIFT: u32 = 24;
const FRONT_MOST: u64 = 0x3f;
/// The bits that are not the note's, of either word: of a lane and a site none, of a birth those above 2^48 bytes.
const NOT_THE_NOTES: [u64; 2] = [0xffff << FRONT_SHIFT, 0xffff << 48];
const ADDRESS_BITS: [u64; 2] = [0x3ff << 30, 0xffff << 48];

/// The system's block for a block of `size` bytes: room in front that keeps the alignment.
#[inline(always)]
fn with_header(align: usize, size: usize) -> Option<(Layout, usize)> {
    let front = align.max(HEADER);
    let inner = Layout::from_size_align(size.checked_add(front)?, front).ok()?;
    Some((inner, front))
}

/// `frame` is that of the hook's function that was called, here and below.
///
/// # Safety
/// The contract of `GlobalAlloc::alloc`: `layout` has a size, which is not 0.
#[inline(never)]
pub(crate) unsafe fn alloc(frame: Frame, layout: Layout) -> *mut u8 {
    // SAFETY: the caller upholds `alloc`'s contract.
    let block = unsafe { room(layout.align(), layout.size()) };
    // SAFETY: just made, with room in front.
    unsafe { note_new(frame, block, layout) }
}

/// # Safety
/// The contract of `GlobalAlloc::alloc_zeroed`: `layout` has a size, which is not 0.
#[inline(never)]
pub(crate) unsafe fn alloc_zeroed(frame: Frame, layout: Layout) -> *mut u8 {
    let block = match with_header(layout.align(), layout.size()) {
        // SAFETY: its size is not zero.
        Some((inner, HEADER)) => entered(behind(unsafe { system::alloc_zeroed(inner) }, HEADER), layout.size()),
        // SAFETY: the caller upholds `alloc_zeroed`'s contract.
        Some(_) => unsafe { aligned_and_zeroed(layout) },
        None => ptr::null_mut(),
    };
    // SAFETY: just made, with room in front.
    unsafe { note_new(frame, block, layout) }
}

/// What is in front of a block with a large alignment may be far longer than the block: it is not touched.
///
/// # Safety
/// The contract of `GlobalAlloc::alloc_zeroed`: `layout` has a size, which is not 0.
#[inline(never)]
unsafe fn aligned_and_zeroed(layout: Layout) -> *mut u8 {
    // SAFETY: the caller upholds `alloc`'s contract.
    let block = unsafe { room(layout.align(), layout.size()) };
    if !block.is_null() {
        // SAFETY: just made, with room for as many bytes.
        unsafe { block.write_bytes(0, layout.size()) };
    }
    block
}

/// A block with room for a header in front, in which nothing is noted; null where there is none.
///
/// # Safety
/// `size` is not 0, and `align` is a power of two.
pub(crate) unsafe fn room(align: usize, size: usize) -> *mut u8 {
    match with_header(align, size) {
        // SAFETY: its size is not zero.
        Some((inner, front)) => entered(behind(unsafe { system::alloc(inner) }, front), size),
        None => ptr::null_mut(),
    }
}

/// A new block, which if it is large can be told from others by its address.
#[inline(always)]
fn entered(block: *mut u8, size: usize) -> *mut u8 {
    if size >= start_map::LEAST && !block.is_null() {
        // Where it finds no place, its header tells.
        start_map::enter(block);
    }
    block
}

/// What comes behind `front` bytes of a block, if there is one.
fn behind(start: *mut u8, front: usize) -> *mut u8 {
    if start.is_null() {
        start
    } else {
        start.wrapping_add(front)
    }
}

/// # Safety
/// Unless it is null, `block` has room for a header in front.
unsafe fn note_new(frame: Frame, block: *mut u8, layout: Layout) -> *mut u8 {
    let size = layout.size();
    if block.is_null() {
        count_failure();
        return block;
    }
    let note = match access() {
        Access::Lane(local, bounds) => Some(note_alloc(local, bounds, frame, size)),
        Access::Laneless => {
            count_laneless(Some(size), None);
            None
        }
        Access::Shut => None,
    };
    // SAFETY: by contract.
    unsafe { write_note(block, layout.align(), note) };
    block
}

/// # Safety
/// The contract of `GlobalAlloc::realloc`: `block` is one that the hook gave for `layout`, nobody uses it meanwhile,
/// and `size` is not 0 and no more than a layout can have.
#[inline(never)]
pub(crate) unsafe fn realloc(frame: Frame, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    if with_header(layout.align(), size).is_none() {
        count_failure();
        return ptr::null_mut();
    }
    // SAFETY: the caller upholds `realloc`'s contract.
    let Some(header) = (unsafe { take_header(block) }) else {
        // SAFETY: the caller upholds `realloc`'s contract, and it is the C library's.
        return unsafe { adopt(frame, block, layout, size) };
    };
    if header.front != HEADER || layout.align() > HEADER {
        // SAFETY: the caller upholds `realloc`'s contract, and it is the block's header.
        return unsafe { realloc_aligned(frame, block, header, layout, size) };
    }
    let old = Header { front: HEADER, ..header };
    // SAFETY: the system's block began there, and is still live.
    let old_size = unsafe { size_of_known(block, HEADER, layout.size(), old.note) };
    // SAFETY: the system's block began there, made for no larger alignment; `with_header` checked the new size, and the C library asks for no
    // old one.
    let moved = behind(unsafe { system::realloc(block.wrapping_sub(HEADER), layout, size + HEADER) }, HEADER);
    // SAFETY: there is room for a header in front of whichever is there now.
    unsafe { note_resized(frame, (block, old, old_size), moved, HEADER, size) }
}

/// Resizes a block that was made with a large alignment, or is to have one, as programs may say that did not ask for it. As C has no function
/// for it, it becomes another block. What is in front of it is not copied: it may be far longer than the block.
///
/// # Safety
/// The contract of `GlobalAlloc::realloc`, but that `layout` may have another alignment than the block was made with, whose header `old` is.
#[inline(never)]
unsafe fn realloc_aligned(frame: Frame, block: *mut u8, old: Header, layout: Layout, size: usize) -> *mut u8 {
    let start = block.wrapping_sub(old.front);
    // SAFETY: the system's block began there, and is still live.
    let old_size = unsafe { size_of_known(block, old.front, layout.size(), old.note) };
    // SAFETY: the new size is `realloc`'s, and is not 0.
    let moved = unsafe { room(layout.align(), size) };
    if !moved.is_null() {
        // SAFETY: C's block begins there.
        let has = unsafe { system::usable_size_of(start) }.saturating_sub(old.front);
        // With an alignment of C's own it would be C that moves it, with all that it has.
        let used = if layout.align() <= HEADER { has } else { has.min(layout.size()) };
        // SAFETY: both have room for as many, and are not the same.
        unsafe { ptr::copy_nonoverlapping(block, moved, used.min(size)) };
        // SAFETY: by `realloc`'s contract nobody uses it any more; the C library asks for no layout.
        unsafe { system::dealloc(start, layout) };
    }
    // SAFETY: there is room for a header in front of whichever is there now.
    unsafe { note_resized(frame, (block, old, old_size), moved, layout.align(), size) }
}

/// Notes what became of a block, with the header that it had and its size: it has `size` bytes now, with that alignment, or could not be moved.
///
/// # Safety
/// There is room for a header in front of the block that is there now: the old one if `moved` is null.
#[inline(always)]
unsafe fn note_resized(
    frame: Frame,
    (block, old, old_size): (*mut u8, Header, usize),
    moved: *mut u8,
    align: usize,
    size: usize,
) -> *mut u8 {
    if moved.is_null() {
        count_failure();
        entered(block, old_size);
        // SAFETY: by contract.
        unsafe { write_note(block, old.front, old.note) };
        return moved;
    }
    entered(moved, size);
    let note = note_moved(frame, old.note, old_size, size);
    // SAFETY: by contract.
    unsafe { write_note(moved, align, note) };
    moved
}

/// Resizes a block that was not made here: what becomes of it was.
///
/// # Safety
/// The contract of `GlobalAlloc::realloc`: `block` is one of the C library's for `layout`, without a header, nobody
/// uses it meanwhile, and `size` is not 0 and no more than a layout can have.
#[cold]
unsafe fn adopt(frame: Frame, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    // SAFETY: the new size is `realloc`'s, and is not 0.
    let moved = unsafe { room(layout.align(), size) };
    if moved.is_null() {
        count_failure();
        return moved;
    }
    // SAFETY: both have room for as many, and are not the same.
    unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
    // SAFETY: by `realloc`'s contract nobody uses it any more; the C library asks for no layout.
    unsafe { system::dealloc(block, layout) };
    let note = note_moved(frame, None, layout.size(), size);
    // SAFETY: just made, with room in front.
    unsafe { write_note(moved, layout.align(), note) };
    moved
}

fn note_moved(frame: Frame, old: Option<Note>, old_size: usize, size: usize) -> Option<Note> {
    match (access(), old) {
        (Access::Lane(local, bounds), old) => return Some(note_realloc(local, bounds, frame, old, old_size, size)),
        (Access::Laneless, old) => count_laneless(Some(size), old.map(|_| old_size)),
        (Access::Shut, Some(old)) => free_while_shut(Some(old), old_size),
        (Access::Shut, None) => {}
    }
    None
}

/// # Safety
/// The contract of `GlobalAlloc::dealloc`: `block` is one that the hook gave for `layout`, and nobody uses it any
/// more.
#[inline(never)]
pub(crate) unsafe fn dealloc(block: *mut u8, layout: Layout) {
    // SAFETY: the caller upholds `dealloc`'s contract.
    let Some(Header { front, note }) = (unsafe { take_header(block) }) else {
        // SAFETY: as above, and it is the C library's, which asks for no layout.
        return unsafe { system::dealloc(block, layout) };
    };
    if let Some(note) = note {
        // SAFETY: the system's block began there, and is still live.
        let size = unsafe { size_of_known(block, front, layout.size(), Some(note)) };
        match access() {
            Access::Lane(local, _) => note_free(local, note, size),
            Access::Laneless => count_laneless(None, Some(size)),
            Access::Shut => free_while_shut(Some(note), size),
        }
    }
    // SAFETY: the system's block began `front` bytes before; the C library asks for no layout.
    unsafe { system::dealloc(block.wrapping_sub(front), layout) }
}

/// How many bytes a block was asked for, of which its program says that they were `requested`: where that cannot be, the fewest that it may be.
///
/// # Safety
/// The block is live, was made here, and has `front` bytes in front.
#[inline(always)]
unsafe fn size_of_known(block: *mut u8, front: usize, requested: usize, note: Option<Note>) -> usize {
    let start = block.wrapping_sub(front);
    // SAFETY: C's block begins there.
    if unsafe { system::may_have(start, requested.saturating_add(front)) } {
        return requested;
    }
    // SAFETY: as above.
    let size = unsafe { system::fewest_of(start) }.saturating_sub(front).max(1);
    if state::is_open() && note.is_some_and(Note::is_of_this_process) {
        count_outside(size);
    }
    size
}

#[inline(always)]
fn note_alloc(local: &Local, bounds: Bounds, frame: Frame, size: usize) -> Note {
    let clock = local.record.count_alloc(size as u64, size as i64);
    let site = local.site_of(frame, bounds, 0);
    local.record_alloc(site, size as u64, false);
    local.note(site, clock)
}

#[inline(always)]
fn note_free(local: &Local, note: Note, size: usize) {
    if local.owns(note) {
        local.record.count_free(size as u64);
        local.record_free(note, size as u64, local.record.clock());
    }
}

#[inline(always)]
fn note_realloc(local: &Local, bounds: Bounds, frame: Frame, old: Option<Note>, old_size: usize, size: usize) -> Note {
    let ours = old.filter(|&old| local.owns(old));
    let clock = local.record.count_realloc(size as u64, ours.map(|_| old_size as u64));
    if let Some(old) = ours {
        // As with a free and an allocation, the old block dies before the new one adds to the clock.
        local.record_free(old, old_size as u64, clock.wrapping_sub(size as u64));
    }
    let site = local.site_of(frame, bounds, 0);
    local.record_alloc(site, size as u64, true);
    local.note(site, clock)
}

/// Takes back a block that code outside of Rust gives back. Gives where C's block begins; `None`
/// where it was not made here.
///
/// # Safety
/// `block` is live, and nobody uses it any more. `usable_size` is C's.
pub(crate) unsafe fn take_from_outside(block: *mut u8, usable_size: UsableSize) -> Option<*mut u8> {
    // SAFETY: as the caller promises.
    let (_, room) = unsafe { measure(block, usable_size) }?;
    // SAFETY: as above.
    let Header { front, note } = unsafe { take_header(block) }?;
    let start = block.wrapping_sub(front);
    if let Some(note) = note.filter(|note| state::is_open() && note.is_of_this_process()) {
        // SAFETY: C's block begins there.
        let size = unsafe { system::fewest_bytes(start, front + room) }.saturating_sub(front).max(1);
        count_outside(size);
        match access() {
            Access::Lane(local, _) => note_free(local, note, size),
            Access::Laneless => count_laneless(None, Some(size)),
            Access::Shut => free_while_shut(Some(note), size),
        }
    }
    Some(start)
}

/// How many bytes a block has; `None` where it was not made here.
///
/// # Safety
/// `block` is live. `usable_size` is C's.
pub(crate) unsafe fn room_of(block: *mut u8, usable_size: UsableSize) -> Option<usize> {
    // SAFETY: as the caller promises.
    unsafe { measure(block, usable_size) }.map(|(_, room)| room)
}

/// How many bytes are in front of a block in C's, and how many there are from where it begins;
/// `None` where it was not made here.
///
/// # Safety
/// `block` is live. `usable_size` is C's.
unsafe fn measure(block: *mut u8, usable_size: UsableSize) -> Option<(usize, usize)> {
    // SAFETY: as the caller promises.
    if !start_map::has(block) && !unsafe { has_header(block) } {
        return None;
    }
    // SAFETY: it has a header, aligned for two words.
    let [tag, _] = unsafe { header_of(block).read() };
    let front = front_of(tag);
    // SAFETY: C's block begins there.
    let usable = unsafe { usable_size(block.wrapping_sub(front).cast()) };
    Some((front, usable.saturating_sub(front)))
}

/// What the header of a block says.
struct Header {
    /// Bytes in front of the block, from where C's begins. The alignment that a program says need not be the one that it asked for.
    front: usize,
    /// `None` = the block is not the test's.
    note: Option<Note>,
}

/// Takes the header off a block that is about to be given back or moved. `None` = there is none: the block was not made here.
///
/// # Safety
/// `block` is live, and the caller's.
#[inline(always)]
unsafe fn take_header(block: *mut u8) -> Option<Header> {
    // Whatever layout the program says: it may be another than it asked for.
    // SAFETY: as the caller promises.
    if start_map::leave(block).is_none() && !unsafe { has_header(block) } {
        return None;
    }
    // SAFETY: the 16 bytes before the block are the header, aligned for two words.
    let [tag, birth] = unsafe { header_of(block).read() };
    // Whoever gets the block next must not find it.
    // SAFETY: as above.
    unsafe { header_of(block).write([0; 2]) };
    let note = Note::of_words([tag & !NOT_THE_NOTES[0], birth & !NOT_THE_NOTES[1]]);
    Some(Header { front: front_of(tag), note })
}

/// Of a header's first word.
#[inline(always)]
fn front_of(tag: u64) -> usize {
    1 << (tag >> FRONT_SHIFT & FRONT_MOST)
}

/// Whether the words in front of a block say that it is this one.
///
/// # Safety
/// `block` is live, and the caller's.
unsafe fn has_header(block: *mut u8) -> bool {
    const PAGE: usize = 4096;
    let header = header_of(block);
    // Blocks of others may begin where nothing is in front.
    if block.address() % PAGE < HEADER && !is_mapped(header.cast::<u8>().wrapping_sub(header.address() % PAGE)) {
        return false;
    }
    // SAFETY: it is in the block's page, or in one that is there. The C library has its own words there, others may have any.
    let words = unsafe { header.read() };
    of_header(block.address(), words).is_some()
}

/// Bytes that may be in front of a block, least first.
pub(crate) fn fronts() -> impl Iterator<Item = usize> {
    (HEADER.ilog2()..=MOST_FRONT.ilog2()).map(|bits| 1 << bits)
}

/// A block with a larger alignment is not looked for in the C library's heap.
const MOST_FRONT: usize = 4096;

/// Where the header of a block is.
pub(crate) fn header_address(block: usize) -> usize {
    block - HEADER
}

/// What two words in front of a block say if they are its header: how many bytes are in front of it, and its note, where it is the test's.
pub(crate) fn of_header(block: usize, words: [u64; 2]) -> Option<(usize, Option<Note>)> {
    let marks = address_marks(block);
    if (0..2).any(|i| words[i] & ADDRESS_BITS[i] != marks[i]) {
        return None;
    }
    Some((front_of(words[0]), Note::of_words([words[0] & !NOT_THE_NOTES[0], words[1] & !NOT_THE_NOTES[1]])))
}

/// Where the program forbade itself system calls, the page is taken to be there: so it is in front of all blocks of C's and of ours.
fn is_mapped(page: *mut u8) -> bool {
    if !calls::allows_calls() {
        return true;
    }
    let errno = Errno::save();
    let is_mapped = memory::is_mapped(page.cast());
    errno.restore();
    is_mapped
}

/// What the bits of a header that say which block it is are for this one. Those of the second word are never 0: of what is in front of a
/// block of the C library, which is its size, they are.
#[inline(always)]
fn address_marks(block: usize) -> [u64; 2] {
    let spread = spread(block);
    [spread >> 24 & ADDRESS_BITS[0], spread & ADDRESS_BITS[1] | 1 << 48]
}

/// # Safety
/// `block` was made with room for a header in front and this alignment, and is the caller's.
#[inline(always)]
pub(crate) unsafe fn write_note(block: *mut u8, align: usize, note: Option<Note>) {
    let [tag, birth] = note.map_or([0; 2], Note::words);
    let marks = address_marks(block.address());
    let front = u64::from(align.max(HEADER).ilog2()) << FRONT_SHIFT;
    // SAFETY: as the caller promises the 16 bytes in front are ours, aligned for two words.
    unsafe { header_of(block).write([tag | marks[0] | front, birth & !NOT_THE_NOTES[1] | marks[1]]) }
}

#[inline(always)]
fn header_of(block: *mut u8) -> *mut [u64; 2] {
    block.wrapping_sub(HEADER).cast()
}
