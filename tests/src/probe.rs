//! The engine without cargo-memprof: the injected harness and the probe program, built by rustc, and one recorded run of
//! the probe.

use crate::{command, libtest, workspace};
use memprof_harness::ledger::{Counters, Finish, Identity, Ledger, LedgerFile, OutcomeCode, SiteValues, read};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use tempfile::TempDir;

/// How `cargo memprof` compiles the harness.
const HARNESS: &[&str] = &[
    "--cfg",
    "memprof_injected",
    "--crate-name",
    "memprof_harness",
    "--crate-type",
    "rlib",
    "--edition",
    "2021",
    "-Copt-level=3",
    "-Cforce-frame-pointers=yes",
    "-Cmetadata=memprof",
    "-Cdebuginfo=line-tables-only",
    "--cap-lints",
    "allow",
];

/// What comes to it for the native hook, and what tells the probe of it.
const NATIVE_HARNESS: &[&str] = &["--cfg", "memprof_native", "-Ccodegen-units=1"];
const NATIVE_PROBE: &[&str] = &["--cfg", "native"];

/// Assertions stay on, so that the probe's own checks and the harness's are made.
const PROBE: &[&str] = &["--edition", "2024", "-Copt-level=1", "-Cdebug-assertions=on", "-Cforce-frame-pointers=yes"];

/// Set where the probe is to be tried for another machine: the compiler, flags for it, and what runs the probe, with white space between
/// words. `.ci/emulated` sets them.
const RUSTC: &str = "MEMPROF_PROBE_RUSTC";
const FLAGS: &str = "MEMPROF_PROBE_FLAGS";
const RUNNER: &str = "MEMPROF_PROBE_RUNNER";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn compiler() -> Command {
    let named = variable(RUSTC);
    let mut command = Command::new(if named.is_empty() { "rustc" } else { &named });
    command.args(variable(FLAGS).split_whitespace());
    command
}

/// What the probe did, as the probe counted it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// By the names of the ledger's counters.
    pub totals: BTreeMap<String, u64>,
    /// By place in the program, sorted: `alloc_objects`, `alloc_space`, `frees`, `freed_space`, `peak_objects`,
    /// `peak_space`, `reallocs`, `lifetime_space`, `temporary`, `short_lived`.
    pub places: Vec<[u64; 10]>,
}

impl Truth {
    pub fn total(&self, name: &str) -> u64 {
        self.totals.get(name).copied().unwrap_or_else(|| panic!("the probe reported no `{name}`"))
    }
}

/// One recorded run.
#[derive(Debug)]
pub struct Probed {
    pub ledger: Ledger,
    /// Of processes that the scenario forked.
    pub forked: Vec<Ledger>,
    pub truth: Truth,
    /// Of the processes that counted for themselves, in no order.
    pub truths_of_forked: Vec<Truth>,
    pub status: ExitStatus,
}

impl Probed {
    /// What holds for every run: the totals are the truth, and what the sites say adds up to them.
    ///
    /// # Panics
    /// Where it does not hold.
    pub fn totals_are_true(&self) {
        let Probed { ledger, truth, .. } = self;
        let Counters { alloc_objects, alloc_space, reallocs, frees, freed_space, failed, .. } = ledger.counters;
        for (name, found) in [
            ("alloc_objects", alloc_objects),
            ("alloc_space", alloc_space),
            ("reallocs", reallocs),
            ("frees", frees),
            ("freed_space", freed_space),
            ("failed", failed),
        ] {
            assert_eq!(found, truth.total(name), "{name} at rate {}", ledger.rate);
        }
        assert_eq!(ledger.counters.inuse_objects, signed(alloc_objects) - signed(frees));
        assert_eq!(ledger.counters.inuse_space, signed(alloc_space) - signed(freed_space));
        assert_eq!(ledger.counters.classes.iter().sum::<u64>(), alloc_objects);
        if ledger.rate == 0 {
            assert!(ledger.sites.is_empty());
        }
        if ledger.rate == 1 {
            let sum = |value: fn(&SiteValues) -> u64| ledger.sites.iter().map(|site| value(&site.values)).sum::<u64>();
            assert_eq!(sum(|values| values.alloc_objects) + ledger.losses.unattributed_objects, alloc_objects);
            assert_eq!(sum(|values| values.alloc_space) + ledger.losses.unattributed_space, alloc_space);
            assert_eq!(sum(|values| values.frees) + ledger.losses.unattributed_frees, frees);
            assert_eq!(sum(|values| values.freed_space) + ledger.losses.unattributed_freed_space, freed_space);
            if ledger.losses.unattributed_objects == 0 {
                assert_eq!(sum(|values| values.reallocs), reallocs);
            }
        }
    }

    /// The totals of the forked processes are what these counted for themselves.
    ///
    /// # Panics
    /// Where they are not.
    pub fn totals_of_forked_are_true(&self) {
        const NAMES: [&str; 5] = ["alloc_objects", "alloc_space", "reallocs", "frees", "freed_space"];
        let mut found: Vec<[u64; NAMES.len()]> = self
            .forked
            .iter()
            .map(|ledger| {
                let Counters { alloc_objects, alloc_space, reallocs, frees, freed_space, .. } = ledger.counters;
                [alloc_objects, alloc_space, reallocs, frees, freed_space]
            })
            .collect();
        let mut expected: Vec<_> =
            self.truths_of_forked.iter().map(|truth| NAMES.map(|name| truth.total(name))).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{NAMES:?} at rate {}", self.ledger.rate);
    }

    /// As [`Probed::totals_are_true`], and of a run in which every allocation's stack was noted, each site's metrics are
    /// those of one place: none is lost, counted twice, or counted elsewhere. Where several threads took part, peaks and
    /// lifetimes are not compared.
    ///
    /// # Panics
    /// Where it does not hold.
    pub fn places_are_true(&self) {
        self.totals_are_true();
        assert_eq!(self.ledger.rate, 1);
        let of_site = |values: &SiteValues| {
            [values.alloc_objects, values.alloc_space, values.frees, values.freed_space, values.reallocs]
        };
        let mut found: Vec<[u64; 5]> = self.ledger.sites.iter().map(|site| of_site(&site.values)).collect();
        let mut expected: Vec<[u64; 5]> =
            self.truth.places.iter().map(|place| [place[0], place[1], place[2], place[3], place[6]]).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}

fn signed(metric: u64) -> i64 {
    i64::try_from(metric).expect("far from the end of an i64")
}

/// Where the probe's allocations are noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// At Rust's global allocator.
    Rust,
    /// At the C library's functions.
    Native,
}

/// Runs the probe's `scenario` at `rate`, as the harness parent runs a test.
pub fn probe(scenario: &str, rate: u64) -> Probed {
    probe_at(Hook::Rust, scenario, rate)
}

/// As [`probe`], with either hook.
pub fn probe_at(hook: Hook, scenario: &str, rate: u64) -> Probed {
    probe_in(TempDir::new().expect("a temporary folder").path(), hook, scenario, rate)
}

/// As [`probe_at`], with the ledgers in `folder`, where none are yet. They are not left there.
pub fn probe_in(folder: &Path, hook: Hook, scenario: &str, rate: u64) -> Probed {
    let Bytes { ledger, forked, truth, truths_of_forked, status } = record_in(folder, hook, scenario, rate);
    let read = |bytes: &Vec<u8>| read(bytes).unwrap_or_else(|error| panic!("{scenario} at rate {rate}: {error}"));
    Probed { ledger: read(&ledger), forked: forked.iter().map(read).collect(), truth, truths_of_forked, status }
}

/// The ledgers of one recorded run as they are: the probe's, and those of the processes it forked.
pub fn ledgers(hook: Hook, scenario: &str, rate: u64) -> Vec<Vec<u8>> {
    let folder = TempDir::new().expect("a temporary folder");
    let Bytes { ledger, mut forked, .. } = record_in(folder.path(), hook, scenario, rate);
    forked.insert(0, ledger);
    forked
}

struct Bytes {
    ledger: Vec<u8>,
    forked: Vec<Vec<u8>>,
    truth: Truth,
    truths_of_forked: Vec<Truth>,
    status: ExitStatus,
}

fn record_in(folder: &Path, hook: Hook, scenario: &str, rate: u64) -> Bytes {
    let elsewhere = TempDir::new().expect("a temporary folder");
    let (ledger, truth) = (folder.join("ledger"), elsewhere.path().join("truth"));
    let file = LedgerFile::create(&ledger, rate, &Identity::default()).expect("a new ledger");
    let emulator = variable(RUNNER);
    let mut words = emulator.split_whitespace().map(Path::new).chain([program(hook)]);
    let mut command = Command::new(words.next().expect("the program at least"));
    command.args(words);
    command::clean(&mut command);
    command.arg(scenario).args([&ledger, &truth]);
    command.env("MEMPROF_CHILD", "0").env("MEMPROF_RATE", rate.to_string()).env("MEMPROF_LEDGER", &ledger);
    let output = command.output().expect("the probe starts");
    let status = output.status;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(truth.exists(), "`{scenario}` at rate {rate} reported nothing and ended with {status}: {stderr}");
    let outcome = if status.success() { OutcomeCode::Ok } else { OutcomeCode::Failed };
    file.finish(Finish { outcome, wait_status: status.into_raw(), wall_ns: 0 }).expect("the ledger can be closed");
    let truth = read_truth(&truth);
    let recorded = take(&ledger);
    Bytes {
        ledger: recorded,
        forked: files_named(folder, "ledger.fork-").iter().map(|path| take(path)).collect(),
        truth,
        truths_of_forked: files_named(elsewhere.path(), "truth.fork-").iter().map(|path| read_truth(path)).collect(),
        status,
    }
}

/// The files in a folder that have this in their names.
fn files_named(folder: &Path, name: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("it can be read").path());
    files.filter(|path| path.to_string_lossy().contains(name)).collect()
}

fn take(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).expect("the ledger is there");
    fs::remove_file(path).expect("it can be removed");
    bytes
}

fn read_truth(path: &Path) -> Truth {
    let mut truth = Truth::default();
    for line in fs::read_to_string(path).expect("just seen").lines() {
        let (name, rest) = line.split_once(' ').expect("a name and metrics");
        let metrics: Vec<u64> = rest.split(' ').map(|metric| metric.parse().expect("a metric")).collect();
        match name {
            "place" => truth.places.push(metrics.try_into().expect("ten metrics")),
            _ => _ = truth.totals.insert(name.to_owned(), metrics[0]),
        }
    }
    truth.places.sort_unstable();
    truth
}

/// The probe, built once for this test executable.
fn program(hook: Hook) -> &'static Path {
    static PROGRAMS: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
    let (program, name, flags): (_, _, &[&str]) = match hook {
        Hook::Rust => (&PROGRAMS[0], "probe", &[]),
        Hook::Native => (&PROGRAMS[1], "probe-native", NATIVE_PROBE),
    };
    program.get_or_init(|| build(hook, name, "probe/main.rs", &[PROBE, flags].concat()))
}

/// Builds a program of one of the fixtures against the injected harness, with rustc alone. Gives where it is.
///
/// # Panics
/// Where rustc fails.
pub fn build(hook: Hook, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let external = format!("memprof_harness={}", harness(hook).display());
    let mut command = compiler();
    command.args(flags).args(["--extern", &external]).arg(workspace::fixtures().join(source));
    put(&mut command, name)
}

/// The injected harness, built once for this test executable.
fn harness(hook: Hook) -> &'static Path {
    static HARNESSES: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
    let (harness, name, flags): (_, _, &[&str]) = match hook {
        Hook::Rust => (&HARNESSES[0], "libmemprof_harness-rust.rlib", &[]),
        Hook::Native => (&HARNESSES[1], "libmemprof_harness-native.rlib", NATIVE_HARNESS),
    };
    harness.get_or_init(|| {
        let mut command = compiler();
        command
            .args(HARNESS)
            .args(libtest::flags(&[]))
            .args(flags)
            .arg(workspace::root().join("memprof-harness/src/lib.rs"));
        put(command.env("RUSTC_BOOTSTRAP", "1"), name)
    })
}

/// Runs rustc, and puts what it makes where things for this purpose are.
fn put(command: &mut Command, name: &str) -> PathBuf {
    let place = workspace::scratch();
    let building = TempDir::new_in(place).expect("a temporary folder");
    let built = building.path().join(name);
    rustc(command.arg("-o").arg(&built));
    // Renamed, so that two test executables that build it at the same time do not see half of each other's.
    let path = place.join(name);
    fs::rename(&built, &path).expect("both are in one folder");
    path
}

fn rustc(command: &mut Command) {
    let output = command.output().expect("rustc starts");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}
