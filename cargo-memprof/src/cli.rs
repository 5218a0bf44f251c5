//! The command line as a whole: which command, and the help that teaches it. The flags of `test` are read by
//! `options`, because cargo's and the harness's stand between them; here they are described.

use crate::error::Error;
use crate::options::{self, CargoArgs, OwnFlags, TestOptions};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// What the user wants.
#[derive(Debug)]
pub enum Request {
    Test(Box<TestOptions>),
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
  cargo memprof test                                sample everything; the table names the hungriest tests
  cargo memprof test --memprofilerate 1 --lib       every allocation of the library's unit tests
  cargo memprof test --memprofile prof --release -- parser --skip slow
  go tool pprof -http=: target/memprof/profile.pb.gz
  xdg-open target/memprof/<package>/<target>/<test>/alloc_space.svg

Exit codes: cargo's own if the tests fail; 2 wrong use; 3 nothing could be run; 4 profiles not written."
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
    /// Whatever `cargo test` takes
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    cargo_args: Vec<OsString>,
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
    let (own, rest) = OwnFlags::take(args)?;
    if let [first, ..] = rest.as_slice()
        && (first == "test" || first == "t")
    {
        let cargo = CargoArgs::read(rest[1..].to_vec());
        if cargo.help {
            return Ok(Request::Show(test_help()));
        }
        return Ok(Request::Test(Box::new(TestOptions { own, cargo, command })));
    }
    if own.given > 0 {
        return Err(Error::usage(format!("cannot run `{command}`"))
            .caused_by("only the command `test` takes this flag")
            .help("write `cargo memprof test` first; see `cargo memprof test --help`"));
    }
    let line = std::iter::once(OsString::from("cargo memprof")).chain(rest);
    match Cli::try_parse_from(line) {
        Ok(Cli { command: Command::Clean(options) }) => Ok(Request::Clean(options)),
        Ok(Cli { command: Command::Test(_) }) => Ok(Request::Show(test_help())),
        Err(error) => explain(&error, &command),
    }
}

fn test_help() -> String {
    let mut cli = Cli::command();
    // Building first gives the subcommand its full name.
    cli.build();
    cli.find_subcommand_mut("test").map(|test| test.render_help().ansi().to_string()).unwrap_or_default()
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
        for line in ["", "memprof --help", "memprof test --help", "test -h", "help test"] {
            let Ok(Request::Show(text)) = request(line) else { panic!("`{line}` shows no help") };
            let lines = text.lines().count();
            assert!((10..=40).contains(&lines), "`{line}` has {lines} lines");
        }
    }

    #[test]
    fn cargos_name_for_us_is_optional() {
        for line in ["memprof test --lib", "test --lib", "memprof t --lib", "memprof --memprofilerate 1 test --lib"] {
            let Ok(Request::Test(options)) = request(line) else { panic!("`{line}` is no test run") };
            assert_eq!(options.cargo.given, ["--lib"]);
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
        assert_eq!(options.command, "cargo memprof test --memprofilerate=1 -- a");
    }
}
