//! The provenance of a shard: all shards of one run have the same commit, lock file and arguments. Conditions are compared separately.

use crate::context::cargo_args::CargoArgs;
use crate::context::test_filter;
use crate::files::intake;
use crate::git::Git;
use camino::Utf8Path;
use memprof_harness::ledger::fnv1a;
use serde::{Deserialize, Serialize};

/// See the head of this file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The commit that is checked out; empty = there is none, or no git.
    #[serde(deserialize_with = "intake::line")]
    pub commit: String,
    /// A hash of `Cargo.lock`; empty = there is none.
    #[serde(deserialize_with = "intake::line")]
    pub lock: String,
    /// Those that choose what is built and which tests run, as [`test_filter::choosing`] has them.
    #[serde(deserialize_with = "intake::list_of_lines")]
    pub arguments: Vec<String>,
}

impl Provenance {
    /// Of what is in the workspace at `root` before the tests run, which take long enough for somebody to check out something else. The
    /// lock file comes with the run, where there is none.
    pub fn look(root: &Utf8Path, args: &CargoArgs) -> Provenance {
        let commit = Git::find().ok().and_then(|git| git.repository(root).ok()?.commit("HEAD", root).ok());
        Provenance { commit: commit.unwrap_or_default(), lock: String::new(), arguments: test_filter::choosing(args) }
    }

    /// The same with the lock file that the tests were built with.
    pub fn with_lock(&self, root: &Utf8Path) -> Provenance {
        let lock = std::fs::read(root.join("Cargo.lock")).ok();
        Provenance { lock: lock.map_or(String::new(), |text| format!("{:016x}", fnv1a(&text))), ..self.clone() }
    }

    /// The first thing in which `other` is of something else, and both values.
    pub fn difference(&self, other: &Provenance) -> Option<(&'static str, String, String)> {
        let fields = |one: &Provenance| {
            let arguments = one.arguments.join(" ");
            [("commits", one.commit.clone()), ("arguments", arguments), ("hashes of Cargo.lock", one.lock.clone())]
        };
        let pairs = fields(self).into_iter().zip(fields(other));
        let differ = |((name, one), (_, other)): ((&'static str, String), (&'static str, String))| {
            (one != other).then_some((name, one, other))
        };
        pairs.filter_map(differ).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named_with_both_values() {
        let one = Provenance { commit: "a".into(), lock: "1".into(), arguments: vec!["-p".into(), "x".into()] };
        assert_eq!(one.difference(&one), None);
        let other = Provenance { arguments: vec![], lock: "2".into(), ..one.clone() };
        assert_eq!(one.difference(&other), Some(("arguments", "-p x".into(), String::new())));
        let other = Provenance { commit: "b".into(), ..other };
        assert_eq!(one.difference(&other), Some(("commits", "a".into(), "b".into())));
    }
}
