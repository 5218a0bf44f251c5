//! What libraries of C call back, and what runs on a runtime's own stacks, has its callers up to the test, with and
//! without the C libraries' own allocations beside it. Each of these stacks is compared, name by name, with what the unwinder says that exceptions
//! are thrown with.

use memprof_tests::fixture::Fixture;
use memprof_tests::pprof::{Raw, can_read};
use memprof_tests::summary::Summary;
use std::collections::BTreeSet;
use std::fs;

/// The test, who is on each of its stacks through `block`, and what these sum up to: blocks and bytes of those sizes that are known.
const KNOWN: &[(&str, &str, i64, i64)] = &[
    ("sqlite_calls_a_function", "tests::sqlite_calls_a_function", 500, 500_000),
    ("sqlite_is_below_sqlite", "tests::sqlite_is_below_sqlite", 9, 3 * 1003 + 6 * 1004),
    ("a_generator_takes_turns", "tests::a_generator_takes_turns", 20, 20 * 1009),
    ("a_coroutine_takes_turns", "tests::a_coroutine_takes_turns", 20, 20 * 1011),
    ("a_stack_grows", "tests::a_stack_grows", 11, 11 * 1012),
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

/// The callers of the function that allocates, up to the outermost function of the test's own, innermost first. `None`: it is none of these stacks.
fn callers<'a>(functions: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
    // Of a function that GCC has split, one says which part it is, and the other does not.
    let whole = |name: &str| {
        let part = [".part.", ".constprop.", ".isra.", ".cold"].iter().filter_map(|part| name.find(part)).min();
        name[..part.unwrap_or(name.len())].to_owned()
    };
    let callers: Vec<String> = functions.map(whole).skip_while(|name| name != "called_back::tests::block").collect();
    let outermost = callers.iter().rposition(|name| name.starts_with("called_back::tests::"))?;
    let (last, inner) = callers[..=outermost].split_last()?;
    // What rustc puts around each test is no part of a recorded stack.
    let is_around =
        last.strip_suffix("::{{closure}}").is_some_and(|test| inner.last().is_some_and(|name| name == test));
    Some(if is_around { inner.to_vec() } else { callers[..=outermost].to_vec() })
}

/// Whether two stacks are the same, but for frames that one of them says are left out.
fn is_same(recorded: &[String], told: &[String]) -> bool {
    match recorded.iter().position(|name| name == "[frames left out]") {
        None => recorded == told,
        Some(gap) => {
            told.starts_with(&recorded[..gap]) && (gap..told.len()).any(|at| is_same(&recorded[gap + 1..], &told[at..]))
        }
    }
}

/// Whether the stacks of all tests are those that the unwinder told, frame by frame.
fn stacks_are_those_of_the_unwinder(summary: &Summary, told: &str) {
    let told: BTreeSet<Vec<String>> = told.lines().filter_map(|line| callers(line.split('\t'))).collect();
    let recorded: BTreeSet<Vec<String>> = summary
        .tests()
        .iter()
        .flat_map(|test| Raw::read(&test.file("profile")).samples)
        .filter(|sample| sample.functions.iter().any(|name| name == "called_back::block"))
        .filter_map(|sample| callers(sample.functions.iter().map(String::as_str)))
        .collect();
    for stack in &recorded {
        assert!(told.iter().any(|told| is_same(stack, told)), "nobody told of {stack:#?}\nbut of {told:#?}");
    }
    for told in &told {
        assert!(recorded.iter().any(|stack| is_same(stack, told)), "{told:#?} is not in {recorded:#?}");
    }
    // Each of the libraries is on several of them.
    for library in ["sqlite3VdbeExec", "zstd::", "a_generator", "coroutine_of_may", "corosensei::", "stacker::"] {
        let through = told.iter().filter(|stack| stack.iter().any(|name| name.contains(library)));
        assert!(through.count() > 0, "{library}");
    }
}

#[test]
fn what_c_and_coroutines_call_back_leads_to_the_test() {
    let fixture = Fixture::copy("called_back");
    let mut fetch = fixture.cargo("fetch");
    fetch.command().env_remove("CARGO_NET_OFFLINE");
    if !fetch.run().status.success() {
        eprintln!(
            "skipped: rusqlite, zstd, generator, may, corosensei and stacker, because they cannot be fetched here"
        );
        return;
    }
    if !can_read() {
        eprintln!("skipped: stacks through sqlite and zstd, because there is no `go tool pprof` to read them with");
        return;
    }
    let memprof = |flags: &str| {
        let told = fixture.path("told");
        fixture.memprof(&format!("test --memprofilerate 1 {flags}")).env("CALLED_BACK_TOLD", &told).succeed();
        let summary = fixture.summary();
        stacks_are_those_of_the_unwinder(&summary, &fs::read_to_string(&told).expect("the tests wrote it"));
        fs::remove_file(&told).expect("it is there");
        summary
    };
    stacks_lead_to_the_test(&memprof("--release"));
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
