//! The hook behind Rust's `#[global_allocator]`: passes every call on to the system's allocator and notes it.
//!
//! In exact mode each block is preceded by a header that says which site it belongs to and when it was born, so a free
//! finds its site without a look-up. In sampled mode blocks are the system's own.

#![allow(unsafe_code)] // an allocator

use super::arena;
use super::lane::{Note, Tag};
use super::state::{self, Mode};
use super::thread::{Access, access, lane_of_suspended, ready};
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
            Mode::Exact => exact::alloc(layout),
            // SAFETY: the caller upholds `alloc`'s contract.
            Mode::Sampled => unsafe { sampled::alloc(layout) },
            // SAFETY: the caller upholds `alloc`'s contract.
            Mode::Plain => unsafe { System.alloc(layout) },
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match decided() {
            Mode::Exact => exact::alloc_zeroed(layout),
            // SAFETY: the caller upholds `alloc_zeroed`'s contract.
            Mode::Sampled => unsafe { sampled::alloc_zeroed(layout) },
            // SAFETY: the caller upholds `alloc_zeroed`'s contract.
            Mode::Plain => unsafe { System.alloc_zeroed(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match decided() {
            // SAFETY: the caller upholds `dealloc`'s contract, and in exact mode every block has a header.
            Mode::Exact => unsafe { exact::dealloc(block, layout) },
            // SAFETY: the caller upholds `dealloc`'s contract.
            Mode::Sampled => unsafe { sampled::dealloc(block, layout) },
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

    #[inline(never)]
    pub(super) fn alloc(layout: Layout) -> *mut u8 {
        // SAFETY: `inner` is `layout` with room for a header, so its size is not zero.
        obtain(Frame::here(), layout, |inner| unsafe { System.alloc(inner) })
    }

    #[inline(never)]
    pub(super) fn alloc_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        obtain(Frame::here(), layout, |inner| unsafe { System.alloc_zeroed(inner) })
    }

    #[inline(always)]
    fn obtain(frame: Frame, layout: Layout, get: impl FnOnce(Layout) -> *mut u8) -> *mut u8 {
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

    #[inline(never)]
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

    #[inline(never)]
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
                let clock = local.count_alloc(size as u64, size as i64);
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
                if local.owns(note) {
                    local.count_free(size as u64);
                    local.discharge(note, size as u64, local.clock());
                }
            }
            Access::Laneless => count_laneless(None, Some(size)),
            Access::Shut => free_while_shut(Some(note), size),
        }
    }

    #[inline(always)]
    fn note_realloc(frame: Frame, old: Note, old_size: usize, size: usize) -> Note {
        let ours = old.tag != Tag::NONE;
        match access() {
            Access::Lane(local, bounds) => {
                let ours = local.owns(old);
                let freed = if ours { old_size } else { 0 };
                let clock = local.count_alloc(size as u64, size as i64 - freed as i64);
                local.count_realloc(ours);
                if ours {
                    // As with a free and an allocation, the old block dies before the new one adds to the clock.
                    local.discharge(old, old_size as u64, clock.wrapping_sub(size as u64));
                }
                let site = local.site_of(frame, bounds, 0);
                local.charge(site, size as u64, true, clock)
            }
            Access::Laneless => {
                count_laneless(Some(size), ours.then_some(old_size));
                NO_NOTE
            }
            Access::Shut => {
                if ours {
                    free_while_shut(Some(old), old_size);
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

/// A suspended thread frees a block of the test's: that much is recorded even then. `note` is `None` where the block
/// is not known to any site.
#[cold]
#[inline(never)]
fn free_while_shut(note: Option<Note>, size: usize) {
    if !state::is_open() {
        return;
    }
    let Some(local) = lane_of_suspended() else { return count_laneless(None, Some(size)) };
    if note.is_some_and(|note| !local.owns(note)) {
        return;
    }
    local.count_free(size as u64);
    if let Some(note) = note {
        local.discharge(note, size as u64, local.clock());
    }
}

/// Blocks are the system's own; some are in the table of [`tracked`] blocks. The functions are kept out of one another
/// and their rare halves apart, so that the common way through each needs few registers.
mod sampled {
    use super::*;

    #[inline(never)]
    pub(super) unsafe fn alloc(layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc`'s contract.
        let block = unsafe { System.alloc(layout) };
        allocated(Frame::here(), block, layout.size());
        block
    }

    #[inline(never)]
    pub(super) unsafe fn alloc_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc_zeroed`'s contract.
        let block = unsafe { System.alloc_zeroed(layout) };
        allocated(Frame::here(), block, layout.size());
        block
    }

    #[inline(always)]
    fn allocated(frame: Frame, block: *mut u8, size: usize) {
        if !block.is_null()
            && let Some(local) = ready()
        {
            let clock = local.count_alloc(size as u64, size as i64);
            if local.sample_is_due(clock) {
                sample(frame, block, size, clock, false);
            }
        } else {
            unusual(frame, block, size);
        }
    }

    /// The calling thread's first event, an event outside the window, or an allocation that failed.
    #[cold]
    #[inline(never)]
    fn unusual(frame: Frame, block: *mut u8, size: usize) {
        if block.is_null() {
            return count_failure();
        }
        match access() {
            Access::Lane(local, _) => {
                let clock = local.count_alloc(size as u64, size as i64);
                if local.sample_is_due(clock) {
                    sample(frame, block, size, clock, false);
                }
            }
            Access::Laneless => count_laneless(Some(size), None),
            Access::Shut => allocated_while_shut(block),
        }
    }

    #[cold]
    #[inline(never)]
    fn sample(frame: Frame, block: *mut u8, size: usize, clock: u64, realloc: bool) {
        let Access::Lane(local, bounds) = access() else { return };
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
        if !state::has_ended() && !tracked::enter(block.addr(), Tracked::Foreign) && arena::is_attached() {
            arena::header().untracked_foreign.fetch_add(1, Relaxed);
        }
    }

    #[inline(never)]
    pub(super) unsafe fn dealloc(block: *mut u8, layout: Layout) {
        // Noted first: the call is then the last thing done, and needs no frame.
        if !tracked::may_hold(block.addr())
            && let Some(local) = ready()
        {
            local.count_free(layout.size() as u64);
        } else {
            freed(block, layout.size());
        }
        // SAFETY: the caller upholds `dealloc`'s contract.
        unsafe { System.dealloc(block, layout) }
    }

    /// A free that is not plain: of a block that may be in the table, or by a thread that is not ready.
    #[cold]
    #[inline(never)]
    fn freed(block: *mut u8, size: usize) {
        let note = match known(block) {
            Some(Tracked::Foreign) => return,
            Some(Tracked::Sampled(note)) => Some(note),
            None => None,
        };
        match access() {
            Access::Lane(local, _) => {
                if note.is_some_and(|note| !local.owns(note)) {
                    return;
                }
                local.count_free(size as u64);
                if let Some(note) = note {
                    local.discharge(note, size as u64, local.clock());
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

    #[inline(never)]
    pub(super) unsafe fn realloc(frame: Frame, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
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
        reallocated(frame, known, moved, layout.size(), size);
        moved
    }

    #[inline(always)]
    fn reallocated(frame: Frame, known: Option<Tracked>, moved: *mut u8, old_size: usize, size: usize) {
        let ours = known != Some(Tracked::Foreign);
        match access() {
            Access::Lane(local, _) => {
                let ours = match known {
                    Some(Tracked::Sampled(note)) => local.owns(note),
                    known => known.is_none(),
                };
                let freed = if ours { old_size } else { 0 };
                let clock = local.count_alloc(size as u64, size as i64 - freed as i64);
                local.count_realloc(ours);
                if let Some(Tracked::Sampled(note)) = known
                    && ours
                {
                    local.discharge(note, old_size as u64, clock.wrapping_sub(size as u64));
                }
                if local.sample_is_due(clock) {
                    sample(frame, moved, size, clock, true);
                }
            }
            Access::Laneless => count_laneless(Some(size), ours.then_some(old_size)),
            Access::Shut => {
                if let Some(Tracked::Sampled(note)) = known {
                    free_while_shut(Some(note), old_size);
                } else if ours {
                    free_while_shut(None, old_size);
                }
                allocated_while_shut(moved);
            }
        }
    }
}
