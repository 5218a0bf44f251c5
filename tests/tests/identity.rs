//! An executable is the same one whatever its target folder is called; and one that ran without leaving a recording is named,
//! and fails the gate.

use memprof_tests::fixture::Fixture;
use memprof_tests::tool;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// The lines of the baseline that are of tests, without their metrics.
fn lines(fixture: &Fixture) -> Vec<String> {
    let text = fixture.read("memprof.baseline");
    let tests = text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '@']));
    tests.map(|line| line.split(" alloc_objects=").next().unwrap_or(line).to_owned()).collect()
}

/// Saves a baseline with `arguments` and `variables` and checks that a test which allocates more fails the gate.
fn assert_gated(fixture: &Fixture, arguments: &[&str], variables: &[(&str, &str)]) {
    let call = |command: &str| {
        let call = fixture.memprof(command).args(arguments);
        variables.iter().fold(call, |call, (name, value)| call.env(name, value))
    };
    call("test --save-baseline").succeed();
    let expected = ["places doc/places src/lib.rs - hundred", "places lib/places tests::unit"];
    assert_eq!(lines(fixture), [&expected[..], &["places test/whole (whole program)"]].concat(), "{arguments:?}");
    call("gate --no-run").succeed().says("within budget: 3 tests");
    fixture.replace(
        "src/lib.rs",
        "fn unit() {\n",
        "fn unit() {\n        drop(std::hint::black_box(vec![1_u8; 9000]));\n",
    );
    call("gate --lib --allow not-run").run().ended_with(5).says("over budget places tests::unit");
}

#[test]
fn a_target_folder_with_dots_in_its_name_keeps_every_test() {
    let fixture = Fixture::copy("places");
    assert_gated(&fixture, &["--target-dir", "../built"], &[]);
    let fixture = Fixture::copy("places");
    assert_gated(&fixture, &[], &[("CARGO_TARGET_DIR", "src/../../built")]);
    let fixture = Fixture::copy("places");
    fixture.write(".cargo/config.toml", "[build]\ntarget-dir = \"../built\"\n");
    assert_gated(&fixture, &[], &[]);
}

#[test]
fn a_target_folder_behind_a_link_keeps_every_test() {
    let fixture = Fixture::copy("places");
    let real = fixture.outside().join("real");
    fs::create_dir(&real).expect("a folder can be made");
    symlink(&real, fixture.path("target")).expect("a link can be made");
    assert_gated(&fixture, &[], &[]);
    let fixture = Fixture::copy("places");
    let link = fixture.outside().join("link");
    symlink(fixture.outside(), &link).expect("a link can be made");
    let folder = link.join("built");
    assert_gated(&fixture, &[], &[("CARGO_TARGET_DIR", folder.to_str().expect("a temporary folder is UTF-8"))]);
    let fixture = Fixture::copy("places");
    let link = fixture.outside().join("link");
    symlink(fixture.root(), &link).expect("a link can be made");
    let manifest = link.join("Cargo.toml");
    assert_gated(&fixture, &["--manifest-path", manifest.to_str().expect("a temporary folder is UTF-8")], &[]);
}

#[test]
fn doctests_in_a_temporary_folder_behind_a_link_are_named() {
    let fixture = Fixture::copy("places");
    let link = fixture.outside().join("link");
    fs::create_dir(fixture.outside().join("temporary")).expect("a folder can be made");
    symlink(fixture.outside().join("temporary"), &link).expect("a link can be made");
    fixture.memprof("test --doc").env("TMPDIR", &link).succeed().never_says("left no recording");
    assert_eq!(fixture.summary().test("src/lib.rs - hundred (line 1)").text("kind"), "doc");
}

#[test]
fn a_runner_that_hands_on_no_environment_is_named_and_fails_the_gate() {
    let fixture = Fixture::copy("places");
    fixture.memprof("test --save-baseline").succeed();
    let runner = |words: &str| {
        let triple = tool::host();
        fixture.write(".cargo/config.toml", &format!("[target.{triple}]\nrunner = [{words}]\n"));
    };
    runner("\"env\", \"-i\"");
    let ran = fixture.memprof("test --lib --test whole").succeed();
    ran.complains("2 targets ran without being profiled")
        .complains("places (lib), whole (test): its runner `env -i` hands on no `MEMPROF_` variables")
        .never_says("no test was run");
    let summary = fixture.summary();
    assert_eq!(summary.json["tests"].as_array().map(Vec::len), Some(0));
    let lost = summary.json["unprofiled"].as_array().expect("`unprofiled` is a list");
    assert!(lost.len() == 2 && lost.iter().all(|one| one["not_recorded"] == true), "{lost:?}");
    fixture.memprof("gate --lib --test whole").run().ended_with(6);
    // What is recorded does not make up for what is not.
    fixture.write("memprof.baseline", &fixture.read("memprof.baseline").replace("\nplaces test/whole", "\n#"));
    let every_other = "case \"$1\" in *whole*) exec env -i \"$@\";; *) exec \"$@\";; esac";
    runner(&format!("\"sh\", \"-c\", {}, \"sh\"", serde_json::json!(every_other)));
    let gated = fixture.memprof("gate").run().ended_with(6);
    gated.says("1 target ran and left no recording: whole (test): its runner");
    fixture.memprof("gate --allow unprofiled").succeed().says("within budget: 2 tests");
}

#[test]
fn a_runner_that_starts_a_copy_is_recorded_under_the_names_of_what_it_copied() {
    let fixture = Fixture::copy("places");
    let triple = tool::host();
    fixture.memprof("test --save-baseline").succeed();
    let expected = lines(&fixture);
    let temporary = fixture.outside().join("copies");
    for copy in [
        "d=$(mktemp -d); cp -p \"$1\" $d/; p=$d/$(basename \"$1\"); shift; exec $p \"$@\"",
        "d=$(mktemp -d); cp -p \"$1\" $d/x; shift; exec $d/x \"$@\"",
        "mv \"$1\" \"$1.x\"; p=$1; shift; \"$p.x\" \"$@\"; r=$?; mv \"$p.x\" \"$p\"; exit $r",
        "d=$(mktemp -d); cp -p \"$1\" $d/; p=$d/$(basename \"$1\"); shift; $p \"$@\"; r=$?; rm -r $d; exit $r",
    ] {
        std::fs::create_dir_all(&temporary).expect("a temporary folder");
        let words = format!("\"sh\", \"-c\", {}, \"sh\"", serde_json::json!(copy));
        fixture.write(".cargo/config.toml", &format!("[target.{triple}]\nrunner = [{words}]\n"));
        let gated = fixture.memprof("gate").env("TMPDIR", &temporary).run().ended_with(0);
        gated.says("within budget").never_says("without being profiled").never_says("no names for the code");
        fixture.memprof("test --save-baseline").env("TMPDIR", &temporary).succeed();
        assert_eq!(lines(&fixture), expected, "{copy}");
        std::fs::remove_dir_all(&temporary).expect("it was just made");
    }
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
fn a_runner_that_is_the_loader_changes_nothing() {
    let fixture = Fixture::copy("places");
    let triple = tool::host();
    let tests = ["--lib", "--test", "whole"];
    let call = |command: &str| fixture.memprof(command).args(tests);
    call("test --save-baseline").succeed();
    let kept = fixture.read("memprof.baseline");
    fixture.write(".cargo/config.toml", &format!("[target.{triple}]\nrunner = [\"/lib64/ld-linux-x86-64.so.2\"]\n"));
    let gated = call("gate").succeed().says("within budget: 2 tests");
    gated.never_says("without being profiled").never_says("no names for the code");
    call("test --save-baseline").succeed();
    assert_eq!(fixture.read("memprof.baseline"), kept);
    // Calls have the program's names and lines.
    call("test --memprofilerate 1 --native").succeed();
    fixture.summary().test("tests::unit").file("alloc_objects");
}

#[test]
fn a_runner_that_changes_the_user_changes_no_verdict() {
    let as_nobody = ["--reuid=65534", "--clear-groups"];
    if !tool::has("setpriv", &[&as_nobody[..], &["true"]].concat(), "tests run as another user") {
        return;
    }
    let fixture = Fixture::copy("places");
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(fixture.outside(), everybody).expect("it is ours");
    let triple = tool::host();
    let words = format!("runner = [\"setpriv\", \"{}\", \"{}\"]", as_nobody[0], as_nobody[1]);
    fixture.write(".cargo/config.toml", &format!("[target.{triple}]\n{words}\n"));
    let plain = fixture.cargo("test --lib").run();
    let profiled = fixture.memprof("test --lib").run();
    memprof_tests::output::assert_same(&plain, &profiled);
    profiled.complains("places (lib): its runner `setpriv").never_says("make room on the disk");
}

/// Empties the environment before `main` does anything.
const CONSTRUCTOR: &str = r#"
extern "C" {
    fn clearenv() -> i32;
}
#[used]
#[link_section = ".init_array"]
static CLEAR: unsafe extern "C" fn() -> i32 = clearenv;
"#;

#[test]
fn a_test_executable_that_left_no_recording_for_no_known_reason_has_an_exit_code_of_its_own() {
    let fixture = Fixture::copy("places");
    fixture.write("tests/cleared.rs", &format!("{CONSTRUCTOR}\n#[test]\nfn passes() {{}}\n"));
    let ran = fixture.memprof("test --test cleared").run().ended_with(7);
    ran.says("test passes ... ok").complains("cannot record `cleared` (test)").complains("please report it");
    let saved = fixture.memprof("test --save-baseline").run().ended_with(7);
    saved.complains("was not written: not all of it was recorded");
    assert!(!fixture.path("memprof.baseline").exists());
    fixture.memprof("test --lib --save-baseline").succeed();
    fixture.memprof("gate --lib --test cleared").run().ended_with(6).says("cleared (test): it ran to its end");
    // Only where the tests pass: that they fail is the more important news.
    fixture.write("tests/cleared.rs", &format!("{CONSTRUCTOR}\n#[test]\nfn fails() {{ panic!() }}\n"));
    fixture.memprof("test --test cleared").run().ended_with(101).complains("it ended before its recording began");
}

#[test]
fn a_list_or_help_is_no_run_that_left_nothing() {
    let fixture = Fixture::copy("places");
    for flag in ["--list", "--help", "-qh"] {
        fixture.memprof("test --lib --").arg(flag).succeed().never_says("no recording");
    }
}

#[test]
fn a_target_with_a_test_runner_of_its_own_is_recorded_as_one_program() {
    if !tool::has("cargo", &["+nightly", "--version"], "`#![test_runner]`") {
        return;
    }
    let fixture = Fixture::copy("places");
    fixture.write(
        "src/lib.rs",
        "#![feature(custom_test_frameworks)]\n#![test_runner(crate::runner)]\n#[cfg(test)]\n\
         fn runner(tests: &[&dyn Fn()]) {\n    tests.iter().for_each(|test| test());\n    println!(\"{} ran\", tests.len());\n}\n\
         pub fn hundred() -> Vec<u8> {\n    vec![1; 100]\n}\n\
         #[cfg(test)]\n#[test_case]\nfn case() {\n    std::mem::forget(std::hint::black_box(hundred()));\n}\n",
    );
    for profile in ["dev", "release"] {
        let call = fixture.cargo("+nightly memprof test --lib --memprofilerate 1 --profile").arg(profile);
        call.succeed().says("1 ran").never_says("without being profiled");
        let summary = fixture.summary();
        let test = summary.test("(whole program)");
        assert_eq!((test.text("kind"), test.text("target"), test.outcome()), ("lib", "places", "ok"));
        assert!(test.metrics().inuse_space >= 100, "{:?}", test.metrics());
        // The others, beside it, are libtest's as ever.
        fixture.cargo("+nightly memprof test --test whole --profile").arg(profile).succeed();
    }
}
