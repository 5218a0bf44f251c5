//! The allocator and the harness that `cargo memprof` slips under a test.
//!
//! `ledger` is the file a recorded process leaves, `engine` the allocator that writes it, `libtest` the face that
//! rustc's expansion of `#[test]` calls, `program` what records a program with a `main` of its own. As an ordinary dependency
//! this crate installs no allocator and no harness: both exist only where `cargo memprof` compiles it, with
//! `--cfg memprof_injected`.

#![cfg_attr(memprof_injected, feature(test, rustc_private, linkage))]
#![deny(unsafe_code)]

#[cfg(memprof_injected)]
extern crate libc;
// The toolchain's own libtest, which the injected crate stands in front of.
#[cfg(all(memprof_injected, not(memprof_program)))]
extern crate test as real;

pub mod engine;
pub mod environment;
pub mod ledger;
mod measure;
pub mod modes;

#[cfg(memprof_native)]
#[cfg_attr(not(memprof_injected), allow(dead_code))]
mod probe;

pub use measure::{Figures, Measured, measure};

// In an ordinary test build only the parts that know nothing of libtest are there, and nobody calls them but their tests.
#[cfg(any(test, all(memprof_injected, not(memprof_program))))]
#[cfg_attr(not(memprof_injected), allow(dead_code))]
mod libtest;
#[cfg(all(memprof_injected, not(memprof_program)))]
pub use libtest::*;

// The same engine under a program whose `main` is its own; such a crate knows nothing of libtest.
#[cfg(memprof_program)]
mod program;
#[cfg(memprof_program)]
pub use program::begin;

#[cfg(any(test, feature = "sources"))]
pub mod sources;
