//! What `summary.json` has of each test, and of the processes that it started. A field is added here and in
//! `docs/summary-json.md` together.

use super::leaks::Leaks;
use super::losses::TestLosses;
use crate::files::intake::PlainPath;
use memprof_harness::ledger::Hook;
use memprof_profile::model::leaked::LeakedAt;
use memprof_profile::record::{Iteration, Lifetimes, NotRun, Outcome, TestId, TestRecord};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What is written of a test, by what it is: `profile`, `alloc_space`, …; paths relative to the summary.
pub type Files = BTreeMap<Cow<'static, str>, PlainPath>;

/// The same for a test and the processes that it started, in their order.
#[derive(Debug, Clone, Default)]
pub struct FilesOfTest {
    pub own: Files,
    pub children: Vec<Files>,
}

/// One test.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedTest<'a> {
    pub package: Cow<'a, str>,
    pub target: Cow<'a, str>,
    pub kind: Cow<'a, str>,
    pub name: Cow<'a, str>,
    pub outcome: Outcome,
    pub cut_short: bool,
    pub forked: bool,
    /// What the metrics are of: `all`, or `partial` where an allocator of the program's own goes past the hook.
    pub seen: Cow<'static, str>,
    /// Which calls were hooked: `rust` or `native`.
    pub hook: Cow<'static, str>,
    pub message: Option<Cow<'a, str>>,
    pub source_file: Cow<'a, str>,
    pub start_line: u32,
    pub alloc_objects: u64,
    pub alloc_space: u64,
    pub reallocs: u64,
    pub frees: u64,
    pub freed_space: u64,
    pub failed_allocs: u64,
    pub peak_space: u64,
    pub peak_error: u64,
    pub inuse_objects: i64,
    pub inuse_space: i64,
    #[serde(flatten)]
    pub leaks: Leaks,
    pub size_classes: Vec<SizeClass>,
    pub threads: u32,
    pub started_ns: u64,
    pub duration_ns: u64,
    pub stacks: usize,
    #[serde(default)]
    pub iteration: Option<Iteration>,
    #[serde(default)]
    pub lifetimes: Option<Lifetimes>,
    #[serde(default)]
    pub leaked_at: Cow<'a, [LeakedAt]>,
    pub losses: TestLosses,
    pub files: Files,
    /// The processes that the test started or forked; their metrics are in none of the above.
    pub children: Vec<SavedProcess<'a>>,
}

/// A process that a test started or forked, where it was recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedProcess<'a> {
    pub program: Cow<'a, str>,
    /// It is a copy of the test's process, and has none of what that allocated before.
    pub forked: bool,
    pub outcome: Outcome,
    pub cut_short: bool,
    pub seen: Cow<'static, str>,
    pub hook: Cow<'static, str>,
    pub alloc_objects: u64,
    pub alloc_space: u64,
    pub reallocs: u64,
    pub frees: u64,
    pub peak_space: u64,
    pub peak_error: u64,
    pub inuse_objects: i64,
    pub inuse_space: i64,
    #[serde(flatten)]
    pub leaks: Leaks,
    pub threads: u32,
    pub started_ns: u64,
    pub duration_ns: u64,
    pub files: Files,
}

/// A test of an executable that ran which left no metrics.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedNotRun<'a> {
    pub package: Cow<'a, str>,
    pub target: Cow<'a, str>,
    pub kind: Cow<'a, str>,
    pub name: Cow<'a, str>,
    pub ignored: bool,
    /// It was run without being recorded.
    #[serde(default)]
    pub ran: bool,
    /// It was recorded, and the recording was removed while the tests ran.
    #[serde(default)]
    pub lost: bool,
}

/// Allocations of `from` to `to` bytes, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeClass {
    pub from: u64,
    pub to: u64,
    pub alloc_objects: u64,
}

fn id(parts: [&Cow<'_, str>; 4]) -> TestId {
    let [package, target, kind, name] = parts.map(ToString::to_string);
    TestId { package, target, kind, name }
}

impl<'a> SavedNotRun<'a> {
    pub fn id(&self) -> TestId {
        id([&self.package, &self.target, &self.kind, &self.name])
    }

    pub fn new(test: &'a NotRun) -> SavedNotRun<'a> {
        let NotRun { id, ignored, ran, lost } = test;
        let [package, target, kind, name] = [&id.package, &id.target, &id.kind, &id.name].map(Cow::from);
        SavedNotRun { package, target, kind, name, ignored: *ignored, ran: *ran, lost: *lost }
    }
}

fn seen(record: &TestRecord) -> &'static str {
    if record.is_partial() { "partial" } else { "all" }
}

fn hook(record: &TestRecord) -> &'static str {
    if record.hook == Hook::Rust { "rust" } else { "native" }
}

impl<'a> SavedProcess<'a> {
    pub fn new((process, files): (&'a TestRecord, &Files)) -> SavedProcess<'a> {
        let counters = &process.counters;
        SavedProcess {
            program: process.child.as_deref().unwrap_or_default().into(),
            forked: process.forked,
            outcome: process.outcome,
            cut_short: process.cut_short,
            seen: seen(process).into(),
            hook: hook(process).into(),
            alloc_objects: counters.alloc_objects,
            alloc_space: counters.alloc_space,
            reallocs: counters.reallocs,
            frees: counters.frees,
            peak_space: counters.peak_space,
            peak_error: counters.peak_error,
            inuse_objects: counters.inuse_objects,
            inuse_space: counters.inuse_space,
            leaks: Leaks::from(counters),
            threads: counters.threads,
            started_ns: process.started_ns,
            duration_ns: process.duration_ns,
            files: files.clone(),
        }
    }
}

impl<'a> SavedTest<'a> {
    pub fn id(&self) -> TestId {
        id([&self.package, &self.target, &self.kind, &self.name])
    }

    pub fn new(test: &'a TestRecord, files: &FilesOfTest) -> SavedTest<'a> {
        let counters = &test.counters;
        SavedTest {
            package: Cow::Borrowed(&test.id.package),
            target: Cow::Borrowed(&test.id.target),
            kind: Cow::Borrowed(&test.id.kind),
            name: Cow::Borrowed(&test.id.name),
            outcome: test.outcome,
            cut_short: test.cut_short,
            forked: test.forked,
            seen: seen(test).into(),
            hook: hook(test).into(),
            message: test.message.as_deref().map(Cow::Borrowed),
            source_file: test.source_file.to_str().unwrap_or_default().into(),
            start_line: test.start_line,
            alloc_objects: counters.alloc_objects,
            alloc_space: counters.alloc_space,
            reallocs: counters.reallocs,
            frees: counters.frees,
            freed_space: counters.freed_space,
            failed_allocs: counters.failed,
            peak_space: counters.peak_space,
            peak_error: counters.peak_error,
            inuse_objects: counters.inuse_objects,
            inuse_space: counters.inuse_space,
            leaks: Leaks::from(counters),
            size_classes: size_classes(&counters.classes),
            threads: counters.threads,
            started_ns: test.started_ns,
            duration_ns: test.duration_ns,
            stacks: test.stacks,
            iteration: test.iteration,
            lifetimes: test.lifetimes,
            leaked_at: Cow::Borrowed(&test.leaked_at),
            losses: TestLosses::from(&test.losses),
            files: files.own.clone(),
            children: test.children.iter().zip(&files.children).map(SavedProcess::new).collect(),
        }
    }
}

/// Those that were met, smallest first.
fn size_classes(classes: &[u64]) -> Vec<SizeClass> {
    let class = |(class, &alloc_objects): (usize, &u64)| {
        // Class k holds the sizes from 2^k to 2^(k+1) - 1, see the ledger's layout.
        let from = 1u64 << class;
        let to = (from - 1) + from;
        (alloc_objects > 0).then_some(SizeClass { from, to, alloc_objects })
    };
    classes.iter().enumerate().filter_map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_name_the_sizes_they_hold() {
        let mut classes = [0; 64];
        (classes[0], classes[3], classes[63]) = (5, 2, 3);
        let named: Vec<_> =
            size_classes(&classes).iter().map(|class| (class.from, class.to, class.alloc_objects)).collect();
        assert_eq!(named, [(1, 1, 5), (8, 15, 2), (1 << 63, u64::MAX, 3)]);
    }
}
