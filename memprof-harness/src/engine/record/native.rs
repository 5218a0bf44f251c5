//! What is noted of the C library's blocks, at every rate. Their sizes are known from the table of [`blocks`] alone, so in
//! sampled mode too every block is in it, most of them without a stack.

use crate::engine::alloc::block_tag::Note;
use crate::engine::hook::observer;
#[cfg(memprof_program)]
use crate::engine::life::frames;
use crate::engine::life::loader;
use crate::engine::life::own_allocator;
use crate::engine::life::process;
#[cfg(memprof_program)]
use crate::engine::life::state::ENDED;
use crate::engine::life::state::{self, Mode, FORKED, OPEN, PROBED};
use crate::engine::life::thread::{access, Access};
use crate::engine::record::both_modes::{count_failure, count_laneless, free_while_shut};
use crate::engine::record::lane::Local;
use crate::engine::store::blocks::{self, Block, Entered};
use crate::engine::store::ledger_map;
use crate::engine::unwind::frame_pointer::{Bounds, Frame};
use crate::provenance;
use std::sync::atomic::Ordering::Relaxed;

/// Whether anything is to be noted at all. Touches no thread-local: the loader allocates before there are any.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    let flags = state::flags();
    flags & (OPEN | FORKED | PROBED) != 0 || state::are_wiped(flags) || is_watching(flags)
}

/// Whether an event may open the window: where that is a frame of the test's stack.
#[inline(always)]
fn is_watching(flags: u32) -> bool {
    #[cfg(memprof_program)]
    return flags & ENDED == 0 && frames::is_watching();
    #[cfg(not(memprof_program))]
    {
        let _ = flags;
        false
    }
}

/// The C library gave a block of `size` bytes to the function that `frame` returns to; 0 = it gave none.
#[inline(never)]
pub(crate) fn allocated(frame: Frame, address: usize, size: usize) {
    if state::flags() & PROBED != 0 {
        return own_allocator::saw(address, size);
    }
    if loader::calls(frame) {
        return;
    }
    if address == 0 {
        return count_failure();
    }
    match access() {
        Access::Lane(local, bounds) => {
            let clock = local.record.count_alloc(size as u64, size as i64);
            enter(local, address, Block { size: size as u64, note: note(local, bounds, frame, size, clock, false) });
        }
        Access::Laneless => count_laneless(Some(size), None),
        Access::Shut => {}
    }
    observer::allocated(provenance::without_provenance_mut(address), size);
}

/// The block at `address` is about to be freed.
#[inline(never)]
pub(crate) fn freeing(address: usize) {
    process::notice_fork();
    let Some(block) = blocks::take(address) else { return };
    observer::freed(provenance::without_provenance_mut(address), block.size as usize);
    match access() {
        Access::Lane(local, _) => count_free(local, block),
        Access::Laneless => count_laneless(None, Some(block.size as usize)),
        Access::Shut => free_while_shut(block.note, block.size as usize),
    }
}

/// The block at `address` is about to be moved: what [`reallocated`] or [`not_reallocated`] must be told.
pub(crate) fn reallocating(address: usize) -> Option<Block> {
    process::notice_fork();
    blocks::take(address)
}

/// The block that was `old`, if it was the test's, is now at `address` and `size` bytes long.
#[inline(never)]
pub(crate) fn reallocated(frame: Frame, old: Option<Block>, address: usize, size: usize) {
    if state::flags() & PROBED != 0 {
        return own_allocator::saw(address, size);
    }
    match access() {
        Access::Lane(local, bounds) => {
            let clock = local.record.count_realloc(size as u64, old.map(|old| old.size));
            if let Some(Block { size: old_size, note: Some(note) }) = old {
                // As with a free and an allocation, the old block dies before the new one adds to the clock.
                local.record_free(note, old_size, clock.wrapping_sub(size as u64));
            }
            enter(local, address, Block { size: size as u64, note: note(local, bounds, frame, size, clock, true) });
        }
        Access::Laneless => count_laneless(Some(size), old.map(|old| old.size as usize)),
        Access::Shut => {
            if let Some(old) = old {
                free_while_shut(old.note, old.size as usize);
            }
        }
    }
}

/// The block at `address` could not be moved and is as it was.
#[cold]
pub(crate) fn not_reallocated(old: Option<Block>, address: usize) {
    if let Some(old) = old {
        // It was there a moment ago, so there is room.
        blocks::enter(address, old);
    }
    if state::flags() & PROBED == 0 {
        count_failure();
    }
}

/// Where the stack of an allocation that was just counted is to be noted, notes it.
#[inline(always)]
fn note(local: &Local, bounds: Bounds, frame: Frame, size: usize, clock: u64, realloc: bool) -> Option<Note> {
    if state::mode() == Some(Mode::Exact) {
        let site = local.site_of(frame, bounds, 0);
        local.record_alloc(site, size as u64, realloc);
        return Some(local.note(site, clock));
    }
    if !local.record.sample_is_due(clock) {
        return None;
    }
    let site = local.sample(frame, bounds, size as u64, realloc, clock);
    site.is_some().then(|| local.note(site, clock))
}

#[inline(always)]
fn enter(local: &Local, address: usize, block: Block) {
    match blocks::enter(address, block) {
        Entered::New => {}
        Entered::InPlaceOf(stale) => count_free(local, stale),
        Entered::NoRoom => _ = ledger_map::header().untracked_samples.fetch_add(1, Relaxed),
    }
}

#[inline(always)]
fn count_free(local: &Local, block: Block) {
    local.record.count_free(block.size);
    if let Some(note) = block.note {
        local.record_free(note, block.size, local.record.clock());
    }
}
