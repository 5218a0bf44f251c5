//! `summary.json`: every exact metric of a run, for programs. `docs/summary-json.md` describes it; a field is added
//! there and here together. What it has of each test is in `saved_test`.

use super::saved_test::{Files, FilesOfTest, SavedNotRun, SavedTest};
use crate::collect::Collected;
use crate::collect::run_facts::KnownTarget;
use crate::collect::run_facts::RunFacts;
use crate::context::conditions::Conditions;
use crate::context::provenance::Provenance;
use crate::files::intake;
use memprof_profile::record::{TestRecord, Unprofiled};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Raised when a field changes its meaning or goes; a new field does not raise it.
pub const SCHEMA: u32 = 1;

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
    /// What cargo was to do: `test`, `bench`, `nextest` or `run`; empty in older summaries.
    #[serde(default)]
    pub task: Cow<'a, str>,
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
    /// Tests were run more often than that, until their metrics were known.
    #[serde(default)]
    pub settled: bool,
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

impl<'a> Summary<'a> {
    /// The summary of a run, of whose own files there are none yet. `tests` and their `files` are in one order.
    pub fn new(
        facts: &'a RunFacts,
        tests: &'a [TestRecord],
        files: &[FilesOfTest],
        collected: &'a Collected,
    ) -> Summary<'a> {
        let sum = |metric: fn(&TestRecord) -> u64| tests.iter().map(metric).fold(0u64, u64::saturating_add);
        let signed = |metric: fn(&TestRecord) -> i64| tests.iter().map(metric).fold(0i64, i64::saturating_add);
        let of_children = |metric: fn(&TestRecord) -> u64| {
            tests.iter().flat_map(|test| &test.children).map(metric).fold(0u64, u64::saturating_add)
        };
        let run = SavedRun {
            task: Cow::Borrowed(&facts.task),
            command: Cow::Borrowed(&facts.command),
            rate: facts.rate,
            rustc: Cow::Borrowed(&facts.rustc),
            profile: Cow::Borrowed(&facts.cargo_profile),
            host: Cow::Borrowed(&facts.host),
            conditions: Cow::Borrowed(&facts.conditions),
            packages: Cow::Borrowed(&facts.packages),
            repeat: facts.run_options.repeat,
            settled: facts.settled,
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

#[cfg(test)]
use memprof_profile::record::{NotRun, TestId};

#[cfg(test)]
impl Summary<'static> {
    /// For tests: each of `ran` with one allocation, and a target that was not profiled.
    pub fn for_test(ran: &[TestId], idle: &[TestId]) -> Summary<'static> {
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
pub(super) mod tests {
    use super::*;
    use crate::files::intake::PlainPath;
    use memprof_harness::ledger::{Counters, Hook};
    use memprof_profile::model::leaked::LeakedAt;
    use memprof_profile::record::{Iteration, Lifetimes, Outcome};
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
            task: "test".into(),
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
            settled: false,
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
}
