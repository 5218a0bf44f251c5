//! The shapes that libtest's interface has had, newest first, and for each a probe: a crate that compiles where the toolchain's libtest
//! has that shape. `libtest/shape/` has what is compiled then. And the same for what else of the toolchain's may be another tomorrow.
//! What the versions of a toolchain are called is never asked.

/// One shape of libtest's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The value of `--cfg memprof_libtest`, and the name of its file in `libtest/shape/`.
    pub name: &'static str,
    /// The text of a crate that compiles with this shape and with no other.
    pub probe: &'static str,
}

/// A new one is put first. Each says which change of the toolchain it answers to.
pub const SHAPES: &[Shape] = &[
    // rust-lang/rust#161868, in Rust 1.100: the entry points take the arguments from the environment and return an exit code, and
    // closures are shared.
    Shape {
        name: "env_args",
        probe: "#![feature(test)]
extern crate test;
use std::{process::ExitCode, sync::Arc};
pub type Tests<'a> = &'a [&'a test::TestDescAndFn];
pub type Run = Result<(), String>;
pub fn enter(tests: Tests<'_>) -> test::ExitCode { test::test_main_env_args(tests) }
pub fn abort(tests: Tests<'_>) -> ExitCode { test::test_main_env_args_abort(tests) }
pub fn list(arguments: &[String], tests: Tests<'_>) -> ExitCode { test::test_main(arguments, tests) }
pub fn closure(run: Arc<dyn Fn() -> Run + Send + Sync>) -> test::TestFn { test::TestFn::DynTestFn(run) }
pub fn bench(run: Arc<dyn Fn(&mut test::Bencher) -> Run + Send + Sync>) -> test::TestFn { test::TestFn::DynBenchFn(run) }
",
    },
    // As it was for years before.
    Shape {
        name: "static_list",
        probe: "#![feature(test)]
extern crate test;
pub type Tests<'a> = &'a [&'a test::TestDescAndFn];
pub type Run = Result<(), String>;
pub fn enter(tests: Tests<'_>) { test::test_main_static(tests) }
pub fn abort(tests: Tests<'_>) { test::test_main_static_abort(tests) }
pub fn list(arguments: &[String], tests: Vec<test::TestDescAndFn>) { test::test_main(arguments, tests, None) }
pub fn closure(run: Box<dyn FnOnce() -> Run + Send>) -> test::TestFn { test::TestFn::DynTestFn(run) }
pub fn bench(run: Box<dyn Fn(&mut test::Bencher) -> Run + Send>) -> test::TestFn { test::TestFn::DynBenchFn(run) }
",
    },
];

/// A crate that compiles where std lets a program say what happens when there is no memory.
pub const ALLOC_ERROR_HOOK: &str = "#![feature(alloc_error_hook)]
use std::alloc::Layout;
pub fn take() -> fn(Layout) { std::alloc::take_alloc_error_hook() }
pub fn set(hook: fn(Layout)) { std::alloc::set_alloc_error_hook(hook) }
";

/// What the crate of a probe is called: `RUSTC_BOOTSTRAP` takes the name.
pub const PROBE_CRATE: &str = "memprof_probe";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::FILES;

    #[test]
    fn every_shape_has_a_file_of_its_name_and_every_file_a_shape() {
        let mut files: Vec<&str> =
            FILES.iter().filter_map(|(path, _)| path.strip_prefix("libtest/shape/")?.strip_suffix(".rs")).collect();
        let mut shapes: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
        files.sort_unstable();
        shapes.sort_unstable();
        assert_eq!(files, shapes);
    }

    #[test]
    fn nothing_of_libtest_is_exported_by_a_glob() {
        for (path, text) in FILES.iter().filter(|(path, _)| path.starts_with("libtest/")) {
            assert!(!text.contains("use real::*"), "{path}");
        }
    }
}
