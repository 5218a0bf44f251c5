//! The tests are run by nextest, as it does, and each has its profile. Verdicts and the exit code are nextest's.

use memprof_tests::fixture::Fixture;
use memprof_tests::summary::Summary;
use memprof_tests::{command, tool};
use std::process::Command;

fn is_there() -> bool {
    tool::has("cargo", &["nextest", "--version"], "profiles of what nextest runs")
}

fn tests(summary: &Summary) -> Vec<String> {
    let row = |test: &memprof_tests::summary::Test<'_>| {
        let metrics = test.metrics();
        format!("{} {} {} {}", test.name(), test.outcome(), metrics.alloc_objects, metrics.alloc_space)
    };
    summary.tests().iter().map(row).collect()
}

#[test]
fn metrics_are_those_of_cargo_memprof_test_and_partitions_merge() {
    if !is_there() {
        return;
    }
    let fixture = Fixture::copy("growing");
    fixture.memprof("test --save-baseline").succeed();
    fixture.memprof("test --memprofilerate 1").succeed();
    let whole = fixture.summary();
    let ran = fixture.memprof("nextest run --memprofilerate 1").succeed();
    ran.complains("3 tests run: 3 passed, 1 skipped").complains("Profiled 3 tests");
    assert_eq!(tests(&fixture.summary()), tests(&whole));
    assert_eq!(fixture.summary().json["not_run"], whole.json["not_run"]);
    fixture.summary().test("tests::loads_three_rows").file("profile");
    for (arguments, filtered) in [("--retries 2 --status-level=fail", false), ("-E test(three)", true)] {
        fixture.memprof(&format!("nextest run {arguments}")).succeed();
        assert_eq!(fixture.summary().json["run"]["filtered"], filtered, "{arguments}");
    }
    fixture.memprof("nextest run --memprofilerate 1").succeed();
    fixture.memprof("gate --no-run").succeed().says("within budget");

    for scheme in ["slice", "hash"] {
        for share in ["1", "2"] {
            let partition =
                format!("nextest run --partition {scheme}:{share}/2 --no-tests=pass --memprofile {scheme}{share}");
            fixture.memprof(&partition).succeed();
        }
        fixture.memprof(&format!("merge {scheme}1 {scheme}2")).succeed().complains("Merged 3 tests of 2 shards");
        assert_eq!(tests(&fixture.summary()), tests(&whole));
        let missing = fixture.memprof(&format!("merge {scheme}1")).run().ended_with(6);
        missing.complains(&format!("missing: {scheme}:2/2"));
    }

    fixture.memprof("nextest run --memprof-only three -E test(loads)").succeed().says("1 test (1 more not profiled)");
    fixture.memprof("nextest list").run().ended_with(2).complains("of nextest's commands only `run` runs tests");
}

#[test]
fn of_a_test_that_is_retried_the_last_attempt_is_kept() {
    if !is_there() {
        return;
    }
    let fixture = Fixture::copy("growing");
    fixture.write(
        "tests/flaky.rs",
        "fn attempt() -> usize {\n    std::env::var_os(\"NEXTEST_ATTEMPT\").map_or(0, |number| usize::from(number.as_encoded_bytes()[0] - b'0'))\n}\n\
         #[test]\nfn second_time() {\n    let attempt = attempt();\n    std::mem::forget(vec![1_u8; 1000 * attempt]);\n    assert!(attempt > 1);\n}\n\
         #[test]\nfn never() {\n    std::mem::forget(vec![1_u8; 100 * attempt()]);\n    std::process::abort();\n}\n",
    );
    let ran = fixture.memprof("nextest run --test flaky --retries 2 --no-fail-fast --memprofilerate 1").run();
    // nextest's own code for failed tests.
    let ran = ran.ended_with(100).complains("1 flaky").complains("SIGABRT");
    let summary = fixture.summary();
    assert_eq!(summary.tests().len(), 2, "{}", ran.all());
    let (second, never) = (summary.test("second_time"), summary.test("never"));
    assert_eq!((second.outcome(), second.metrics().inuse_space), ("ok", 2000));
    assert_eq!((never.outcome(), never.metrics().inuse_space), ("failed", 300));
    assert_eq!(never.json["cut_short"], true);
}

#[test]
fn tests_of_programs_with_a_main_of_their_own_are_recorded_too() {
    if !is_there() {
        return;
    }
    let fixture = Fixture::copy("programs");
    fixture.memprof("nextest run --test mimic --no-fail-fast --memprofilerate 1").run().ended_with(100);
    let summary = fixture.summary();
    let rows: Vec<_> = summary.tests().iter().map(|test| format!("{} {}", test.name(), test.outcome())).collect();
    assert_eq!(rows, ["fails failed", "leaks a name with spaces ok", "panics failed", "three ok"]);
    let metrics = |name: &str| summary.test(name).metrics();
    assert_eq!(metrics("leaks a name with spaces").inuse_space, 777);
    assert_eq!(metrics("three").alloc_objects, metrics("leaks a name with spaces").alloc_objects + 2);
}

#[test]
fn without_nextest_that_is_said() {
    let fixture = Fixture::copy("growing");
    let cargo = fixture.outside().join("cargo");
    std::fs::write(&cargo, "#!/bin/sh\n[ \"$1\" != nextest ] || { echo 'error: no such command: `nextest`' >&2; exit 101; }\nexec cargo \"$@\"\n")
        .expect("it can be written");
    std::fs::set_permissions(&cargo, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    let mut memprof = Command::new(tool::folder().join("cargo-memprof"));
    command::clean(&mut memprof);
    memprof.current_dir(fixture.root()).args(["memprof", "nextest", "run"]).env("CARGO", &cargo);
    let output = memprof.output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    for part in ["error: cannot run `cargo memprof nextest run`", "no such command: `nextest`", "help: install nextest"]
    {
        assert!(stderr.contains(part), "{stderr}");
    }
}

#[test]
fn an_archive_is_refused_because_it_was_built_without_the_harness() {
    let fixture = Fixture::copy("places");
    for flag in ["--archive-file", "--binaries-metadata"] {
        let refused = fixture.memprof("nextest run").args([flag, "archive.tar.zst"]).run().ended_with(2);
        refused.complains(&format!("`{flag}` runs what was built elsewhere")).never_says("--target-dir");
        let refused = fixture.memprof("nextest run").arg(format!("{flag}=archive")).run().ended_with(2);
        refused.complains("runs what was built elsewhere");
    }
}
