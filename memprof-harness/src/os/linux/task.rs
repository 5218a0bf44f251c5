//! The process: its end, its addresses, and a signal that came.

use std::ffi::{c_int, c_void};

/// Which limit of the process.
#[cfg(target_env = "gnu")]
pub(crate) type Limited = libc::__rlimit_resource_t;
/// As above. The other C libraries have no name for its type.
#[cfg(not(target_env = "gnu"))]
pub(crate) type Limited = c_int;

/// Has this process killed when the thread that started it is gone. A kernel that refuses leaves a process that may outlive it, and
/// nothing else. May be called between fork and exec.
pub(crate) fn end_with_parent() {
    // SAFETY: takes a signal's number and touches no memory of ours.
    let _ = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Has what this process executes next be at the same addresses on every run. May be called between fork and exec.
pub(crate) fn fix_addresses() {
    // SAFETY: has no preconditions.
    let _ = unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
}

/// Takes a signal of `signals` that came while it was blocked, if there is one.
///
/// # Safety
/// A set that was made.
pub(crate) unsafe fn take_pending(signals: *const libc::sigset_t) {
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: reads the set and the time, which live until the call is over; no place for more is given.
    unsafe { libc::sigtimedwait(signals, std::ptr::null_mut(), &at_once) };
}

/// Bytes that nobody can guess, by the system call. Gives how many, or -1 with `errno` set.
///
/// # Safety
/// `buffer` can be written for `length` bytes.
pub(crate) unsafe fn random(buffer: *mut c_void, length: usize, flags: libc::c_uint) -> isize {
    // SAFETY: by contract.
    unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as isize }
}

/// Has `end` called with the status when the process exits. What is registered first is called last.
#[cfg(target_env = "gnu")]
pub(crate) fn at_exit(end: extern "C" fn(c_int, *mut c_void)) {
    extern "C" {
        fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    }
    // SAFETY: `end` is a function of the program, so it outlives every exit, and it does not unwind. A refusal (no memory) leaves a ledger
    // that says it was cut short.
    let _ = unsafe { on_exit(end, std::ptr::null_mut()) };
}
