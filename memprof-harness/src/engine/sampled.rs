//! Sampled mode: blocks are the system's own; some are in the table of [`tracked`] blocks. What is rare is a function of its
//! own that is called last, so that the common way through needs next to no registers.

#![allow(unsafe_code)] // an allocator

use super::hook_rust::{count_failure, count_laneless, free_while_shut};
use super::thread::{Access, access, ready_to_sample, record};
use super::tracked::{self, Tracked};
use super::unwind::Frame;
use super::{arena, state};
use crate::ledger::layout::Lane;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::Ordering::Relaxed;

/// The alignment that `malloc` gives without being asked.
const USUAL_ALIGN: usize = 16;

/// The calling thread is ready, here and in the next two.
#[inline(never)]
pub(super) unsafe fn alloc(size: usize, align: usize) -> *mut u8 {
    if is_odd(size, align) {
        // SAFETY: they are a layout's, which the caller of the hook passed.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        // SAFETY: the caller upholds `alloc`'s contract.
        return unsafe { unready::alloc(layout) };
    }
    // SAFETY: has no preconditions. It is what `System` does for such a block.
    let block = unsafe { libc::malloc(size) }.cast();
    // SAFETY: the thread is ready.
    allocated(unsafe { record() }, block, size)
}

#[inline(never)]
pub(super) unsafe fn alloc_zeroed(size: usize, align: usize) -> *mut u8 {
    if is_odd(size, align) {
        // SAFETY: they are a layout's, which the caller of the hook passed.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        // SAFETY: the caller upholds `alloc_zeroed`'s contract.
        return unsafe { unready::alloc_zeroed(layout) };
    }
    // SAFETY: has no preconditions. It is what `System` does for such a block.
    let block = unsafe { libc::calloc(size, 1) }.cast();
    // SAFETY: the thread is ready.
    allocated(unsafe { record() }, block, size)
}

/// Whether `System` asks for such a block by more than plain `malloc`.
#[inline(always)]
fn is_odd(size: usize, align: usize) -> bool {
    align > size.min(USUAL_ALIGN)
}

/// The slow way: blocks with more alignment than usual, or than bytes, and threads that are not ready.
pub(super) mod unready {
    use super::*;

    #[inline(never)]
    pub(in super::super) unsafe fn alloc(layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc`'s contract.
        unusual(unsafe { System.alloc(layout) }, layout.size())
    }

    #[inline(never)]
    pub(in super::super) unsafe fn alloc_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc_zeroed`'s contract.
        unusual(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    pub(in super::super) unsafe fn dealloc(block: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds `dealloc`'s contract.
        unsafe { dealloc_tracked(block, layout.size(), layout.align()) }
    }
}

/// Notes a new block, and gives it back.
#[inline(always)]
fn allocated(record: &'static Lane, block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() {
        return unusual(block, size);
    }
    let clock = record.add_alloc(size as u64, size as i64);
    if record.is_high() || record.sample_is_due(clock) {
        return notable(record, block, size);
    }
    block
}

/// An allocation that was counted, and makes a new peak or is to be sampled, or both.
#[inline(never)]
fn notable(record: &'static Lane, block: *mut u8, size: usize) -> *mut u8 {
    if record.is_high() {
        record.rose();
    }
    if record.sample_is_due(record.clock()) { sample(block, size, false) } else { block }
}

/// Notes a new block of a thread that may not be ready, or an allocation that failed.
#[inline(never)]
fn unusual(block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() {
        count_failure();
        return block;
    }
    match access() {
        Access::Lane(local, _) => {
            let clock = local.record.count_alloc(size as u64, size as i64);
            if local.record.sample_is_due(clock) {
                return sample(block, size, false);
            }
        }
        Access::Laneless => count_laneless(Some(size), None),
        Access::Shut => allocated_while_shut(block),
    }
    block
}

/// Samples the block that was just counted.
#[cold]
#[inline(never)]
fn sample(block: *mut u8, size: usize, realloc: bool) -> *mut u8 {
    let frame = Frame::here();
    let Access::Lane(local, bounds) = access() else { return block };
    let clock = local.record.clock();
    local.set_next_sample(clock);
    let site = local.site_of(frame, bounds, size as u64);
    let note = local.charge(site, size as u64, realloc, clock);
    if site.is_some() && !tracked::enter(block.addr(), Tracked::Sampled(note)) {
        arena::header().untracked_samples.fetch_add(1, Relaxed);
    }
    block
}

/// A block that is not the test's: its free must not count. After the window nothing counts any more.
#[cold]
fn allocated_while_shut(block: *mut u8) {
    if !state::has_ended() && !tracked::enter(block.addr(), Tracked::Foreign) && arena::is_attached() {
        arena::header().untracked_foreign.fetch_add(1, Relaxed);
    }
}

/// The calling thread is ready.
#[inline(always)]
pub(super) unsafe fn dealloc(block: *mut u8, size: usize, align: usize) {
    if tracked::may_hold(block.addr()) {
        // SAFETY: the caller upholds `dealloc`'s contract.
        return unsafe { dealloc_tracked(block, size, align) };
    }
    // SAFETY: the thread is ready.
    let record = unsafe { record() };
    record.add_free(size as u64);
    if record.is_low() {
        // SAFETY: the caller upholds `dealloc`'s contract.
        return unsafe { dealloc_notable(block, size, align) };
    }
    // SAFETY: the caller upholds `dealloc`'s contract.
    unsafe { give_back(block, size, align) }
}

/// A free of a block that may be in the table.
#[cold]
#[inline(never)]
unsafe fn dealloc_tracked(block: *mut u8, size: usize, align: usize) {
    freed(known(block), size);
    // SAFETY: the caller upholds `dealloc`'s contract.
    unsafe { give_back(block, size, align) }
}

/// A free that was counted, and leaves a peak.
#[inline(never)]
unsafe fn dealloc_notable(block: *mut u8, size: usize, align: usize) {
    // SAFETY: the thread is ready.
    unsafe { record() }.fell();
    // SAFETY: the caller upholds `dealloc`'s contract.
    unsafe { give_back(block, size, align) }
}

/// # Safety
/// As for `GlobalAlloc::dealloc` with a layout of this size and alignment.
#[inline(always)]
unsafe fn give_back(block: *mut u8, size: usize, align: usize) {
    // SAFETY: they are a layout's, which the caller of the hook passed.
    let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
    // SAFETY: the caller upholds `dealloc`'s contract.
    unsafe { System.dealloc(block, layout) }
}

fn freed(known: Option<Tracked>, size: usize) {
    let note = match known {
        Some(Tracked::Foreign) => return,
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
fn known(block: *mut u8) -> Option<Tracked> {
    if tracked::may_hold(block.addr()) { tracked::take(block.addr()) } else { None }
}

/// Whether the calling thread is ready or not.
#[inline(never)]
pub(super) unsafe fn realloc(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
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
    if known.is_none()
        && let Some(record) = ready_to_sample()
    {
        let clock = record.count_realloc(size as u64, Some(layout.size() as u64));
        return if record.sample_is_due(clock) { sample(moved, size, true) } else { moved };
    }
    reallocated(known, moved, layout.size(), size)
}

/// A realloc of a block that was in the table, or by a thread that is not ready.
#[cold]
#[inline(never)]
fn reallocated(known: Option<Tracked>, moved: *mut u8, old_size: usize, size: usize) -> *mut u8 {
    match access() {
        Access::Lane(local, _) => {
            let note = match known {
                Some(Tracked::Sampled(note)) => local.owns(note).then_some(note),
                _ => None,
            };
            let ours = known.is_none() || note.is_some();
            let clock = local.record.count_realloc(size as u64, ours.then_some(old_size as u64));
            if let Some(note) = note {
                local.discharge(note, old_size as u64, clock.wrapping_sub(size as u64));
            }
            if local.record.sample_is_due(clock) {
                return sample(moved, size, true);
            }
        }
        Access::Laneless => {
            let ours = known != Some(Tracked::Foreign);
            count_laneless(Some(size), ours.then_some(old_size));
        }
        Access::Shut => {
            freed(known, old_size);
            allocated_while_shut(moved);
        }
    }
    moved
}
