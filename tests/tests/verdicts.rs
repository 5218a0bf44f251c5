//! A test recorded in a process of its own prints, passes and fails as it does under plain libtest; and where libtest
//! dies with its test, the test fails and says how.
#![allow(clippy::unwrap_used)] // tests throughout

use memprof_harness::ledger::{self, Inventory, Ledger, OutcomeCode};
use memprof_tests::libtest;
use memprof_tests::output::comparable;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The fixture `verdicts`, compiled as cargo does it, and as `cargo memprof` does.
struct Executables {
    plain: PathBuf,
    recorded: PathBuf,
}

fn executables() -> &'static Executables {
    static BUILT: OnceLock<Executables> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let folder = fresh_folder("executables");
        let harness = folder.join("libmemprof_harness.rlib");
        let mut build = rustc();
        build.env("RUSTC_BOOTSTRAP", "1").args(["--edition=2021", "--crate-type=rlib", "--crate-name=memprof_harness"]);
        build.args(["--cfg=memprof_injected", "-Copt-level=3", "-Cmetadata=memprof", "-Cforce-frame-pointers=yes"]);
        build.args(["-Dwarnings", "-Aunexpected_cfgs"]).args(libtest::flags(&[]));
        succeed(build.arg(root.join("memprof-harness/src/lib.rs")).arg("-o").arg(&harness));
        let compile = |name: &str| {
            let exe = folder.join(name).join("verdicts");
            std::fs::create_dir(exe.parent().unwrap()).unwrap();
            let mut build = rustc();
            build.args(["--test", "--edition=2021", "-Awarnings"]).arg(root.join("fixtures/verdicts/src/lib.rs"));
            if name == "recorded" {
                let mut injected = std::ffi::OsString::from("test=");
                injected.push(&harness);
                build.arg("--extern").arg(injected);
            }
            succeed(build.arg("-o").arg(&exe));
            exe
        };
        Executables { plain: compile("plain"), recorded: compile("recorded") }
    })
}

fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn fresh_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("verdicts-{name}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs an executable and gives stdout, stderr and status, without what differs between any two runs.
fn run(exe: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> (String, String, Option<i32>) {
    let mut command = Command::new(exe);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("RUST_BACKTRACE", "0").envs(environment.iter().copied());
    // What libtest does is not to depend on where these tests run.
    for name in ["RUST_TEST_THREADS", "RUST_TEST_NOCAPTURE", "RUST_MIN_STACK"] {
        if environment.iter().all(|(set, _)| *set != name) {
            command.env_remove(name);
        }
    }
    let mut running = command.spawn().unwrap();
    // Held open, because the process that the fixture leaves behind is to outlive the run.
    let stdin = running.stdin.take();
    let output = running.wait_with_output().unwrap();
    drop(stdin);
    let exe = exe.to_str().unwrap();
    let clean = |bytes: Vec<u8>| comparable(&String::from_utf8_lossy(&bytes).replace(exe, "EXE"));
    (clean(output.stdout), clean(output.stderr), output.status.code())
}

fn assert_same(arguments: &[&str], environment: &[(&str, &str)]) {
    let executables = executables();
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let ledgers = fresh_folder(&RUNS.fetch_add(1, Ordering::Relaxed).to_string());
    let plain = run(&executables.plain, arguments, environment);
    let mut recording = vec![("MEMPROF_LEDGERS", ledgers.to_str().unwrap()), ("MEMPROF_RATE", "1")];
    recording.extend_from_slice(environment);
    let recorded = run(&executables.recorded, arguments, &recording);
    assert!(plain == recorded, "{arguments:?} {environment:?}\n{}", first_difference(&plain, &recorded));
}

fn first_difference(plain: &(String, String, Option<i32>), recorded: &(String, String, Option<i32>)) -> String {
    for (plain, recorded) in [(&plain.0, &recorded.0), (&plain.1, &recorded.1)] {
        let mut lines = plain.lines().zip(recorded.lines()).enumerate();
        if let Some((number, (plain, recorded))) = lines.find(|(_, (plain, recorded))| plain != recorded) {
            return format!("line {}\n  plain:    {plain}\n  recorded: {recorded}", number + 1);
        }
    }
    format!("one is longer, or the status differs: {:?} and {:?}", plain.2, recorded.2)
}

#[test]
fn every_flag_prints_what_libtest_prints() {
    for arguments in [
        "--test-threads=1 --skip dies",
        "--test-threads=1 --skip dies -q",
        "--test-threads 1 --skip dies --skip ten --show-output",
        "--test-threads=1 --skip dies --skip ten --nocapture",
        "--test-threads=1 --skip dies --skip ten --no-capture --color=always",
        "--test-threads=1 --skip dies --ignored",
        "--test-threads=1 --skip dies --skip ten --include-ignored --format terse",
        "--test-threads=1 returns panics --skip error",
        "--test-threads=1 --color never returns::an_error --exact returns::ok",
        "--list",
        "--list --format terse",
        "--list --ignored",
        "--bench --test-threads=1 returns",
        "--test --bench --test-threads=1 returns",
        "no_such_test",
        "-- --list",
        "--no-such-flag",
        "--test-threads=0",
        "--format=xml",
        "--format=json",
        "--report-time",
        "--skip",
    ] {
        assert_same(&arguments.split(' ').collect::<Vec<_>>(), &[]);
    }
}

#[test]
fn the_variables_of_libtest_count() {
    let one_thread = ("RUST_TEST_THREADS", "1");
    assert_same(&["returns", "panics"], &[one_thread, ("RUST_TEST_NOCAPTURE", "1")]);
    assert_same(&["returns", "panics"], &[one_thread, ("RUST_TEST_NOCAPTURE", "0")]);
    assert_same(&["sees"], &[one_thread, ("RUST_MIN_STACK", "65536")]);
}

#[test]
fn a_test_under_which_libtest_dies_fails_and_says_how() {
    let ledgers = fresh_folder("dying");
    let environment = [("MEMPROF_LEDGERS", ledgers.to_str().unwrap())];
    let (stdout, _, status) = run(&executables().recorded, &["dies", "--ignored", "--test-threads=2"], &environment);
    assert_eq!(status, Some(101));
    assert!(stdout.contains("test result: FAILED. 1 passed; 8 failed;"), "{stdout}");
    let shown = |name: &str| stdout.split("---- ").find_map(|section| section.strip_prefix(name)).unwrap_or_default();
    for (name, text) in [
        ("dies::by_abort stdout", "last words\ntest process was killed by signal 6 (SIGABRT)\n"),
        ("dies::by_abort_instead_of_a_panic", "was killed by signal 6 (SIGABRT)\nnote: test did not panic"),
        ("dies::by_sigkill", "test process was killed by signal 9 (SIGKILL)\n"),
        ("dies::by_stack_overflow", "has overflowed its stack"),
        ("dies::by_stack_overflow", "test process was killed by signal 6 (SIGABRT)\n"),
        ("dies::by_exit_0", "leaving\ntest process exited with status 0 before the test ended\n"),
        ("dies::by_exit_101", "test process exited with status 101 before the test ended\n"),
        ("dies::by_a_panic_in_a_panic", "second"),
        ("dies::by_a_panic_in_a_panic", "test process was killed by signal 6 (SIGABRT)\n"),
        ("dies::printing_what_is_not_utf8", "a\u{fffd}\u{fffd}b\n"),
    ] {
        assert!(shown(name).contains(text), "{name} does not say {text:?}:\n{stdout}");
    }
    for (name, ledger) in read_all(&ledgers) {
        let left = name == "dies::never_but_leaves_a_process_that_holds_its_output";
        let ended = left || name == "dies::printing_what_is_not_utf8";
        assert_eq!(ledger.end.outcome, Some(if left { OutcomeCode::Ok } else { OutcomeCode::Failed }), "{name}");
        assert!(ledger.end.started, "{name}");
        assert_eq!(ledger.end.whole, ended, "{name}");
    }
}

#[test]
fn ledgers_agree_with_what_is_printed() {
    let ledgers = fresh_folder("outcomes");
    let environment = [("MEMPROF_LEDGERS", "/nonexistent"), ("MEMPROF_RATE", "x")];
    // The flags win over the environment.
    let flags =
        ["--memprofilerate=1", "--memprofile", ledgers.to_str().unwrap(), "--skip", "dies", "--include-ignored"];
    let (stdout, _, _) = run(&executables().recorded, &flags, &environment);
    let ledgers = read_all(&ledgers);
    let printed: BTreeMap<&str, &str> = stdout
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "))
        .map(|(name, verdict)| (name.trim_end_matches(" - should panic"), verdict))
        .collect();
    assert_eq!(printed.len(), ledgers.len());
    for (name, ledger) in &ledgers {
        let expected = if printed[name.as_str()] == "ok" { OutcomeCode::Ok } else { OutcomeCode::Failed };
        assert_eq!(ledger.end.outcome, Some(expected), "{name}");
        assert!(ledger.end.whole, "{name}");
        assert!(ledger.identity.source_file.ends_with("fixtures/verdicts/src/lib.rs"), "{name}");
        assert_eq!(ledger.rate, 1);
    }
    let counters = |name: &str| ledgers[name].counters;
    assert_eq!(counters("returns::nothing").alloc_objects, 0);
    assert_eq!(counters("returns::nothing").frees, 0);
    assert_eq!(counters("prints::no_newline").alloc_objects, 0);
    let thousand = counters("returns::after_allocating_a_thousand_bytes");
    assert_eq!((thousand.alloc_objects, thousand.alloc_space, thousand.peak_space), (1, 1000, 1000));
    // What a failing test allocates is its own: printing the error, the message and the backtrace is not.
    assert_eq!(counters("returns::an_error").alloc_objects, 1);
    assert_eq!(counters("panics::as_expected").inuse_objects, 0);
    assert_eq!(ledgers["panics::with_another_text"].end.message.as_deref(), Some("a big bang"));
}

#[test]
fn bad_values_of_our_flags_are_refused_and_help_names_them() {
    let recorded = &executables().recorded;
    for (arguments, text) in [
        (&["--memprofilerate", "-1"][..], "error: cannot use `-1` as the rate in `--memprofilerate`\n"),
        (&["--memprofilerate=x"], "error: cannot use `x` as the rate in `--memprofilerate`\n"),
        (&["--memprofilerate"], "error: cannot use `--memprofilerate`\n  caused by: it has no value\n"),
        (&["--memprofile", "/proc/none"], "error: cannot keep ledgers in `/proc/none`\n"),
    ] {
        let (stdout, stderr, status) = run(recorded, arguments, &[]);
        assert_eq!((stdout.as_str(), status), ("", Some(101)), "{arguments:?}");
        assert!(stderr.starts_with(text), "{arguments:?}: {stderr}");
        assert!(stderr.contains("\n  help: "), "{arguments:?}: {stderr}");
    }
    let (plain, _, _) = run(&executables().plain, &["--help"], &[]);
    let (help, _, status) = run(recorded, &["--help"], &[]);
    assert_eq!(status, Some(0));
    let ours = help.strip_prefix(plain.as_str()).unwrap();
    assert!(ours.contains("--memprofilerate N") && ours.contains("--memprofile DIR"), "{ours}");
}

fn read_all(folder: &Path) -> BTreeMap<String, Ledger> {
    let mut ledgers = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if [Inventory::EXTENSION, Inventory::BEGUN].iter().any(|list| path.extension().unwrap() == *list) {
            continue;
        }
        assert_eq!(path.extension().unwrap(), "ledger", "nothing but ledgers and their lists is left behind");
        let ledger = ledger::read(&std::fs::read(&path).unwrap()).unwrap();
        assert!(ledgers.insert(ledger.identity.name.clone(), ledger).is_none(), "{}", path.display());
    }
    ledgers
}

#[test]
fn the_advice_to_ask_for_a_backtrace_is_given_once() {
    let fixture = memprof_tests::fixture::Fixture::copy("known");
    let test = |name: &str| format!("#[test]\nfn {name}() {{\n    panic!(\"as it must\");\n}}\n");
    fixture.write("tests/fails.rs", &[test("one"), test("two"), test("three")].concat());
    let count = |ran: memprof_tests::fixture::Ran| ran.ended_with(101).stdout.matches("RUST_BACKTRACE").count();
    assert_eq!(count(fixture.cargo("test --test fails").run()), 1);
    assert_eq!(count(fixture.memprof("test --test fails").run()), 1);
}
