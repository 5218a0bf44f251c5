//! The command line as a whole becomes a [`Request`]. `flags` has our own flags, `take` tells them from cargo's, `help` explains the
//! commands, `refusal` says why a command line is refused, and `suggestion` names the flag that the user may have meant.

mod flags;
mod help;
mod refusal;
mod suggestion;
mod take;

use self::flags::{Command, HistoryFlags, command_line};
use self::take::take;
use crate::commands::accept::AcceptOptions;
use crate::commands::bisect::BisectOptions;
use crate::commands::clean::CleanOptions;
use crate::commands::gate::GateOptions;
use crate::commands::history::HistoryOptions;
use crate::commands::merge::MergeOptions;
use crate::context::cargo_args::CargoArgs;
use crate::context::cargo_flags::Tool;
use crate::context::options::{self, SampleRate, Task, TestOptions};
use crate::gate::flags::{Format, GateFlags};
use crate::gate::policy::pattern::Pattern;
use crate::ui::error::Error;
use crate::ui::terminal::Shell;
use memprof_harness::run_options::Partition;
use std::ffi::{OsStr, OsString};

/// What the user wants.
#[derive(Debug)]
pub enum Request {
    Test(Box<GateOptions>),
    Run(Box<TestOptions>),
    Gate(Box<GateOptions>),
    Bisect(Box<BisectOptions>),
    History(Box<HistoryOptions>),
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
pub fn read(args: Vec<OsString>) -> Result<Request, Error> {
    let columns = Shell::new().result_columns().unwrap_or(UNKNOWN).clamp(LEAST, MOST);
    CommandLine::new(args, columns).read()
}

/// Whether a word in front of all others is a command of ours, or cargo's name for all of them.
pub fn is_command(word: &OsStr) -> bool {
    let mut cli = command_line(UNKNOWN);
    cli.build();
    word == "memprof" || cli.find_subcommand(word).is_some()
}

/// Columns of a terminal that does not say how many it has.
const UNKNOWN: usize = 100;
/// Columns within which a text can be read.
const LEAST: usize = 40;
const MOST: usize = 120;

/// What is read.
struct CommandLine {
    cli: clap::Command,
    columns: usize,
    /// Behind the program's name.
    args: Vec<OsString>,
    /// The whole as the user could paste it.
    command: String,
}

impl CommandLine {
    fn new(mut args: Vec<OsString>, columns: usize) -> CommandLine {
        if args.first().is_some_and(|first| first == "memprof") {
            args.remove(0);
        }
        let command = format!("cargo memprof {}", options::shown(args.iter().map(OsString::as_os_str)));
        let mut cli = command_line(columns);
        // Gives every command what it has from the whole.
        cli.build();
        CommandLine { cli, columns, args, command }
    }

    fn read(mut self) -> Result<Request, Error> {
        if self.args.is_empty() {
            return Ok(self.help(None));
        }
        // Our own flags may stand before the command.
        let at = take::first_other(&self.cli, &self.args);
        let verb = self.args.get(at).and_then(|word| self.cli.find_subcommand(word)).map(clap::Command::get_name);
        let Some(verb) = verb.filter(|verb| *verb != "help").map(str::to_owned) else {
            return match self.parse(None, &self.args) {
                Ok(_) => Ok(self.help(None)),
                Err(error) => refusal::explain(&error, &self.command, None).map(Request::Show),
            };
        };
        self.args.remove(at);
        let tool = match &*verb {
            "test" | "bench" | "gate" | "bisect" => Tool::Cargo,
            "nextest" => Tool::Nextest,
            "run" => Tool::CargoRun,
            _ => return self.running_nothing(&verb),
        };
        let Some(command) = self.cli.find_subcommand(&verb) else { return Ok(self.help(None)) };
        let taken = take(command, tool, &self.args)?;
        let cargo = CargoArgs::read(tool, taken.others);
        if cargo.help {
            return Ok(self.help(Some(&verb)));
        }
        match self.parse(Some(&verb), &taken.ours) {
            Ok(command) => self.running(command, &verb, cargo),
            Err(error) => refusal::explain(&error, &self.command, Some(&verb)).map(Request::Show),
        }
    }

    fn help(&self, verb: Option<&str>) -> Request {
        Request::Show(help::of(command_line(self.columns), verb))
    }

    /// Has clap read `words`, which are those of `verb`.
    fn parse(&self, verb: Option<&str>, words: &[OsString]) -> Result<Command, clap::Error> {
        let line = std::iter::once("cargo memprof").chain(verb).map(OsString::from).chain(words.iter().cloned());
        let matches = self.cli.clone().try_get_matches_from(line)?;
        Command::of(&matches)
    }

    /// A command that has cargo run something.
    fn running(self, command: Command, verb: &str, mut cargo: CargoArgs) -> Result<Request, Error> {
        let suggestions = suggestion::suggestions(&self.cli, verb, &cargo);
        let mut ends = None;
        let (task, (mut own, flags)) = match command {
            Command::Bisect(flags) => {
                ends = Some((flags.good, flags.bad));
                (Task::Test, (flags.own, GateFlags::default()))
            }
            Command::Test(flags) => (Task::Test, flags.into_parts()),
            Command::Gate(flags) => {
                let (own, flags) = flags.into_parts();
                let task = if flags.bench.is_some() { Task::Bench } else { Task::Test };
                if let Some(Some(target)) = &flags.bench {
                    cargo.given.splice(0..0, ["--bench".into(), target.into()]);
                }
                (task, (own, flags))
            }
            Command::Bench(flags) => (Task::Bench, flags.into_parts()),
            Command::Nextest(flags) => (Task::Nextest, flags.into_parts()),
            Command::Run(flags) => (Task::Run, (flags.own, GateFlags::default())),
            // The others were read elsewhere.
            Command::History(_) | Command::Accept(_) | Command::Merge(_) | Command::Clean(_) => {
                return Ok(self.help(Some(verb)));
            }
        };
        let mut run_options = flags.run_options.clone();
        if task == Task::Nextest {
            (cargo, run_options.partition) = nextest(cargo, &self.command)?;
        }
        // Without stacks of every allocation a regression could not be explained.
        if flags.save_baseline && !own.rate_given {
            own.rate = SampleRate::EXACT;
        }
        let stdout_is_taken = flags.format != Format::Text;
        // Stdout is the program's, where one is run for its own sake.
        cargo.machine_output |= stdout_is_taken || task == Task::Run;
        let test = TestOptions { task, own, cargo, command: self.command, stdout_is_taken, run_options, suggestions };
        if let Some((good, bad)) = ends {
            return Ok(Request::Bisect(Box::new(BisectOptions { test, good, bad })));
        }
        Ok(match (task, verb) {
            (Task::Run, _) => Request::Run(Box::new(test)),
            (_, "gate") => Request::Gate(Box::new(GateOptions { test, flags })),
            _ => Request::Test(Box::new(GateOptions { test, flags })),
        })
    }

    /// A command whose words are all ours.
    fn running_nothing(&self, verb: &str) -> Result<Request, Error> {
        let command = match self.parse(Some(verb), &self.args) {
            Ok(command) => command,
            Err(error) => return refusal::explain(&error, &self.command, Some(verb)).map(Request::Show),
        };
        Ok(match command {
            Command::History(HistoryFlags { patterns, baseline, history, package }) => {
                Request::History(Box::new(HistoryOptions {
                    cargo: package.into_cargo_args(),
                    flags: GateFlags { baseline, history, ..GateFlags::default() },
                    patterns: patterns.into_iter().map(Pattern::new).collect(),
                }))
            }
            Command::Accept(flags) => Request::Accept(Box::new(AcceptOptions {
                cargo: flags.package.into_cargo_args(),
                folder: flags.folder,
                flags: flags.place.into(),
                patterns: flags.patterns.into_iter().map(Pattern::new).collect(),
            })),
            Command::Merge(flags) => Request::Merge(Box::new(MergeOptions {
                cargo: flags.package.into_cargo_args(),
                folder: flags.folder,
                folders: flags.folders,
            })),
            Command::Clean(package) => Request::Clean(CleanOptions { cargo: package.into_cargo_args() }),
            _ => self.help(Some(verb)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::flags::Other;
    use clap::CommandFactory;

    fn request(line: &str) -> Result<Request, Error> {
        read(line.split_whitespace().map(OsString::from).collect())
    }

    fn test(line: &str) -> GateOptions {
        match request(line) {
            Ok(Request::Test(options) | Request::Gate(options)) => *options,
            other => panic!("`{line}` is no test run: {other:?}"),
        }
    }

    /// Cargo's wrapper is called with a compiler in front, which no command must be taken for.
    #[test]
    fn every_command_is_one_and_no_compiler_is() {
        for word in
            ["memprof", "test", "t", "run", "r", "nextest", "gate", "accept", "merge", "bisect", "history", "help"]
        {
            assert!(is_command(OsStr::new(word)), "{word}");
        }
        for word in ["rustc", "/usr/bin/rustc", "clippy-driver", "sccache", ""] {
            assert!(!is_command(OsStr::new(word)), "{word}");
        }
    }

    fn refused(line: &str) -> Error {
        request(line).map(|request| panic!("`{line}`: {request:?}")).unwrap_err()
    }

    #[test]
    fn every_way_to_ask_for_help_shows_it() {
        flags::Cli::command().debug_assert();
        for (line, usage) in [
            ("", "cargo memprof <COMMAND>"),
            ("memprof --help", "cargo memprof <COMMAND>"),
            ("-h", "cargo memprof <COMMAND>"),
            ("help", "cargo memprof <COMMAND>"),
            ("memprof test --help", "cargo memprof test "),
            ("test --lib -h", "cargo memprof test "),
            ("--memprofilerate 1 t -h", "cargo memprof test "),
            ("run -h", "cargo memprof run "),
            ("bench -qh", "cargo memprof bench "),
            ("nextest run -h", "cargo memprof nextest run "),
            ("nextest --help", "cargo memprof nextest run "),
            ("help test", "cargo memprof test "),
            ("gate -h", "cargo memprof gate "),
            ("help accept", "cargo memprof accept "),
            ("accept -h", "cargo memprof accept "),
            ("clean --help", "cargo memprof clean "),
            ("merge -h", "cargo memprof merge "),
        ] {
            let Ok(Request::Show(text)) = request(line) else { panic!("`{line}` shows no help") };
            let text = anstream::adapter::strip_str(&text).to_string();
            assert!(text.contains(&format!("Usage: {usage}")), "{line}: {text}");
        }
        let Ok(Request::Show(version)) = request("--version") else { panic!("no version") };
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
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
    fn help_that_is_asked_for_behind_the_dashes_is_libtests() {
        for line in ["test -- --help", "test -- -h", "test --memprofilerate 1 -- --help", "bench -- --help"] {
            assert_eq!(test(line).test.cargo.given.last(), Some(&line.rsplit(' ').next().unwrap_or_default().into()));
        }
    }

    #[test]
    fn cargos_name_for_us_is_optional() {
        for line in ["memprof test --lib", "test --lib", "memprof t --lib", "memprof --memprofilerate 1 test --lib"] {
            assert_eq!(test(line).test.cargo.given, ["--lib"]);
        }
    }

    #[test]
    fn the_command_is_remembered_as_it_was_given() {
        let options = test("memprof test --memprofilerate=1 -- a");
        assert_eq!(options.test.command, "cargo memprof test --memprofilerate=1 -- a");
    }

    #[test]
    fn every_flag_comes_to_where_it_is_used() {
        let GateOptions { test: run, flags } = test(
            "test --memprofilerate 0 --memprofile out --stack-depth 99 --keep-ledgers --native --baseline a --baseline-dir b \
             --partition hash:1/3 --repeat 4 --test-timeout 0.5 --deterministic --memprof-only x --memprof-only y*",
        );
        assert_eq!((run.own.rate.get(), run.own.rate_given), (0, true));
        assert_eq!(run.own.folder, Some("out".into()));
        assert_eq!(run.own.stack_depth.map(|depth| depth.get()), Some(99));
        assert!(run.own.keep_ledgers && run.own.native && run.run_options.deterministic);
        assert_eq!((flags.baseline, flags.baseline_dir), (Some("a".into()), Some("b".into())));
        assert_eq!((run.run_options.repeat, run.run_options.timeout), (4, Some(std::time::Duration::from_millis(500))));
        assert_eq!(run.run_options.only, ["x", "y*"]);
        assert_eq!(run.run_options.partition.map(|share| share.to_string()), Some("hash:1/3".into()));
        let GateOptions { test: run, flags } =
            test("gate --no-run --self-test --allow gone,new --allow not-run --output-format json --against x -q");
        assert!(flags.no_run && flags.self_test && run.stdout_is_taken && run.cargo.quiet);
        assert_eq!(flags.allow.len(), 3);
        assert_eq!(flags.against, Some(Other::Revision("x".into())));
    }

    #[test]
    fn the_last_of_two_counts_and_the_rate_is_as_the_command_needs_it() {
        for (line, rate) in [
            ("test", 524_288),
            ("test --memprofilerate 7 -- --memprofilerate=8", 8),
            ("test --save-baseline", 1),
            ("test --save-baseline --memprofilerate 9", 9),
            ("gate", 1),
            ("gate --memprofilerate 0", 0),
            ("bench", 1),
            ("nextest run", 524_288),
        ] {
            assert_eq!(test(line).test.own.rate.get(), rate, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_advice() {
        let lines = [
            "tset",
            "gate --allow",
            "gate --allow everything",
            "gate --output-format xml",
            "gate --no-run=yes",
            "test --test-timeout -1",
            "test --test-timeout soon",
            "test --repeat 0",
            "test --partition slice:1/2",
            "test --memprofilerate -1",
            "test --stack-depth 1",
            "accept --lib",
            "accept --baselin x",
            "merge",
            "merge a --bogus",
            "accept --baseline",
            "clean --bogus",
            "--release test",
            "--memprofilerate 1",
            "nextest list",
            "nextest run --archive-file x",
        ];
        let refusals = lines.map(|line| {
            let error = refused(line);
            assert!(error.advice().is_some() && !error.causes().is_empty(), "{line}: {error}");
            format!("$ cargo memprof {line}\n{error}\n")
        });
        insta::assert_snapshot!("refusals", refusals.join("\n"));
    }

    #[test]
    fn flags_that_nobody_knows_are_left_to_whom_they_may_belong_to() {
        let options = test("test --memprofilrate 1 -- --of-tomorrow");
        assert_eq!(options.test.cargo.given, ["--memprofilrate", "1", "--", "--of-tomorrow"]);
        assert_eq!(options.test.suggestions.len(), 1);
    }

    #[test]
    fn commands_that_run_nothing_know_where_the_package_is() {
        let Ok(Request::Accept(options)) =
            request("accept a 'b*' --manifest-path=x/Cargo.toml --config a=1 --config b=2 -q")
        else {
            panic!("it is no acceptance");
        };
        assert_eq!(options.cargo.manifest_path, Some("x/Cargo.toml".into()));
        assert_eq!(options.cargo.config, ["a=1", "b=2"]);
        assert!(options.cargo.quiet && options.patterns.len() == 2);
    }
}
