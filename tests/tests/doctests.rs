//! Doctests have profiles of their own, named as rustdoc names them, whether they are compiled one by one or as one.

use memprof_tests::fixture::Fixture;

/// Runs the doctests of one crate of the fixture with and without the profiler; gives the fixture, profiled.
fn profiled(package: &str) -> Fixture {
    let fixture = Fixture::copy("doctests");
    let plain = fixture.cargo("test --doc -p").arg(package).succeed();
    let profiled = fixture.memprof("test --memprofilerate 1 --doc -p").arg(package).succeed();
    assert_eq!(profiled.verdicts(), plain.verdicts());
    fixture
}

/// Name, verdict, blocks, bytes and bytes left at the end of each doctest that has no `main` of its own.
fn metrics(fixture: &Fixture) -> Vec<(String, String, u64, u64, i64)> {
    let summary = fixture.summary();
    assert_eq!(summary.json["unprofiled"].as_array().map(Vec::len), Some(0));
    let tests = summary.tests().into_iter().filter(|test| !test.name().contains("with_a_main"));
    let rows = tests.map(|test| {
        let metrics = test.metrics();
        assert_eq!(test.text("kind"), "doc");
        let (name, outcome) = (test.name().to_owned(), test.outcome().to_owned());
        (name, outcome, metrics.alloc_objects, metrics.alloc_space, metrics.inuse_space)
    });
    rows.collect()
}

#[test]
fn doctests_of_older_editions_are_profiled_one_by_one() {
    let fixture = profiled("each");
    let rows = metrics(&fixture);
    let [first, asking, panics] = &rows[..] else { panic!("{rows:#?}") };
    assert_eq!(first, &("each/src/lib.rs - (line 1)".into(), "ok".into(), 1, 11, 0));
    assert_eq!(asking, &("each/src/lib.rs - Asking (line 29)".into(), "ok".into(), 2, 22, 0));
    assert_eq!((panics.0.as_str(), panics.1.as_str()), ("each/src/lib.rs - eleven (line 7)", "ok"));
    assert!(panics.4 >= 11, "{panics:?}");
    let summary = fixture.summary();
    let own = summary.test("each/src/lib.rs - with_a_main (line 36)");
    assert!(own.metrics().alloc_space >= 11);
    assert!(summary.test("each/src/lib.rs - (line 1)").file("alloc_space").exists());
}

#[test]
fn merged_doctests_are_profiled_as_if_each_were_alone() {
    let rows = metrics(&profiled("merged"));
    let [first, asking, panics] = &rows[..] else { panic!("{rows:#?}") };
    assert_eq!(first, &("merged/src/lib.rs - (line 1)".into(), "ok".into(), 1, 11, 0));
    assert_eq!((asking.1.as_str(), asking.2, asking.3, asking.4), ("ok", 2, 22, 0));
    assert_eq!(panics.1, "ok");
    assert!(panics.0.starts_with("merged/src/lib.rs - eleven (line ") && panics.4 >= 11, "{panics:?}");
}
