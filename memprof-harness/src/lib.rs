//! The allocator and the harness that `cargo memprof` slips under a test.
//!
//! `ledger` is the file a recorded process leaves, `engine` the allocator that writes it, `libtest` the face that
//! rustc's expansion of `#[test]` calls, `program` what records a program with a `main` of its own. As an ordinary dependency
//! this crate installs no allocator and no harness: both exist only where `cargo memprof` compiles it, with
//! `--cfg memprof_injected`.

#![cfg_attr(memprof_injected, feature(test, rustc_private, linkage))]
#![cfg_attr(memprof_alloc_error_hook, feature(alloc_error_hook))]
#![deny(unsafe_code)]
// The C library's hooks are made for Linux alone, and what only they call is nobody's elsewhere.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

// Where nothing can be recorded, the crate compiles all the same, and has next to nothing. On macOS everything compiles, so that a compiler
// reads what is to run there one day: `cargo memprof` then refuses as it starts. What is injected is refused twice, but where somebody
// asks for the compiler's word alone.
#[cfg(all(feature = "sources", not(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64"))))]
compile_error!(
    "allocations are recorded on 64-bit Linux only, so `cargo memprof` cannot be had here; `cargo test` runs the tests"
);
#[cfg(all(memprof_injected, not(memprof_port), not(all(target_os = "linux", target_pointer_width = "64"))))]
compile_error!("allocations are recorded on 64-bit Linux only; `cargo test` runs the tests");

#[cfg(memprof_injected)]
extern crate libc;
// The toolchain's own libtest, which the injected crate stands in front of.
#[cfg(all(memprof_injected, not(memprof_program)))]
extern crate test as real;

#[cfg(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64"))]
#[cfg(not(memprof_program))]
pub mod aslr;
#[cfg(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64"))]
#[cfg(not(memprof_program))]
mod descendants;
#[cfg(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64"))]
#[cfg(any(memprof_native, not(memprof_program)))]
pub mod emulator;
#[cfg(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64"))]
pub mod engine;
pub mod environment;
#[cfg(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64"))]
pub mod file_limit;
#[cfg(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64"))]
#[cfg(memprof_injected)]
mod hash_seeds;
#[cfg(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64"))]
pub mod ledger;
#[cfg(not(memprof_program))]
pub mod libtest_flags;
pub mod link_marker;
#[cfg(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64"))]
mod os;
pub mod pattern;
#[cfg(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64"))]
mod provenance;
#[cfg(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64"))]
pub mod run_options;
#[cfg(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64"))]
#[cfg(not(memprof_program))]
pub mod settle;
#[cfg(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64"))]
#[cfg(not(memprof_program))]
mod terminal;
#[cfg(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64"))]
#[cfg(not(memprof_program))]
pub mod timeout;

#[cfg(memprof_native)]
#[cfg_attr(not(memprof_injected), allow(dead_code))]
mod probe;

// In an ordinary test build only the parts that know nothing of libtest are there, and nobody calls them but their tests.
#[cfg(any(test, all(memprof_injected, not(memprof_program))))]
#[cfg_attr(not(memprof_injected), allow(dead_code))]
mod libtest;
#[cfg(all(memprof_injected, not(memprof_program)))]
pub use libtest::*;

// The same engine under a program whose `main` is its own; such a crate knows nothing of libtest.
#[cfg(all(memprof_program, memprof_native))]
mod in_fork;
#[cfg(memprof_injected)]
mod no_memory;
#[cfg(any(test, memprof_native, memprof_program, memprof_injected))]
#[cfg_attr(not(memprof_injected), allow(dead_code))]
mod own_file;
#[cfg(memprof_program)]
mod program;
#[cfg(any(test, memprof_program, memprof_injected))]
#[cfg_attr(not(memprof_program), allow(dead_code))]
mod std_start;
#[cfg(memprof_program)]
pub use program::begin;

#[cfg(any(test, feature = "sources"))]
pub mod libtest_shapes;
#[cfg(any(test, feature = "sources"))]
pub mod sources;
