//! The leaked blocks of a test, and those that can still be reached, in the form of `summary.json`.

use memprof_harness::ledger::Counters;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Both together are what is in use at the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Leaks {
    #[serde(default)]
    pub leaked_objects: i64,
    #[serde(default)]
    pub leaked_space: i64,
    #[serde(default)]
    pub reachable_objects: i64,
    #[serde(default)]
    pub reachable_space: i64,
    /// `done`, or `skipped: ` and why: then nothing is known to be leaked.
    #[serde(default)]
    pub leak_check: Cow<'static, str>,
}

impl From<&Counters> for Leaks {
    fn from(counters: &Counters) -> Leaks {
        let (reachable_objects, reachable_space) = counters.reachable();
        Leaks {
            leaked_objects: counters.leaks.leaked_objects,
            leaked_space: counters.leaks.leaked_space,
            reachable_objects,
            reachable_space,
            leak_check: counters.leaks.check.name().into(),
        }
    }
}
