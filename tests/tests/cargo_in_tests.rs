//! Tests that have cargo run programs: those are recorded as the tests' children, and the tests notice nothing.

use memprof_tests::fixture::Fixture;
use memprof_tests::summary::{Summary, Test};
use memprof_tests::tool;
use serde_json::Value;
use std::collections::BTreeMap;

/// Program, blocks and bytes of each child.
fn children(test: &Test<'_>) -> Vec<(String, i64, i64)> {
    let number = |child: &Value, field: &str| child[field].as_i64().expect("a whole number");
    let row = |child: &Value| {
        let program = child["program"].as_str().expect("a text").to_owned();
        (program, number(child, "alloc_objects"), number(child, "alloc_space"))
    };
    test.json["children"].as_array().expect("`children` is a list").iter().map(row).collect()
}

/// The only child of the test.
fn child(summary: &Summary, test: &str) -> (String, i64, i64) {
    let mut all = children(&summary.test(test));
    assert_eq!(all.len(), 1, "{test}: {all:?}");
    all.remove(0)
}

#[test]
fn what_cargo_runs_for_a_test_is_its_child_and_not_in_its_metrics() {
    let fixture = Fixture::copy("running");
    fixture.memprof("test --test runs --memprofilerate 1 -- by_ starts_it what_a_flag").succeed();
    assert!(!fixture.path("target/debug").exists(), "the user's own build is left alone");
    let summary = fixture.summary();
    let [more, shown] = &children(&summary.test("what_a_flag_adds"))[..] else { panic!("two programs are run") };
    // 3 blocks, 60 bytes; the rest is what Rust's runtime allocates before `main`.
    let runtime = (shown.1 - 3, shown.2 - 60);
    assert_eq!(shown.0, "shown");
    let by_name = child(&summary, "by_name");
    // And the list of the arguments with the program's name in it, 2 blocks.
    assert_eq!((by_name.0.as_str(), by_name.1), ("running", runtime.0 + 3 + 1 + 2));
    assert_eq!(more, &("running".to_owned(), by_name.1 + 3, by_name.2 + 60));
    for test in ["by_variable", "by_constant", "by_shell"] {
        assert_eq!(child(&summary, test), by_name, "{test}");
    }
    // Whose name has another length.
    assert_eq!(child(&summary, "starts_it_directly").1, by_name.1);
    for test in summary.tests() {
        assert!(test.metrics().alloc_space < 1_000_000, "{}: {:?}", test.name(), test.metrics());
    }
    let run = &summary.json["run"];
    assert_eq!(run["children_alloc_objects"], 5 * by_name.1 + more.1 + shown.1);
    // What was built and compiled with another cargo in `CARGO` is not built again.
    let again = fixture.memprof("test --test runs --memprofilerate 1 -- by_constant --nocapture").succeed();
    let _ = again.never_says("Compiling").complains("Running `target/memprof/build/debug/running`");
}

#[test]
fn tests_that_call_cargo_end_as_ever() {
    let fixture = Fixture::copy("running");
    let plain = fixture.cargo("test --test runs").succeed();
    let profiled = fixture.memprof("test --test runs --memprofilerate 1").succeed();
    assert_eq!(profiled.verdicts(), plain.verdicts());
    let summary = fixture.summary();
    let programs = |test: &str| children(&summary.test(test)).into_iter().map(|child| child.0).collect::<Vec<_>>();
    assert_eq!(programs("streams_codes_and_signals_pass_through"), ["running"; 4]);
    for test in [
        "what_cargo_refuses_it_refuses",
        "other_commands_are_cargos",
        "without_an_environment",
        // What cannot be recorded is run all the same.
        "a_crate_in_whose_target_folder_nobody_else_can_build",
    ] {
        assert_eq!(programs(test), [""; 0], "{test}");
    }
    // The crate is gone, but not what its code was called.
    assert_eq!(programs("a_crate_of_its_own"), ["made"]);
    let made = &summary.test("a_crate_of_its_own").json["children"][0];
    let svg = summary.folder.join(made["files"]["alloc_space"].as_str().expect("a flamegraph"));
    assert!(std::fs::read_to_string(svg).expect("it is text").contains("made::main"));
}

#[test]
fn what_is_compiled_has_the_names_that_it_would_have_without_us() {
    let fixture = Fixture::copy("running");
    fixture.cargo("build --bin running").succeed();
    fixture.memprof("run --bin running").succeed();
    let names = |build: &str| {
        let bytes = std::fs::read(fixture.path(build).join("debug/running")).expect("it was built");
        // As older and newer compilers begin the name of a function in the crate's root.
        ["_ZN7running".as_bytes(), b"_RNvCs"].map(|name| bytes.windows(name.len()).any(|bytes| bytes == name))
    };
    // The newer one may be a dependency's or the standard library's.
    assert_eq!(names("target/memprof/build")[0], names("target")[0]);
    assert!(names("target").contains(&true));
}

#[test]
fn who_is_not_recorded_has_the_real_cargo() {
    let fixture = Fixture::copy("running");
    fixture.memprof("test --test runs --memprof-only nothing -- by_").succeed();
    assert!(fixture.path("target/debug/running").exists());
}

/// The two environments that the fixture wrote down, without what is told by folders of the build.
fn environments(fixture: &Fixture) -> [BTreeMap<String, String>; 2] {
    let text = fixture.read("environments");
    let (test, program) = text.split_once("\n\n").expect("there are two");
    [test, program].map(|text| {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let kept = lines.filter(|(name, _)| *name != "LD_LIBRARY_PATH" && !name.starts_with("CARGO_BIN_EXE_"));
        kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    })
}

#[test]
fn a_test_sees_another_cargo_and_what_cargo_runs_for_it_does_not() {
    let fixture = Fixture::copy("running");
    let wrapper = fixture.path("wrapper");
    fixture.write("wrapper", "#!/bin/sh\nprintf x >> \"$WRAPPED\"\nexec \"$@\"\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&wrapper, mode).expect("the copy can be written to");
    let wrapped = fixture.path("wrapped");
    let run = |call: memprof_tests::fixture::Call| {
        call.env("RUSTC_WRAPPER", &wrapper).env("WRAPPED", &wrapped).succeed();
        environments(&fixture)
    };
    let [test, program] = run(fixture.cargo("test --test runs -- environments"));
    let arguments = "test --test runs --memprofilerate 1 -- environments";
    let [mut recorded_test, mut recorded_program] = run(fixture.memprof(arguments));
    assert_eq!(program["RUSTC_WRAPPER"], wrapper.to_str().expect("a path in UTF-8"));
    let ours = recorded_test.remove("MEMPROF_PROGRAM").expect("it is set");
    assert_eq!(recorded_program.remove("MEMPROF_PROGRAM").as_ref(), Some(&ours));
    assert_eq!(recorded_program, program);
    let differing: Vec<&str> =
        test.iter().filter(|(name, value)| recorded_test.get(*name) != Some(value)).map(|(name, _)| &**name).collect();
    assert_eq!((differing, recorded_test.len()), (vec!["CARGO", "PATH"], test.len()));
    // The user's wrapper compiles what the nested cargo compiles.
    let before = fixture.read("wrapped").len();
    fixture.write("src/main.rs", &fixture.read("src/main.rs").replace("cfg!(feature = \"more\")", "false"));
    run(fixture.memprof("test --test runs --memprofilerate 1 -- environments"));
    assert!(fixture.read("wrapped").len() > before);
}

#[test]
fn nextest_and_the_native_hook_record_them_too() {
    let fixture = Fixture::copy("running");
    fixture.memprof("test --native --test runs --memprofilerate 1 -- by_name").succeed();
    let native = child(&fixture.summary(), "by_name");
    assert!(native.2 > 1_000_000, "{native:?}");
    if tool::has("cargo", &["nextest", "--version"], "programs that cargo runs under nextest") {
        fixture.memprof("nextest run --test runs --memprofilerate 1 by_constant").succeed();
        assert_eq!(child(&fixture.summary(), "by_constant").0, "running");
    }
}
