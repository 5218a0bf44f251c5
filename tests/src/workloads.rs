//! The workloads of `fixtures/workloads`, built with one profiler or another, and run. For the benchmarks: the stories
//! assert no times.

use crate::{command, tool, workspace};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

/// Where the workloads are built and run.
pub struct Workbench {
    /// The Rust sources that the parsing workload reads.
    sources: PathBuf,
}

/// A test executable.
pub struct Built {
    executable: PathBuf,
    sources: PathBuf,
}

/// One run of a workload, by its own account.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// User and system time of the workload alone, all threads.
    pub cpu_ns: f64,
    /// Highest resident set of the process.
    pub rss_kib: f64,
    /// What the profiler left on the disk.
    pub output_kib: f64,
}

/// A run of `cargo memprof test` from beginning to end.
pub struct WholeRun {
    /// From the start until the test executable had ended.
    pub until_tests_ended: Duration,
    /// The profile of the workload's test.
    pub profile: PathBuf,
}

impl Default for Workbench {
    fn default() -> Workbench {
        Workbench::new()
    }
}

impl Workbench {
    /// # Panics
    /// Where cargo cannot say where the sources of its dependencies are.
    pub fn new() -> Workbench {
        let mut metadata = cargo(&[]);
        metadata.args(["metadata", "--format-version=1"]).current_dir(fixture());
        let output = metadata.output().expect("cargo starts");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
        let packages = json["packages"].as_array().expect("it lists packages");
        let syn = packages.iter().find(|package| package["name"] == "syn").expect("syn is a dependency");
        let manifest = Path::new(syn["manifest_path"].as_str().expect("it has a manifest"));
        Workbench { sources: manifest.with_file_name("src") }
    }

    /// The machine and the toolchain, for the head of a table.
    pub fn about(&self) -> String {
        let rustc = Command::new("rustc")
            .arg("-V")
            .output()
            .map_or_else(|_| "no rustc".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
        format!("{rustc}, {cores} cores, {}", model.trim_start_matches([' ', '\t', ':']))
    }

    /// Built by plain `cargo test`, with a feature of the fixture or none.
    ///
    /// # Errors
    /// Why there is no such build.
    pub fn plain(&self, feature: &str) -> Result<Built, String> {
        self.build(&mut cargo(&[]), &["test"], feature, "plain")
    }

    /// The same on the nightly toolchain and with frame pointers.
    ///
    /// # Errors
    /// Why there is no such build.
    pub fn nightly(&self, feature: &str) -> Result<Built, String> {
        let mut cargo = Command::new("cargo");
        command::clean(&mut cargo);
        cargo.arg("+nightly").env("RUSTFLAGS", "-C force-frame-pointers=yes").env_remove("RUSTUP_TOOLCHAIN");
        self.build(&mut cargo, &["test"], feature, "nightly")
    }

    /// Built by `cargo memprof test`.
    ///
    /// # Errors
    /// Why there is no such build.
    pub fn ours(&self) -> Result<Built, String> {
        self.build(&mut ours(), &["memprof", "test"], "", "ours")
    }

    fn build(&self, cargo: &mut Command, verb: &[&str], feature: &str, folder: &str) -> Result<Built, String> {
        cargo.args(verb).args(["--release", "--test", "measured", "--no-run", "--message-format=json"]);
        cargo.arg("--target-dir").arg(target(folder)).current_dir(fixture());
        if !feature.is_empty() {
            cargo.args(["--features", feature]);
        }
        let output = cargo.stderr(Stdio::piped()).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(text.lines().find(|line| line.contains("error")).unwrap_or("cargo failed").to_owned());
        }
        let executable = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
            .next_back();
        // Later builds with other features put other executables beside it.
        let executable = executable.ok_or("cargo named no executable")?;
        Ok(Built { executable, sources: self.sources.clone() })
    }

    /// `cargo memprof test` on one workload at rate 1.
    ///
    /// # Panics
    /// Where the program does not start.
    pub fn whole_run(&self, workload: &str, scale: f64) -> WholeRun {
        let mut command = ours();
        command.args(["memprof", "test", "--release", "--test", "measured", "--memprofilerate", "1"]);
        command.arg("--target-dir").arg(target("ours")).args(["--", "--exact", workload]).current_dir(fixture());
        command.env("WORKLOAD_SCALE", scale.to_string()).env("WORKLOAD_SOURCES", &self.sources);
        let started = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("cargo starts");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut until_tests_ended = Duration::ZERO;
        for line in stdout.lines().map_while(Result::ok) {
            if line.starts_with("test result:") {
                until_tests_ended = started.elapsed();
            }
        }
        child.wait().expect("it was started");
        let out = target("ours").join("memprof/workloads/test-measured").join(workload);
        WholeRun { until_tests_ended, profile: out.join("profile.pb.gz") }
    }
}

impl Built {
    /// Runs one workload; `None` where it fails.
    pub fn run(&self, workload: &str, scale: f64, flags: &[&str], variables: &[(&str, &str)]) -> Option<Run> {
        let folder = tempfile::tempdir().ok()?;
        let mut command = Command::new(&self.executable);
        command::clean(&mut command);
        command.args(["--exact", workload, "--nocapture", "--test-threads=1"]).args(flags);
        if !flags.is_empty() {
            command.arg("--memprofile").arg(folder.path());
        }
        command.env("WORKLOAD_SCALE", scale.to_string()).env("WORKLOAD_SOURCES", &self.sources);
        command.env("PEER_OUTPUT", folder.path().join("output")).envs(variables.iter().copied());
        let output = command.current_dir(folder.path()).output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("measured "))?;
        let metric = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)?.parse::<f64>().ok());
        let files = fs::read_dir(folder.path()).ok()?.flatten();
        let bytes: u64 = files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum();
        Some(Run { cpu_ns: metric("cpu_ns=")?, rss_kib: metric("rss_kib=")?, output_kib: bytes as f64 / 1024.0 })
    }

    /// How often the workload allocates, by the exact counters of our own engine.
    ///
    /// # Panics
    /// Where it cannot be run or leaves no ledger.
    pub fn allocations(&self, workload: &str, scale: f64) -> u64 {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut command = Command::new(&self.executable);
        command::clean(&mut command);
        command.args(["--exact", workload, "--memprofilerate", "0", "--memprofile"]).arg(folder.path());
        command.env("WORKLOAD_SCALE", scale.to_string()).env("WORKLOAD_SOURCES", &self.sources);
        assert!(command.output().expect("the executable starts").status.success());
        let is_ledger = |path: &PathBuf| path.extension() == Some(OsStr::new("ledger"));
        let files = fs::read_dir(folder.path()).expect("it was just made").flatten().map(|entry| entry.path());
        let ledgers = files.filter(is_ledger).map(|path| {
            let bytes = fs::read(path).expect("the ledger can be read");
            memprof_harness::ledger::read(&bytes).expect("the ledger is whole").counters.alloc_objects
        });
        ledgers.sum()
    }
}

fn fixture() -> PathBuf {
    workspace::fixtures().join("workloads")
}

/// A target folder of the benchmarks' own, kept between them.
fn target(name: &str) -> PathBuf {
    workspace::scratch().join("workloads").join(name)
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    command::clean(&mut cargo);
    cargo.args(arguments);
    cargo
}

/// `cargo` with our program in PATH.
fn ours() -> Command {
    let mut cargo = Command::new("cargo");
    command::clean(&mut cargo);
    cargo.env("PATH", tool::path()).env("XDG_CACHE_HOME", tool::cache());
    cargo
}
