//! Sampled mode: an allocation is counted, and one in so many bytes has its stack noted. Small blocks are slots, whose words say which
//! were sampled; others are the C library's. What is here is for slots. What is rare is a function of its own that is called
//! last, so that the common way through needs next to no registers.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::{Note, SlotState, SlotTag};
use crate::engine::alloc::slots::{self, Origin};
use crate::engine::alloc::system;
use crate::engine::alloc::system_untagged;
use crate::engine::alloc::thread_cache::resize;
use crate::engine::life::state;
use crate::engine::life::thread::{self, access, record, Access};
use crate::engine::record::both_modes::{count_failure, count_laneless, count_outside, dealloc_slot, free_while_shut};
use crate::engine::record::lane::Local;
use crate::engine::store::ledger_map;
use crate::engine::store::tracked::{self, Tracked};
use crate::engine::unwind::frame_pointer::{Bounds, Frame};
use crate::ledger::layout::Lane;
use crate::provenance::Address;
use std::alloc::Layout;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

/// The calling thread is ready, here and in the next three.
///
/// # Safety
/// The calling thread is ready: it has its own place in memory. The contract of `GlobalAlloc::alloc`: `size`, which
/// is not 0, and `align` are a layout's.
#[inline(never)]
pub(crate) unsafe fn alloc(size: usize, align: usize) -> *mut u8 {
    // SAFETY: it is.
    let (local, _) = unsafe { thread::local() };
    let Some(block) = slot(local, size, align) else {
        // SAFETY: the caller upholds `alloc`'s contract.
        return unsafe { system_untagged::alloc_at_once(size, align) };
    };
    // SAFETY: just taken.
    unsafe { allocated(block, size) }
}

/// # Safety
/// The calling thread is ready: it has its own place in memory. The contract of `GlobalAlloc::alloc_zeroed`: `size`,
/// which is not 0, and `align` are a layout's.
#[inline(never)]
pub(crate) unsafe fn alloc_zeroed(size: usize, align: usize) -> *mut u8 {
    // SAFETY: it is.
    let (local, _) = unsafe { thread::local() };
    let Some(block) = slot(local, size, align) else {
        // SAFETY: the caller upholds `alloc_zeroed`'s contract.
        return unsafe { system_untagged::alloc_zeroed_at_once(size, align) };
    };
    // SAFETY: just taken, with room for as many bytes.
    unsafe { block.write_bytes(0, size) };
    // SAFETY: just taken.
    unsafe { allocated(block, size) }
}

/// A slot for a block, if it is to be one and there is one.
#[inline(always)]
fn slot(local: &Local, size: usize, align: usize) -> Option<*mut u8> {
    if slots::are_for(size, align) {
        local.cache().take(size)
    } else {
        None
    }
}

/// Notes a new block, and gives it back.
///
/// # Safety
/// `block` is a slot, the caller's, and the thread is ready.
#[inline(always)]
unsafe fn allocated(block: *mut u8, size: usize) -> *mut u8 {
    // SAFETY: by contract.
    unsafe { SlotTag::unsampled(size).write(block) };
    // SAFETY: by contract.
    let record = unsafe { record() };
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
        record.new_peak();
    }
    if record.sample_is_due(record.clock()) {
        sample(block, size)
    } else {
        block
    }
}

/// Samples the block that was just counted.
#[cold]
#[inline(never)]
fn sample(block: *mut u8, size: usize) -> *mut u8 {
    let frame = Frame::here();
    let Access::Lane(local, bounds) = access() else { return block };
    // SAFETY: a slot, and still the caller's.
    unsafe { note_sample(local, bounds, frame, block, size, false, local.record.clock()) };
    block
}

/// Notes the stack of a block that was just counted, and is due: in front of it, or in the table where there is no room for this
/// lane or for its clock.
///
/// # Safety
/// `block` is a slot, and the caller's.
unsafe fn note_sample(
    local: &Local,
    bounds: Bounds,
    frame: Frame,
    block: *mut u8,
    size: usize,
    realloc: bool,
    clock: u64,
) {
    let Some(site) = local.sample(frame, bounds, size as u64, realloc, clock) else { return };
    let tag = match local.slot_tag(clock, Some(site)) {
        Some(tag) => tag,
        None if tracked::enter(block.address(), Tracked::Sampled(local.note(Some(site), clock))) => SlotTag::TRACKED,
        None => {
            ledger_map::header().untracked_samples.fetch_add(1, Relaxed);
            return;
        }
    };
    // SAFETY: by contract.
    unsafe { tag.write(block) };
}

/// # Safety
/// The calling thread is ready: it has its own place in memory. The contract of `GlobalAlloc::dealloc`: `block` is
/// one that the hook gave for `size` and `align`, and nobody uses it any more.
#[inline(never)]
pub(crate) unsafe fn dealloc(block: *mut u8, size: usize, align: usize) {
    if !slots::have(block) {
        // SAFETY: the caller upholds `dealloc`'s contract.
        return unsafe { system_untagged::dealloc_at_once(block, size, align) };
    }
    // SAFETY: it is a slot.
    if unsafe { SlotTag::read(block) } != SlotTag::unsampled(size) {
        // SAFETY: they are a layout's, which the caller of the hook passed.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        // SAFETY: the caller upholds `dealloc`'s contract.
        return unsafe { unready::dealloc(block, layout) };
    }
    // SAFETY: the thread is ready.
    let record = unsafe { record() };
    record.add_free(size as u64);
    if record.is_low() {
        // SAFETY: the caller upholds `dealloc`'s contract.
        return unsafe { dealloc_notable(block, size) };
    }
    // SAFETY: the thread is ready.
    let (local, _) = unsafe { thread::local() };
    // SAFETY: it is a slot, and its user is done with it.
    unsafe { local.cache().put(block, size) }
}

/// A free that was counted, and leaves a peak.
///
/// # Safety
/// The calling thread is ready: it has its own place in memory. `block` is a slot of `size` bytes that nobody uses
/// any more.
#[inline(never)]
unsafe fn dealloc_notable(block: *mut u8, size: usize) {
    // SAFETY: the thread is ready.
    unsafe { record() }.left_peak();
    // SAFETY: the thread is ready.
    let (local, _) = unsafe { thread::local() };
    // SAFETY: it is a slot, and its user is done with it.
    unsafe { local.cache().put(block, size) }
}

/// # Safety
/// The calling thread is ready: it has its own place in memory. The contract of `GlobalAlloc::realloc`: `block` is
/// one that the hook gave for `layout`, nobody uses it meanwhile, and `size` is not 0 and no more than a layout can
/// have.
#[inline(never)]
pub(crate) unsafe fn realloc(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    // SAFETY: the caller upholds `realloc`'s contract.
    unsafe { unready::realloc(block, layout, size) }
}

/// The slow way, for blocks that are no slots of this process or have been sampled, and for threads that are not ready.
pub(crate) mod unready {
    use super::*;

    /// # Safety
    /// The contract of `GlobalAlloc::realloc`: `block` is one that the hook gave for `layout`, nobody uses it
    /// meanwhile, and `size` is not 0 and no more than a layout can have.
    #[inline(never)]
    pub(crate) unsafe fn realloc(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match slots::origin(block) {
            // SAFETY: the caller upholds `realloc`'s contract.
            Origin::System => unsafe { system_untagged::realloc(block, layout, size) },
            // SAFETY: it is a slot; the caller upholds `realloc`'s contract.
            Origin::Own | Origin::Inherited => unsafe { realloc_slot(block, layout, size) },
        }
    }

    /// # Safety
    /// The contract of `GlobalAlloc::dealloc`: `block` is one that the hook gave for `layout`, and nobody uses it any
    /// more.
    #[inline(never)]
    pub(crate) unsafe fn dealloc(block: *mut u8, layout: Layout) {
        match slots::origin(block) {
            // SAFETY: the caller upholds `dealloc`'s contract.
            Origin::System => unsafe { system_untagged::dealloc(block, layout) },
            Origin::Own => {
                // SAFETY: it is a slot.
                let tag = unsafe { SlotTag::read(block) };
                tag.must_be_in_use();
                let note = note_of(tag, block);
                let size = layout_of(block, tag, note, layout).size();
                // SAFETY: it is a slot, and its user is done with it.
                unsafe { dealloc_slot(block, size, note, Local::cache_for_any) }
            }
            Origin::Inherited => {}
        }
    }
}

/// Takes back a slot that code outside of Rust gives back.
///
/// # Safety
/// `block` is a slot of this process, and nobody uses it any more.
#[cfg_attr(memprof_native, allow(dead_code))] // only C's `free` under the Rust hook gives such slots back
pub(crate) unsafe fn take_slot_of_unknown_size(block: *mut u8) {
    // SAFETY: it is a slot.
    let tag = unsafe { SlotTag::read(block) };
    tag.must_be_in_use();
    let note = note_of(tag, block);
    let size = size_of(tag, note).unwrap_or_else(|| slots::sizes_of(block).0);
    if state::is_open() {
        count_outside(size);
    }
    // SAFETY: it is a slot of that class, and its user is done with it.
    unsafe { dealloc_slot(block, size, note, Local::cache_for_any) }
}

/// How many bytes a block was asked for; `None` = its note is no more to be had.
fn size_of(tag: SlotTag, note: Option<Note>) -> Option<usize> {
    match tag.state() {
        SlotState::Unsampled(size) => Some(size),
        SlotState::Noted(_) | SlotState::Tracked => note.and_then(Note::size),
        SlotState::Free => None,
    }
}

/// The layout of a block, which its program says is this one: C minds no size, and compilers rely on it.
fn layout_of(block: *mut u8, tag: SlotTag, note: Option<Note>, said: Layout) -> Layout {
    let Some(size) = size_of(tag, note) else { return slots::layout_of(block, said) };
    Layout::from_size_align(size, said.align()).unwrap_or(said)
}

/// The note of a block that is about to be given back or moved; `None` = it was not sampled.
fn note_of(tag: SlotTag, block: *mut u8) -> Option<Note> {
    match tag.state() {
        SlotState::Noted(note) => Some(note),
        SlotState::Tracked => match tracked::take(block.address()) {
            Some(Tracked::Sampled(note)) => Some(note),
            Some(Tracked::Unsampled { .. } | Tracked::NotTheTests) | None => None,
        },
        SlotState::Free | SlotState::Unsampled(_) => None,
    }
}

/// # Safety
/// `block` is a slot, of this process or of one it was forked from. As for `GlobalAlloc::realloc`.
#[inline(never)]
unsafe fn realloc_slot(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    let (frame, access) = (Frame::here(), access());
    let own = slots::have(block);
    // SAFETY: by contract.
    let tag = unsafe { SlotTag::read(block) };
    tag.must_be_in_use();
    // Before the call: afterwards another thread may have the old place.
    let note = if own { note_of(tag, block) } else { None };
    let layout = layout_of(block, tag, note, layout);
    let cache = match access {
        Access::Lane(local, _) if slots::are_for(size, layout.align()) => Some(local.cache()),
        _ => None,
    };
    let elsewhere = || match Layout::from_size_align(size, layout.align()) {
        // SAFETY: the new size is `realloc`'s, and is not 0.
        Ok(layout) => unsafe { system::alloc(layout) },
        Err(_) => ptr::null_mut(),
    };
    // SAFETY: by contract.
    let moved = unsafe { resize(cache, block, layout, size, elsewhere) };
    if moved.is_null() {
        if let Some(note) = note.filter(|_| tag == SlotTag::TRACKED) {
            // It was there a moment ago, so there is room.
            tracked::enter(block.address(), Tracked::Sampled(note));
        }
        count_failure();
        return moved;
    }
    let freed = own.then_some(layout.size());
    match access {
        Access::Lane(local, bounds) => {
            let clock = system_untagged::count_realloc(local, note, freed, size);
            if !slots::have(moved) {
                system_untagged::own(moved, size);
                system_untagged::sample_if_due(local, bounds, frame, moved, size, true, clock);
                return moved;
            }
            // SAFETY: it is a slot.
            unsafe { SlotTag::unsampled(size).write(moved) };
            if local.record.sample_is_due(clock) {
                // SAFETY: it is a slot.
                unsafe { note_sample(local, bounds, frame, moved, size, true, clock) };
            }
        }
        Access::Laneless => {
            system_untagged::own(moved, size);
            count_laneless(Some(size), freed);
        }
        Access::Shut => {
            if own {
                free_while_shut(note, layout.size());
            }
            system_untagged::allocated_while_shut(moved, size);
        }
    }
    moved
}
