//! The command line as a whole: which command, and the help that teaches it. The flags of `test` are read by
//! `options`, because cargo's and the harness's stand between them; here they are described.

use crate::error::Error;
use crate::gate::flags::{Flag, Format, GateFlags};
use crate::gate::pattern::Pattern;
use crate::gate::{AcceptOptions, GateOptions};
use crate::merge::MergeOptions;
use crate::options::{self, CargoArgs, OwnFlags, SampleRate, Task, TestOptions};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// What the user wants.
#[derive(Debug)]
pub enum Request {
    Test(Box<GateOptions>),
    Run(Box<TestOptions>),
    Gate(Box<GateOptions>),
    Accept(Box<AcceptOptions>),
    Merge(Box<MergeOptions>),
    Clean(CleanOptions),
    /// A help or version text, for stdout.
    Show(String),
}

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
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(visible_alias = "t")]
    Test(TestHelp),
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
struct TestHelp {
    /// Mean bytes between two recorded allocations: 1 = every one, 0 = counts only, no stacks
    #[arg(long, value_name = "N", default_value_t = options::DEFAULT_RATE.get())]
    memprofilerate: u64,
    /// Where the outputs go [default: target/memprof]
    #[arg(long, value_name = "DIR")]
    memprofile: Option<PathBuf>,
    /// Keep the raw recordings in DIR/ledgers
    #[arg(long)]
    keep_ledgers: bool,
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
    /// Whatever `cargo test` takes
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
struct RunHelp {
    /// Mean bytes between two recorded allocations: 1 = every one, 0 = counts only, no stacks
    #[arg(long, value_name = "N", default_value_t = options::DEFAULT_RATE.get())]
    memprofilerate: u64,
    /// Where the outputs go [default: target/memprof]
    #[arg(long, value_name = "DIR")]
    memprofile: Option<PathBuf>,
    /// Keep the raw recordings in DIR/ledgers
    #[arg(long)]
    keep_ledgers: bool,
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
struct GateHelp {
    /// The committed file [default: memprof.baseline at the workspace's root]
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Where the baseline's profiles are kept [default: target/memprof/baseline]
    #[arg(long, value_name = "DIR")]
    baseline_dir: Option<PathBuf>,
    /// Compare the last run of `cargo memprof`
    #[arg(long)]
    no_run: bool,
    /// Compare with another revision: build and run it in a worktree of its own
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
struct AcceptHelp {
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
struct MergeHelp {
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

/// Reads the arguments behind the program's name; cargo's own `memprof` in front of them is skipped.
///
/// # Errors
/// Where they make no sense.
pub fn read(mut args: Vec<OsString>) -> Result<Request, Error> {
    if args.first().is_some_and(|first| first == "memprof") {
        args.remove(0);
    }
    if args.is_empty() {
        return Ok(Request::Show(Cli::command().render_long_help().ansi().to_string()));
    }
    let command = format!("cargo memprof {}", options::shown(args.iter().map(OsString::as_os_str)));
    if let Some(request) = run(&args, &command)? {
        return Ok(request);
    }
    if let Some((verb, flags)) = Verb::of(&args) {
        let (flags, args) = GateFlags::take(args, flags)?;
        return verb.read(flags, args, command);
    }
    let (own, rest) = OwnFlags::take(args)?;
    if own.given > 0 {
        return Err(Error::usage(format!("cannot run `{command}`"))
            .caused_by("only commands that run tests take this flag")
            .help("write `cargo memprof test` first; see `cargo memprof test --help`"));
    }
    let line = std::iter::once(OsString::from("cargo memprof")).chain(rest);
    match Cli::try_parse_from(line) {
        Ok(Cli { command: Command::Clean(options) }) => Ok(Request::Clean(options)),
        Ok(Cli { command: Command::Test(_) }) => Ok(Request::Show(help_of("test"))),
        Ok(Cli { command: Command::Run(_) }) => Ok(Request::Show(help_of("run"))),
        Ok(Cli { command: Command::Gate(_) }) => Ok(Request::Show(help_of("gate"))),
        Ok(Cli { command: Command::Merge(_) }) => Ok(Request::Show(help_of("merge"))),
        Ok(Cli { command: Command::Accept(_) }) => Ok(Request::Show(help_of("accept"))),
        Err(error) => explain(&error, &command),
    }
}

/// The command `run`, if it is that: what follows the `--` is the program's, whatever it looks like.
fn run(args: &[OsString], command: &str) -> Result<Option<Request>, Error> {
    let cut = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    let (before, program) = args.split_at(cut);
    // What is wrong with the flags of another command, that command says.
    let Ok((own, rest)) = OwnFlags::take(before.to_vec()) else {
        let is_run = before.iter().find(|arg| !arg.as_encoded_bytes().starts_with(b"-"));
        return match is_run.is_some_and(|arg| arg == "run" || arg == "r") {
            true => OwnFlags::take(before.to_vec()).map(|_| None),
            false => Ok(None),
        };
    };
    let Some((_, rest)) = rest.split_first().filter(|(first, _)| *first == "run" || *first == "r") else {
        return Ok(None);
    };
    let mut cargo = CargoArgs::read(rest.to_vec());
    if cargo.help {
        return Ok(Some(Request::Show(help_of("run"))));
    }
    cargo.given.extend(program.iter().cloned());
    // Stdout is the program's.
    cargo.machine_output = true;
    let command = command.to_owned();
    let modes = Default::default();
    let options = TestOptions { task: Task::Run, own, cargo, command, stdout_is_taken: false, modes };
    Ok(Some(Request::Run(Box::new(options))))
}

/// A command that takes cargo's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Test,
    Gate,
    Accept,
    Merge,
}

impl Verb {
    /// The first word that is one, and the gate's flags it takes. Our own flags may stand before it.
    fn of(args: &[OsString]) -> Option<(Verb, &'static [Flag])> {
        let verbs = [
            ("test", Verb::Test, Flag::OF_TEST),
            ("t", Verb::Test, Flag::OF_TEST),
            ("gate", Verb::Gate, Flag::OF_GATE),
            ("accept", Verb::Accept, Flag::OF_ACCEPT),
            ("merge", Verb::Merge, Flag::OF_MERGE),
        ];
        let (_, rest) = OwnFlags::take(args.to_vec()).ok()?;
        let first = rest.first()?;
        verbs.into_iter().find(|(name, ..)| first == name).map(|(_, verb, flags)| (verb, flags))
    }

    fn read(self, flags: GateFlags, args: Vec<OsString>, command: String) -> Result<Request, Error> {
        let (mut own, rest) = OwnFlags::take(args)?;
        let mut cargo = CargoArgs::read(rest[1..].to_vec());
        if cargo.help {
            return Ok(Request::Show(help_of(match self {
                Verb::Test => "test",
                Verb::Gate => "gate",
                Verb::Accept => "accept",
                Verb::Merge => "merge",
            })));
        }
        // Without stacks of every allocation a regression could not be explained.
        if !own.rate_given && (self == Verb::Gate || flags.save_baseline) {
            own.rate = SampleRate::EXACT;
        }
        let stdout_is_taken = flags.format != Format::Text;
        cargo.machine_output |= stdout_is_taken;
        let test = TestOptions { task: Task::Test, own, cargo, command, stdout_is_taken, modes: flags.modes.clone() };
        Ok(match self {
            Verb::Test => Request::Test(Box::new(GateOptions { test, flags })),
            Verb::Gate => Request::Gate(Box::new(GateOptions { test, flags })),
            Verb::Accept => {
                let patterns = bare_words(&test, "accept", "run the tests with `cargo memprof gate` first")?;
                let patterns = patterns.into_iter().map(Pattern::new).collect();
                Request::Accept(Box::new(AcceptOptions { test, flags, patterns }))
            }
            Verb::Merge => {
                let folders =
                    bare_words(&test, "merge", "record the shards with `cargo memprof test --partition` first")?;
                let folders = folders.into_iter().map(PathBuf::from).collect();
                Request::Merge(Box::new(MergeOptions { test, folders }))
            }
        })
    }
}

/// The words of a command that runs nothing. Of what `cargo test` takes, it takes only what says where the package is.
fn bare_words(test: &TestOptions, verb: &str, first: &str) -> Result<Vec<String>, Error> {
    let mut bare = Vec::new();
    let mut words = test.cargo.given.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        match text.as_ref() {
            "--manifest-path" | "--config" | "--color" => drop(words.next()),
            "-q" | "--quiet" | "--" => {}
            _ if ["--manifest-path=", "--config=", "--color="].iter().any(|flag| text.starts_with(flag)) => {}
            _ if text.starts_with('-') => {
                return Err(Error::usage(format!("cannot run `{}`", test.command))
                    .caused_by(format!("`{text}` is not understood here: `{verb}` runs nothing"))
                    .help(format!("{first}; see `cargo memprof {verb} --help`")));
            }
            _ => bare.push(text.into_owned()),
        }
    }
    Ok(bare)
}

fn help_of(command: &str) -> String {
    let mut cli = Cli::command();
    // Building first gives the subcommand its full name.
    cli.build();
    cli.find_subcommand_mut(command).map(|test| test.render_help().ansi().to_string()).unwrap_or_default()
}

/// Turns clap's refusal into ours; help and version are no refusals.
fn explain(error: &clap::Error, command: &str) -> Result<Request, Error> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        // Of a command and its short alias, the command.
        Some(ContextValue::Strings(texts)) => texts.iter().max_by_key(|text| text.len()).cloned(),
        _ => None,
    };
    let refusal = Error::usage(format!("cannot run `{command}`"));
    Err(match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return Ok(Request::Show(error.render().ansi().to_string()));
        }
        ErrorKind::InvalidSubcommand => {
            let name = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            refusal.caused_by(format!("there is no command `{name}`")).help(
                match context(ContextKind::SuggestedSubcommand) {
                    Some(near) => format!("a command with a similar name exists: `cargo memprof {near}`"),
                    None => "see `cargo memprof --help` for the commands".to_owned(),
                },
            )
        }
        ErrorKind::UnknownArgument => {
            let flag = context(ContextKind::InvalidArg).unwrap_or_default();
            refusal.caused_by(format!("`{flag}` is not understood here")).help(
                "options of `cargo test` go behind the command: `cargo memprof test …`; see `cargo memprof --help`",
            )
        }
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            refusal.caused_by(first).help("see `cargo memprof --help`")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<Request, Error> {
        read(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn the_help_fits_one_screen_each() {
        Cli::command().debug_assert();
        for line in
            ["", "memprof --help", "memprof test --help", "test -h", "run -h", "help test", "gate -h", "help accept"]
        {
            let Ok(Request::Show(text)) = request(line) else { panic!("`{line}` shows no help") };
            let lines = text.lines().count();
            assert!((10..=40).contains(&lines), "`{line}` has {lines} lines");
        }
    }

    #[test]
    fn what_follows_the_dashes_is_the_programs() {
        let Ok(Request::Run(options)) = request("memprof run --memprofilerate 1 --bin x -- --memprofilerate 2") else {
            panic!("it is no run");
        };
        assert_eq!(options.own.rate.get(), 1);
        assert_eq!(options.cargo.given, ["--bin", "x", "--", "--memprofilerate", "2"]);
        assert!(request("memprof run --memprofilerate x").is_err());
    }

    #[test]
    fn cargos_name_for_us_is_optional() {
        for line in ["memprof test --lib", "test --lib", "memprof t --lib", "memprof --memprofilerate 1 test --lib"] {
            let Ok(Request::Test(options)) = request(line) else { panic!("`{line}` is no test run") };
            assert_eq!(options.test.cargo.given, ["--lib"]);
        }
    }

    #[test]
    fn an_unknown_command_names_the_nearest() {
        let error = request("memprof tset").unwrap_err();
        assert_eq!(error.advice(), Some("a command with a similar name exists: `cargo memprof test`"));
    }

    #[test]
    fn the_command_is_remembered_as_it_was_given() {
        let Ok(Request::Test(options)) = request("memprof test --memprofilerate=1 -- a") else { panic!("refused") };
        assert_eq!(options.test.command, "cargo memprof test --memprofilerate=1 -- a");
    }
}
