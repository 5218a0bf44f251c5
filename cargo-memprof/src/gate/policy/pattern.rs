//! Patterns for names of tests and packages: `*` is any text, `?` any letter, everything else itself.

use memprof_harness::pattern;
use serde::Deserialize;

/// A pattern that a whole name must match.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    pub fn new(text: impl Into<String>) -> Pattern {
        Pattern(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether all of `name` is what the pattern says.
    pub fn matches(&self, name: &str) -> bool {
        pattern::matches(&self.0, name)
    }
}
