//! The plan of one run: the driver writes down its decisions, and the rustc wrapper and the runner, which are processes of cargo's, read
//! them.

use crate::context::env::{self, Saved};
use crate::files::outlet;
use crate::protocol::ancestors;
use crate::protocol::cargo_shim::CargoShim;
use crate::protocol::way::Way;
use crate::ui::error::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Its file in the folder of a run.
pub const FILE: &str = "plan.json";

/// See the head of this file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The driver's process.
    pub driver: u32,
    /// The user's own wrapper; `None` = none.
    pub wrapper: Option<OsString>,
    /// The compiler that doctests and harnesses are compiled with.
    pub rustc: PathBuf,
    /// What it says of itself.
    pub rustc_version: String,
    /// It takes unstable options by itself.
    pub nightly: bool,
    /// The user's rustdoc.
    pub rustdoc: OsString,
    /// The folder of the links by which rustdoc is called, and calls us.
    pub links: PathBuf,
    /// What the user had in `RUSTC_BOOTSTRAP`; `None` = it was not set.
    pub bootstrap: Option<OsString>,
    /// The triple that a compilation without `--target` is for.
    pub host: String,
    /// The place of the harnesses for each target, as `--target` names it. They may not exist yet.
    pub harness: BTreeMap<String, PathBuf>,
    /// How executables with libtest are recorded.
    pub libtest: Way,
    /// Which calls it hooks: the native ones where the user asks for it.
    pub native: bool,
    /// That of the native ones, for what does not compile with the others. Each is made when first needed.
    pub native_harness: BTreeMap<String, PathBuf>,
    /// Exists while the harness is being compiled.
    pub harness_pending: PathBuf,
    /// Exists once a test could not be compiled for want of the harness.
    pub harness_missed: PathBuf,
    /// The user's own runner for each triple, program and arguments. Triples without one are not here.
    pub runners: BTreeMap<String, Vec<OsString>>,
    /// What the user had in the variables that are set while cargo runs.
    pub saved: Saved,
    /// The variables by which a build script is known, as the driver has them.
    pub around: Saved,
    pub rate: u64,
    /// Cargo runs tests, and not programs for their own sake.
    pub tests: bool,
    /// How the harness runs the tests, as it reads it; `None` = as ever.
    pub run_options: Option<String>,
    /// The root of the workspace under test, absolute.
    pub workspace_root: PathBuf,
    /// More tests than this of a program with a `main` of its own are recorded as one.
    pub list_limit: usize,
    /// The folder for this run's ledgers, absolute.
    pub ledgers: PathBuf,
    /// The file that notes what was run, absolute.
    pub ran: PathBuf,
    /// What recorded tests find in cargo's place; `None` = cargo itself.
    pub cargo_shim: Option<CargoShim>,
}

impl Plan {
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let failed = |cause: &dyn std::fmt::Display| Error::new("cannot prepare the run").caused_by(cause);
        let text = serde_json::to_vec(self).map_err(|error| failed(&error))?;
        outlet::put(path, text).map_err(|error| failed(&error))
    }

    /// The plan of the run that this process belongs to.
    ///
    /// # Errors
    /// Where there is none, or it cannot be read.
    pub fn of_this_run() -> Result<Plan, Error> {
        match Plan::path_here_or_above() {
            Some(path) => Plan::read(&path),
            None => Err(cannot_take_part(format!("the variable `{}` is not set", env::PLAN))),
        }
    }

    /// Where the plan is for this process, or for one that is above it: what a build script starts may have lost the variable, and calls us
    /// all the same.
    pub fn path_here_or_above() -> Option<PathBuf> {
        Plan::path().or_else(|| ancestors::variable(env::PLAN).map(PathBuf::from))
    }

    /// Where the plan is for this process; `None` = it has no part in a run.
    pub fn path() -> Option<PathBuf> {
        env::non_empty(env::PLAN).map(PathBuf::from).or_else(ancestors::plan_of_ancestors)
    }

    /// # Errors
    /// Where it cannot be read.
    pub fn read(path: &Path) -> Result<Plan, Error> {
        let read = fs_err::read(path).map_err(|error| error.to_string());
        read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string())).map_err(cannot_take_part)
    }
}

fn cannot_take_part(cause: String) -> Error {
    Error::new("cannot take part in a run of `cargo memprof`")
        .caused_by(cause)
        .help("start it with `cargo memprof test`")
}
