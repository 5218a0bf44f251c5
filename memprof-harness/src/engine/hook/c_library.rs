//! The hook behind the C library's own allocation functions. They are defined here, in the executable, where the loader
//! finds them before the C library's; so whatever calls `malloc` (Rust's `System`, a C library linked in, a shared one, the
//! C library itself) calls these, which pass every call on to glibc by its other names.
//!
//! Blocks are glibc's own: `malloc_usable_size` and whatever else knows them stay true.

#![allow(unsafe_code)] // an allocator

#[cfg(not(all(target_os = "linux", target_env = "gnu", not(target_feature = "crt-static"))))]
compile_error!("only glibc, linked dynamically, has a second name for its allocation functions");

use crate::engine::hook::observer;
use crate::engine::record::native::{allocated, freeing, is_on, not_reallocated, reallocated, reallocating};
use crate::engine::unwind::frame_pointer::Frame;
use crate::os::errno;
use crate::provenance::Address;
use libc::{c_int, c_void, size_t};
use std::mem::size_of;
use std::ptr;

extern "C" {
    fn __libc_malloc(size: size_t) -> *mut c_void;
    fn __libc_calloc(count: size_t, size: size_t) -> *mut c_void;
    fn __libc_realloc(block: *mut c_void, size: size_t) -> *mut c_void;
    fn __libc_free(block: *mut c_void);
    fn __libc_memalign(align: size_t, size: size_t) -> *mut c_void;
    fn __libc_valloc(size: size_t) -> *mut c_void;
    fn __libc_pvalloc(size: size_t) -> *mut c_void;
}

/// Notes what the C library gave to whoever called the function this is inlined into, and gives it on.
#[inline(always)]
fn noted(block: *mut c_void, size: size_t) -> *mut c_void {
    if is_on() {
        allocated(Frame::here(), block.address(), size);
    }
    block
}

/// # Safety
/// As the C library's.
#[no_mangle]
#[inline(never)]
pub unsafe extern "C" fn malloc(size: size_t) -> *mut c_void {
    // SAFETY: has no preconditions.
    noted(unsafe { __libc_malloc(size) }, size)
}

/// # Safety
/// As the C library's.
#[no_mangle]
#[inline(never)]
pub unsafe extern "C" fn calloc(count: size_t, size: size_t) -> *mut c_void {
    // SAFETY: has no preconditions.
    noted(unsafe { __libc_calloc(count, size) }, count.saturating_mul(size))
}

/// # Safety
/// As the C library's.
#[no_mangle]
#[inline(never)]
pub unsafe extern "C" fn realloc(block: *mut c_void, size: size_t) -> *mut c_void {
    // SAFETY: the caller upholds `realloc`'s contract.
    unsafe { resize(block, size) }
}

/// # Safety
/// As the C library's.
#[no_mangle]
#[inline(never)]
pub unsafe extern "C" fn reallocarray(block: *mut c_void, count: size_t, size: size_t) -> *mut c_void {
    let Some(size) = count.checked_mul(size) else { return out_of_memory() };
    // SAFETY: the caller upholds `realloc`'s contract.
    unsafe { resize(block, size) }
}

/// # Safety
/// As for `realloc`.
#[inline(always)]
unsafe fn resize(block: *mut c_void, size: size_t) -> *mut c_void {
    if !is_on() {
        // SAFETY: the caller upholds `realloc`'s contract.
        return unsafe { __libc_realloc(block, size) };
    }
    if block.is_null() {
        // SAFETY: has no preconditions.
        return noted(unsafe { __libc_malloc(size) }, size);
    }
    if size == 0 {
        // glibc takes this for a free.
        freeing(block.address());
        // SAFETY: the caller upholds `realloc`'s contract.
        return unsafe { __libc_realloc(block, 0) };
    }
    // Before the call: afterwards another thread may have the old address.
    let old = reallocating(block.address());
    let old_size = old.map_or(0, |old| old.size as usize);
    let resizing = observer::resizing(block.cast());
    // SAFETY: the caller upholds `realloc`'s contract.
    let moved = unsafe { __libc_realloc(block, size) };
    if moved.is_null() {
        not_reallocated(old, block.address());
    } else {
        reallocated(Frame::here(), old, moved.address(), size);
    }
    resizing.done(block.cast(), old_size, moved.cast(), size);
    moved
}

/// # Safety
/// As the C library's.
#[no_mangle]
#[inline(never)]
pub unsafe extern "C" fn free(block: *mut c_void) {
    if is_on() && !block.is_null() {
        freeing(block.address());
    }
    // SAFETY: the caller upholds `free`'s contract.
    unsafe { __libc_free(block) }
}

/// C23's.
///
/// # Safety
/// As the C library's.
#[no_mangle]
#[inline(never)]
pub unsafe extern "C" fn free_sized(block: *mut c_void, _: size_t) {
    // SAFETY: the caller upholds `free`'s contract.
    unsafe { free(block) }
}

/// C23's.
///
/// # Safety
/// As the C library's.
#[no_mangle]
#[inline(never)]
pub unsafe extern "C" fn free_aligned_sized(block: *mut c_void, _: size_t, _: size_t) {
    // SAFETY: the caller upholds `free`'s contract.
    unsafe { free(block) }
}

/// # Safety
/// As the C library's.
#[no_mangle]
#[inline(never)]
pub unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, align: size_t, size: size_t) -> c_int {
    if !align.is_power_of_two() || align % size_of::<*mut c_void>() != 0 {
        return libc::EINVAL;
    }
    // SAFETY: has no preconditions.
    let block = noted(unsafe { __libc_memalign(align, size) }, size);
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's place is valid for a pointer.
    unsafe { place.write(block) };
    0
}

/// # Safety
/// As the C library's.
#[no_mangle]
#[inline(never)]
pub unsafe extern "C" fn aligned_alloc(align: size_t, size: size_t) -> *mut c_void {
    if !align.is_power_of_two() {
        return fail(libc::EINVAL);
    }
    // SAFETY: has no preconditions.
    noted(unsafe { __libc_memalign(align, size) }, size)
}

/// # Safety
/// As the C library's.
#[no_mangle]
#[inline(never)]
pub unsafe extern "C" fn memalign(align: size_t, size: size_t) -> *mut c_void {
    // SAFETY: has no preconditions.
    noted(unsafe { __libc_memalign(align, size) }, size)
}

/// # Safety
/// As the C library's.
#[no_mangle]
#[inline(never)]
pub unsafe extern "C" fn valloc(size: size_t) -> *mut c_void {
    // SAFETY: has no preconditions.
    noted(unsafe { __libc_valloc(size) }, size)
}

/// # Safety
/// As the C library's.
#[no_mangle]
#[inline(never)]
pub unsafe extern "C" fn pvalloc(size: size_t) -> *mut c_void {
    // SAFETY: has no preconditions.
    noted(unsafe { __libc_pvalloc(size) }, size)
}

#[cold]
fn out_of_memory() -> *mut c_void {
    if is_on() {
        crate::engine::record::both_modes::count_failure();
    }
    fail(libc::ENOMEM)
}

fn fail(error: c_int) -> *mut c_void {
    errno::set(error);
    ptr::null_mut()
}
