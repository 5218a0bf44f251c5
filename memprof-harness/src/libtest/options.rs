//! Our flags on a test executable, and the few of libtest's that change what we do. Everything else on the command
//! line is passed on as it stands.

use crate::libtest_flags;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// What `--help` shows below libtest's own text.
pub const HELP: &str = "
Memory profiling (cargo memprof):

    --memprofilerate N  Record each test: 0 = counters only, 1 = every allocation,
                        N = one sample per N bytes on average (default 524288)
    --memprofile DIR    Record each test; the ledgers go into DIR
";

const RATE_FLAG: &str = "memprofilerate";
const FOLDER_FLAG: &str = "memprofile";

/// libtest's variable that stands for `--no-capture`, unless it holds `0`.
pub const NO_CAPTURE: &str = "RUST_TEST_NOCAPTURE";
/// The one short option that takes a value.
const VALUED_SHORT: char = 'Z';

/// Mean bytes between samples; 0 = no stacks, 1 = every allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRate(pub u64);

impl SampleRate {
    /// Go's `runtime.MemProfileRate`.
    const DEFAULT: SampleRate = SampleRate(512 * 1024);

    fn parse(text: &str) -> Option<SampleRate> {
        // `u64::from_str` would take a leading `+`.
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok().map(SampleRate))?
    }
}

/// The command line, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    pub rate: Option<SampleRate>,
    /// As given, relative to the current directory.
    pub folder: Option<PathBuf>,
    /// The command line without our flags, the program's name included.
    pub rest: Vec<String>,
    pub no_capture: bool,
    pub list: bool,
    pub bench: bool,
    pub help: bool,
}

/// What is to be recorded, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub rate: SampleRate,
    /// `None`: run by hand with a rate alone; a folder has to be found.
    pub folder: Option<PathBuf>,
    /// The folder is the environment's, so who ran the tests did not choose it.
    pub by_environment: bool,
}

impl Plan {
    /// Puts the flags and the environment together; the flags win. `None` where neither asks for a recording.
    ///
    /// # Errors
    /// Where the environment holds no rate.
    pub fn new(
        options: &Options,
        rate: Option<OsString>,
        folder: Option<OsString>,
    ) -> Result<Option<Plan>, OptionsError> {
        // An empty variable is as good as none, as everywhere in a shell.
        let folder = folder.filter(|folder| !folder.is_empty());
        if folder.is_none() && options.rate.is_none() && options.folder.is_none() {
            return Ok(None);
        }
        let from_environment = match rate {
            // A rate alone in the environment asks for nothing, so it is only looked at where it counts.
            Some(rate) if options.rate.is_none() => {
                let text = rate.to_string_lossy().into_owned();
                Some(SampleRate::parse(&text).ok_or(OptionsError::Rate { from: crate::environment::RATE, text })?)
            }
            _ => None,
        };
        Ok(Some(Plan {
            rate: options.rate.or(from_environment).unwrap_or(SampleRate::DEFAULT),
            by_environment: options.folder.is_none() && folder.is_some(),
            folder: options.folder.clone().or(folder.map(PathBuf::from)),
        }))
    }
}

/// Why the command line or the environment cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionsError {
    Rate {
        /// The flag or variable that holds it.
        from: &'static str,
        text: String,
    },
    Missing {
        flag: &'static str,
    },
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionsError::Rate { from, text } => {
                writeln!(f, "error: cannot use `{text}` as the rate in `{from}`")?;
                writeln!(f, "  caused by: it is not a whole number of bytes")?;
                write!(
                    f,
                    "  help: pass 0 (counters only), 1 (every allocation) or the mean bytes between samples; the default is {}",
                    SampleRate::DEFAULT.0
                )
            }
            OptionsError::Missing { flag } => {
                writeln!(f, "error: cannot use `--{flag}`")?;
                writeln!(f, "  caused by: it has no value")?;
                write!(f, "  help: pass `--{flag} {}`", if *flag == RATE_FLAG { "N" } else { "DIR" })
            }
        }
    }
}

/// Reads a test executable's arguments, its name first. Of a flag given twice the last one counts.
///
/// # Errors
/// Where one of our flags has no value or a bad one; libtest's own flags are left for libtest to judge.
pub fn parse(arguments: &[String]) -> Result<Options, OptionsError> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    options.rest.extend(arguments.next().cloned());
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            options.rest.push(argument.clone());
            options.rest.extend(arguments.by_ref().cloned());
        } else if let Some(long) = argument.strip_prefix("--") {
            let (name, inline) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            match name {
                RATE_FLAG => {
                    let text = value(RATE_FLAG, inline, &mut arguments)?;
                    let rate = SampleRate::parse(&text);
                    options.rate = Some(rate.ok_or(OptionsError::Rate { from: "--memprofilerate", text })?);
                    continue;
                }
                FOLDER_FLAG => {
                    options.folder = Some(value(FOLDER_FLAG, inline, &mut arguments)?.into());
                    continue;
                }
                "nocapture" | "no-capture" => options.no_capture = true,
                "list" => options.list = true,
                "bench" => options.bench = true,
                "help" => options.help = true,
                _ => {}
            }
            options.rest.push(argument.clone());
            if inline.is_none() && libtest_flags::named(name).is_some_and(|flag| flag.takes_value) {
                options.rest.extend(arguments.next().cloned());
            }
        } else {
            options.rest.push(argument.clone());
            let flags = argument.strip_prefix('-').unwrap_or_default();
            // What follows a valued option in the same argument is its value.
            let (flags, value) = flags.split_once(VALUED_SHORT).map_or((flags, None), |(f, v)| (f, Some(v)));
            options.help |= flags.contains('h');
            if value == Some("") {
                options.rest.extend(arguments.next().cloned());
            }
        }
    }
    Ok(options)
}

fn value<'a>(
    flag: &'static str,
    inline: Option<&str>,
    arguments: &mut impl Iterator<Item = &'a String>,
) -> Result<String, OptionsError> {
    let value = inline.map(str::to_owned).or_else(|| arguments.next().cloned());
    value.filter(|value| !value.is_empty()).ok_or(OptionsError::Missing { flag })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, OptionsError> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn our_flags_are_taken_out_and_the_rest_stays_as_it_was() {
        let options = read("exe some --memprofilerate 1 --skip other --memprofile=out -q").unwrap();
        assert_eq!(options.rate, Some(SampleRate(1)));
        assert_eq!(options.folder, Some("out".into()));
        assert_eq!(options.rest, ["exe", "some", "--skip", "other", "-q"]);
    }

    #[test]
    fn the_last_of_two_rates_counts() {
        assert_eq!(read("exe --memprofilerate=1 --memprofilerate 7").unwrap().rate, Some(SampleRate(7)));
    }

    #[test]
    fn nothing_behind_two_dashes_or_in_a_value_is_a_flag() {
        let options = read("exe --skip --list -Z --bench -Zh -- --memprofilerate --help").unwrap();
        assert_eq!(
            options,
            Options {
                rest: "exe --skip --list -Z --bench -Zh -- --memprofilerate --help"
                    .split(' ')
                    .map(str::to_owned)
                    .collect(),
                ..Options::default()
            }
        );
    }

    #[test]
    fn help_is_found_among_joined_short_flags() {
        assert!(read("exe -qh").unwrap().help);
        assert!(!read("exe -q h").unwrap().help);
    }

    #[test]
    fn a_rate_is_a_whole_number_that_fits() {
        for text in ["x", "-1", "+1", "1.5", "18446744073709551616"] {
            let error = OptionsError::Rate { from: "--memprofilerate", text: text.to_owned() };
            assert_eq!(read(&format!("exe --memprofilerate {text}")), Err(error.clone()));
            assert_eq!(read(&format!("exe --memprofilerate={text}")), Err(error));
        }
        assert_eq!(read("exe --memprofilerate"), Err(OptionsError::Missing { flag: RATE_FLAG }));
        assert_eq!(read("exe --memprofile="), Err(OptionsError::Missing { flag: FOLDER_FLAG }));
    }

    #[test]
    fn flags_win_over_the_environment_and_neither_means_no_plan() {
        let plan = |line: &str, rate: Option<&str>, folder: Option<&str>| {
            Plan::new(&read(line).unwrap(), rate.map(OsString::from), folder.map(OsString::from))
        };
        assert_eq!(plan("exe", Some("1"), None), Ok(None));
        assert_eq!(plan("exe", Some("1"), Some("")), Ok(None));
        assert_eq!(
            plan("exe", Some("1"), Some("/l")),
            Ok(Some(Plan { rate: SampleRate(1), folder: Some("/l".into()), by_environment: true }))
        );
        assert_eq!(
            plan("exe --memprofilerate 2 --memprofile m", Some("x"), Some("/l")),
            Ok(Some(Plan { rate: SampleRate(2), folder: Some("m".into()), by_environment: false }))
        );
        assert_eq!(
            plan("exe --memprofilerate 0", None, None),
            Ok(Some(Plan { rate: SampleRate(0), folder: None, by_environment: false }))
        );
        assert!(plan("exe", Some("x"), Some("/l")).is_err());
    }
}
