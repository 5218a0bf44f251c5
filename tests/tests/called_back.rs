//! What libraries of C call back, and what runs on a runtime's own stacks, has its callers up to the test, with and
//! without the C libraries' own allocations beside it.

use memprof_tests::fixture::Fixture;
use memprof_tests::pprof::{Raw, can_read};
use memprof_tests::summary::Summary;

/// The test, who is on each of its stacks through `block`, and what these sum up to: blocks and bytes of those sizes that are known.
const KNOWN: &[(&str, &str, i64, i64)] = &[
    ("sqlite_calls_a_function", "tests::sqlite_calls_a_function", 500, 500_000),
    ("sqlite_is_below_sqlite", "tests::sqlite_is_below_sqlite", 9, 3 * 1003 + 6 * 1004),
    ("a_generator_takes_turns", "tests::a_generator_takes_turns", 20, 20 * 1009),
    ("may_runs_coroutines", "tests::on_a_coroutine_of_may", 10, 10 * 1010),
];

/// How often each is called is the library's affair.
const AT_LEAST: &[(&str, &str, i64)] = &[
    ("sqlite_sorts_and_tells", "tests::sqlite_sorts_and_tells", 201 + 199),
    ("zstd_packs_and_unpacks", "tests::zstd_packs_and_unpacks", 101 + 1),
];

fn stacks_lead_to_the_test(summary: &Summary) {
    for test in summary.tests() {
        assert_eq!(test.outcome(), "ok", "{}", test.name());
        assert_eq!(test.json["losses"]["unwalkable_stacks"], 0, "{}", test.name());
    }
    let through = |test: &str, caller: &str| {
        let raw = Raw::read(&summary.test(&format!("tests::{test}")).file("profile"));
        let mut sums = [0, 0];
        for sample in raw.through("called_back::block") {
            let is_whole = sample.functions.iter().any(|function| function.contains(caller));
            assert!(is_whole, "{test}: {:?}", sample.functions);
            sums.iter_mut().zip(&sample.values).for_each(|(sum, value)| *sum += value);
        }
        sums
    };
    for (test, caller, objects, space) in KNOWN {
        assert_eq!(through(test, caller), [*objects, *space], "{test}");
    }
    for (test, caller, least) in AT_LEAST {
        let [objects, _] = through(test, caller);
        assert!(objects >= *least, "{test}: {objects}");
    }
}

#[test]
fn what_c_and_coroutines_call_back_leads_to_the_test() {
    let fixture = Fixture::copy("called_back");
    let mut fetch = fixture.cargo("fetch");
    fetch.command().env_remove("CARGO_NET_OFFLINE");
    if !fetch.run().status.success() {
        eprintln!("skipped: rusqlite, zstd, generator and may, because they cannot be fetched here");
        return;
    }
    if !can_read() {
        eprintln!("skipped: stacks through sqlite and zstd, because there is no `go tool pprof` to read them with");
        return;
    }
    let memprof = |flags: &str| {
        fixture.memprof(&format!("test --memprofilerate 1 {flags}")).succeed();
        fixture.summary()
    };
    stacks_lead_to_the_test(&memprof(""));
    let summary = memprof("--native");
    stacks_lead_to_the_test(&summary);
    // SQLite's own memory is seen, and it is the test that asked for it.
    let raw = Raw::read(&summary.test("tests::sqlite_calls_a_function").file("profile"));
    let through = raw.through("sqlite3MemMalloc");
    let callers =
        through.iter().filter(|sample| sample.functions.iter().any(|name| name.contains("sqlite_calls_a_function")));
    assert!(!through.is_empty() && callers.count() == through.len(), "{through:?}");
}
