//! Events that exact and sampled mode note in one way: the free of a slot, and events of threads that have no lane or
//! are suspended, and of code that is not Rust's.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::Note;
use crate::engine::alloc::slots;
use crate::engine::alloc::thread_cache::ThreadCache;
use crate::engine::life::state;
use crate::engine::life::thread::{access, own_lane, Access};
use crate::engine::record::lane::Local;
use crate::engine::store::ledger_map;
use std::sync::atomic::Ordering::Relaxed;

/// Totals of a thread that got no lane.
#[cold]
pub(crate) fn count_laneless(allocated: Option<usize>, freed: Option<usize>) {
    let header = ledger_map::header();
    if let Some(size) = allocated {
        header.laneless_objects.fetch_add(1, Relaxed);
        header.laneless_space.fetch_add(size as u64, Relaxed);
    }
    if let Some(size) = freed {
        header.laneless_frees.fetch_add(1, Relaxed);
        header.laneless_freed_space.fetch_add(size as u64, Relaxed);
    }
}

#[cold]
pub(crate) fn count_failure() {
    if let Access::Lane(local, _) = access() {
        local.record.count_failure();
    }
}

/// A suspended thread frees a block of the test's: that much is recorded even then. `note` is `None` where the block
/// is not known to any site.
#[cold]
#[inline(never)]
pub(crate) fn free_while_shut(note: Option<Note>, size: usize) {
    if !state::is_open() {
        return;
    }
    let Some(local) = own_lane() else { return count_laneless(None, Some(size)) };
    if note.is_some_and(|note| !local.owns(note)) {
        return;
    }
    local.record.count_free(size as u64);
    if let Some(note) = note {
        local.record_free(note, size as u64, local.record.clock());
    }
}

/// Code outside of Rust gives back a block of the test's of so many bytes at least: the free is
/// counted besides.
#[cold]
pub(crate) fn count_outside(size: usize) {
    let header = ledger_map::header();
    header.outside_frees.fetch_add(1, Relaxed);
    header.outside_freed_space.fetch_add(size as u64, Relaxed);
}

/// A free of a slot, whether the thread is ready or not. `note` is `None` where its stack was not noted. `cache` chooses the free
/// slots of a lane that has some.
///
/// # Safety
/// `block` is a slot of this process for blocks of `size` bytes, and nobody uses it any more.
#[inline(always)]
pub(crate) unsafe fn dealloc_slot(
    block: *mut u8,
    size: usize,
    note: Option<Note>,
    cache: fn(&Local) -> Option<&ThreadCache>,
) {
    match access() {
        Access::Lane(local, _) => {
            local.record.count_free(size as u64);
            if let Some(note) = note {
                local.record_free(note, size as u64, local.record.clock());
            }
            if let Some(cache) = cache(local) {
                // SAFETY: by contract.
                return unsafe { cache.put(block, size) };
            }
        }
        Access::Laneless => count_laneless(None, Some(size)),
        Access::Shut => free_while_shut(note, size),
    }
    // SAFETY: by contract.
    unsafe { slots::put_back(block, size) };
}
