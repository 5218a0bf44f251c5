//! Exact mode: every allocation has its stack noted, and every block a header in front that says which site it belongs to
//! and when it was born.

#![allow(unsafe_code)] // an allocator

use super::hook_rust::{count_failure, count_laneless, free_while_shut};
use super::lane::{Local, Note, Tag};
use super::thread::{self, Access, access};
use super::unwind::{Bounds, Frame};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// A header is a [`Note`]'s two words right in front of the block; with a larger alignment, unused bytes come first.
const HEADER: usize = 16;
/// Larger blocks than this go the slow way, where it is looked whether their size leaves room for a header.
const LARGE: usize = isize::MAX as usize / 2;

/// The system's block for a block of `layout`: room in front that keeps the alignment.
#[inline(always)]
fn with_header(layout: Layout, size: usize) -> Option<(Layout, usize)> {
    let front = layout.align().max(HEADER);
    let inner = Layout::from_size_align(size.checked_add(front)?, front).ok()?;
    Some((inner, front))
}

#[inline(never)]
pub(super) unsafe fn alloc(size: usize, align: usize) -> *mut u8 {
    if !is_usual(size, align) {
        // SAFETY: they are a layout's, which the caller of the hook passed.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        // SAFETY: the caller upholds `alloc`'s contract.
        return unsafe { unready::alloc(layout) };
    }
    // SAFETY: not too large, and `HEADER` is a power of two.
    let inner = unsafe { Layout::from_size_align_unchecked(size + HEADER, HEADER) };
    // SAFETY: its size is not zero.
    let start = unsafe { System.alloc(inner) };
    // SAFETY: the calling thread is ready.
    let (local, bounds) = unsafe { thread::local() };
    obtained(start, HEADER, |size| note_alloc(local, bounds, Frame::here(), size), size)
}

#[inline(never)]
pub(super) unsafe fn alloc_zeroed(size: usize, align: usize) -> *mut u8 {
    if !is_usual(size, align) {
        // SAFETY: they are a layout's, which the caller of the hook passed.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        // SAFETY: the caller upholds `alloc_zeroed`'s contract.
        return unsafe { unready::alloc_zeroed(layout) };
    }
    // SAFETY: not too large, and `HEADER` is a power of two.
    let inner = unsafe { Layout::from_size_align_unchecked(size + HEADER, HEADER) };
    // SAFETY: its size is not zero.
    let start = unsafe { System.alloc_zeroed(inner) };
    // SAFETY: the calling thread is ready.
    let (local, bounds) = unsafe { thread::local() };
    obtained(start, HEADER, |size| note_alloc(local, bounds, Frame::here(), size), size)
}

/// Whether plain `malloc` will do.
#[inline(always)]
fn is_usual(size: usize, align: usize) -> bool {
    align <= HEADER && size <= LARGE
}

/// Has a new block noted. Gives what comes behind its header.
#[inline(always)]
fn obtained(start: *mut u8, front: usize, note: impl FnOnce(usize) -> Note, size: usize) -> *mut u8 {
    if start.is_null() {
        count_failure();
        return start;
    }
    let note = note(size);
    let block = start.wrapping_add(front);
    // SAFETY: at least 16 bytes lie between `start` and `block`, aligned for two words.
    unsafe { write_note(block, note) };
    block
}

/// The slow way: larger alignments, sizes that may be too large, and threads that are not ready.
pub(super) mod unready {
    use super::*;

    #[cold]
    #[inline(never)]
    pub(in super::super) unsafe fn alloc(layout: Layout) -> *mut u8 {
        // SAFETY: `inner` is `layout` with room for a header, so its size is not zero.
        obtain(Frame::here(), layout, |inner| unsafe { System.alloc(inner) })
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) unsafe fn alloc_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        obtain(Frame::here(), layout, |inner| unsafe { System.alloc_zeroed(inner) })
    }

    #[inline(always)]
    fn obtain(frame: Frame, layout: Layout, get: impl FnOnce(Layout) -> *mut u8) -> *mut u8 {
        let Some((inner, front)) = with_header(layout, layout.size()) else {
            count_failure();
            return ptr::null_mut();
        };
        obtained(get(inner), front, |size| ask_and_note_alloc(frame, size), layout.size())
    }

    #[inline(always)]
    fn ask_and_note_alloc(frame: Frame, size: usize) -> Note {
        match access() {
            Access::Lane(local, bounds) => note_alloc(local, bounds, frame, size),
            Access::Laneless => {
                count_laneless(Some(size), None);
                NO_NOTE
            }
            Access::Shut => NO_NOTE,
        }
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) unsafe fn realloc(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let frame = Frame::here();
        let (Some((old, front)), Some(_)) = (with_header(layout, layout.size()), with_header(layout, size)) else {
            count_failure();
            return ptr::null_mut();
        };
        // SAFETY: by contract the block has a header.
        let note = unsafe { read_note(block) };
        // SAFETY: the system's block began there and `old` is its layout; `with_header` checked the new size.
        let start = unsafe { System.realloc(block.wrapping_sub(front), old, size + front) };
        obtained(start, front, |size| ask_and_note_realloc(frame, note, layout.size(), size), size)
    }

    #[inline(always)]
    fn ask_and_note_realloc(frame: Frame, old: Note, old_size: usize, size: usize) -> Note {
        let ours = old.tag != Tag::NONE;
        match access() {
            Access::Lane(local, bounds) => return note_realloc(local, bounds, frame, old, old_size, size),
            Access::Laneless => count_laneless(Some(size), ours.then_some(old_size)),
            Access::Shut if ours => free_while_shut(Some(old), old_size),
            Access::Shut => {}
        }
        NO_NOTE
    }

    #[cold]
    #[inline(never)]
    pub(in super::super) unsafe fn dealloc(block: *mut u8, layout: Layout) {
        // SAFETY: by contract the block has a header.
        let note = unsafe { read_note(block) };
        if note.tag != Tag::NONE {
            match access() {
                Access::Lane(local, _) => note_free(local, note, layout.size()),
                Access::Laneless => count_laneless(None, Some(layout.size())),
                Access::Shut => free_while_shut(Some(note), layout.size()),
            }
        }
        // SAFETY: the caller upholds `dealloc`'s contract.
        unsafe { give_back(block, layout.size(), layout.align()) }
    }
}

#[inline(never)]
pub(super) unsafe fn dealloc(block: *mut u8, size: usize, align: usize) {
    // SAFETY: by contract the block has a header.
    let note = unsafe { read_note(block) };
    if note.tag != Tag::NONE {
        // SAFETY: the calling thread is ready.
        let (local, _) = unsafe { thread::local() };
        note_free(local, note, size);
    }
    // SAFETY: the caller upholds `dealloc`'s contract.
    unsafe { give_back(block, size, align) }
}

/// Gives the system its block back.
///
/// # Safety
/// As for `GlobalAlloc::dealloc`, and the block has a header.
#[inline(always)]
unsafe fn give_back(block: *mut u8, size: usize, align: usize) {
    let front = align.max(HEADER);
    // SAFETY: `with_header` made this very layout when the block was allocated, so it is valid.
    let inner = unsafe { Layout::from_size_align_unchecked(size + front, front) };
    // SAFETY: the system's block began `front` bytes before, with that layout.
    unsafe { System.dealloc(block.wrapping_sub(front), inner) }
}

#[inline(never)]
pub(super) unsafe fn realloc(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    if !is_usual(layout.size().max(size), layout.align()) {
        // SAFETY: the caller upholds `realloc`'s contract.
        return unsafe { unready::realloc(block, layout, size) };
    }
    // SAFETY: the block was made with this layout and a header, so together they are not too large.
    let inner = unsafe { Layout::from_size_align_unchecked(layout.size() + HEADER, HEADER) };
    // SAFETY: by contract the block has a header.
    let old = unsafe { read_note(block) };
    // SAFETY: the system's block begins with the header, and has that layout.
    let start = unsafe { System.realloc(block.wrapping_sub(HEADER), inner, size + HEADER) };
    // SAFETY: the calling thread is ready.
    let (local, bounds) = unsafe { thread::local() };
    obtained(start, HEADER, |size| note_realloc(local, bounds, Frame::here(), old, layout.size(), size), size)
}

#[inline(always)]
fn note_alloc(local: &Local, bounds: Bounds, frame: Frame, size: usize) -> Note {
    let clock = local.record.count_alloc(size as u64, size as i64);
    let site = local.site_of(frame, bounds, 0);
    local.charge(site, size as u64, false, clock)
}

#[inline(always)]
fn note_free(local: &Local, note: Note, size: usize) {
    if local.owns(note) {
        local.record.count_free(size as u64);
        local.discharge(note, size as u64, local.record.clock());
    }
}

#[inline(always)]
fn note_realloc(local: &Local, bounds: Bounds, frame: Frame, old: Note, old_size: usize, size: usize) -> Note {
    let ours = old.tag != Tag::NONE && local.owns(old);
    let clock = local.record.count_realloc(size as u64, ours.then_some(old_size as u64));
    if ours {
        // As with a free and an allocation, the old block dies before the new one adds to the clock.
        local.discharge(old, old_size as u64, clock.wrapping_sub(size as u64));
    }
    let site = local.site_of(frame, bounds, 0);
    local.charge(site, size as u64, true, clock)
}

const NO_NOTE: Note = Note { tag: Tag::NONE, birth: 0 };

/// # Safety
/// `block` is preceded by a header.
#[inline(always)]
unsafe fn read_note(block: *mut u8) -> Note {
    // SAFETY: the 16 bytes before the block are the header, aligned for two words.
    let [tag, birth] = unsafe { header_of(block).read() };
    Note { tag: Tag(tag), birth }
}

/// # Safety
/// 16 bytes in front of `block` are ours and aligned for two words.
#[inline(always)]
unsafe fn write_note(block: *mut u8, note: Note) {
    // SAFETY: by contract.
    unsafe { header_of(block).write([note.tag.0, note.birth]) }
}

#[inline(always)]
fn header_of(block: *mut u8) -> *mut [u64; 2] {
    block.wrapping_sub(HEADER).cast()
}
