//! The shape of libtest's interface: everything in which versions of the toolchain's libtest differ, behind one face.
//!
//! A shape is one file. It defines the entry points that rustc's expansion calls, `EntryReturn` (what they return), `dyn_test` and
//! `dyn_bench` (closures as libtest takes them), `run_list` (libtest's own run of such closures) and `plain` (libtest as if we were not there).
//! Which one is compiled says `--cfg memprof_libtest="NAME"`; `cargo memprof` finds the name by compiling the probes of
//! `crate::libtest_shapes`. A compilation that is told nothing gets the shape of stable Rust up to 1.99.
//!
//! No shape re-exports all of libtest: with a glob, an entry point that a future rustc calls and that nobody has written here would be
//! libtest's own, and every test would run without being recorded. An entry point that is missing here is an error of the compiler.

#[cfg(memprof_libtest = "env_args")]
mod env_args;
#[cfg(memprof_libtest = "env_args")]
pub use env_args::*;

#[cfg(not(memprof_libtest = "env_args"))]
mod static_list;
#[cfg(not(memprof_libtest = "env_args"))]
pub use static_list::*;

// What the expansion mentions besides its entry point, and what crates that ask for `extern crate test` use. The compiler looks names
// up here and nowhere else.
pub use real::{bench, black_box, stats};
pub use real::{
    filter_tests, run_tests, run_tests_console, ColorConfig, Options, OutputFormat, RunIgnored, ShouldPanic, TestOpts,
};
pub use real::{DynBenchFn, DynTestFn, StaticTestFn};
pub use real::{DynTestName, StaticTestName};
pub use real::{TestDesc, TestDescAndFn, TestFn, TestName, TestType};
