//! The one table of the flags of cargo and nextest; `arguments` scans their command lines by it. The flags of libtest, which stand
//! behind the `--`, are [`libtest_flags`]: the harness has them too, and it can depend on nothing. A test holds the tables against
//! the `--help` of the tools at hand.

use memprof_harness::libtest_flags;

/// Whose command line it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tool {
    /// `cargo test` and `cargo bench`: the words that are no flags are filters.
    #[default]
    Cargo,
    /// `cargo run`: from the first word that is no flag, all is the program's.
    CargoRun,
    /// `cargo nextest run`.
    Nextest,
    /// A test executable.
    Libtest,
}

/// One flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Its name without dashes; where it only has a short name, that.
    pub name: &'static str,
    /// Its letter behind one dash.
    pub short: Option<char>,
    pub value: Value,
    pub role: Role,
}

/// Where the value of a flag stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// It has none.
    None,
    /// Behind `=`, or in the next word.
    Needed,
    /// The same, and it may be missing: the next word is the value unless it begins with a dash.
    Optional,
    /// Behind `=`, or missing.
    Attached,
}

/// What a flag is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Where the package is, what may be fetched, and how much is printed.
    Talk,
    /// How cargo is configured.
    Setting,
    /// How much is done at once, where it goes, and in what form it is printed.
    Work,
    /// What is built and which targets run.
    Choice,
    /// Which share of the tests runs here.
    Share,
    /// Which tests of the targets run.
    Filter,
}

impl Role {
    /// Tests of the targets that run are left out.
    pub fn leaves_out(self) -> bool {
        matches!(self, Role::Share | Role::Filter)
    }

    /// Runs that differ in it alone, on another machine or in another share, are of the same tests, built alike.
    pub fn is_idle(self) -> bool {
        matches!(self, Role::Talk | Role::Work | Role::Share)
    }
}

const fn switch(name: &'static str, role: Role) -> Flag {
    Flag { name, short: None, value: Value::None, role }
}

const fn valued(name: &'static str, role: Role) -> Flag {
    Flag { name, short: None, value: Value::Needed, role }
}

const fn optional(name: &'static str, role: Role) -> Flag {
    Flag { name, short: None, value: Value::Optional, role }
}

impl Flag {
    const fn short(self, letter: char) -> Flag {
        Flag { short: Some(letter), ..self }
    }
}

/// Flags that cargo and nextest share, and that mean the same to both.
const SHARED: &[Flag] = &[
    switch("help", Role::Talk).short('h'),
    switch("verbose", Role::Talk).short('v'),
    valued("color", Role::Talk),
    valued("config", Role::Setting),
    valued("Z", Role::Setting).short('Z'),
    valued("manifest-path", Role::Talk).short('m'),
    switch("ignore-rust-version", Role::Choice),
    switch("locked", Role::Talk),
    switch("offline", Role::Talk),
    switch("frozen", Role::Talk),
    optional("package", Role::Choice).short('p'),
    switch("workspace", Role::Choice),
    switch("all", Role::Choice),
    valued("exclude", Role::Choice),
    switch("lib", Role::Choice),
    switch("bins", Role::Choice),
    optional("bin", Role::Choice),
    switch("examples", Role::Choice),
    optional("example", Role::Choice),
    switch("tests", Role::Choice),
    optional("test", Role::Choice),
    switch("benches", Role::Choice),
    optional("bench", Role::Choice),
    switch("all-targets", Role::Choice),
    valued("features", Role::Choice).short('F'),
    switch("all-features", Role::Choice),
    switch("no-default-features", Role::Choice),
    switch("release", Role::Choice).short('r'),
    optional("target", Role::Choice),
    valued("target-dir", Role::Work),
    switch("unit-graph", Role::Choice),
    Flag { name: "timings", short: None, value: Value::Attached, role: Role::Choice },
    switch("future-incompat-report", Role::Choice),
    switch("no-run", Role::Choice),
    switch("no-fail-fast", Role::Choice),
    valued("message-format", Role::Work),
];

/// Cargo's own: of `test`, `bench`, `run` and `build`, hidden and unstable ones among them.
const CARGO: &[Flag] = &[
    switch("quiet", Role::Talk).short('q'),
    valued("jobs", Role::Work).short('j'),
    valued("profile", Role::Choice),
    switch("doc", Role::Choice),
    switch("keep-going", Role::Choice),
    valued("lockfile-path", Role::Choice),
    valued("artifact-dir", Role::Choice),
    valued("out-dir", Role::Choice),
    switch("build-plan", Role::Choice),
    switch("compile-time-deps", Role::Choice),
    valued("C", Role::Choice).short('C'),
    switch("version", Role::Talk).short('V'),
    switch("list", Role::Talk),
    valued("explain", Role::Talk),
];

/// nextest's own.
const NEXTEST: &[Flag] = &[
    valued("build-jobs", Role::Work),
    valued("cargo-profile", Role::Choice),
    valued("cargo-message-format", Role::Work),
    switch("cargo-quiet", Role::Talk),
    switch("cargo-verbose", Role::Talk),
    switch("no-pager", Role::Talk),
    valued("rerun", Role::Filter).short('R'),
    valued("run-ignored", Role::Filter),
    valued("partition", Role::Share),
    valued("filterset", Role::Filter).short('E'),
    // Of nextest before 0.9.64.
    valued("filter-expr", Role::Filter),
    switch("ignore-default-filter", Role::Choice),
    valued("platform-filter", Role::Filter),
    valued("test-threads", Role::Work).short('j'),
    valued("jobs", Role::Work),
    valued("retries", Role::Choice),
    valued("flaky-result", Role::Choice),
    switch("fail-fast", Role::Choice),
    switch("ff", Role::Choice),
    switch("nff", Role::Choice),
    valued("max-fail", Role::Choice),
    valued("debugger", Role::Choice),
    valued("tracer", Role::Choice),
    valued("no-tests", Role::Work),
    switch("no-capture", Role::Work),
    switch("nocapture", Role::Work),
    valued("stress-count", Role::Choice),
    valued("stress-duration", Role::Choice),
    valued("failure-output", Role::Work),
    valued("success-output", Role::Work),
    valued("status-level", Role::Work),
    valued("final-status-level", Role::Work),
    switch("no-output-indent", Role::Work),
    valued("show-progress", Role::Work),
    switch("hide-progress-bar", Role::Work),
    switch("no-input-handler", Role::Work),
    valued("max-progress-running", Role::Work),
    valued("message-format-version", Role::Work),
    valued("archive-file", Role::Choice),
    valued("archive-format", Role::Choice),
    valued("extract-to", Role::Work),
    switch("extract-overwrite", Role::Work),
    switch("persist-extract-tempdir", Role::Work),
    valued("cargo-metadata", Role::Choice),
    valued("workspace-remap", Role::Choice),
    valued("binaries-metadata", Role::Choice),
    valued("target-dir-remap", Role::Choice),
    valued("build-dir-remap", Role::Choice),
    valued("config-file", Role::Choice),
    valued("user-config-file", Role::Choice),
    valued("tool-config-file", Role::Choice),
    switch("override-version-check", Role::Choice),
    valued("profile", Role::Choice).short('P'),
    switch("version", Role::Talk).short('V'),
];

impl Tool {
    /// The flags that `self` knows.
    pub fn flags(self) -> impl Iterator<Item = Flag> {
        let (tables, libtests): ([&'static [Flag]; 2], &'static [libtest_flags::Flag]) = match self {
            Tool::Cargo | Tool::CargoRun => ([SHARED, CARGO], &[]),
            Tool::Nextest => ([SHARED, NEXTEST], &[]),
            Tool::Libtest => ([&[], &[]], &libtest_flags::FLAGS),
        };
        tables.into_iter().flatten().copied().chain(libtests.iter().map(Flag::of_libtest))
    }

    pub(super) fn long(self, name: &str) -> Option<Flag> {
        // A letter is no long name, though it may be a flag's only one.
        self.flags().find(|flag| flag.name == name && name.chars().nth(1).is_some())
    }

    pub(super) fn letter(self, letter: char) -> Option<Flag> {
        self.flags().find(|flag| flag.short == Some(letter))
    }
}

impl Flag {
    fn of_libtest(flag: &libtest_flags::Flag) -> Flag {
        let mut letters = flag.name.chars();
        let short = letters.next().filter(|_| letters.next().is_none());
        let role = match flag {
            _ if flag.leaves_out => Role::Filter,
            _ if flag.is_idle => Role::Work,
            _ => Role::Choice,
        };
        Flag { name: flag.name, short, value: if flag.takes_value { Value::Needed } else { Value::None }, role }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The flags in a `--help`: their long and short names, and whether a value may stand in the next word.
    fn flags_in(help: &str) -> Vec<(Option<char>, String, bool)> {
        let mut found = Vec::new();
        for line in help.lines().map(str::trim_start).filter(|line| line.starts_with('-')) {
            // `-F, --features <FEATURES>  Space or …`, `--timings[=<FMTS>]`, `-v, --verbose...`, `-Z <FLAG>`.
            let usage = line.split("  ").next().unwrap_or_default();
            let mut words = usage.split_whitespace();
            let (mut short, mut long) = (None, None);
            let mut value = false;
            for word in words.by_ref() {
                let name = word.trim_end_matches(',').trim_end_matches("...").split("[=").next().unwrap_or_default();
                match (name.strip_prefix("--"), name.strip_prefix('-')) {
                    (Some(name), _) => long = Some(name.to_owned()),
                    (None, Some(letter)) if letter.len() == 1 => short = letter.chars().next(),
                    _ => value |= word.starts_with(['<', '[']),
                }
            }
            let name = long.or_else(|| short.map(String::from)).expect("a flag has a name");
            // `[alias: --jobs]` may stand anywhere behind it; those are told apart by hand.
            found.push((short, name, value));
        }
        found
    }

    fn holds_help(tool: Tool, command: &[&str], least: usize) {
        let output = Command::new(command[0]).args(&command[1..]).env("COLUMNS", "200").output().expect("it starts");
        if !output.status.success() {
            eprintln!("`{}` is not here: its flags were not compared", command.join(" "));
            return;
        }
        let help = String::from_utf8(output.stdout).expect("help is text");
        let flags = flags_in(&help);
        assert!(flags.len() >= least, "{} flags in {help}", flags.len());
        for (short, name, takes_value) in flags {
            let letters = name.len() == 1;
            let known = if letters { tool.letter(short.expect("its name is it")) } else { tool.long(&name) };
            let known = known.unwrap_or_else(|| panic!("`{}` has `{name}`, and no table does", command.join(" ")));
            if let Some(letter) = short {
                assert_eq!(tool.letter(letter), Some(known), "-{letter} of {}", command.join(" "));
            }
            let takes = matches!(known.value, Value::Needed | Value::Optional);
            assert_eq!(takes, takes_value, "the value of `{name}` of {}", command.join(" "));
        }
    }

    #[test]
    fn every_flag_in_the_help_of_cargo_is_in_the_table() {
        let toolchains = Command::new("rustup").args(["toolchain", "list", "--quiet"]).output();
        let toolchains = toolchains.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let named: Vec<String> = toolchains.unwrap_or_default().lines().map(|name| format!("+{name}")).collect();
        let all = || std::iter::once(None).chain(named.iter().map(|name| Some(name.as_str())));
        for toolchain in all() {
            for command in ["test", "bench", "run", "build"] {
                let call: Vec<&str> = ["cargo"].into_iter().chain(toolchain).chain([command, "-h"]).collect();
                holds_help(Tool::Cargo, &call, 25);
            }
        }
    }

    #[test]
    fn every_flag_in_the_help_of_nextest_is_in_the_table() {
        holds_help(Tool::Nextest, &["cargo", "nextest", "run", "-h"], 60);
    }

    #[test]
    fn no_flag_is_in_a_table_twice() {
        for tool in [Tool::Cargo, Tool::Nextest, Tool::Libtest] {
            let flags: Vec<Flag> = tool.flags().collect();
            for (at, flag) in flags.iter().enumerate() {
                let twice =
                    |other: &&Flag| other.name == flag.name || flag.short.is_some() && other.short == flag.short;
                assert_eq!(flags[..at].iter().find(twice), None, "{tool:?} {flag:?}");
            }
        }
    }
}
