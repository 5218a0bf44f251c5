//! The calling thread's `errno`.

use libc::c_int;

pub(crate) fn get() -> c_int {
    // SAFETY: always a valid address of this thread's `errno`.
    unsafe { place().read() }
}

pub(crate) fn set(error: c_int) {
    // SAFETY: as above.
    unsafe { place().write(error) }
}

fn place() -> *mut c_int {
    // SAFETY: has no preconditions.
    unsafe { libc::__errno_location() }
}
