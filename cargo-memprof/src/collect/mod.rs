//! From the ledgers of a run to its tests. A ledger that cannot be read is reported and costs that one test.

mod executables;
pub mod run_facts;
pub mod targets;

use crate::collect::run_facts::{RanExecutable, RunFacts};
use crate::context::executable::ExecutablePath;
use crate::context::target_dir::{FORK, is_ledger};
use crate::files::intake;
use crate::protocol::WHOLE;
use crate::protocol::run_log::Trace;
use crate::ui::error::Error;
use camino::Utf8Path;
use executables::Executables;
use memprof_harness::ledger::{self, Benchmark, Identity, Inventory, Ledger, Listed, Module, OutcomeCode};
use memprof_profile::parallel::on_all_cores_within;
use memprof_profile::record::{Iteration, Lifetimes, NotRun, Outcome, TestId, TestRecord, Unprofiled};
use memprof_profile::symbolize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a run left.
#[derive(Debug, Default)]
pub struct Collected {
    /// By [`TestId`], then by start; each followed by the processes that it started, which have its id.
    pub tests: Vec<CollectedTest>,
    /// One for each ledger that could not be read.
    pub problems: Vec<Error>,
    /// By package, target and kind.
    pub unprofiled: Vec<Unprofiled>,
    /// Tests of the executables that ran, without those that ran themselves. By [`TestId`].
    pub not_run: Vec<NotRun>,
}

/// A test and where its ledger is.
#[derive(Debug)]
pub struct CollectedTest {
    pub record: TestRecord,
    exe: ExecutablePath,
    /// The distinct return addresses of its stacks.
    pub addresses: Vec<u64>,
    /// The objects they lie in.
    pub modules: Vec<Module>,
    path: PathBuf,
    /// The stem of the ledger that it belongs to; `None` = it is a test's own.
    root: Option<String>,
    /// Kept where there is room for it; otherwise the file is read again.
    ledger: Option<Ledger>,
}

/// Bytes of stacks and sites that are kept between the two times a ledger is needed; what is beyond is read twice.
const KEPT: usize = 128 << 20;
/// Bytes of ledgers that are read at once. A ledger of a million stacks has 100 MiB or more, and takes three times as much while it is read.
const READ_AT_ONCE: usize = 64 << 20;

/// Reads all ledgers of the run.
///
/// # Errors
/// Where the folder of the ledgers cannot be read.
pub fn collect(facts: &RunFacts) -> Result<Collected, Error> {
    let paths = paths(&facts.ledgers, is_ledger)?;
    let executables = Executables::of(&facts.ran);
    let kept = AtomicUsize::new(0);
    let len = |path: &PathBuf| fs_err::metadata(path).map_or(0, |metadata| metadata.len() as usize);
    let read = on_all_cores_within(READ_AT_ONCE, &paths, len, |path| recorded(path, &executables, &kept));
    let mut collected = Collected::default();
    for (path, test) in paths.iter().zip(read) {
        match test {
            Ok(test) => collected.tests.push(test),
            Err(cause) => collected.problems.push(unreadable(path, &cause)),
        }
    }
    collected.tests = adopted(collected.tests);
    if facts.last_attempts {
        collected.tests = last_attempts(collected.tests);
    }
    let inventories = inventories(facts, &executables)?;
    collected.unprofiled = unprofiled(facts, &collected.tests, &inventories);
    let (tests, unwanted): (Vec<_>, Vec<_>) =
        collected.tests.into_iter().partition(|test| facts.run_options.records(&test.record.id.name));
    // rustdoc runs its doctests in every share.
    let in_share = |test: &CollectedTest| match facts.run_options.partition {
        Some(partition) if test.record.id.kind == "doc" => partition.selects(&[&test.record.id.name])[0],
        _ => true,
    };
    let tests = tests.into_iter().filter(in_share).collect();
    collected.tests = tests;
    collected.not_run = not_run(&inventories, &executables, &collected.tests, &unwanted);
    // Of a target that is named already, each test need not be.
    let unprofiled = &collected.unprofiled;
    let is_of =
        |id: &TestId, one: &Unprofiled| one.package == id.package && one.target == id.target && one.kind == id.kind;
    for test in &mut collected.not_run {
        test.lost &= !unprofiled.iter().any(|one| is_of(&test.id, one));
    }
    Ok(collected)
}

impl CollectedTest {
    /// What its children call it.
    fn stem(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The test's ledger. Can be had once.
    ///
    /// # Errors
    /// Where it has to be read again and cannot be.
    pub fn take_ledger(&mut self) -> Result<Ledger, Error> {
        match self.ledger.take() {
            Some(ledger) => Ok(ledger),
            None => read(&self.path).map_err(|cause| unreadable(&self.path, &cause)),
        }
    }
}

/// Tests in their order, each followed by its children in theirs. A child whose test left nothing to be attached to
/// stands for itself.
fn adopted(all: Vec<CollectedTest>) -> Vec<CollectedTest> {
    let (mut children, mut tests): (Vec<CollectedTest>, Vec<CollectedTest>) =
        all.into_iter().partition(|recorded| recorded.root.is_some());
    let stems: HashSet<String> = tests.iter().map(CollectedTest::stem).collect();
    let known = |child: &CollectedTest| child.root.as_ref().is_some_and(|root| stems.contains(root));
    let (attached, orphans): (Vec<CollectedTest>, Vec<CollectedTest>) = children.into_iter().partition(known);
    children = attached;
    tests.extend(orphans.into_iter().map(|mut orphan| {
        orphan.record.child = None;
        orphan
    }));
    tests.sort_by(|a, b| (&a.record.id, a.record.started_ns).cmp(&(&b.record.id, b.record.started_ns)));
    children.sort_by_key(|child| child.record.started_ns);
    let mut by_root: HashMap<String, Vec<CollectedTest>> = HashMap::new();
    for child in children {
        by_root.entry(child.root.clone().unwrap_or_default()).or_default().push(child);
    }
    let mut ordered = Vec::new();
    for test in tests {
        let id = test.record.id.clone();
        let own = by_root.remove(&test.stem()).unwrap_or_default();
        ordered.push(test);
        ordered.extend(own.into_iter().map(|mut child| {
            child.record.id = id.clone();
            child
        }));
    }
    ordered
}

/// Of `ordered` tests those that were retried no more, with their children. An attempt that was retried has failed; one that passed may have
/// run its test several times.
fn last_attempts(ordered: Vec<CollectedTest>) -> Vec<CollectedTest> {
    let mut kept: Vec<CollectedTest> = Vec::new();
    for test in ordered {
        let own = test.record.child.is_none();
        let before = kept.iter().rev().take_while(|last| last.record.id == test.record.id);
        let failed = before
            .clone()
            .find(|last| last.record.child.is_none())
            .is_some_and(|last| last.record.outcome != Outcome::Ok);
        if own && failed {
            let attempts = before.count();
            kept.truncate(kept.len() - attempts);
        }
        kept.push(test);
    }
    kept
}

/// The files in the ledgers' folder that are meant, sorted.
fn paths(folder: &Utf8Path, is_ours: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, Error> {
    let failed = |error: std::io::Error| Error::new("cannot read the ledgers of the tests").caused_by(error);
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        // Nothing was recorded.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if is_ours(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Ledger, String> {
    let bytes = intake::read_unlinked(path).map_err(|error| error.to_string())?;
    ledger::read(&bytes).map_err(|error| error.to_string())
}

fn unreadable(path: &Path, cause: &str) -> Error {
    Error::new(format!("cannot read the ledger `{}`: its test is missing from the report", path.display()))
        .caused_by(cause)
        .help("run the tests again; if it stays, please report it with the ledger (`--keep-ledgers`)")
}

fn recorded(path: &Path, executables: &Executables<'_>, kept: &AtomicUsize) -> Result<CollectedTest, String> {
    let ledger = read(path)?;
    let exe = ExecutablePath::resolve(&ledger.identity.exe);
    // What a test started is no copy of what cargo did.
    let package = Some(&*ledger.identity.package).filter(|_| ledger.identity.root.is_empty());
    let executable = executables.get(&exe, package);
    let copied = executable.filter(|executable| executable.exe != exe).map(|executable| executable.exe.clone());
    let addresses = ledger.stacks.addresses().to_vec();
    let mut record = record(&ledger, executable);
    if let Some(original) = &copied {
        record.executable = original.as_path().to_owned();
    }
    let size = ledger.size_of_stacks();
    let room = kept.fetch_add(size, Ordering::Relaxed) + size <= KEPT;
    if !room {
        kept.fetch_sub(size, Ordering::Relaxed);
    }
    let kept = executable.and_then(|executable| executable.kept.clone());
    let kept = kept.or_else(|| copied.as_ref().map(|original| original.as_path().to_owned()));
    let kept = kept.or_else(|| ledger::executable::find(path, &ledger.identity.exe));
    let exe = copied.unwrap_or(exe);
    let modules = symbolize::modules(&ledger, kept.as_ref().unwrap_or(&ledger.identity.exe));
    let root = root(path, &ledger);
    Ok(CollectedTest { record, exe, addresses, modules, path: path.to_owned(), root, ledger: room.then_some(ledger) })
}

/// The stem of the ledger of the test that this one's process belongs to; `None` = it is the test's own process.
fn root(path: &Path, ledger: &Ledger) -> Option<String> {
    if !ledger.identity.root.is_empty() {
        return Some(ledger.identity.root.clone());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split_once(FORK).map(|(stem, _)| stem.to_owned())
}

fn record(ledger: &Ledger, executable: Option<&RanExecutable>) -> TestRecord {
    let outcome = match ledger.end.outcome {
        Some(OutcomeCode::Ok) => Outcome::Ok,
        Some(OutcomeCode::Failed) => Outcome::Failed,
        Some(OutcomeCode::TimedOut) => Outcome::TimedOut,
        None => Outcome::Unknown,
    };
    let identity = &ledger.identity;
    // A doctest's verdict is rustdoc's, for which a program that fails may be right.
    let is_to_panic =
        executable.and_then(|executable| doctest(executable, identity)).is_some_and(|(_, panics)| *panics);
    let outcome = match outcome {
        Outcome::Ok if is_to_panic => Outcome::Failed,
        Outcome::Failed if is_to_panic => Outcome::Ok,
        outcome => outcome,
    };
    let source_file = PathBuf::from(&identity.source_file);
    TestRecord {
        id: id(ledger, executable),
        executable: identity.exe.clone(),
        outcome,
        cut_short: ledger.end.started && !ledger.end.whole,
        forked: ledger.fork_of.is_some(),
        children: Vec::new(),
        child: (ledger.fork_of.is_some() || !identity.root.is_empty()).then(|| program(identity)),
        hook: identity.hook,
        started: ledger.end.started,
        message: ledger.end.message.clone(),
        rate: ledger.rate,
        started_ns: ledger.started_ns,
        duration_ns: ledger.wall_ns,
        counters: ledger.counters,
        losses: ledger.losses,
        stacks: ledger.sites.len(),
        is_benchmark: identity.benchmark.is_some(),
        iteration: match identity.benchmark {
            // The call of `iter` that was measured is not always made again.
            Some(Benchmark::Iteration { ps }) if ledger.end.started => Some(Iteration {
                ns: Some(ps as f64 / 1000.0),
                alloc_objects: ledger.counters.alloc_objects,
                alloc_space: ledger.counters.alloc_space,
            }),
            _ => None,
        },
        lifetimes: Lifetimes::of(ledger),
        leaked_at: Vec::new(),
        source_file,
        start_line: identity.start_line,
    }
}

/// The program that a test started, as it calls itself; of a copy of the test's own process, its executable.
fn program(identity: &Identity) -> String {
    match identity.root.is_empty() || identity.name.is_empty() {
        true => program_name(&identity.exe),
        false => identity.name.clone(),
    }
}

/// The program's name without the hash that cargo gives it.
fn program_name(exe: &Path) -> String {
    memprof_harness::ledger::target_of(exe)
}

/// A list of tests that an executable, or its runner, left.
struct ListedTests {
    exe: ExecutablePath,
    of: ListOf,
    tests: Vec<Listed>,
}

/// Which of an executable's tests are in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListOf {
    All,
    /// Those that ran without being recorded.
    Unrecorded,
    /// Those of which a ledger was made.
    Begun,
}

fn inventories(facts: &RunFacts, executables: &Executables<'_>) -> Result<Vec<ListedTests>, Error> {
    let mut inventories = Vec::new();
    let kinds = [
        (Inventory::EXTENSION, ListOf::All),
        (Inventory::UNRECORDED, ListOf::Unrecorded),
        (Inventory::BEGUN, ListOf::Begun),
    ];
    for (ending, of) in kinds {
        for path in paths(&facts.lists, |path| path.extension().is_some_and(|found| found == ending))? {
            // An inventory that cannot be read is as good as none, and none is noticed.
            let Some(inventory) = intake::read_unlinked(&path).ok().and_then(|bytes| Inventory::parse(&bytes)) else {
                continue;
            };
            let exe = ExecutablePath::resolve(&inventory.exe);
            let exe = executables.get(&exe, None).map_or(exe, |executable| executable.exe.clone());
            inventories.push(ListedTests { exe, of, tests: inventory.tests });
        }
    }
    Ok(inventories)
}

/// Tests of the executables that ran which left no ledger.
fn not_run(
    inventories: &[ListedTests],
    executables: &Executables<'_>,
    recorded: &[CollectedTest],
    unwanted: &[CollectedTest],
) -> Vec<NotRun> {
    let recorded: HashSet<&TestId> = recorded.iter().chain(unwanted).map(|test| &test.record.id).collect();
    let mut not_run: BTreeMap<TestId, NotRun> = BTreeMap::new();
    for list in inventories {
        let Some(executable) = executables.get(&list.exe, None) else { continue };
        for test in &list.tests {
            let id = id_in(executable, "", test.name.clone());
            if !recorded.contains(&id) {
                let (ran, lost) = (list.of == ListOf::Unrecorded, list.of == ListOf::Begun);
                not_run.insert(id.clone(), NotRun { id, ignored: test.ignored, ran, lost });
            }
        }
    }
    // Doctests that were compiled as one are recorded one and all.
    for test in unwanted.iter().map(|test| &test.record).filter(|test| test.child.is_none()) {
        not_run.insert(test.id.clone(), NotRun { id: test.id.clone(), ignored: false, ran: true, lost: false });
    }
    not_run.into_values().collect()
}

/// The test called `name` of an executable that cargo ran; `package` where cargo did not say which it is of.
fn id_in(executable: &RanExecutable, package: &str, name: String) -> TestId {
    let named = !executable.package.is_empty();
    TestId {
        package: if named { executable.package.clone() } else { package.to_owned() },
        target: executable.target_name.clone(),
        kind: executable.target_kind.clone(),
        name,
    }
}

/// The doctest that a ledger is of: its name and whether it is to panic.
fn doctest<'a>(executable: &'a RanExecutable, identity: &Identity) -> Option<&'a (String, bool)> {
    executable.doctests.get(identity.name.parse::<usize>().unwrap_or(0))
}

fn id(ledger: &Ledger, executable: Option<&RanExecutable>) -> TestId {
    let identity = &ledger.identity;
    let doctest = executable.and_then(|executable| doctest(executable, identity));
    let name = if let Some((name, _)) = doctest {
        name.clone()
    } else if identity.name.is_empty() || !identity.root.is_empty() {
        WHOLE.to_owned()
    } else {
        identity.name.clone()
    };
    match executable {
        Some(executable) => id_in(executable, &identity.package, name),
        // An executable that cargo did not start, such as a program that a test runs.
        None => TestId {
            package: identity.package.clone(),
            target: program_name(&identity.exe),
            kind: "exe".to_owned(),
            name,
        },
    }
}

/// What ran and has no metrics: what carries no harness, and what left no trace of its recording.
fn unprofiled(facts: &RunFacts, recorded: &[CollectedTest], inventories: &[ListedTests]) -> Vec<Unprofiled> {
    let own = recorded.iter().filter(|test| test.record.child.is_none());
    let ledgers: HashSet<&ExecutablePath> = own.map(|test| &test.exe).collect();
    let lists: HashSet<&ExecutablePath> =
        inventories.iter().filter(|list| list.of == ListOf::All).map(|list| &list.exe).collect();
    let left = |executable: &RanExecutable| match executable.leaves {
        Trace::Nothing => true,
        Trace::Ledger => ledgers.contains(&executable.exe),
        Trace::Inventory => lists.contains(&executable.exe),
    };
    let reason = |executable: &RanExecutable| {
        if !executable.profiled {
            let reason = executable.reason.clone();
            return Some((reason.unwrap_or_else(|| "for no known reason".to_owned()), false));
        }
        (!left(executable)).then(|| (no_trace(executable, facts.cargo_exit), true))
    };
    let of = |executable: &RanExecutable| {
        let (reason, not_recorded) = reason(executable)?;
        Some(Unprofiled {
            package: executable.package.clone(),
            target: executable.target_name.clone(),
            kind: executable.target_kind.clone(),
            reason,
            not_recorded,
        })
    };
    let mut unprofiled: Vec<Unprofiled> = facts.ran.iter().filter_map(of).collect();
    let key = |one: &Unprofiled| (one.package.clone(), one.target.clone(), one.kind.clone(), one.reason.clone());
    unprofiled.sort_by_key(key);
    unprofiled.dedup();
    unprofiled
}

/// Why an executable with the harness in it left nothing, as far as that can be known.
fn no_trace(executable: &RanExecutable, cargo_exit: i32) -> String {
    if !executable.runner.is_empty() {
        return format!(
            "its runner `{}` hands on no `MEMPROF_` variables, or starts it where the ledgers' folder cannot be written",
            executable.runner
        );
    }
    match cargo_exit {
        0 => "it ran to its end and left no recording".into(),
        _ => "it ended before its recording began".into(),
    }
}
