//! Files and pipes.

use libc::c_int;
use std::io;

/// Gives `len` bytes of the file from `at` on real blocks, so that writing to a mapping of them can never meet a full disk. Gives 0, or
/// an error's number.
pub(crate) fn allocate(file: c_int, at: u64, len: u64) -> c_int {
    let (Ok(at), Ok(len)) = (libc::off_t::try_from(at), libc::off_t::try_from(len)) else { return libc::EFBIG };
    // SAFETY: touches no memory of ours; a descriptor that is not open is an error.
    unsafe { libc::posix_fallocate(file, at, len) }
}

/// The next entries of a folder, as the kernel has them; 0 bytes of them where there are no more.
pub(crate) fn entries(folder: c_int, place: &mut [u8]) -> Option<usize> {
    // SAFETY: `place` has room for as many bytes as it is long.
    let read = unsafe { libc::syscall(libc::SYS_getdents64, folder, place.as_mut_ptr(), place.len()) };
    usize::try_from(read).ok()
}

/// The device of a file, and its number there: no two files have both.
pub(crate) fn identity(file: &libc::stat) -> (u64, u64) {
    (file.st_dev, file.st_ino)
}

/// A pipe, whose reading end comes first. No program that is started meanwhile gets it.
pub(crate) fn pipe() -> io::Result<[c_int; 2]> {
    let mut ends = [0; 2];
    // SAFETY: the system writes two descriptors through the pointer, which is to a place for two.
    match unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } {
        0 => Ok(ends),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has a pipe hold more; it stays as it is where that is not granted.
pub(crate) fn enlarge(pipe: c_int, bytes: c_int) {
    // SAFETY: takes a number and touches no memory of ours; a descriptor that is not open is an error.
    let _ = unsafe { libc::fcntl(pipe, libc::F_SETPIPE_SZ, bytes) };
}
