//! What follows `--` goes to libtest and means what it always means. `verdicts` has more of them, without cargo.

use memprof_tests::fixture::Fixture;
use memprof_tests::output::assert_same;
use memprof_tests::tool;

fn same(fixture: &Fixture, arguments: &str, environment: &[(&str, &str)]) {
    let run = |command: &str| {
        let call = fixture.cargo(command).args(arguments.split_whitespace());
        environment.iter().fold(call, |call, (name, value)| call.env(name, value)).run()
    };
    let plain = run("test");
    let mut profiled = fixture.memprof("test").args(arguments.split_whitespace());
    for (name, value) in environment {
        profiled = profiled.env(name, value);
    }
    assert_same(&plain, &profiled.run());
}

#[test]
fn filters_and_lists_are_libtests() {
    let fixture = Fixture::copy("names");
    for arguments in [
        "-- --test-threads=1",
        "-- --list",
        "-- --list --format terse",
        "-- --exact tests::case::same",
        "tests::case -- --test-threads=1",
        "-- --test-threads=1 case type",
        "-- --test-threads=1 --skip case --skip longer",
        "no_such_test",
        "-- --exact tests::case",
        "tests::folder -- --test-threads 1 --skip file",
    ] {
        same(&fixture, arguments, &[]);
    }
}

#[test]
fn output_and_verdicts_are_libtests() {
    let fixture = Fixture::copy("verdicts");
    for arguments in [
        "-- --test-threads=1 --skip dies",
        "-q -- --test-threads=1 --skip dies --skip ten",
        "-- -q --test-threads=1 --skip dies --skip ten",
        "-- --test-threads=1 --skip dies --skip ten --nocapture",
        "-- --test-threads=1 --skip dies --skip ten --show-output --color always",
        "-- --test-threads=1 --skip dies --ignored",
        "-- --test-threads=1 --skip dies --skip ten --include-ignored --format=terse",
        "-- --help",
        "-- --bogus",
        "-- --test-threads none",
    ] {
        // Help has our flags at its end, so it begins as libtest's does.
        same(&fixture, arguments, &[]);
    }
    let one_thread = ("RUST_TEST_THREADS", "1");
    same(&fixture, "returns", &[one_thread]);
    same(&fixture, "prints::lines", &[one_thread, ("RUST_TEST_NOCAPTURE", "1")]);
    // Not less than the compiler itself needs.
    same(&fixture, "sees", &[one_thread, ("RUST_MIN_STACK", "16777216")]);
}

#[test]
fn unstable_flags_are_refused_as_libtest_refuses_them() {
    let fixture = Fixture::copy("known");
    for arguments in ["-- --format json", "-- --report-time", "-- --shuffle", "-- -Zunstable-options --format junit"] {
        same(&fixture, arguments, &[]);
    }
}

#[test]
fn unstable_flags_work_on_nightly() {
    if !tool::has("cargo", &["+nightly", "--version"], "libtest's unstable flags on nightly") {
        return;
    }
    let fixture = Fixture::copy("known");
    let nightly = |arguments: &str| {
        let call = fixture.cargo("+nightly memprof test --lib --memprofilerate 1 --keep-ledgers");
        call.args(arguments.split_whitespace()).env("RUSTUP_TOOLCHAIN", "").succeed()
    };
    let json = nightly("-q -- -Zunstable-options --format json --report-time");
    let events = json.stdout.lines().map_while(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let passed = events.filter(|event| event["type"] == "test" && event["event"] == "ok");
    assert_eq!(passed.count(), 20, "{}", json.all());
    assert_eq!(fixture.summary().json["run"]["filtered"], false);
    let shuffled = nightly("-- -Zunstable-options --shuffle-seed 7 --test-threads=1");
    assert_eq!(fixture.summary().json["run"]["filtered"], false);
    assert!(shuffled.stdout.contains("(shuffle seed: 7)"), "{}", shuffled.all());
    assert_eq!(fixture.ledgers()["tests::growing_vec"].counters.alloc_space, 1008);
}
