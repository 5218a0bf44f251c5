//! The command line of `cargo memprof test`, read once: our own flags are taken out wherever they stand, every other
//! argument stays as and where the user put it, and what this program must know of cargo's flags is noted on the way.

use crate::error::Error;
use memprof_harness::modes::Modes;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Mean bytes between samples where the user does not say, as in Go.
pub const DEFAULT_RATE: SampleRate = SampleRate(512 * 1024);

const RATE_FLAG: &str = "--memprofilerate";
const FOLDER_FLAG: &str = "--memprofile";
const KEEP_FLAG: &str = "--keep-ledgers";
const NATIVE_FLAG: &str = "--native";
/// Taken by some commands alone, before or after this file's flags.
pub const ONLY_FLAG: &str = "--memprof-only";
const OWN_FLAGS: [&str; 4] = [RATE_FLAG, FOLDER_FLAG, KEEP_FLAG, NATIVE_FLAG];

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

/// The arguments that go to `cargo test`, and what this program must know of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CargoArgs {
    /// Everything that goes on to cargo, in the user's order; `--target-dir` is taken out.
    pub given: Vec<OsString>,
    pub target_dir: Option<PathBuf>,
    pub manifest_path: Option<PathBuf>,
    /// Values of `--config`, in order.
    pub config: Vec<OsString>,
    /// Values of `-Z`, in order.
    pub unstable: Vec<OsString>,
    /// Values of `--target`, in order.
    pub targets: Vec<OsString>,
    /// What `--profile` or `--release` say; `None` = neither was given.
    pub profile: Option<String>,
    /// The value of `--color`.
    pub color: Option<String>,
    pub quiet: bool,
    pub no_run: bool,
    /// The harness is only asked what tests there are, or for its help.
    pub only_asks: bool,
    /// Programs read what cargo or the harness write to stdout: one of them was asked for JSON or the like.
    pub machine_output: bool,
    /// `--help` or `-h` was given: nothing is to be run.
    pub help: bool,
}

impl CargoArgs {
    /// Reads `args`, which [`OwnFlags::take`] left. What cargo would refuse goes on to cargo, which says it best.
    pub fn read(args: Vec<OsString>) -> CargoArgs {
        let mut read = CargoArgs::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            if arg == "--" {
                read.given.push(arg);
                let harness: Vec<OsString> = args.collect();
                read.machine_output |= asks_for_json(&harness);
                read.only_asks = only_asks(&harness);
                read.given.extend(harness);
                return read;
            }
            let (flag, inline) = split_at_equals(&arg);
            match flag.to_str() {
                Some("--target-dir") => {
                    // Taken out: cargo refuses the flag twice, and it will be given ours.
                    match inline.or_else(|| args.next()) {
                        Some(folder) => read.target_dir = Some(folder.into()),
                        None => read.given.push(arg),
                    }
                    continue;
                }
                Some("--manifest-path" | "--config" | "--target" | "--profile" | "--color" | "--message-format") => {
                    let flag = flag.to_string_lossy().into_owned();
                    read.given.push(arg);
                    let Some(value) = inline.or_else(|| pass_value(&mut read.given, args.next())) else { continue };
                    read.note_value(&flag, value);
                    continue;
                }
                Some("--release") => read.profile = Some("release".into()),
                Some("--quiet") => read.quiet = true,
                Some("--no-run") => read.no_run = true,
                Some("--help") => read.help = true,
                Some(cluster) if cluster.starts_with('-') && !cluster.starts_with("--") => {
                    let value = read.note_cluster(&arg, &mut args);
                    read.given.push(arg);
                    read.given.extend(value);
                    continue;
                }
                _ => {}
            }
            read.given.push(arg);
        }
        read
    }

    /// What [`CargoArgs::read`] noted, where the arguments are those of `cargo nextest run`: its profile is none of cargo's.
    #[must_use]
    pub fn of_nextest(mut self) -> CargoArgs {
        let release = self.given.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--release" || arg == "-r");
        let named = self.value_of("--cargo-profile");
        self.profile = named.or_else(|| release.then(|| "release".to_owned()));
        self.machine_output |= self.value_of("--message-format").is_some_and(|format| format.contains("json"));
        self
    }

    /// The value of a long flag among cargo's arguments.
    pub fn value_of(&self, flag: &str) -> Option<String> {
        let mut args = self.given.iter().take_while(|arg| *arg != "--");
        while let Some(arg) = args.next() {
            let (name, inline) = split_at_equals(arg);
            if name == flag {
                return inline.or_else(|| args.next().cloned()).map(|value| value.to_string_lossy().into_owned());
            }
        }
        None
    }

    /// Notes the value of a long flag.
    fn note_value(&mut self, flag: &str, value: OsString) {
        match flag {
            "--manifest-path" => self.manifest_path = Some(value.into()),
            "--config" => self.config.push(value),
            "--target" => self.targets.push(value),
            "--profile" => self.profile = Some(value.to_string_lossy().into_owned()),
            "--color" => self.color = Some(value.to_string_lossy().into_owned()),
            "--message-format" => self.machine_output |= value.to_string_lossy().starts_with("json"),
            _ => {}
        }
    }

    /// Notes a word of short flags such as `-qr` or `-pfoo`. Gives the value that the last one took from the
    /// arguments that follow.
    fn note_cluster(&mut self, arg: &OsStr, args: &mut impl Iterator<Item = OsString>) -> Option<OsString> {
        let text = arg.to_string_lossy().into_owned();
        for (at, letter) in text.char_indices().skip(1) {
            match letter {
                'q' => self.quiet = true,
                'r' => self.profile = Some("release".into()),
                'h' => self.help = true,
                'p' | 'j' | 'F' | 'Z' => {
                    let attached = text[at + 1..].trim_start_matches('=');
                    let next = if attached.is_empty() { args.next() } else { None };
                    if letter == 'Z' {
                        self.unstable.extend(next.clone().or_else(|| Some(attached.into())));
                    }
                    return next;
                }
                _ => {}
            }
        }
        None
    }
}

/// Whether the harness's arguments have it list its tests or show its help, and run nothing.
fn only_asks(harness: &[OsString]) -> bool {
    let mut flags = harness.iter().take_while(|arg| *arg != "--");
    flags.any(|arg| arg == "--list" || arg == "--help" || arg == "-h")
}

/// Whether the harness's arguments choose a format for programs.
fn asks_for_json(harness: &[OsString]) -> bool {
    let machine = |format: &OsStr| format == "json" || format == "junit";
    let after = harness.windows(2).any(|pair| pair[0] == "--format" && machine(&pair[1]));
    after || harness.iter().any(|arg| arg == "--format=json" || arg == "--format=junit")
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
fn split_at_equals(arg: &OsStr) -> (&OsStr, Option<OsString>) {
    use std::os::unix::ffi::OsStrExt;
    let bytes = arg.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) if bytes.starts_with(b"--") => {
            (OsStr::from_bytes(&bytes[..at]), Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned()))
        }
        _ => (arg, None),
    }
}

/// Puts `value` behind its flag, and gives it back for notes.
fn pass_value(given: &mut Vec<OsString>, value: Option<OsString>) -> Option<OsString> {
    given.extend(value.clone());
    value
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
    fn cargos_flags_are_noted_and_passed_on() {
        let line =
            "-qr -p a --config x=1 --config=y --target t --target-dir d --color=never -Zfoo -Z bar n -- -q --target u";
        let read = CargoArgs::read(words(line));
        assert_eq!(
            shown(read.given.iter().map(|arg| arg.as_os_str())),
            "-qr -p a --config x=1 --config=y --target t --color=never -Zfoo -Z bar n -- -q --target u"
        );
        assert!(read.quiet);
        assert_eq!(read.profile.as_deref(), Some("release"));
        assert_eq!(read.config, ["x=1", "y"]);
        assert_eq!(read.targets, ["t"]);
        assert_eq!(read.unstable, ["foo", "bar"]);
        assert_eq!(read.target_dir, Some(PathBuf::from("d")));
        assert_eq!(read.color.as_deref(), Some("never"));
    }

    #[test]
    fn a_harness_that_is_only_asked_is_told_from_one_that_runs() {
        for (line, asks) in [("-- --list", true), ("--lib -- a -h", true), ("-- list", false), ("-- -- --list", false)]
        {
            assert_eq!(CargoArgs::read(words(line)).only_asks, asks, "{line}");
        }
    }

    #[test]
    fn a_value_that_looks_like_a_flag_is_not_read_as_one() {
        let read = CargoArgs::read(words("-pq -j 4 -Fhelp -- --help"));
        assert!(!read.quiet && !read.help);
    }

    #[test]
    fn formats_for_programs_are_noticed() {
        for (line, machine) in [
            ("--message-format=json-render-diagnostics", true),
            ("--message-format json", true),
            ("--message-format short", false),
            ("-- --format json", true),
            ("-- --format=junit", true),
            ("-- --format terse json", false),
        ] {
            assert_eq!(CargoArgs::read(words(line)).machine_output, machine, "{line}");
        }
    }

    #[test]
    fn a_shown_command_can_be_pasted() {
        assert_eq!(shown(["a".as_ref(), "it's".as_ref(), "".as_ref()]), r"a 'it'\''s' ''");
    }
}
