//! Calls through a library that is unloaded before the test ends have the library's names, and never those of another that was
//! loaded to the same place since.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use memprof_tests::fixture::Fixture;
use memprof_tests::pprof::{Raw, can_read};
use memprof_tests::summary::Summary;

/// The stacks of blocks of `size` bytes: each as often as it was met, with those functions on it that a library could have given.
fn stacks(summary: &Summary, test: &str, size: i64) -> Vec<(i64, Vec<String>)> {
    let raw = Raw::read(&summary.test(&format!("tests::{test}")).file("profile"));
    let of_libraries = |name: &&String| name.starts_with("one_") || name.starts_with("two_") || name.starts_with('[');
    let stack = |sample: &memprof_tests::pprof::Sample| {
        assert!(
            sample.functions.iter().any(|name| name.contains("unloaded::tests::through")),
            "{:?}",
            sample.functions
        );
        (sample.values[0], sample.functions.iter().filter(of_libraries).cloned().collect())
    };
    let of_size = |sample: &&memprof_tests::pprof::Sample| sample.values[1] == size * sample.values[0];
    raw.through("unloaded::tests::block").into_iter().filter(of_size).map(stack).collect()
}

#[test]
fn code_that_was_unloaded_is_named_by_what_it_was() {
    let fixture = Fixture::copy("unloaded");
    fixture.memprof("test --memprofilerate 1").succeed();
    if !can_read() {
        eprintln!("skipped: names of what was unloaded, because there is no `go tool pprof` to read them with");
        return;
    }
    let summary = fixture.summary();
    for test in summary.tests() {
        assert_eq!((test.outcome(), &test.json["losses"]["unwalkable_stacks"]), ("ok", &0.into()), "{}", test.name());
    }
    let called = |library: &str| ["inner", "outer"].map(|function| format!("{library}_{function}")).to_vec();
    let found = |size| stacks(&summary, "two_libraries_in_turn", size);
    assert_eq!(found(1001), [(1, called("one")), (1, called("one"))]);
    assert_eq!(found(1002), [(1, called("two")), (1, called("two"))]);
    // One library has one set of names wherever it was loaded to.
    assert_eq!(stacks(&summary, "one_library_again_and_again", 1003), [(300, called("one"))]);
    // Where both have to lie at one place, neither's names are given to the other.
    for size in [1001, 1002] {
        let unknown = vec!["[code in no known object]".to_owned()];
        let stacks = stacks(&summary, "two_libraries_in_turn_in_little_address_space", size);
        assert_eq!(stacks, [(1, unknown.clone()), (1, unknown)], "{size}");
    }
}
