//! The C library's blocks, as the engine gives them back and resizes them. Where this executable
//! defines `free` and its kin, which `hook::free` does, the engine calls those behind them: what it
//! gives back is no block that code outside of Rust gives back.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::reserves;
use crate::os::memory;
use crate::provenance::Address;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::mem::size_of;
use std::ptr;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Acquire, Release};

pub(crate) type Free = unsafe extern "C" fn(*mut c_void);
pub(crate) type Realloc = unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;
pub(crate) type UsableSize = unsafe extern "C" fn(*mut c_void) -> usize;

/// Functions behind those that this executable defines: of another allocator that was loaded before
/// the C library, or the C library's.
#[derive(Clone, Copy)]
pub(crate) struct Next {
    pub(crate) free: Free,
    pub(crate) realloc: Realloc,
    pub(crate) usable_size: UsableSize,
    /// Whether they are glibc's: others have its names for them, too.
    pub(crate) are_glibcs: bool,
}

/// `None` = what has these names in the process is not this executable's.
static NEXT: AtomicPtr<Next> = AtomicPtr::new(ptr::null_mut());

/// From here on the engine calls these.
pub(crate) fn go_on_with(next: &'static Next) {
    NEXT.store(ptr::from_ref(next).cast_mut(), Release);
}

#[inline(always)]
fn next() -> Option<&'static Next> {
    // SAFETY: null, or what `go_on_with` was given, which is never changed.
    unsafe { NEXT.load(Acquire).as_ref() }
}

/// As `System`'s.
///
/// # Safety
/// The contract of `GlobalAlloc::alloc`: `layout` has a size, which is not 0.
#[inline(always)]
pub(crate) unsafe fn alloc(layout: Layout) -> *mut u8 {
    // SAFETY: the caller upholds `alloc`'s contract.
    let make = || unsafe { System.alloc(layout) };
    or_again(make(), layout.size(), make)
}

/// As `System`'s.
///
/// # Safety
/// The contract of `GlobalAlloc::alloc_zeroed`: `layout` has a size, which is not 0.
#[inline(always)]
pub(crate) unsafe fn alloc_zeroed(layout: Layout) -> *mut u8 {
    // SAFETY: the caller upholds `alloc_zeroed`'s contract.
    let make = || unsafe { System.alloc_zeroed(layout) };
    or_again(make(), layout.size(), make)
}

/// The block that was made; where there is none, the one that is made once the engine has given back what it can do without.
#[inline(always)]
fn or_again(block: *mut u8, size: usize, make: impl Fn() -> *mut u8) -> *mut u8 {
    if block.is_null() {
        again(size, make)
    } else {
        block
    }
}

#[cold]
#[inline(never)]
fn again(size: usize, make: impl Fn() -> *mut u8) -> *mut u8 {
    /// Where other threads take what this one gave back.
    const MOST_TIMES: usize = 8;
    // What another thread gave back may have come after this one found no memory.
    let mut seen = 0;
    for _ in 0..MOST_TIMES {
        let before = reserves::times_given();
        if before == seen && !reserves::give_back(size) && reserves::times_given() == before {
            break;
        }
        seen = reserves::times_given();
        let block = make();
        if !block.is_null() {
            return block;
        }
    }
    reserves::from_shared_heap(size, make).unwrap_or(ptr::null_mut())
}

/// As `System`'s.
///
/// # Safety
/// As for `GlobalAlloc::dealloc`; where the block is C's, the layout need not be the one that it was
/// made with.
#[inline(always)]
pub(crate) unsafe fn dealloc(block: *mut u8, layout: Layout) {
    match next() {
        // SAFETY: `System` calls C's `free`, whatever the layout is, and this is it.
        Some(next) => unsafe { (next.free)(block.cast()) },
        // SAFETY: the caller upholds `dealloc`'s contract.
        None => unsafe { System.dealloc(block, layout) },
    }
}

/// As `System`'s.
///
/// # Safety
/// As for `GlobalAlloc::realloc`; where the block is C's, the layout need not be the one that it was
/// made with.
#[inline(always)]
pub(crate) unsafe fn realloc(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    /// What C's `malloc` aligns to, on the processors on which there are functions to go on with.
    const ALIGN: usize = 16;
    let resize = || match next() {
        // SAFETY: where the alignment is one of C's own, `System` calls C's `realloc`, and this is
        // it.
        Some(next) if layout.align() <= ALIGN && layout.align() <= size => unsafe {
            (next.realloc)(block.cast(), size).cast()
        },
        // SAFETY: the caller upholds `realloc`'s contract.
        _ => unsafe { System.realloc(block, layout, size) },
    };
    // Where there was no room, the block is still what it was.
    or_again(resize(), size, resize)
}

/// Whether a block of C's may have been asked for so many bytes: they are there, and glibc would not have given twice as many. A
/// block with a mapping of its own may have more: glibc leaves it as it is where it cannot be made smaller.
///
/// # Safety
/// `block` is a live block of C's.
#[inline(always)]
pub(crate) unsafe fn may_have(block: *mut u8, bytes: usize) -> bool {
    // SAFETY: as the caller promises, and glibc's.
    !is_glibcs() || unsafe { is_consistent(block, bytes) }
}

/// As [`may_have`].
///
/// # Safety
/// `block` is a live block of glibc's.
#[inline(always)]
unsafe fn is_consistent(block: *mut u8, bytes: usize) -> bool {
    // SAFETY: it is glibc's, which has a word with the block's size and three flags in front of it.
    let word = unsafe { glibcs_word(block) };
    // Of the block's size one word is glibc's own, or two.
    let usable = (word & !FLAGS).wrapping_sub(size_of::<usize>());
    usable.wrapping_sub(bytes) <= bytes + MOST_OF_SHORTEST
        || word & IS_MAPPED != 0 && bytes <= usable.wrapping_sub(size_of::<usize>())
}

/// Whether the functions to go on with are glibc's, and not another allocator's that was loaded in front.
pub(crate) fn is_glibcs() -> bool {
    next().is_some_and(|next| next.are_glibcs)
}

/// The fewest bytes that a block of C's may have been asked for.
///
/// # Safety
/// `block` is a live block of C's.
#[cold]
pub(crate) unsafe fn fewest_of(block: *mut u8) -> usize {
    // SAFETY: by contract.
    let usable = unsafe { usable_size_of(block) };
    // SAFETY: by contract.
    unsafe { fewest_bytes(block, usable) }
}

/// How many bytes of a block of C's can be used.
///
/// # Safety
/// `block` is a live block of C's.
pub(crate) unsafe fn usable_size_of(block: *mut u8) -> usize {
    match next() {
        // SAFETY: by contract.
        Some(next) => unsafe { (next.usable_size)(block.cast()) },
        // SAFETY: by contract.
        None => unsafe { memory::usable_size(block.cast()) },
    }
}

/// # Safety
/// `block` is a live block of glibc's.
#[inline(always)]
unsafe fn glibcs_word(block: *mut u8) -> usize {
    // SAFETY: by contract; the word lies in front of the block.
    unsafe { block.wrapping_sub(size_of::<usize>()).cast::<usize>().read() }
}

/// The fewest bytes that a block of C's may have been asked for, of which so many can be used.
///
/// # Safety
/// `block` is a live block of C's.
pub(crate) unsafe fn fewest_bytes(block: *mut u8, usable: usize) -> usize {
    if is_glibcs() {
        // SAFETY: it is glibc's, which has a word with the block's size and three flags in front of
        // it.
        let word = unsafe { glibcs_word(block) };
        fewest_of_glibc(block.address(), usable, word & IS_MAPPED != 0)
    } else {
        // No allocator gives twice of what it was asked for.
        usable / 2 + 1
    }
}

/// Glibc's flag of a block that has a mapping of its own, and all its flags.
const IS_MAPPED: usize = 2;
const FLAGS: usize = 7;
/// Glibc rounds up to 16 bytes, and keeps a rest of less than 32 with the block.
const REST: usize = 15 + 32;
/// The most that can be used of a block of a single byte: the shortest has room for three words.
const MOST_OF_SHORTEST: usize = 24 + 32;

/// See [`REST`]. A mapping is as many pages as are needed, and what is left of them where the block is aligned.
fn fewest_of_glibc(address: usize, usable: usize, is_mapped: bool) -> usize {
    const PAGE: usize = 4096;
    if usable <= MOST_OF_SHORTEST {
        return 1;
    }
    // Right behind its words a block is that was asked for without an alignment.
    let aligned = if address % PAGE == 16 { 0 } else { 1 << address.trailing_zeros() };
    let more = if is_mapped { PAGE + REST + aligned } else { REST };
    usable.saturating_sub(more).max(1)
}

#[cfg(all(test, target_os = "linux", target_env = "gnu", not(miri)))]
mod tests {
    use super::*;

    /// Checks the block of C's, of which `size` bytes were asked for.
    fn is_bounded(block: *mut c_void, size: usize) {
        assert!(!block.is_null());
        // SAFETY: live, and C's.
        let usable = unsafe { libc::malloc_usable_size(block) };
        // SAFETY: the program's allocator is glibc's, which has its word there.
        let word = unsafe { block.cast::<usize>().wrapping_sub(1).read() };
        let fewest = fewest_of_glibc(block.address(), usable, word & IS_MAPPED != 0);
        // SAFETY: as above.
        let may_have = |bytes| unsafe { is_consistent(block.cast(), bytes) };
        assert!(may_have(size) && may_have(fewest) && may_have(usable), "{fewest}, {size}, {usable}");
        assert!(!may_have(usable + 9), "{usable}");
        assert!(word & IS_MAPPED != 0 || usable < 200 || !may_have(usable / 2 - 60), "{usable}");
        assert!((1..=size).contains(&fewest), "{fewest} for {size}, of which {usable} can be used");
        let more = if word & IS_MAPPED == 0 { 47 } else { 2 * 4096 };
        assert!(block.address() % 64 == 0 || size - fewest <= more + 47, "{fewest} for {size}");
    }

    #[test]
    fn glibcs_blocks_were_asked_for_no_fewer_bytes() {
        let sizes = (1..3000).chain((1..30).map(|i| i * 4096)).chain([100_000, 140_000, 1 << 20, (1 << 21) - 16]);
        for size in sizes {
            // SAFETY: has no preconditions.
            let block = unsafe { libc::malloc(size) };
            is_bounded(block, size);
            // SAFETY: just made.
            let grown = unsafe { libc::realloc(block, size * 2 + 9) };
            is_bounded(grown, size * 2 + 9);
            // SAFETY: as above.
            let shrunk = unsafe { libc::realloc(grown, size / 2 + 1) };
            is_bounded(shrunk, size / 2 + 1);
            let aligned = [32, 64, 4096].map(|align| {
                let mut place = ptr::null_mut();
                // SAFETY: there is a place for the block.
                assert_eq!(unsafe { libc::posix_memalign(&mut place, align, size) }, 0);
                is_bounded(place, size);
                place
            });
            // SAFETY: just made, and nobody uses them.
            aligned.into_iter().chain([shrunk]).for_each(|block| unsafe { libc::free(block) });
        }
    }
}
