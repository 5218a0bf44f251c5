//! The arguments that go on to cargo. They stay as the user wrote them, in their order; the facts that this program
//! needs of them are noted.

use super::arguments::{Argument, Arguments, at_dashes};
use super::cargo_flags::Tool;
use std::ffi::OsString;
use std::path::PathBuf;

/// The arguments that go to `cargo test`, and what this program must know of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CargoArgs {
    /// Whose they are.
    pub tool: Tool,
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
    /// Reads `args`, of which our own flags were taken out. What the tool would refuse goes on to it, because it says it best.
    pub fn read(tool: Tool, args: Vec<OsString>) -> CargoArgs {
        let mut read = CargoArgs { tool, ..CargoArgs::default() };
        let mut arguments = Arguments::new(tool, &args);
        for argument in arguments.by_ref() {
            read.note(&argument);
            // Taken out: cargo refuses the flag twice, and it will be given ours.
            if argument.value_of("target-dir").is_none() {
                read.given.extend_from_slice(argument.words);
            }
        }
        if let (_, Some(harness)) = at_dashes(arguments.rest())
            && tool != Tool::CargoRun
        {
            read.machine_output |= asks_for_json(harness);
            read.only_asks = only_asks(harness);
        }
        read.given.extend_from_slice(arguments.rest());
        read
    }

    /// Those before the `--`, and before what is a program's.
    pub fn arguments(&self) -> Arguments<'_> {
        Arguments::new(self.tool, &self.given)
    }

    /// The words behind the `--`: the harness's, or a program's.
    pub fn behind_dashes(&self) -> &[OsString] {
        at_dashes(&self.given).1.unwrap_or_default()
    }

    /// Whether the flag called `name` is given.
    pub fn has(&self, name: &str) -> bool {
        self.arguments().has(name)
    }

    /// The value of a flag that is given once.
    pub fn value_of(&self, name: &str) -> Option<String> {
        self.arguments().find_map(|argument| Some(argument.value_of(name)?.to_string_lossy().into_owned()))
    }

    fn note(&mut self, argument: &Argument<'_>) {
        let value = argument.value.as_deref();
        for flag in argument.flags.iter().flatten() {
            match flag.name {
                "release" => self.profile = Some("release".into()),
                "quiet" => self.quiet = true,
                "no-run" => self.no_run = true,
                "help" => self.help = true,
                _ => {}
            }
        }
        let Some((flag, value)) = argument.flags.last().copied().flatten().zip(value) else { return };
        let text = || value.to_string_lossy().into_owned();
        match (flag.name, self.tool) {
            ("target-dir", _) => self.target_dir = Some(value.into()),
            ("manifest-path", _) => self.manifest_path = Some(value.into()),
            ("config", _) => self.config.push(value.into()),
            ("Z", _) => self.unstable.push(value.into()),
            ("target", _) => self.targets.push(value.into()),
            // nextest's own profile is none of cargo's.
            ("cargo-profile", Tool::Nextest) | ("profile", Tool::Cargo | Tool::CargoRun) => self.profile = Some(text()),
            ("color", _) => self.color = Some(text()),
            ("message-format", Tool::Nextest) => self.machine_output |= text().contains("json"),
            ("message-format", _) => self.machine_output |= text().starts_with("json"),
            _ => {}
        }
    }
}

/// Whether the harness's arguments have it list its tests or show its help, and run nothing.
pub fn only_asks(harness: &[OsString]) -> bool {
    Arguments::new(Tool::Libtest, harness).any(|argument| ["list", "help", "h"].iter().any(|name| argument.has(name)))
}

/// Whether the harness's arguments choose a format for programs.
fn asks_for_json(harness: &[OsString]) -> bool {
    let machine = |argument: Argument<'_>| {
        argument.value_of("format").is_some_and(|format| format == "json" || format == "junit")
    };
    Arguments::new(Tool::Libtest, harness).any(machine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::options::shown;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn cargos_flags_are_noted_and_passed_on() {
        let line =
            "-qr -p a --config x=1 --config=y --target t --target-dir d --color=never -Zfoo -Z bar n -- -q --target u";
        let read = CargoArgs::read(Tool::Cargo, words(line));
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
            assert_eq!(CargoArgs::read(Tool::Cargo, words(line)).only_asks, asks, "{line}");
        }
    }

    #[test]
    fn a_value_that_looks_like_a_flag_is_not_read_as_one() {
        let read = CargoArgs::read(Tool::Cargo, words("-pq -j 4 -Fhelp -- --help"));
        assert!(!read.quiet && !read.help);
    }

    #[test]
    fn nextests_flags_are_its_own() {
        let read = CargoArgs::read(Tool::Nextest, words("--profile ci -r -P x --message-format libtest-json -- -q"));
        assert_eq!((read.profile.as_deref(), read.quiet, read.machine_output), (Some("release"), false, true));
        let read = CargoArgs::read(Tool::Nextest, words("-E all() --cargo-profile slim --partition hash:1/2"));
        assert_eq!((read.profile.as_deref(), read.machine_output), (Some("slim"), false));
        assert_eq!(read.value_of("partition").as_deref(), Some("hash:1/2"));
    }

    #[test]
    fn a_programs_own_flags_are_not_cargos() {
        let read = CargoArgs::read(Tool::CargoRun, words("--bin b input --release --target-dir x -- --list"));
        assert_eq!((read.profile, read.target_dir, read.only_asks), (None, None, false));
        assert_eq!(read.given, words("--bin b input --release --target-dir x -- --list"));
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
            assert_eq!(CargoArgs::read(Tool::Cargo, words(line)).machine_output, machine, "{line}");
        }
    }
}
