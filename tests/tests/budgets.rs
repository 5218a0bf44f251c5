//! Budgets in a test's own code have the same verdicts under plain `cargo test` and under `cargo memprof`, except for
//! leaks, which only the latter finds.

use memprof_tests::fixture::{Fixture, Ran};
use memprof_tests::pprof::{Raw, can_read};
use memprof_tests::workspace;

fn budgets() -> Fixture {
    let fixture = Fixture::copy("budgets");
    let harness = workspace::root().join("memprof-harness/live");
    fixture.replace("Cargo.toml", "../../memprof-harness/live", harness.to_str().expect("a path in UTF-8"));
    fixture
}

/// Those of the fixture that do not hold, by what is said of them.
const OVER: [(&str, &str); 7] = [
    ("a_budget_does_not_hold", "over its limit: `alloc_objects <= 1` does not hold, it is 2"),
    ("a_test_over_its_count", "over its limit: `alloc_objects <= 4` does not hold, it is 5"),
    ("a_test_over_its_peak", "over its limit: `peak_space <= 1000` does not hold, it is 1001"),
    ("a_test_that_keeps", "over its limit: `inuse_space <= 0` does not hold, it is 24"),
    ("a_panic_over_its_budget", "test did not panic as expected"),
    ("an_async_test_over_its_budget", "over its limit: `alloc_objects <= 0` does not hold, it is 2"),
    ("what_is_carried_to_another_thread_counts", "over its limit: `alloc_space <= 50000` does not hold, it is 60"),
];

/// Those whose leaks are over their limit.
const LEAKED: [(&str, &str); 2] = [
    ("a_test_that_leaks", "over budget: `leaked` is 24, and at most 0 may be"),
    ("a_panic_after_a_leak", "over budget: `leaked` is 24, and at most 0 may be"),
];

/// Those that limit leaks, which plain `cargo test` cannot check.
const UNCHECKED: [&str; 6] = [
    "a_test_within_its_budget",
    "a_test_that_keeps_what_can_be_reached",
    "a_test_that_may_leak_what_it_leaks",
    "a_panic_after_a_leak",
    "a_test_that_leaks",
    "a_panic_within_its_budget",
];

fn failing<'a>(ran: &Ran, tests: impl Iterator<Item = &'a str>) {
    let failed: Vec<String> = ran.verdicts().into_iter().filter(|verdict| !verdict.ends_with("ok")).collect();
    let mut expected: Vec<String> = tests.map(|test| format!("tests::{test} ... FAILED")).collect();
    for verdict in expected.iter_mut().filter(|verdict| verdict.contains("::a_panic_")) {
        *verdict = verdict.replace(" ... ", " - should panic ... ");
    }
    expected.sort();
    assert_eq!(failed, expected, "{}", ran.all());
}

/// The panic names the line that allocated, and, of an async function, which has no caller to show, the function's.
fn limits_are_explained(ran: Ran) -> Ran {
    let ran = OVER.iter().fold(ran, |ran, (_, text)| ran.says(text));
    ran.says("\n  at src/lib.rs:")
        .says("over its limit: `alloc_space <= 50` does not hold")
        .says("allocated by src/lib.rs:")
}

#[test]
fn a_budget_that_does_not_hold_fails_its_test_however_the_tests_are_run() {
    let fixture = budgets();
    let ran = fixture.cargo("test --lib").run().ended_with(101);
    failing(&ran, OVER.iter().map(|(test, _)| *test).chain(UNCHECKED));
    let ran = limits_are_explained(ran).says("the budget of `leaked` cannot be checked");
    let _ = ran.says("help: run the tests with `cargo memprof test`, or limit `inuse_space` instead");
    let allowed = fixture.cargo("test --lib").env("MEMPROF_REQUIRE", "0").run().ended_with(101);
    failing(&allowed, OVER.iter().map(|(test, _)| *test));
    let note = "note: budgets of `leaked` are not checked: nobody looks for leaks, and MEMPROF_REQUIRE=0 is set";
    assert_eq!(allowed.stderr.matches(note).count(), 1, "{}", allowed.all());

    let checked = |ran: Ran| {
        failing(&ran, OVER.iter().chain(&LEAKED).map(|(test, _)| *test));
        let _ = LEAKED.iter().fold(limits_are_explained(ran), |ran, (_, text)| ran.says(text));
    };
    for options in ["--memprofilerate 1", "--memprofilerate 524288", "--memprofilerate 0"] {
        checked(fixture.memprof(&format!("test --lib {options}")).run().ended_with(101));
        let summary = fixture.summary();
        let test = summary.test("tests::regions_have_peaks_of_their_own");
        assert_eq!((test.metrics().peak_space, &test.json["peak_error"]), (10_000, &0.into()), "{options}");
    }
    // Optimized, with link-time optimisation, where symbols that nobody seems to need go first.
    fixture.replace("Cargo.toml", "[workspace]", "[profile.release]\nlto = true\ncodegen-units = 1\n\n[workspace]");
    let ran = fixture.memprof("test --lib --release").run().ended_with(101);
    failing(&ran, OVER.iter().chain(&LEAKED).map(|(test, _)| *test));
}

#[test]
fn measuring_regions_leaves_the_tests_own_profile_as_it_is() {
    let fixture = budgets();
    fixture.memprof("test --lib --memprofilerate 1 regions_have_peaks").succeed();
    if can_read() {
        let raw = Raw::read(&fixture.summary().test("tests::regions_have_peaks_of_their_own").file("profile"));
        let at = raw.position("peak_space");
        let peaks: Vec<i64> = raw.samples.iter().map(|sample| sample.values[at]).filter(|peak| *peak != 0).collect();
        assert_eq!(peaks, [10_000]);
    }
}

#[test]
fn a_budget_that_cannot_be_understood_says_what_was_meant() {
    let fixture = budgets();
    for (written, text) in [
        ("#[budget(alloc_object = 1)]\nfn f() {}", "there is no metric `alloc_object`; did you mean `alloc_objects`?"),
        ("#[budget(seconds = 1)]\nfn f() {}", "there is no metric `seconds`; there are `alloc_objects`, `alloc_space`"),
        ("#[budget(leaks = 0)]\nfn f() {}", "there is no metric `leaks`; did you mean `leaked`?"),
        ("fn f() { memprof::assert_allocs!(leaked <= 0, { 1 }); }", "`leaked` is known of a whole test alone"),
        ("#[budget(leaked = \"1 KB or so\")]\nfn f() {}", "`KB or so` is no unit: there are B, KiB"),
        ("#[budget(alloc_objects = \"1KiB\")]\nfn f() {}", "`alloc_objects` is a count and no amount of bytes"),
        ("#[budget(leaked)]\nfn f() {}", "`leaked` has no limit: write `leaked = 12`"),
        ("#[budget(leaked <= 1)]\nfn f() {}", "expected `=`: `leaked = 12` is the most it may be"),
        ("#[budget(leaked = 1, leaked = 2)]\nfn f() {}", "`leaked` is limited twice"),
        ("#[budget]\nfn f() {}", "a budget needs limits: `#[budget(alloc_objects = 12"),
        ("#[budget(leaked = 0)]\nstruct S {}", "`#[budget]` is for a function with a body"),
        ("#[budget(leaked = 1.5)]\nfn f() {}", "expected `u64`, found floating-point number"),
    ] {
        fixture.write("tests/wrong.rs", &format!("#![allow(dead_code)]\nuse memprof::budget;\n{written}\n"));
        let ran =
            fixture.cargo("test --test wrong").run().ended_with(101).complains(text).complains("tests/wrong.rs:3:");
        assert_eq!(ran.stderr.matches("error: ").count() + ran.stderr.matches("error[").count(), 2, "{}", ran.all());
    }
}
