//! Exact mode: every allocation has its stack noted. Small blocks are cells, others have headers; what is here is for cells.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::{set_word, word_of, Word};
use crate::engine::alloc::slots::{self, Origin};
use crate::engine::alloc::system_tagged;
use crate::engine::alloc::thread_cache::resize;
use crate::engine::hook::rust;
use crate::engine::hook::rust::{count_failure, count_laneless, free_while_shut};
use crate::engine::life::thread::{self, Access};
use crate::engine::record::lane::{Local, Note};
use crate::engine::unwind::frame_pointer::{in_frame, Bounds, Frame};
use std::alloc::Layout;

/// The calling thread is ready, here and in the next three.
#[inline(never)]
pub(crate) unsafe fn alloc(size: usize, align: usize) -> *mut u8 {
    // SAFETY: it is.
    let (local, bounds) = unsafe { thread::local() };
    if let Some(block) = local.cell(size, align) {
        // SAFETY: just taken.
        unsafe { note_alloc(local, bounds, Frame::here(), block, size) };
        return block;
    }
    // SAFETY: they are a layout's, which the caller of the hook passed.
    let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
    // SAFETY: the caller upholds `alloc`'s contract.
    in_frame(|frame| unsafe { system_tagged::alloc(frame, layout) })
}

#[inline(never)]
pub(crate) unsafe fn alloc_zeroed(size: usize, align: usize) -> *mut u8 {
    // SAFETY: it is.
    let (local, bounds) = unsafe { thread::local() };
    if let Some(block) = local.cell(size, align) {
        // SAFETY: just taken, with room for as many bytes.
        unsafe { block.write_bytes(0, size) };
        // SAFETY: just taken.
        unsafe { note_alloc(local, bounds, Frame::here(), block, size) };
        return block;
    }
    // SAFETY: they are a layout's, which the caller of the hook passed.
    let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
    // SAFETY: the caller upholds `alloc_zeroed`'s contract.
    in_frame(|frame| unsafe { system_tagged::alloc_zeroed(frame, layout) })
}

#[inline(never)]
pub(crate) unsafe fn dealloc(block: *mut u8, size: usize, align: usize) {
    if slots::have(block) {
        // SAFETY: it is ready.
        let (local, _) = unsafe { thread::local() };
        // SAFETY: it is a cell.
        let word = unsafe { word_of(block) };
        if !word.same_lane(local.word) {
            word.must_be_in_use();
        }
        local.record.count_free(size as u64);
        discharge(local, word, size, local.record.clock());
        // SAFETY: it is a cell, and its user is done with it.
        return unsafe { local.cells.put(block, size) };
    }
    // SAFETY: they are a layout's, which the caller of the hook passed.
    let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
    // SAFETY: the caller upholds `dealloc`'s contract.
    unsafe { unready::dealloc(block, layout) }
}

#[inline(never)]
pub(crate) unsafe fn realloc(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    in_frame(|frame| {
        if slots::have(block) {
            // SAFETY: it is ready.
            let (local, bounds) = unsafe { thread::local() };
            // SAFETY: it is a cell; the caller upholds `realloc`'s contract.
            return unsafe { realloc_cell(Access::Lane(local, bounds), frame, block, layout, size) };
        }
        // SAFETY: the caller upholds `realloc`'s contract.
        unsafe { unready::realloc_in(frame, block, layout, size) }
    })
}

/// The slow way, for blocks that are no cells of this process, and for threads that are not ready.
pub(crate) mod unready {
    use super::*;

    #[inline(never)]
    pub(crate) unsafe fn alloc(layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc`'s contract.
        in_frame(|frame| unsafe { system_tagged::alloc(frame, layout) })
    }

    #[inline(never)]
    pub(crate) unsafe fn alloc_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc_zeroed`'s contract.
        in_frame(|frame| unsafe { system_tagged::alloc_zeroed(frame, layout) })
    }

    #[inline(never)]
    pub(crate) unsafe fn realloc(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller upholds `realloc`'s contract.
        in_frame(|frame| unsafe { realloc_in(frame, block, layout, size) })
    }

    #[inline(never)]
    pub(crate) unsafe fn realloc_in(frame: Frame, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match slots::origin(block) {
            // SAFETY: the caller upholds `realloc`'s contract.
            Origin::System => unsafe { system_tagged::realloc(frame, block, layout, size) },
            // SAFETY: it is a cell; the caller upholds `realloc`'s contract.
            Origin::Own | Origin::Inherited => unsafe { realloc_cell(thread::access(), frame, block, layout, size) },
        }
    }

    #[inline(never)]
    pub(crate) unsafe fn dealloc(block: *mut u8, layout: Layout) {
        match slots::origin(block) {
            // SAFETY: the caller upholds `dealloc`'s contract.
            Origin::System => unsafe { system_tagged::dealloc(block, layout) },
            Origin::Own => {
                // SAFETY: it is a cell.
                let word = unsafe { word_of(block) };
                word.must_be_in_use();
                // SAFETY: it is a cell, and its user is done with it.
                unsafe { rust::dealloc_cell(block, layout.size(), Some(Note::of(word))) }
            }
            Origin::Inherited => {}
        }
    }
}

/// # Safety
/// `block` is a cell, and the caller's.
#[inline(always)]
unsafe fn note_alloc(local: &Local, bounds: Bounds, frame: Frame, block: *mut u8, size: usize) {
    let clock = local.record.count_alloc(size as u64, size as i64);
    let site = local.site_of(frame, bounds, 0);
    local.charge(site, size as u64, false);
    // SAFETY: by contract.
    unsafe { set_word(block, local.word.with(clock, site)) };
}

/// # Safety
/// `block` is a cell, of this process or of one it was forked from. As for `GlobalAlloc::realloc`.
#[inline(always)]
unsafe fn realloc_cell(access: Access, frame: Frame, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    let old_size = layout.size();
    let own = slots::have(block);
    // SAFETY: by contract.
    let word = unsafe { word_of(block) };
    word.must_be_in_use();
    let lane = if let Access::Lane(local, _) = access { Some((&local.cells, local.record.clock())) } else { None };
    // SAFETY: the new size is `realloc`'s, and is not 0.
    let elsewhere = || unsafe { system_tagged::room(layout.align(), size) };
    // SAFETY: by contract.
    let moved = unsafe { resize(lane, block, layout, size, elsewhere) };
    if moved.is_null() {
        count_failure();
        return moved;
    }
    let mut note = Note::NONE;
    match access {
        Access::Lane(local, bounds) => {
            let clock = local.record.count_realloc(size as u64, own.then_some(old_size as u64));
            if own {
                // As with a free and an allocation, the old block dies before the new one adds to the clock.
                discharge(local, word, old_size, clock.wrapping_sub(size as u64));
            }
            let site = local.site_of(frame, bounds, 0);
            local.charge(site, size as u64, true);
            if slots::have(moved) {
                // SAFETY: it is a cell.
                unsafe { set_word(moved, local.word.with(clock, site)) };
                return moved;
            }
            note = local.note(site, clock);
        }
        Access::Laneless => count_laneless(Some(size), own.then_some(old_size)),
        Access::Shut if own => free_while_shut(Some(Note::of(word)), old_size),
        Access::Shut => {}
    }
    // SAFETY: only a lane takes cells, so it is what `room` gave.
    unsafe { system_tagged::write_note(moved, note) };
    moved
}

/// Takes a cell's block, freed at `clock`, off its site.
#[inline(always)]
fn discharge(local: &Local, word: Word, size: usize, clock: u64) {
    if word.same_lane(local.word) {
        local.discharge_own(word.site(), size as u64, clock.wrapping_sub(word.birth()));
    } else {
        local.discharge_foreign(word.site(), size as u64);
    }
}
