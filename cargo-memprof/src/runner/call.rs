//! One call of the runner, as the plan of the run and cargo have it, and the command that it makes of it.

use crate::context::env;
use crate::context::executable::ExecutablePath;
use crate::context::options;
use crate::protocol::build_record::BuildRecord;
use crate::protocol::plan::Plan;
use crate::protocol::run_log::{self, RunLogEntry, Trace};
use crate::ui::error::Error;
use memprof_harness::emulator::Emulator;
use memprof_harness::environment;
use memprof_harness::ledger::Inventory;
use memprof_harness::run_options::RunOptions;
use memprof_harness::settle::Rules;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One call of the runner.
pub(super) struct RunnerCall<'a> {
    pub(super) plan: Plan,
    pub(super) run_options: RunOptions,
    /// By which tests are run again; `None` = they are run as often as the modes say.
    pub(super) rules: Option<Rules>,
    /// The user's own runner for the triple, or nothing.
    pub(super) runner: Vec<OsString>,
    /// By which the executable starts itself again.
    pub(super) emulator: Emulator,
    /// The executable and its arguments.
    pub(super) program: &'a [OsString],
    pub(super) log_entry: RunLogEntry,
}

impl<'a> RunnerCall<'a> {
    pub(super) fn new(triple: &str, program: &'a [OsString]) -> Result<RunnerCall<'a>, Error> {
        let plan = Plan::of_this_run()?;
        let exe = ExecutablePath::resolve(&PathBuf::from(program.first().cloned().unwrap_or_default()));
        let runner = plan.runners.get(triple).cloned().unwrap_or_default();
        let emulator = if is_same_processor(triple, &plan.host) { Vec::new() } else { runner.clone() };
        let log_entry = RunLogEntry {
            build_record: BuildRecord::read(exe.as_path()),
            exe,
            package: env::non_empty(env::CARGO_PKG_NAME).unwrap_or_default().to_string_lossy().into_owned(),
            manifest_dir: env::non_empty(env::CARGO_MANIFEST_DIR).unwrap_or_default().into(),
            remark: None,
            kept: None,
            leaves: Trace::Nothing,
            runner: options::shown(runner.iter().map(OsString::as_os_str)),
            backtraces: run_log::asks_for_backtraces(),
        };
        // The driver wrote it as we read it.
        let run_options: RunOptions =
            plan.run_options.as_ref().and_then(|run_options| run_options.parse().ok()).unwrap_or_default();
        let text = run_options.rules.as_ref().map(fs_err::read_to_string).transpose();
        let rules = text.map_err(|error| error.to_string()).and_then(|text| text.map(|text| text.parse()).transpose());
        let rules = rules.map_err(|error| {
            let failed = Error::new("cannot run the tests by the rules of the baseline").caused_by(error);
            failed.help("run them with `cargo memprof`, which writes the rules")
        })?;
        Ok(RunnerCall { plan, run_options, rules, runner, emulator: Emulator::new(emulator), program, log_entry })
    }

    /// Where the lists of this run are.
    pub(super) fn lists(&self) -> PathBuf {
        Inventory::folder(&self.plan.ledgers)
    }

    /// Tells a recorded executable for another processor how it is started.
    pub(super) fn name_emulator(&self, command: &mut Command) {
        if !self.emulator.is_none() {
            command.env(environment::EMULATOR, self.emulator.to_variable());
        }
    }

    /// The program with `args`, behind the user's own runner, in the user's own environment.
    pub(super) fn command(&self, args: &[OsString]) -> Command {
        let mut words = self.runner.iter().chain(self.program.first()).chain(args);
        let mut command = Command::new(words.next().cloned().unwrap_or_default());
        command.args(words);
        self.plan.saved.restore(&mut command);
        clear(&mut command);
        command
    }
}

/// Whether executables for both triples are for one processor. One of a description of the user's (`my-target.json`) may be for any: then
/// what runs the executable runs what it starts.
fn is_same_processor(triple: &str, other: &str) -> bool {
    triple.split('-').next() == other.split('-').next()
}

pub(super) fn cannot_run(program: &OsStr, error: &std::io::Error) -> Error {
    Error::new(format!("cannot run `{}`", Path::new(program).display()))
        .caused_by(error)
        .help("see that it is there and may be executed; `cargo test` runs it without being recorded")
}

pub(super) fn cannot_note(what: &str, error: &std::io::Error) -> Error {
    Error::new(format!("cannot note {what}"))
        .caused_by(error)
        .help("make room on the disk that has the target folder, or pass another folder with `--memprofile DIR`")
}

/// A test that runs `cargo memprof` has these of its own recording.
fn clear(command: &mut Command) {
    let programs = [environment::PROGRAM, environment::NAME, environment::WINDOW];
    for name in environment::ALL.into_iter().chain(programs) {
        command.env_remove(name);
    }
}
