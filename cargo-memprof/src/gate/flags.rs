//! The flags of the gate: what the user asks it for, and which findings it is allowed to let pass.

use clap::ValueEnum;
use memprof_harness::run_options::RunOptions;
use std::path::PathBuf;

/// Flags of the gate and of the ways to run tests that it is there for, as given. Which of them a command takes, `cli/flags.rs` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateFlags {
    /// Write the run's metrics to the baseline.
    pub save_baseline: bool,
    /// The baseline's file; `None` = what the configuration says.
    pub baseline: Option<PathBuf>,
    /// Where profiles of the baseline are kept; `None` = below the target folder.
    pub baseline_dir: Option<PathBuf>,
    /// Compare the last run instead of running.
    pub no_run: bool,
    /// Show that the gate trips.
    pub self_test: bool,
    /// What is not to fail the gate.
    pub allow: Vec<Allowed>,
    /// What goes to stdout.
    pub format: Format,
    /// What to compare with in place of the baseline.
    pub against: Option<Other>,
    /// The revision that is recorded for the profiles that the baseline lacks.
    pub explain_against: Option<String>,
    /// The file that what the tests need is added to.
    pub history: Option<PathBuf>,
    /// Of benchmarks, which have a baseline of their own; with the one target that was named.
    pub bench: Option<Option<String>>,
    /// How tests are run.
    pub run_options: RunOptions,
}

/// What is compared with in place of the baseline's file, as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Other {
    /// A revision, as git names it.
    Revision(String),
    /// A release on the registry: its version, perhaps behind a name and `@`.
    Release(String),
}

impl Other {
    /// As given.
    pub fn name(&self) -> &str {
        match self {
            Other::Revision(name) | Other::Release(name) => name,
        }
    }
}

/// What stdout is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Github,
    Markdown,
    Junit,
    Json,
}

/// Something that fails the gate, or warns, where the user does not allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Allowed {
    New,
    Gone,
    NotRun,
    Unprofiled,
    Conditions,
}
