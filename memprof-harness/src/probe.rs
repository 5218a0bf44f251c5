//! Finds out once for an executable whether the native hook sees its allocations: one of its processes tries the
//! program's allocator before `main`, and ends. So the counts of tests are not disturbed.
#![allow(unsafe_code)] // runs before `main`

use crate::emulator::Emulator;
use crate::engine;
use crate::environment::{self, PROBE};
use crate::ledger::Hook;
use crate::own_file;
use std::env;
use std::path::Path;
use std::process::Stdio;

/// What the trying process ends with where the hook saw everything.
const SEEN: i32 = 83;
const NOT_SEEN: i32 = 84;

/// The loader calls what is listed here, after the C library is ready, and before the constructors of the program, which are not
/// to be run for this.
#[used]
#[link_section = ".init_array.00100"]
static ANSWER: extern "C" fn() = answer;

extern "C" fn answer() {
    // SAFETY: a C string; before `main` nothing changes the environment.
    if unsafe { libc::getenv(c"MEMPROF_PROBE".as_ptr()) }.is_null() {
        return;
    }
    let status = if engine::reaches_the_hook() { SEEN } else { NOT_SEEN };
    // SAFETY: has no preconditions. Nothing of the program's is to run, handlers included.
    unsafe { libc::_exit(status) }
}

/// Starts this process's executable once more and asks it. What cannot be found out is not claimed.
pub fn ask(emulator: &Emulator) -> Hook {
    // An emulator would start itself by the name that the kernel has for this process.
    let path = if emulator.is_none() { own_file::mapped() } else { env::current_exe().ok() };
    let mut command = emulator.command(path.as_deref().unwrap_or(Path::new(own_file::STARTED)));
    if let (Some(name), true) = (env::args_os().next(), emulator.is_none()) {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
    }
    let programs = [environment::PROGRAM, environment::NAME, environment::WINDOW];
    for name in environment::ALL.into_iter().chain(programs) {
        command.env_remove(name);
    }
    command.env(PROBE, "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.code() == Some(SEEN) => Hook::Native,
        _ => Hook::NativePartial,
    }
}
