//! Exact mode's blocks that are no slots: large ones, those with a large alignment, and those of threads that are not recorded. They
//! are the C library's, with a header in front that says which site a block belongs to and when it was born.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::Note;
use crate::engine::hook::rust::{count_failure, count_laneless, free_while_shut};
use crate::engine::life::thread::{access, Access};
use crate::engine::record::lane::Local;
use crate::engine::unwind::frame_pointer::{Bounds, Frame};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// A header is a [`Note`]'s two words right in front of the block; with a larger alignment, unused bytes come first.
const HEADER: usize = 16;

/// The system's block for a block of `size` bytes: room in front that keeps the alignment.
#[inline(always)]
fn with_header(align: usize, size: usize) -> Option<(Layout, usize)> {
    let front = align.max(HEADER);
    let inner = Layout::from_size_align(size.checked_add(front)?, front).ok()?;
    Some((inner, front))
}

/// `frame` is that of the hook's function that was called, here and below.
#[inline(never)]
pub(crate) unsafe fn alloc(frame: Frame, layout: Layout) -> *mut u8 {
    // SAFETY: the caller upholds `alloc`'s contract.
    let block = unsafe { room(layout.align(), layout.size()) };
    // SAFETY: just made, with room in front.
    unsafe { note_new(frame, block, layout.size()) }
}

#[inline(never)]
pub(crate) unsafe fn alloc_zeroed(frame: Frame, layout: Layout) -> *mut u8 {
    let block = match with_header(layout.align(), layout.size()) {
        // SAFETY: its size is not zero.
        Some((inner, front)) => behind(unsafe { System.alloc_zeroed(inner) }, front),
        None => ptr::null_mut(),
    };
    // SAFETY: just made, with room in front.
    unsafe { note_new(frame, block, layout.size()) }
}

/// A block with room for a header in front, in which nothing is noted; null where there is none.
pub(crate) unsafe fn room(align: usize, size: usize) -> *mut u8 {
    match with_header(align, size) {
        // SAFETY: its size is not zero.
        Some((inner, front)) => behind(unsafe { System.alloc(inner) }, front),
        None => ptr::null_mut(),
    }
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
unsafe fn note_new(frame: Frame, block: *mut u8, size: usize) -> *mut u8 {
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
    unsafe { write_note(block, note) };
    block
}

#[inline(never)]
pub(crate) unsafe fn realloc(frame: Frame, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    let sizes = (with_header(layout.align(), layout.size()), with_header(layout.align(), size));
    let (Some((inner, front)), Some(_)) = sizes else {
        count_failure();
        return ptr::null_mut();
    };
    // SAFETY: by contract the block has a header.
    let old = unsafe { read_note(block) };
    // SAFETY: the system's block began there and `inner` is its layout; `with_header` checked the new size.
    let moved = behind(unsafe { System.realloc(block.wrapping_sub(front), inner, size + front) }, front);
    if moved.is_null() {
        count_failure();
        return moved;
    }
    let note = note_moved(frame, old, layout.size(), size);
    // SAFETY: the header moved with the block.
    unsafe { write_note(moved, note) };
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

#[inline(never)]
pub(crate) unsafe fn dealloc(block: *mut u8, layout: Layout) {
    // SAFETY: by contract the block has a header.
    let note = unsafe { read_note(block) };
    if let Some(note) = note {
        match access() {
            Access::Lane(local, _) => note_free(local, note, layout.size()),
            Access::Laneless => count_laneless(None, Some(layout.size())),
            Access::Shut => free_while_shut(Some(note), layout.size()),
        }
    }
    let front = layout.align().max(HEADER);
    // SAFETY: `with_header` made this very layout when the block was allocated, so it is valid.
    let inner = unsafe { Layout::from_size_align_unchecked(layout.size() + front, front) };
    // SAFETY: the system's block began `front` bytes before, with that layout.
    unsafe { System.dealloc(block.wrapping_sub(front), inner) }
}

#[inline(always)]
fn note_alloc(local: &Local, bounds: Bounds, frame: Frame, size: usize) -> Note {
    let clock = local.record.count_alloc(size as u64, size as i64);
    let site = local.site_of(frame, bounds, 0);
    local.charge(site, size as u64, false);
    local.note(site, clock)
}

#[inline(always)]
fn note_free(local: &Local, note: Note, size: usize) {
    if local.owns(note) {
        local.record.count_free(size as u64);
        local.discharge(note, size as u64, local.record.clock());
    }
}

#[inline(always)]
fn note_realloc(local: &Local, bounds: Bounds, frame: Frame, old: Option<Note>, old_size: usize, size: usize) -> Note {
    let ours = old.filter(|&old| local.owns(old));
    let clock = local.record.count_realloc(size as u64, ours.map(|_| old_size as u64));
    if let Some(old) = ours {
        // As with a free and an allocation, the old block dies before the new one adds to the clock.
        local.discharge(old, old_size as u64, clock.wrapping_sub(size as u64));
    }
    let site = local.site_of(frame, bounds, 0);
    local.charge(site, size as u64, true);
    local.note(site, clock)
}

/// `None` = the block is not the test's.
///
/// # Safety
/// `block` is preceded by a header.
#[inline(always)]
unsafe fn read_note(block: *mut u8) -> Option<Note> {
    // SAFETY: the 16 bytes before the block are the header, aligned for two words.
    Note::of_words(unsafe { header_of(block).read() })
}

/// # Safety
/// 16 bytes in front of `block` are ours and aligned for two words.
#[inline(always)]
pub(crate) unsafe fn write_note(block: *mut u8, note: Option<Note>) {
    // SAFETY: by contract.
    unsafe { header_of(block).write(note.map_or([0; 2], Note::words)) }
}

#[inline(always)]
fn header_of(block: *mut u8) -> *mut [u64; 2] {
    block.wrapping_sub(HEADER).cast()
}
