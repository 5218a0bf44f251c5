//! The record of one test, without its stacks: plain values, which `collect` makes and `view` and `report` read.

use crate::model::leaked::LeakedAt;
use crate::view::plain::plain;
use memprof_harness::ledger::{Counters, Hook, Ledger, Losses, SiteValues};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Which test. The order is the one of the report: by package, target, kind, name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TestId {
    /// Empty where it is not known.
    pub package: String,
    /// Name of the target.
    pub target: String,
    /// `lib`, `bin`, `test`, `bench`, `example` or `doc`.
    pub kind: String,
    /// As libtest prints it.
    pub name: String,
}

impl TestId {
    /// The target for people: `csv` for a library, `test/reader` for an integration test.
    pub fn target_label(&self) -> String {
        if self.kind == "lib" { self.target.clone() } else { format!("{}/{}", self.kind, self.target) }
    }

    /// The test for people: package, target and name.
    pub fn label(&self) -> String {
        let target = self.target_label();
        if self.package == self.target || self.package.is_empty() {
            format!("{target} {}", plain(&self.name))
        } else {
            format!("{} {target} {}", self.package, plain(&self.name))
        }
    }
}

/// A test's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It passed.
    Ok,
    /// It failed: it panicked, returned an error, or ended its process.
    Failed,
    /// It was ended because it took longer than it may.
    TimedOut,
    /// The process that would have said did not live to do so.
    Unknown,
}

/// One test that ran and left a ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct TestRecord {
    /// Which test it is.
    pub id: TestId,
    /// The program that ran, absolute.
    pub executable: PathBuf,
    /// Its verdict.
    pub outcome: Outcome,
    /// The window was not closed in order: the process was killed, aborted or exited by itself. The metrics are those
    /// until then.
    pub cut_short: bool,
    /// These are the metrics of a process that the test forked, not of the test.
    pub forked: bool,
    /// Of a process that the test started or forked: the program it ran. `None` = it is the test's own process.
    pub child: Option<String>,
    /// The processes that the test started or forked, by their start. None of their metrics are in the test's.
    pub children: Vec<TestRecord>,
    /// Where its allocations were noted, and whether that is all of them.
    pub hook: Hook,
    /// The test function was reached at all.
    pub started: bool,
    /// What the test panicked with or returned as its error; `None` where it did not, or it was no text.
    pub message: Option<String>,
    /// Mean bytes between samples.
    pub rate: u64,
    /// Nanoseconds since the Unix epoch.
    pub started_ns: u64,
    /// Wall time of the whole process, in nanoseconds.
    pub duration_ns: u64,
    /// The test's metrics, exact at every rate.
    pub counters: Counters,
    /// What the recording could not see or place.
    pub losses: Losses,
    /// Distinct stacks in the ledger.
    pub stacks: usize,
    /// libtest measured it.
    pub is_benchmark: bool,
    /// Of a benchmark: what one iteration of it took. `None` where that is not known, or it is none.
    pub iteration: Option<Iteration>,
    /// `None` where not every allocation had its stack noted.
    pub lifetimes: Option<Lifetimes>,
    /// Where what is leaked was allocated; nothing where not every allocation had its stack noted.
    pub leaked_at: Vec<LeakedAt>,
    /// Where the test function stands; empty where it is not known.
    pub source_file: PathBuf,
    /// The line there, 1-based; 0 = not known.
    pub start_line: u32,
}

/// One iteration of a benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, serde::Deserialize)]
pub struct Iteration {
    /// The median or estimate that was measured, in nanoseconds; `None` where the program did not print one.
    pub ns: Option<f64>,
    /// Successful calls of alloc, alloc_zeroed and realloc.
    pub alloc_objects: u64,
    /// Bytes they asked for.
    pub alloc_space: u64,
}

/// How long blocks lived that the thread which allocated them gave back, told in bytes it allocated meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Lifetimes {
    /// Such blocks.
    pub frees: u64,
    /// Sum of their lives, in bytes.
    pub lifetime_space: u64,
    /// Those with nothing allocated meanwhile.
    pub temporary_objects: u64,
    /// Those with 4096 bytes at most, the temporary ones included.
    pub short_lived_objects: u64,
}

impl Lifetimes {
    /// Of all stacks of a ledger; `None` where only some of the allocations had theirs noted.
    pub fn of(ledger: &Ledger) -> Option<Lifetimes> {
        if ledger.rate != 1 {
            return None;
        }
        let sum = |metric: fn(&SiteValues) -> u64| {
            ledger.sites.iter().map(|site| metric(&site.values)).fold(0u64, u64::saturating_add)
        };
        Some(Lifetimes {
            frees: sum(|values| values.timed_frees),
            lifetime_space: sum(|values| values.lifetime_space),
            temporary_objects: sum(|values| values.temporary),
            short_lived_objects: sum(|values| values.short_lived),
        })
    }
}

/// A test that is there and left no metrics: it did not run, or was not to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRun {
    /// Which test it is.
    pub id: TestId,
    /// As opposed to filtered out.
    pub ignored: bool,
    /// It did run, but was not to be recorded.
    pub ran: bool,
    /// It was recorded, and its ledger is gone: something removed it while the tests ran.
    pub lost: bool,
}

impl TestRecord {
    /// Its program has an allocator that goes past the hook: the metrics are of a part, and may be zero.
    pub fn is_partial(&self) -> bool {
        self.hook == Hook::NativePartial
    }
}

/// A target that ran without being recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unprofiled {
    /// As in [`TestId`].
    pub package: String,
    /// As in [`TestId`].
    pub target: String,
    /// As in [`TestId`].
    pub kind: String,
    /// Why, in words for the user.
    pub reason: String,
    /// It carries the harness and ran, and left no recording.
    #[serde(default)]
    pub not_recorded: bool,
}
