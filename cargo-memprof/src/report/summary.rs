//! `summary.json`: every exact figure of a run, for programs. `docs/summary-json.md` describes it; a field is added
//! there and here together.

use super::leaks::Leaks;
use super::losses::TestLosses;
use crate::collect::Collected;
use crate::collect::run_facts::RunFacts;
use crate::collect::targets::KnownTarget;
use crate::context::conditions::Conditions;
use crate::context::provenance::Provenance;
use crate::files::intake::{self, PlainPath};
use memprof_harness::ledger::Hook;
use memprof_profile::model::leaked::LeakedAt;
use memprof_profile::record::{Iteration, Lifetimes, NotRun, Outcome, TestId, TestRecord, Unprofiled};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Raised when a field changes its meaning or goes; a new field does not raise it.
pub const SCHEMA: u32 = 1;

/// What is written of a test, by what it is: `profile`, `alloc_space`, …; paths relative to the summary.
pub type Files = BTreeMap<Cow<'static, str>, PlainPath>;

/// The same for a test and the processes that it started, in their order.
#[derive(Debug, Clone, Default)]
pub struct FilesOfTest {
    pub own: Files,
    pub children: Vec<Files>,
}

/// The whole file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary<'a> {
    pub schema: u32,
    pub run: SavedRun<'a>,
    pub tests: Vec<SavedTest<'a>>,
    pub unprofiled: Cow<'a, [Unprofiled]>,
    pub not_run: Vec<SavedNotRun<'a>>,
    /// Every target that may have tests; nothing in older summaries.
    #[serde(default)]
    pub targets: Cow<'a, [KnownTarget]>,
}

/// The run as a whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedRun<'a> {
    pub command: Cow<'a, str>,
    /// Mean bytes between samples; 0 = no stacks, 1 = every allocation.
    pub rate: u64,
    pub rustc: Cow<'a, str>,
    pub profile: Cow<'a, str>,
    pub host: Cow<'a, str>,
    pub conditions: Cow<'a, Conditions>,
    /// The packages that the arguments choose; see [`crate::context::conditions::packages`].
    #[serde(default)]
    pub packages: Cow<'a, str>,
    pub repeat: u32,
    pub partition: Option<String>,
    /// What the share was made of; null where the run is none.
    #[serde(default)]
    pub provenance: Option<Provenance>,
    pub filtered: bool,
    pub workspace_root: Cow<'a, str>,
    /// Folders of members that lie beside it.
    #[serde(default)]
    pub beside: Vec<Cow<'a, str>>,
    pub cargo_memprof: Cow<'static, str>,
    /// Start of the first test, in nanoseconds since the Unix epoch; 0 = there was none.
    pub started_ns: u64,
    pub cargo_exit: i32,
    pub interrupted: bool,
    /// Ledgers that could not be read: tests that are missing below.
    pub unreadable_ledgers: usize,
    pub alloc_objects: u64,
    pub alloc_space: u64,
    pub reallocs: u64,
    pub frees: u64,
    pub inuse_objects: i64,
    pub inuse_space: i64,
    #[serde(default)]
    pub leaked_objects: i64,
    #[serde(default)]
    pub leaked_space: i64,
    #[serde(default)]
    pub reachable_objects: i64,
    #[serde(default)]
    pub reachable_space: i64,
    /// What the processes allocated that tests started or forked; it is in none of the above.
    pub children_alloc_objects: u64,
    pub children_alloc_space: u64,
    pub files: Files,
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
    /// What the figures are of: `all`, or `partial` where an allocator of the program's own goes past the hook.
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
    /// The processes that the test started or forked; their figures are in none of the above.
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

/// A test of an executable that ran which left no figures.
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

impl<'a> Summary<'a> {
    /// The summary of a run, of whose own files there are none yet. `tests` and their `files` are in one order.
    pub fn new(
        facts: &'a RunFacts,
        tests: &'a [TestRecord],
        files: &[FilesOfTest],
        collected: &'a Collected,
    ) -> Summary<'a> {
        let sum = |figure: fn(&TestRecord) -> u64| tests.iter().map(figure).fold(0u64, u64::saturating_add);
        let signed = |figure: fn(&TestRecord) -> i64| tests.iter().map(figure).fold(0i64, i64::saturating_add);
        let of_children = |figure: fn(&TestRecord) -> u64| {
            tests.iter().flat_map(|test| &test.children).map(figure).fold(0u64, u64::saturating_add)
        };
        let run = SavedRun {
            command: Cow::Borrowed(&facts.command),
            rate: facts.rate,
            rustc: Cow::Borrowed(&facts.rustc),
            profile: Cow::Borrowed(&facts.cargo_profile),
            host: Cow::Borrowed(&facts.host),
            conditions: Cow::Borrowed(&facts.conditions),
            packages: Cow::Borrowed(&facts.packages),
            repeat: facts.run_options.repeat,
            filtered: facts.filtered,
            partition: facts.run_options.partition.map(|partition| partition.to_string()),
            provenance: facts.provenance.clone(),
            workspace_root: facts.workspace_root.as_str().into(),
            beside: facts.source_roots.beside.iter().map(|folder| folder.to_string_lossy()).collect(),
            cargo_memprof: env!("CARGO_PKG_VERSION").into(),
            started_ns: tests.iter().map(|test| test.started_ns).min().unwrap_or(0),
            cargo_exit: facts.cargo_exit,
            interrupted: facts.interrupted,
            unreadable_ledgers: collected.problems.len(),
            alloc_objects: sum(|test| test.counters.alloc_objects),
            alloc_space: sum(|test| test.counters.alloc_space),
            reallocs: sum(|test| test.counters.reallocs),
            frees: sum(|test| test.counters.frees),
            inuse_objects: signed(|test| test.counters.inuse_objects),
            inuse_space: signed(|test| test.counters.inuse_space),
            leaked_objects: signed(|test| test.counters.leaks.leaked_objects),
            leaked_space: signed(|test| test.counters.leaks.leaked_space),
            reachable_objects: signed(|test| test.counters.reachable().0),
            reachable_space: signed(|test| test.counters.reachable().1),
            children_alloc_objects: of_children(|child| child.counters.alloc_objects),
            children_alloc_space: of_children(|child| child.counters.alloc_space),
            files: Files::new(),
        };
        let tests = tests.iter().zip(files).map(|(test, files)| SavedTest::new(test, files)).collect();
        let not_run = collected.not_run.iter().map(SavedNotRun::new).collect();
        let (unprofiled, targets) = (Cow::Borrowed(&*collected.unprofiled), Cow::Borrowed(&*facts.targets));
        Summary { schema: SCHEMA, run, tests, unprofiled, not_run, targets }
    }

    /// What is in the file.
    ///
    /// # Errors
    /// Where it is no summary, or one of another version.
    pub fn from_json(text: &[u8]) -> Result<Summary<'static>, String> {
        intake::json(text)
    }

    /// The files of every test and of the processes that it started.
    pub fn all_files(&mut self) -> impl Iterator<Item = &mut Files> {
        self.tests.iter_mut().flat_map(|test| {
            std::iter::once(&mut test.files).chain(test.children.iter_mut().map(|child| &mut child.files))
        })
    }

    /// The file's bytes: one line for the run and one for each test, so that it can be read by eye and compared by line.
    pub fn to_json(&self) -> Vec<u8> {
        let lines =
            |items: Vec<String>| if items.is_empty() { String::new() } else { format!("\n{}\n", items.join(",\n")) };
        let tests = lines(self.tests.iter().map(json).collect());
        let unprofiled = lines(self.unprofiled.iter().map(json).collect());
        let not_run = lines(self.not_run.iter().map(json).collect());
        let targets = lines(self.targets.iter().map(json).collect());
        format!(
            "{{\"schema\":{},\n\"run\":{},\n\"tests\":[{tests}],\n\"unprofiled\":[{unprofiled}],\n\"not_run\":[{not_run}],\n\"targets\":[{targets}]}}\n",
            self.schema,
            json(&self.run)
        )
        .into_bytes()
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain values can be written as JSON")
}

fn id(parts: [&Cow<'_, str>; 4]) -> TestId {
    let [package, target, kind, name] = parts.map(ToString::to_string);
    TestId { package, target, kind, name }
}

impl<'a> SavedNotRun<'a> {
    pub fn id(&self) -> TestId {
        id([&self.package, &self.target, &self.kind, &self.name])
    }

    fn new(test: &'a NotRun) -> SavedNotRun<'a> {
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
    fn new((process, files): (&'a TestRecord, &Files)) -> SavedProcess<'a> {
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

    fn new(test: &'a TestRecord, files: &FilesOfTest) -> SavedTest<'a> {
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
impl Summary<'static> {
    /// For tests: each of `ran` with one allocation, and a target that was not profiled.
    pub fn made_up(ran: &[TestId], idle: &[TestId]) -> Summary<'static> {
        let counters = memprof_harness::ledger::Counters { alloc_objects: 1, ..Default::default() };
        let record = |id: &TestId| TestRecord { id: id.clone(), counters, ..tests::record(Vec::new()) };
        let ran: Vec<TestRecord> = ran.iter().map(record).collect();
        let why = Unprofiled {
            package: "p".into(),
            target: "t".into(),
            kind: "doc".into(),
            reason: "r".into(),
            not_recorded: false,
        };
        let not_run =
            idle.iter().map(|id| NotRun { id: id.clone(), ignored: false, ran: false, lost: false }).collect();
        let collected = Collected { unprofiled: vec![why], not_run, ..Collected::default() };
        let facts = tests::facts();
        let written = Summary::new(&facts, &ran, &vec![FilesOfTest::default(); ran.len()], &collected).to_json();
        Summary::from_json(&written).expect("it was just written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memprof_harness::ledger::Counters;
    use memprof_profile::symbolize::SourceRoots;

    const DOCUMENTATION: &str = include_str!("../../../docs/summary-json.md");

    /// The names of all fields in `value` and below.
    fn fields(value: &serde_json::Value, into: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (name, value) in map {
                    into.push(name.clone());
                    fields(value, into);
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| fields(item, into)),
            _ => {}
        }
    }

    pub fn record(children: Vec<TestRecord>) -> TestRecord {
        let mut counters = Counters::default();
        counters.classes[3] = 1;
        TestRecord {
            id: TestId { package: "p".into(), target: "t".into(), kind: "lib".into(), name: "n".into() },
            executable: "/t".into(),
            outcome: Outcome::Ok,
            cut_short: false,
            forked: false,
            child: None,
            children,
            hook: Hook::Rust,
            started: true,
            message: None,
            rate: 1,
            started_ns: 1,
            duration_ns: 1,
            counters,
            losses: memprof_harness::ledger::Losses::default(),
            stacks: 0,
            is_benchmark: true,
            iteration: Some(Iteration { ns: Some(1.5), alloc_objects: 1, alloc_space: 8 }),
            lifetimes: Some(Lifetimes::default()),
            leaked_at: vec![LeakedAt {
                function: "f".into(),
                file: "/f.rs".into(),
                line: 1,
                leaked_objects: 1,
                leaked_space: 8,
            }],
            source_file: "src/lib.rs".into(),
            start_line: 1,
        }
    }

    pub fn facts() -> RunFacts {
        RunFacts {
            rate: 1,
            command: String::new(),
            rustc: String::new(),
            cargo_profile: String::new(),
            host: String::new(),
            conditions: Conditions::default(),
            run_options: memprof_harness::run_options::RunOptions::default(),
            provenance: None,
            last_attempts: false,
            filtered: false,
            targets: Vec::new(),
            packages: String::new(),
            target_dir: "/".into(),
            out_dir: "/".into(),
            ledgers: "/".into(),
            lists: "/".into(),
            workspace_root: "/".into(),
            source_roots: SourceRoots { workspace: "/".into(), beside: Vec::new() },
            ran: Vec::new(),
            cargo_exit: 0,
            interrupted: false,
        }
    }

    #[test]
    fn every_field_is_documented() {
        let id = || TestId { package: "p".into(), target: "t".into(), kind: "lib".into(), name: "n".into() };
        let why = Unprofiled {
            package: "p".into(),
            target: "t".into(),
            kind: "doc".into(),
            reason: "r".into(),
            not_recorded: false,
        };
        let collected = Collected {
            unprofiled: vec![why],
            not_run: vec![NotRun { id: id(), ignored: true, ran: false, lost: false }],
            ..Collected::default()
        };
        let files: Files =
            ["profile", "alloc_space"].map(|key| (key.into(), PlainPath::ours(key.into()))).into_iter().collect();
        let of_test = FilesOfTest { own: files.clone(), children: vec![files.clone()] };
        let (facts, tests) = (facts(), [record(vec![record(Vec::new())])]);
        let bytes = Summary::new(&facts, &tests, &[of_test], &collected).to_json();
        let mut names = Vec::new();
        fields(&serde_json::from_slice(&bytes).expect("the summary is JSON"), &mut names);
        assert!(names.len() > 80);
        for name in names {
            assert!(
                DOCUMENTATION.contains(&format!("`{name}`")) || DOCUMENTATION.contains(&format!("\"{name}\"")),
                "{name}"
            );
        }
    }

    #[test]
    fn size_classes_name_the_sizes_they_hold() {
        let mut classes = [0; 64];
        (classes[0], classes[3], classes[63]) = (5, 2, 3);
        let named: Vec<_> =
            size_classes(&classes).iter().map(|class| (class.from, class.to, class.alloc_objects)).collect();
        assert_eq!(named, [(1, 1, 5), (8, 15, 2), (1 << 63, u64::MAX, 3)]);
    }
}
