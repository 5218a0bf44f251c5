//! A crate that depends on `memprof` and asks it what it allocates behaves as one without: there is one engine in
//! the process, and it answers.

use memprof_tests::fixture::Fixture;
use memprof_tests::summary::{Metrics, Summary, Test};
use memprof_tests::workspace;

/// Kind and name of each test and of each program it started, with their metrics.
fn metrics(summary: &Summary) -> Vec<(String, Metrics)> {
    let label = |test: &Test<'_>| format!("{} {}", test.text("kind"), test.name());
    summary.tests().iter().map(|test| (label(test), test.metrics())).collect()
}

#[test]
fn who_asks_is_answered_in_every_kind_of_program_and_allocates_no_more() {
    let fixture = Fixture::copy("asking");
    let harness = workspace::root().join("memprof-harness/live");
    fixture.replace("Cargo.toml", "../../memprof-harness/live", harness.to_str().expect("a path in UTF-8"));
    for native in ["", "--native"] {
        let silent = fixture.memprof(&format!("test --memprofilerate 1 {native}")).succeed();
        let without = fixture.summary();
        // Whoever is not answered panics.
        let asking = fixture.memprof(&format!("test --memprofilerate 1 --features ask {native}")).succeed();
        let with = fixture.summary();
        assert_eq!(silent.verdicts(), asking.verdicts());
        for summary in [&without, &with] {
            assert_eq!(summary.json["unprofiled"], serde_json::json!([]));
            for name in ["tests::in_the_library", "src/lib.rs - (line 3)", "with_an_allocator_of_its_own"] {
                let metrics = summary.test(name).metrics();
                let counts = (metrics.alloc_objects, metrics.alloc_space, metrics.peak_space, metrics.inuse_space);
                assert_eq!(counts, (3, 60, 20, 0), "{name} {native}");
            }
            let children = |name: &str| summary.test(name).json["children"].as_array().map(Vec::len);
            assert_eq!((children("starts_a_program"), children("has_cargo_run_it")), (Some(1), Some(1)));
        }
        let alike = |summary: &Summary| {
            let mut all = metrics(summary);
            // Whose command line and environment are longer by what is asked for.
            all.retain(|(label, _)| !label.contains("has_cargo_run_it") && !label.contains("starts_a_program"));
            all
        };
        assert_eq!(alike(&without), alike(&with), "{native}");
        let started = |summary: &Summary| {
            let child = &summary.test("starts_a_program").json["children"][0];
            ["alloc_objects", "frees", "inuse_objects"].map(|metric| child[metric].as_i64())
        };
        assert_eq!(started(&without), started(&with), "{native}");
    }
}
