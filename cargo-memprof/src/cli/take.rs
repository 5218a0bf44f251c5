//! Takes our flags out of a command line that is otherwise cargo's: they may stand wherever a flag of cargo's or of libtest's may.
//! clap's structures name them. A flag that only resembles one of ours stays where it is, because it may belong to somebody else.

use super::refusal;
use crate::context::arguments::Argument;
use crate::context::cargo_flags::Tool;
use crate::ui::error::Error;
use clap::ArgAction;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// A command line in two.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Our flags, each as one word: `--flag` or `--flag=value`.
    pub ours: Vec<OsString>,
    /// The others, in their order.
    pub others: Vec<OsString>,
}

/// Takes the flags of `command` out of `words`, which are otherwise those of `tool`.
///
/// # Errors
/// Where one has no value that needs one, or one that takes none.
pub fn take(command: &clap::Command, tool: Tool, words: &[OsString]) -> Result<Taken, Error> {
    let mut taken = Taken::default();
    let mut whose = tool;
    let mut rest = words;
    while let Some((word, behind)) = rest.split_first() {
        if word == "--" && whose == tool && tool != Tool::CargoRun {
            whose = Tool::Libtest;
            taken.others.push(word.clone());
            rest = behind;
        } else if let Some(own) = Own::read(command, rest) {
            taken.ours.push(own.as_one_word()?);
            rest = &rest[own.words..];
        } else {
            let argument = Argument::first(whose, rest);
            let Some(argument) = argument.filter(|argument| !argument.is_bare() || whose != Tool::CargoRun) else {
                // Names of tests behind a second `--`, or what is a program's.
                taken.others.extend_from_slice(rest);
                break;
            };
            taken.others.extend_from_slice(argument.words);
            rest = &rest[argument.words.len()..];
        }
    }
    Ok(taken)
}

/// The place of the first word that is neither a flag of ours, of whatever command, nor the value of one.
pub fn first_other(cli: &clap::Command, words: &[OsString]) -> usize {
    let mut at = 0;
    while let Some(own) = cli.get_subcommands().find_map(|command| Own::read(command, &words[at..])) {
        at += own.words;
    }
    at
}

/// The long names of `command`'s flags, without dashes.
pub fn names(command: &clap::Command) -> impl Iterator<Item = &str> {
    command.get_arguments().filter_map(clap::Arg::get_long)
}

/// One of our flags as it was given.
struct Own<'a> {
    name: &'a str,
    takes_value: bool,
    /// And is nothing without one.
    needs_value: bool,
    value: Option<&'a OsStr>,
    /// How many words it is.
    words: usize,
}

impl<'a> Own<'a> {
    fn read(command: &'a clap::Command, words: &'a [OsString]) -> Option<Own<'a>> {
        let long = words.first()?.as_bytes().strip_prefix(b"--")?;
        let at = long.iter().position(|byte| *byte == b'=');
        let name = OsStr::from_bytes(&long[..at.unwrap_or(long.len())]);
        let inline = at.map(|at| OsStr::from_bytes(&long[at + 1..]));
        // Whose help is asked for, the place says: behind the dashes it is libtest's.
        let asks = |flag: &clap::Arg| {
            matches!(flag.get_action(), ArgAction::Help | ArgAction::HelpLong | ArgAction::HelpShort)
        };
        let flag =
            command.get_arguments().find(|flag| flag.get_long().is_some_and(|long| name == long) && !asks(flag))?;
        let takes_value = flag.get_action().takes_values();
        let needs_value = takes_value && !flag.is_require_equals_set();
        let next = words.get(1).filter(|next| needs_value && inline.is_none() && may_be_value(next));
        let value = inline.or_else(|| next.map(OsString::as_os_str));
        Some(Own { name: flag.get_long()?, takes_value, needs_value, value, words: 1 + usize::from(next.is_some()) })
    }

    fn as_one_word(&self) -> Result<OsString, Error> {
        let mut word = OsString::from(format!("--{}", self.name));
        match self.value.filter(|value| !value.is_empty() || !self.takes_value) {
            Some(value) if !self.takes_value => return Err(refusal::takes_no_value(self.name, value)),
            None if self.needs_value => return Err(refusal::needs_value(self.name)),
            Some(value) => {
                word.push("=");
                word.push(value);
            }
            None => {}
        }
        Ok(word)
    }
}

/// Whether a flag in front of `word` has it as its value: another flag is none, but a negative number is a value, though a wrong one.
fn may_be_value(word: &OsStr) -> bool {
    let bytes = word.as_bytes();
    !bytes.starts_with(b"-") || bytes.get(1).is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::super::flags::command_line;
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn of(command: &str, tool: Tool, line: &str) -> Result<Taken, Error> {
        let cli = command_line(100);
        take(cli.find_subcommand(command).unwrap(), tool, &words(line))
    }

    fn is(ours: &str, others: &str) -> Taken {
        Taken { ours: words(ours), others: words(others) }
    }

    #[test]
    fn ours_are_found_before_and_behind_the_dashes_with_space_or_equals() {
        for line in [
            "--memprofilerate 1 --lib -- --skip x",
            "--lib --memprofilerate=1 -- --skip x",
            "--lib -- --memprofilerate 1 --skip x",
            "--lib -- --skip x --memprofilerate=1",
        ] {
            assert_eq!(of("test", Tool::Cargo, line).unwrap(), is("--memprofilerate=1", "--lib -- --skip x"), "{line}");
        }
    }

    #[test]
    fn everything_else_keeps_its_order() {
        let line = "-p a --memprofile out name --keep-ledgers -j2 -- --exact b -- --memprofile c";
        let taken = is("--memprofile=out --keep-ledgers", "-p a name -j2 -- --exact b -- --memprofile c");
        assert_eq!(of("test", Tool::Cargo, line).unwrap(), taken);
        let line = "-p a --baseline=b --allow gone,new x -- --no-run --exact -- --baseline c";
        let taken = is("--baseline=b --allow=gone,new --no-run", "-p a x -- --exact -- --baseline c");
        assert_eq!(of("gate", Tool::Cargo, line).unwrap(), taken);
    }

    #[test]
    fn a_value_is_no_flag_of_ours_and_a_flag_no_value() {
        let taken = is("", "-- --skip --keep-ledgers --logfile --native");
        assert_eq!(of("test", Tool::Cargo, "-- --skip --keep-ledgers --logfile --native").unwrap(), taken);
        assert_eq!(of("run", Tool::CargoRun, "--native x --native").unwrap(), is("--native", "x --native"));
        assert_eq!(of("run", Tool::CargoRun, "-- --native").unwrap(), is("", "-- --native"));
        for line in ["--memprofilerate", "--memprofile --lib", "--memprofile=", "--native=1", "--allow -x"] {
            assert!(of("gate", Tool::Cargo, line).is_err(), "{line}");
        }
        // A value that need not be there stands behind an equals sign.
        assert_eq!(of("gate", Tool::Cargo, "--bench x -q").unwrap(), is("--bench", "x -q"));
        assert_eq!(of("gate", Tool::Cargo, "--bench=x -q").unwrap(), is("--bench=x", "-q"));
        assert_eq!(of("test", Tool::Cargo, "--memprofilerate -1").unwrap(), is("--memprofilerate=-1", ""));
    }

    #[test]
    fn flags_of_one_command_are_not_anothers() {
        assert_eq!(of("bench", Tool::Cargo, "--repeat 2").unwrap(), is("", "--repeat 2"));
        assert_eq!(
            of("nextest", Tool::Nextest, "run --partition hash:1/2").unwrap(),
            is("", "run --partition hash:1/2")
        );
    }
}
