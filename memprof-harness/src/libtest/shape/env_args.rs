//! Rust from 1.100 on: `main` returns what `test_main_env_args(&[&TestDescAndFn])` does, the verdict comes back as an `ExitCode`, and
//! a closure is counted and may be run again.

use crate::libtest::face::enter;
use crate::libtest::on_panic::OnPanic;
use real::{Bencher, TestDescAndFn, TestFn};
use std::sync::Arc;

/// By this name the expansion's `main` says what it returns.
pub use std::process::ExitCode;

/// What an entry point returns.
pub(in crate::libtest) type EntryReturn = ExitCode;

/// The entry point of an executable made by `rustc --test`.
pub fn test_main_env_args(tests: &[&TestDescAndFn]) -> ExitCode {
    enter(tests, OnPanic::Unwind)
}

/// The entry point where panics abort (`-Z panic-abort-tests`).
pub fn test_main_env_args_abort(tests: &[&TestDescAndFn]) -> ExitCode {
    enter(tests, OnPanic::Abort)
}

/// A test that is a closure.
pub(in crate::libtest) fn dyn_test(run: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> TestFn {
    TestFn::DynTestFn(Arc::new(run))
}

/// A benchmark that is a closure.
pub(in crate::libtest) fn dyn_bench(
    run: impl Fn(&mut Bencher) -> Result<(), String> + Send + Sync + 'static,
) -> TestFn {
    TestFn::DynBenchFn(Arc::new(run))
}

/// libtest's run of `tests`.
pub(in crate::libtest) fn run_list(arguments: &[String], tests: Vec<TestDescAndFn>) -> EntryReturn {
    real::test_main(arguments, &tests.iter().collect::<Vec<_>>())
}

/// libtest as if we were not there.
pub(in crate::libtest) fn plain(tests: &[&TestDescAndFn], on_panic: OnPanic) -> EntryReturn {
    match on_panic {
        OnPanic::Unwind => real::test_main_env_args(tests),
        OnPanic::Abort => real::test_main_env_args_abort(tests),
    }
}
