//! This program as cargo's runner: it notes that an executable is run, gives it back the environment the user had, and
//! becomes it, so that signals, exit codes and streams are the program's own. Only where a program is to be run more than
//! once, or for so long and no longer, does it start it and stand for it.

mod attempt;
mod benchmarks;
mod call;
mod capture;
mod doctest;
mod libtest;
mod listing;

pub use doctest::run_one_of_many;

use crate::context::cargo_args::only_asks;
use crate::files::outlet;
use crate::protocol::RUNNER;
use crate::protocol::WHOLE;
use crate::protocol::build_script;
use crate::protocol::plan::Plan;
use crate::protocol::run_log::Trace;
use crate::ui::error::Error;
use crate::ui::terminal::Shell;
use attempt::Attempt;
use call::{RunnerCall, cannot_note, cannot_run};
use listing::{Answer, Tests};
use memprof_harness::environment;
use memprof_harness::ledger::{Inventory, Listed};
use memprof_harness::settle::Runs;
use memprof_harness::timeout;
use rustix::process::Signal;
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

/// What a program ends with whose tests failed.
const FAILURE: i32 = 101;

/// Becomes the executable in `args`; comes back only where that fails.
pub fn run(args: &[OsString]) -> Error {
    let [triple, program @ ..] = args else {
        return Error::usage(format!("cannot use `{RUNNER}`"))
            .caused_by("it is how cargo calls this program back")
            .help("use `cargo memprof test`");
    };
    RunnerCall::new(&triple.to_string_lossy(), program).and_then(|call| call.run()).unwrap_or_else(|error| error)
}

impl RunnerCall<'_> {
    /// Becomes the executable, or stands for it; gives why that failed.
    fn run(mut self) -> Result<Error, Error> {
        let args = self.program.get(1..).unwrap_or_default();
        if build_script::is_above(&self.plan) {
            return Ok(self.plain(self.command(args)));
        }
        let build_record = self.log_entry.build_record.clone();
        if let Some(doctest) = build_record.as_ref().and_then(|build_record| build_record.doctest.as_ref()) {
            return self.run_doctests(doctest, args);
        }
        let mut command = self.command(args);
        match build_record.filter(|build_record| build_record.unprofiled.is_none()) {
            None => {}
            Some(build_record) if !build_record.own_main => {
                record_tests(&mut command, &self.plan);
                self.name_emulator(&mut command);
                self.log_entry.leaves = if only_asks(args) { Trace::Nothing } else { Trace::Inventory };
            }
            Some(_) => {
                if let Some(name) = listing::of_nextest(args) {
                    return self.run_alone(name, args);
                }
                match self.ask(args) {
                    Answer::Tests(mut tests) => {
                        self.as_libtest(&mut tests, args)?;
                        return self.run_each(command, tests, args);
                    }
                    Answer::Benchmarks(benchmarks) => return self.run_benchmarks(command, benchmarks, args),
                    Answer::Whole(_) if !self.shares(&[WHOLE])[0] => return self.leave_to_another_share(),
                    Answer::Whole(_) if !self.run_options.records(WHOLE) => self.note_unrecorded([WHOLE])?,
                    Answer::Whole(remark) => {
                        self.log_entry.remark = remark;
                        self.log_entry.leaves = Trace::Ledger;
                        self.log_run()?;
                        let make = || self.record(self.command(args), "", None);
                        let name = self.target();
                        return self.run_recorded(make, &format!("`{name}`"), FAILURE, self.runs_of(&name, WHOLE));
                    }
                    Answer::NoRun => {}
                }
            }
        }
        self.log_run()?;
        Ok(self.plain(command))
    }

    /// Becomes a program that is not recorded.
    fn plain(&self, mut command: Command) -> Error {
        let error = command.exec();
        cannot_run(command.get_program(), &error)
    }

    /// Becomes the program while it runs the one test that `args` name, as nextest has it.
    fn run_alone(mut self, name: &str, args: &[OsString]) -> Result<Error, Error> {
        let records = self.run_options.records(name);
        self.log_entry.leaves = if records { Trace::Ledger } else { Trace::Nothing };
        self.log_run()?;
        if !records {
            self.note_unrecorded([name])?;
            return Ok(self.plain(self.command(args)));
        }
        let threaded = self.is_listed() || listing::is_threaded(self.log_entry.exe.as_path());
        let threads = threaded.then(|| OsString::from("--test-threads=2"));
        let args: Vec<OsString> = args.iter().cloned().chain(threads).collect();
        let frame = self.is_listed().then(|| libtest::window(self.log_entry.exe.as_path())).flatten();
        let window = frame.as_deref().or(threaded.then_some(environment::THREADS));
        let runs = self.runs_of(&self.target(), name);
        self.run_recorded(|| self.record(self.command(&args), name, window), &format!("test `{name}`"), FAILURE, runs)
    }

    /// The target's name, as its executable has it.
    fn target(&self) -> String {
        memprof_harness::ledger::target_of(self.log_entry.exe.as_path())
    }

    /// How often the test `name` of `target` is run.
    fn runs_of(&self, target: &str, name: &str) -> Runs {
        let rule = self.rules.as_ref().map(|rules| rules.of(&self.log_entry.package, target, name));
        Runs::new(rule.unwrap_or_default(), self.run_options.repeat)
    }

    /// Runs the attempt that `make` gives as often as `runs` says, and ends as the first attempt did. Where its time was up, this names `what` and ends
    /// with `failure`.
    fn run_recorded(
        &self,
        make: impl Fn() -> Attempt,
        what: &str,
        failure: i32,
        mut runs: Runs,
    ) -> Result<Error, Error> {
        let time = self.run_options.timeout;
        if time.is_none() && runs.is_once() {
            return Ok(make().become_it());
        }
        let attempt = make();
        let ledgers = attempt.ledgers();
        let first = attempt.run(time)?;
        let mut late = first.timed_out;
        // What cannot be run twice, or has failed already, has no more to say.
        let mut again = runs.again(ledgers.counts().filter(|_| first.status.success()), first.wall);
        while again && !late {
            let (attempt, is_ours) = (make(), runs.is_ours());
            let ledgers = attempt.ledgers();
            let next = attempt.run_silently(time)?;
            let fails = next.timed_out || next.status.code() != first.status.code();
            if is_ours && fails {
                ledgers.remove();
                break;
            }
            late = next.timed_out;
            again = runs.again(ledgers.counts(), next.wall);
        }
        match time.filter(|_| late) {
            Some(time) => {
                say_late(what, time);
                std::process::exit(failure)
            }
            None => timeout::end_like(first.status),
        }
    }

    /// It has libtest, and is recorded as if it had not.
    fn is_listed(&self) -> bool {
        self.log_entry.build_record.as_ref().is_some_and(|build_record| build_record.listed.is_some())
    }

    fn ask(&self, args: &[OsString]) -> Answer {
        match self.plan.tests {
            true => {
                let libtest = self.is_listed();
                let limit = if libtest { usize::MAX } else { self.plan.list_limit };
                listing::ask(self.log_entry.exe.as_path(), libtest, args, limit, |args| self.command(args))
            }
            false => Answer::Whole(None),
        }
    }

    /// For each of `names` whether it is in the share of the tests that this run is to record.
    fn shares(&self, names: &[&str]) -> Vec<bool> {
        self.run_options.partition.map_or_else(|| vec![true; names.len()], |partition| partition.selects(names))
    }

    fn shares_of(&self, tests: &Tests) -> Vec<bool> {
        self.shares(&tests.names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A program that is recorded as one, and in another share, has its verdict there.
    fn leave_to_another_share(&self) -> Result<Error, Error> {
        self.log_run()?;
        let name = self.target();
        Shell::new().note(&format!("`{name}` is run as one, in another share of the tests than this"));
        std::process::exit(0)
    }

    /// The program running those of its `tests` that are in this run's share and not among `late`; `None` = all of them are, or it
    /// cannot be told so.
    fn of_some(&self, tests: &Tests, late: &[String], args: &[OsString]) -> Option<Command> {
        if self.run_options.partition.is_none() && late.is_empty() {
            return None;
        }
        let names = tests.names.iter().map(String::as_str);
        let here = names.zip(self.shares_of(tests)).filter(|(_, here)| *here).map(|(name, _)| name);
        let some: Vec<&str> = here.filter(|name| !late.iter().any(|late| late == name)).collect();
        let skipping = listing::skipping(&tests.names, &some, args, |args| self.command(args));
        skipping.map(|args| self.command(&args))
    }

    /// Notes tests that are run without being recorded.
    fn note_unrecorded<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Result<(), Error> {
        self.leave_list(names, Inventory::UNRECORDED).map_err(|error| cannot_note("what is not recorded", &error))
    }

    /// Leaves a list of tests for whoever reads the ledgers.
    fn leave_list<'n>(&self, names: impl IntoIterator<Item = &'n str>, ending: &str) -> std::io::Result<()> {
        let tests = names.into_iter().map(|name| Listed { name: name.to_owned(), ignored: false }).collect();
        let inventory = Inventory { exe: self.log_entry.exe.as_path().to_owned(), tests };
        let name = format!("program-{:010}.{ending}", std::process::id());
        outlet::put(self.lists().join(name), inventory.to_bytes())
    }

    fn log_run(&self) -> Result<(), Error> {
        self.log_entry.append(&self.plan.ran).map_err(|error| cannot_note("what cargo runs", &error))
    }

    /// Runs the program as cargo would, for what it prints and its verdict; and each of its tests alone, recorded.
    fn run_each(mut self, whole: Command, tests: Tests, args: &[OsString]) -> Result<Error, Error> {
        let records =
            tests.names.iter().zip(self.shares_of(&tests)).any(|(name, here)| here && self.run_options.records(name));
        self.log_entry.leaves = if records { Trace::Ledger } else { Trace::Nothing };
        self.log_run()?;
        let Some(time) = self.run_options.timeout else {
            let mut whole = self.of_some(&tests, &[], args).unwrap_or(whole);
            let status = whole.status().map_err(|error| cannot_run(whole.get_program(), &error))?;
            // A test that ends the process ends nothing but itself where it runs alone. Who was told to stop stops.
            let told_to_stop = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT].map(Signal::as_raw);
            if status.signal().is_none_or(|signal| !told_to_stop.contains(&signal)) {
                self.record_each(&tests, args)?;
            }
            timeout::end_like(status)
        };
        // The program as a whole would wait for a test that hangs, so these are found out first, and left out.
        let alone = self.record_each(&tests, args)?;
        let some = self.of_some(&tests, &alone.late, args);
        let time_for_all = alone.time_for_all(time, tests.names.len(), some.is_some());
        let ended = timeout::run_in_our_stead(some.unwrap_or(whole), time_for_all);
        let ended = ended.map_err(|error| cannot_run(&self.program[0], &error))?;
        for name in &alone.late {
            say_late(&format!("test `{name}`"), time);
        }
        if ended.timed_out && alone.late.is_empty() {
            let name = self.target();
            let killed = Error::new(format!("`{name}` was killed: it took longer than all of its tests may take"))
                .caused_by(format!("{} tests have {} s each (--test-timeout)", tests.names.len(), time.as_secs_f64()))
                .help("allow more time with `--test-timeout`, or see what the program does besides its tests");
            Shell::new().error(&killed);
        }
        if ended.timed_out || !alone.late.is_empty() {
            std::process::exit(FAILURE)
        }
        timeout::end_like(ended.status)
    }

    /// Runs each test that is to be recorded in a process of its own.
    fn record_each(&self, tests: &Tests, args: &[OsString]) -> Result<Alone, Error> {
        let names = tests.names.iter().map(String::as_str);
        let here = names.zip(self.shares_of(tests)).filter(|(_, here)| *here).map(|(name, _)| name);
        let (selected, others): (Vec<&str>, Vec<&str>) = here.partition(|name| self.run_options.records(name));
        if !others.is_empty() {
            self.note_unrecorded(others)?;
        }
        let window = tests.window.as_deref().or(tests.on_threads.then_some(environment::THREADS));
        let alone = Mutex::new(Alone::default());
        tests.run_each(&selected, |name| {
            let mut runs = self.runs_of(&self.target(), name);
            let mut again = true;
            while again {
                let attempt = self.record(self.command(&(tests.alone)(name, args)), name, window);
                let (ledgers, is_ours) = (attempt.ledgers(), runs.is_ours());
                let ended = attempt.run_silently(self.run_options.timeout)?;
                if is_ours && (ended.timed_out || !ended.status.success()) {
                    ledgers.remove();
                    break;
                }
                again = runs.again(ledgers.counts().filter(|_| ended.status.success()), ended.wall);
                let mut alone = alone.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if ended.timed_out {
                    alone.late.push(name.to_owned());
                    break;
                }
                alone.in_time.push(ended.wall);
            }
            Ok(())
        })?;
        // All of them were started, so each had a ledger, which one of the others may have taken away.
        self.leave_list(selected, Inventory::BEGUN).map_err(|error| cannot_note("which tests began", &error))?;
        let mut alone = alone.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        alone.late.sort();
        Ok(alone)
    }
}

/// How the tests of a program ended that ran alone.
#[derive(Default)]
struct Alone {
    /// The names of those whose time was up, sorted.
    late: Vec<String>,
    /// How long each of the others took.
    in_time: Vec<Duration>,
}

impl Alone {
    /// How long a program may take that runs all its `count` tests, one after the other in the worst case, each of which
    /// may take `time`. Where some are known to hang and are not left out, as long as it needs for the others.
    fn time_for_all(&self, time: Duration, count: usize, left_out: bool) -> Duration {
        let most = time.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        if left_out || self.late.is_empty() {
            return most;
        }
        let unknown = count.saturating_sub(self.late.len() + self.in_time.len());
        let unknown = time.saturating_mul(u32::try_from(unknown).unwrap_or(u32::MAX));
        let others = self.in_time.iter().sum::<Duration>() + time;
        others.saturating_add(unknown).min(most)
    }
}

fn say_late(what: &str, time: Duration) {
    let text = format!("{what} {}", timeout::sentence(time));
    Shell::new().error(&Error::new(text).help("its profile shows where it was until then"));
}

/// Has a test executable record its tests.
fn record_tests(command: &mut Command, plan: &Plan) {
    command.env(environment::RATE, plan.rate.to_string());
    command.env(environment::LEDGERS, &plan.ledgers);
    if let Some(run_options) = &plan.run_options {
        command.env(environment::MODES, run_options);
    }
    if let Some(cargo_shim) = &plan.cargo_shim {
        cargo_shim.put_into(command);
    }
}
