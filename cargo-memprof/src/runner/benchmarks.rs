//! Programs of benchmarks: they measure as ever, and the runner reads their output meanwhile; then it records one
//! iteration of each benchmark.

use super::call::{RunnerCall, cannot_note, cannot_run};
use super::capture::{self, Captured};
use crate::context::frameworks::{Dialect, Framework};
use crate::protocol::measured::Measured;
use crate::protocol::run_log::Trace;
use crate::runner::listing::Benchmarks;
use crate::runner::listing::benches::{Missing, apart};
use crate::runner::listing::printed;
use crate::ui::error::Error;
use memprof_harness::timeout;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

impl RunnerCall<'_> {
    /// Measures as `whole` does, and records each of `benchmarks` alone; ends as the former did.
    pub(super) fn run_benchmarks(
        mut self,
        whole: Command,
        benchmarks: Benchmarks,
        args: &[OsString],
    ) -> Result<Error, Error> {
        let Benchmarks { framework, mut tests, remark } = benchmarks;
        self.log_entry.remark = remark;
        if self.run_options.timeout.is_some() && !tests.names.is_empty() {
            self.note_measured(framework, "", &tests.names, None)?;
            return self.run_each(whole, tests, args);
        }
        // Where only the run tells the names, it may tell none.
        let records =
            tests.names.iter().zip(self.shares_of(&tests)).any(|(name, here)| here && self.run_options.records(name));
        self.log_entry.leaves = if records { Trace::Ledger } else { Trace::Nothing };
        self.log_run()?;
        let mut whole = self.of_some(&tests, &[], args).unwrap_or(whole);
        let Captured { status, text } =
            capture::run(&mut whole).map_err(|error| cannot_run(whole.get_program(), &error))?;
        if status.signal().is_none() {
            let mut remark = None;
            if framework.is_some_and(|framework| framework.dialect == Dialect::Bencher) {
                (tests.names, remark) = named_once(&text);
            }
            self.note_measured(framework, &text, &tests.names, remark)?;
            self.record_each(&tests, args)?;
        }
        timeout::end_like(status)
    }

    /// Notes what `text` says of the times that the program measured of the benchmarks called `names`.
    fn note_measured(
        &self,
        framework: Option<&Framework>,
        text: &str,
        names: &[String],
        remark: Option<String>,
    ) -> Result<(), Error> {
        let Some(framework) = framework else { return Ok(()) };
        let ns = printed::of_names(printed::times(framework.dialect, text), names);
        let measured = Measured { exe: self.log_entry.exe.clone(), framework: framework.name.to_owned(), ns, remark };
        measured.leave_in(self.lists()).map_err(|error| cannot_note("what benchmarks took", &error))
    }
}

/// The benchmarks that `text` names, each of which can be run alone, and what is to be said of the others.
fn named_once(text: &str) -> (Vec<String>, Option<String>) {
    let names = match printed::names(text) {
        Ok(names) => names,
        Err(why) => return (Vec::new(), Some(format!("recorded without its benchmarks: {why}"))),
    };
    let (once, of_several) = apart(names);
    let remark = Missing { of_several, ..Missing::default() }.remark("bencher");
    (once, remark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benchmarks_of_one_name_are_recorded_as_none() {
        let line = |name: &str| format!("test {name} ... bench:          14 ns/iter (+/- 48)\n");
        let text = format!("\nrunning 4 tests\n{}{}{}{}", line("one"), line("one"), line("one more"), line("two"));
        let (names, remark) = named_once(&text);
        assert_eq!(names, ["one more", "two"]);
        assert!(remark.unwrap().starts_with("recorded without `one`: several"));
        let (names, remark) = named_once(&text.replace("running 4", "running 5"));
        assert!(names.is_empty() && remark.unwrap().contains("its code prints lines"));
    }
}
