//! Fixed seeds: std asks the kernel for the random numbers that its hash tables begin with, through the C function
//! `getrandom`, which it looks up weakly. The one here comes before the C library's. It passes the question on to the kernel, except
//! in a recorded process that was asked to be the same on every run.

#![allow(unsafe_code)] // a C function that the linker is to find, and a system call

use crate::os::task;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static FIXED: AtomicBool = AtomicBool::new(false);
/// What every answer is made of.
const PATTERN: [u8; 8] = *b"memprof\x01";

/// From here on every answer is the same, on every thread.
pub fn fix() {
    // The linker takes an archive's members only where something names them.
    std::hint::black_box(getrandom as *const ());
    FIXED.store(true, Relaxed);
}

/// Weak, so that a program with one of its own keeps it.
///
/// # Safety
/// As of the C function: `buffer` can be written for `length` bytes.
#[no_mangle]
#[linkage = "weak"]
unsafe extern "C" fn getrandom(buffer: *mut libc::c_void, length: libc::size_t, flags: libc::c_uint) -> libc::ssize_t {
    if !FIXED.load(Relaxed) {
        // SAFETY: the caller's promise is the one the system call asks for.
        return unsafe { task::random(buffer, length, flags) };
    }
    for at in 0..length {
        let byte = buffer.cast::<u8>().wrapping_add(at);
        // SAFETY: `byte` is inside of the `length` bytes that the caller lets us write.
        unsafe { byte.write(PATTERN[at % PATTERN.len()]) };
    }
    length as libc::ssize_t
}
