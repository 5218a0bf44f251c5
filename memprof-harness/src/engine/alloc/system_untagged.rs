//! Sampled mode's blocks that are no slots: large ones, those with a large alignment, and those of threads that are not recorded. They
//! are the C library's own, and some are in the table of [`tracked`] blocks.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::Note;
use crate::engine::hook::rust::{count_failure, count_laneless, free_while_shut};
use crate::engine::life::state;
use crate::engine::life::thread::{access, Access};
use crate::engine::record::lane::Local;
use crate::engine::store::ledger_map;
use crate::engine::store::tracked::{self, Tracked};
use crate::engine::unwind::frame_pointer::{Bounds, Frame};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::Ordering::Relaxed;

#[inline(never)]
pub(crate) unsafe fn alloc(layout: Layout) -> *mut u8 {
    // SAFETY: the caller upholds `alloc`'s contract.
    allocated(Frame::here(), unsafe { System.alloc(layout) }, layout.size())
}

#[inline(never)]
pub(crate) unsafe fn alloc_zeroed(layout: Layout) -> *mut u8 {
    // SAFETY: the caller upholds `alloc_zeroed`'s contract.
    allocated(Frame::here(), unsafe { System.alloc_zeroed(layout) }, layout.size())
}

#[inline(always)]
fn allocated(frame: Frame, block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() {
        count_failure();
        return block;
    }
    match access() {
        Access::Lane(local, bounds) => {
            let clock = local.record.count_alloc(size as u64, size as i64);
            sample_if_due(local, bounds, frame, block, size, false, clock);
        }
        Access::Laneless => count_laneless(Some(size), None),
        Access::Shut => allocated_while_shut(block),
    }
    block
}

/// A block that was just counted.
#[inline(always)]
pub(crate) fn sample_if_due(
    local: &Local,
    bounds: Bounds,
    frame: Frame,
    block: *mut u8,
    size: usize,
    realloc: bool,
    clock: u64,
) {
    if !local.record.sample_is_due(clock) {
        return;
    }
    let Some(site) = local.sample(frame, bounds, size as u64, realloc, clock) else { return };
    if !tracked::enter(block.addr(), Tracked::Sampled(local.note(Some(site), clock))) {
        ledger_map::header().untracked_samples.fetch_add(1, Relaxed);
    }
}

/// A block that is not the test's: its free must not count. After the window nothing counts any more.
#[cold]
pub(crate) fn allocated_while_shut(block: *mut u8) {
    if !state::has_ended() && !tracked::enter(block.addr(), Tracked::NotTheTests) && ledger_map::is_attached() {
        ledger_map::header().untracked_foreign.fetch_add(1, Relaxed);
    }
}

#[inline(never)]
pub(crate) unsafe fn dealloc(block: *mut u8, layout: Layout) {
    freed(known(block), layout.size());
    // SAFETY: the caller upholds `dealloc`'s contract.
    unsafe { System.dealloc(block, layout) }
}

#[inline(always)]
fn freed(known: Option<Tracked>, size: usize) {
    let note = match known {
        Some(Tracked::NotTheTests) => return,
        Some(Tracked::Sampled(note)) => Some(note),
        None => None,
    };
    match access() {
        Access::Lane(local, _) => {
            if note.is_some_and(|note| !local.owns(note)) {
                return;
            }
            local.record.count_free(size as u64);
            if let Some(note) = note {
                local.discharge(note, size as u64, local.record.clock());
            }
        }
        Access::Laneless => count_laneless(None, Some(size)),
        Access::Shut => free_while_shut(note, size),
    }
}

/// Takes the block out of the table, if it is there.
#[inline(always)]
fn known(block: *mut u8) -> Option<Tracked> {
    if tracked::may_hold(block.addr()) {
        tracked::take(block.addr())
    } else {
        None
    }
}

#[inline(never)]
pub(crate) unsafe fn realloc(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    let frame = Frame::here();
    // Before the call: afterwards another thread may have the old address.
    let known = known(block);
    // SAFETY: the caller upholds `realloc`'s contract.
    let moved = unsafe { System.realloc(block, layout, size) };
    if moved.is_null() {
        if let Some(known) = known {
            // It was there a moment ago, so there is room.
            tracked::enter(block.addr(), known);
        }
        count_failure();
        return moved;
    }
    match access() {
        Access::Lane(local, bounds) => {
            let note = match known {
                Some(Tracked::Sampled(note)) => local.owns(note).then_some(note),
                _ => None,
            };
            let ours = known.is_none() || note.is_some();
            let clock = count_realloc(local, note, ours.then_some(layout.size()), size);
            sample_if_due(local, bounds, frame, moved, size, true, clock);
        }
        Access::Laneless => {
            let ours = known != Some(Tracked::NotTheTests);
            count_laneless(Some(size), ours.then_some(layout.size()));
        }
        Access::Shut => {
            freed(known, layout.size());
            allocated_while_shut(moved);
        }
    }
    moved
}

/// Counts a realloc, and a free of `freed` bytes with it. Gives the clock after it.
#[inline(always)]
pub(crate) fn count_realloc(local: &Local, note: Option<Note>, freed: Option<usize>, size: usize) -> u64 {
    let clock = local.record.count_realloc(size as u64, freed.map(|freed| freed as u64));
    if let (Some(note), Some(freed)) = (note, freed) {
        // As with a free and an allocation, the old block dies before the new one adds to the clock.
        local.discharge(note, freed as u64, clock.wrapping_sub(size as u64));
    }
    clock
}
