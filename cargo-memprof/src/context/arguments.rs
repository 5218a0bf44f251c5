//! The one scanner of the command lines of cargo, nextest and libtest. By the table in `cargo_flags` it finds the words that belong together
//! and the flag of each. It refuses nothing.

use super::cargo_flags::{Flag, Role, Tool, Value};
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

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

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
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
