//! The measurements of a program of benchmarks: the runner writes them down, and the report reads them.

use crate::context::executable::ExecutablePath;
use crate::context::frameworks::Framework;
use crate::files::{intake, outlet};
use camino::Utf8Path;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

/// What is known of a program whose benchmarks have a process each: a file beside the lists of tests, for the report.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    pub exe: ExecutablePath,
    /// [`Framework::name`].
    pub framework: String,
    /// Nanoseconds of an iteration by the benchmark's name, as the program printed them.
    pub ns: BTreeMap<String, f64>,
    /// What the user should know of those that are missing, which only the run told.
    #[serde(default)]
    pub remark: Option<String>,
}

impl Measured {
    const EXTENSION: &'static str = "benchmarks";

    /// Leaves it in the folder of the lists of a run.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn leave_in(&self, lists: impl AsRef<Path>) -> io::Result<()> {
        let name = format!("program-{:010}.{}", std::process::id(), Self::EXTENSION);
        outlet::put(lists.as_ref().join(name), serde_json::to_vec(self)?)
    }

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
