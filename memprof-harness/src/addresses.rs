//! Where a process has its memory, made the same on every run: what prints an address, or sorts by one, then does the same.
#![allow(unsafe_code)] // std cannot ask the kernel for this

use std::process::Command;

/// Has the kernel put stacks, heaps and objects to the same addresses on every run. Where it refuses, as in some
/// containers, they differ as ever.
pub fn fix(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        let fix = || {
            // SAFETY: has no preconditions.
            unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
            Ok(())
        };
        // SAFETY: what runs between fork and exec is one system call, which neither allocates nor takes a lock.
        unsafe { std::os::unix::process::CommandExt::pre_exec(command, fix) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}
