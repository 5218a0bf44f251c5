//! A maintainer commits a baseline; a later change allocates more, three calls deep; the gate stops it.

use memprof_tests::fixture::Fixture;

/// In `parser::clean`, which `parser::parse` calls, which `load` calls.
const BEFORE: &str = "line.trim().to_owned()";
const AFTER: &str = "let clean = line.trim().to_owned();\n    clean.as_str().to_owned()";

/// A copy with a baseline of the code as it is.
fn with_baseline() -> Fixture {
    let fixture = Fixture::copy("growing");
    fixture.memprof("test --save-baseline").succeed().complains("3 tests added");
    fixture
}

#[test]
fn one_more_allocation_in_a_loop_fails_the_gate_until_it_is_accepted() {
    let fixture = with_baseline();
    let baseline = fixture.read("memprof.baseline");
    let line =
        "growing lib/growing tests::loads_three_rows alloc_objects=4 alloc_space=75 peak_space=75 inuse_space=0\n";
    assert!(baseline.contains(line), "{baseline}");
    fixture.memprof("gate").succeed().says("within budget: 3 tests compared");

    fixture.replace("src/parser.rs", BEFORE, AFTER);
    let ran = fixture.memprof("gate").run().ended_with(5);
    let ran = ran.says("over budget growing tests::loads_three_rows  (src/lib.rs:19)");
    ran.says("alloc_objects 4 → 7 (+3); at most 4 are allowed by `+0`").says("over budget: 1 of 3 tests");
    // The last run is still there to be compared again.
    fixture.memprof("gate --no-run").run().ended_with(5);

    fixture.memprof("accept tests::loads_nothing").succeed().complains("1 test unchanged");
    fixture.memprof("gate --no-run").run().ended_with(5);
    fixture.memprof("accept *three*").succeed().complains("1 test changed");
    fixture.memprof("gate --no-run").succeed();
    let accepted = fixture.read("memprof.baseline");
    let changed = accepted.lines().zip(baseline.lines()).filter(|(one, other)| one != other).count();
    assert_eq!((changed, accepted.lines().count()), (1, baseline.lines().count()), "{accepted}");
}

#[test]
fn the_gate_cannot_pass_by_comparing_nothing() {
    let fixture = Fixture::copy("growing");
    fixture.memprof("gate --no-run").run().ended_with(6).complains("there is no `").complains("--save-baseline");
    fixture.memprof("test --save-baseline").succeed();
    let filtered = fixture.memprof("gate three").run().ended_with(6);
    filtered.says("error: in the baseline, but did not run: it was filtered out:").says("tests::loads_nothing");
    fixture.memprof("gate --no-run --allow not-run").succeed().says("1 test compared");
    fixture.memprof("gate no_such_test").run().ended_with(6).complains("no test was recorded");
    fixture.memprof("gate --doc").run().ended_with(6).complains("no test was recorded");
    let profile = fixture.memprof("gate --release").run().ended_with(6);
    profile.says("it was recorded with profile `test`; this run used `release`").says("--allow conditions");
    fixture.memprof("gate --no-run --allow conditions").succeed();

    fixture.replace("src/lib.rs", "fn loads_nothing", "fn loads_not_much");
    let gone = fixture.memprof("gate").run().ended_with(6);
    let gone =
        gone.says("there is no such test any more; `cargo memprof accept` removes it: growing tests::loads_nothing");
    gone.says("warning: not in the baseline yet; `cargo memprof accept` takes it in: growing tests::loads_not_much");
    fixture.memprof("accept").succeed().complains("1 test added, 1 test removed");
    fixture.memprof("gate --no-run").succeed();
}

#[test]
fn failing_tests_keep_cargos_exit_code_and_write_no_baseline() {
    let fixture = with_baseline();
    let baseline = fixture.read("memprof.baseline");
    fixture.replace("src/lib.rs", "load(\"\").is_empty()", "!load(\"\").is_empty()");
    fixture.memprof("gate").run().ended_with(101).says("not compared, because the test itself failed");
    fixture.memprof("test --save-baseline").run().ended_with(101).complains("was not written: the tests did not pass");
    assert_eq!(fixture.read("memprof.baseline"), baseline);
    fixture.write("src/parser.rs", "syntax error");
    fixture.memprof("gate").run().ended_with(101).never_says("within budget");
}

#[test]
fn a_policy_says_what_is_allowed_and_what_is_not() {
    let fixture = with_baseline();
    fixture.replace("src/parser.rs", BEFORE, AFTER);
    fixture.memprof("gate").run().ended_with(5);
    let with = |text: &str| {
        fixture.write(".config/memprof.toml", text);
        fixture.memprof("gate --no-run --self-test").run()
    };
    with("[gate.limits]\nalloc_objects = '+3'")
        .ended_with(0)
        .says("one more allocation fails the gate in 1 of 3 tests");
    with("[gate.limits]\nalloc_objects = '+10% or 2'").ended_with(5).says("at most 6 are allowed by `+10% or 2`");
    with("[[gate.override]]\ntest = '*three*'\nalloc_objects = 7").ended_with(0).says("in 3 of 3 tests");
    with("[[gate.exclude]]\ntest = '*three*'\nreason = 'it grows'").ended_with(0).says("excluded: it grows");
    with("[gate.limits]\nalloc_objects = 'any'").ended_with(6).says("would not be noticed in any of 3 tests");
    with("[gate.limits]\nalloc_object = 'any'").ended_with(2).complains("did you mean `alloc_objects`?");
    with("[gate.limits]\nalloc_objects = '5%'").ended_with(2).complains("memprof.toml:2");

    fixture.write(".config/memprof.toml", "[gate]\nratchet = true");
    fixture.memprof("accept").succeed();
    fixture.replace("src/parser.rs", AFTER, BEFORE);
    fixture.memprof("gate").run().ended_with(5).says("better, and not yet in the baseline");
    fixture.memprof("accept").succeed();
    fixture.memprof("gate --no-run").succeed();
}

#[test]
fn a_hand_broken_baseline_names_the_line_and_costs_no_test_run() {
    let fixture = with_baseline();
    let good = fixture.read("memprof.baseline");
    let line = good.lines().last().expect("it has lines");
    for (broken, complaint) in [
        (String::new(), "it is empty"),
        ("{}".to_owned(), "line 1: "),
        (good.replace("@rustc", "@rusty"), "the line `@rustc …` is missing"),
        (good.replace("baseline 1", "baseline 9"), "update cargo-memprof"),
        (good.replace(line, &format!("<<<<<<< ours\n{line}")), "line 11: it holds a conflict"),
        (format!("{good}{line}\n"), "line 12: `tests::loads_three_rows` of line 11 is there a second time"),
        (good.replace("alloc_objects=4", "alloc_objects=many"), "line 11: `many` is no figure"),
        (good.replace(" inuse_space=0", ""), "line 9: "),
    ] {
        fixture.write("memprof.baseline", &broken);
        let ran =
            fixture.memprof("gate").run().ended_with(6).complains("cannot read the baseline").complains(complaint);
        assert!(!ran.stdout.contains("running"), "{}", ran.all());
        assert!(ran.stderr.contains("help: "), "{}", ran.all());
    }
}

#[test]
fn doctests_keep_their_lines_when_what_stands_above_them_grows() {
    let fixture = Fixture::copy("doctests");
    fixture.memprof("test --save-baseline --doc").succeed();
    let baseline = fixture.read("memprof.baseline");
    assert!(baseline.contains("each doc/each each/src/lib.rs - eleven alloc_objects="), "{baseline}");
    let source = fixture.read("each/src/lib.rs");
    fixture.write("each/src/lib.rs", &format!("//! A remark.\n//!\n{source}"));
    fixture.memprof("gate --doc").succeed().says("within budget").never_says("no such test");
    fixture.memprof("test --save-baseline --doc").succeed();
    assert_eq!(fixture.read("memprof.baseline"), baseline);
    // rustdoc has no list of what a filter leaves out, so nothing is taken for gone.
    let filtered = fixture.memprof("gate --doc eleven").run().ended_with(6).says("it was filtered out, or is no more");
    filtered.never_says("there is no such test");
    fixture.memprof("accept").succeed();
    assert_eq!(fixture.read("memprof.baseline"), baseline);
}

#[test]
fn what_would_change_nothing_is_refused() {
    let fixture = with_baseline();
    for (arguments, said) in [
        ("gate --no-run --lib", "cannot use `--lib` with `--no-run`"),
        ("gate --no-run three", "cannot use `three` with `--no-run`"),
        ("gate --no-run --repeat 3", "with `--no-run`"),
        ("gate --no-run --self-tset", "a flag with a similar name exists: `--self-test`"),
    ] {
        fixture.memprof(arguments).run().ended_with(2).complains(said).complains("help: ");
    }
    fixture.memprof("gate --no-run --quiet --color never --manifest-path Cargo.toml").succeed();
    let unknown = fixture.memprof("accept tests").run().ended_with(6);
    unknown.complains("matches `tests`").complains("`'*tests*'` does; there is `tests::");
}
