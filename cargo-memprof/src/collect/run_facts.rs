//! The facts of one run, as plain values: `commands/recording` makes them, and `report` reads them.

use crate::context::conditions::Conditions;
use crate::context::executable::ExecutablePath;
use crate::context::provenance::Provenance;
use crate::context::unit::Unit;
use crate::protocol::run_log::Trace;
use camino::Utf8PathBuf;
use memprof_harness::run_options::RunOptions;
use memprof_profile::symbolize::SourceRoots;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A run whose tests have ended.
#[derive(Debug, Clone)]
pub struct RunFacts {
    /// Mean bytes between samples; 0 = no stacks, 1 = every allocation.
    pub rate: u64,
    /// What cargo was to do: `test`, `bench`, `nextest` or `run`.
    pub task: String,
    /// The command line as the user could paste it: `cargo memprof test …`.
    pub command: String,
    /// `rustc 1.95.0 (59807616e 2026-04-14)`: the first line of `rustc -V`.
    pub rustc: String,
    /// Cargo's name of the profile, such as `test` or `release`.
    pub cargo_profile: String,
    /// The triple of the machine.
    pub host: String,
    /// What the metrics depend on besides the code.
    pub conditions: Conditions,
    pub run_options: RunOptions,
    /// Of a run that is one of several shares.
    pub provenance: Option<Provenance>,
    /// Of a test that was run several times the last one counts.
    pub last_attempts: bool,
    /// Every target that may have tests.
    pub targets: Vec<KnownTarget>,
    /// As [`crate::context::conditions::packages`] has them.
    pub packages: String,
    /// Tests were run again until their metrics were known or within the limits of a baseline.
    pub settled: bool,
    /// Names or flags left some tests of the targets out.
    pub filtered: bool,
    /// The user's own target folder, absolute.
    pub target_dir: Utf8PathBuf,
    /// The folder the outputs go to, absolute. It exists and can be written.
    pub out_dir: Utf8PathBuf,
    /// The folder the ledgers of this run, and of no other, are in.
    pub ledgers: Utf8PathBuf,
    /// The folder of the lists of tests, likewise.
    pub lists: Utf8PathBuf,
    /// Absolute; the current folder where cargo could not say.
    pub workspace_root: Utf8PathBuf,
    /// Where the user's own code is.
    pub source_roots: SourceRoots,
    /// In the order in which cargo ran them. One executable may have been run several times (doctests).
    pub ran: Vec<RanExecutable>,
    /// What cargo ended with.
    pub cargo_exit: i32,
    /// The user pressed Ctrl-C: what was recorded until then is there, and incomplete.
    pub interrupted: bool,
}

/// A target that may have tests: cargo knows it, or it ran.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KnownTarget {
    pub package: String,
    pub target: String,
    /// `lib`, `bin`, `test`, `bench`, `example` or `doc`.
    pub kind: String,
    /// Its tests were run, all that the arguments chose, or it has none.
    pub ran: bool,
    /// How it was compiled; `None` = it was not, or it is not known.
    #[serde(default)]
    pub unit: Option<Unit>,
}

/// One executable that cargo ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RanExecutable {
    /// Doctests of one crate that carry no harness are one entry, without a path of their own.
    pub exe: ExecutablePath,
    /// The package's name; empty where it is not known.
    pub package: String,
    /// `lib`, `bin`, `test`, `bench`, `example` or `doc`.
    pub target_kind: String,
    pub target_name: String,
    /// Of a doctest: its name and whether it is to panic; of several compiled as one, by number. Empty otherwise.
    pub doctests: Vec<(String, bool)>,
    /// Whether it carried the harness. Tests of executables that did not have no ledgers.
    pub profiled: bool,
    /// Why it was not profiled; `None` where it was.
    pub reason: Option<String>,
    /// Where the executable is still to be found; `None` = where it was.
    pub kept: Option<PathBuf>,
    /// It has libtest, and was recorded by the list of its tests.
    pub listed: bool,
    /// What the user should know of how it was profiled.
    pub remark: Option<String>,
    /// What is there in any case if it was recorded.
    pub leaves: Trace,
    /// The user's own runner by which it was started, as one would type it; empty = none.
    pub runner: String,
    /// How it was compiled; `None` = not known.
    pub unit: Option<Unit>,
}
