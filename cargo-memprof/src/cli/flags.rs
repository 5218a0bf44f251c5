//! Our own flags: each command's, in the structures by which clap both reads and documents them. What several commands have
//! in common is one structure. The flags of cargo and nextest are in `context/cargo_flags`, and how ours are told from
//! them in `take`.

// A comment on a structure that commands share would stand in for the command's own text.

use super::help;
use crate::context::cargo_args::CargoArgs;
use crate::context::options::OwnFlags;
use crate::gate::flags::{Allowed, Format, GateFlags, Other};
use crate::ui::error::Error;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use memprof_harness::run_options::{Partition, RunOptions, Scheme};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Heap profiles of your tests: `go test -memprofile` for Rust
#[derive(Debug, Parser)]
#[command(
    name = "cargo-memprof",
    bin_name = "cargo memprof",
    version,
    styles = STYLES,
    subcommand_required = true,
    args_override_self = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run `cargo test` and write a heap profile and flamegraphs of every test
    #[command(visible_alias = "t")]
    Test(TestFlags),
    /// Run `cargo bench` and write what one iteration of every benchmark allocates, with its profile
    Bench(BenchFlags),
    /// Run `cargo nextest run` and write a heap profile and flamegraphs of every test
    Nextest(NextestFlags),
    /// Run `cargo run` and write a heap profile and flamegraphs of the program
    #[command(visible_alias = "r")]
    Run(RunFlags),
    /// Run the tests and compare what they allocate with the committed baseline
    Gate(GateOnlyFlags),
    /// Find the commit with which a test began to allocate more
    Bisect(BisectFlags),
    /// Show what tests allocated at one commit after another
    History(HistoryFlags),
    /// Write the metrics of the last run to the baseline
    Accept(AcceptFlags),
    /// Merge the shards of a run into one run
    Merge(MergeFlags),
    /// Remove target/memprof: the profiles and the separate build
    Clean(PackageFlags),
}

#[derive(Debug, Args)]
pub struct TestFlags {
    #[command(flatten)]
    pub own: OwnFlags,
    #[command(flatten)]
    pub saving: Saving,
    #[command(flatten)]
    pub place: BaselinePlace,
    /// Run only one share of the tests, for `cargo memprof merge`: every Nth test (count), or by a hash of the name
    #[arg(long, value_name = "count:M/N", value_parser = share)]
    pub partition: Option<Partition>,
    #[command(flatten)]
    pub ways: Ways,
    #[command(flatten)]
    pub deterministic: Deterministic,
    #[command(flatten)]
    pub only: Only,
}

#[derive(Debug, Args)]
pub struct BenchFlags {
    #[command(flatten)]
    pub own: OwnFlags,
    /// Write what each benchmark allocates to memprof.bench.baseline, for `cargo memprof gate --bench`
    #[arg(long)]
    pub save_baseline: bool,
    #[command(flatten)]
    pub place: BenchBaselinePlace,
    #[command(flatten)]
    pub only: Only,
}

#[derive(Debug, Args)]
pub struct NextestFlags {
    #[command(flatten)]
    pub own: OwnFlags,
    #[command(flatten)]
    pub saving: Saving,
    #[command(flatten)]
    pub place: BaselinePlace,
    #[command(flatten)]
    pub deterministic: Deterministic,
    #[command(flatten)]
    pub only: Only,
}

#[derive(Debug, Args)]
pub struct RunFlags {
    #[command(flatten)]
    pub own: OwnFlags,
}

#[derive(Debug, Args)]
pub struct GateOnlyFlags {
    #[command(flatten)]
    pub place: BaselinePlace,
    /// Compare benchmarks, all or of one target, with memprof.bench.baseline
    #[arg(
        long,
        value_name = "TARGET",
        num_args = 0..=1,
        require_equals = true,
        conflicts_with_all = ["repeat", "test_timeout", "deterministic"]
    )]
    pub bench: Option<Option<String>>,
    /// Compare the last run of `cargo memprof`
    #[arg(long)]
    pub no_run: bool,
    /// Compare with another revision: build and run it in a clone
    #[arg(long, value_name = "REV")]
    pub against: Option<String>,
    /// Compare with a release on the registry, by the commit it is of
    #[arg(long, value_name = "VER", conflicts_with_all = ["against", "explain_against"])]
    pub against_version: Option<String>,
    /// Where a test is over budget and the baseline's profiles are not here, record them anew at this revision, to name the lines
    #[arg(long, value_name = "REV", conflicts_with = "against")]
    pub explain_against: Option<String>,
    /// Only warn about: new, gone, not-run, unprofiled, conditions
    #[arg(long, value_name = "WHAT,…", value_delimiter = ',', value_parser = allowed)]
    pub allow: Vec<Allowed>,
    /// What goes to stdout; all of them go to target/memprof/gate
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output_format: Format,
    /// Add what the tests need to this file, for `cargo memprof history`
    #[arg(long, value_name = "FILE", conflicts_with = "bench")]
    pub history: Option<PathBuf>,
    /// Plant an allocation in each test, to show that the gate fails
    #[arg(long)]
    pub self_test: bool,
    #[command(flatten)]
    pub ways: Ways,
    #[command(flatten)]
    pub deterministic: Deterministic,
    #[command(flatten)]
    pub own: OwnFlags,
}

#[derive(Debug, Args)]
pub struct BisectFlags {
    /// An older revision, at which the tests allocate what they should
    #[arg(long, value_name = "REV", required = true)]
    pub good: String,
    /// A newer one, at which one of them allocates more
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    pub bad: String,
    #[command(flatten)]
    pub own: OwnFlags,
}

#[derive(Debug, Args)]
pub struct HistoryFlags {
    /// Whole names of tests, or patterns [default: all]
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// The committed file [default: memprof.baseline at the workspace's root]
    #[arg(long, value_name = "FILE", conflicts_with = "history")]
    pub baseline: Option<PathBuf>,
    /// A file that `cargo memprof gate --history FILE` adds to
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    #[command(flatten)]
    pub package: PackageFlags,
}

#[derive(Debug, Args)]
pub struct AcceptFlags {
    /// Whole names of tests, or patterns [default: all]
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<String>,
    #[command(flatten)]
    pub place: BaselinePlace,
    /// Where the run's outputs are [default: target/memprof]
    #[arg(long = "memprofile", value_name = "DIR")]
    pub folder: Option<PathBuf>,
    #[command(flatten)]
    pub package: PackageFlags,
}

#[derive(Debug, Args)]
pub struct MergeFlags {
    /// The outputs of each shard
    #[arg(value_name = "DIR", required = true)]
    pub folders: Vec<PathBuf>,
    /// Where the merged run goes [default: target/memprof]
    #[arg(long = "memprofile", value_name = "DIR")]
    pub folder: Option<PathBuf>,
    #[command(flatten)]
    pub package: PackageFlags,
}

#[derive(Debug, Args)]
pub struct Saving {
    /// Write the exact metrics to memprof.baseline, for `cargo memprof gate`
    #[arg(long)]
    pub save_baseline: bool,
}

#[derive(Debug, Args)]
pub struct BaselinePlace {
    /// The committed file [default: memprof.baseline at the workspace's root]
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Where the baseline's profiles are kept [default: target/memprof/baseline]
    #[arg(long, value_name = "DIR")]
    pub baseline_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BenchBaselinePlace {
    /// The committed file [default: memprof.bench.baseline at the workspace's root]
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Where the baseline's profiles are kept [default: target/memprof/baseline]
    #[arg(long, value_name = "DIR")]
    pub baseline_dir: Option<PathBuf>,
}

// How tests are run, but by nextest, which has such flags of its own.
#[derive(Debug, Args)]
pub struct Ways {
    /// Run each test N times, take the least, and name the tests that vary
    #[arg(long, value_name = "N", value_parser = times, default_value = "1", hide_default_value = true)]
    pub repeat: u32,
    /// Kill a test that takes longer, with every process that it started; a program whose tests are not known is timed as a whole
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub test_timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct Deterministic {
    /// Fix the seeds of hash tables and the addresses, and run one test at a time
    #[arg(long)]
    pub deterministic: bool,
}

#[derive(Debug, Args)]
pub struct Only {
    /// Profile only these (a part of the name, or a pattern with `*`); the others run without being recorded
    #[arg(long, value_name = "PATTERN", action = ArgAction::Append)]
    pub memprof_only: Vec<String>,
}

// What commands need of cargo's flags that run nothing.
#[derive(Debug, Args)]
pub struct PackageFlags {
    /// Path to Cargo.toml
    #[arg(long, value_name = "PATH")]
    manifest_path: Option<PathBuf>,
    /// The target folder, where it is not the package's own
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,
    /// Override a configuration value of cargo's
    #[arg(long, value_name = "KEY=VALUE|PATH", action = ArgAction::Append)]
    config: Vec<OsString>,
    /// Coloring: auto, always, never
    #[arg(long, value_name = "WHEN")]
    color: Option<String>,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

impl PackageFlags {
    /// As cargo would be given them.
    pub fn into_cargo_args(self) -> CargoArgs {
        let PackageFlags { manifest_path, target_dir, config, color, quiet } = self;
        CargoArgs { manifest_path, target_dir, config, color, quiet, ..CargoArgs::default() }
    }
}

impl Command {
    /// The command in `matches`, which [`command_line`] made.
    pub fn of(matches: &ArgMatches) -> Result<Command, clap::Error> {
        let mut command = Cli::from_arg_matches(matches)?.command;
        let rate_given = matches.subcommand().is_some_and(|(_, matches)| {
            matches.try_contains_id(RATE).is_ok_and(|there| there)
                && matches.value_source(RATE) == Some(clap::parser::ValueSource::CommandLine)
        });
        if let Some(own) = command.own_flags() {
            own.rate_given = rate_given;
        }
        Ok(command)
    }

    fn own_flags(&mut self) -> Option<&mut OwnFlags> {
        match self {
            Command::Test(flags) => Some(&mut flags.own),
            Command::Bench(flags) => Some(&mut flags.own),
            Command::Nextest(flags) => Some(&mut flags.own),
            Command::Run(flags) => Some(&mut flags.own),
            Command::Gate(flags) => Some(&mut flags.own),
            Command::Bisect(flags) => Some(&mut flags.own),
            Command::History(_) | Command::Accept(_) | Command::Merge(_) | Command::Clean(_) => None,
        }
    }
}

/// clap's name of [`OwnFlags::rate`].
const RATE: &str = "rate";
/// Commands that explain what they find record every allocation.
const EXACT: [&str; 3] = ["bench", "bisect", "gate"];

/// The whole command line as clap has it, with texts for a terminal of `columns`.
pub fn command_line(columns: usize) -> clap::Command {
    let mut cli = Cli::command().term_width(columns);
    for name in EXACT {
        cli = cli.mut_subcommand(name, |command| command.mut_arg(RATE, |rate| rate.default_value("1")));
    }
    // What it records lies beside the clone, and the next call finds it there.
    cli = cli.mut_subcommand("bisect", |command| {
        command.mut_arg("folder", |flag| flag.hide(true)).mut_arg("keep_ledgers", |flag| flag.hide(true))
    });
    help::teach(cli, columns)
}

impl TestFlags {
    pub fn into_parts(self) -> (OwnFlags, GateFlags) {
        let partition = self.partition;
        let run_options = run_options(Some(self.ways), &self.deterministic, Some(self.only));
        let flags =
            GateFlags { run_options: RunOptions { partition, ..run_options }, ..saving(&self.saving, self.place) };
        (self.own, flags)
    }
}

impl BenchFlags {
    pub fn into_parts(self) -> (OwnFlags, GateFlags) {
        let run_options = RunOptions { only: self.only.memprof_only, ..RunOptions::default() };
        let BenchBaselinePlace { baseline, baseline_dir } = self.place;
        let bench = Some(None);
        let save_baseline = self.save_baseline;
        (self.own, GateFlags { run_options, save_baseline, baseline, baseline_dir, bench, ..GateFlags::default() })
    }
}

impl NextestFlags {
    pub fn into_parts(self) -> (OwnFlags, GateFlags) {
        let run_options = run_options(None, &self.deterministic, Some(self.only));
        (self.own, GateFlags { run_options, ..saving(&self.saving, self.place) })
    }
}

impl GateOnlyFlags {
    pub fn into_parts(self) -> (OwnFlags, GateFlags) {
        let GateOnlyFlags {
            place,
            bench,
            no_run,
            against,
            against_version,
            explain_against,
            allow,
            output_format,
            history,
            self_test,
            ways,
            deterministic,
            own,
        } = self;
        let run_options = run_options(Some(ways), &deterministic, None);
        let flags = GateFlags {
            bench,
            no_run,
            against: against.map(Other::Revision).or(against_version.map(Other::Release)),
            explain_against,
            allow,
            format: output_format,
            history,
            self_test,
            run_options,
            ..place.into()
        };
        (own, flags)
    }
}

impl From<BaselinePlace> for GateFlags {
    fn from(place: BaselinePlace) -> GateFlags {
        GateFlags { baseline: place.baseline, baseline_dir: place.baseline_dir, ..GateFlags::default() }
    }
}

fn saving(saving: &Saving, place: BaselinePlace) -> GateFlags {
    GateFlags { save_baseline: saving.save_baseline, ..place.into() }
}

fn run_options(ways: Option<Ways>, deterministic: &Deterministic, only: Option<Only>) -> RunOptions {
    let (repeat, timeout) = ways.map_or((1, None), |ways| (ways.repeat, ways.test_timeout));
    let only = only.map(|only| only.memprof_only).unwrap_or_default();
    RunOptions { repeat, timeout, only, deterministic: deterministic.deterministic, ..RunOptions::default() }
}

fn times(text: &str) -> Result<u32, Error> {
    text.parse().ok().filter(|times| *times > 0).ok_or_else(|| {
        Error::usage(format!("cannot use `{text}` for `--repeat`"))
            .caused_by("it is not a whole number from 1 up")
            .help("pass how often each test is to be run: `--repeat 5`")
    })
}

fn seconds(text: &str) -> Result<Duration, Error> {
    let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    // Milliseconds are as fine as it gets.
    time.filter(|time| (1..=u128::from(u64::MAX)).contains(&time.as_millis())).ok_or_else(|| {
        Error::usage(format!("cannot use `{text}` for `--test-timeout`"))
            .caused_by("it is no time in seconds")
            .help("pass how long a test may take: `--test-timeout 60`")
    })
}

fn share(text: &str) -> Result<Partition, Error> {
    let share: Result<Partition, String> = text.parse();
    let share = share.and_then(|share| match share.scheme {
        Scheme::Slice => Err("`slice` is a way of nextest's alone".to_owned()),
        _ => Ok(share),
    });
    share.map_err(|why| {
        Error::usage(format!("cannot use `{text}` for `--partition`"))
            .caused_by(why)
            .help("pass the share and their number: `--partition count:1/3`, or `hash:1/3`")
    })
}

/// One word of a list, which may have space around it.
fn allowed(text: &str) -> Result<Allowed, Error> {
    Allowed::from_str(text.trim(), false).map_err(|_| {
        let all = Allowed::value_variants().iter().filter_map(Allowed::to_possible_value);
        let names: Vec<String> = all.map(|value| format!("`{}`", value.get_name())).collect();
        Error::usage(format!("cannot use `{text}` for `--allow`"))
            .caused_by("it is none of its values")
            .help(format!("pass one of {}", names.join(", ")))
    })
}

const STYLES: clap::builder::Styles = {
    use anstyle::AnsiColor::{Cyan, Green};
    clap::builder::Styles::styled()
        .header(Green.on_default().bold())
        .usage(Green.on_default().bold())
        .literal(Cyan.on_default().bold())
        .placeholder(Cyan.on_default())
};
