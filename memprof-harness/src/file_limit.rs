//! Writes files where their length is limited (`ulimit -f`): the kernel would end the process by a signal there, and an
//! error must come back in its place.
#![allow(unsafe_code)] // std knows no signals

use crate::os::task;
use std::mem::MaybeUninit;
use std::ptr;

/// Does `write`, whose calls give the error EFBIG where the limit is met.
pub fn as_error<T>(write: impl FnOnce() -> T) -> T {
    let mut signal = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `signal` is a place for the one set that is written.
    unsafe { libc::sigemptyset(signal.as_mut_ptr()) };
    // SAFETY: the set was made empty just now, and SIGXFSZ is a signal.
    unsafe { libc::sigaddset(signal.as_mut_ptr(), libc::SIGXFSZ) };
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: reads the set made above and writes one to `before`, a place for it.
    if unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, signal.as_ptr(), before.as_mut_ptr()) } != 0 {
        return write();
    }
    let result = write();
    // The kernel sends it to the thread that writes. What came is taken, so that it does not come later.
    // SAFETY: made above.
    unsafe { task::take_pending(signal.as_ptr()) };
    // SAFETY: `before` was written by the call that blocked the signal.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::process::Command;

    /// In a process of its own, because the limit is one's for good.
    #[test]
    fn a_file_that_may_not_grow_is_an_error_and_no_end() {
        const NAME: &str = "file_limit::tests::a_file_that_may_not_grow_is_an_error_and_no_end";
        if std::env::var_os("MEMPROF_TEST_FILE_LIMIT").is_none() {
            let exe = std::env::current_exe().unwrap();
            let status = Command::new("sh")
                .args(["-c", "ulimit -f 8; exec \"$0\" --exact --nocapture \"$1\" >/dev/null 2>&1"])
                .arg(exe)
                .arg(NAME)
                .env("MEMPROF_TEST_FILE_LIMIT", "1")
                .status()
                .unwrap();
            assert!(status.success(), "{status}");
            return;
        }
        let path = std::env::temp_dir().join(format!("memprof-file-limit-{}", std::process::id()));
        let file = File::options().write(true).create_new(true).open(&path).unwrap();
        let written = as_error(|| file.write_all_at(&[1; 16], 1 << 20));
        std::fs::remove_file(path).unwrap();
        assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::EFBIG));
    }
}
