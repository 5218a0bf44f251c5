//! clap's refusals as errors in three parts. The texts of `--help` and `--version`, which clap gives as errors too, are passed on.

use crate::ui::error::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::error::Error as _;
use std::ffi::OsStr;

/// What is to stand behind a flag that takes a value: its kind, and an example.
const VALUES: [(&str, &str, &str); 21] = [
    ("good", "a revision", "v1.2.0"),
    ("bad", "a revision", "HEAD"),
    ("memprofilerate", "a number", "1"),
    ("memprofile", "a folder", "target/profiles"),
    ("stack-depth", "a number", "256"),
    ("baseline", "a file", "memprof.baseline"),
    ("baseline-dir", "a folder", "ci/memprof"),
    ("history", "a file", "ci/memprof.jsonl"),
    ("allow", "what is allowed", "gone"),
    ("output-format", "a format", "github"),
    ("against", "a revision", "origin/main"),
    ("against-version", "a version", "1.2.0"),
    ("explain-against", "a revision", "origin/main"),
    ("repeat", "a number of times", "5"),
    ("partition", "a share", "count:1/3"),
    ("memprof-only", "a name of tests, or a pattern", "parser::*"),
    ("test-timeout", "a number of seconds", "60"),
    ("manifest-path", "a path", "Cargo.toml"),
    ("target-dir", "a folder", "target"),
    ("config", "a key with its value, or a file", "term.quiet=true"),
    ("color", "when to use colours", "never"),
];

/// The flag called `name` has no value.
pub fn needs_value(name: &str) -> Error {
    let (what, example) =
        VALUES.iter().find(|(flag, ..)| *flag == name).map_or(("a value", "…"), |found| (found.1, found.2));
    Error::usage(format!("cannot use `--{name}`"))
        .caused_by(format!("it needs {what} after it"))
        .help(format!("write `--{name} {example}` or `--{name}={example}`"))
}

/// The flag called `name` has one, and takes none.
pub fn takes_no_value(name: &str, value: &OsStr) -> Error {
    Error::usage(format!("cannot use `--{name}={}`", value.to_string_lossy()))
        .caused_by(format!("`--{name}` takes no value"))
        .help(format!("pass `--{name}` alone"))
}

/// The text that is to be shown, where `error` is one. `verb` is the command that was read, where there was one.
///
/// # Errors
/// Where `command` makes no sense.
pub fn explain(error: &clap::Error, command: &str, verb: Option<&str>) -> Result<String, Error> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    // `--allow <WHAT,…>`
    let flag = context(ContextKind::InvalidArg).unwrap_or_default();
    let name = first_word(&flag).trim_start_matches('-');
    let see = verb
        .map_or_else(|| "see `cargo memprof --help`".to_owned(), |verb| format!("see `cargo memprof {verb} --help`"));
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Ok(error.render().ansi().to_string());
    }
    // Our own parsers of values say all of it.
    if let Some(ours) = error.source().and_then(|source| source.downcast_ref::<Error>()) {
        return Err(ours.clone());
    }
    let refusal = Error::usage(format!("cannot run `{command}`"));
    Err(match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let name = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            refusal.caused_by(format!("there is no command `{name}`")).help(match nearest_command(error, &name) {
                Some(near) => format!("a command with a similar name exists: `cargo memprof {near}`"),
                None => "see `cargo memprof --help` for the commands".to_owned(),
            })
        }
        ErrorKind::UnknownArgument => {
            let help = match (context(ContextKind::SuggestedArg), verb) {
                (Some(near), Some(_)) => format!("a flag with a similar name exists: `{}`; {see}", first_word(&near)),
                (None, Some(verb)) => match RUNS_NOTHING.iter().find(|(name, _)| *name == verb) {
                    Some((_, first)) => format!("`{verb}` runs nothing: {first}; {see}"),
                    None => see,
                },
                (_, None) => {
                    "options of `cargo test` go behind the command: `cargo memprof test …`; see `cargo memprof --help`"
                        .to_owned()
                }
            };
            refusal.caused_by(format!("`{}` is not understood here", first_word(&flag))).help(help)
        }
        ErrorKind::InvalidValue => {
            let value = context(ContextKind::InvalidValue).unwrap_or_default();
            let valid = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(valid)) if !valid.is_empty() => valid,
                _ => return Err(needs_value(name)),
            };
            let valid: Vec<String> = valid.iter().map(|valid| format!("`{valid}`")).collect();
            Error::usage(format!("cannot use `{value}` for `--{name}`"))
                .caused_by("it is none of its values")
                .help(format!("pass one of {}", valid.join(", ")))
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(missing)) => missing.join("`, `"),
                _ => String::new(),
            };
            refusal.caused_by(format!("`{missing}` is missing")).help(see)
        }
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            refusal.caused_by(first.trim_end_matches(':')).help(see)
        }
    })
}

/// Of the commands that clap takes for similar, the one that is least far from `name`; of a command and its short alias, the command.
fn nearest_command(error: &clap::Error, name: &str) -> Option<String> {
    let Some(ContextValue::Strings(similar)) = error.get(ContextKind::SuggestedSubcommand) else { return None };
    let steps = |near: &&String| (strsim::damerau_levenshtein(name, near), std::cmp::Reverse(near.len()));
    similar.iter().min_by_key(steps).cloned()
}

/// Commands that run nothing, and what runs something first.
const RUNS_NOTHING: [(&str, &str); 2] = [
    ("accept", "run the tests with `cargo memprof gate` first"),
    ("merge", "record the shards with `cargo memprof test --partition` first"),
];

/// A flag without the value that clap shows behind it.
fn first_word(flag: &str) -> &str {
    flag.split([' ', '=']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{flags, take};
    use super::*;

    #[test]
    fn every_flag_with_a_value_has_an_example_and_no_other() {
        let cli = flags::command_line(100);
        let takes = |command: &clap::Command, name: &str| {
            let needs_value = |flag: &clap::Arg| flag.get_action().takes_values() && !flag.is_require_equals_set();
            command.get_arguments().any(|flag| flag.get_long() == Some(name) && needs_value(flag))
        };
        for command in cli.get_subcommands() {
            for name in take::names(command).filter(|name| takes(command, name)) {
                assert!(VALUES.iter().any(|(flag, ..)| *flag == name), "`--{name}` of `{}`", command.get_name());
            }
        }
        for (flag, ..) in VALUES {
            assert!(cli.get_subcommands().any(|command| takes(command, flag)), "nobody takes `--{flag}`");
        }
    }
}
