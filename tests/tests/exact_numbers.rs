//! The metrics of every test are exact: known by construction, equal to dhat-rs's, the same in every run and at every
//! rate.

use memprof_tests::fixture::Fixture;
use memprof_tests::summary::{Metrics, Summary};
use memprof_tests::tool;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::OnceLock;

/// `alloc_objects`, `alloc_space`, `reallocs`, `peak_space`, `inuse_objects`, `inuse_space`, as the fixture's own
/// comments say.
const KNOWN: &[(&str, [u64; 6])] = &[
    ("nothing", [0, 0, 0, 0, 0, 0]),
    ("one_box", [1, 8, 0, 8, 0, 0]),
    ("hundred_boxes", [100, 3200, 0, 32, 0, 0]),
    ("growing_vec", [6, 1008, 5, 512, 0, 0]),
    ("growing_string", [2, 30, 1, 20, 0, 0]),
    ("shrinking_vec", [2, 1010, 1, 1000, 0, 0]),
    ("three_deep", [3, 600, 0, 600, 0, 0]),
    ("inlined", [1, 77, 0, 77, 0, 0]),
    ("leaks", [3, 120, 0, 120, 3, 120]),
    ("three_peaks", [4, 6000, 0, 3000, 0, 0]),
    ("zeroed", [1, 4096, 0, 4096, 0, 0]),
    ("over_aligned", [2, 8448, 0, 8448, 0, 0]),
    ("zero_sized", [0, 0, 0, 0, 0, 0]),
    ("printing", [0, 0, 0, 0, 0, 0]),
    ("megabytes", [64, 64 << 20, 0, 1 << 20, 0, 0]),
    ("by_hand", [1, 123, 0, 123, 0, 0]),
];

/// Their peak depends on how the threads are scheduled.
const THREADED: [&str; 2] = ["threads", "freed_elsewhere"];

/// The fixture, recorded once with every allocation.
fn recorded() -> &'static Summary {
    static RECORDED: OnceLock<Summary> = OnceLock::new();
    RECORDED.get_or_init(|| {
        let fixture = Fixture::copy("known");
        fixture.memprof("test --memprofilerate 1").succeed();
        fixture.summary()
    })
}

fn metrics(summary: &Summary) -> BTreeMap<String, Metrics> {
    let tests = summary.tests();
    tests.iter().map(|test| (format!("{} {}", test.text("kind"), test.name()), test.metrics())).collect()
}

#[test]
fn every_test_has_the_metrics_it_must_have() {
    for (name, expected) in KNOWN {
        let test = recorded().test(&format!("tests::{name}"));
        let found = test.metrics();
        let inuse = [found.inuse_objects, found.inuse_space].map(|metric| u64::try_from(metric).expect("not negative"));
        let found = [found.alloc_objects, found.alloc_space, found.reallocs, found.peak_space, inuse[0], inuse[1]];
        assert_eq!(found, *expected, "{name}");
        assert_eq!(test.outcome(), "ok");
        assert_eq!((test.text("package"), test.text("target"), test.text("kind")), ("known", "known", "lib"));
    }
    let outside = recorded().test("a_box_of_its_own");
    assert_eq!((outside.text("target"), outside.text("kind")), ("outside", "test"));
    assert_eq!((outside.metrics().alloc_objects, outside.metrics().alloc_space), (1, 16));
    assert_eq!(recorded().test("a_box_through_the_library").metrics().alloc_space, 8);
}

#[test]
fn size_classes_hold_what_was_allocated() {
    let classes = |name: &str| -> Vec<[u64; 3]> {
        let test = recorded().test(&format!("tests::{name}"));
        let classes = test.json["size_classes"].as_array().expect("a list").iter();
        classes.map(|class| ["from", "to", "alloc_objects"].map(|field| class[field].as_u64().unwrap_or(0))).collect()
    };
    assert!(classes("nothing").is_empty());
    assert_eq!(classes("one_box"), [[8, 15, 1]]);
    assert_eq!(classes("three_deep"), [[64, 127, 1], [128, 255, 1], [256, 511, 1]]);
    assert_eq!(classes("zeroed"), [[4096, 8191, 1]]);
}

#[test]
fn the_totals_are_those_of_all_tests() {
    let run = &recorded().json["run"];
    for (field, value) in [
        ("alloc_objects", (|metrics| metrics.alloc_objects as i64) as fn(&Metrics) -> i64),
        ("alloc_space", |metrics| metrics.alloc_space as i64),
        ("reallocs", |metrics| metrics.reallocs as i64),
        ("inuse_objects", |metrics| metrics.inuse_objects),
        ("inuse_space", |metrics| metrics.inuse_space),
    ] {
        let sum: i64 = metrics(recorded()).values().map(value).sum();
        assert_eq!(run[field].as_i64(), Some(sum), "{field}");
    }
}

#[test]
fn dhat_counts_the_same_on_the_same_functions() {
    for (name, _) in known::ALL {
        let mut oracle = Command::new(env!("CARGO_BIN_EXE_dhat-oracle"));
        let output = oracle.arg(name).output().expect("the oracle starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = text.lines().last().expect("the oracle answers");
        let counted: Vec<u64> = last.split(' ').map(|number| number.parse().expect("a number")).collect();
        let found = recorded().test(&format!("tests::{name}")).metrics();
        assert_eq!(counted[..2], [found.alloc_objects, found.alloc_space], "{name}: blocks and bytes");
        assert_eq!(counted[3..], [found.inuse_objects as u64, found.inuse_space as u64], "{name}: at the end");
        if !THREADED.contains(name) {
            assert_eq!(counted[2], found.peak_space, "{name}: at the peak");
        }
    }
}

#[test]
fn two_runs_have_the_same_metrics() {
    let fixture = Fixture::copy("known");
    let runs = ["", "-- --test-threads=1"].map(|more| {
        fixture.memprof("test --memprofilerate 1").args(more.split_whitespace()).succeed();
        let mut json = fixture.summary().without_times();
        json["run"]["command"] = "".into();
        for test in json["tests"].as_array_mut().expect("a list") {
            let name = test["name"].as_str().unwrap_or_default().to_owned();
            // What the engine took for itself is no metric of the test's.
            test["losses"]["own_memory"] = serde_json::Value::Null;
            if THREADED.iter().any(|threaded| name.ends_with(threaded)) {
                for field in ["peak_space", "peak_error", "losses", "stacks", "files"] {
                    test[field] = serde_json::Value::Null;
                }
            }
        }
        json
    });
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn the_rate_changes_no_metric() {
    let fixture = Fixture::copy("known");
    let expected = without_threaded_peaks(recorded());
    for rate in [0, 1, 4096, 524_288] {
        fixture.memprof("test").arg(format!("--memprofilerate={rate}")).succeed();
        assert_eq!(without_threaded_peaks(&fixture.summary()), expected, "at rate {rate}");
        assert_eq!(fixture.summary().json["run"]["rate"], rate);
    }
}

fn without_threaded_peaks(summary: &Summary) -> BTreeMap<String, Metrics> {
    let mut metrics = metrics(summary);
    for (name, metrics) in &mut metrics {
        if THREADED.iter().any(|threaded| name.ends_with(threaded)) {
            metrics.peak_space = 0;
        }
    }
    metrics
}

#[test]
fn a_test_alone_and_among_others_is_the_same_test() {
    let fixture = Fixture::copy("known");
    fixture.memprof("test --lib --memprofilerate 1 -- --exact tests::collections").succeed();
    let summary = fixture.summary();
    let [alone] = summary.tests()[..] else { panic!("{:#}", summary.json) };
    assert_eq!(alone.metrics(), recorded().test("tests::collections").metrics());
}

#[test]
fn release_builds_have_their_own_truth() {
    let fixture = Fixture::copy("known");
    fixture.memprof("test --release --lib --memprofilerate 1").succeed();
    for (name, expected) in KNOWN {
        let found = fixture.summary().test(&format!("tests::{name}")).metrics();
        assert_eq!([found.alloc_objects, found.alloc_space, found.peak_space], [expected[0], expected[1], expected[3]]);
    }
    assert_eq!(fixture.summary().json["run"]["profile"], "release");
}

#[test]
fn nightly_counts_the_same() {
    if !tool::has("cargo", &["+nightly", "--version"], "the metrics on nightly") {
        return;
    }
    let fixture = Fixture::copy("known");
    fixture.cargo("+nightly memprof test --lib --memprofilerate 1").succeed();
    for (name, expected) in KNOWN {
        let found = fixture.summary().test(&format!("tests::{name}")).metrics();
        assert_eq!([found.alloc_objects, found.alloc_space, found.peak_space], [expected[0], expected[1], expected[3]]);
    }
    let rustc = fixture.summary().json["run"]["rustc"].to_string();
    assert!(rustc.contains("nightly"), "{rustc}");
}
