//! The global allocator that counts: it passes every call on to another, and tells `count` of it where a region is open.

#![allow(unsafe_code)] // an allocator

use crate::active;
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
        if active::is_active() {
            // SAFETY: the caller upholds `alloc`'s contract.
            return events::allocate(layout.size(), || unsafe { self.0.alloc(layout) });
        }
        // SAFETY: the caller upholds `alloc`'s contract.
        unsafe { self.0.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if active::is_active() {
            // SAFETY: the caller upholds `alloc_zeroed`'s contract.
            return events::allocate(layout.size(), || unsafe { self.0.alloc_zeroed(layout) });
        }
        // SAFETY: the caller upholds `alloc_zeroed`'s contract.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if active::is_active() {
            // SAFETY: the caller upholds `dealloc`'s contract.
            return events::free(block, layout.size(), || unsafe { self.0.dealloc(block, layout) });
        }
        // SAFETY: the caller upholds `dealloc`'s contract.
        unsafe { self.0.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if active::is_active() {
            // SAFETY: the caller upholds `realloc`'s contract.
            return events::resize(block, layout.size(), size, || unsafe { self.0.realloc(block, layout, size) });
        }
        // SAFETY: the caller upholds `realloc`'s contract.
        unsafe { self.0.realloc(block, layout, size) }
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
