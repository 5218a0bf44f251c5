//! Tests that may know where their checkout lies. The clone of another revision has a longer path than the user's checkout, with more folders on it,
//! so a test that walks up its path allocates more there, and a growth here may be hidden by it. Pure.

use crate::gate::metrics::{Metric, Seen};
use crate::gate::outcome::{Judged, Outcome};
use crate::gate::policy::Policy;
use camino::Utf8Path;
use memprof_profile::view::amount::plural;
use memprof_profile::view::plain::plain;

/// What is to be said of tests whose metrics look as if they knew it; `None` = there is none. `theirs` is the root of the clone, `ours` that of the
/// checkout, and `revision` what the user calls the other side.
pub fn remark(outcome: &Outcome, policy: &Policy, [ours, theirs]: [&Utf8Path; 2], revision: &str) -> Option<String> {
    let longer = i64::try_from(theirs.as_str().len()).ok()? - i64::try_from(ours.as_str().len()).ok()?;
    let tests: Vec<&Judged> = outcome
        .tests
        .iter()
        .filter(|test| policy.exclusion(&test.id).is_none() && may_know_path(test, longer))
        .collect();
    let names: Vec<String> = tests.iter().take(3).map(|test| format!("`{}`", plain(&test.id.label()))).collect();
    let more = if tests.len() > 3 { ", …" } else { "" };
    let folders = theirs.components().count().saturating_sub(ours.components().count());
    (!tests.is_empty()).then(|| {
        format!(
            "{} may depend on the path of the checkout, which is {longer} bytes and {} longer at `{revision}`: {}{more}\n\
             a growth in them may be hidden by that; a committed baseline compares them where they are",
            plural(tests.len(), "test"),
            plural(folders, "folder"),
            names.join(", ")
        )
    })
}

/// Whether the test needs as many allocations as there, and fewer bytes by more than names of files that begin with the path do: each of those is
/// longer there by the same number.
fn may_know_path(test: &Judged, longer: i64) -> bool {
    let (Some(before), Some(now)) = (test.before, test.now) else { return false };
    if longer <= 0 || !test.was_compared() || before.varies(Metric::AllocSpace) || now.varies(Metric::AllocSpace) {
        return false;
    }
    let fewer = |metric| {
        let value = |seen: &Seen| seen.most.get(metric);
        value(&before).saturating_sub(value(&now))
    };
    let bytes = fewer(Metric::AllocSpace);
    fewer(Metric::AllocObjects) == 0 && bytes >= longer && bytes % longer != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::metrics::Metrics;
    use memprof_profile::record::TestId;

    #[test]
    fn a_test_that_needs_less_here_by_odd_bytes_and_as_many_allocations_may_know_its_path() {
        let remark = |before: (u64, u64), now: (u64, u64)| {
            let seen = |(alloc_objects, alloc_space)| {
                Some(Seen::once(Metrics { alloc_objects, alloc_space, ..Metrics::default() }))
            };
            let id = TestId { package: "p".into(), kind: "lib".into(), target: "p".into(), name: "a".into() };
            let test = Judged {
                id,
                before: seen(before),
                now: seen(now),
                source_file: String::new(),
                start_line: 0,
                threads: 1,
                runs: 1,
                findings: Vec::new(),
                better: Vec::new(),
            };
            let outcome = Outcome { tests: vec![test], ..Outcome::default() };
            // Longer by 10 bytes and two folders.
            super::remark(&outcome, &Policy::default(), ["/a".into(), "/a/bcde/fghi".into()], "main")
        };
        let said = remark((9, 100), (9, 77)).unwrap();
        assert!(
            said.starts_with(
                "1 test may depend on the path of the checkout, which is 10 bytes and 2 folders longer at `main`: `p a`"
            ),
            "{said}"
        );
        // Names of files alone; an improvement; a growth; nothing.
        for (before, now) in
            [((9, 100), (9, 70)), ((9, 100), (8, 77)), ((9, 100), (10, 77)), ((9, 100), (9, 100)), ((9, 100), (9, 95))]
        {
            assert_eq!(remark(before, now), None, "{before:?} {now:?}");
        }
    }
}
