//! The one shape of every error the user sees: what was asked for, what happened, what to do next. `terminal` decides how it
//! looks.

use crate::ui::exit_code::ExitCode;
use std::fmt;

/// An error in three parts. Texts are lower case, without a final full stop, paths and commands in backticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    request: String,
    /// Outermost first; may be empty where `request` says it all.
    causes: Vec<String>,
    /// `None`: nothing sensible can be advised.
    help: Option<String>,
    code: ExitCode,
}

impl Error {
    /// `request`: what could not be done, such as "cannot write the profile `…`".
    pub fn new(request: impl Into<String>) -> Error {
        Error { request: request.into(), causes: Vec::new(), help: None, code: ExitCode::SET_UP }
    }

    /// A command line that cannot be understood.
    pub fn usage(request: impl Into<String>) -> Error {
        Error::new(request).with_code(ExitCode::USAGE)
    }

    /// What happened. May be called again for the cause of the cause.
    #[must_use]
    pub fn caused_by(mut self, cause: impl fmt::Display) -> Error {
        self.causes.push(cause.to_string());
        self
    }

    /// What to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Error {
        self.help = Some(help.into());
        self
    }

    /// The code the process ends with where this error ends it.
    #[must_use]
    pub fn with_code(mut self, code: ExitCode) -> Error {
        self.code = code;
        self
    }

    /// See [`Error::new`].
    pub fn request(&self) -> &str {
        &self.request
    }

    /// See [`Error::caused_by`].
    pub fn causes(&self) -> &[String] {
        &self.causes
    }

    /// See [`Error::help`]. Where the process may open no more files, that is what to change, whatever it wanted to open.
    pub fn advice(&self) -> Option<&str> {
        let is_full = self.causes.iter().any(|cause| cause.contains(TOO_MANY_FILES));
        if is_full { Some(RAISE_LIMIT) } else { self.help.as_deref() }
    }

    /// See [`Error::with_code`].
    pub fn code(&self) -> ExitCode {
        self.code
    }
}

/// How the standard library ends what it says of EMFILE, on Linux and macOS.
const TOO_MANY_FILES: &str = "(os error 24)";
const RAISE_LIMIT: &str = "allow more open files, such as by `ulimit -n 1024`";

/// The whole error as plain text, continuation lines of a cause or help indented below it.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.request)?;
        for cause in &self.causes {
            write!(f, "\n  caused by: {}", indent(cause))?;
        }
        if let Some(help) = self.advice() {
            write!(f, "\n  help: {}", indent(help))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// `text` with every line but the first moved in, so that it stays visibly one part of the error.
pub fn indent(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_three_parts_one_below_the_other() {
        let error = Error::usage("cannot read the rate `x`").caused_by("not a number").help("pass a number");
        assert_eq!(error.to_string(), "cannot read the rate `x`\n  caused by: not a number\n  help: pass a number");
        assert_eq!(error.code(), ExitCode::USAGE);
    }

    #[test]
    fn where_no_more_files_may_be_open_the_limit_is_what_to_change() {
        let cause = std::io::Error::from_raw_os_error(24);
        let error = Error::new("cannot ask cargo about the package").caused_by(cause).help("run it otherwise");
        assert_eq!(error.advice(), Some(RAISE_LIMIT));
        assert!(error.to_string().ends_with("\n  help: allow more open files, such as by `ulimit -n 1024`"), "{error}");
    }
}
