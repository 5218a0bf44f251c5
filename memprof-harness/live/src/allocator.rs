//! The global allocator that counts: it passes every call on to another, and tells `count` of it where a region is open.

#![allow(unsafe_code)] // an allocator

use crate::active::{activity, Activity};
use crate::count::events;
use std::alloc::{GlobalAlloc, Layout, System};

/// Counts what goes through it to `A`. With no region open a call costs one load and one branch more than `A`'s own.
///
/// ```
/// use std::alloc::System;
///
/// #[global_allocator]
/// static ALLOCATOR: memprof::Allocator<System> = memprof::Allocator::new(System);
/// # fn main() {}
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Allocator<A = System>(A);

impl<A> Allocator<A> {
    /// An allocator that has `inner` do the work.
    pub const fn new(inner: A) -> Allocator<A> {
        Allocator(inner)
    }
}

// SAFETY: every call is passed on as it is to `A`, whose blocks these are; what is noted never touches a block.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Allocator<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc`'s contract.
        allocate(layout.size(), || unsafe { self.0.alloc(layout) })
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc_zeroed`'s contract.
        allocate(layout.size(), || unsafe { self.0.alloc_zeroed(layout) })
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds `dealloc`'s contract.
        let dealloc = || unsafe { self.0.dealloc(block, layout) };
        match activity() {
            Activity::Nobody => dealloc(),
            Activity::Regions => {
                let counting = events::counting();
                counting.freed(layout.size());
                dealloc();
            }
            Activity::All => {
                events::freed(block, layout.size());
                let _below = events::below();
                dealloc();
            }
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller upholds `realloc`'s contract.
        let realloc = || unsafe { self.0.realloc(block, layout, size) };
        match activity() {
            Activity::Nobody => realloc(),
            Activity::Regions => {
                let counting = events::counting();
                let moved = realloc();
                counting.reallocated(block, layout.size(), moved, size);
                moved
            }
            Activity::All => {
                let taken = events::take(block);
                let below = events::below();
                let moved = realloc();
                drop(below);
                events::reallocated(taken, block, layout.size(), moved, size);
                moved
            }
        }
    }
}

/// Has `alloc` allocate so many bytes, and counts that once: what is below may tell of the same block again.
#[inline(always)]
fn allocate(size: usize, alloc: impl FnOnce() -> *mut u8) -> *mut u8 {
    match activity() {
        Activity::Nobody => alloc(),
        Activity::Regions => {
            let counting = events::counting();
            let block = alloc();
            counting.allocated(block, size);
            block
        }
        Activity::All => {
            let below = events::below();
            let block = alloc();
            drop(below);
            events::allocated(block, size);
            block
        }
    }
}

/// Makes the counting allocator the program's: over `System`, or over the one that is given, a unit struct. Once, at a crate's root.
///
/// Under `cargo memprof`, which has an allocator of its own below everything, it stands for nothing.
///
/// ```
/// memprof::install!();
/// # fn main() {}
/// ```
#[cfg(not(memprof))]
#[macro_export]
macro_rules! install {
    () => {
        $crate::install!(::std::alloc::System);
    };
    ($inner:path) => {
        #[global_allocator]
        static MEMPROF_ALLOCATOR: $crate::Allocator<$inner> = $crate::Allocator::new($inner);
    };
}

/// Stands for nothing: `cargo memprof` has an allocator of its own below everything.
#[cfg(memprof)]
#[macro_export]
macro_rules! install {
    ($($inner:path)?) => {};
}
