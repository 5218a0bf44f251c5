//! A test of a run that is read back: one that ran, or one that exists and did not run.

use crate::files::intake::{self, PlainPath};
use crate::gate::metrics::Metrics;
use crate::gate::program;
use crate::protocol::WHOLE;
use memprof_profile::record::TestId;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a summary says of a test whose allocations were partially recorded.
pub const PARTIAL: &str = "partial";

/// One run of one test.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct LoadedTest {
    #[serde(deserialize_with = "intake::line")]
    pub package: String,
    #[serde(deserialize_with = "intake::line")]
    pub target: String,
    #[serde(deserialize_with = "intake::line")]
    pub kind: String,
    pub name: String,
    #[serde(deserialize_with = "intake::line")]
    pub outcome: String,
    pub cut_short: bool,
    #[serde(default)]
    pub forked: bool,
    /// `partial`: of what the test allocated, only a part was seen. Empty in older summaries.
    #[serde(default, deserialize_with = "intake::line")]
    pub seen: String,
    #[serde(deserialize_with = "intake::line")]
    pub source_file: String,
    pub start_line: u32,
    pub threads: u32,
    #[serde(flatten)]
    pub metrics: Metrics,
    /// By what they are, relative to the summary.
    #[serde(default)]
    pub files: BTreeMap<String, PlainPath>,
    /// Of a benchmark: what one iteration allocates, where it is known.
    #[serde(default)]
    pub iteration: Option<LoadedIteration>,
    /// Of a program with several processes: those of the others.
    #[serde(skip)]
    pub more_profiles: Vec<PlainPath>,
    /// Of a doctest: a hash of its text, where that could be read.
    #[serde(skip)]
    pub text: Option<u32>,
    /// Of a program: in how many runs that are left out it was killed; counted at one of those that are left.
    #[serde(skip)]
    pub killed: u32,
    /// What it started; empty once they are beside it as tests of their own.
    #[serde(default)]
    pub children: Vec<LoadedProcess>,
}

/// One iteration of a benchmark.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct LoadedIteration {
    pub alloc_objects: u64,
    pub alloc_space: u64,
}

/// A process that a test started, in a summary.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct LoadedProcess {
    #[serde(deserialize_with = "intake::line")]
    pub program: String,
    #[serde(default)]
    pub forked: bool,
    pub cut_short: bool,
    #[serde(default, deserialize_with = "intake::line")]
    pub seen: String,
    pub threads: u32,
    #[serde(flatten)]
    pub metrics: Metrics,
    /// By what they are, relative to the summary.
    #[serde(default)]
    pub files: BTreeMap<String, PlainPath>,
}

/// A test that is there and did not run.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct NotRun {
    #[serde(deserialize_with = "intake::line")]
    pub package: String,
    #[serde(deserialize_with = "intake::line")]
    pub target: String,
    #[serde(deserialize_with = "intake::line")]
    pub kind: String,
    pub name: String,
    pub ignored: bool,
    /// It was recorded, and the recording was removed while the tests ran.
    #[serde(default)]
    pub lost: bool,
    /// It is a benchmark that ran, and what one iteration allocates is not known.
    #[serde(skip)]
    pub no_iteration: bool,
}

impl LoadedTest {
    pub fn id(&self) -> TestId {
        TestId {
            package: self.package.clone(),
            target: self.target.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
        }
    }

    /// Whether its metrics are those of the whole test.
    pub fn is_whole(&self) -> bool {
        self.outcome == "ok" && !self.cut_short && self.seen != PARTIAL
    }
}

impl LoadedTest {
    /// Whether a benchmark's metrics can be compared. What its framework does around an iteration depends on how many benchmarks there
    /// are, so that only a program that is recorded as one has other metrics than those of an iteration.
    pub fn only_iteration(&mut self) -> bool {
        match self.iteration {
            Some(iteration) if iteration.alloc_objects != self.metrics.alloc_objects => {
                let LoadedIteration { alloc_objects, alloc_space } = iteration;
                self.metrics = Metrics { alloc_objects, alloc_space, ..Metrics::default() };
                true
            }
            Some(_) => true,
            None => self.name == WHOLE,
        }
    }
}

impl NotRun {
    /// A benchmark that ran, of which no iteration is known.
    pub fn without_iteration(test: &LoadedTest) -> NotRun {
        let TestId { package, target, kind, name } = test.id();
        NotRun { package, target, kind, name, no_iteration: true, ..NotRun::default() }
    }

    pub fn id(&self) -> TestId {
        TestId {
            package: self.package.clone(),
            target: self.target.clone(),
            kind: self.kind.clone(),
            name: program::own(&self.name),
        }
    }
}
