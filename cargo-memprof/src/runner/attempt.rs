//! One start of a program with a `main` of its own: what tells it to record itself, how long it may take, and what its
//! ledgers say where it took longer.

use super::call::{RunnerCall, cannot_note, cannot_run};
use crate::ui::error::Error;
use memprof_harness::ledger::{Finish, LedgerFile, OutcomeCode, RunCounts, Seed, remove_run, target_of};
use memprof_harness::run_options::Detail;
use memprof_harness::timeout::{self, ProcessEnd};
use memprof_harness::{aslr, environment};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// See the head of this file.
pub struct Attempt {
    pub command: Command,
    /// What the ledgers of its processes begin with, those aside that these start.
    ledgers: PathBuf,
}

impl RunnerCall<'_> {
    /// Has `command` record itself; `name` is the one test it is to run, or empty. `window` is what of it is recorded, as
    /// [`environment::WINDOW`] says it; `None` = all.
    pub fn record(&self, command: Command, name: &str, window: Option<&str>) -> Attempt {
        self.record_as(name, command, name, window)
    }

    /// As [`RunnerCall::record`], of a program that is known as `identity`.
    pub fn record_as(&self, identity: &str, mut command: Command, name: &str, window: Option<&str>) -> Attempt {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Of one length, so that what the program inherits takes as many bytes in every run.
        let stem = format!("program-{:010}-{:06}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let seed = self.seed_of(identity).to_text();
        let detail = Detail { rate: self.plan.rate, depth: self.run_options.depth };
        let mut value = OsString::from(format!("{detail} {seed} {stem} "));
        value.push(&self.plan.ledgers);
        command.env(environment::PROGRAM, value).env(environment::NAME, name);
        if let Some(cargo_shim) = &self.plan.cargo_shim {
            cargo_shim.put_into(&mut command);
        }
        self.name_emulator(&mut command);
        if let Some(window) = window {
            command.env(environment::WINDOW, window);
        }
        if self.run_options.deterministic {
            command.env(environment::MODES, self.run_options.to_string());
            aslr::fix(&mut command);
        }
        Attempt { command, ledgers: self.plan.ledgers.join(stem) }
    }

    /// What a program's samplers begin with, each time it is started another.
    fn seed_of(&self, identity: &str) -> Seed {
        /// How often each was started by this process.
        static STARTS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());
        let repeat = {
            let mut starts = STARTS.lock().unwrap_or_else(PoisonError::into_inner);
            let count = starts.entry(identity.to_owned()).or_default();
            *count += 1;
            *count - 1
        };
        let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
        Seed::of_test(&package, &target_of(self.log_entry.exe.as_path()), "", identity, repeat)
    }
}

impl Attempt {
    /// Has this process become the program; gives why that failed.
    pub fn become_it(mut self) -> Error {
        let error = self.command.exec();
        cannot_run(self.command.get_program(), &error)
    }

    /// Where its ledgers are to be found once it has run.
    pub fn ledgers(&self) -> OwnLedgers {
        OwnLedgers(self.ledgers.clone())
    }

    /// Runs the program in the place of this process, for `time` at most.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn run(self, time: Option<Duration>) -> Result<ProcessEnd, Error> {
        self.run_by(|command| match time {
            Some(time) => timeout::run_in_our_stead(command, time),
            None => timeout::run(command, None),
        })
    }

    /// Runs the program, for `time` at most, with nobody to speak to.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn run_silently(mut self, time: Option<Duration>) -> Result<ProcessEnd, Error> {
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.run_by(|command| timeout::run(command, time))
    }

    fn run_by(self, run: impl FnOnce(Command) -> io::Result<ProcessEnd>) -> Result<ProcessEnd, Error> {
        let (program, ledgers) = (self.command.get_program().to_owned(), self.ledgers());
        let ended = run(self.command).map_err(|error| cannot_run(&program, &error))?;
        if ended.timed_out {
            finish(&ledgers, &ended).map_err(|error| cannot_note("that a test timed out", &error))?;
        }
        Ok(ended)
    }
}

/// The ledgers of the processes of one attempt, those aside that these started, by what their names begin with.
#[derive(Debug)]
pub struct OwnLedgers(PathBuf);

impl OwnLedgers {
    fn paths(&self) -> io::Result<Vec<PathBuf>> {
        let (folder, stem) = (self.0.parent().unwrap_or(&self.0), self.0.file_name().unwrap_or_default());
        let entries = match fs_err::read_dir(folder) {
            // A test removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            // What the program started has a longer name, and a ledger of a fork another ending.
            let rest = name.strip_prefix(&*stem.to_string_lossy());
            if rest.is_some_and(|rest| !rest.contains('.')) && path.extension().is_some_and(|end| end == "ledger") {
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// What they have counted, with the programs that were started; `None` where there is not one of them, or it cannot be read.
    pub fn counts(&self) -> Option<RunCounts> {
        let paths = self.paths().ok()?;
        let [path] = paths.as_slice() else { return None };
        LedgerFile::open(path).and_then(|ledger| ledger.run_counts()).ok()
    }

    /// Removes them, and those of what was started: of a run that changes no verdict.
    pub fn remove(&self) {
        for path in self.paths().unwrap_or_default() {
            let _ = remove_run(&path);
        }
    }
}

/// Has the ledgers say that time was up which do not say yet how their process ended.
fn finish(ledgers: &OwnLedgers, ended: &ProcessEnd) -> io::Result<()> {
    for path in ledgers.paths()? {
        let ledger = match LedgerFile::open(&path) {
            // It was killed before there was more than a name.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            ledger => ledger?,
        };
        if !ledger.is_finished()? {
            ledger.finish(Finish {
                outcome: OutcomeCode::TimedOut,
                wait_status: ended.status.into_raw(),
                wall_ns: u64::try_from(ended.wall.as_nanos()).unwrap_or(u64::MAX),
            })?;
        }
    }
    Ok(())
}
