//! What tests needed at one commit after another, from the versions of the committed baseline or from a file that `gate --history` adds to.
//! Pure.

pub mod chart;
pub mod log;

use crate::gate::metrics::Seen;
use memprof_profile::record::TestId;
use std::collections::BTreeMap;

/// What was known at a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moment {
    pub commit: Commit,
    /// Tests of which nothing was known before, or something else.
    pub changed: BTreeMap<TestId, Seen>,
}

/// Which commit it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// Whole.
    pub hash: String,
    /// Of the commit: `2026-11-30`.
    pub date: String,
    /// The first line of its message.
    pub subject: String,
    /// Sources were changed and not committed.
    pub dirty: bool,
}

/// The moments of what was known at each commit, the oldest first: what did not change since the one before is left out.
pub fn moments(known: impl IntoIterator<Item = (Commit, BTreeMap<TestId, Seen>)>) -> Vec<Moment> {
    let mut last: BTreeMap<TestId, Seen> = BTreeMap::new();
    let moment = |(commit, tests): (Commit, BTreeMap<TestId, Seen>)| {
        let changed = changed(&last, tests);
        last.extend(changed.clone());
        Moment { commit, changed }
    };
    known.into_iter().map(moment).collect()
}

/// Those of `now` that are not in `before`, or otherwise.
pub fn changed(before: &BTreeMap<TestId, Seen>, now: BTreeMap<TestId, Seen>) -> BTreeMap<TestId, Seen> {
    let metrics = |seen: &Seen| (seen.least, seen.most);
    now.into_iter().filter(|(id, seen)| before.get(id).map(metrics) != Some(metrics(seen))).collect()
}
