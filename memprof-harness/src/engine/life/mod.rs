//! The recorded process and its threads: whether the window is open, who records, and what a fork changes.

pub(crate) mod ending;
#[cfg(any(memprof_program, test))]
#[cfg_attr(not(memprof_program), allow(dead_code))]
pub(crate) mod frames;
#[cfg(memprof_native)]
pub(crate) mod loader;
pub(crate) mod modules;
#[cfg(memprof_native)]
pub(crate) mod own_allocator;
pub(crate) mod process;
pub(crate) mod seccomp;
pub(crate) mod state;
pub(crate) mod std_itself;
pub(crate) mod suspension;
pub(crate) mod thread;
