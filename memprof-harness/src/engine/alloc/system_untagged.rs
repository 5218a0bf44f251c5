//! Sampled mode's blocks that are no slots: large ones, those with a large alignment, and those of threads that are not recorded. They
//! are the C library's own. The test's are known by their addresses: large ones are in the [`start_map`], with their notes where they were
//! sampled, smaller ones in the table of [`tracked`] blocks. Any other block that is given back was made by somebody else, and is not counted.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::Note;
use crate::engine::alloc::slots::{self, Origin};
use crate::engine::alloc::start_map::{self, Kept};
use crate::engine::alloc::system::{self, UsableSize};
use crate::engine::life::state;
use crate::engine::life::thread::{self, access, Access};
use crate::engine::record::both_modes::{count_failure, count_laneless, count_outside, free_while_shut};
use crate::engine::record::lane::Local;
use crate::engine::store::ledger_map;
use crate::engine::store::tracked::{self, Tracked};
use crate::engine::unwind::frame_pointer::{Bounds, Frame};
use crate::provenance::Address;
use std::alloc::Layout;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Set where there was no place for a small block that is no slot: one that is not known is then taken for the test's, and the ledger
/// says so.
static UNKNOWN_SMALL_ARE_OURS: AtomicBool = AtomicBool::new(false);

/// In a forked child, whose small blocks are all known.
pub(crate) fn forget_all() {
    UNKNOWN_SMALL_ARE_OURS.store(false, Relaxed);
}

/// Whose a block is that is about to be given back or moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The test's, with its note where it was sampled. That may be a process's which this one was forked from.
    Test(Option<Note>),
    /// From before the window, from a suspended thread, or not made here.
    Other,
}

/// # Safety
/// The contract of `GlobalAlloc::alloc`: `layout` has a size, which is not 0.
#[inline(never)]
pub(crate) unsafe fn alloc(layout: Layout) -> *mut u8 {
    // SAFETY: the caller upholds `alloc`'s contract.
    allocated(Frame::here(), unsafe { system::alloc(layout) }, layout.size(), access)
}

/// # Safety
/// The contract of `GlobalAlloc::alloc_zeroed`: `layout` has a size, which is not 0.
#[inline(never)]
pub(crate) unsafe fn alloc_zeroed(layout: Layout) -> *mut u8 {
    // SAFETY: the caller upholds `alloc_zeroed`'s contract.
    allocated(Frame::here(), unsafe { system::alloc_zeroed(layout) }, layout.size(), access)
}

/// # Safety
/// The calling thread is ready: it has its own place in memory. The contract of `GlobalAlloc::alloc`: `size`, which
/// is not 0, and `align` are a layout's.
#[inline(never)]
pub(crate) unsafe fn alloc_at_once(size: usize, align: usize) -> *mut u8 {
    // SAFETY: they are a layout's, which the caller of the hook passed.
    let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
    // SAFETY: the caller upholds `alloc`'s contract.
    let block = unsafe { system::alloc(layout) };
    // SAFETY: the thread is ready.
    allocated(Frame::here(), block, size, || unsafe { ready() })
}

/// # Safety
/// The calling thread is ready: it has its own place in memory. The contract of `GlobalAlloc::alloc_zeroed`: `size`,
/// which is not 0, and `align` are a layout's.
#[inline(never)]
pub(crate) unsafe fn alloc_zeroed_at_once(size: usize, align: usize) -> *mut u8 {
    // SAFETY: they are a layout's, which the caller of the hook passed.
    let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
    // SAFETY: the caller upholds `alloc_zeroed`'s contract.
    let block = unsafe { system::alloc_zeroed(layout) };
    // SAFETY: the thread is ready.
    allocated(Frame::here(), block, size, || unsafe { ready() })
}

/// What [`access`] says of a thread that is ready.
///
/// # Safety
/// The calling thread is ready.
#[inline(always)]
unsafe fn ready() -> Access {
    // SAFETY: by contract.
    let (local, bounds) = unsafe { thread::local() };
    Access::Lane(local, bounds)
}

#[inline(always)]
fn allocated(frame: Frame, block: *mut u8, size: usize, access: impl FnOnce() -> Access) -> *mut u8 {
    if block.is_null() {
        count_failure();
        return block;
    }
    match access() {
        Access::Lane(local, bounds) => {
            own(block, size);
            let clock = local.record.count_alloc(size as u64, size as i64);
            sample_if_due(local, bounds, frame, block, size, false, clock);
        }
        Access::Laneless => {
            own(block, size);
            count_laneless(Some(size), None);
        }
        Access::Shut => allocated_while_shut(block, size),
    }
    block
}

/// Has a new block known as the test's.
#[inline(always)]
pub(crate) fn own(block: *mut u8, size: usize) {
    if size >= start_map::LEAST {
        start_map::enter(block);
    } else if !UNKNOWN_SMALL_ARE_OURS.load(Relaxed)
        && !tracked::enter(block.address(), Tracked::Unsampled { generation: state::generation() })
    {
        UNKNOWN_SMALL_ARE_OURS.store(true, Relaxed);
        ledger_map::header().untracked_foreign.fetch_add(1, Relaxed);
    }
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
    if !keep_note(block, size, local.note(Some(site), clock)) {
        ledger_map::header().untracked_samples.fetch_add(1, Relaxed);
    }
}

/// Keeps the note of a block that is known as the test's. `false` where there is no room.
#[inline(always)]
fn keep_note(block: *mut u8, size: usize, note: Note) -> bool {
    size >= start_map::LEAST && start_map::keep_note(block, note)
        || tracked::enter(block.address(), Tracked::Sampled(note))
}

/// A block that is not the test's: its free must not count. After the window nothing counts any more.
#[cold]
pub(crate) fn allocated_while_shut(block: *mut u8, size: usize) {
    if state::has_ended() {
        return;
    }
    if size >= start_map::LEAST {
        // Should one have been here that went without a word.
        start_map::leave(block);
        if !start_map::is_incomplete() {
            return;
        }
    }
    if !tracked::enter(block.address(), Tracked::NotTheTests) && ledger_map::is_attached() {
        ledger_map::header().untracked_foreign.fetch_add(1, Relaxed);
    }
}

/// # Safety
/// The contract of `GlobalAlloc::dealloc`: `block` is one that the hook gave for `layout`, and nobody uses it any
/// more.
#[inline(never)]
pub(crate) unsafe fn dealloc(block: *mut u8, layout: Layout) {
    let owner = take_out(block, layout.size());
    // SAFETY: it is still live.
    freed(owner, unsafe { size_of_known(block, layout.size(), owner) }, access);
    // SAFETY: the caller upholds `dealloc`'s contract.
    unsafe { system::dealloc(block, layout) }
}

/// Gives back a block that is no slot of this process.
///
/// # Safety
/// The calling thread is ready: it has its own place in memory. The contract of `GlobalAlloc::dealloc`: `block` is
/// one that the hook gave for `size` and `align`, and nobody uses it any more.
#[inline(never)]
pub(crate) unsafe fn dealloc_at_once(block: *mut u8, size: usize, align: usize) {
    if !start_map::leave_without_note(block) {
        // SAFETY: the caller upholds `dealloc`'s contract.
        return unsafe { dealloc_noted(block, size, align) };
    }
    // SAFETY: it is still live.
    let known_size = unsafe { size_of_known(block, size, Owner::Test(None)) };
    // SAFETY: the thread is ready.
    unsafe { thread::record() }.count_free(known_size as u64);
    // SAFETY: they are a layout's, which the caller of the hook passed.
    let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
    // SAFETY: the caller upholds `dealloc`'s contract.
    unsafe { system::dealloc(block, layout) }
}

/// The same for a block that has a note, or of which the map does not know.
///
/// # Safety
/// As for [`dealloc_at_once`].
#[inline(never)]
unsafe fn dealloc_noted(block: *mut u8, size: usize, align: usize) {
    let Some(note) = start_map::leave_with_note(block) else {
        // SAFETY: the caller upholds `dealloc`'s contract.
        return unsafe { dealloc_by_origin(block, size, align) };
    };
    // SAFETY: it is still live.
    let known_size = unsafe { size_of_known(block, size, Owner::Test(Some(note))) };
    // SAFETY: the thread is ready.
    let (local, _) = unsafe { thread::local() };
    count_free_of_noted(local, note, known_size);
    // SAFETY: they are a layout's, which the caller of the hook passed.
    let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
    // SAFETY: the caller upholds `dealloc`'s contract.
    unsafe { system::dealloc(block, layout) }
}

/// The same for a block without a note beside the map.
///
/// # Safety
/// As for [`dealloc_at_once`].
#[cold]
#[inline(never)]
unsafe fn dealloc_by_origin(block: *mut u8, size: usize, align: usize) {
    if slots::origin(block) == Origin::Inherited {
        // A slot of its parent's, which stays as it is.
        return;
    }
    // SAFETY: they are a layout's, which the caller of the hook passed.
    let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
    let owner = take_out(block, size);
    // SAFETY: it is still live.
    let known_size = unsafe { size_of_known(block, size, owner) };
    // SAFETY: the thread is ready.
    freed(owner, known_size, || unsafe { ready() });
    // SAFETY: the caller upholds `dealloc`'s contract.
    unsafe { system::dealloc(block, layout) }
}

#[inline(always)]
fn freed(owner: Owner, size: usize, access: impl FnOnce() -> Access) {
    let Owner::Test(note) = owner else { return };
    match access() {
        Access::Lane(local, _) => match note {
            Some(note) => count_free_of_noted(local, note, size),
            None => local.record.count_free(size as u64),
        },
        Access::Laneless => count_laneless(None, Some(size)),
        Access::Shut => free_while_shut(note, size),
    }
}

#[inline(always)]
fn count_free_of_noted(local: &Local, note: Note, size: usize) {
    if local.owns(note) {
        local.record.count_free(size as u64);
        local.record_free(note, size as u64, local.record.clock());
    }
}

/// How many bytes a block was asked for, of which its program says that they were `requested`: where that cannot be, and its site does not
/// tell, the fewest that it may be.
///
/// # Safety
/// The block is live, and C's where it is the test's.
#[inline(always)]
unsafe fn size_of_known(block: *mut u8, requested: usize, owner: Owner) -> usize {
    let Owner::Test(note) = owner else { return requested };
    // SAFETY: by contract.
    if unsafe { system::may_have(block, requested) } {
        return requested;
    }
    // SAFETY: by contract.
    let size = note.and_then(Note::size).unwrap_or_else(|| unsafe { system::fewest_of(block) });
    if state::is_open() && note.map_or(true, Note::is_of_this_process) {
        count_outside(size);
    }
    size
}

/// Takes a block of `size` bytes out of wherever it is known.
#[inline(always)]
fn take_out(block: *mut u8, size: usize) -> Owner {
    // Whatever size is said: programs may give a block back with another than it was asked for.
    let (is_in_map, known) = take_known(block);
    match known {
        Some(Tracked::Sampled(note)) => Owner::Test(Some(note)),
        Some(Tracked::Unsampled { generation }) if generation == state::generation() => Owner::Test(None),
        Some(Tracked::Unsampled { .. } | Tracked::NotTheTests) => Owner::Other,
        None if is_in_map => Owner::Test(None),
        None if size >= start_map::LEAST && start_map::is_incomplete() => Owner::Test(None),
        None if size < start_map::LEAST && UNKNOWN_SMALL_ARE_OURS.load(Relaxed) => Owner::Test(None),
        None => Owner::Other,
    }
}

/// Takes a block out: whether it was in the map, and what else is known of it.
#[inline(always)]
fn take_known(block: *mut u8) -> (bool, Option<Tracked>) {
    match start_map::leave(block) {
        Some(Kept::Nothing) => (true, None),
        Some(Kept::Note(note)) => (true, Some(Tracked::Sampled(note))),
        Some(Kept::Elsewhere) => (true, tracked::take(block.address())),
        None if tracked::may_hold(block.address()) => (false, tracked::take(block.address())),
        None => (false, None),
    }
}

/// What is known of a block that code outside of Rust gives back or moves.
pub(crate) struct FromOutside {
    block: *mut u8,
    is_in_map: bool,
    tracked: Option<Tracked>,
    /// The fewest bytes that it may have been asked for.
    size: usize,
}

/// Takes a block of any size out of wherever it is known. It is C's own, and may be one of whom
/// nothing is known. `usable_size` is C's.
pub(crate) fn take_from_outside(block: *mut u8, usable_size: UsableSize) -> FromOutside {
    let (is_in_map, tracked) = take_known(block);
    let known = match tracked {
        Some(Tracked::Sampled(note)) => note.size(),
        Some(Tracked::NotTheTests) | None if !is_in_map => Some(0),
        _ => None,
    };
    let size = known.unwrap_or_else(|| {
        // SAFETY: it is a live block of C's.
        let usable = unsafe { usable_size(block.cast()) };
        // SAFETY: as above.
        unsafe { system::fewest_bytes(block, usable) }.max(if is_in_map { start_map::LEAST } else { 1 })
    });
    FromOutside { block, is_in_map, tracked, size }
}

impl FromOutside {
    /// The block was given back, or is C's from here on.
    pub(crate) fn count(self) {
        let note = match self.tracked {
            Some(Tracked::Sampled(note)) if note.is_of_this_process() => Some(note),
            Some(Tracked::Unsampled { generation }) if generation == state::generation() => None,
            None if self.is_in_map => None,
            Some(_) | None => return,
        };
        if state::is_open() {
            count_outside(self.size);
            freed(Owner::Test(note), self.size, access);
        }
    }

    /// It is still there, and still Rust's. There was room for it a moment ago.
    pub(crate) fn put_back(self) {
        if self.is_in_map {
            start_map::enter(self.block);
        }
        match self.tracked {
            Some(Tracked::Sampled(note)) if self.is_in_map => _ = keep_note(self.block, start_map::LEAST, note),
            Some(tracked) => _ = tracked::enter(self.block.address(), tracked),
            None => {}
        }
    }
}

/// A block that could not be moved after all is known again.
#[cold]
fn put_in(block: *mut u8, size: usize, owner: Owner) {
    match owner {
        // It was there a moment ago, so there is room, here and below.
        Owner::Test(Some(note)) => {
            own(block, size);
            keep_note(block, size, note);
        }
        Owner::Test(None) => own(block, size),
        Owner::Other => _ = tracked::enter(block.address(), Tracked::NotTheTests),
    }
}

/// # Safety
/// The contract of `GlobalAlloc::realloc`: `block` is one that the hook gave for `layout`, nobody uses it meanwhile,
/// and `size` is not 0 and no more than a layout can have.
#[inline(never)]
pub(crate) unsafe fn realloc(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    let frame = Frame::here();
    // Before the call: afterwards another thread may have the old address.
    let owner = take_out(block, layout.size());
    // SAFETY: it is still live.
    let old_size = unsafe { size_of_known(block, layout.size(), owner) };
    // SAFETY: the caller upholds `realloc`'s contract.
    let moved = unsafe { system::realloc(block, layout, size) };
    if moved.is_null() {
        put_in(block, old_size, owner);
        count_failure();
        return moved;
    }
    match access() {
        Access::Lane(local, bounds) => {
            own(moved, size);
            let (note, freed) = match owner {
                Owner::Test(Some(note)) if local.owns(note) => (Some(note), Some(old_size)),
                Owner::Test(None) => (None, Some(old_size)),
                Owner::Test(Some(_)) | Owner::Other => (None, None),
            };
            let clock = count_realloc(local, note, freed, size);
            sample_if_due(local, bounds, frame, moved, size, true, clock);
        }
        Access::Laneless => {
            own(moved, size);
            count_laneless(Some(size), (owner != Owner::Other).then_some(old_size));
        }
        Access::Shut => {
            freed(owner, old_size, access);
            allocated_while_shut(moved, size);
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
        local.record_free(note, freed as u64, clock.wrapping_sub(size as u64));
    }
    clock
}
