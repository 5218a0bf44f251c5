//! Programs of benchmarks: they measure as ever, and are listened to meanwhile; then one iteration of each benchmark is
//! recorded.

use super::heard::{self, Heard};
use super::{Call, cannot_note, cannot_run};
use crate::context::frameworks::{Dialect, Framework};
use crate::protocol::measured::Measured;
use crate::protocol::run_log::Trace;
use crate::runner::listing::benches::Benchmarks;
use crate::runner::listing::printed;
use crate::ui::error::Error;
use memprof_harness::limit;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

impl Call<'_> {
    /// Measures as `whole` does, and records each of `benchmarks` alone; ends as the former did.
    pub(super) fn run_benchmarks(
        mut self,
        whole: Command,
        benchmarks: Benchmarks,
        args: &[OsString],
    ) -> Result<Error, Error> {
        let Benchmarks { framework, mut tests, remark } = benchmarks;
        self.ran.remark = remark;
        if self.modes.timeout.is_some() && !tests.names.is_empty() {
            self.note_measured(framework, "")?;
            return self.run_each(whole, tests, args);
        }
        // Where only the run tells the names, it may tell none.
        let records =
            tests.names.iter().zip(self.shares_of(&tests)).any(|(name, here)| here && self.modes.records(name));
        self.ran.leaves = if records { Trace::Ledger } else { Trace::Nothing };
        self.note()?;
        let mut whole = self.of_some(&tests, &[], args).unwrap_or(whole);
        let Heard { status, text } = heard::run(&mut whole).map_err(|error| cannot_run(whole.get_program(), &error))?;
        if status.signal().is_none() {
            if framework.is_some_and(|framework| framework.dialect == Dialect::Bencher) {
                tests.names = printed::names(&text);
            }
            self.note_measured(framework, &text)?;
            self.record_each(&tests, args)?;
        }
        limit::end_like(status)
    }

    /// Notes what `text` says of the times that the program measured.
    fn note_measured(&self, framework: Option<&Framework>, text: &str) -> Result<(), Error> {
        let Some(framework) = framework else { return Ok(()) };
        let ns = printed::times(framework.dialect, text);
        let measured = Measured { exe: self.ran.exe.clone(), framework: framework.name.to_owned(), ns };
        measured.leave_in(self.lists()).map_err(|error| cannot_note("what benchmarks took", &error))
    }
}
