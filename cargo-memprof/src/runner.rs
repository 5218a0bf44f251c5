//! This program as cargo's runner: it notes that an executable is run, gives it back the environment the user had, and
//! becomes it, so that signals, exit codes and streams are the program's own.

use crate::error::Error;
use crate::inject::env;
use crate::inject::note::{Doctest, Note};
use crate::inject::plan::Plan;
use crate::inject::ran::Ran;
use crate::listing::{self, Answer, Tests};
use crate::record::WHOLE;
use memprof_harness::environment;
use memprof_harness::ledger::{Inventory, Listed};
use memprof_harness::modes::Modes;
use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// The word by which cargo calls us for this; the triple and then the executable with its arguments follow.
pub const COMMAND: &str = "__runner";

/// Becomes the executable in `args`; comes back only where that fails.
pub fn run(args: &[OsString]) -> Error {
    let [triple, program @ ..] = args else {
        return Error::usage(format!("cannot use `{COMMAND}`"))
            .caused_by("it is how cargo calls this program back")
            .help("use `cargo memprof test`");
    };
    Call::new(&triple.to_string_lossy(), program).and_then(|call| call.run()).unwrap_or_else(|error| error)
}

/// One call of the runner.
struct Call<'a> {
    plan: Plan,
    /// The user's own runner for the triple, or nothing.
    runner: Vec<OsString>,
    /// The executable and its arguments.
    program: &'a [OsString],
    ran: Ran,
}

impl<'a> Call<'a> {
    fn new(triple: &str, program: &'a [OsString]) -> Result<Call<'a>, Error> {
        let plan = Plan::of_this_run()?;
        let exe = PathBuf::from(program.first().cloned().unwrap_or_default());
        // Of what `cargo run` runs, cargo gives a relative path, and the program will know its own.
        let exe = if exe.is_relative() { exe.canonicalize().unwrap_or(exe) } else { exe };
        let ran = Ran {
            note: Note::read(&exe),
            exe,
            package: env::non_empty(env::CARGO_PKG_NAME).unwrap_or_default().to_string_lossy().into_owned(),
            manifest_dir: env::non_empty(env::CARGO_MANIFEST_DIR).unwrap_or_default().into(),
            remark: None,
            kept: None,
        };
        let runner = plan.runners.get(triple).cloned().unwrap_or_default();
        Ok(Call { plan, runner, program, ran })
    }

    /// Becomes the executable; gives why that failed. Ends the process itself where the tests of a program are run one by
    /// one.
    fn run(mut self) -> Result<Error, Error> {
        let args = self.program.get(1..).unwrap_or_default();
        let mut command = self.command(args);
        match &self.ran.note {
            Some(note) if note.doctest.is_some() => {
                match &self.plan.bootstrap {
                    Some(value) => command.env(env::RUSTC_BOOTSTRAP, value),
                    None => command.env_remove(env::RUSTC_BOOTSTRAP),
                };
                command.env_remove(env::DOCTESTS);
                let says = |of: fn(&Doctest) -> bool| note.doctest.as_ref().is_some_and(of);
                if says(|doctest| !doctest.merged.is_empty()) && self.runner.is_empty() {
                    command.env(env::RUSTDOC_DOCTEST_BIN_PATH, &self.ran.exe);
                }
                let mut names = note.doctest.iter().flat_map(Doctest::names);
                if note.unprofiled.is_none() && names.any(|(name, _)| self.records(&name)) {
                    self.ran.kept = self.keep();
                    record_program(&mut command, &self.plan, "");
                    if says(|doctest| doctest.begins) {
                        command.env(environment::WINDOW, environment::CALL);
                    }
                }
            }
            Some(note) if note.unprofiled.is_none() && note.own_main && listing::of_nextest(args).is_some() => {
                let name = listing::of_nextest(args).unwrap_or_default().to_owned();
                if self.records(&name) {
                    command = self.record_alone(&name, args);
                } else {
                    self.note_unrecorded([name.as_str()])?;
                }
            }
            Some(note) if note.unprofiled.is_none() && note.own_main => match self.ask(args) {
                Answer::Tests(tests) => {
                    self.note()?;
                    return self.run_each(command, tests, args);
                }
                Answer::Whole(_) if !self.records(WHOLE) => self.note_unrecorded([WHOLE])?,
                Answer::Whole(_) if !self.shares(&[WHOLE])[0] => {}
                Answer::Whole(remark) => {
                    self.ran.remark = remark;
                    record_program(&mut command, &self.plan, "");
                    if self.modes().repeat > 1 {
                        self.note()?;
                        return self.run_again(command, args);
                    }
                }
                Answer::NoRun => {}
            },
            Some(note) if note.unprofiled.is_none() => record_tests(&mut command, &self.plan),
            _ => {}
        }
        self.note()?;
        let error = command.exec();
        Ok(cannot_run(&command, &error))
    }

    /// The program, recorded while it runs the one test that `args` name.
    fn record_alone(&self, name: &str, args: &[OsString]) -> Command {
        let threaded = listing::is_threaded(&self.ran.exe);
        let threads = threaded.then(|| OsString::from("--test-threads=2"));
        let args: Vec<OsString> = args.iter().cloned().chain(threads).collect();
        let mut command = self.command(&args);
        record_program(&mut command, &self.plan, name);
        if threaded {
            command.env(environment::WINDOW, environment::THREADS);
        }
        command
    }

    fn ask(&self, args: &[OsString]) -> Answer {
        match self.plan.tests {
            true => listing::ask(&self.ran.exe, args, |args| self.command(args)),
            false => Answer::Whole(None),
        }
    }

    /// Keeps the executable, which rustdoc is going to remove, for its symbols. Without it there are addresses alone.
    fn keep(&self) -> Option<PathBuf> {
        let place = self.plan.links.join(format!("doctest-{:010}", std::process::id()));
        let linked = fs_err::hard_link(&self.ran.exe, &place);
        linked.or_else(|_| fs_err::copy(&self.ran.exe, &place).map(drop)).ok().map(|()| place)
    }

    /// Whether the user wants the test called `name` recorded.
    fn records(&self, name: &str) -> bool {
        self.modes().records(name)
    }

    fn modes(&self) -> Modes {
        // The driver wrote it as we read it.
        self.plan.modes.as_ref().and_then(|modes| modes.parse().ok()).unwrap_or_default()
    }

    /// For each of `names` whether it is in the share of the tests that this run is to record.
    fn shares(&self, names: &[&str]) -> Vec<bool> {
        self.modes().partition.map_or_else(|| vec![true; names.len()], |partition| partition.selects(names))
    }

    /// Runs a program that is recorded as one as often as it is to be. Its output and verdict are those of the first time.
    fn run_again(&self, mut first: Command, args: &[OsString]) -> Result<Error, Error> {
        let status = first.status().map_err(|error| cannot_run(&first, &error))?;
        for _ in 1..self.modes().repeat {
            let mut again = self.command(args);
            record_program(&mut again, &self.plan, "");
            again.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            again.status().map_err(|error| cannot_run(&again, &error))?;
        }
        std::process::exit(exit_code(status))
    }

    /// Notes tests that are run without being recorded.
    fn note_unrecorded<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Result<(), Error> {
        let tests = names.into_iter().map(|name| Listed { name: name.to_owned(), ignored: false }).collect();
        let inventory = Inventory { exe: self.ran.exe.clone(), tests };
        let name = format!("program-{:010}.{}", std::process::id(), Inventory::UNRECORDED);
        fs_err::write(self.plan.ledgers.join(name), inventory.to_bytes())
            .map_err(|error| Error::new("cannot note what is not recorded").caused_by(error))
    }

    fn note(&self) -> Result<(), Error> {
        self.ran.append(&self.plan.ran).map_err(|error| Error::new("cannot note what cargo runs").caused_by(error))
    }

    /// Runs the program as cargo would, for what it prints and its verdict; and then each of its tests alone, recorded.
    fn run_each(&self, mut whole: Command, tests: Tests, args: &[OsString]) -> Result<Error, Error> {
        let status = whole.status().map_err(|error| cannot_run(&whole, &error))?;
        if status.signal().is_some() {
            std::process::exit(exit_code(status));
        }
        let names: Vec<&str> = tests.names.iter().map(String::as_str).collect();
        let shares = self.shares(&names);
        let names = tests.names.into_iter().zip(shares).filter(|(_, here)| *here).map(|(name, _)| name);
        let (on_threads, alone) = (tests.on_threads, tests.alone);
        let one = |name: &str| {
            let mut command = self.command(&alone(name, args));
            record_program(&mut command, &self.plan, name);
            if on_threads {
                command.env(environment::WINDOW, environment::THREADS);
            }
            command
        };
        let (wanted, others): (Vec<String>, Vec<String>) = names.partition(|name| self.records(name));
        if !others.is_empty() {
            self.note_unrecorded(others.iter().map(String::as_str))?;
        }
        let times = usize::try_from(self.modes().repeat).unwrap_or(1);
        let names = wanted.into_iter().flat_map(|name| std::iter::repeat_n(name, times)).collect();
        let tests = Tests { names, on_threads, alone, jobs: tests.jobs };
        tests.run_each(one).map_err(|error| Error::new("cannot record the tests one by one").caused_by(error))?;
        std::process::exit(exit_code(status));
    }

    /// The program with `args`, behind the user's own runner, in the user's own environment.
    fn command(&self, args: &[OsString]) -> Command {
        let mut words = self.runner.iter().chain(self.program.first()).chain(args);
        let mut command = Command::new(words.next().cloned().unwrap_or_default());
        command.args(words);
        self.plan.saved.restore(&mut command);
        clear(&mut command);
        command
    }
}

/// Of a program that a signal ended, what shells make of it: cargo tells of the program's end, not of ours.
fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| status.signal().map_or(101, |signal| 128 + signal))
}

fn cannot_run(command: &Command, error: &std::io::Error) -> Error {
    Error::new(format!("cannot run `{}`", Path::new(command.get_program()).display())).caused_by(error)
}

/// Has a test executable record its tests.
fn record_tests(command: &mut Command, plan: &Plan) {
    command.env(environment::RATE, plan.rate.to_string());
    command.env(environment::LEDGERS, &plan.ledgers);
    if let Some(modes) = &plan.modes {
        command.env(environment::MODES, modes);
    }
}

/// Has a program with a `main` of its own record itself; `name` is the one test it is to run, or empty.
fn record_program(command: &mut Command, plan: &Plan, name: &str) {
    let mut asked = OsString::from(format!("{} - ", plan.rate));
    asked.push(&plan.ledgers);
    command.env(environment::PROGRAM, asked).env(environment::NAME, name);
}

/// A test that runs `cargo memprof` has these of its own recording.
fn clear(command: &mut Command) {
    let programs = [environment::PROGRAM, environment::NAME, environment::WINDOW];
    for name in environment::ALL.into_iter().chain(programs) {
        command.env_remove(name);
    }
}
