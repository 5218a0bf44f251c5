//! Decides which tests run again before the gate reports: those over a limit, until they are within it or certainly
//! over it; those that are better or new, until their metrics are known. Pure; whoever starts the tests follows these
//! rules.

use super::doctest;
use crate::context::conditions::{Conditions, LISTED};
use crate::context::doctest_name;
use crate::gate::committed::Baseline;
use crate::gate::metrics::{Metric, Seen};
use crate::gate::outcome::Severity;
use crate::gate::policy::Policy;
use crate::gate::policy::limit::Limit;
use crate::gate::policy::pattern::Pattern;
use crate::gate::program;
use memprof_harness::settle::{Bounds, METRICS, Rules};

/// Nothing but the number of metrics ties the two orders together.
const _: () = assert!(Metric::ALL.len() == METRICS && Metric::PeakSpace as usize == memprof_harness::settle::PEAK);

/// The rules for a run that is held against `baseline`. `None` where it cannot be, as the conditions `now` are others: then no run of a test
/// is worth another.
pub fn rules(baseline: &Baseline, now: &Conditions, policy: &Policy) -> Option<Rules> {
    // Whether an executable is recorded by its list, and what its environment is, shows when it runs.
    let at_first = |conditions: &Conditions| Conditions {
        counting: conditions.counting % LISTED,
        backtrace: String::new(),
        ..conditions.clone()
    };
    let differ = !at_first(&baseline.conditions).differences(&at_first(now)).is_empty();
    if differ && policy.conditions == Severity::Fail {
        return None;
    }
    let mut rules = to_know(policy);
    for (id, seen) in baseline.tests.iter().filter(|(id, _)| policy.exclusion(id).is_none()) {
        let mut bounds = Bounds { threaded_peaks: policy.compares_peak(id, u32::MAX), ..Bounds::default() };
        for metric in Metric::ALL {
            let limit = policy.limit(id, metric);
            bounds.most[metric as usize] = limit.most(Some(seen.most(metric)));
            bounds.least[metric as usize] = better_below(&limit, seen, metric);
        }
        if let Some((test, program)) = program::of_line(id) {
            bounds.always_started = seen.least.alloc_objects > 0;
            let test_name = doctest::item(&test).map_or(test.name, |item| item.name);
            let target = if id.kind == doctest_name::KIND { doctest_name::KIND } else { &id.target };
            let test = [&*id.package, target, &*program::original(&test_name)];
            rules.add_program(test, &program::original(&program), bounds);
            continue;
        }
        match doctest::item(id) {
            // A runner knows a doctest by its line, and which of its item's it is, only who has seen them all.
            Some(item) => rules.add(&id.package, doctest_name::KIND, &item.name, bounds),
            None => rules.add(&id.package, &id.target, &program::original(&id.name), bounds),
        }
    }
    Some(rules)
}

/// The rules for a run whose metrics are to be the baseline.
pub fn to_know(policy: &Policy) -> Rules {
    let mut rules = Rules::default();
    let text = |pattern: &Option<Pattern>| pattern.as_ref().map_or("*", Pattern::as_str).to_owned();
    for rule in &policy.exclude {
        // Who starts a test does not know its target's kind.
        let target = text(&rule.target);
        let name = target.split_once('/').map_or("*", |(_, name)| name);
        rules.exclude(&text(&rule.package), name, &text(&rule.test));
    }
    rules
}

/// The least with which a test is not better: the old metric would not be over the limit that it had with this one.
fn better_below(limit: &Limit, before: &Seen, metric: Metric) -> Option<i64> {
    let before = before.least(metric);
    let is_better = |now: i64| limit.most(Some(now)).is_some_and(|most| before > most);
    // The larger the metric the larger what its limit allows.
    let (mut better, mut not) = (before.saturating_sub(1 << 62), before);
    if !is_better(better) {
        return None;
    }
    while not - better > 1 {
        let middle = better + (not - better) / 2;
        if is_better(middle) { better = middle } else { not = middle }
    }
    Some(not)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::metrics::Metrics;
    use memprof_harness::settle::Rule;
    use memprof_profile::record::TestId;

    #[test]
    fn the_bounds_are_where_the_gate_would_say_something() {
        let seen = |alloc_space| Seen::once(Metrics { alloc_space, ..Metrics::default() });
        for (limit, before) in
            [("+0", 100), ("+5%", 1000), ("+5% or 256", 1000), ("+5% or 256", 9999), ("+7, 900", 800)]
        {
            let limit: Limit = limit.parse().unwrap();
            let bound = better_below(&limit, &seen(before), Metric::AllocSpace).unwrap();
            let over = |now: i64| i64::try_from(before).unwrap() > limit.most(Some(now)).unwrap();
            assert!(over(bound - 1) && !over(bound), "{limit} {before}: {bound}");
        }
        for limit in ["any", "1000"] {
            assert_eq!(better_below(&limit.parse().unwrap(), &seen(800), Metric::AllocSpace), None, "{limit}");
        }
    }

    #[test]
    fn every_line_has_its_bounds_and_what_is_excluded_has_none() {
        let id = |kind: &str, name: &str| TestId {
            package: "p".into(),
            target: "a-b".into(),
            kind: kind.into(),
            name: name.into(),
        };
        let seen = Seen::once(Metrics { alloc_objects: 3, ..Metrics::default() });
        let tests = [id("lib", "t"), id("test", "slow"), id("doc", "src/lib.rs - f #2")].map(|id| (id, seen));
        let baseline = Baseline { tests: tests.into(), ..Baseline::default() };
        let policy: Policy = toml::from_str(
            "limits.alloc_objects = '+1'\nexclude = [{ target = 'test/*', test = 'slow', reason = 'x' }]",
        )
        .unwrap();
        let rules = super::rules(&baseline, &Conditions::default(), &policy).unwrap();
        let Rule::Outside { own: bounds, .. } = rules.of("p", "a_b", "t") else { panic!("{rules:?}") };
        assert_eq!((bounds.most[0], bounds.least[0]), (Some(4), Some(2)));
        assert!(matches!(rules.of("p", "doc", "src/lib.rs - f"), Rule::Outside { .. }));
        assert_eq!(rules.of("p", "a_b", "slow"), Rule::Never);
        assert!(matches!(rules.of("p", "a_b", "new"), Rule::Settle(_)));
        let other = Conditions { rustc: "2".into(), ..Conditions::default() };
        assert_eq!(super::rules(&baseline, &other, &policy), None);
    }
}
