//! The comparison: a baseline, a run and a policy give an outcome. Pure.

mod absent;
pub mod again;
pub mod doctest;
pub mod doctest_lines;
pub mod loaded_run;
pub mod loaded_test;
pub mod one_test;
pub mod profile_files;
pub mod programs;
pub mod self_test;
pub mod units;

use crate::gate::committed::{Baseline, TargetId};
use crate::gate::compare::absent::Absent;
use crate::gate::compare::loaded_run::LoadedRun;
use crate::gate::compare::loaded_test::{LoadedTest, NotRun};
use crate::gate::compare::one_test::{judge, only_found, seen};
use crate::gate::metrics::{Metric, Seen};
use crate::gate::outcome::{Doubt, Finding, Judged, OtherUnit, Outcome, Severity};
use crate::gate::policy::Policy;
use memprof_profile::record::TestId;
use std::collections::BTreeMap;

/// Holds `run` against `baseline`.
pub fn compare(baseline: &Baseline, run: &LoadedRun, policy: &Policy) -> Outcome {
    let aligned = doctest_lines::aligned(baseline, run);
    let baseline = aligned.as_ref().unwrap_or(baseline);
    let ran = run.by_test();
    let conditions = conditions(baseline, run, policy);
    let held = !conditions.as_ref().is_some_and(Doubt::is_fatal);
    let otherwise =
        if policy.conditions == Severity::Ignore { BTreeMap::new() } else { units::differences(baseline, run) };
    let held =
        |id: &TestId| held && (policy.conditions != Severity::Fail || !otherwise.contains_key(&TargetId::of(id)));
    let partly = if doctest_lines::all_ran(run) { BTreeMap::new() } else { partly_run_items(baseline, ran.keys()) };
    let judge = |(id, repeats): (&TestId, &Vec<&LoadedTest>)| match partly_run(id, &partly) {
        Some(why) => only_found(id, repeats, baseline.tests.get(id), (policy.not_run, Finding::NotRun { why })),
        None => judge(id, repeats, baseline.tests.get(id), held(id), policy),
    };
    let mut tests: Vec<Judged> = ran.iter().map(judge).collect();
    let absent = Absent::new(run, policy);
    let missing = baseline.tests.iter().filter(|(id, _)| !ran.contains_key(*id));
    tests.extend(missing.map(|(id, before)| absent.judge(id, *before)));
    tests.sort_by(|a, b| a.id.cmp(&b.id));
    let mut outcome = Outcome { tests, doubts: Vec::new(), of_benchmarks: run.run.is_of_benchmarks() };
    let is_known = conditions.as_ref().is_some_and(Doubt::is_fatal) || !otherwise.is_empty();
    outcome.doubts = doubts(run, conditions, !is_known && outcome.compared().is_nothing(), policy);
    let targets: Vec<OtherUnit> =
        otherwise.into_iter().map(|(target, differences)| OtherUnit::new(&target, differences)).collect();
    if !targets.is_empty() {
        outcome.doubts.push(Doubt::Units { severity: policy.conditions, targets });
    }
    outcome
}

/// Of items with several doctests, those of which fewer ran than have lines, with both numbers. Doctests are told apart by their
/// order, so it cannot be known which of them are left.
fn partly_run_items<'a>(
    baseline: &Baseline,
    ran: impl Iterator<Item = &'a TestId>,
) -> BTreeMap<TestId, (usize, usize)> {
    let mut items: BTreeMap<TestId, (usize, usize)> = BTreeMap::new();
    ran.filter_map(doctest::item).for_each(|item| items.entry(item).or_default().0 += 1);
    baseline.tests.keys().filter_map(doctest::item).for_each(|item| items.entry(item).or_default().1 += 1);
    items.retain(|_, (ran, lines)| *ran > 0 && ran < lines);
    items
}

fn partly_run(id: &TestId, partly: &BTreeMap<TestId, (usize, usize)>) -> Option<String> {
    let (ran, lines) = partly.get(&doctest::item(id)?)?;
    Some(format!("only {ran} of {lines} doctests of its item ran, and it cannot be told which"))
}

fn conditions(baseline: &Baseline, run: &LoadedRun, policy: &Policy) -> Option<Doubt> {
    let differences = baseline.conditions.differences(&run.run.conditions);
    let matter = !differences.is_empty() && policy.conditions != Severity::Ignore;
    matter.then_some(Doubt::Conditions { severity: policy.conditions, differences })
}

fn doubts(run: &LoadedRun, conditions: Option<Doubt>, nothing_compared: bool, policy: &Policy) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    if run.run.cargo_exit != 0 {
        doubts.push(Doubt::TestsFailed { cargo_exit: run.run.cargo_exit });
    }
    if run.run.interrupted {
        doubts.push(Doubt::Interrupted);
    }
    doubts.extend(conditions);
    if run.run.unreadable_ledgers > 0 {
        doubts.push(Doubt::UnreadableLedgers { ledgers: run.run.unreadable_ledgers });
    }
    let lost = run.unprofiled.iter().filter(|target| target.not_recorded && policy.unprofiled != Severity::Ignore);
    let targets: Vec<String> = lost.map(|lost| format!("{} ({}): {}", lost.target, lost.kind, lost.reason)).collect();
    if !targets.is_empty() {
        doubts.push(Doubt::NotRecorded { severity: policy.unprofiled, targets });
    }
    let removed = run.not_run.iter().filter(|test| test.lost && policy.unprofiled != Severity::Ignore);
    let tests: Vec<TestId> = removed.map(NotRun::id).collect();
    if !tests.is_empty() {
        doubts.push(Doubt::Removed { severity: policy.unprofiled, tests });
    }
    if nothing_compared {
        doubts.push(Doubt::NothingCompared);
    }
    doubts
}

/// Tests of the baseline that `run` shows to be no more: their targets ran and do not list them; and programs that their tests no longer start.
pub fn gone(baseline: &Baseline, run: &LoadedRun) -> Vec<TestId> {
    let policy = Policy::default();
    let absent = Absent::new(run, &policy);
    let ran = run.by_test();
    let missing = baseline.tests.iter().filter(|(id, _)| !ran.contains_key(*id));
    let is_gone = |id: &TestId, before: &Seen| {
        let (severity, finding) = absent.reason(id, before);
        let is_gone = matches!(finding, Finding::Gone | Finding::NotStarted) || absent.is_replaced(id);
        severity != Severity::Ignore && is_gone
    };
    missing.filter(|(id, before)| is_gone(id, before)).map(|(id, _)| id.clone()).collect()
}

/// Those of `tests` whose repeats in `run` differ.
pub fn unstable_tests(run: &LoadedRun, tests: &[TestId]) -> Vec<TestId> {
    let by_test = run.by_test();
    let compared = Metric::ALL.into_iter().filter(|metric| *metric != Metric::PeakSpace);
    let differ = |id: &&TestId| {
        let seen = by_test.get(id).and_then(|repeats| seen(repeats));
        seen.is_some_and(|seen| seen.killed > 0 || compared.clone().any(|metric| seen.varies(metric)))
    };
    tests.iter().filter(differ).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::conditions::Conditions;
    use crate::gate::compare::loaded_test::PARTIAL;
    use crate::gate::metrics::Metrics;
    use crate::gate::outcome::{Better, Verdict};
    use crate::protocol::WHOLE;
    use crate::ui::exit_code::ExitCode;

    fn id(name: &str) -> TestId {
        TestId { package: "p".into(), target: "p".into(), kind: "lib".into(), name: name.into() }
    }

    fn metrics(objects: u64) -> Metrics {
        Metrics { alloc_objects: objects, alloc_space: 10_000, peak_space: 5_000, ..Metrics::default() }
    }

    fn conditions() -> Conditions {
        Conditions { rustc: "1.95.0".into(), ..Conditions::default() }
    }

    fn baseline(tests: &[(&str, Metrics)]) -> Baseline {
        let tests = tests.iter().map(|(name, metrics)| (id(name), Seen::once(*metrics))).collect();
        Baseline { conditions: conditions(), tests, ..Baseline::default() }
    }

    fn test(name: &str, metrics: Metrics) -> LoadedTest {
        let json = serde_json::json!({
            "package": "p", "target": "p", "kind": "lib", "name": name, "outcome": "ok", "cut_short": false,
            "source_file": "src/lib.rs", "start_line": 3, "threads": 1,
            "alloc_objects": 0, "alloc_space": 0, "peak_space": 0, "inuse_space": 0
        });
        let test: LoadedTest = serde_json::from_value(json).unwrap();
        LoadedTest { metrics, ..test }
    }

    fn run(tests: Vec<LoadedTest>) -> LoadedRun {
        let mut run = LoadedRun { tests, ..LoadedRun::default() };
        run.run.conditions = conditions();
        run
    }

    fn findings(outcome: &Outcome, name: &str) -> Vec<(Severity, Finding)> {
        outcome.tests.iter().find(|test| test.id.name == name).unwrap().findings.clone()
    }

    #[test]
    fn one_more_allocation_is_over_budget() {
        let baseline = baseline(&[("a", metrics(3)), ("b", metrics(3))]);
        let now = run(vec![test("a", metrics(4)), test("b", metrics(3))]);
        let outcome = compare(&baseline, &now, &Policy::default());
        assert_eq!(outcome.verdict(), Verdict::OverBudget);
        let (metric, three) = (Metric::AllocObjects, Some(3));
        let over = Finding::Over { metric, before: three, before_least: three, now: 4, most: 3, limit: "+0".into() };
        assert_eq!(findings(&outcome, "a"), [(Severity::Fail, over)]);
        assert_eq!(findings(&outcome, "b"), []);
        assert_eq!(outcome.compared().tests, 2);
    }

    #[test]
    fn an_improvement_passes_unless_there_is_a_ratchet() {
        let baseline = baseline(&[("a", metrics(3))]);
        let now = run(vec![test("a", metrics(2))]);
        assert_eq!(compare(&baseline, &now, &Policy::default()).verdict(), Verdict::Passed);
        let policy = Policy { ratchet: true, ..Policy::default() };
        let outcome = compare(&baseline, &now, &policy);
        assert_eq!(outcome.verdict(), Verdict::OverBudget);
        assert!(matches!(findings(&outcome, "a")[..], [(Severity::Fail, Finding::Improved { before: 3, now: 2, .. })]));
    }

    #[test]
    fn nothing_passes_vacuously() {
        let of = |baseline: &Baseline, run: &LoadedRun| compare(baseline, run, &Policy::default()).verdict();
        let one = baseline(&[("a", metrics(3))]);
        let two = baseline(&[("a", metrics(3)), ("b", metrics(3))]);
        let ran = run(vec![test("a", metrics(3))]);
        assert_eq!(of(&one, &ran), Verdict::Passed);
        // A test is gone, nothing ran, nothing is in the baseline.
        assert_eq!(of(&two, &ran), Verdict::CannotCompare);
        assert_eq!(of(&one, &run(vec![])), Verdict::CannotCompare);
        assert_eq!(of(&baseline(&[]), &ran), Verdict::CannotCompare);
        // Everything excluded.
        let policy: Policy = toml::from_str("exclude = [{ test = '*', reason = 'x' }]").unwrap();
        assert_eq!(compare(&one, &ran, &policy).verdict(), Verdict::CannotCompare);
        // Lost ledgers.
        let mut other = ran.clone();
        other.run.unreadable_ledgers = 1;
        assert_eq!(of(&one, &other), Verdict::CannotCompare);
    }

    #[test]
    fn what_means_nothing_has_one_verdict_whatever_the_metrics_are() {
        let one = baseline(&[("a", metrics(3))]);
        for objects in [2, 3, 4] {
            let ran = run(vec![test("a", metrics(objects))]);
            let mut other = ran.clone();
            other.run.interrupted = true;
            assert_eq!(compare(&one, &other, &Policy::default()).verdict(), Verdict::CannotCompare);
            let mut other = ran.clone();
            other.run.conditions.rustc = "1.96.0".into();
            let outcome = compare(&one, &other, &Policy { ratchet: true, ..Policy::default() });
            assert_eq!((outcome.verdict(), outcome.compared().tests), (Verdict::CannotCompare, 0));
            assert_eq!(findings(&outcome, "a"), [(Severity::Warn, Finding::OtherConditions)]);
            assert!(matches!(&outcome.doubts[..], [Doubt::Conditions { .. }]), "{:?}", outcome.doubts);
            // Compared all the same, because the user said so.
            let outcome = compare(&one, &other, &Policy { conditions: Severity::Warn, ..Policy::default() });
            assert_eq!(outcome.verdict() == Verdict::OverBudget, objects == 4);
        }
        // A ceiling asks for no baseline, so it is said; the verdict stays.
        let mut other = run(vec![test("a", metrics(9))]);
        other.run.conditions.rustc = "1.96.0".into();
        let policy: Policy = toml::from_str("limits.alloc_objects = '+0, 8'").unwrap();
        let outcome = compare(&one, &other, &policy);
        assert_eq!(outcome.verdict(), Verdict::CannotCompare);
        assert!(outcome.tests[0].failures().any(Finding::is_budget), "{outcome:?}");
        // A lost ledger of another test takes nothing from what was measured.
        let mut lost = run(vec![test("a", metrics(4))]);
        lost.run.unreadable_ledgers = 1;
        assert_eq!(compare(&one, &lost, &Policy::default()).verdict(), Verdict::OverBudget);
    }

    #[test]
    fn a_missing_test_is_told_from_a_filtered_one_and_an_unmeasured_one() {
        let baseline = baseline(&[("a", metrics(3)), ("b", metrics(3)), ("c", metrics(3))]);
        let mut now = run(vec![test("a", metrics(3))]);
        let not_run = |name: &str, ignored| NotRunOf { name, ignored }.build();
        now.not_run = vec![not_run("b", false)];
        let outcome = compare(&baseline, &now, &Policy::default());
        let filtered = Finding::NotRun { why: "it was filtered out".into() };
        assert_eq!(findings(&outcome, "b"), [(Severity::Fail, filtered)]);
        assert_eq!(findings(&outcome, "c"), [(Severity::Fail, Finding::Gone)]);
        now.not_run = vec![not_run("b", true)];
        let outcome = compare(&baseline, &now, &Policy { not_run: Severity::Ignore, ..Policy::default() });
        assert_eq!(findings(&outcome, "b"), []);
        now.tests.clear();
        now.not_run.clear();
        let outcome = compare(&baseline, &now, &Policy::default());
        assert!(matches!(&findings(&outcome, "a")[..], [(_, Finding::NotRun { why })] if why.contains("did not run")));
        let target = serde_json::json!({ "package": "p", "target": "p", "kind": "lib", "reason": "because" });
        now.unprofiled = vec![serde_json::from_value(target).unwrap()];
        let outcome = compare(&baseline, &now, &Policy::default());
        assert_eq!(findings(&outcome, "a"), [(Severity::Fail, Finding::Unprofiled { reason: "because".into() })]);
    }

    #[test]
    fn doctests_of_one_item_are_not_compared_when_some_are_missing() {
        let doctest = |name: &str| TestId { kind: "doc".into(), ..id(name) };
        let tests =
            [("f", 3), ("f #2", 5), ("g", 7)].map(|(name, objects)| (doctest(name), Seen::once(metrics(objects))));
        let baseline = Baseline { conditions: conditions(), tests: tests.into(), ..Baseline::default() };
        let ran = |name: &str, objects| LoadedTest { kind: "doc".into(), ..test(name, metrics(objects)) };
        let mut partly = run(vec![ran("f", 5), ran("g", 7)]);
        partly.run.filtered = true;
        let outcome = compare(&baseline, &partly, &Policy::default());
        let why = "only 1 of 2 doctests of its item ran, and it cannot be told which".to_owned();
        assert_eq!(findings(&outcome, "f"), [(Severity::Fail, Finding::NotRun { why })]);
        assert_eq!((outcome.verdict(), outcome.compared().tests), (Verdict::CannotCompare, 1));
        // Where nothing was left out, the one that is left is the one that it is like.
        partly.run.filtered = false;
        let outcome = compare(&baseline, &partly, &Policy::default());
        assert_eq!(
            (findings(&outcome, "f"), findings(&outcome, "f #2")),
            (vec![], vec![(Severity::Fail, Finding::Gone)])
        );
        let mut filtered = run(vec![ran("g", 7)]);
        assert_eq!(gone(&baseline, &filtered).len(), 2);
        filtered.run.filtered = true;
        assert_eq!(gone(&baseline, &filtered), []);
        let outcome = compare(&baseline, &run(vec![ran("f", 3), ran("f #2", 5), ran("g", 7)]), &Policy::default());
        assert_eq!((outcome.verdict(), outcome.compared().tests), (Verdict::Passed, 3));
    }

    struct NotRunOf<'a> {
        name: &'a str,
        ignored: bool,
    }

    impl NotRunOf<'_> {
        fn build(&self) -> crate::gate::compare::loaded_test::NotRun {
            let json = serde_json::json!({
                "package": "p", "target": "p", "kind": "lib", "name": self.name, "ignored": self.ignored
            });
            serde_json::from_value(json).unwrap()
        }
    }

    #[test]
    fn a_new_test_warns_and_its_ceiling_counts() {
        let baseline = baseline(&[("a", metrics(3))]);
        let now = run(vec![test("a", metrics(3)), test("n", metrics(9))]);
        let outcome = compare(&baseline, &now, &Policy::default());
        assert_eq!(findings(&outcome, "n"), [(Severity::Warn, Finding::New)]);
        assert_eq!(outcome.verdict(), Verdict::Passed);
        let policy: Policy = toml::from_str("limits.alloc_objects = '+0, 8'").unwrap();
        assert_eq!(compare(&baseline, &now, &policy).verdict(), Verdict::OverBudget);
    }

    #[test]
    fn a_peak_within_its_bound_is_not_over() {
        let with_peak = |peak_space, peak_error| Metrics { peak_space, peak_error, ..metrics(3) };
        let policy: Policy = toml::from_str("limits.peak_space = '+0'\nthreaded-peaks = true").unwrap();
        let threaded = |metrics| LoadedTest { threads: 2, ..test("a", metrics) };
        let of = |before, now, policy: &Policy| {
            compare(&baseline(&[("a", before)]), &run(vec![threaded(now)]), policy).verdict()
        };
        assert_eq!(of(with_peak(10_000, 4096), with_peak(18_000, 4096), &policy), Verdict::Passed);
        assert_eq!(of(with_peak(10_000, 4096), with_peak(18_193, 4096), &policy), Verdict::OverBudget);
        assert_eq!(of(with_peak(10_000, 0), with_peak(90_000, 4096), &Policy::default()), Verdict::Passed);
    }

    #[test]
    fn what_was_seen_once_may_be_seen_again() {
        let varying = Seen { least: metrics(6), most: metrics(8), runs: 3, killed: 0, text: None };
        let baseline = Baseline { conditions: conditions(), tests: [(id("a"), varying)].into(), ..Baseline::default() };
        let of = |objects: &[u64]| {
            let ran = run(objects.iter().map(|&objects| test("a", metrics(objects))).collect());
            compare(&baseline, &ran, &Policy { ratchet: true, ..Policy::default() })
        };
        for passing in [&[6][..], &[8], &[7], &[9, 8], &[5, 6]] {
            let outcome = of(passing);
            assert_eq!((outcome.verdict(), &outcome.tests[0].better[..]), (Verdict::Passed, &[][..]), "{passing:?}");
        }
        let outcome = of(&[9, 10]);
        assert!(
            matches!(
                findings(&outcome, "a")[1],
                (Severity::Fail, Finding::Over { before: Some(8), before_least: Some(6), now: 9, .. })
            ),
            "{outcome:?}"
        );
        let outcome = of(&[5, 4]);
        let better = Better { metric: Metric::AllocObjects, before: 6, now: 5 };
        assert_eq!((outcome.verdict(), &outcome.tests[0].better[..]), (Verdict::OverBudget, &[better][..]));
    }

    #[test]
    fn a_ratchet_lets_the_noise_be_that_the_limit_allows() {
        let baseline = baseline(&[("a", metrics(3))]);
        let of = |alloc_space: u64, limit: &str| {
            let policy: Policy = toml::from_str(&format!("ratchet = true\nlimits.alloc_space = '{limit}'")).unwrap();
            let ran = run(vec![test("a", Metrics { alloc_space, ..metrics(3) })]);
            compare(&baseline, &ran, &policy).verdict()
        };
        assert_eq!((of(9_600, "+5%"), of(9_500, "+5%")), (Verdict::Passed, Verdict::OverBudget));
        assert_eq!((of(9_999, "+0"), of(10_000, "+0")), (Verdict::OverBudget, Verdict::Passed));
        // Where anything goes, nothing is lost again.
        assert_eq!((of(1, "any"), of(1, "20000")), (Verdict::Passed, Verdict::Passed));
    }

    #[test]
    fn of_repeats_the_least_counts_and_the_spread_is_named() {
        let baseline = baseline(&[("a", metrics(3))]);
        let now = run(vec![test("a", metrics(5)), test("a", metrics(3)), test("a", metrics(4))]);
        let outcome = compare(&baseline, &now, &Policy::default());
        assert_eq!(outcome.verdict(), Verdict::Passed);
        let unstable =
            Finding::Unstable { metric: Metric::AllocObjects, least: 3, most: 5, repeats: 3, room: Some("+4".into()) };
        assert_eq!(findings(&outcome, "a"), [(Severity::Warn, unstable)]);
    }

    #[test]
    fn what_varies_and_ran_once_may_need_more_than_was_seen_by_as_much_as_that_differs_by() {
        let mut baseline = baseline(&[("a", metrics(6)), ("steady", metrics(6))]);
        baseline.tests.values_mut().next().expect("`a` is the first").most = metrics(8);
        let of = |runs: Vec<LoadedTest>| compare(&baseline, &run(runs), &Policy::default()).verdict();
        let with = |a: u64| [test("a", metrics(a)), test("steady", metrics(6))];
        assert_eq!(of(with(10).to_vec()), Verdict::Passed);
        assert_eq!(of(with(11).to_vec()), Verdict::OverBudget);
        // Of several runs the least counts, and it was seen what the test needs.
        assert_eq!(of([with(10).to_vec(), vec![test("a", metrics(9))]].concat()), Verdict::OverBudget);
        assert_eq!(of(vec![test("a", metrics(7)), test("steady", metrics(7))]), Verdict::OverBudget);
    }

    #[test]
    fn a_partially_recorded_test_is_not_compared() {
        let baseline = baseline(&[("a", metrics(3)), ("b", metrics(3))]);
        let part = LoadedTest { seen: PARTIAL.into(), ..test("a", metrics(99)) };
        let new = LoadedTest { name: "n".into(), ..part.clone() };
        let outcome = compare(&baseline, &run(vec![part, test("b", metrics(3)), new]), &Policy::default());
        assert_eq!((outcome.verdict(), outcome.compared().tests), (Verdict::CannotCompare, 1));
        assert!(matches!(findings(&outcome, "a").as_slice(), [(Severity::Fail, Finding::Unprofiled { .. })]));
        assert!(matches!(findings(&outcome, "n").as_slice(), [(Severity::Warn, Finding::Excluded { .. })]));
    }

    #[test]
    fn a_program_that_is_recorded_otherwise_has_lost_no_tests_and_its_lines_are_replaced() {
        let finding = |before: &str, now: &str| {
            let outcome =
                compare(&baseline(&[(before, metrics(3))]), &run(vec![test(now, metrics(3))]), &Policy::default());
            let mut ran = run(vec![test(now, metrics(3))]);
            assert_eq!(super::gone(&baseline(&[(before, metrics(3))]), &ran).len(), 1);
            ran.run.filtered = true;
            assert_eq!(super::gone(&baseline(&[(before, metrics(3))]), &ran).len(), 0);
            findings(&outcome, before)
        };
        let not_run = |why: &str| [(Severity::Fail, Finding::NotRun { why: why.into() })];
        assert_eq!(
            finding("a", WHOLE),
            not_run("its program was recorded as one; `cargo memprof accept` takes its lines so")
        );
        let one_by_one = "its program's tests were recorded one by one; `cargo memprof accept` takes its lines so";
        assert_eq!(finding(WHOLE, "a"), not_run(one_by_one));
    }

    #[test]
    fn a_test_of_several_threads_that_ran_once_may_vary() {
        let baseline = baseline(&[("a", metrics(3))]);
        let may_vary = |objects, threads, repeats| {
            let ran = vec![LoadedTest { threads, ..test("a", metrics(objects)) }; repeats];
            compare(&baseline, &run(ran), &Policy::default()).tests[0].may_vary()
        };
        assert!(may_vary(4, 2, 1));
        assert!(!may_vary(4, 1, 1) && !may_vary(4, 2, 3) && !may_vary(3, 2, 1));
    }

    #[test]
    fn no_metric_makes_up_for_a_failure_of_cargo() {
        let baseline = baseline(&[("a", metrics(3)), ("b", metrics(3))]);
        for objects in [3, 99] {
            let mut failed = run(vec![test("a", metrics(objects)), test("b", metrics(3))]);
            failed.run.cargo_exit = 101;
            let outcome = compare(&baseline, &failed, &Policy::default());
            assert_eq!(outcome.verdict(), Verdict::TestsFailed);
            assert_eq!(outcome.exit_code(), ExitCode::of_cargo(101));
        }
    }

    #[test]
    fn a_failed_test_is_not_compared_and_one_cut_short_cannot_be() {
        let baseline = baseline(&[("a", metrics(3)), ("b", metrics(3))]);
        let failed = LoadedTest { outcome: "failed".into(), ..test("a", metrics(99)) };
        let outcome = compare(&baseline, &run(vec![failed, test("b", metrics(3))]), &Policy::default());
        assert_eq!(findings(&outcome, "a"), [(Severity::Fail, Finding::TestFailed)]);
        let late = LoadedTest { outcome: "timed_out".into(), ..test("a", metrics(99)) };
        let outcome = compare(&baseline, &run(vec![late, test("b", metrics(3))]), &Policy::default());
        assert_eq!(findings(&outcome, "a"), [(Severity::Fail, Finding::TestTimedOut)]);
        let cut = LoadedTest { cut_short: true, ..test("a", metrics(1)) };
        let outcome = compare(&baseline, &run(vec![cut, test("b", metrics(3))]), &Policy::default());
        assert_eq!(findings(&outcome, "a"), [(Severity::Fail, Finding::CutShort)]);
        assert_eq!(outcome.verdict(), Verdict::CannotCompare);
    }
}
