//! The options of a command that records: our own flags, and the arguments that are left for cargo.

use crate::context::cargo_args::CargoArgs;
use crate::ui::error::Error;
use clap::Args;
use memprof_harness::ledger::layout::{DEFAULT_DEPTH, LEAST_DEPTH, MOST_DEPTH};
use memprof_harness::run_options::{RunOptions, StackDepth};
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

/// Mean bytes between samples where the user does not say, as in Go.
pub const DEFAULT_RATE: SampleRate = SampleRate(512 * 1024);

const RATE_FLAG: &str = "--memprofilerate";
const DEPTH_FLAG: &str = "--stack-depth";

/// Mean bytes between samples: 0 = no stacks, 1 = every allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRate(u64);

impl SampleRate {
    /// Every allocation.
    pub const EXACT: SampleRate = SampleRate(1);

    /// The number itself.
    pub fn get(self) -> u64 {
        self.0
    }

    /// # Errors
    /// Where `text` is not a whole number from 0 up.
    pub fn parse(text: &str) -> Result<SampleRate, Error> {
        let cause = match text.parse::<i128>() {
            Ok(number) => match u64::try_from(number) {
                Ok(rate) => return Ok(SampleRate(rate)),
                Err(_) if number < 0 => "it is negative",
                Err(_) => "it is more bytes than a machine can have",
            },
            Err(_) => "it is not a whole number",
        };
        Err(Error::usage(format!("cannot use `{text}` as the rate of `{RATE_FLAG}`")).caused_by(cause).help(format!(
            "pass the mean bytes between two samples: 1 records every allocation, 0 no stacks at all; \
             the default is {}",
            DEFAULT_RATE.0
        )))
    }
}

impl fmt::Display for SampleRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// Our own flags that say how tests are recorded. What stands above a field is its help.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct OwnFlags {
    /// Mean bytes between two recorded allocations: 1 = every one, 0 = counts only, no stacks
    #[arg(long = "memprofilerate", value_name = "N", value_parser = SampleRate::parse, default_value_t = DEFAULT_RATE)]
    pub rate: SampleRate,
    // Whether the user said it.
    #[arg(skip)]
    pub rate_given: bool,
    /// Where the outputs go [default: target/memprof]
    #[arg(long = "memprofile", value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// How many frames of a stack are kept, from 16 to 1024; the middle of a deeper one is left out [default: 128]
    #[arg(long, value_name = "N", value_parser = stack_depth)]
    pub stack_depth: Option<StackDepth>,
    /// Keep the raw recordings in DIR/ledgers
    #[arg(long)]
    pub keep_ledgers: bool,
    /// Record all that reaches the C library's malloc, C libraries included
    #[arg(long)]
    pub native: bool,
}

fn stack_depth(text: &str) -> Result<StackDepth, Error> {
    text.parse().map_err(|cause: String| {
        Error::usage(format!("cannot use `{text}` as the number of frames of `{DEPTH_FLAG}`")).caused_by(cause).help(format!(
            "pass how many frames of a stack are to be kept, from {LEAST_DEPTH} to {MOST_DEPTH}; the default is {DEFAULT_DEPTH}"
        ))
    })
}

/// What cargo is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Test,
    Bench,
    /// Tests, run by `cargo nextest`.
    Nextest,
    /// One program, for its own sake.
    Run,
}

impl Task {
    /// Cargo's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Task::Test => "test",
            Task::Bench => "bench",
            Task::Nextest => "nextest",
            Task::Run => "run",
        }
    }

    /// The profile that cargo takes where the user does not say.
    pub fn usual_profile(self) -> &'static str {
        match self {
            Task::Test | Task::Nextest => "test",
            Task::Bench => "bench",
            Task::Run => "dev",
        }
    }
}

/// What `cargo memprof test` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestOptions {
    pub task: Task,
    pub own: OwnFlags,
    pub cargo: CargoArgs,
    /// The command line as the user gave it, ours included, in the form of a shell command.
    pub command: String,
    /// Stdout is for the gate's findings: what cargo and the tests print there goes to stderr.
    pub stdout_is_taken: bool,
    pub run_options: RunOptions,
    /// What may have been meant by flags that nobody knows, a sentence each.
    pub suggestions: Vec<String>,
}

/// `args` as one could paste them into a shell.
pub fn shown<'a>(args: impl IntoIterator<Item = &'a OsStr>) -> String {
    let words: Vec<String> = args.into_iter().map(quoted).collect();
    words.join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_whole_number_from_zero_up() {
        assert_eq!(SampleRate::parse("0").unwrap(), SampleRate(0));
        assert_eq!(SampleRate::parse("524288").unwrap(), DEFAULT_RATE);
        for (text, cause) in [
            ("-1", "it is negative"),
            ("x", "it is not a whole number"),
            ("", "it is not a whole number"),
            ("1.5", "it is not a whole number"),
            ("99999999999999999999", "it is more bytes than a machine can have"),
        ] {
            let error = SampleRate::parse(text).unwrap_err();
            assert_eq!(error.causes(), [cause], "{text}");
        }
    }

    #[test]
    fn the_help_names_the_limits_and_the_default_of_a_stacks_depth() {
        let command = OwnFlags::augment_args(clap::Command::new("x"));
        let depth = command.get_arguments().find(|flag| flag.get_id() == "stack_depth").unwrap();
        let help = depth.get_help().unwrap().to_string();
        for number in [LEAST_DEPTH, MOST_DEPTH, DEFAULT_DEPTH] {
            assert!(help.contains(&number.to_string()), "{number}: {help}");
        }
    }

    #[test]
    fn a_shown_command_can_be_pasted() {
        assert_eq!(shown(["a".as_ref(), "it's".as_ref(), "".as_ref()]), r"a 'it'\''s' ''");
    }
}
