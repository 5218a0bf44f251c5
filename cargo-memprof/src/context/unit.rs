//! How a unit, as cargo calls what rustc compiles at one call, was compiled, as far as metrics depend on it: its features as cargo unified
//! them, how it was optimized, and the same of all that it links.

use crate::files::intake;
use serde::{Deserialize, Serialize};

/// See the head of this file.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unit {
    /// Its features, sorted, with commas between them; `none`.
    #[serde(deserialize_with = "intake::line")]
    pub features: String,
    /// `-C opt-level`: `0` to `3`, `s` or `z`.
    #[serde(deserialize_with = "intake::line")]
    pub opt_level: String,
    pub debug_assertions: bool,
    /// Hash of the other flags that change the code that is made, of it and of all that it links.
    #[serde(deserialize_with = "intake::line")]
    pub flags: String,
    /// Hash of the names and features of all that it links; [`UNKNOWN`] where one of them has no note.
    #[serde(deserialize_with = "intake::line")]
    pub dependencies: String,
}

/// The conditions that are hashes.
pub const FLAGS: &str = "flags";
pub const DEPENDENCIES: &str = "dependencies";

/// What stands for a hash that cannot be made.
pub const UNKNOWN: &str = "-";

impl Unit {
    /// Name and value of each condition, as a baseline has them.
    pub fn fields(&self) -> [(&'static str, String); 5] {
        [
            ("features", self.features.clone()),
            ("opt-level", self.opt_level.clone()),
            ("debug-assertions", switch(self.debug_assertions)),
            (FLAGS, self.flags.clone()),
            (DEPENDENCIES, self.dependencies.clone()),
        ]
    }

    /// The reverse of [`Unit::fields`]; `None` where a value is none.
    pub fn from_fields([features, opt_level, debug_assertions, flags, dependencies]: [String; 5]) -> Option<Unit> {
        let debug_assertions = match &*debug_assertions {
            "on" => true,
            "off" => false,
            _ => return None,
        };
        Some(Unit { features, opt_level, debug_assertions, flags, dependencies })
    }
}

/// A condition that holds or does not.
pub fn switch(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_back() {
        let unit = Unit { features: "x".into(), debug_assertions: true, ..Unit::default() };
        let mut fields = unit.fields().map(|(_, value)| value);
        assert_eq!(Unit::from_fields(fields.clone()), Some(unit));
        fields[2] = "maybe".into();
        assert_eq!(Unit::from_fields(fields), None);
    }
}
