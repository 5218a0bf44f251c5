//! The allocator and the harness that `cargo memprof` slips under a test.
//!
//! `ledger` is the file a recorded process leaves, `engine` the allocator that writes it, `libtest` the face that
//! rustc's expansion of `#[test]` calls. As an ordinary dependency this crate installs no allocator and no harness: both
//! exist only where `cargo memprof` compiles it, with `--cfg memprof_injected`.

#![cfg_attr(memprof_injected, feature(test, rustc_private))]
#![deny(unsafe_code)]

#[cfg(memprof_injected)]
extern crate libc;

pub mod engine;
pub mod environment;
pub mod ledger;

#[cfg(memprof_injected)]
mod libtest;
#[cfg(memprof_injected)]
pub use libtest::*;

#[cfg(feature = "sources")]
pub mod sources;
