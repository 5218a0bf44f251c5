//! The child: runs one test on a thread named after it, with the ledger's window open for as long as the test function
//! runs, and ends the process.
#![allow(unsafe_code)] // std cannot ask to end with the parent

use super::on_panic::{OnPanic, FAILURE};
use super::{bencher, verdict};
use crate::engine::{self, LeakBudget};
use crate::hash_seeds;
use crate::ledger::layout::{leak_check, state};
use crate::no_memory;
use crate::os;
use crate::run_options::RunOptions;
use crate::std_start;
use real::{Bencher, ShouldPanic, TestDescAndFn, TestFn};
use std::any::Any;
use std::ffi::OsString;
use std::fmt;
use std::hint::black_box;
use std::io::Write;
use std::num::{NonZeroU32, ParseIntError};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fs, io, process, thread};

/// Beside the ledger: the panic's text, where libtest is going to look for a string in it. The ledger itself keeps no
/// more than the text's beginning.
pub(super) const PANIC_TEXT_EXTENSION: &str = "panic";

/// Set to `1` by a user: a limit of leaks that cannot be checked fails its test.
const REQUIRE: &str = "MEMPROF_REQUIRE";

/// What the parent said, by the variables of [`crate::environment`].
pub(super) struct Request {
    /// See [`InChild`].
    pub test: OsString,
    pub ledger: Option<OsString>,
    pub run_options: Option<OsString>,
    pub thread_info: Option<OsString>,
}

/// Runs the test that is asked for and ends the process.
pub(super) fn run(tests: &[&TestDescAndFn], request: Request, on_panic: OnPanic) -> ! {
    let Request { test: number, ledger, run_options, thread_info } = request;
    // Under libtest a test ends with its harness, also where that is killed or stops at the first failure. The parent's thread that
    // started this process waits for it, so it is the parent's end that counts.
    os::task::end_with_parent();
    // The parent has understood them, so they are what it gave on.
    let run_options =
        run_options.and_then(|run_options| run_options.to_str()?.parse::<RunOptions>().ok()).unwrap_or_default();
    if run_options.deterministic {
        hash_seeds::fix();
    }
    let ledger = ledger.map(PathBuf::from);
    let in_child = number.to_str().and_then(|text| text.parse::<InChild>().ok());
    let test = in_child.and_then(|in_child| Some((tests.get(in_child.index)?, in_child.call)));
    let (Some(ledger), Some((test, call))) = (ledger, test) else {
        refuse(&format!("its parent asked for test {} of {}", number.to_string_lossy(), tests.len()))
    };
    if let Err(error) = engine::attach(&ledger) {
        refuse(&format!("the ledger `{}` cannot be opened: {error}", ledger.display()));
    }
    if let Some(function) = thread_info.as_deref().and_then(|text| std_start::ranges(text.to_str()?).next()) {
        engine::leave_out_thread_info(function);
    }
    let body = match test.testfn {
        TestFn::StaticTestFn(function) => Body::Test(function),
        TestFn::StaticBenchFn(function) => call.map_or(Body::Bench(function), |call| Body::Iteration(function, call)),
        _ => refuse("rustc gave a test that is not static"),
    };
    let panic_text = matches!(test.desc.should_panic, ShouldPanic::YesWithMessage(_))
        .then(|| ledger.with_extension(PANIC_TEXT_EXTENSION));
    // Its buffer is made on first use; under libtest the harness has long used it when a test begins.
    drop(io::stdout());
    // This thread is the harness's, and the window is open while it waits for the other.
    let _outside = engine::suspend();
    wrap_panic_hook(on_panic, panic_text.clone());
    no_memory::leave_out_message();
    let spawned = thread::Builder::new()
        .name(test.desc.name.as_slice().to_owned())
        .spawn(move || record(body, panic_text.as_deref()));
    let status = match spawned {
        Ok(thread) => status_of(thread),
        Err(error) => refuse(&format!("no thread can be had: {error}")),
    };
    engine::close();
    let status = hold_leak_budget(status, test.desc.should_panic);
    // Flushes stdout, and does not wait for threads that the test left running.
    process::exit(status)
}

/// Which test a child is to run, as its parent says it in [`crate::environment::CHILD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InChild {
    /// Its place in the executable's own list.
    pub index: usize,
    /// Of a benchmark of which one iteration is to be recorded: of which call of `iter`, the first is 1.
    pub call: Option<NonZeroU32>,
}

impl fmt::Display for InChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.index)?;
        self.call.map_or(Ok(()), |call| write!(f, "/{call}"))
    }
}

impl FromStr for InChild {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<InChild, ParseIntError> {
        let (index, call) = text.split_once('/').map_or((text, None), |(index, call)| (index, Some(call)));
        Ok(InChild { index: index.parse()?, call: call.map(str::parse).transpose()? })
    }
}

/// What rustc made of a test function. Benchmarks run once where they are run as tests.
#[derive(Clone, Copy)]
enum Body {
    Test(fn() -> Result<(), String>),
    Bench(fn(&mut Bencher) -> Result<(), String>),
    /// Where benchmarks are measured, one iteration is recorded, of that call of `iter`.
    Iteration(fn(&mut Bencher) -> Result<(), String>, NonZeroU32),
}

impl Body {
    fn run(self) -> Result<(), String> {
        match self {
            Body::Test(function) => {
                engine::open();
                __rust_begin_short_backtrace(function)
            }
            Body::Bench(function) => real::bench::run_once(|bencher| {
                engine::open();
                __rust_begin_short_backtrace(|| function(bencher))
            }),
            Body::Iteration(function, call) => __rust_begin_short_backtrace(|| bencher::record(function, call)),
        }
    }
}

/// std cuts backtraces at a function with this name, as it does at libtest's own.
#[inline(never)]
fn __rust_begin_short_backtrace<T, F: FnOnce() -> T>(function: F) -> T {
    // What is outside of here stays on the stack until the test is over: no event need look at it.
    let _anchor = engine::anchor();
    let result = function();
    // Keeps the call from becoming a jump, which would take this frame off the stack.
    black_box(result)
}

/// Runs the test; gives the process's exit status. The window stays open: the destructors of this thread's thread-locals
/// are the test's.
fn record(body: Body, panic_text: Option<&Path>) -> i32 {
    let result = panic::catch_unwind(AssertUnwindSafe(|| body.run()));
    // What the harness does from here on is not the test's, and neither is the payload left behind by it.
    let _outside = engine::suspend();
    match result {
        Ok(Ok(())) => {
            engine::report(state::RETURNED, None);
            0
        }
        Ok(Err(text)) => {
            engine::report(state::RETURNED_ERR, Some(&text));
            verdict::CHILD_FAILED
        }
        Err(payload) => {
            let text = text_of(&*payload).map(str::to_owned);
            // A payload may do anything when it is dropped, and the verdict stands.
            if let Err(another) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(another);
            }
            report_panic(text.as_deref(), panic_text);
            verdict::CHILD_FAILED
        }
    }
}

/// Waits for the thread; gives the process's exit status. A function of its own, so that what the thread's end left in its result's unused
/// bytes is not on the stack when that is searched for pointers.
#[inline(never)]
fn status_of(thread: thread::JoinHandle<i32>) -> i32 {
    thread.join().unwrap_or(FAILURE)
}

/// Holds what the test has leaked against what it allows itself; gives the process's exit status.
fn hold_leak_budget(status: i32, should_panic: ShouldPanic) -> i32 {
    let message = match engine::leak_budget() {
        LeakBudget::Kept => return status,
        LeakBudget::Exceeded { limit, objects, space } => format!(
            "over budget: `leaked` is {space}, and at most {limit} may be\n  \
             blocks that nothing leads to any more: {objects}; `cargo memprof test --memprofilerate 1` says where they were allocated"
        ),
        LeakBudget::Unchecked(code) => {
            let why = match code {
                leak_check::BLOCKS_UNKNOWN => "its address space is limited, or it has a sanitizer",
                leak_check::THREAD_RUNNING => "a thread that it started still runs",
                leak_check::TOO_MUCH => "it has too much memory in use",
                leak_check::FILTERED => "it has forbidden itself system calls",
                leak_check::NO_MEMORY => "there is no memory for it",
                _ => "the system does not say what has to be known",
            };
            let message = format!("the budget of `leaked` cannot be checked: {why}");
            if !std::env::var_os(REQUIRE).is_some_and(|value| value == "1") {
                eprintln!("note: {message}");
                return status;
            }
            format!("{message}, and {}=1 is set", REQUIRE)
        }
    };
    eprintln!("{message}");
    if should_panic != ShouldPanic::No {
        // What libtest takes for a panic is an error, too; so it has returned, which is not what was expected.
        engine::report(state::RETURNED, Some(&message));
        return 0;
    }
    if status == 0 {
        engine::report(state::RETURNED_ERR, Some(&message));
        return verdict::CHILD_FAILED;
    }
    // A test that failed has failed of that.
    status
}

fn report_panic(text: Option<&str>, keep_text: Option<&Path>) {
    engine::report(state::PANICKED, text);
    let (Some(text), Some(path)) = (text, keep_text) else { return };
    let mut options = fs::OpenOptions::new();
    // Another test may have put a link there.
    options.write(true).create(true).truncate(true).custom_flags(libc::O_NOFOLLOW);
    if let Err(error) = options.open(path).and_then(|mut file| file.write_all(text.as_bytes())) {
        eprintln!("error: cannot keep the panic's text for the test's verdict");
        eprintln!("  caused by: {error} (`{}`)", path.display());
        eprintln!("  help: make room on the disk, or run without profiling");
    }
}

fn text_of(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&'static str>().copied())
}

/// Keeps what the panic hook does (the message, the backtrace and the symbols read for it) out of the recording. A test
/// that takes the hook gets this one, which does what the one below it does; a hook that a test sets itself is recorded.
fn wrap_panic_hook(on_panic: OnPanic, panic_text: Option<PathBuf>) {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let _outside = engine::suspend();
        previous(info);
        if on_panic == OnPanic::Abort {
            // Nothing will unwind to `record`. As under libtest the first panic is the test's end, on any thread.
            report_panic(text_of(info.payload()), panic_text.as_deref());
            engine::close();
            process::exit(verdict::CHILD_FAILED);
        }
    }));
}

/// Ends a child that cannot run its test; the parent shows what it says and names the moment.
fn refuse(why: &str) -> ! {
    eprintln!("error: cannot run the test in a process of its own");
    eprintln!("  caused by: {why}");
    eprintln!("  help: run it without profiling, and report this as a bug of cargo memprof");
    process::exit(FAILURE)
}
