//! Executables with libtest that are recorded by the list of their tests, as where the toolchain's libtest is not known: the metrics are
//! those of the usual way, but for what is named.
#![allow(clippy::unwrap_used)] // tests throughout

use memprof_tests::fixture::{Call, Fixture};
use serde_json::Value;
use std::collections::BTreeMap;

/// What differs between any two runs, and what only the usual way knows: where a test stands, what it panicked with.
const NOT_COMPARED: [&str; 5] = ["started_ns", "duration_ns", "source_file", "start_line", "message"];

/// The tests of the run's summary by target and name.
fn tests(fixture: &Fixture) -> BTreeMap<String, Value> {
    let summary: Value = serde_json::from_str(&fixture.read("target/memprof/summary.json")).unwrap();
    let tests = summary["tests"].as_array().unwrap().iter().map(|test| {
        let name = format!("{} {} {}", test["kind"], test["target"], test["name"]);
        let mut fields = test.clone();
        let object = fields.as_object_mut().unwrap();
        object.retain(|field, _| !NOT_COMPARED.contains(&field.as_str()));
        // How deep the thread is where the test begins, and so which stacks are too deep by a frame.
        object["losses"].as_object_mut().unwrap().remove("truncated_stacks");
        // The engine's own memory, and the one thread of a test that has not allocated, which nobody has seen then.
        object["losses"].as_object_mut().unwrap().remove("own_memory");
        if object["alloc_objects"] == 0 {
            object.remove("threads");
        }
        // Of several threads it depends on their turns.
        if object.get("peak_error").is_some_and(|error| error != 0) {
            object.remove("peak_space");
            object.remove("peak_error");
        }
        (name, fields)
    });
    tests.collect()
}

fn listed(call: Call) -> Call {
    call.env("CARGO_MEMPROF_LIBTEST", "list")
}

fn compare(name: &str, rate: &str) {
    compare_with(name, rate, "test");
}

fn compare_with(name: &str, rate: &str, command: &str) {
    let fixture = Fixture::copy(name);
    let test = || fixture.memprof(command).args(["--memprofilerate", rate]);
    test().succeed();
    let usual = tests(&fixture);
    listed(test())
        .succeed()
        .complains("was recorded by the list of its tests: `CARGO_MEMPROF_LIBTEST=list` asks for it");
    let by_list = tests(&fixture);
    assert!(usual.len() > 5);
    assert_eq!(usual.keys().collect::<Vec<_>>(), by_list.keys().collect::<Vec<_>>());
    for (test, metrics) in &usual {
        assert_eq!(metrics, &by_list[test], "{test} at rate {rate}");
    }
}

#[test]
fn the_counts_of_tests_of_every_kind_are_those_of_the_usual_way() {
    compare("known", "1");
}

#[test]
fn the_counts_are_those_of_the_usual_way_at_the_native_hook_too() {
    compare_with("known", "1", "test --native");
}

#[test]
fn the_counts_are_those_of_the_usual_way_where_a_test_runs_on_stacks_of_its_own() {
    compare("stacks", "1");
}

#[test]
fn what_libtest_does_around_a_test_is_not_the_tests_at_rate_1() {
    compare("listed", "1");
}

#[test]
fn what_libtest_does_around_a_test_is_not_the_tests_at_the_default_rate() {
    compare("listed", "524288");
}

#[test]
fn verdicts_filters_and_what_did_not_run_are_as_ever() {
    let fixture = Fixture::copy("listed");
    fixture.write("src/lib.rs", &fixture.read("src/lib.rs").replace("made(800);", "made(800); if true { panic!(); }"));
    let ran = listed(fixture.memprof("test").args(["--memprofilerate", "1", "--", "returns", "ignored"])).run();
    let ran = ran.ended_with(101).says("test returns_ok ... FAILED").says("test is_ignored ... ignored");
    assert_eq!(ran.verdicts().len(), 3);
    let outcomes: Vec<(String, String)> =
        tests(&fixture).into_iter().map(|(name, test)| (name, test["outcome"].as_str().unwrap().to_owned())).collect();
    assert_eq!(
        outcomes,
        [
            ("\"lib\" \"listed\" \"returns_from_deep_below\"".to_owned(), "ok".to_owned()),
            ("\"lib\" \"listed\" \"returns_ok\"".to_owned(), "failed".to_owned()),
        ]
    );
    let summary: Value = serde_json::from_str(&fixture.read("target/memprof/summary.json")).unwrap();
    let not_run = summary["not_run"].as_array().unwrap();
    let ignored: Vec<&Value> =
        not_run.iter().filter(|test| test["ignored"] == true).map(|test| &test["name"]).collect();
    assert_eq!(ignored, ["is_ignored"]);
    assert_eq!(not_run.len(), 9);
}

#[test]
fn a_baseline_of_one_way_is_not_compared_with_the_other() {
    let fixture = Fixture::copy("listed");
    fixture.memprof("test --save-baseline").succeed();
    fixture.memprof("gate").succeed();
    let refused = listed(fixture.memprof("gate")).run().ended_with(6);
    assert!(refused.all().contains("it was counted by rules 2; this cargo-memprof counts by rules 2002"));
}

#[test]
fn a_test_that_ends_the_process_costs_no_other_its_profile() {
    let fixture = Fixture::copy("verdicts");
    let ran =
        listed(fixture.memprof("test --memprofilerate 1 --lib -- --include-ignored dies::by_abort returns::")).run();
    assert_ne!(ran.status.code(), Some(0));
    let names: Vec<String> = tests(&fixture).into_keys().collect();
    assert!(names.iter().any(|name| name.contains("dies::by_abort")), "{names:?}");
    assert!(names.iter().filter(|name| name.contains("returns::")).count() > 3, "{names:?}");
}

#[test]
fn the_users_format_is_no_reason_to_record_all_tests_as_one() {
    let fixture = Fixture::copy("listed");
    for format in ["--format=terse", "--format pretty"] {
        let test = fixture.memprof("test --memprofilerate 1 -- ").args(format.split_whitespace());
        listed(test).succeed().complains("was recorded by the list of its tests");
        assert_eq!(tests(&fixture).len(), 10, "{format}");
    }
}

/// Libtest then starts a process for each test, which says by a status of libtest's own how it ended.
#[test]
fn where_panics_abort_the_process_of_a_test_has_its_verdict() {
    let fixture = Fixture::copy("listed");
    let tests = [
        "#[test] fn passes() { drop(Box::new(0u64)); }",
        "#[test] fn fails() { drop(Box::new(0u64)); panic!(); }",
        "#[test] #[should_panic] fn panics() { drop(Box::new(0u64)); panic!(); }",
        "#[test] #[should_panic] fn does_not_panic() { drop(Box::new(0u64)); }",
        "#[test] fn leaves() { drop(Box::new(0u64)); std::process::exit(0); }",
    ];
    fixture.write("src/lib.rs", &tests.join("\n"));
    fixture.write("Cargo.toml", &(fixture.read("Cargo.toml") + "\n[profile.dev]\npanic = \"abort\"\n"));
    let test = fixture.memprof("test --lib --memprofilerate 1 -Zpanic-abort-tests").env("RUSTC_BOOTSTRAP", "1");
    let ran = listed(test).run().ended_with(101);
    assert_eq!(ran.verdicts().iter().filter(|verdict| verdict.ends_with("FAILED")).count(), 3, "{}", ran.all());
    let summary: Value = serde_json::from_str(&fixture.read("target/memprof/summary.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let outcomes = summary["tests"].as_array().unwrap().iter().map(|test| {
        let children: Vec<&Value> = test["children"].as_array().unwrap().iter().collect();
        assert_eq!(children.len(), 1, "{test}");
        (text(&test["name"]), (text(&test["outcome"]), text(&children[0]["outcome"])))
    });
    let outcomes: BTreeMap<String, (String, String)> = outcomes.collect();
    let expected = [
        // Libtest aborts the process of a test that failed, so that it cannot say anything.
        ("does_not_panic", "failed", "unknown"),
        ("fails", "failed", "unknown"),
        ("leaves", "failed", "failed"),
        ("panics", "ok", "ok"),
        ("passes", "ok", "ok"),
    ];
    let expected = expected.map(|(name, test, child)| (name.to_owned(), (test.to_owned(), child.to_owned())));
    assert_eq!(outcomes, expected.into());
}

#[test]
fn a_way_that_is_none_is_refused() {
    let fixture = Fixture::copy("listed");
    let refused = fixture.memprof("test").env("CARGO_MEMPROF_LIBTEST", "no").run().ended_with(2);
    refused.complains("cannot use `no` as the way tests are recorded").complains("`auto`, `wrap` or `list`");
}

#[test]
fn what_does_not_answer_to_the_list_is_never_left_out_in_silence() {
    let fixture = Fixture::copy("known");
    // A runner that keeps the flags to itself: all tests run, as one program.
    fixture.write(".cargo/config.toml", "[target.'cfg(unix)']\nrunner = ['sh', '-c', 'exec \"$1\"', 'sh']\n");
    listed(fixture.memprof("test --lib --memprofilerate 1"))
        .succeed()
        .complains("was recorded as one: what it says to `--list` is no list of libtest's");
    assert_eq!(fixture.summary().tests().len(), 1);
    // One that starts nothing.
    fixture.write(".cargo/config.toml", "[target.'cfg(unix)']\nrunner = ['sh', '-c', 'exit 0']\n");
    listed(fixture.memprof("test --lib --memprofilerate 1")).succeed().complains("ran without being profiled");
    // An executable that ends before libtest begins.
    let early = "#[used]\n#[link_section = \".init_array\"]\nstatic EARLY: extern \"C\" fn() = early;\n\
                 extern \"C\" fn early() { std::process::exit(0) }\n#[test]\nfn it() {}\n";
    fixture.write(".cargo/config.toml", "");
    fixture.write("tests/early.rs", early);
    let _ = listed(fixture.memprof("test --test early")).run().ended_with(7).complains("it left no recording");
    // And libtest without a test that fits.
    let ran = listed(fixture.memprof("test --lib of_nobody")).succeed();
    assert!(!ran.stderr.contains("without being profiled"), "{}", ran.all());
}

/// What makes an option of rustc's stable for one crate must not open that crate's feature gates.
#[test]
fn a_feature_gate_is_as_shut_as_without_us() {
    let fixture = Fixture::copy("known");
    let feature = "#![feature(never_type)]\nfn main() {}\n#[test]\nfn it() {}\n";
    fixture.write("src/bin/gated.rs", feature);
    let plain = fixture.cargo("test --bin gated").run();
    let is_shut = plain.stderr.contains("E0554");
    for call in [fixture.memprof("run --bin gated"), listed(fixture.memprof("test --bin gated"))] {
        let ran = call.run();
        assert_eq!(ran.stderr.contains("E0554"), is_shut, "{}", ran.all());
        let _ = ran.ended_with(if is_shut { 101 } else { 0 });
    }
}
