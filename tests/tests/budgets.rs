//! Budgets in a test's own code: exact under `cargo memprof`, silent but for one note under plain `cargo test`.

use memprof_tests::fixture::{Fixture, Ran};
use memprof_tests::pprof::{Raw, can_read};
use memprof_tests::workspace;

fn budgets() -> Fixture {
    let fixture = Fixture::copy("budgets");
    let harness = workspace::root().join("memprof-harness");
    fixture.replace("Cargo.toml", "../../memprof-harness", harness.to_str().expect("a path in UTF-8"));
    fixture
}

/// Those of the fixture that do not hold, by what is said of them.
const OVER: [(&str, &str); 8] = [
    ("a_budget_does_not_hold", "over budget: `alloc_objects <= 1` does not hold: it is 2"),
    ("a_test_over_its_count", "over budget: `alloc_objects` is 5, and at most 4 may be"),
    ("a_test_over_its_peak", "over budget: `peak_space` is 1001, and at most 1000 may be"),
    ("a_test_that_leaks", "over budget: `leaked` is 24, and at most 0 may be"),
    ("a_test_that_keeps", "over budget: `inuse_space` is 24, and at most 0 may be"),
    ("a_panic_after_a_leak", "over budget: `leaked` is 24, and at most 0 may be"),
    ("a_panic_over_its_budget", "test did not panic as expected"),
    ("an_async_test_over_its_budget", "over budget: `alloc_objects` is 2, and at most 0 may be"),
];

fn every_budget_is_checked(ran: Ran) {
    let failed: Vec<String> = ran.verdicts().into_iter().filter(|verdict| !verdict.ends_with("ok")).collect();
    let mut expected: Vec<String> = OVER.map(|(test, _)| format!("tests::{test} ... FAILED")).to_vec();
    for verdict in expected.iter_mut().filter(|verdict| verdict.contains("::a_panic_")) {
        *verdict = verdict.replace(" ... ", " - should panic ... ");
    }
    expected.sort();
    assert_eq!(failed, expected, "{}", ran.all());
    let ran = OVER.iter().fold(ran, |ran, (_, said)| ran.says(said));
    // An async function has no caller whose place a panic could show, so it is said.
    let ran = ran.says("\n  at src/lib.rs:");
    ran.says("over budget: `alloc_space` is 1").never_says("not checked");
}

#[test]
fn a_budget_that_does_not_hold_fails_its_test_when_it_is_measured() {
    let fixture = budgets();
    let plain = fixture.cargo("test --lib").succeed();
    assert_eq!(plain.stderr.matches("note: allocation budgets are not checked").count(), 1, "{}", plain.all());
    let required = fixture.cargo("test --lib").env("MEMPROF_REQUIRE", "1").run().ended_with(101);
    let required = required.says("a budget cannot be checked").says("test tests::a_region_is_measured_exactly ... ok");
    // Also where a panic is what is wanted.
    required.says("test tests::a_panic_within_its_budget - should panic ... FAILED");

    for rate in ["1", "524288", "0"] {
        every_budget_is_checked(fixture.memprof("test --lib --memprofilerate").arg(rate).run().ended_with(101));
        let summary = fixture.summary();
        let test = summary.test("tests::regions_have_peaks_of_their_own");
        assert_eq!((test.figures().peak_space, &test.json["peak_error"]), (10_000, &0.into()), "at rate {rate}");
    }
    // Optimized, with link-time optimisation, where symbols that nobody seems to need go first.
    fixture.replace("Cargo.toml", "[workspace]", "[profile.release]\nlto = true\ncodegen-units = 1\n\n[workspace]");
    every_budget_is_checked(fixture.memprof("test --lib --release").run().ended_with(101));
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
    for (written, said) in [
        ("#[budget(alloc_object = 1)]\nfn f() {}", "there is no figure `alloc_object`; did you mean `alloc_objects`?"),
        ("#[budget(seconds = 1)]\nfn f() {}", "there is no figure `seconds`; there are `alloc_objects`, `alloc_space`"),
        ("#[budget(leaks = 0)]\nfn f() {}", "there is no figure `leaks`; did you mean `leaked`?"),
        ("fn f() { memprof_harness::assert_allocs!(leaked <= 0, { 1 }); }", "`leaked` is known of a whole test alone"),
        ("#[budget(leaked = \"1 KB or so\")]\nfn f() {}", "`KB or so` is no unit: there are B, KiB"),
        ("#[budget(alloc_objects = \"1KiB\")]\nfn f() {}", "`alloc_objects` is a count and no amount of bytes"),
        ("#[budget(leaked)]\nfn f() {}", "`leaked` has no limit: write `leaked = 12`"),
        ("#[budget(leaked <= 1)]\nfn f() {}", "expected `=`: `leaked = 12` is the most it may be"),
        ("#[budget(leaked = 1, leaked = 2)]\nfn f() {}", "`leaked` is limited twice"),
        ("#[budget]\nfn f() {}", "a budget needs limits: `#[budget(alloc_objects = 12"),
        ("#[budget(leaked = 0)]\nstruct S {}", "`#[budget]` is for a function with a body"),
        ("#[budget(leaked = 1.5)]\nfn f() {}", "expected `u64`, found floating-point number"),
    ] {
        fixture.write("tests/wrong.rs", &format!("#![allow(dead_code)]\nuse memprof_harness::budget;\n{written}\n"));
        let ran =
            fixture.cargo("test --test wrong").run().ended_with(101).complains(said).complains("tests/wrong.rs:3:");
        assert_eq!(ran.stderr.matches("error: ").count() + ran.stderr.matches("error[").count(), 2, "{}", ran.all());
    }
}
