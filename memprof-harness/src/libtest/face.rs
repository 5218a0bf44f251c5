//! The face: where an executable made by `rustc --test` begins, whatever the entry point is called, and the names that rustc's
//! expansion of `#[test]` mentions and that are ours in every shape of libtest's interface.
#![allow(unsafe_code)] // taking variables out of the environment is unsafe

use super::on_panic::{OnPanic, FAILURE};
use super::options::{self, Plan};
use super::session::Given;
use super::shape::{self, EntryReturn};
use super::{child, parent};
use crate::emulator::Emulator;
use crate::{engine, environment, link_marker};
use real::TestDescAndFn;
use std::env;
use std::ffi::OsString;
use std::hint::black_box;
use std::process::{self, Termination};

// The native hook lies below Rust's allocator, which is then the user's own or the system's.
#[cfg(not(memprof_native))]
#[global_allocator]
static HOOK: engine::Hook = engine::Hook;

/// Turns what a test returned into its verdict, as libtest does. The test function has returned by now: what printing
/// its error allocates is not the test's.
///
/// # Errors
/// Where the value means failure.
pub fn assert_test_result<T: Termination>(result: T) -> Result<(), String> {
    let _outside = engine::suspend();
    real::assert_test_result(result)
}

/// What every entry point does.
pub(super) fn enter(tests: &[&TestDescAndFn], on_panic: OnPanic) -> EntryReturn {
    black_box(link_marker::TESTS);
    let [rate, ledgers, child, ledger, run_options, thread_info, emulator] = take_environment();
    if let Some(test) = child {
        child::run(tests, child::Request { test, ledger, run_options, thread_info }, on_panic);
    }
    // libtest wants its arguments as UTF-8, and says so itself where they are not.
    let arguments = env::args_os().map(|argument| argument.into_string()).collect::<Result<Vec<_>, _>>();
    let Ok(arguments) = arguments else { return shape::plain(tests, on_panic) };
    let planned = options::parse(&arguments).and_then(|options| {
        let plan = Plan::new(&options, rate, ledgers)?;
        Ok((options, plan))
    });
    match planned {
        Ok((options, _)) if options.help => {
            let ended = shape::run_list(&options.rest, Vec::new());
            print!("{}", options::HELP);
            ended
        }
        Ok((options, Some(plan))) => {
            let emulator = emulator.map(|words| Emulator::from_variable(&words)).unwrap_or_default();
            parent::run(tests, options, plan, Given { run_options, emulator, on_panic })
        }
        Ok((_, None)) => shape::plain(tests, on_panic),
        Err(error) => {
            eprintln!("{error}");
            process::exit(FAILURE);
        }
    }
}

/// Our variables, out of the environment: a test, and whatever it starts, is not to know of them.
fn take_environment() -> [Option<OsString>; environment::ALL.len()] {
    environment::ALL.map(|name| {
        let value = env::var_os(name)?;
        // SAFETY: this is the first thing that `main` does, before libtest or anything here starts a thread, so nobody
        // else reads or writes the environment meanwhile.
        unsafe { env::remove_var(name) };
        Some(value)
    })
}
