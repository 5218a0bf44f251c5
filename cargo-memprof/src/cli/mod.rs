//! The command line as a whole: which command, and what it was asked for. `help` teaches the commands, `refusal` says
//! what is wrong with one; the flags of those that take cargo's arguments are read by `options` and `gate::flags`.

mod help;
mod refusal;

use self::help::{Cli, Command, help_of};
use crate::context::cargo_args::CargoArgs;
use crate::context::cargo_flags::Tool;
use crate::error::Error;
use crate::gate::flags::{Flag, Format, GateFlags};
use crate::gate::pattern::Pattern;
use crate::gate::{AcceptOptions, GateOptions};
use crate::merge::MergeOptions;
use crate::options::{self, OwnFlags, SampleRate, Task, TestOptions};
use clap::{CommandFactory, Parser};
use memprof_harness::modes::Partition;
use std::ffi::OsString;
use std::path::PathBuf;

pub use self::help::CleanOptions;

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
        Ok(Cli { command: Command::Bench(_) }) => Ok(Request::Show(help_of("bench"))),
        Ok(Cli { command: Command::Nextest(_) }) => Ok(Request::Show(help_of("nextest"))),
        Ok(Cli { command: Command::Run(_) }) => Ok(Request::Show(help_of("run"))),
        Ok(Cli { command: Command::Gate(_) }) => Ok(Request::Show(help_of("gate"))),
        Ok(Cli { command: Command::Merge(_) }) => Ok(Request::Show(help_of("merge"))),
        Ok(Cli { command: Command::Accept(_) }) => Ok(Request::Show(help_of("accept"))),
        Err(error) => refusal::explain(&error, &command).map(Request::Show),
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
    let mut cargo = CargoArgs::read(Tool::CargoRun, rest.to_vec());
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
    Bench,
    Nextest,
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
            ("bench", Verb::Bench, Flag::OF_BENCH),
            ("nextest", Verb::Nextest, Flag::OF_NEXTEST),
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
        let tool = if self == Verb::Nextest { Tool::Nextest } else { Tool::Cargo };
        let mut cargo = CargoArgs::read(tool, rest[1..].to_vec());
        if cargo.help {
            return Ok(Request::Show(help_of(match self {
                Verb::Test => "test",
                Verb::Bench => "bench",
                Verb::Nextest => "nextest",
                Verb::Gate => "gate",
                Verb::Accept => "accept",
                Verb::Merge => "merge",
            })));
        }
        // Without stacks of every allocation a regression could not be explained, nor an iteration be told from what is
        // around it.
        if !own.rate_given && (matches!(self, Verb::Gate | Verb::Bench) || flags.save_baseline) {
            own.rate = SampleRate::EXACT;
        }
        let stdout_is_taken = flags.format != Format::Text;
        cargo.machine_output |= stdout_is_taken;
        let mut modes = flags.modes.clone();
        let task = match self {
            Verb::Bench => Task::Bench,
            Verb::Nextest => {
                (cargo, modes.partition) = nextest(cargo, &command)?;
                Task::Nextest
            }
            _ => Task::Test,
        };
        let test = TestOptions { task, own, cargo, command, stdout_is_taken, modes };
        Ok(match self {
            Verb::Test | Verb::Bench | Verb::Nextest => Request::Test(Box::new(GateOptions { test, flags })),
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

/// nextest's flags by which it runs executables that another call built.
const BUILT_ELSEWHERE: [&str; 2] = ["archive-file", "binaries-metadata"];

/// The arguments of `cargo nextest run`, and the share of the tests that it was given.
fn nextest(mut cargo: CargoArgs, command: &str) -> Result<(CargoArgs, Option<Partition>), Error> {
    if cargo.given.first().is_none_or(|first| first != "run" && first != "r") {
        return Err(Error::usage(format!("cannot run `{command}`"))
            .caused_by("of nextest's commands only `run` runs tests")
            .help("write `cargo memprof nextest run`; for the others, call `cargo nextest`"));
    }
    cargo.given.remove(0);
    if let Some(flag) = BUILT_ELSEWHERE.into_iter().find(|flag| cargo.has(flag)) {
        return Err(Error::usage(format!("cannot run `{command}`"))
            .caused_by(format!(
                "`--{flag}` runs what was built elsewhere, and only what is built here has the harness in it"
            ))
            .help(
                "leave it out, and the tests are built and profiled; `cargo nextest run` runs the archive unprofiled",
            ));
    }
    // What nextest does not understand, it says.
    let partition = cargo.value_of("partition").and_then(|share| share.parse().ok());
    Ok((cargo, partition))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<Request, Error> {
        read(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn the_help_fits_one_screen_each() {
        Cli::command().debug_assert();
        for line in [
            "",
            "memprof --help",
            "memprof test --help",
            "test -h",
            "run -h",
            "bench -h",
            "nextest run -h",
            "help test",
            "gate -h",
            "help accept",
        ] {
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
