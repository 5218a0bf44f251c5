//! Tests that allocate on stacks of their own making are counted as exactly as any, and what they allocate has its callers
//! up to the test.

use memprof_tests::fixture::Fixture;
use memprof_tests::pprof::{Raw, can_read};
use memprof_tests::summary::Summary;

/// `alloc_objects`, `alloc_space`, `peak_space`, as the fixture's own comments say. What std and the libraries allocate to
/// start a thread or to unwind is in the others.
const KNOWN: &[(&str, [u64; 3])] = &[
    ("a_coroutine_takes_turns", [20, 11_045, 1109]),
    ("a_small_coroutine_goes_deep", [300, 4800, 4800]),
    ("a_coroutine_runs_another", [1, 50, 50]),
    ("a_stack_grows", [40, 1280, 1280]),
];

fn metrics_are_known(summary: &Summary) {
    assert_eq!(summary.tests().len(), 7);
    for test in summary.tests() {
        assert_eq!((test.outcome(), test.metrics().inuse_space), ("ok", 0), "{}", test.name());
    }
    for (name, expected) in KNOWN {
        let metrics = summary.test(&format!("tests::{name}")).metrics();
        assert_eq!([metrics.alloc_objects, metrics.alloc_space, metrics.peak_space], *expected, "{name}");
    }
}

#[test]
fn metrics_are_exact_and_stacks_lead_to_the_test() {
    let fixture = Fixture::copy("stacks");
    fixture.memprof("test --memprofilerate 1").succeed();
    let summary = fixture.summary();
    metrics_are_known(&summary);
    if can_read() {
        stacks_are_whole(&summary);
    }
    fixture.memprof("test --memprofilerate 64").succeed();
    metrics_are_known(&fixture.summary());
    fixture.replace("Cargo.toml", "[workspace]", "[profile.release]\ndebug = \"line-tables-only\"\n\n[workspace]");
    fixture.memprof("test --release --memprofilerate 1").succeed();
    let summary = fixture.summary();
    metrics_are_known(&summary);
    if can_read() {
        stacks_are_whole(&summary);
    }
}

fn stacks_are_whole(summary: &Summary) {
    let raw = |name: &str| Raw::read(&summary.test(&format!("tests::{name}")).file("profile"));
    let turns = raw("a_coroutine_takes_turns");
    // Each where it belongs, though both sides come back to the same frames again and again. An optimised loop may have a line for each turn.
    let mut stacks = 0;
    for (function, expected) in [("on_the_coroutine", [10, 1045]), ("beside_the_coroutine", [10, 10_000])] {
        let mut sums = [0, 0];
        for sample in turns.through(function) {
            sums.iter_mut().zip(&sample.values).for_each(|(sum, value)| *sum += value);
            assert!(
                sample.functions.iter().any(|function| function.ends_with("tests::turns")),
                "{:?}",
                sample.functions
            );
            stacks += 1;
        }
        assert_eq!(sums, expected, "{function}");
    }
    assert_eq!(turns.through("stacks::block").len(), stacks);
    let deep = raw("a_small_coroutine_goes_deep");
    let blocks: i64 = deep.through("stacks::block").iter().map(|sample| sample.values[0]).sum();
    assert_eq!(blocks, 300);
    // From one foreign stack to the next, whichever of them lies above the other.
    for name in ["a_coroutine_runs_another", "a_stack_grows"] {
        let summary = summary.test(&format!("tests::{name}"));
        assert_eq!(summary.json["losses"]["unwalkable_stacks"], 0, "{name}");
        let raw = raw(name);
        let whole = |functions: &[String]| functions.iter().any(|function| function.ends_with(name));
        let through = raw.through("stacks::block");
        let cut: Vec<_> = through.iter().filter(|sample| !whole(&sample.functions)).collect();
        assert!(!through.is_empty() && cut.is_empty(), "{name}: {cut:?}");
    }
    let threads = raw("threads_begin_on_a_coroutine");
    let blocks: Vec<i64> = threads.through("stacks::block").iter().map(|sample| sample.values[1]).collect();
    assert_eq!(blocks.iter().sum::<i64>(), 800);
}
