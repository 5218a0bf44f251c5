//! The bytes by which `cargo memprof` sees, once an executable is linked, that our entry point is in it. The entry point
//! alone refers to them, and the linker drops what nothing refers to: a target with a test runner of its own
//! (`#![test_runner]`) compiles against our `test` crate and never calls it.
//!
//! Each has a zero byte in its middle, so that this file's own text, which `cargo-memprof` holds, is no marker.

/// In an executable whose `main` is libtest's.
pub const TESTS: &[u8] = b"memprof link marker\0of the tests\0";
/// In a program whose `main` is its own.
pub const PROGRAM: &[u8] = b"memprof link marker\0of a program\0";
