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
            Mode::Sampled => unsafe { sampled::realloc(block, layout, size) },
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
        local.record.count_failure();
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
                let clock = local.record.count_alloc(size as u64, size as i64);
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
                    local.record.count_free(size as u64);
                    local.discharge(note, size as u64, local.record.clock());
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
                let clock = local.record.count_realloc(size as u64, ours.then_some(old_size as u64));
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
    local.record.count_free(size as u64);
    if let Some(note) = note {
        local.discharge(note, size as u64, local.record.clock());
    }
}

/// Blocks are the system's own; some are in the table of [`tracked`] blocks. What is rare is a function of its own that
/// is called last, so that the common way through needs next to no registers.
mod sampled {
    use super::*;

    #[inline(never)]
    pub(super) unsafe fn alloc(layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc`'s contract.
        let block = unsafe { System.alloc(layout) };
        allocated(block, layout.size())
    }

    #[inline(never)]
    pub(super) unsafe fn alloc_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc_zeroed`'s contract.
        let block = unsafe { System.alloc_zeroed(layout) };
        allocated(block, layout.size())
    }

    /// Notes a new block, and gives it back.
    #[inline(always)]
    fn allocated(block: *mut u8, size: usize) -> *mut u8 {
        let Some(record) = ready() else { return unusual(block, size) };
        if block.is_null() {
            return unusual(block, size);
        }
        let clock = record.count_alloc(size as u64, size as i64);
        if record.sample_is_due(clock) {
            return sample(block, size, false);
        }
        block
    }

    /// The calling thread's first event, an event outside the window, or an allocation that failed.
    #[cold]
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

    #[inline(never)]
    pub(super) unsafe fn dealloc(block: *mut u8, layout: Layout) {
        if !tracked::may_hold(block.addr())
            && let Some(record) = ready()
        {
            record.count_free(layout.size() as u64);
            // SAFETY: the caller upholds `dealloc`'s contract.
            return unsafe { System.dealloc(block, layout) };
        }
        // SAFETY: the caller upholds `dealloc`'s contract.
        unsafe { dealloc_unusual(block, layout) }
    }

    /// A free of a block that may be in the table, or by a thread that is not ready.
    #[cold]
    #[inline(never)]
    unsafe fn dealloc_unusual(block: *mut u8, layout: Layout) {
        freed(known(block), layout.size());
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
            && let Some(record) = ready()
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
}
