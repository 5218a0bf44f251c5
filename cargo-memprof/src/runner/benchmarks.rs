//! Programs of benchmarks: they measure as ever, and are listened to meanwhile; then one iteration of each benchmark is
//! recorded.

use super::heard::{self, Heard};
use super::{Call, cannot_note, cannot_run};
use crate::context::executable::ExecutablePath;
use crate::error::Error;
use crate::intake;
use crate::listing::benches::Benchmarks;
use crate::listing::frameworks::{Dialect, Framework};
use crate::listing::printed;
use crate::outlet;
use crate::protocol::run_log::Trace;
use camino::Utf8Path;
use memprof_harness::limit;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// What is known of a program whose benchmarks have a process each: a file beside the lists of tests, for the report.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    exe: ExecutablePath,
    /// [`Framework::name`].
    framework: String,
    /// Nanoseconds of an iteration by the benchmark's name, as the program printed them.
    ns: BTreeMap<String, f64>,
}

impl Measured {
    const EXTENSION: &'static str = "benchmarks";

    /// Those of all programs of a run, by the path of the executable.
    pub fn of_run(lists: &Utf8Path) -> HashMap<ExecutablePath, Measured> {
        let entries = std::fs::read_dir(lists).into_iter().flatten().flatten().map(|entry| entry.path());
        let files = entries.filter(|path| path.extension().is_some_and(|end| end == Self::EXTENSION));
        // A file that cannot be read is one of a folder that nothing can be read from.
        let all = files.filter_map(|path| intake::json::<Measured>(&intake::read_unlinked(&path).ok()?).ok());
        all.map(|measured| (measured.exe.clone(), measured)).collect()
    }

    /// `None` where a later version of this program wrote the name.
    pub fn framework(&self) -> Option<&'static Framework> {
        Framework::named(&self.framework)
    }

    /// Nanoseconds of an iteration of the benchmark called `name`; `None` where the program did not print them so that they
    /// were understood.
    pub fn ns(&self, name: &str) -> Option<f64> {
        self.ns.get(name).copied()
    }
}

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
        let cannot = |error: std::io::Error| cannot_note("what benchmarks took", &error);
        let json = serde_json::to_vec(&measured).map_err(|error| cannot(error.into()))?;
        let name = format!("program-{:010}.{}", std::process::id(), Measured::EXTENSION);
        outlet::put(self.lists().join(name), json).map_err(cannot)
    }
}
