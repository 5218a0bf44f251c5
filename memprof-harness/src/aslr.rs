//! Gives a process the same addresses on every run, so that code which prints addresses, or sorts by them, does the same on every run.
#![allow(unsafe_code)] // std cannot ask the kernel for this

use crate::os::task;
use std::process::Command;

/// Has the kernel put stacks, heaps and objects to the same addresses on every run. Where it refuses, as in some
/// containers, they differ as ever.
pub fn fix(command: &mut Command) {
    let fix = || {
        task::fix_addresses();
        Ok(())
    };
    // SAFETY: what runs between fork and exec is one system call, which neither allocates nor takes a lock.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, fix) };
}
