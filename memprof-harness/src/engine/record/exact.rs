//! Exact mode: every allocation has its stack noted. Small blocks are slots, others have headers; what is here is for slots.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::{LaneTag, Note, SlotState, SlotTag};
use crate::engine::alloc::slots::{self, Origin};
use crate::engine::alloc::system_tagged;
use crate::engine::alloc::thread_cache::{resize, ThreadCache};
use crate::engine::life::state;
use crate::engine::life::thread::{self, Access};
use crate::engine::record::both_modes::{count_failure, count_laneless, count_outside, dealloc_slot, free_while_shut};
use crate::engine::record::lane::Local;
use crate::engine::unwind::frame_pointer::{in_frame, Bounds, Frame};
use std::alloc::Layout;

/// The calling thread is ready, here and in the next three.
///
/// # Safety
/// The calling thread is ready: it has its own place in memory. The contract of `GlobalAlloc::alloc`: `size`, which
/// is not 0, and `align` are a layout's.
#[inline(never)]
pub(crate) unsafe fn alloc(size: usize, align: usize) -> *mut u8 {
    // SAFETY: it is.
    let (local, bounds) = unsafe { thread::local() };
    if let Some((lane, block)) = slot(local, size, align) {
        // SAFETY: just taken.
        unsafe { note_alloc(local, lane, bounds, Frame::here(), block, size) };
        return block;
    }
    // SAFETY: they are a layout's, which the caller of the hook passed.
    let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
    // SAFETY: the caller upholds `alloc`'s contract.
    in_frame(|frame| unsafe { system_tagged::alloc(frame, layout) })
}

/// # Safety
/// The calling thread is ready: it has its own place in memory. The contract of `GlobalAlloc::alloc_zeroed`: `size`,
/// which is not 0, and `align` are a layout's.
#[inline(never)]
pub(crate) unsafe fn alloc_zeroed(size: usize, align: usize) -> *mut u8 {
    // SAFETY: it is.
    let (local, bounds) = unsafe { thread::local() };
    if let Some((lane, block)) = slot(local, size, align) {
        // SAFETY: just taken, with room for as many bytes.
        unsafe { block.write_bytes(0, size) };
        // SAFETY: just taken.
        unsafe { note_alloc(local, lane, bounds, Frame::here(), block, size) };
        return block;
    }
    // SAFETY: they are a layout's, which the caller of the hook passed.
    let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
    // SAFETY: the caller upholds `alloc_zeroed`'s contract.
    in_frame(|frame| unsafe { system_tagged::alloc_zeroed(frame, layout) })
}

/// # Safety
/// The calling thread is ready: it has its own place in memory. The contract of `GlobalAlloc::dealloc`: `block` is
/// one that the hook gave for `size` and `align`, and nobody uses it any more.
#[inline(never)]
pub(crate) unsafe fn dealloc(block: *mut u8, size: usize, align: usize) {
    if slots::have(block) && slots::is_for(block, size) {
        // SAFETY: it is ready.
        let (local, _) = unsafe { thread::local() };
        if let Some((lane, cache)) = local.noted_slots() {
            // SAFETY: it is a slot.
            let tag = unsafe { SlotTag::read(block) };
            let own = tag.is_of(lane);
            if !own {
                tag.must_be_in_use();
            }
            local.record.count_free(size as u64);
            if own {
                local.record_own_free(tag.site(), size as u64, local.record.clock().wrapping_sub(tag.birth()));
            } else {
                local.record_foreign_free(tag.site(), size as u64);
            }
            // SAFETY: it is a slot, and its user is done with it.
            return unsafe { cache.put(block, size) };
        }
    }
    // SAFETY: they are a layout's, which the caller of the hook passed.
    let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
    // SAFETY: the caller upholds `dealloc`'s contract.
    unsafe { unready::dealloc(block, layout) }
}

/// # Safety
/// The calling thread is ready: it has its own place in memory. The contract of `GlobalAlloc::realloc`: `block` is
/// one that the hook gave for `layout`, nobody uses it meanwhile, and `size` is not 0 and no more than a layout can
/// have.
#[inline(never)]
pub(crate) unsafe fn realloc(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    in_frame(|frame| {
        if slots::have(block) {
            // SAFETY: it is ready.
            let (local, bounds) = unsafe { thread::local() };
            // SAFETY: it is a slot; the caller upholds `realloc`'s contract.
            return unsafe { realloc_slot(Access::Lane(local, bounds), frame, block, layout, size) };
        }
        // SAFETY: the caller upholds `realloc`'s contract.
        unsafe { unready::realloc_in(frame, block, layout, size) }
    })
}

/// The slow way, for blocks that are no slots of this process, and for threads that are not ready.
pub(crate) mod unready {
    use super::*;

    /// # Safety
    /// The contract of `GlobalAlloc::alloc`: `layout` has a size, which is not 0.
    #[inline(never)]
    pub(crate) unsafe fn alloc(layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc`'s contract.
        in_frame(|frame| unsafe { system_tagged::alloc(frame, layout) })
    }

    /// # Safety
    /// The contract of `GlobalAlloc::alloc_zeroed`: `layout` has a size, which is not 0.
    #[inline(never)]
    pub(crate) unsafe fn alloc_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc_zeroed`'s contract.
        in_frame(|frame| unsafe { system_tagged::alloc_zeroed(frame, layout) })
    }

    /// # Safety
    /// The contract of `GlobalAlloc::realloc`: `block` is one that the hook gave for `layout`, nobody uses it
    /// meanwhile, and `size` is not 0 and no more than a layout can have.
    #[inline(never)]
    pub(crate) unsafe fn realloc(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller upholds `realloc`'s contract.
        in_frame(|frame| unsafe { realloc_in(frame, block, layout, size) })
    }

    /// # Safety
    /// The contract of `GlobalAlloc::realloc`: `block` is one that the hook gave for `layout`, nobody uses it
    /// meanwhile, and `size` is not 0 and no more than a layout can have.
    #[inline(never)]
    pub(crate) unsafe fn realloc_in(frame: Frame, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match slots::origin(block) {
            // SAFETY: the caller upholds `realloc`'s contract.
            Origin::System => unsafe { system_tagged::realloc(frame, block, layout, size) },
            // SAFETY: it is a slot; the caller upholds `realloc`'s contract.
            Origin::Own | Origin::Inherited => unsafe { realloc_slot(thread::access(), frame, block, layout, size) },
        }
    }

    /// # Safety
    /// The contract of `GlobalAlloc::dealloc`: `block` is one that the hook gave for `layout`, and nobody uses it any
    /// more.
    #[inline(never)]
    pub(crate) unsafe fn dealloc(block: *mut u8, layout: Layout) {
        match slots::origin(block) {
            // SAFETY: the caller upholds `dealloc`'s contract.
            Origin::System => unsafe { system_tagged::dealloc(block, layout) },
            // SAFETY: it is a slot of this process, that nobody uses.
            Origin::Own if !slots::is_for(block, layout.size()) => unsafe { take_slot_of_unknown_size(block) },
            Origin::Own => {
                // SAFETY: it is a slot.
                let tag = unsafe { SlotTag::read(block) };
                tag.must_be_in_use();
                // SAFETY: it is a slot, and its user is done with it.
                unsafe { dealloc_slot(block, layout.size(), note_of(tag), Local::cache_for_notes) }
            }
            Origin::Inherited => {}
        }
    }
}

/// Takes back a slot that code outside of Rust gives back, or Rust with a size that it was not asked for.
///
/// # Safety
/// `block` is a slot of this process, and nobody uses it any more.
pub(crate) unsafe fn take_slot_of_unknown_size(block: *mut u8) {
    // SAFETY: it is a slot.
    let tag = unsafe { SlotTag::read(block) };
    tag.must_be_in_use();
    let (size, _) = slots::sizes_of(block);
    if state::is_open() {
        count_outside(size);
    }
    // SAFETY: it is a slot of that class, and its user is done with it.
    unsafe { dealloc_slot(block, size, note_of(tag), Local::cache_for_notes) }
}

/// A slot for a block, if it is to be one and there is one; and what its note begins with.
#[inline(always)]
fn slot(local: &Local, size: usize, align: usize) -> Option<(LaneTag, *mut u8)> {
    let (lane, cache) = noted_slots(local, size, align)?;
    Some((lane, cache.take(size)?))
}

/// Where a block of such a layout may be taken from that is born now.
#[inline(always)]
fn noted_slots(local: &Local, size: usize, align: usize) -> Option<(LaneTag, &ThreadCache)> {
    let fits = slots::are_for_notes(size, align, local.record.clock());
    local.noted_slots().filter(|_| fits)
}

/// # Safety
/// `block` is a slot, and the caller's. The lane is `local`'s.
#[inline(always)]
unsafe fn note_alloc(local: &Local, lane: LaneTag, bounds: Bounds, frame: Frame, block: *mut u8, size: usize) {
    let clock = local.record.count_alloc(size as u64, size as i64);
    let site = local.site_of(frame, bounds, 0);
    local.record_alloc(site, size as u64, false);
    // SAFETY: by contract.
    unsafe { SlotTag::noted(lane, clock, site).write(block) };
}

/// In exact mode every block that is in use has its note.
fn note_of(tag: SlotTag) -> Option<Note> {
    match tag.state() {
        SlotState::Noted(note) => Some(note),
        SlotState::Free | SlotState::Unsampled(_) | SlotState::Tracked => None,
    }
}

/// # Safety
/// `block` is a slot, of this process or of one it was forked from. As for `GlobalAlloc::realloc`.
#[inline(always)]
unsafe fn realloc_slot(access: Access, frame: Frame, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    // SAFETY: by contract.
    let tag = unsafe { SlotTag::read(block) };
    tag.must_be_in_use();
    let own = slots::have(block);
    let layout = slots::layout_of(block, layout);
    let old_size = layout.size();
    let lane = match access {
        Access::Lane(local, _) => noted_slots(local, size, layout.align()),
        Access::Laneless | Access::Shut => None,
    };
    // SAFETY: the new size is `realloc`'s, and is not 0.
    let elsewhere = || unsafe { system_tagged::room(layout.align(), size) };
    // SAFETY: by contract.
    let moved = unsafe { resize(lane.map(|(_, cache)| cache), block, layout, size, elsewhere) };
    if moved.is_null() {
        count_failure();
        return moved;
    }
    let mut note = None;
    match access {
        Access::Lane(local, bounds) => {
            let clock = local.record.count_realloc(size as u64, own.then_some(old_size as u64));
            if own {
                // As with a free and an allocation, the old block dies before the new one adds to the clock.
                let mine = local.noted_slots().map(|(mine, _)| mine);
                record_free(local, mine, tag, old_size, clock.wrapping_sub(size as u64));
            }
            let site = local.site_of(frame, bounds, 0);
            local.record_alloc(site, size as u64, true);
            match lane {
                Some((lane, _)) if slots::have(moved) => {
                    // SAFETY: it is a slot.
                    unsafe { SlotTag::noted(lane, clock, site).write(moved) };
                    return moved;
                }
                _ => note = Some(local.note(site, clock)),
            }
        }
        Access::Laneless => count_laneless(Some(size), own.then_some(old_size)),
        Access::Shut if own => free_while_shut(note_of(tag), old_size),
        Access::Shut => {}
    }
    // SAFETY: only a lane with slots takes one, so it is what `room` gave.
    unsafe { system_tagged::write_note(moved, layout.align(), note) };
    moved
}

/// Takes a slot's block, freed at `clock`, off its site. `mine` is how the notes of the lane's own begin.
#[inline(always)]
fn record_free(local: &Local, mine: Option<LaneTag>, tag: SlotTag, size: usize, clock: u64) {
    match mine {
        Some(mine) if tag.is_of(mine) => {
            local.record_own_free(tag.site(), size as u64, clock.wrapping_sub(tag.birth()));
        }
        _ => local.record_foreign_free(tag.site(), size as u64),
    }
}
