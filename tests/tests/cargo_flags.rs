//! Every flag of `cargo test` means what it always means: the same targets run, print the same and end the same.

use memprof_tests::fixture::Fixture;
use memprof_tests::output::assert_same;
use memprof_tests::tool;

/// Libtest's output is only the same in every run where one test follows the other.
const IN_TURN: &str = "-- --test-threads=1 --show-output";

/// Runs both in one copy, whose target folder they do not share.
fn same(fixture: &Fixture, arguments: &str) {
    let plain = fixture.cargo("test").args(arguments.split_whitespace()).run();
    let profiled = fixture.memprof("test").args(arguments.split_whitespace()).run();
    assert_same(&plain, &profiled);
}

#[test]
fn packages_and_targets_are_chosen_as_ever() {
    let fixture = Fixture::copy("shapes");
    for chosen in [
        "",
        "-p both",
        "-p both -p macros --lib",
        "--workspace --exclude odd",
        "--package macros --quiet",
        "--lib",
        "-p both --bin both",
        "--bins --examples",
        "--benches",
        "--test outside --test nests",
        "--test custom_main",
        "-p both --doc",
        "-p both --all-targets",
        "-p both same_name",
        "-p no-such-package",
        "--test no_such_test",
    ] {
        same(&fixture, &format!("{chosen} {IN_TURN}"));
    }
}

#[test]
fn features_profiles_and_configuration_count() {
    let fixture = Fixture::copy("shapes");
    for chosen in [
        "-p both --features more --lib",
        "-p both --features both/more --lib",
        "-p both --all-features --lib",
        "-p both --no-default-features --lib",
        "-p both --features none --lib",
        "-p both --release --lib",
        "-p both -r --bins",
        "-p both --profile release --lib",
        "-p both --profile slim --lib",
        "-p both --profile none --lib",
        "-p both --lib --config profile.test.debug-assertions=false",
    ] {
        same(&fixture, &format!("{chosen} {IN_TURN}"));
    }
}

#[test]
fn places_and_ways_of_working_are_chosen_as_ever() {
    let fixture = Fixture::copy("shapes");
    let host = tool::host();
    for chosen in [
        format!("-p both --target {host}"),
        "-p both --target no-such-target".to_owned(),
        "--manifest-path both/Cargo.toml --lib".to_owned(),
        "--manifest-path none/Cargo.toml".to_owned(),
        "-p both --offline --locked -j 1".to_owned(),
        "-p both --frozen --jobs=2 --lib".to_owned(),
        "-p both --color always --lib".to_owned(),
        "-p both --keep-going --lib".to_owned(),
        "-p both --lib -v".to_owned(),
        "-p both --lib --no-such-flag".to_owned(),
    ] {
        same(&fixture, &format!("{chosen} {IN_TURN}"));
    }
    same(&fixture, "-p both --lib --no-run");
}

#[test]
fn a_failing_target_stops_the_run_unless_told_otherwise() {
    let fixture = Fixture::copy("shapes");
    fixture.replace("both/src/main.rs", "std::hint::black_box(vec![22_u8; 22]);", "panic!(\"as a test may\");");
    for chosen in ["-p both", "-p both --no-fail-fast"] {
        let arguments = format!("{chosen} {IN_TURN}");
        let plain = fixture.cargo("test").args(arguments.split_whitespace()).run().ended_with(101);
        let profiled = fixture.memprof("test").args(arguments.split_whitespace()).run();
        assert_same(&plain, &profiled);
    }
}

#[test]
fn a_target_folder_of_ones_own_is_used() {
    let fixture = Fixture::copy("known");
    fixture.memprof("test --target-dir here --lib --memprofilerate 1").succeed();
    assert!(fixture.path("here/memprof").is_dir());
    assert!(!fixture.path("target").exists());
    fixture.memprof("test --lib").env("CARGO_TARGET_DIR", "there").succeed();
    assert!(fixture.path("there/memprof").is_dir());
    assert!(!fixture.path("target").exists());
    fixture.write(".cargo/config.toml", "[build]\ntarget-dir = \"elsewhere\"\n");
    fixture.memprof("test --lib").succeed();
    assert!(fixture.path("elsewhere/memprof").is_dir());
    assert!(!fixture.path("target").exists());
}

#[test]
fn messages_for_machines_stay_readable_for_machines() {
    let fixture = Fixture::copy("known");
    let ran = fixture.memprof("test --lib --no-run --message-format json").succeed();
    let executables = ran.stdout.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).expect("every line is JSON");
        message["executable"].as_str().map(str::to_owned)
    });
    let executables: Vec<String> = executables.collect();
    assert_eq!(executables.len(), 1, "{}", ran.all());
    assert!(std::path::Path::new(&executables[0]).exists());
}
