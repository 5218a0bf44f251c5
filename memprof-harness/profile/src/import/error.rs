//! The reason why a file cannot be read as a profile.

use std::fmt;

/// The bytes are no profile of ours, or hold more than any of ours can. Displayed, it says what is wrong with them in words that can
/// follow "the file is damaged: ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportError {
    why: String,
}

impl ImportError {
    /// `why`: lower case, without a final full stop.
    pub fn new(why: impl fmt::Display) -> ImportError {
        ImportError { why: why.to_string() }
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for ImportError {}

impl From<String> for ImportError {
    fn from(why: String) -> ImportError {
        ImportError { why }
    }
}

impl From<&str> for ImportError {
    fn from(why: &str) -> ImportError {
        ImportError::new(why)
    }
}
