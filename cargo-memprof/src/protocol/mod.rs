//! The protocol between the driver, the rustc wrapper and the runner, which are this program called in different ways. They communicate by
//! environment variables, the plan of the run, the run log, and records beside the files that they make.

pub mod ancestors;
pub mod build_record;
pub mod build_script;
pub mod cargo_shim;
pub mod library;
pub mod measured;
pub mod plan;
pub mod run_log;
pub mod way;

/// The word by which cargo calls this program as its runner; the triple and then the executable with its arguments follow.
pub const RUNNER: &str = "__runner";
/// The name of the link by which doctests that were compiled as one start this program for each of theirs.
pub const DOCTEST_PROCESS: &str = "doctest-process";
/// What a program is called that is recorded as one.
pub const WHOLE: &str = "(whole program)";
