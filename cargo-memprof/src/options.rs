//! The command line of `cargo memprof test`, read once: our own flags are taken out wherever they stand, every other
//! argument stays as and where the user put it. What must be known of cargo's flags is in `context/cargo_args`.

use crate::context::cargo_args::CargoArgs;
use crate::error::Error;
use memprof_harness::ledger::layout::{DEFAULT_DEPTH, LEAST_DEPTH, MOST_DEPTH};
use memprof_harness::modes::{Modes, StackDepth};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Mean bytes between samples where the user does not say, as in Go.
pub const DEFAULT_RATE: SampleRate = SampleRate(512 * 1024);

const RATE_FLAG: &str = "--memprofilerate";
const FOLDER_FLAG: &str = "--memprofile";
const DEPTH_FLAG: &str = "--stack-depth";
const KEEP_FLAG: &str = "--keep-ledgers";
const NATIVE_FLAG: &str = "--native";
/// Taken by some commands alone, before or after this file's flags.
pub const ONLY_FLAG: &str = "--memprof-only";
const OWN_FLAGS: [&str; 5] = [RATE_FLAG, FOLDER_FLAG, DEPTH_FLAG, KEEP_FLAG, NATIVE_FLAG];

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
    pub fn parse(text: &OsStr) -> Result<SampleRate, Error> {
        let shown = text.to_string_lossy();
        let cause = match shown.parse::<i128>() {
            Ok(number) => match u64::try_from(number) {
                Ok(rate) => return Ok(SampleRate(rate)),
                Err(_) if number < 0 => "it is negative",
                Err(_) => "it is more bytes than a machine can have",
            },
            Err(_) => "it is not a whole number",
        };
        Err(Error::usage(format!("cannot use `{shown}` as the rate of `{RATE_FLAG}`")).caused_by(cause).help(format!(
            "pass the mean bytes between two samples: 1 records every allocation, 0 no stacks at all; \
             the default is {}",
            DEFAULT_RATE.0
        )))
    }
}

/// Our own flags, as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFlags {
    pub rate: SampleRate,
    /// Whether the user said it.
    pub rate_given: bool,
    /// Where the outputs go; `None` = `memprof` below cargo's target folder.
    pub folder: Option<PathBuf>,
    /// How many frames of a stack are kept; `None` = as the configuration says.
    pub stack_depth: Option<StackDepth>,
    pub keep_ledgers: bool,
    /// Record below the C library's allocation functions, whatever the global allocator is.
    pub native: bool,
    /// How many of them were given.
    pub given: usize,
}

impl OwnFlags {
    /// Takes our flags out of `args`, where they may stand before or after the first `--`. The rest keeps its order.
    ///
    /// # Errors
    /// Where a value is missing or wrong, or a flag looks like one of ours and is not.
    pub fn take(args: impl IntoIterator<Item = OsString>) -> Result<(OwnFlags, Vec<OsString>), Error> {
        let mut own = OwnFlags {
            rate: DEFAULT_RATE,
            rate_given: false,
            folder: None,
            stack_depth: None,
            keep_ledgers: false,
            native: false,
            given: 0,
        };
        let mut rest = Vec::new();
        let mut dashes = 0;
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let text = arg.to_string_lossy().into_owned();
            // A second `--` ends even the harness's flags: what follows are names of tests.
            if text == "--" {
                dashes += 1;
            }
            if dashes > 1 {
                rest.push(arg);
                continue;
            }
            let (flag, inline) = split_at_equals(&arg);
            match flag.to_str() {
                Some(RATE_FLAG) => {
                    let value = inline.or_else(|| args.next()).ok_or_else(|| missing(RATE_FLAG, "a number", "1"))?;
                    own.rate = SampleRate::parse(&value)?;
                    own.rate_given = true;
                }
                Some(FOLDER_FLAG) => {
                    let value = inline.or_else(|| args.next().filter(|next| !starts_with_dash(next)));
                    let value = value.filter(|value| !value.is_empty());
                    own.folder = Some(value.ok_or_else(|| missing(FOLDER_FLAG, "a folder", "target/profiles"))?.into());
                }
                Some(DEPTH_FLAG) => {
                    let value = inline.or_else(|| args.next()).ok_or_else(|| missing(DEPTH_FLAG, "a number", "256"))?;
                    own.stack_depth = Some(stack_depth(&value)?);
                }
                Some(KEEP_FLAG) if inline.is_none() => own.keep_ledgers = true,
                Some(NATIVE_FLAG) if inline.is_none() => own.native = true,
                Some(switch @ (KEEP_FLAG | NATIVE_FLAG)) => {
                    return Err(Error::usage(format!("cannot use `{text}`"))
                        .caused_by(format!("`{switch}` takes no value"))
                        .help(format!("pass `{switch}` alone")));
                }
                _ => {
                    check_spelling(&flag.to_string_lossy(), dashes == 0)?;
                    rest.push(arg);
                    continue;
                }
            }
            own.given += 1;
        }
        Ok((own, rest))
    }
}

fn stack_depth(text: &OsStr) -> Result<StackDepth, Error> {
    let text = text.to_string_lossy();
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
    pub modes: Modes,
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

/// `--flag=value` in two; only for words that begin with a dash.
pub fn split_at_equals(arg: &OsStr) -> (&OsStr, Option<OsString>) {
    use std::os::unix::ffi::OsStrExt;
    let bytes = arg.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) if bytes.starts_with(b"--") => {
            (OsStr::from_bytes(&bytes[..at]), Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned()))
        }
        _ => (arg, None),
    }
}

fn starts_with_dash(arg: &OsStr) -> bool {
    arg.as_encoded_bytes().starts_with(b"-")
}

fn missing(flag: &str, what: &str, example: &str) -> Error {
    Error::usage(format!("cannot use `{flag}`"))
        .caused_by(format!("it needs {what} after it"))
        .help(format!("write `{flag} {example}` or `{flag}={example}`"))
}

/// Refuses what is nearly one of our flags, such as `--memprofilrate` or Go's `-memprofilerate`. After the `--` only
/// close misspellings are refused: a program with a harness of its own may have any flags.
fn check_spelling(flag: &str, cargos: bool) -> Result<(), Error> {
    let name = flag.trim_start_matches('-');
    let dashes = flag.len() - name.len();
    if dashes == 0 || name.len() < 5 || flag == ONLY_FLAG {
        return Ok(());
    }
    let nearest = OWN_FLAGS.iter().map(|own| (distance(name, &own[2..]), own)).min();
    let Some((steps, own)) = nearest else { return Ok(()) };
    if steps <= 2 || (cargos && name.starts_with("memprof")) {
        return Err(Error::usage(format!("cannot use `{flag}`"))
            .caused_by("there is no such flag")
            .help(format!("a flag with a similar name exists: `{own}`")));
    }
    Ok(())
}

/// Edit distance of two words: insertions, deletions and substitutions.
pub fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn take(text: &str) -> Result<(OwnFlags, String), Error> {
        OwnFlags::take(words(text)).map(|(own, rest)| (own, shown(rest.iter().map(|arg| arg.as_os_str()))))
    }

    #[test]
    fn own_flags_are_found_before_and_after_the_dashes_with_space_or_equals() {
        for line in [
            "--memprofilerate 1 --lib -- --skip x",
            "--lib --memprofilerate=1 -- --skip x",
            "--lib -- --memprofilerate 1 --skip x",
            "--lib -- --skip x --memprofilerate=1",
        ] {
            let (own, rest) = take(line).unwrap();
            assert_eq!(own.rate, SampleRate(1), "{line}");
            assert_eq!(rest, "--lib -- --skip x", "{line}");
        }
    }

    #[test]
    fn everything_else_keeps_its_order() {
        let (own, rest) = take("-p a --memprofile out name --keep-ledgers -j2 -- --exact b -- --memprofile c").unwrap();
        assert_eq!(own.folder, Some(PathBuf::from("out")));
        assert!(own.keep_ledgers);
        assert_eq!(rest, "-p a name -j2 -- --exact b -- --memprofile c");
    }

    #[test]
    fn a_rate_is_a_whole_number_from_zero_up() {
        assert_eq!(SampleRate::parse("0".as_ref()).unwrap(), SampleRate(0));
        assert_eq!(SampleRate::parse("524288".as_ref()).unwrap(), DEFAULT_RATE);
        for (text, cause) in [
            ("-1", "it is negative"),
            ("x", "it is not a whole number"),
            ("", "it is not a whole number"),
            ("1.5", "it is not a whole number"),
            ("99999999999999999999", "it is more bytes than a machine can have"),
        ] {
            let error = SampleRate::parse(text.as_ref()).unwrap_err();
            assert_eq!(error.causes(), [cause], "{text}");
        }
    }

    #[test]
    fn a_misspelt_flag_of_ours_is_refused_with_a_suggestion() {
        for (line, own) in [
            ("--memprofilrate 1", "--memprofilerate"),
            ("--memprofilerate1", "--memprofilerate"),
            ("-memprofilerate 1", "--memprofilerate"),
            ("--memprofiles x", "--memprofile"),
            ("--lib -- --memprofilrate=1", "--memprofilerate"),
            ("--keep-ledger", "--keep-ledgers"),
        ] {
            let error = take(line).unwrap_err();
            assert!(error.advice().unwrap().ends_with(&format!("`{own}`")), "{line}: {error}");
        }
        for line in ["--message-format json", "--no-fail-fast -- --test-threads 1", "memprofiles", "-Z unstable"] {
            assert!(take(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_missing_value_is_an_error() {
        for line in ["--memprofilerate", "--memprofile", "--memprofile --lib", "--memprofile="] {
            assert!(take(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_shown_command_can_be_pasted() {
        assert_eq!(shown(["a".as_ref(), "it's".as_ref(), "".as_ref()]), r"a 'it'\''s' ''");
    }
}
