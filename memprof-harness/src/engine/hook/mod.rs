//! The hooks, through which the program's calls come in: Rust's allocation functions, or the C library's.

#[cfg(memprof_native)]
mod c_library;
// Where there is a dynamic C library to go on to.
#[cfg(all(
    not(memprof_native),
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#[cfg_attr(not(memprof_injected), allow(dead_code))] // nothing calls it in a program that does not have its names
pub(crate) mod free;
#[cfg(not(all(
    not(memprof_native),
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub(crate) mod free {
    pub(crate) fn prepare() {}
}
pub(crate) mod observer;
pub(crate) mod rust;
// Where there is a dynamic C library to go on to.
#[cfg(all(
    memprof_injected,
    target_os = "linux",
    not(target_feature = "crt-static"),
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod unload;
