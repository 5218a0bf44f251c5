//! One test: runs it in a child as often as it has to run, and reproduces the child's end for libtest to judge.

use super::child::{InChild, PANIC_TEXT_EXTENSION};
use super::folder;
use super::on_panic::OnPanic;
use super::process::{run_collecting, run_inheriting, ProcessOutput};
use super::session::Session;
use super::verdict::{self, Ending, Expectation, Reached};
use crate::ledger::{
    layout, remove_run, source_in_every_checkout, target_of, Benchmark, Finish, Identity, Inventory, LedgerFile,
    OutcomeCode, RunCounts, Seed,
};
use crate::settle::Runs;
use crate::{aslr, environment};
use real::{ShouldPanic, TestDesc};
use std::num::NonZeroU32;
use std::os::unix::process::ExitStatusExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{fs, io};

/// What std says under the first panic of a process.
const ADVICE: &str = "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";

/// One test, as far as the parent has to know it.
#[derive(Clone)]
pub(super) struct TestInChild {
    /// Its place in the executable's own list, which is the same in the child.
    index: usize,
    name: String,
    source_file: &'static str,
    start_line: usize,
    expectation: Expectation,
    part: Part,
}

/// What the child records of it.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// The whole function.
    Test,
    /// The whole function, where it iterates nothing that was measured.
    Benchmark,
    Iteration {
        /// Which call of `iter` was measured, the first is 1.
        call: NonZeroU32,
        /// Of an iteration's time, in nanoseconds.
        median_ns: f64,
    },
}

impl TestInChild {
    pub(super) fn new(index: usize, desc: &TestDesc) -> TestInChild {
        let expectation = match desc.should_panic {
            ShouldPanic::No => Expectation::Return,
            ShouldPanic::Yes => Expectation::Panic,
            ShouldPanic::YesWithMessage(text) => Expectation::PanicWith(text),
        };
        let name = desc.name.as_slice().to_owned();
        TestInChild {
            index,
            name,
            source_file: desc.source_file,
            start_line: desc.start_line,
            expectation,
            part: Part::Test,
        }
    }

    /// The same test, of which the child records `part`.
    pub(super) fn with(&self, part: Part) -> TestInChild {
        TestInChild { part, ..self.clone() }
    }

    /// Runs the test in a child and reproduces how it ended, for libtest to judge.
    pub(super) fn run(&self, session: &Session) -> Result<(), String> {
        match self.record_all(session) {
            Ok(ending) => self.reproduce(ending, session.on_panic),
            Err(error) => {
                println!("error: cannot run `{}` in a process of its own", self.name);
                println!("  caused by: {error}");
                if error.raw_os_error() == Some(libc::EMFILE) {
                    println!("  help: allow more open files, such as by `ulimit -n 1024`, or fewer tests at once: `--test-threads 1`");
                } else {
                    println!(
                        "  help: see that `{}` can be written to and has room, or run without profiling",
                        session.folder.display()
                    );
                }
                self.fail()
            }
        }
    }

    /// Records the test as often as it is to be, or until it does not end as expected. The last ending is the test's, of those that the user
    /// has asked for: what we run besides changes no verdict, and says nothing.
    fn record_all(&self, session: &Session) -> io::Result<Ending> {
        let rule =
            session.rules.as_ref().map(|rules| rules.of(&session.package, &target_of(&session.exe.path), &self.name));
        let mut runs = Runs::new(rule.unwrap_or_default(), session.run_options.repeat);
        loop {
            let (ending, counts, wall) = self.record(session, u64::from(runs.count()))?;
            if ending.outcome(self.expectation) != OutcomeCode::Ok || !runs.again(counts, wall) {
                return Ok(ending);
            }
            if runs.is_ours() {
                self.record_again(session, &mut runs)?;
                return Ok(ending);
            }
        }
    }

    /// Records the test until its metrics are known, or it does not end as expected: what cannot be run twice is run once.
    fn record_again(&self, session: &Session, runs: &mut Runs) -> io::Result<()> {
        loop {
            let (ledger, ended) = self.start(session, self.seed(session, u64::from(runs.count())), false)?;
            let ending = self.finish(&ledger, &ended, session.run_options.timeout)?;
            if ending.outcome(self.expectation) != OutcomeCode::Ok {
                return remove_run(ledger.path());
            }
            if !runs.again(ledger.run_counts().ok(), ended.process.wall) {
                return Ok(());
            }
        }
    }

    /// `repeat` tells the recordings of a test apart that one run makes.
    fn seed(&self, session: &Session, repeat: u64) -> Seed {
        let source_file = source_in_every_checkout(self.source_file, &session.manifest_dir);
        Seed::of_test(&session.package, &target_of(&session.exe.path), source_file, &self.name, repeat)
    }

    fn record(&self, session: &Session, repeat: u64) -> io::Result<(Ending, Option<RunCounts>, Duration)> {
        let (ledger, ended) = self.start(session, self.seed(session, repeat), session.inherit_output)?;
        let ending = self.finish(&ledger, &ended, session.run_options.timeout)?;
        // libtest captures what is printed here, and shows it where it shows a test's output: that of tests that failed.
        let output = String::from_utf8_lossy(&ended.output);
        let failed = ending.outcome(self.expectation) != OutcomeCode::Ok;
        if failed && output.contains(ADVICE) && session.advised.swap(true, Ordering::Relaxed) {
            print!("{}", output.replacen(ADVICE, "", 1));
        } else {
            print!("{output}");
        }
        if let Ending::Broken(sentence) | Ending::TimedOut(sentence) = &ending {
            let unfinished = !matches!(ended.output.last(), None | Some(b'\n'));
            println!("{}{sentence}", if unfinished { "\n" } else { "" });
            if let Some(remark) = verdict::remark(&ended.output) {
                println!("{remark}");
            }
        }
        let counts = session.rules.is_some().then(|| ledger.run_counts().ok()).flatten();
        Ok((ending, counts, ended.process.wall))
    }

    /// Runs the test in a child. Where another test takes the ledger away before the child has opened it, the test has not begun, and
    /// gets another.
    fn start(&self, session: &Session, seed: Seed, inherit_output: bool) -> io::Result<(LedgerFile, ProcessOutput)> {
        let mut left = 16;
        loop {
            let ledger = self.create_ledger(session, seed)?;
            session.note(Inventory::BEGUN, &self.name);
            let ended = self.start_into(session, seed, &ledger, inherit_output)?;
            left -= 1;
            if left == 0 || ledger.state()? != layout::state::CREATED || !ledger.is_removed()? {
                folder::RECORDED.fetch_add(1, Ordering::Relaxed);
                return Ok((ledger, ended));
            }
        }
    }

    fn start_into(
        &self,
        session: &Session,
        seed: Seed,
        ledger: &LedgerFile,
        inherit_output: bool,
    ) -> io::Result<ProcessOutput> {
        let mut command = session.exe.command(&session.arguments)?;
        command.env(environment::CHILD, self.in_child().to_string()).env(environment::LEDGER, ledger.path());
        // The ledger has the rate as well, but the first allocation of the child comes before its ledger is open.
        command.env(environment::RATE, session.rate.0.to_string());
        command.env(environment::PROGRAM, session.for_programs(ledger.path(), seed));
        if !session.thread_info.is_empty() {
            command.env(environment::THREAD_INFO, &session.thread_info);
        }
        if session.run_options.deterministic {
            command.env(environment::MODES, session.run_options.to_string());
            aslr::fix(&mut command);
        }
        let time = session.run_options.timeout;
        if inherit_output {
            run_inheriting(command, time)
        } else {
            run_collecting(command, time)
        }
    }

    fn in_child(&self) -> InChild {
        let call = match self.part {
            Part::Iteration { call, .. } => Some(call),
            Part::Test | Part::Benchmark => None,
        };
        InChild { index: self.index, call }
    }

    fn create_ledger(&self, session: &Session, seed: Seed) -> io::Result<LedgerFile> {
        let identity = Identity {
            name: self.name.clone(),
            exe: session.exe.path.clone(),
            package: session.package.clone(),
            manifest_dir: session.manifest_dir.clone(),
            source_file: self.source_file.to_owned(),
            start_line: u32::try_from(self.start_line).unwrap_or(0),
            root: String::new(),
            benchmark: match self.part {
                Part::Test => None,
                Part::Benchmark => Some(Benchmark::NoIteration),
                Part::Iteration { median_ns, .. } => {
                    Some(Benchmark::Iteration { ps: (median_ns * 1000.0).round() as u64 })
                }
            },
            hook: session.hook,
            seed,
        };
        let stem = format!("{:016x}-{}", session.exe_hash, self.index);
        let mut path = session.folder.join(format!("{stem}.ledger"));
        for again in 2.. {
            match LedgerFile::create(&path, session.rate.0, &identity) {
                // The folder was used for the same executable before; what is there stays.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    path = session.folder.join(format!("{stem}-{again}.ledger"));
                }
                // A test may clean up more than its own. That is no reason for the next one to fail.
                Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::create_dir_all(&session.folder) {
                    // It is being cleaned up at this moment.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    made => made?,
                },
                result => {
                    let ledger = result?;
                    if let Some(depth) = session.run_options.depth {
                        ledger.set_depth(depth.get())?;
                    }
                    return Ok(ledger);
                }
            }
        }
        unreachable!("there are more numbers than files")
    }

    fn finish(&self, ledger: &LedgerFile, ended: &ProcessOutput, time: Option<Duration>) -> io::Result<Ending> {
        let ending = match time.filter(|_| ended.process.timed_out) {
            Some(time) => Ending::timed_out(time),
            None => {
                let reached = Reached { state: ledger.state()?, was_ending: ledger.was_ending()? };
                Ending::new(reached, ended.process.status, || match self.expectation {
                    Expectation::PanicWith(_) => take_panic_text(ledger.path()),
                    _ => None,
                })
            }
        };
        ledger.finish(Finish {
            outcome: ending.outcome(self.expectation),
            wait_status: ended.process.status.into_raw(),
            wall_ns: u64::try_from(ended.process.wall.as_nanos()).unwrap_or(u64::MAX),
        })?;
        Ok(ending)
    }

    fn reproduce(&self, ending: Ending, on_panic: OnPanic) -> Result<(), String> {
        match ending {
            Ending::Returned => Ok(()),
            Ending::ReturnedErr => Err(String::new()),
            // libtest treats the text of an error as it does that of a panic, so nothing has to be unwound.
            Ending::Panicked(Some(text)) => Err(text),
            Ending::Panicked(None) => match self.expectation {
                Expectation::Return | Expectation::Panic => Err(String::new()),
                Expectation::PanicWith(_) if on_panic == OnPanic::Unwind => resume_unwind(Box::new(NotText)),
                Expectation::PanicWith(_) => {
                    println!("note: the test panicked with a value that is not a string");
                    self.fail()
                }
            },
            Ending::Broken(_) | Ending::TimedOut(_) => self.fail(),
        }
    }

    /// What libtest takes for a failure whatever was expected: a test that was to panic fails by returning.
    fn fail(&self) -> Result<(), String> {
        match self.expectation {
            Expectation::Return => Err(String::new()),
            Expectation::Panic | Expectation::PanicWith(_) => Ok(()),
        }
    }
}

/// Stands for a panic's payload that was no string.
struct NotText;

/// The text that the child left beside its ledger; `None` where the payload was no string.
fn take_panic_text(ledger: &Path) -> Option<String> {
    let path = ledger.with_extension(PANIC_TEXT_EXTENSION);
    let text = fs::read(&path).ok()?;
    // It was read; a file that cannot be removed does no harm, since only ledgers are collected.
    let _ = fs::remove_file(&path);
    Some(String::from_utf8_lossy(&text).into_owned())
}
