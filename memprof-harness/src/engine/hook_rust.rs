//! The hook behind Rust's `#[global_allocator]`: passes every call on to the system's allocator and notes it.
//!
//! In exact mode each block is preceded by a header that says which site it belongs to and when it was born, so a free
//! finds its site without a look-up. In sampled mode blocks are the system's own.

#![allow(unsafe_code)] // an allocator

use super::arena;
use super::lane::{Note, Tag};
use super::state::{self, ENDED, Mode, OPEN, State};
use super::thread::{Access, access};
use super::tracked::{self, Tracked};
use super::unwind::Frame;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

/// The global allocator.
pub struct Hook;

// SAFETY: blocks come from `System` and go back to it with the layout they were made with; what is noted besides
// never touches a block's bytes, and its header lies in front of them, inside the system's block.
unsafe impl GlobalAlloc for Hook {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match decided() {
            Mode::Exact => exact::alloc(Frame::here(), layout, |inner| {
                // SAFETY: `inner` is `layout` with room for a header, so its size is not zero.
                unsafe { System.alloc(inner) }
            }),
            Mode::Sampled => {
                // SAFETY: the caller upholds `alloc`'s contract.
                let block = unsafe { System.alloc(layout) };
                sampled::allocated(Frame::here(), block, layout.size());
                block
            }
            // SAFETY: the caller upholds `alloc`'s contract.
            Mode::Plain => unsafe { System.alloc(layout) },
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match decided() {
            Mode::Exact => exact::alloc(Frame::here(), layout, |inner| {
                // SAFETY: `inner` is `layout` with room for a header, so its size is not zero.
                unsafe { System.alloc_zeroed(inner) }
            }),
            Mode::Sampled => {
                // SAFETY: the caller upholds `alloc_zeroed`'s contract.
                let block = unsafe { System.alloc_zeroed(layout) };
                sampled::allocated(Frame::here(), block, layout.size());
                block
            }
            // SAFETY: the caller upholds `alloc_zeroed`'s contract.
            Mode::Plain => unsafe { System.alloc_zeroed(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match decided() {
            // SAFETY: the caller upholds `dealloc`'s contract, and in exact mode every block has a header.
            Mode::Exact => unsafe { exact::dealloc(block, layout) },
            Mode::Sampled => {
                sampled::freed(block, layout.size());
                // SAFETY: the caller upholds `dealloc`'s contract.
                unsafe { System.dealloc(block, layout) }
            }
            // SAFETY: the caller upholds `dealloc`'s contract.
            Mode::Plain => unsafe { System.dealloc(block, layout) },
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match decided() {
            // SAFETY: the caller upholds `realloc`'s contract, and in exact mode every block has a header.
            Mode::Exact => unsafe { exact::realloc(Frame::here(), block, layout, size) },
            // SAFETY: the caller upholds `realloc`'s contract.
            Mode::Sampled => unsafe { sampled::realloc(Frame::here(), block, layout, size) },
            // SAFETY: the caller upholds `realloc`'s contract.
            Mode::Plain => unsafe { System.realloc(block, layout, size) },
        }
    }
}

#[inline(always)]
fn decided() -> Mode {
    match state::mode() {
        Some(mode) => mode,
        None => decide(),
    }
}

/// The first allocation of the process. The environment is read as C has it: std would allocate.
#[cold]
fn decide() -> Mode {
    // SAFETY: a C string; nothing changes the environment before the first allocation of the process.
    let child = unsafe { libc::getenv(c"MEMPROF_CHILD".as_ptr()) };
    if child.is_null() {
        return state::decide(Mode::Plain);
    }
    // SAFETY: as above.
    let rate = unsafe { libc::getenv(c"MEMPROF_RATE".as_ptr()) };
    // SAFETY: where it is not null it is a C string, whose first byte can always be read.
    let exact = !rate.is_null() && unsafe { libc::strcmp(rate, c"1".as_ptr()) } == 0;
    state::decide(if exact { Mode::Exact } else { Mode::Sampled })
}

/// Totals of a thread that got no lane.
#[cold]
fn count_laneless(allocated: Option<usize>, freed: Option<usize>) {
    let header = arena::header();
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
fn count_failure() {
    if let Access::Lane(local, _) = access() {
        local.count_failure();
    }
}

/// Every block has a header.
mod exact {
    use super::*;

    /// A header is a [`Note`]'s two words right in front of the block; with a larger alignment, unused bytes come first.
    const HEADER: usize = 16;

    /// The system's block for a block of `layout`: room in front that keeps the alignment.
    #[inline(always)]
    fn with_header(layout: Layout, size: usize) -> Option<(Layout, usize)> {
        let front = layout.align().max(HEADER);
        let inner = Layout::from_size_align(size.checked_add(front)?, front).ok()?;
        Some((inner, front))
    }

    #[inline(always)]
    pub(super) fn alloc(frame: Frame, layout: Layout, get: impl FnOnce(Layout) -> *mut u8) -> *mut u8 {
        let Some((inner, front)) = with_header(layout, layout.size()) else {
            count_failure();
            return ptr::null_mut();
        };
        let start = get(inner);
        if start.is_null() {
            count_failure();
            return start;
        }
        let note = note_alloc(frame, layout.size());
        let block = start.wrapping_add(front);
        // SAFETY: at least 16 bytes lie between `start` and `block`, aligned for two words.
        unsafe { write_note(block, note) };
        block
    }

    #[inline(always)]
    pub(super) unsafe fn dealloc(block: *mut u8, layout: Layout) {
        // SAFETY: by contract the block has a header.
        let note = unsafe { read_note(block) };
        if note.tag != Tag::NONE {
            note_free(note, layout.size());
        }
        let front = layout.align().max(HEADER);
        // SAFETY: `with_header` made this very layout when the block was allocated, so it is valid.
        let inner = unsafe { Layout::from_size_align_unchecked(layout.size() + front, front) };
        // SAFETY: the system's block began `front` bytes before, with that layout.
        unsafe { System.dealloc(block.wrapping_sub(front), inner) }
    }

    #[inline(always)]
    pub(super) unsafe fn realloc(frame: Frame, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (Some((old, front)), Some(_)) = (with_header(layout, layout.size()), with_header(layout, size)) else {
            count_failure();
            return ptr::null_mut();
        };
        // SAFETY: by contract the block has a header.
        let note = unsafe { read_note(block) };
        let start = block.wrapping_sub(front);
        // SAFETY: the system's block began there and `old` is its layout; `with_header` checked the new size.
        let start = unsafe { System.realloc(start, old, size + front) };
        if start.is_null() {
            count_failure();
            return start;
        }
        let note = note_realloc(frame, note, layout.size(), size);
        let block = start.wrapping_add(front);
        // SAFETY: as in `alloc`.
        unsafe { write_note(block, note) };
        block
    }

    #[inline(always)]
    fn note_alloc(frame: Frame, size: usize) -> Note {
        match access() {
            Access::Lane(local, bounds) => {
                let clock = local.count_alloc(size as u64);
                local.track(size as i64);
                let site = local.site_of(frame, bounds, 0);
                local.charge(site, size as u64, false, clock)
            }
            Access::Laneless => {
                count_laneless(Some(size), None);
                NO_NOTE
            }
            Access::Shut => NO_NOTE,
        }
    }

    #[inline(always)]
    fn note_free(note: Note, size: usize) {
        match access() {
            Access::Lane(local, _) => {
                local.count_free();
                local.track(-(size as i64));
                local.discharge(note, size as u64);
            }
            Access::Laneless => count_laneless(None, Some(size)),
            Access::Shut => free_while_shut(note, size),
        }
    }

    /// A suspended thread frees a block of the test's: that much is recorded even then.
    #[cold]
    fn free_while_shut(note: Note, size: usize) {
        if !State::acquire().is(OPEN) {
            return;
        }
        if let Some(local) = super::super::thread::lane_of_suspended() {
            local.count_free();
            local.track(-(size as i64));
            local.discharge(note, size as u64);
        } else {
            count_laneless(None, Some(size));
        }
    }

    #[inline(always)]
    fn note_realloc(frame: Frame, old: Note, old_size: usize, size: usize) -> Note {
        let ours = old.tag != Tag::NONE;
        match access() {
            Access::Lane(local, bounds) => {
                let freed = if ours { old_size } else { 0 };
                // The old block dies before the new one adds to the clock, as with a free and an allocation.
                local.track(size as i64 - freed as i64);
                if ours {
                    local.count_free();
                    local.discharge(old, old_size as u64);
                }
                let clock = local.count_alloc(size as u64);
                local.count_realloc();
                let site = local.site_of(frame, bounds, 0);
                local.charge(site, size as u64, true, clock)
            }
            Access::Laneless => {
                count_laneless(Some(size), ours.then_some(old_size));
                NO_NOTE
            }
            Access::Shut => {
                if ours {
                    free_while_shut(old, old_size);
                }
                NO_NOTE
            }
        }
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
}

/// Blocks are the system's own; some are in the table of [`tracked`] blocks.
mod sampled {
    use super::*;

    #[inline(always)]
    pub(super) fn allocated(frame: Frame, block: *mut u8, size: usize) {
        if block.is_null() {
            return count_failure();
        }
        match access() {
            Access::Lane(local, bounds) => {
                let clock = local.count_alloc(size as u64);
                local.track(size as i64);
                if local.sample_is_due(clock) {
                    sample(local, bounds, frame, block, size, clock, false);
                }
            }
            Access::Laneless => count_laneless(Some(size), None),
            Access::Shut => allocated_while_shut(block),
        }
    }

    #[cold]
    #[inline(never)]
    fn sample(
        local: &'static super::super::lane::Local,
        bounds: super::super::unwind::Bounds,
        frame: Frame,
        block: *mut u8,
        size: usize,
        clock: u64,
        realloc: bool,
    ) {
        local.set_next_sample(clock);
        let site = local.site_of(frame, bounds, size as u64);
        let note = local.charge(site, size as u64, realloc, clock);
        if site.is_some() && !tracked::enter(block.addr(), Tracked::Sampled(note)) {
            arena::header().untracked_samples.fetch_add(1, Relaxed);
        }
    }

    /// A block that is not the test's: its free must not count. After the window nothing counts any more.
    #[cold]
    fn allocated_while_shut(block: *mut u8) {
        if !State::acquire().is(ENDED) && !tracked::enter(block.addr(), Tracked::Foreign) && arena::is_attached() {
            arena::header().untracked_foreign.fetch_add(1, Relaxed);
        }
    }

    #[inline(always)]
    pub(super) fn freed(block: *mut u8, size: usize) {
        let known = if tracked::may_hold(block.addr()) { tracked::take(block.addr()) } else { None };
        count_free(known, size);
    }

    #[inline(always)]
    fn count_free(known: Option<Tracked>, size: usize) {
        if known == Some(Tracked::Foreign) {
            return;
        }
        match access() {
            Access::Lane(local, _) => {
                local.count_free();
                local.track(-(size as i64));
                if let Some(Tracked::Sampled(note)) = known {
                    local.discharge(note, size as u64);
                }
            }
            Access::Laneless => count_laneless(None, Some(size)),
            Access::Shut => free_while_shut(known, size),
        }
    }

    /// See `exact::free_while_shut`.
    #[cold]
    fn free_while_shut(known: Option<Tracked>, size: usize) {
        if !State::acquire().is(OPEN) {
            return;
        }
        if let Some(local) = super::super::thread::lane_of_suspended() {
            local.count_free();
            local.track(-(size as i64));
            if let Some(Tracked::Sampled(note)) = known {
                local.discharge(note, size as u64);
            }
        } else {
            count_laneless(None, Some(size));
        }
    }

    #[inline(always)]
    pub(super) unsafe fn realloc(frame: Frame, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Before the call: afterwards another thread may have the old address.
        let known = if tracked::may_hold(block.addr()) { tracked::take(block.addr()) } else { None };
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
        let old_size = layout.size();
        match access() {
            Access::Lane(local, bounds) => {
                let ours = known != Some(Tracked::Foreign);
                let freed = if ours { old_size } else { 0 };
                local.track(size as i64 - freed as i64);
                if ours {
                    local.count_free();
                }
                if let Some(Tracked::Sampled(note)) = known {
                    local.discharge(note, old_size as u64);
                }
                let clock = local.count_alloc(size as u64);
                local.count_realloc();
                if local.sample_is_due(clock) {
                    sample(local, bounds, frame, moved, size, clock, true);
                }
            }
            Access::Laneless => {
                let ours = known != Some(Tracked::Foreign);
                count_laneless(Some(size), ours.then_some(old_size));
            }
            Access::Shut => {
                if known != Some(Tracked::Foreign) {
                    free_while_shut(known, old_size);
                }
                allocated_while_shut(moved);
            }
        }
        moved
    }
}
