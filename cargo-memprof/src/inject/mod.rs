//! The injection: this program stands between cargo, rustc and the tests, and removes its traces before a test can see them.
//!
//! `cargo_shim` stands for cargo inside of tests, `build` for rustc and rustdoc while cargo builds, `harness` makes what they slip under
//! a test. Each knows those behind it.

pub mod cargo_shim;

pub mod build;

pub mod harness;

pub mod diagnostics;
pub mod flags;
