//! What follows `--` goes to libtest and means what it always means. `verdicts` has more of them, without cargo.
//!
//! One test a command line: it is run with `cargo test` and with `cargo memprof test` in one copy of a fixture, and both must say the same.

use libtest_mimic::{Arguments, Trial};
use memprof_tests::fixture::Fixture;
use memprof_tests::output::assert_same;
use memprof_tests::tool;
use std::sync::{Arc, Mutex, PoisonError};

/// Fixtures, and what follows `test` in each.
const COMMAND_LINES: [(&str, &[&str]); 3] = [
    (
        "names",
        &[
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
        ],
    ),
    (
        "verdicts",
        &[
            "-- --test-threads=1 --skip dies",
            "-q -- --test-threads=1 --skip dies --skip ten",
            "-- -q --test-threads=1 --skip dies --skip ten",
            "-- --test-threads=1 --skip dies --skip ten --nocapture",
            "-- --test-threads=1 --skip dies --skip ten --show-output --color always",
            "-- --test-threads=1 --skip dies --ignored",
            "-- --test-threads=1 --skip dies --skip ten --include-ignored --format=terse",
            // Help has our flags at its end, so it begins as libtest's does.
            "-- --help",
            "-- --bogus",
            "-- --test-threads none",
        ],
    ),
    (
        // Unstable flags are refused as libtest refuses them.
        "known",
        &["-- --format json", "-- --report-time", "-- --shuffle", "-- -Zunstable-options --format junit"],
    ),
];

/// What follows `test` in the fixture `verdicts`, and variables of the environment.
const VARIABLES: [(&str, &[(&str, &str)]); 3] = [
    ("returns", &[ONE_THREAD]),
    ("prints::lines", &[ONE_THREAD, ("RUST_TEST_NOCAPTURE", "1")]),
    // Not less than the compiler itself needs.
    ("sees", &[ONE_THREAD, ("RUST_MIN_STACK", "16777216")]),
];
const ONE_THREAD: (&str, &str) = ("RUST_TEST_THREADS", "1");

/// A fixture that the tests of one group share, one at a time: cargo would say that it waits.
type Shared = Arc<Mutex<Fixture>>;

fn main() {
    let mut trials = Vec::new();
    for (name, lines) in COMMAND_LINES {
        let fixture: Shared = Arc::new(Mutex::new(Fixture::copy(name)));
        trials.extend(lines.iter().map(|line| trial(name, &fixture, line, &[])));
        if name == "verdicts" {
            trials.extend(VARIABLES.iter().map(|(line, variables)| trial(name, &fixture, line, variables)));
        }
    }
    trials.push(Trial::test("unstable_flags_work_on_nightly", || {
        unstable_flags_work_on_nightly();
        Ok(())
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn trial(name: &str, fixture: &Shared, line: &'static str, environment: &[(&'static str, &'static str)]) -> Trial {
    let variables = environment.iter().map(|(name, value)| format!("{name}={value} ")).collect::<String>();
    let (fixture, environment) = (Arc::clone(fixture), environment.to_owned());
    Trial::test(format!("{name}: {variables}cargo test {line}"), move || {
        // One that failed has changed nothing that the others see.
        let fixture = fixture.lock().unwrap_or_else(PoisonError::into_inner);
        same(&fixture, line, &environment);
        Ok(())
    })
}

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

/// As said, each on its own.
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
