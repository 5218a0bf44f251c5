//! The help that teaches each command, and what clap knows of them. The flags of commands that take cargo's arguments are
//! described here and read elsewhere, because cargo's and the harness's stand between them.

use crate::options;
use clap::{Args, CommandFactory, Parser, Subcommand};
use memprof_harness::ledger::layout::DEFAULT_DEPTH;
use std::ffi::OsString;
use std::path::PathBuf;

/// Heap profiles of your tests: `go test -memprofile` for Rust
#[derive(Debug, Parser)]
#[command(
    name = "cargo-memprof",
    bin_name = "cargo memprof",
    version,
    styles = STYLES,
    subcommand_required = true,
    after_help = "\
Examples:
  cargo memprof test                        sample all tests, a stack per 512 KiB allocated
  cargo memprof test --memprofilerate 1     record every allocation
  cargo memprof test -p mycrate parse::     any argument of `cargo test` works
  cargo memprof run --release -- input.txt  profile a program

No edit to your crate is needed. Profiles, flamegraphs and summary.json go to target/memprof:
  go tool pprof -top target/memprof/profile.pb.gz"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(visible_alias = "t")]
    Test(TestHelp),
    Bench(BenchHelp),
    Nextest(NextestHelp),
    #[command(visible_alias = "r")]
    Run(RunHelp),
    Gate(GateHelp),
    Accept(AcceptHelp),
    Merge(MergeHelp),
    Clean(CleanOptions),
}

/// Run `cargo test` and write a heap profile and flamegraphs of every test
#[derive(Debug, Args)]
#[command(
    override_usage = "cargo memprof test [OPTIONS] [CARGO TEST OPTIONS] [TESTNAME] [-- HARNESS OPTIONS]",
    after_help = "\
Our options may stand before or after the `--`; every other argument goes to `cargo test` untouched.
Each test runs in a process of its own, so its counts are its own and the same in every run.

Examples:
  cargo memprof test                                sample; a table names the hungriest tests
  cargo memprof test --memprofilerate 1 --lib       every allocation of the library's unit tests
  cargo memprof test --memprofile prof --release -- parser --skip slow
  go tool pprof -http=: target/memprof/profile.pb.gz
  xdg-open target/memprof/index.html                every flamegraph

Exit codes: cargo's own; 2 wrong use; 3 nothing could be run; 4 profiles not written; 130 Ctrl-C."
)]
pub struct TestHelp {
    /// Mean bytes between two recorded allocations: 1 = every one, 0 = counts only, no stacks
    #[arg(long, value_name = "N", default_value_t = options::DEFAULT_RATE.get())]
    memprofilerate: u64,
    /// Where the outputs go [default: target/memprof]
    #[arg(long, value_name = "DIR")]
    memprofile: Option<PathBuf>,
    /// How many frames of a stack are kept, from 16 to 1024; the middle of a deeper one is left out
    #[arg(long, value_name = "N", default_value_t = DEFAULT_DEPTH)]
    stack_depth: usize,
    /// Keep the raw recordings in DIR/ledgers
    #[arg(long)]
    keep_ledgers: bool,
    /// Record all that reaches the C library's malloc, C libraries included
    #[arg(long)]
    native: bool,
    /// Write the exact figures to memprof.baseline, for `cargo memprof gate`
    #[arg(long)]
    save_baseline: bool,
    /// Run only one share of the tests, for `cargo memprof merge`; count: by turns, hash: by name
    #[arg(long, value_name = "count:M/N")]
    partition: Option<String>,
    /// Run each test N times
    #[arg(long, value_name = "N")]
    repeat: Option<u32>,
    /// Fix the seeds of hash tables and the addresses, and run one test at a time
    #[arg(long)]
    deterministic: bool,
    /// Kill a test that takes longer (or a program whose tests are not known, as a whole) with all it started: it has failed,
    /// and its profile shows where it was until then
    #[arg(long, value_name = "SECONDS")]
    test_timeout: Option<f64>,
    /// Profile these tests (a part of the name, or a pattern with `*`); the others run as ever
    #[arg(long, value_name = "PATTERN")]
    memprof_only: Vec<String>,
    /// Whatever `cargo test` takes
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    cargo_args: Vec<OsString>,
}

/// Run `cargo bench` and write what one iteration of every benchmark allocates, with its profile
#[derive(Debug, Args)]
#[command(
    override_usage = "cargo memprof bench [OPTIONS] [CARGO BENCH OPTIONS] [BENCHNAME] [-- HARNESS OPTIONS]",
    after_help = "\
The benchmarks run and measure as ever. Then one iteration of each is recorded in a process of its own: of `#[bench]`
(nightly), criterion, divan, bencher and CodSpeed's copies; any other program is recorded as one.

Examples:
  cargo memprof bench                           a table of ns/iter, B/iter and allocs/iter
  cargo memprof bench --bench parse -- rows     those with `rows` in their name

Exit codes: cargo's own; 2 wrong use; 3 nothing could be run; 4 profiles not written; 130 Ctrl-C."
)]
pub struct BenchHelp {
    /// Mean bytes between two recorded allocations: 1 = every one, 0 = counts only, no stacks
    #[arg(long, value_name = "N", default_value_t = 1)]
    memprofilerate: u64,
    /// Where the outputs go [default: target/memprof]
    #[arg(long, value_name = "DIR")]
    memprofile: Option<PathBuf>,
    /// How many frames of a stack are kept, from 16 to 1024; the middle of a deeper one is left out
    #[arg(long, value_name = "N", default_value_t = DEFAULT_DEPTH)]
    stack_depth: usize,
    /// Keep the raw recordings in DIR/ledgers
    #[arg(long)]
    keep_ledgers: bool,
    /// Profile these benchmarks (a part of the name, or a pattern with `*`); the others run as ever
    #[arg(long, value_name = "PATTERN")]
    memprof_only: Vec<String>,
    /// Whatever `cargo bench` takes
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    cargo_args: Vec<OsString>,
}

/// Run `cargo nextest run` and write a heap profile and flamegraphs of every test
#[derive(Debug, Args)]
#[command(
    override_usage = "cargo memprof nextest run [OPTIONS] [NEXTEST RUN OPTIONS] [FILTERS] [-- HARNESS OPTIONS]",
    after_help = "\
Scheduling, filters, retries, partitions, reports and the exit code are nextest's (https://nexte.st). Of a test that was
retried, the last attempt is kept. Doctests are not run.

Examples:
  cargo memprof nextest run --memprofilerate 1 -E 'test(parser)'
  cargo memprof nextest run --partition slice:1/2 --memprofile shard1   see `cargo memprof merge`

Exit codes: nextest's own (100: tests failed); 2 wrong use; 3 nothing could be run; 4 profiles not written."
)]
pub struct NextestHelp {
    /// Mean bytes between two recorded allocations: 1 = every one, 0 = counts only, no stacks
    #[arg(long, value_name = "N", default_value_t = options::DEFAULT_RATE.get())]
    memprofilerate: u64,
    /// Where the outputs go [default: target/memprof]
    #[arg(long, value_name = "DIR")]
    memprofile: Option<PathBuf>,
    /// How many frames of a stack are kept, from 16 to 1024; the middle of a deeper one is left out
    #[arg(long, value_name = "N", default_value_t = DEFAULT_DEPTH)]
    stack_depth: usize,
    /// Keep the raw recordings in DIR/ledgers
    #[arg(long)]
    keep_ledgers: bool,
    /// Write the exact figures to memprof.baseline, for `cargo memprof gate`
    #[arg(long)]
    save_baseline: bool,
    /// Profile these tests (a part of the name, or a pattern with `*`); the others run as ever
    #[arg(long, value_name = "PATTERN")]
    memprof_only: Vec<String>,
    /// Whatever `cargo nextest run` takes
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    cargo_args: Vec<OsString>,
}

/// Run `cargo run` and write a heap profile and flamegraphs of the program
#[derive(Debug, Args)]
#[command(
    override_usage = "cargo memprof run [OPTIONS] [CARGO RUN OPTIONS] [-- ARGUMENTS OF THE PROGRAM]",
    after_help = "\
Our options stand before the `--`; what follows it is the program's. The program has the terminal, stdin and stdout to
itself, and its exit code is ours. What it starts of the same package has profiles below its own.

Examples:
  cargo memprof run --release -- input.txt           sample it, a stack per 512 KiB allocated
  cargo memprof run --memprofilerate 1 --example x   every allocation of an example
  go tool pprof -top target/memprof/profile.pb.gz

Exit codes: the program's own; 2 wrong use; 3 nothing could be run; 4 profiles not written."
)]
pub struct RunHelp {
    /// Mean bytes between two recorded allocations: 1 = every one, 0 = counts only, no stacks
    #[arg(long, value_name = "N", default_value_t = options::DEFAULT_RATE.get())]
    memprofilerate: u64,
    /// Where the outputs go [default: target/memprof]
    #[arg(long, value_name = "DIR")]
    memprofile: Option<PathBuf>,
    /// How many frames of a stack are kept, from 16 to 1024; the middle of a deeper one is left out
    #[arg(long, value_name = "N", default_value_t = DEFAULT_DEPTH)]
    stack_depth: usize,
    /// Keep the raw recordings in DIR/ledgers
    #[arg(long)]
    keep_ledgers: bool,
    /// Record all that reaches the C library's malloc, C libraries included
    #[arg(long)]
    native: bool,
    /// Whatever `cargo run` takes
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    cargo_args: Vec<OsString>,
}

/// Run the tests and compare what they allocate with the committed baseline
#[derive(Debug, Args)]
#[command(
    override_usage = "cargo memprof gate [OPTIONS] [CARGO TEST OPTIONS] [TESTNAME] [-- HARNESS OPTIONS]",
    after_help = "\
Limits are in .config/memprof.toml; without one, no test may make one allocation more than before.

Examples:
  cargo memprof test --save-baseline     record memprof.baseline; commit it
  cargo memprof gate                     compare; names the lines that allocate more
  cargo memprof gate --against origin/main   needs no committed file
  cargo memprof accept                   take the new figures over, if they are meant
  cargo memprof gate --no-run --self-test

Exit codes: cargo's own if tests fail; 2 wrong use; 3 nothing could be run; 4 outputs not written;
5 over budget; 6 cannot compare (no baseline, other conditions, tests missing)."
)]
pub struct GateHelp {
    /// The committed file [default: memprof.baseline at the workspace's root]
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Where the baseline's profiles are kept [default: target/memprof/baseline]
    #[arg(long, value_name = "DIR")]
    baseline_dir: Option<PathBuf>,
    /// Compare the last run of `cargo memprof`
    #[arg(long)]
    no_run: bool,
    /// Compare with another revision: build and run it in a clone of our own
    #[arg(long, value_name = "REV")]
    against: Option<String>,
    /// Only warn of: new, gone, not-run, unprofiled, conditions
    #[arg(long, value_name = "WHAT,…")]
    allow: Option<String>,
    /// Run each test N times, compare the least, and name the tests that vary
    #[arg(long, value_name = "N")]
    repeat: Option<u32>,
    /// Fix the seeds of hash tables and the addresses, and run one test at a time
    #[arg(long)]
    deterministic: bool,
    /// Kill a test that takes longer; it has failed, and is not compared
    #[arg(long, value_name = "SECONDS")]
    test_timeout: Option<f64>,
    /// What goes to stdout: text, github, markdown, junit or json; all of them go to target/memprof/gate
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output_format: String,
    /// Plant an allocation in every test's figures and show that the gate trips
    #[arg(long)]
    self_test: bool,
    /// Mean bytes between two recorded allocations: 1 = every one, 0 = counts only, no explanations
    #[arg(long, value_name = "N", default_value_t = 1)]
    memprofilerate: u64,
    /// Whatever `cargo test` takes
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    cargo_args: Vec<OsString>,
}

/// Take the last run's figures into the baseline
#[derive(Debug, Args)]
#[command(
    override_usage = "cargo memprof accept [OPTIONS] [PATTERN]...",
    after_help = "\
Examples:
  cargo memprof accept                   all tests of the last run; tests that are gone go
  cargo memprof accept 'parser::*'       these alone: `*` is any text, `?` any letter"
)]
pub struct AcceptHelp {
    /// Names of tests, whole [default: all]
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// The committed file [default: memprof.baseline at the workspace's root]
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Where the baseline's profiles are kept [default: target/memprof/baseline]
    #[arg(long, value_name = "DIR")]
    baseline_dir: Option<PathBuf>,
    /// Where the run's outputs are [default: target/memprof]
    #[arg(long, value_name = "DIR")]
    memprofile: Option<PathBuf>,
    /// Path to Cargo.toml
    #[arg(long, value_name = "PATH")]
    manifest_path: Option<PathBuf>,
}

/// Put the shards of a run together, as if it had been one
#[derive(Debug, Args)]
#[command(
    override_usage = "cargo memprof merge [OPTIONS] <DIR>...",
    after_help = "\
Examples:
  cargo memprof test --partition count:1/2 --memprofile shard1     on one machine
  cargo memprof test --partition count:2/2 --memprofile shard2     on another
  cargo memprof merge shard1 shard2                                every shard must be there
  cargo memprof gate --no-run                                      one verdict"
)]
pub struct MergeHelp {
    /// The outputs of each shard
    #[arg(value_name = "DIR", required = true)]
    folders: Vec<PathBuf>,
    /// Where the whole goes [default: target/memprof]
    #[arg(long, value_name = "DIR")]
    memprofile: Option<PathBuf>,
    /// Path to Cargo.toml
    #[arg(long, value_name = "PATH")]
    manifest_path: Option<PathBuf>,
}

/// Remove target/memprof: the profiles and the separate build
#[derive(Debug, Args, PartialEq, Eq)]
pub struct CleanOptions {
    /// Path to Cargo.toml
    #[arg(long, value_name = "PATH")]
    pub manifest_path: Option<PathBuf>,
    /// The target folder, where it is not the package's own
    #[arg(long, value_name = "DIR")]
    pub target_dir: Option<PathBuf>,
    /// Say nothing
    #[arg(short, long)]
    pub quiet: bool,
}

const STYLES: clap::builder::Styles = {
    use anstyle::AnsiColor::{Cyan, Green};
    clap::builder::Styles::styled()
        .header(Green.on_default().bold())
        .usage(Green.on_default().bold())
        .literal(Cyan.on_default().bold())
        .placeholder(Cyan.on_default())
};

/// The help of the command called `command`.
pub fn help_of(command: &str) -> String {
    let mut cli = Cli::command();
    // Building first gives the subcommand its full name.
    cli.build();
    cli.find_subcommand_mut(command).map(|test| test.render_help().ansi().to_string()).unwrap_or_default()
}
