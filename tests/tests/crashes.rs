//! A test that dies leaves what it allocated until then: a failed test, marked as cut short, with its metrics and its
//! profile. The others go on.

use memprof_tests::fixture::Fixture;
use memprof_tests::pprof::{Raw, can_read};

/// Each way to die stands behind the allocation of 1000 bytes.
const DEATHS: &[(&str, &str, &str)] = &[
    ("aborts", "std::process::abort()", "signal 6 (SIGABRT)"),
    ("exits_with_success", "std::process::exit(0)", "status 0"),
    ("exits_with_three", "std::process::exit(3)", "status 3"),
    ("exits_at_once", "unsafe { _exit(0) }", "status 0"),
    ("writes_to_nowhere", "unsafe { std::hint::black_box(8 as *mut u64).write_volatile(1) }", "signal 11 (SIGSEGV)"),
    ("overflows", "std::hint::black_box(deeper(1));", "signal 6 (SIGABRT)"),
    (
        "is_killed",
        "{ std::process::Command::new(\"sh\").args([\"-c\", \"kill -9 $PPID\"]).status().unwrap(); loop { std::thread::park() } }",
        "signal 9 (SIGKILL)",
    ),
];

fn recorded() -> Fixture {
    let fixture = Fixture::copy("known");
    let mut source = String::from(
        "#![allow(unused)]\nextern \"C\" {\n    fn _exit(status: i32) -> !;\n}\n#[inline(never)]\nfn keeps() {\n    std::mem::forget(vec![1_u8; 1000]);\n}\n\
         #[allow(unconditional_recursion)]\nfn deeper(level: u64) -> u64 {\n    \
         let frame = std::hint::black_box([level; 100]);\n    deeper(level + 1) + frame[3]\n}\n\
         #[test]\nfn lives() {\n    keeps();\n}\n",
    );
    for (name, death, _) in DEATHS {
        source.push_str(&format!("#[test]\nfn {name}() {{\n    keeps();\n    {death};\n}}\n"));
    }
    fixture.write("tests/deadly.rs", &source);
    fixture
}

#[test]
fn metrics_and_profile_are_there_and_marked_as_cut_short() {
    let fixture = recorded();
    let ran = fixture.memprof("test --test deadly --memprofilerate 1").run().ended_with(101);
    let summary = fixture.summary();
    for (name, _, text) in DEATHS {
        assert!(ran.stdout.contains(&format!("test {name} ... FAILED")), "{}", ran.all());
        assert!(ran.stdout.contains(text), "{text}: {}", ran.all());
        let test = summary.test(name);
        assert_eq!((test.outcome(), &test.json["cut_short"]), ("failed", &true.into()), "{name}");
        let metrics = test.metrics();
        assert!(metrics.alloc_space >= 1000 && metrics.inuse_space >= 1000, "{name}: {metrics:?}");
        if can_read() {
            let raw = Raw::read(&test.file("profile"));
            assert_eq!(raw.through("deadly::keeps")[0].values[..4], [1, 1000, 1, 1000], "{name}");
            assert!(raw.comments.iter().any(|comment| comment.contains("cut short")), "{:?}", raw.comments);
        }
    }
    let lives = summary.test("lives");
    assert_eq!((lives.outcome(), &lives.json["cut_short"]), ("ok", &false.into()));
}

#[test]
fn the_verdicts_of_tests_that_merely_fail_are_whole() {
    let fixture = Fixture::copy("verdicts");
    fixture.memprof("test --memprofilerate 1 -- --skip dies").run().ended_with(101);
    let summary = fixture.summary();
    for (name, outcome) in [
        ("panics::on_an_assertion", "failed"),
        ("panics::as_expected", "ok"),
        ("panics::with_another_text", "failed"),
        ("panics::not_at_all", "failed"),
        ("returns::an_error", "failed"),
        ("returns::seven", "failed"),
        ("leaves::a_thread_running", "ok"),
    ] {
        let test = summary.test(name);
        assert_eq!((test.outcome(), &test.json["cut_short"]), (outcome, &false.into()), "{name}");
    }
    let ignored = summary.tests().iter().filter(|test| test.name().starts_with("ignored::")).count();
    assert_eq!(ignored, 0, "a test that did not run has no metrics");
    assert_eq!(summary.test("panics::with_another_text").json["message"], "a big bang");
}

#[test]
fn a_ledger_that_was_broken_is_said_and_costs_nobody_elses() {
    let fixture = Fixture::copy("known");
    fixture.write(
        "tests/vandal.rs",
        "//! Overwrites the beginning of its own ledger, which it finds among its mappings.\n\
         use std::os::unix::fs::FileExt;\n\
         #[test]\nfn breaks() {\n    let maps = std::fs::read_to_string(\"/proc/self/maps\").unwrap();\n    \
         let line = maps.lines().find(|line| line.ends_with(\".ledger\"));\n    \
         let path = line.expect(\"a ledger\").split_at(line.unwrap().find('/').unwrap()).1;\n    \
         let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();\n    \
         file.write_all_at(b\"rubbish!\", 0).unwrap();\n}\n\
         #[test]\nfn behaves() {\n    std::hint::black_box(Box::new(1_u32));\n}\n",
    );
    let ran = fixture.memprof("test --test vandal --memprofilerate 1").run();
    let ran = ran.complains("warning: cannot read the ledger `").complains("caused by: it is not a ledger");
    ran.complains("help: run the tests again; if it stays, please report it with the ledger (`--keep-ledgers`)");
    let summary = fixture.summary();
    assert_eq!(summary.test("behaves").metrics().alloc_space, 4);
    assert_eq!(summary.json["run"]["unreadable_ledgers"], 1);
}
