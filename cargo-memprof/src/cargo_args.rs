//! The arguments that go on to cargo, which stay as and where the user put them; what this program must know of them is
//! noted on the way.

use crate::options::split_at_equals;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

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
    /// Reads `args`, which [`crate::options::OwnFlags::take`] left. What cargo would refuse goes on to cargo, which says it best.
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
pub fn only_asks(harness: &[OsString]) -> bool {
    // `-qh` is two flags; what follows `-Z` in the same word is its value.
    let helps = |arg: &OsString| {
        let flags = arg.to_str().and_then(|arg| arg.strip_prefix('-')).filter(|flags| !flags.starts_with('-'));
        flags.is_some_and(|flags| flags.split('Z').next().is_some_and(|flags| flags.contains('h')))
    };
    let mut flags = harness.iter().take_while(|arg| *arg != "--");
    flags.any(|arg| arg == "--list" || arg == "--help" || helps(arg))
}

/// Whether the harness's arguments choose a format for programs.
fn asks_for_json(harness: &[OsString]) -> bool {
    let machine = |format: &OsStr| format == "json" || format == "junit";
    let after = harness.windows(2).any(|pair| pair[0] == "--format" && machine(&pair[1]));
    after || harness.iter().any(|arg| arg == "--format=json" || arg == "--format=junit")
}

/// Puts `value` behind its flag, and gives it back for notes.
fn pass_value(given: &mut Vec<OsString>, value: Option<OsString>) -> Option<OsString> {
    given.extend(value.clone());
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::shown;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
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
        for (line, asks) in [
            ("-- --list", true),
            ("--lib -- a -h", true),
            ("-- -qh", true),
            ("-- -Zh", false),
            ("-- list", false),
            ("-- -- --list", false),
        ] {
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
}
