//! clap's refusals in our three parts; its help and version texts are none.

use crate::error::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The text that is to be shown, where `error` is one.
///
/// # Errors
/// Where `command` makes no sense.
pub fn explain(error: &clap::Error, command: &str) -> Result<String, Error> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        // Of a command and its short alias, the command.
        Some(ContextValue::Strings(texts)) => texts.iter().max_by_key(|text| text.len()).cloned(),
        _ => None,
    };
    let refusal = Error::usage(format!("cannot run `{command}`"));
    Err(match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return Ok(error.render().ansi().to_string());
        }
        ErrorKind::InvalidSubcommand => {
            let name = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            refusal.caused_by(format!("there is no command `{name}`")).help(
                match context(ContextKind::SuggestedSubcommand) {
                    Some(near) => format!("a command with a similar name exists: `cargo memprof {near}`"),
                    None => "see `cargo memprof --help` for the commands".to_owned(),
                },
            )
        }
        ErrorKind::UnknownArgument => {
            let flag = context(ContextKind::InvalidArg).unwrap_or_default();
            refusal.caused_by(format!("`{flag}` is not understood here")).help(
                "options of `cargo test` go behind the command: `cargo memprof test …`; see `cargo memprof --help`",
            )
        }
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            refusal.caused_by(first).help("see `cargo memprof --help`")
        }
    })
}
