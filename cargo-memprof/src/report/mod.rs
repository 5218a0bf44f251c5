//! The outputs of a run: profiles and pictures of each test and of the run, a page, a summary, a table on the terminal. This file puts
//! them together and has them written; the decisions are made elsewhere.

mod benchmarks;
mod last_command;
pub mod layout;
mod leaks;
mod losses;
mod page;
mod saved_test;
mod summary;
mod warnings;
mod write;

pub use last_command::{LastCommand, Running};
pub use layout::SUMMARY;
pub use saved_test::{Files, SavedNotRun, SavedTest};
pub use summary::Summary;
pub use write::{Outputs, check, remove_all};

use crate::collect::run_facts::{RanExecutable, RunFacts};
use crate::collect::{self, Collected, CollectedTest};
use crate::context::symbol_cache::SymbolCache;
use crate::files::intake::PlainPath;
use crate::ui::error::Error;
use crate::ui::interrupt;
use crate::ui::terminal::Shell;
use benchmarks::{Benchmarks, Reading};
use camino::{Utf8Path, Utf8PathBuf};
use memprof_profile::export::{flamegraph, pprof};
use memprof_profile::model::leaked::{LeakedAt, leaked_at};
use memprof_profile::model::scale::SampleRate;
use memprof_profile::model::tree::Tree;
use memprof_profile::model::values::ValueType;
use memprof_profile::model::{About, Profile, ProfileBuilder};
use memprof_profile::parallel::{on_all_cores, on_all_cores_within};
use memprof_profile::record::{TestId, TestRecord, Unprofiled};
use memprof_profile::symbolize::{self, AddressMap, Request, Symbols, Trimming};
use memprof_profile::view::amount;
use memprof_profile::view::plain::plain;
use memprof_profile::view::{self, table};
use saved_test::FilesOfTest;
use std::sync::Mutex;
use std::time::Instant;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The page to open first.
    pub index: Utf8PathBuf,
    /// Tests in it.
    pub tests: usize,
    /// Whether anything was written.
    pub produced: bool,
    /// How many targets that carry the harness left no recording.
    pub without_trace: usize,
    /// Those of them of which it is not known why, and no runner of the user's can have been in the way.
    pub not_recorded: Vec<String>,
    /// Tests whose ledgers something removed while the tests ran.
    pub removed: Vec<String>,
}

/// What flamegraphs are drawn of, where there is anything to draw.
const PICTURES: [ValueType; 5] = [
    ValueType::AllocObjects,
    ValueType::AllocSpace,
    ValueType::PeakSpace,
    ValueType::InuseSpace,
    ValueType::LeakedSpace,
];
/// Stacks of the tests whose outputs are made at once. A test of a million takes half a GiB.
const STACKS_AT_ONCE: usize = 1 << 18;
/// Where resolved addresses are kept, below cargo's target folder.
const SYMBOLS: &str = "memprof/build/symbols";

/// Turns the ledgers of a run into its outputs and says on the terminal what is in them. Where nothing ran, because of a
/// filter that fits nothing or a flag that is none, nothing is written, and what the run before wrote stays.
///
/// # Errors
/// Where the ledgers cannot be read or the outputs not be written. A single broken ledger is a warning.
pub fn write(facts: &RunFacts, shell: &Shell) -> Result<Written, Error> {
    let begun = Instant::now();
    let index = facts.out_dir.join(layout::INDEX);
    let mut collected = collect::collect(facts)?;
    collected.problems.iter().for_each(|problem| shell.warn(&problem.to_string()));
    let removed = removed(&collected);
    if !produces(facts, &collected) {
        say_warnings(facts, shell, &[], &collected, &Symbols::default());
        let not_recorded = not_recorded(facts, &collected.unprofiled);
        let without_trace = collected.unprofiled.iter().filter(|one| one.not_recorded).count();
        return Ok(Written { index, tests: 0, produced: false, without_trace, not_recorded, removed });
    }
    let (symbols, maps) = resolve(facts, shell, &collected.tests);
    let outputs = Outputs::stage(facts)?;
    let tests = std::mem::take(&mut collected.tests);
    let benchmarks = Benchmarks::of(facts);
    let WrittenTests { records, files, run, warnings } =
        write_tests(facts, shell, &outputs, &symbols, &benchmarks, tests, maps)?;
    let mut summary = Summary::new(facts, &records, &files, &collected);
    write_whole(&outputs, &mut summary, |about| run.finish(about))?;
    interrupt::let_finish();
    outputs.publish()?;
    let not_recorded = not_recorded(facts, &collected.unprofiled);
    let without_trace = collected.unprofiled.iter().filter(|one| one.not_recorded).count();
    let written = Written { index, tests: records.len(), produced: true, without_trace, not_recorded, removed };
    if !records.is_empty() {
        let took = begun.elapsed().as_secs_f64();
        shell.status("Profiled", &format!("{} in {took:.2}s", table::tests_and_runs(&records)));
    }
    warnings.iter().for_each(|warning| shell.warn(warning));
    say(facts, shell, &records, &benchmarks, &collected, &symbols, &written);
    Ok(written)
}

fn removed(collected: &Collected) -> Vec<String> {
    collected.not_run.iter().filter(|test| test.lost).map(|test| title(&test.id, None)).collect()
}

/// Whether there is anything to tell of: a recorded test, though its recording may be gone; or, where all went well, a share in which there is none, or
/// targets that ran without being measured and that nobody had left out.
fn produces(facts: &RunFacts, collected: &Collected) -> bool {
    let unmeasured = !facts.filtered && !collected.unprofiled.is_empty();
    let removed = collected.not_run.iter().any(|test| test.lost);
    !collected.tests.is_empty()
        || removed
        || facts.cargo_exit == 0 && (facts.run_options.partition.is_some() || unmeasured)
}

fn not_recorded(facts: &RunFacts, unprofiled: &[Unprofiled]) -> Vec<String> {
    let is = |executable: &RanExecutable, one: &Unprofiled| {
        executable.package == one.package && executable.target_name == one.target && executable.target_kind == one.kind
    };
    let lost = unprofiled.iter().filter(|one| one.not_recorded && one.kind != "doc");
    let lost = lost.filter(|one| facts.ran.iter().any(|ran| is(ran, one) && ran.runner.is_empty()));
    lost.map(|one| format!("`{}` ({})", one.target, one.kind)).collect()
}

/// Writes what there is of the whole run, beside its tests: `profile` makes one of all of them.
///
/// # Errors
/// Where it cannot be written.
pub fn write_whole(
    outputs: &Outputs,
    summary: &mut Summary<'_>,
    profile: impl FnOnce(About) -> Profile,
) -> Result<(), Error> {
    let run = &summary.run;
    let ended = summary.tests.iter().map(|test| test.started_ns.saturating_add(test.duration_ns)).max().unwrap_or(0);
    let profile = profile(About {
        rate: SampleRate(run.rate),
        started_ns: run.started_ns,
        duration_ns: ended.saturating_sub(run.started_ns),
        executable: String::new(),
        comments: comments(run.rate, &run.command, &amount::plural(summary.tests.len(), "test")),
    });
    let title = format!("whole run: {}", run.command);
    summary.run.files = write_formats(outputs, Utf8Path::new(""), &profile, &title)?;
    outputs.put(Utf8Path::new(layout::SUMMARY), &summary.to_json())?;
    outputs.put(Utf8Path::new(layout::INDEX), &page::render(summary))
}

/// Names every address of every ledger. The maps are in the order of the tests.
fn resolve(facts: &RunFacts, shell: &Shell, tests: &[CollectedTest]) -> (Symbols, Vec<AddressMap>) {
    let mut request = Request::default();
    let maps = tests.iter().map(|test| request.add(&test.modules, &test.addresses)).collect();
    let progress = shell.progress("Symbolising", request.addresses());
    let source_roots = &facts.source_roots;
    let cache = SymbolCache::new(facts.target_dir.join(SYMBOLS).into());
    let symbols = request.resolve(&cache, source_roots, &|done| progress.inc(done));
    cache.sweep();
    progress.finish_and_clear();
    (symbols, maps)
}

/// The tests of a run when their own outputs are written.
struct WrittenTests {
    records: Vec<TestRecord>,
    /// Of each of them.
    files: Vec<FilesOfTest>,
    /// The profile of all, in the making.
    run: ProfileBuilder,
    /// What must be said of the metrics of benchmarks.
    warnings: Vec<String>,
}

/// Writes what there is per test, on all cores.
fn write_tests(
    facts: &RunFacts,
    shell: &Shell,
    outputs: &Outputs,
    symbols: &Symbols,
    benchmarks: &Benchmarks,
    tests: Vec<CollectedTest>,
    maps: Vec<AddressMap>,
) -> Result<WrittenTests, Error> {
    let progress = shell.progress("Writing", tests.len() as u64);
    let folders = layout::test_folders(tests.iter().map(|test| (&test.record.id, test.record.child.as_deref())));
    let records: Vec<TestRecord> = tests.iter().map(|test| test.record.clone()).collect();
    // Each core gathers its tests' profiles; what is gathered is put in order at the end, so it does not matter which.
    let gathered: Mutex<Vec<ProfileBuilder>> = Mutex::default();
    let jobs: Vec<Job<'_>> = tests
        .into_iter()
        .zip(&maps)
        .zip(&folders)
        .zip(&records)
        .map(|(((test, map), folder), record)| {
            let is_part = |other: &TestRecord| {
                other.executable == record.executable
                    && other.id.name != record.id.name
                    && other.id.name.contains(&record.id.name)
            };
            let shares_name = record.id.kind == "bench" && records.iter().any(is_part);
            Job { test: Mutex::new(test), map, folder, benchmarks, shares_name }
        })
        .collect();
    let done = on_all_cores_within(STACKS_AT_ONCE, &jobs, Job::stacks, |job| {
        let files = job.write(facts, outputs, symbols, &gathered);
        progress.inc(1);
        files
    });
    progress.finish_and_clear();
    let done = done.into_iter().collect::<Result<Vec<_>, Error>>()?;
    let mut records = records;
    let mut files: Vec<Files> = Vec::with_capacity(done.len());
    let mut readings: Vec<Option<Reading>> = Vec::with_capacity(done.len());
    for (record, done) in records.iter_mut().zip(done) {
        record.leaked_at = done.leaked_at;
        files.push(done.files);
        readings.push(done.reading);
    }
    let read = records.iter().zip(&readings).filter_map(|(record, reading)| Some((record, (*reading)?)));
    let warnings = benchmarks::warnings(&read.collect::<Vec<_>>());
    for (record, reading) in records.iter_mut().zip(readings) {
        if let Some(Reading::Iteration { iteration, .. }) = reading {
            record.iteration = Some(iteration);
        }
    }
    let (records, files) = nested(records, files);
    let mut parts = gathered.into_inner().expect("no thread panicked with the lock held").into_iter();
    let mut run = parts.next().unwrap_or_default();
    parts.for_each(|part| run.append(part));
    Ok(WrittenTests { records, files, run, warnings })
}

/// Puts the processes that tests started under their tests, which they follow.
fn nested(records: Vec<TestRecord>, files: Vec<Files>) -> (Vec<TestRecord>, Vec<FilesOfTest>) {
    let mut tests: Vec<TestRecord> = Vec::new();
    let mut of_tests: Vec<FilesOfTest> = Vec::new();
    for (record, files) in records.into_iter().zip(files) {
        match (tests.last_mut(), of_tests.last_mut()) {
            (Some(test), Some(of_test)) if record.child.is_some() => {
                test.losses.lost_forks += record.losses.lost_forks;
                test.children.push(record);
                of_test.children.push(files);
            }
            _ => {
                tests.push(record);
                of_tests.push(FilesOfTest { own: files, children: Vec::new() });
            }
        }
    }
    (tests, of_tests)
}

/// What is to be done for one test.
struct Job<'a> {
    test: Mutex<CollectedTest>,
    map: &'a AddressMap,
    /// Relative to the outputs.
    folder: &'a Utf8Path,
    benchmarks: &'a Benchmarks,
    /// It is a benchmark whose name is a part of another's.
    shares_name: bool,
}

impl Job<'_> {
    fn stacks(&self) -> usize {
        self.test.lock().expect("no thread panicked with the lock held").record.stacks
    }

    fn write(
        &self,
        facts: &RunFacts,
        outputs: &Outputs,
        symbols: &Symbols,
        gathered: &Mutex<Vec<ProfileBuilder>>,
    ) -> Result<Done, Error> {
        let mut test = self.test.lock().expect("no thread panicked with the lock held");
        if test.record.stacks == 0 && test.record.losses.unattributed_objects == 0 {
            let reading = self.benchmarks.read(&test.record, None, self.shares_name);
            return Ok(Done { files: Files::new(), reading, leaked_at: Vec::new() });
        }
        let record = test.record.clone();
        let title = title(&record.id, record.child.as_deref());
        let about = About {
            rate: SampleRate(record.rate),
            started_ns: record.started_ns,
            duration_ns: record.duration_ns,
            executable: record.executable.to_string_lossy().into_owned(),
            comments: comments(facts.rate, &facts.command, &title).into_iter().chain(cut_short(&record)).collect(),
        };
        let profile = symbolize::assemble(test.take_ledger()?, self.map, symbols, about, Trimming::Glue);
        drop(test);
        let files = write_formats(outputs, self.folder, &profile, &title)?;
        let leaked_at = leaked_at(&profile);
        if record.child.is_some() {
            // The run's profile has what its totals have: the tests' own.
            return Ok(Done { files, reading: None, leaked_at });
        }
        let reading = self.benchmarks.read(&record, Some(&profile), self.shares_name);
        let lock = || gathered.lock().expect("no thread panicked with the lock held");
        let mut gathering = lock().pop().unwrap_or_default();
        gathering.append(ProfileBuilder::from_profile(profile, Some(&title)));
        lock().push(gathering);
        Ok(Done { files, reading, leaked_at })
    }
}

/// What became of a test's profile.
struct Done {
    files: Files,
    /// Of a benchmark.
    reading: Option<Reading>,
    leaked_at: Vec<LeakedAt>,
}

/// Writes `profile` in every format into `folder`.
pub fn write_formats(outputs: &Outputs, folder: &Utf8Path, profile: &Profile, title: &str) -> Result<Files, Error> {
    if profile.samples.is_empty() {
        return Ok(Files::new());
    }
    let tree = Tree::of(profile);
    let formats: Vec<Option<ValueType>> = std::iter::once(None).chain(PICTURES.map(Some)).collect();
    let export = |format: &Option<ValueType>| -> Result<Option<(&'static str, Utf8PathBuf)>, Error> {
        let (key, name, bytes) = match *format {
            None => (layout::PROFILE_KEY, layout::PROFILE.to_owned(), Some(pprof::export(profile))),
            Some(value) => (value.name(), layout::flamegraph(value), flamegraph::export(profile, &tree, value, title)),
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let path = folder.join(name);
        outputs.put(&path, &bytes)?;
        Ok(Some((key, path)))
    };
    // A large profile is worth a thread for each of its files; a small one is one of many.
    let written: Vec<_> = if profile.stacks.len() > LARGE {
        on_all_cores(&formats, export)
    } else {
        formats.iter().map(export).collect()
    };
    let keyed = |(key, path): (&'static str, Utf8PathBuf)| (key.into(), PlainPath::ours(path));
    written.into_iter().filter_map(|file| file.map(|file| file.map(keyed)).transpose()).collect()
}

/// Nodes of a profile whose files are written side by side.
const LARGE: usize = 20_000;

/// The test for people: unique in a run, but for the processes that it started, which are named by their program.
pub fn title(id: &TestId, child: Option<&str>) -> String {
    let target = id.target_label();
    let started = child.map_or(String::new(), |program| format!(" › {}", plain(program)));
    if id.package == id.target {
        format!("{target} {}{started}", plain(&id.name))
    } else {
        format!("{} {target} {}{started}", id.package, plain(&id.name))
    }
}

fn comments(rate: u64, command: &str, what: &str) -> Vec<String> {
    let rate = match rate {
        0 => "0 (no stacks)".to_owned(),
        1 => "1 (every allocation)".to_owned(),
        rate => format!("{rate} (one sample per {} on average)", amount::round_bytes(rate)),
    };
    vec![format!("test: {what}"), format!("rate: {rate}"), format!("command: {command}")]
}

/// What must be said of a profile that is not the whole test's.
fn cut_short(record: &TestRecord) -> Option<String> {
    record.cut_short.then(|| "cut short: the process ended before the test did".to_owned())
}

/// Tells the user what there is, and what there is not.
fn say(
    facts: &RunFacts,
    shell: &Shell,
    records: &[TestRecord],
    benchmarks: &Benchmarks,
    collected: &Collected,
    symbols: &Symbols,
    written: &Written,
) {
    say_warnings(facts, shell, records, collected, symbols);
    let unrecorded = collected.not_run.iter().filter(|test| test.ran).count();
    if shell.is_quiet() || records.is_empty() && unrecorded == 0 {
        return;
    }
    let (rows, wholes, tests) = benchmarks.part(facts, records);
    let has_benchmarks = !rows.is_empty() || !wholes.is_empty();
    let mut tables = Vec::new();
    if !tests.is_empty() || !has_benchmarks {
        tables.push(table::render(&tests, unrecorded, shell.result_columns()));
    }
    if has_benchmarks {
        tables.push(view::benchmarks::render(&rows, &wholes));
    }
    let leaks = view::leaked::render(records);
    tables.extend((!leaks.is_empty()).then_some(leaks));
    let table = tables.join("\n");
    let sampled = records.iter().any(|record| record.stacks > 0);
    shell.result(&format!("\n{table}\n{}\n", pointers(written, sampled)));
}

fn say_warnings(facts: &RunFacts, shell: &Shell, records: &[TestRecord], collected: &Collected, symbols: &Symbols) {
    for warning in warnings::warnings(facts, records, &collected.unprofiled, &symbols.unreadable) {
        shell.warn(&warning);
    }
}

/// Where to look next.
fn pointers(written: &Written, sampled: bool) -> String {
    let near = |path: &Utf8Path| {
        let here = std::env::current_dir().ok();
        let relative =
            here.and_then(|here| path.as_std_path().strip_prefix(here).ok().map(|path| path.display().to_string()));
        relative.unwrap_or_else(|| path.to_string())
    };
    let folder = written.index.parent().unwrap_or(&written.index);
    if !sampled {
        return format!("metrics of every test: {}", near(&written.index));
    }
    format!(
        "flamegraphs of every test: {}\npprof profile of the run:  {}",
        near(&written.index),
        near(&folder.join(layout::PROFILE))
    )
}
