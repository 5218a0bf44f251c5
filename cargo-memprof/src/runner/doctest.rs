//! Runs doctests. Each is a program of its own, or several are one program, which starts itself once for each.

use super::FAILURE;
use super::call::RunnerCall;
use crate::context::doctest_name;
use crate::context::env;
use crate::files::outlet;
use crate::protocol;
use crate::protocol::build_record::Doctest;
use crate::protocol::plan::Plan;
use crate::protocol::run_log::Trace;
use crate::ui::error::Error;
use memprof_harness::environment;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// Becomes the one doctest, of several that were compiled as one, that rustdoc's runner starts; comes back only where that
/// fails. `args` are the program's.
pub fn run_one_of_many(args: &[OsString]) -> Error {
    let run = || {
        let exe = env::non_empty(env::DOCTEST_PROGRAM);
        let exe = exe.ok_or_else(|| Error::new("cannot run a doctest").caused_by("its program is not named"))?;
        let program: Vec<OsString> = std::iter::once(exe).chain(args.iter().cloned()).collect();
        let number = env::non_empty(env::RUSTDOC_DOCTEST_RUN_NB_TEST);
        let number = number.and_then(|number| number.to_str()?.parse::<usize>().ok()).unwrap_or(0);
        let call = RunnerCall::new(&Plan::of_this_run()?.host, &program)?;
        let doctest = call.log_entry.build_record.as_ref().and_then(|build_record| build_record.doctest.clone());
        let doctest =
            doctest.ok_or_else(|| Error::new("cannot run a doctest").caused_by("its build record is missing"))?;
        call.run_doctest(&doctest, number, args)
    };
    run().unwrap_or_else(|error| error)
}

impl RunnerCall<'_> {
    /// Becomes the program of `doctest`; comes back only where that fails.
    pub(super) fn run_doctests(mut self, doctest: &Doctest, args: &[OsString]) -> Result<Error, Error> {
        let profiled =
            self.log_entry.build_record.as_ref().is_some_and(|build_record| build_record.unprofiled.is_none());
        if profiled && doctest.names(&self.plan.workspace_root).iter().any(|(name, _)| self.run_options.records(name)) {
            self.log_entry.kept = self.keep();
            self.log_entry.leaves = Trace::Ledger;
        }
        self.log_run()?;
        if !profiled {
            return Ok(self.plain(self.doctest_command(args)));
        }
        if doctest.merged.is_empty() {
            return self.run_doctest(doctest, 0, args);
        }
        let mut command = self.doctest_command(args);
        // Behind a runner of the user's they are all in one process.
        let divided = self.runner.is_empty();
        let apart = self.run_options.timeout.is_some()
            || self.run_options.repeat > 1
            || self.rules.is_some()
            || !self.run_options.only.is_empty();
        if !divided || !apart {
            if divided {
                command.env(env::RUSTDOC_DOCTEST_BIN_PATH, self.log_entry.exe.as_path());
            }
            return Ok(self.record(command, "", doctest.begins.then_some(environment::CALL)).become_it());
        }
        // Each of its processes is to be looked after, so it starts this program in its own stead.
        command.env(env::RUSTDOC_DOCTEST_BIN_PATH, self.plan.links.join(protocol::DOCTEST_PROCESS));
        command.env(env::DOCTEST_PROGRAM, self.log_entry.exe.as_path());
        command.env(env::PLAN, env::non_empty(env::PLAN).unwrap_or_default());
        Ok(self.plain(command))
    }

    /// Runs one doctest, the one with this number where there are several in the program.
    fn run_doctest(&self, doctest: &Doctest, number: usize, args: &[OsString]) -> Result<Error, Error> {
        let names = doctest.names(&self.plan.workspace_root);
        let (name, should_panic) = names.get(number).cloned().unwrap_or_default();
        if !self.run_options.records(&name) {
            self.note_unrecorded([name.as_str()])?;
            return Ok(self.plain(self.doctest_command(args)));
        }
        let window = doctest.begins.then_some(environment::CALL);
        let make = || self.record_as(&name, self.doctest_command(args), "", window);
        // What rustdoc takes for a failure: one that is to panic fails by ending well.
        let failure = if should_panic { 0 } else { FAILURE };
        let item = doctest_name::item_and_line(&name).map_or_else(|| name.clone(), |(item, _)| item);
        let runs = self.runs_of(doctest_name::KIND, &item);
        self.run_recorded(make, &format!("test `{name}`"), failure, runs)
    }

    fn doctest_command(&self, args: &[OsString]) -> Command {
        let mut command = self.command(args);
        match &self.plan.bootstrap {
            Some(value) => command.env(env::RUSTC_BOOTSTRAP, value),
            None => command.env_remove(env::RUSTC_BOOTSTRAP),
        };
        command.env_remove(env::DOCTESTS).env_remove(env::DOCTEST_PROGRAM);
        command
    }

    /// Keeps the executable, which rustdoc is going to remove, for its symbols. Without it there are addresses alone.
    fn keep(&self) -> Option<PathBuf> {
        let place = self.plan.links.join(format!("doctest-{:010}", std::process::id()));
        let linked = fs_err::hard_link(self.log_entry.exe.as_path(), &place);
        linked.or_else(|_| outlet::copy_new(self.log_entry.exe.as_path(), &place)).ok().map(|()| place)
    }
}
