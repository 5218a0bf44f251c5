//! The hook behind Rust's `#[global_allocator]`: passes every call on to the system's allocator and notes it.
//!
//! How it is noted is the business of `exact` and `sampled`; here is which of them it is.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::system_untagged;
use crate::engine::hook::observer;
use crate::engine::life::process;
use crate::engine::life::state::{self, Mode};
use crate::engine::life::thread;
use crate::engine::life::thread::{access, Access};
use crate::engine::record::exact;
use crate::engine::record::sampled;
use std::alloc::{GlobalAlloc, Layout, System};

/// The global allocator.
pub struct Hook;

// SAFETY: blocks are slots, each of which is one block's at a time, or come from `System` and go back to it with the layout they were
// made with; what is noted never touches a block's bytes, but lies in front of them, in the same slot or inside the system's block.
//
// Each function only chooses, and hands its arguments on in the registers in which they came.
unsafe impl GlobalAlloc for Hook {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        let flags = state::flags();
        if thread::is_ready_to_sample(flags) {
            // SAFETY: the caller upholds `alloc`'s contract.
            return unsafe { sampled::alloc(size, align) };
        }
        if thread::is_ready_for_all(flags) {
            // SAFETY: the caller upholds `alloc`'s contract.
            return unsafe { exact::alloc(size, align) };
        }
        // SAFETY: the caller upholds `alloc`'s contract.
        unsafe { unready::alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        let flags = state::flags();
        if thread::is_ready_to_sample(flags) {
            // SAFETY: the caller upholds `alloc_zeroed`'s contract.
            return unsafe { sampled::alloc_zeroed(size, align) };
        }
        if thread::is_ready_for_all(flags) {
            // SAFETY: the caller upholds `alloc_zeroed`'s contract.
            return unsafe { exact::alloc_zeroed(size, align) };
        }
        // SAFETY: the caller upholds `alloc_zeroed`'s contract.
        unsafe { unready::alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let (size, align) = (layout.size(), layout.align());
        let flags = state::flags();
        if thread::is_ready_to_sample(flags) {
            // SAFETY: the caller upholds `dealloc`'s contract.
            return unsafe { sampled::dealloc(block, size, align) };
        }
        if thread::is_ready_for_all(flags) {
            // SAFETY: the caller upholds `dealloc`'s contract. Every block was made in this mode: the first allocation
            // decided it.
            return unsafe { exact::dealloc(block, size, align) };
        }
        // SAFETY: the caller upholds `dealloc`'s contract.
        unsafe { unready::dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let flags = state::flags();
        if thread::is_ready_to_sample(flags) {
            // SAFETY: the caller upholds `realloc`'s contract.
            return unsafe { sampled::realloc(block, layout, size) };
        }
        if thread::is_ready_for_all(flags) {
            // SAFETY: the caller upholds `realloc`'s contract. Every block was made in this mode: the first allocation
            // decided it.
            return unsafe { exact::realloc(block, layout, size) };
        }
        // SAFETY: the caller upholds `realloc`'s contract.
        unsafe { unready::realloc(block, layout, size) }
    }
}

/// Calls of threads that may not record at once, all of those among them that are not recorded at all. Functions of their own,
/// so that the ones above need few registers.
mod unready {
    use super::*;

    /// # Safety
    /// The contract of `GlobalAlloc::alloc`: `layout` has a size, which is not 0.
    #[inline(never)]
    pub(crate) unsafe fn alloc(layout: Layout) -> *mut u8 {
        if observer::is_on() {
            // SAFETY: the caller upholds `alloc`'s contract.
            return unsafe { observed_alloc(layout) };
        }
        // SAFETY: as above. Nothing is left to do afterwards, so that this is a jump, and no frame of a thread's first event.
        unsafe { alloc_unobserved(layout) }
    }

    /// # Safety
    /// The contract of `GlobalAlloc::alloc_zeroed`: `layout` has a size, which is not 0.
    #[inline(never)]
    pub(crate) unsafe fn alloc_zeroed(layout: Layout) -> *mut u8 {
        if observer::is_on() {
            // SAFETY: the caller upholds `alloc_zeroed`'s contract.
            return unsafe { observed_alloc_zeroed(layout) };
        }
        // SAFETY: as above. Nothing is left to do afterwards, so that this is a jump, and no frame of a thread's first event.
        unsafe { alloc_zeroed_unobserved(layout) }
    }

    /// # Safety
    /// The contract of `GlobalAlloc::dealloc`: `block` is one that the hook gave for `layout`, and nobody uses it any
    /// more.
    #[inline(never)]
    pub(crate) unsafe fn dealloc(block: *mut u8, layout: Layout) {
        if observer::is_on() {
            // SAFETY: the caller upholds `dealloc`'s contract.
            return unsafe { observed_dealloc(block, layout) };
        }
        // SAFETY: as above. Nothing is left to do afterwards, so that this is a jump, and no frame of a thread's first event.
        unsafe { dealloc_unobserved(block, layout) }
    }

    /// # Safety
    /// The contract of `GlobalAlloc::realloc`: `block` is one that the hook gave for `layout`, nobody uses it
    /// meanwhile, and `size` is not 0 and no more than a layout can have.
    #[inline(never)]
    pub(crate) unsafe fn realloc(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if observer::is_on() {
            // SAFETY: the caller upholds `realloc`'s contract.
            return unsafe { observed_realloc(block, layout, size) };
        }
        // SAFETY: as above. Nothing is left to do afterwards, so that this is a jump, and no frame of a thread's first event.
        unsafe { realloc_unobserved(block, layout, size) }
    }

    /// # Safety
    /// The contract of `GlobalAlloc::alloc`: `layout` has a size, which is not 0.
    #[inline(never)]
    unsafe fn observed_alloc(layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc`'s contract.
        let block = unsafe { alloc_unobserved(layout) };
        observer::allocated(block, layout.size());
        block
    }

    /// # Safety
    /// The contract of `GlobalAlloc::alloc_zeroed`: `layout` has a size, which is not 0.
    #[inline(never)]
    unsafe fn observed_alloc_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc_zeroed`'s contract.
        let block = unsafe { alloc_zeroed_unobserved(layout) };
        observer::allocated(block, layout.size());
        block
    }

    /// # Safety
    /// The contract of `GlobalAlloc::dealloc`: `block` is one that the hook gave for `layout`, and nobody uses it any
    /// more.
    #[inline(never)]
    unsafe fn observed_dealloc(block: *mut u8, layout: Layout) {
        observer::freed(block, layout.size());
        // SAFETY: the caller upholds `dealloc`'s contract.
        unsafe { dealloc_unobserved(block, layout) }
    }

    /// # Safety
    /// The contract of `GlobalAlloc::realloc`: `block` is one that the hook gave for `layout`, nobody uses it
    /// meanwhile, and `size` is not 0 and no more than a layout can have.
    #[inline(never)]
    unsafe fn observed_realloc(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let resizing = observer::resizing(block);
        // SAFETY: the caller upholds `realloc`'s contract.
        let moved = unsafe { realloc_unobserved(block, layout, size) };
        resizing.done(block, layout.size(), moved, size);
        moved
    }

    /// # Safety
    /// The contract of `GlobalAlloc::alloc`: `layout` has a size, which is not 0.
    #[inline(always)]
    unsafe fn alloc_unobserved(layout: Layout) -> *mut u8 {
        match decided() {
            // SAFETY: the caller upholds `alloc`'s contract.
            Mode::Exact => unsafe { exact::unready::alloc(layout) },
            // SAFETY: the caller upholds `alloc`'s contract.
            // A thread's first block, too, is one whose word tells whose it is.
            Mode::Sampled if is_lane() => unsafe { sampled::alloc(layout.size(), layout.align()) },
            // SAFETY: the caller upholds `alloc`'s contract.
            Mode::Sampled => unsafe { system_untagged::alloc(layout) },
            // SAFETY: the caller upholds `alloc`'s contract.
            Mode::Plain => unsafe { System.alloc(layout) },
        }
    }

    /// # Safety
    /// The contract of `GlobalAlloc::alloc_zeroed`: `layout` has a size, which is not 0.
    #[inline(always)]
    unsafe fn alloc_zeroed_unobserved(layout: Layout) -> *mut u8 {
        match decided() {
            // SAFETY: the caller upholds `alloc_zeroed`'s contract.
            Mode::Exact => unsafe { exact::unready::alloc_zeroed(layout) },
            // SAFETY: the caller upholds `alloc_zeroed`'s contract.
            Mode::Sampled if is_lane() => unsafe { sampled::alloc_zeroed(layout.size(), layout.align()) },
            // SAFETY: the caller upholds `alloc_zeroed`'s contract.
            Mode::Sampled => unsafe { system_untagged::alloc_zeroed(layout) },
            // SAFETY: the caller upholds `alloc_zeroed`'s contract.
            Mode::Plain => unsafe { System.alloc_zeroed(layout) },
        }
    }

    /// # Safety
    /// The contract of `GlobalAlloc::dealloc`: `block` is one that the hook gave for `layout`, and nobody uses it any
    /// more.
    #[inline(always)]
    unsafe fn dealloc_unobserved(block: *mut u8, layout: Layout) {
        match decided() {
            // SAFETY: the caller upholds `dealloc`'s contract. Every block was made in this mode:
            // the first allocation decided it.
            Mode::Exact => unsafe { exact::unready::dealloc(block, layout) },
            // SAFETY: the caller upholds `dealloc`'s contract.
            Mode::Sampled => unsafe { sampled::unready::dealloc(block, layout) },
            // SAFETY: the caller upholds `dealloc`'s contract.
            Mode::Plain => unsafe { System.dealloc(block, layout) },
        }
    }

    /// # Safety
    /// The contract of `GlobalAlloc::realloc`: `block` is one that the hook gave for `layout`, nobody uses it
    /// meanwhile, and `size` is not 0 and no more than a layout can have.
    #[inline(always)]
    unsafe fn realloc_unobserved(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match decided() {
            // SAFETY: the caller upholds `realloc`'s contract. Every block was made in this mode:
            // the first allocation decided it.
            Mode::Exact => unsafe { exact::unready::realloc(block, layout, size) },
            // SAFETY: the caller upholds `realloc`'s contract.
            Mode::Sampled => unsafe { sampled::unready::realloc(block, layout, size) },
            // SAFETY: the caller upholds `realloc`'s contract.
            Mode::Plain => unsafe { System.realloc(block, layout, size) },
        }
    }
}

/// Whether the calling thread may record after all, as one does whose first event this is; it is ready then.
#[inline(always)]
fn is_lane() -> bool {
    matches!(access(), Access::Lane(..))
}

/// The mode; decides it where this is the first allocation of the process.
#[inline(always)]
fn decided() -> Mode {
    match state::mode() {
        Some(mode) => {
            process::notice_fork();
            mode
        }
        None => decide(),
    }
}

/// The first allocation of the process. The environment is read as C has it: std would allocate.
#[cold]
#[cfg(not(memprof_program))]
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

/// The same for a program with a `main` of its own: the rate is the first word of its one variable.
#[cold]
#[cfg(memprof_program)]
fn decide() -> Mode {
    // SAFETY: a C string; nothing changes the environment before the first allocation of the process.
    let variable = unsafe { libc::getenv(c"MEMPROF_PROGRAM".as_ptr()) };
    if variable.is_null() {
        return state::decide(Mode::Plain);
    }
    // SAFETY: it is a C string, and no more of it is looked at than its end allows.
    let exact = unsafe { libc::strncmp(variable, c"1 ".as_ptr(), 2) } == 0;
    state::decide(if exact { Mode::Exact } else { Mode::Sampled })
}
