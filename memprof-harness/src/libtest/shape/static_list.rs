//! Rust up to 1.99: `test_main_static(&[&TestDescAndFn])` returns nothing and ends the process itself where a test failed; a closure
//! is boxed and run once.

use crate::libtest::face::enter;
use crate::libtest::on_panic::OnPanic;
use real::{Bencher, TestDescAndFn, TestFn};

/// What an entry point returns.
pub(in crate::libtest) type EntryReturn = ();

/// The entry point of an executable made by `rustc --test`.
pub fn test_main_static(tests: &[&TestDescAndFn]) {
    enter(tests, OnPanic::Unwind);
}

/// The entry point where panics abort (`-Z panic-abort-tests`).
pub fn test_main_static_abort(tests: &[&TestDescAndFn]) {
    enter(tests, OnPanic::Abort);
}

/// A test that is a closure.
pub(in crate::libtest) fn dyn_test(run: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> TestFn {
    TestFn::DynTestFn(Box::new(run))
}

/// A benchmark that is a closure.
pub(in crate::libtest) fn dyn_bench(
    run: impl Fn(&mut Bencher) -> Result<(), String> + Send + Sync + 'static,
) -> TestFn {
    TestFn::DynBenchFn(Box::new(run))
}

/// libtest's run of `tests`. Ends the process where one of them failed.
pub(in crate::libtest) fn run_list(arguments: &[String], tests: Vec<TestDescAndFn>) -> EntryReturn {
    real::test_main(arguments, tests, None);
}

/// libtest as if we were not there.
pub(in crate::libtest) fn plain(tests: &[&TestDescAndFn], on_panic: OnPanic) -> EntryReturn {
    match on_panic {
        OnPanic::Unwind => real::test_main_static(tests),
        OnPanic::Abort => real::test_main_static_abort(tests),
    }
}
