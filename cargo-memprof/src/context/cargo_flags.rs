//! The one table of the flags of cargo and nextest, and the one scanner of their command lines. The flags of libtest, which stand
//! behind the `--`, are [`libtest_flags`]: the harness has them too, and it can depend on nothing. A test holds the tables against
//! the `--help` of the tools at hand.

use memprof_harness::libtest_flags;
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

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

    fn long(self, name: &str) -> Option<Flag> {
        // A letter is no long name, though it may be a flag's only one.
        self.flags().find(|flag| flag.name == name && name.chars().nth(1).is_some())
    }

    fn letter(self, letter: char) -> Option<Flag> {
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

/// What the user wrote as one: a flag with its value, several letters behind one dash, or a word that is no flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument<'a> {
    /// The word, and the one behind it where that is its value.
    pub words: &'a [OsString],
    /// Empty = it is no flag; `None` = the tool knows no such flag.
    pub flags: Vec<Option<Flag>>,
    /// That of the last of `flags`.
    pub value: Option<Cow<'a, OsStr>>,
}

impl<'a> Argument<'a> {
    /// The first argument in `words`, which are those of `tool`; `None` = there is none before a `--`.
    pub fn first(tool: Tool, words: &'a [OsString]) -> Option<Argument<'a>> {
        let word = words.first().filter(|word| *word != "--")?;
        let bytes = word.as_bytes();
        let (flags, attached) = if let Some(long) = bytes.strip_prefix(b"--") {
            let (name, value) = at_equals(long);
            (vec![tool.long(&name.to_string_lossy())], value)
        } else if bytes.len() > 1 && bytes[0] == b'-' {
            tool.letters(&bytes[1..])
        } else {
            (Vec::new(), None)
        };
        let takes = flags.last().copied().flatten().map_or(Value::None, |flag| flag.value);
        let next = words.get(1).filter(|next| match takes {
            // Whatever it looks like: `--skip --list` leaves out what has `--list` in its name.
            Value::Needed => tool == Tool::Libtest || *next != "--",
            Value::Optional => !next.as_bytes().starts_with(b"-"),
            Value::None | Value::Attached => false,
        });
        let next = next.filter(|_| attached.is_none());
        let value = attached.or_else(|| next.map(OsString::as_os_str)).map(Cow::Borrowed);
        Some(Argument { words: &words[..1 + usize::from(next.is_some())], flags, value })
    }

    /// Whether the flag called `name` is among its flags.
    pub fn has(&self, name: &str) -> bool {
        self.flags.iter().flatten().any(|flag| flag.name == name)
    }

    /// The value of the flag called `name`, where it is that and has one.
    pub fn value_of(&self, name: &str) -> Option<&OsStr> {
        let flag = self.flags.last().copied().flatten().filter(|flag| flag.name == name);
        flag.and(self.value.as_deref())
    }

    /// It is no flag.
    pub fn is_bare(&self) -> bool {
        self.flags.is_empty()
    }

    /// All its flags are known, and `role` holds for all of them.
    pub fn all(&self, role: impl Fn(Role) -> bool) -> bool {
        !self.is_bare() && self.flags.iter().all(|flag| flag.is_some_and(|flag| role(flag.role)))
    }

    /// Tests of the targets that run are left out because of it, as far as is known: a word that is no flag is part of their
    /// names, and a flag that nobody knows may do anything.
    pub fn leaves_out(&self) -> bool {
        self.is_bare() || self.flags.iter().any(|flag| flag.is_none_or(|flag| flag.role.leaves_out()))
    }
}

impl Tool {
    /// The flags in the letters behind one dash, and what follows one that takes a value.
    fn letters(self, letters: &[u8]) -> (Vec<Option<Flag>>, Option<&OsStr>) {
        let mut flags = Vec::new();
        for (at, letter) in letters.iter().enumerate() {
            let flag = self.letter(char::from(*letter));
            flags.push(flag);
            // What follows an unknown one may be its value.
            let Some(flag) = flag else { return (flags, None) };
            let rest = &letters[at + 1..];
            if flag.value != Value::None && !rest.is_empty() {
                // Libtest's parser keeps the sign; nobody has a value that begins with it.
                let rest = rest.strip_prefix(b"=").unwrap_or(rest);
                return (flags, Some(OsStr::from_bytes(rest)));
            }
        }
        (flags, None)
    }
}

/// All arguments of a command line before its `--`.
#[derive(Debug, Clone)]
pub struct Arguments<'a> {
    tool: Tool,
    rest: &'a [OsString],
}

impl<'a> Arguments<'a> {
    pub fn new(tool: Tool, words: &'a [OsString]) -> Arguments<'a> {
        Arguments { tool, rest: words }
    }

    /// Whether the flag called `name` is still to come.
    pub fn has(mut self, name: &str) -> bool {
        self.any(|argument| argument.has(name))
    }

    /// The words that were not come to yet: in the end the `--` and what is behind it, or what is the program's.
    pub fn rest(&self) -> &'a [OsString] {
        self.rest
    }
}

impl<'a> Iterator for Arguments<'a> {
    type Item = Argument<'a>;

    fn next(&mut self) -> Option<Argument<'a>> {
        let argument = Argument::first(self.tool, self.rest)?;
        if argument.is_bare() && self.tool == Tool::CargoRun {
            return None;
        }
        self.rest = &self.rest[argument.words.len()..];
        Some(argument)
    }
}

/// A name and what stands behind its `=`.
fn at_equals(word: &[u8]) -> (&OsStr, Option<&OsStr>) {
    match word.iter().position(|byte| *byte == b'=') {
        Some(at) => (OsStr::from_bytes(&word[..at]), Some(OsStr::from_bytes(&word[at + 1..]))),
        None => (OsStr::from_bytes(word), None),
    }
}

/// `words` before the `--`, and behind it where there is one.
pub fn at_dashes(words: &[OsString]) -> (&[OsString], Option<&[OsString]>) {
    match words.iter().position(|word| word == "--") {
        Some(at) => (&words[..at], Some(&words[at + 1..])),
        None => (words, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

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

    /// The arguments of a line as text, with what is known of each.
    fn read(tool: Tool, line: &str) -> Vec<(String, Option<String>)> {
        let words = words(line);
        let text = |word: &OsStr| word.to_string_lossy().into_owned();
        Arguments::new(tool, &words)
            .map(|one| {
                let names: Vec<&str> = one.flags.iter().map(|flag| flag.map_or("?", |flag| flag.name)).collect();
                let name = if one.is_bare() { text(&one.words[0]) } else { format!("-{}", names.join("-")) };
                (name, one.value.as_deref().map(text))
            })
            .collect()
    }

    #[test]
    fn a_value_belongs_to_its_flag_wherever_it_stands() {
        let is = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()).filter(|value| value != "-"));
        assert_eq!(
            read(Tool::Cargo, "-qp a --features=b c --bin --lib --jobs -1 -j2 --timings d -Zx --config -- e"),
            [
                is("-quiet-package", "a"),
                is("-features", "b"),
                is("c", "-"),
                is("-bin", "-"),
                is("-lib", "-"),
                is("-jobs", "-1"),
                is("-jobs", "2"),
                is("-timings", "-"),
                is("d", "-"),
                is("-Z", "x"),
                is("-config", "-"),
            ]
        );
        assert_eq!(
            read(Tool::Nextest, "-P ci -j 2 -Er"),
            [is("-profile", "ci"), is("-test-threads", "2"), is("-filterset", "r")]
        );
        assert_eq!(read(Tool::Libtest, "--skip --list -q -- a"), [is("-skip", "--list"), is("-q", "-")]);
        assert_eq!(read(Tool::Cargo, "--of-tomorrow -x5 --C"), [is("-?", "-"), is("-?", "-"), is("-?", "-")]);
    }

    #[test]
    fn what_follows_the_first_bare_word_of_run_is_the_programs() {
        let line = words("--bin b -q x --release");
        let mut arguments = Arguments::new(Tool::CargoRun, &line);
        assert_eq!(arguments.by_ref().count(), 2);
        assert_eq!(arguments.rest(), words("x --release"));
    }
}
