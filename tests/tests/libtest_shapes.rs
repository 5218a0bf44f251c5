//! A toolchain whose libtest has another interface: the harness is compiled for the shape that is there, and what rustc's expansion
//! calls is the harness's or does not compile. The newer interface is that of a stand-in where the toolchain at hand is older.
#![allow(clippy::unwrap_used)] // tests throughout

use memprof_harness::ledger::{self, OutcomeCode};
use memprof_harness::libtest_shapes::{SHAPES, Shape};
use memprof_tests::output::comparable;
use memprof_tests::{libtest, workspace};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A libtest of the newer shape, and the harness that was compiled for it.
struct Built {
    /// Arguments of rustc's by which the name `test` is that libtest; none where it is the toolchain's own.
    newer: Vec<String>,
    harness: PathBuf,
    folder: PathBuf,
}

fn shape(name: &str) -> &'static Shape {
    SHAPES.iter().find(|shape| shape.name == name).unwrap()
}

fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libtest-shapes");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let mut newer = Vec::new();
        if !libtest::fits(shape("env_args"), &[]) {
            let stand_in = folder.join("libtest.rlib");
            let compile = |ordered: &[&str]| {
                let mut rustc = libtest::rustc("test");
                rustc.args(["--edition=2021", "--crate-type=rlib", "--crate-name=test", "-Cmetadata=stand-in"]);
                rustc.args(["-Aunexpected_cfgs"]).args(ordered);
                rustc.arg(workspace::fixtures().join("libtest/env_args.rs")).arg("-o").arg(&stand_in);
                rustc
            };
            // The libtest below it wants its tests in one of two forms.
            if !compile(&[]).output().unwrap().status.success() {
                succeed(&mut compile(&["--cfg=ordered"]));
            }
            newer = vec!["--extern".to_owned(), format!("test={}", stand_in.display())];
        }
        let harness = folder.join("libmemprof_harness.rlib");
        let mut rustc = libtest::rustc("memprof_harness");
        rustc.args(["--edition=2021", "--crate-type=rlib", "--crate-name=memprof_harness", "--cfg=memprof_injected"]);
        rustc.args(["-Copt-level=3", "-Cmetadata=memprof", "-Cforce-frame-pointers=yes", "-Dwarnings"]);
        rustc.args(["-Aunexpected_cfgs"]).args(libtest::flags(&newer)).args(&newer);
        rustc.arg(workspace::fixtures().join("../memprof-harness/src/lib.rs")).arg("-o").arg(&harness);
        succeed(&mut rustc);
        Built { newer, harness, folder }
    })
}

/// Compiles the hand-written expansion with libtest itself, or with the harness in its place.
fn compile(name: &str, recorded: bool, cfg: Option<&str>) -> (PathBuf, Output) {
    let built = built();
    let exe = built.folder.join(name).join("expanded");
    std::fs::create_dir_all(exe.parent().unwrap()).unwrap();
    let mut rustc = libtest::rustc("expanded");
    rustc.args(["--edition=2021", "--crate-name=expanded", "-Cforce-frame-pointers=yes", "-Zcrate-attr=feature(test)"]);
    rustc.args(cfg.iter().flat_map(|cfg| ["--cfg", cfg])).args(["-Aunexpected_cfgs"]);
    if cfg == Some("abort") {
        rustc.args(["-Cpanic=abort", "-Zpanic-abort-tests"]);
    }
    if recorded {
        let mut harness = OsString::from("test=");
        harness.push(&built.harness);
        rustc.arg("--extern").arg(harness).arg("-L").arg(&built.folder);
    } else {
        rustc.args(&built.newer);
    }
    rustc.arg(workspace::fixtures().join("libtest/expanded.rs")).arg("-o").arg(&exe);
    let output = rustc.output().unwrap();
    (exe, output)
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn run(exe: &Path, arguments: &str, ledgers: Option<&Path>) -> (String, String, Option<i32>) {
    let mut command = Command::new(exe);
    command.args(arguments.split_whitespace()).env("RUST_BACKTRACE", "0");
    for name in ["RUST_TEST_THREADS", "RUST_TEST_NOCAPTURE", "RUST_MIN_STACK"] {
        command.env_remove(name);
    }
    if let Some(ledgers) = ledgers {
        command.env("MEMPROF_LEDGERS", ledgers).env("MEMPROF_RATE", "1");
    }
    let output = command.output().unwrap();
    let clean = |bytes: Vec<u8>| comparable(&String::from_utf8_lossy(&bytes).replace(exe.to_str().unwrap(), "EXE"));
    (clean(output.stdout), clean(output.stderr), output.status.code())
}

#[test]
fn exactly_one_probe_compiles_with_each_libtest() {
    let fitting = |arguments: &[String]| -> Vec<&str> {
        SHAPES.iter().filter(|shape| libtest::fits(shape, arguments)).map(|shape| shape.name).collect()
    };
    assert_eq!(fitting(&built().newer), ["env_args"]);
    assert_eq!(fitting(&[]).len(), 1);
}

#[test]
fn with_the_newer_interface_tests_are_recorded_and_print_what_libtest_prints() {
    let (plain, output) = compile("plain", false, None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (recorded, output) = compile("recorded", true, None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (at, arguments) in [
        "--test-threads=1",
        "--test-threads=1 panics",
        "--test-threads=1 --include-ignored --nocapture",
        "--list",
        "--no-such-flag",
        "nobody",
    ]
    .into_iter()
    .enumerate()
    {
        let ledgers = built().folder.join(format!("ledgers-{at}"));
        assert_eq!(run(&plain, arguments, None), run(&recorded, arguments, Some(&ledgers)), "{arguments}");
        // Where nobody asks, it is plain libtest.
        assert_eq!(run(&plain, arguments, None), run(&recorded, arguments, None), "{arguments}");
    }
    let counted = counted(&built().folder.join("ledgers-0"));
    let names: Vec<&str> = counted.keys().map(String::as_str).collect();
    assert_eq!(names, ["fails", "frees_what_it_makes", "has_an_error", "is_measured", "panics", "panics_so"]);
    assert_eq!(counted["frees_what_it_makes"], (1, 1000, OutcomeCode::Ok));
    assert_eq!(counted["is_measured"].2, OutcomeCode::Ok);
    assert_eq!(counted["has_an_error"].2, OutcomeCode::Failed);
    assert_eq!((counted["fails"].2, counted["panics_so"].2), (OutcomeCode::Failed, OutcomeCode::Ok));
}

#[test]
fn with_the_newer_interface_a_benchmark_has_one_iteration_recorded() {
    let (recorded, output) = compile("benched", true, None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ledgers = built().folder.join("ledgers-bench");
    let (stdout, _, status) = run(&recorded, "--bench", Some(&ledgers));
    assert_eq!(status, Some(0), "{stdout}");
    assert!(stdout.contains("test is_measured ... bench:"), "{stdout}");
    assert_eq!(counted(&ledgers)["is_measured"], (1, 2000, OutcomeCode::Ok));
}

#[test]
fn with_the_newer_interface_a_test_that_aborts_by_panicking_is_recorded() {
    let (recorded, output) = compile("aborting", true, Some("abort"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ledgers = built().folder.join("ledgers-abort");
    let (stdout, _, status) = run(&recorded, "panics frees", Some(&ledgers));
    assert_eq!(status, Some(0), "{stdout}");
    assert_eq!(counted(&ledgers)["frees_what_it_makes"], (1, 1000, OutcomeCode::Ok));
    assert_eq!(counted(&ledgers)["panics"].2, OutcomeCode::Ok);
}

#[test]
fn an_entry_point_that_no_harness_knows_does_not_compile_and_never_runs_unrecorded() {
    let (_, output) = compile("tomorrow-plain", false, Some("tomorrow"));
    // Only the stand-in has it.
    assert_eq!(output.status.success(), !built().newer.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let (_, output) = compile("tomorrow", true, Some("tomorrow"));
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("`test_main_of_tomorrow`"));
}

/// Objects and bytes that each test allocated, and its verdict.
fn counted(ledgers: &Path) -> BTreeMap<String, (u64, u64, OutcomeCode)> {
    let paths = std::fs::read_dir(ledgers).unwrap().map(|entry| entry.unwrap().path());
    let ledgers = paths.filter(|path| path.extension().is_some_and(|end| end == "ledger")).map(|path| {
        let ledger = ledger::read(&std::fs::read(&path).unwrap()).unwrap();
        let counters = ledger.counters;
        (ledger.identity.name, (counters.alloc_objects, counters.alloc_space, ledger.end.outcome.unwrap()))
    });
    ledgers.collect()
}
