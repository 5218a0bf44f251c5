//! The flags of the gate, taken out of the command line before the flags of the run and those of cargo are read.

use super::policy::Severity;
use crate::error::Error;
use crate::options;
use memprof_harness::modes::{Modes, Partition, Scheme};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

/// Flags of the gate and of the ways to run tests that it is there for, as given. Which of them a command takes is said by `Flag::of_test` and its siblings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateFlags {
    /// Write the run's figures to the baseline.
    pub save_baseline: bool,
    /// The baseline's file; `None` = what the configuration says.
    pub baseline: Option<PathBuf>,
    /// Where profiles of the baseline are kept; `None` = below the target folder.
    pub baseline_dir: Option<PathBuf>,
    /// Compare the last run instead of running.
    pub no_run: bool,
    /// Show that the gate trips.
    pub self_test: bool,
    /// What is not to fail the gate.
    pub allow: Vec<Allowed>,
    /// What goes to stdout.
    pub format: Format,
    /// The revision to compare with, in place of the baseline.
    pub against: Option<String>,
    /// How tests are run.
    pub modes: Modes,
}

/// What stdout is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Github,
    Markdown,
    Junit,
    Json,
}

/// Something that fails the gate, or warns, where the user does not allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    New,
    Gone,
    NotRun,
    Unprofiled,
    Conditions,
}

/// One flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    name: &'static str,
    /// What its value is and an example of it; `None` = it takes none.
    value: Option<(&'static str, &'static str)>,
}

const SAVE: Flag = Flag { name: "--save-baseline", value: None };
const BASELINE: Flag = Flag { name: "--baseline", value: Some(("a file", "memprof.baseline")) };
const FOLDER: Flag = Flag { name: "--baseline-dir", value: Some(("a folder", "ci/memprof")) };
const NO_RUN: Flag = Flag { name: "--no-run", value: None };
const SELF_TEST: Flag = Flag { name: "--self-test", value: None };
const ALLOW: Flag = Flag { name: "--allow", value: Some(("what is allowed", "gone")) };
const FORMAT: Flag = Flag { name: "--output-format", value: Some(("a format", "github")) };
const AGAINST: Flag = Flag { name: "--against", value: Some(("a revision", "origin/main")) };
const REPEAT: Flag = Flag { name: "--repeat", value: Some(("a number of times", "5")) };
const PARTITION: Flag = Flag { name: "--partition", value: Some(("a share", "count:1/3")) };
const DETERMINISTIC: Flag = Flag { name: "--deterministic", value: None };
const ONLY: Flag = Flag { name: options::ONLY_FLAG, value: Some(("a name of tests, or a pattern", "parser::*")) };
const TIMEOUT: Flag = Flag { name: "--test-timeout", value: Some(("a number of seconds", "60")) };

impl Flag {
    /// The flags of `cargo memprof test`.
    pub const OF_TEST: &'static [Flag] = &[SAVE, BASELINE, FOLDER, REPEAT, PARTITION, DETERMINISTIC, TIMEOUT, ONLY];
    /// The flags of `cargo memprof bench`.
    pub const OF_BENCH: &'static [Flag] = &[ONLY];
    /// The flags of `cargo memprof nextest run`; its partitions and time limits are its own.
    pub const OF_NEXTEST: &'static [Flag] = &[SAVE, BASELINE, FOLDER, DETERMINISTIC, ONLY];
    /// The flags of `cargo memprof gate`.
    pub const OF_GATE: &'static [Flag] =
        &[BASELINE, FOLDER, NO_RUN, SELF_TEST, ALLOW, FORMAT, AGAINST, REPEAT, DETERMINISTIC, TIMEOUT];
    /// The flags of `cargo memprof merge`.
    pub const OF_MERGE: &'static [Flag] = &[];
    /// The flags of `cargo memprof accept`.
    pub const OF_ACCEPT: &'static [Flag] = &[BASELINE, FOLDER];
}

impl GateFlags {
    /// Takes those of `flags` out of `args` that stand before the first `--`, or between it and a second one. The
    /// rest keeps its order.
    ///
    /// # Errors
    /// Where a value is missing or wrong, or a flag is nearly one of them.
    pub fn take(args: Vec<OsString>, flags: &[Flag]) -> Result<(GateFlags, Vec<OsString>), Error> {
        let mut taken = GateFlags::default();
        let mut rest = Vec::new();
        let mut dashes = 0;
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            dashes += usize::from(arg == "--");
            let text = arg.to_string_lossy().into_owned();
            let (name, inline) =
                text.split_once('=').map_or((text.as_str(), None), |(name, value)| (name, Some(value)));
            let flag = flags.iter().find(|flag| flag.name == name && dashes < 2);
            let Some(flag) = flag else {
                if dashes == 0 {
                    refuse_near_miss(name, flags)?;
                }
                rest.push(arg);
                continue;
            };
            let value = match flag.value {
                Some((what, example)) => {
                    let next = || args.next().filter(|next| !next.as_encoded_bytes().starts_with(b"-"));
                    let value = inline.map(OsString::from).or_else(next).filter(|value| !value.is_empty());
                    value.ok_or_else(|| {
                        Error::usage(format!("cannot use `{name}`"))
                            .caused_by(format!("it needs {what} after it"))
                            .help(format!("write `{name} {example}`"))
                    })?
                }
                None if inline.is_some() => {
                    return Err(Error::usage(format!("cannot use `{text}`"))
                        .caused_by(format!("`{name}` takes no value"))
                        .help(format!("pass `{name}` alone")));
                }
                None => OsString::new(),
            };
            taken.put(*flag, &value)?;
        }
        Ok((taken, rest))
    }

    fn put(&mut self, flag: Flag, value: &OsStr) -> Result<(), Error> {
        let text = value.to_string_lossy();
        match flag {
            SAVE => self.save_baseline = true,
            NO_RUN => self.no_run = true,
            SELF_TEST => self.self_test = true,
            BASELINE => self.baseline = Some(value.into()),
            FOLDER => self.baseline_dir = Some(value.into()),
            AGAINST => self.against = Some(text.into_owned()),
            DETERMINISTIC => self.modes.deterministic = true,
            REPEAT => self.modes.repeat = times(&text)?,
            TIMEOUT => self.modes.timeout = Some(seconds(&text)?),
            ONLY => self.modes.only.push(text.into_owned()),
            PARTITION => self.modes.partition = Some(share(&text)?),
            FORMAT => self.format = one_of(flag, &text, FORMATS)?,
            _ => {
                for word in text.split(',') {
                    self.allow.push(one_of(flag, word.trim(), ALLOWED)?);
                }
            }
        }
        Ok(())
    }

    /// The policy with what the user allows on the command line.
    pub fn soften(&self, policy: &mut super::policy::Policy) {
        for allowed in &self.allow {
            let severity = match allowed {
                Allowed::New => &mut policy.new,
                Allowed::Gone => &mut policy.gone,
                Allowed::NotRun => &mut policy.not_run,
                Allowed::Unprofiled => &mut policy.unprofiled,
                Allowed::Conditions => &mut policy.conditions,
            };
            // Still said: what is allowed is not what is the matter no longer.
            *severity = (*severity).min(Severity::Warn);
        }
    }
}

const FORMATS: &[(&str, Format)] = &[
    ("text", Format::Text),
    ("github", Format::Github),
    ("markdown", Format::Markdown),
    ("junit", Format::Junit),
    ("json", Format::Json),
];
const ALLOWED: &[(&str, Allowed)] = &[
    ("new", Allowed::New),
    ("gone", Allowed::Gone),
    ("not-run", Allowed::NotRun),
    ("unprofiled", Allowed::Unprofiled),
    ("conditions", Allowed::Conditions),
];

fn times(text: &str) -> Result<u32, Error> {
    text.parse().ok().filter(|times| *times > 0).ok_or_else(|| {
        Error::usage(format!("cannot use `{text}` for `{}`", REPEAT.name))
            .caused_by("it is not a whole number from 1 up")
            .help("pass how often each test is to be run: `--repeat 5`")
    })
}

fn seconds(text: &str) -> Result<Duration, Error> {
    let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    // Milliseconds are as fine as it gets.
    time.filter(|time| (1..=u128::from(u64::MAX)).contains(&time.as_millis())).ok_or_else(|| {
        Error::usage(format!("cannot use `{text}` for `{}`", TIMEOUT.name))
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
        Error::usage(format!("cannot use `{text}` for `{}`", PARTITION.name))
            .caused_by(why)
            .help("pass the share and their number: `--partition count:1/3`, or `hash:1/3`")
    })
}

fn one_of<T: Copy>(flag: Flag, word: &str, words: &[(&str, T)]) -> Result<T, Error> {
    let found = words.iter().find(|(name, _)| *name == word);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<String> = words.iter().map(|(name, _)| format!("`{name}`")).collect();
        Error::usage(format!("cannot use `{word}` for `{}`", flag.name))
            .caused_by("it is none of its values")
            .help(format!("pass one of {}", names.join(", ")))
    })
}

fn refuse_near_miss(name: &str, flags: &[Flag]) -> Result<(), Error> {
    let Some(bare) = name.strip_prefix("--").filter(|bare| bare.len() > 6) else { return Ok(()) };
    let near = flags
        .iter()
        .filter(|flag| flag.name.len() > 8)
        .find(|flag| (1..=2).contains(&options::distance(bare, &flag.name[2..])));
    match near {
        Some(near) => Err(Error::usage(format!("cannot use `{name}`"))
            .caused_by("there is no such flag")
            .help(format!("a flag with a similar name exists: `{}`", near.name))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(line: &str) -> Result<(GateFlags, Vec<OsString>), Error> {
        GateFlags::take(line.split(' ').map(OsString::from).collect(), Flag::OF_GATE)
    }

    #[test]
    fn flags_are_taken_out_and_the_rest_keeps_its_order() {
        let (flags, rest) = take("-p a --baseline=b --allow gone,new x -- --no-run --exact -- --baseline c").unwrap();
        assert_eq!(flags.baseline, Some("b".into()));
        assert_eq!(flags.allow, [Allowed::Gone, Allowed::New]);
        assert!(flags.no_run);
        assert_eq!(rest, ["-p", "a", "x", "--", "--exact", "--", "--baseline", "c"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_advice() {
        for (line, help) in [
            ("--allow", "`--allow gone`"),
            ("--allow everything", "`new`, `gone`"),
            ("--output-format xml", "`junit`"),
            ("--no-run=yes", "alone"),
            ("--baselin x", "`--baseline`"),
            ("--self-tests", "`--self-test`"),
            ("--self-tset", "`--self-test`"),
            ("--test-timeout -1", "`--test-timeout 60`"),
            ("--test-timeout soon", "`--test-timeout 60`"),
        ] {
            let error = take(line).unwrap_err();
            assert!(error.advice().unwrap().contains(help), "{line}: {error}");
        }
    }
}
