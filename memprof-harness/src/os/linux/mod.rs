//! The calls of `os` on Linux, with glibc and with musl.

pub(crate) mod errno;
pub(crate) mod file;
pub(crate) mod loader;
pub(crate) mod memory;
pub(crate) mod task;
pub(crate) mod thread;
