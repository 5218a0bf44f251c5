//! C's `dlclose`. What is loaded next may lie where this library lay, and what its unwind tables say is another thing then; so what was
//! learned of addresses is forgotten, and nothing is learned during the call, which goes on to the C library's. Its name is noted, and its place
//! kept, since what names a stack's addresses only sees them when the test has ended.
//!
//! The name is weak: a program that defines `dlclose` itself keeps its own.

#![allow(unsafe_code)] // a function of the C library's

use crate::engine::life::modules;
use crate::engine::unwind::code_at;
use std::ffi::{c_int, c_void};
use std::mem::transmute;

#[cfg(all(memprof_injected, target_arch = "x86_64"))]
std::arch::global_asm!(
    ".pushsection .text.memprof_dlclose,\"ax\",%progbits",
    ".weak dlclose",
    ".type dlclose,%function",
    "dlclose:",
    "jmp {close}",
    ".size dlclose, . - dlclose",
    ".popsection",
    close = sym close
);

#[cfg(all(memprof_injected, target_arch = "aarch64"))]
std::arch::global_asm!(
    ".pushsection .text.memprof_dlclose,\"ax\",%progbits",
    ".weak dlclose",
    ".type dlclose,%function",
    "dlclose:",
    "b {close}",
    ".size dlclose, . - dlclose",
    ".popsection",
    close = sym close
);

/// # Safety
/// As C's `dlclose`.
unsafe extern "C" fn close(library: *mut c_void) -> c_int {
    // SAFETY: a C string, and a handle that stands for what is loaded after the caller.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"dlclose".as_ptr()) };
    // SAFETY: null, or the address of a function with this signature, for which its name stands.
    let next = unsafe { transmute::<*mut c_void, Option<unsafe extern "C" fn(*mut c_void) -> c_int>>(next) };
    let Some(next) = next else { return -1 };
    // SAFETY: the caller upholds `dlclose`'s contract.
    let unload = || unsafe { next(library) };
    modules::unload(|| code_at::unload(unload))
}
