//! Programs with a `main` of their own and doctests that hang are ended when their time is up, as tests are. A program that
//! is in time notices nothing of it.

use memprof_tests::fixture::{Fixture, Ran};
use memprof_tests::summary::Test;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Seconds. Nothing that is to happen before takes a hundredth of it.
const TIME: &str = "--test-timeout=6";
/// Nothing takes so long.
const AMPLE: &str = "--test-timeout=3600";
const SAID: &str = "timed out after 6 s (--test-timeout)";

/// Verdict, whether the recording was cut short, blocks left and their bytes.
fn ended<'a>(test: &Test<'a>) -> (&'a str, bool, i64, i64) {
    let metrics = test.metrics();
    (test.outcome(), test.json["cut_short"] == true, metrics.inuse_objects, metrics.inuse_space)
}

#[test]
fn a_program_that_hangs_is_killed_and_keeps_its_profile() {
    let fixture = Fixture::copy("stuck_programs");
    let recorded =
        |does: &str| fixture.memprof("test --test whole --memprofilerate 1").arg(TIME).env("DOES", does).run();
    recorded("ends").ended_with(0);
    let summary = fixture.summary();
    let whole = summary.test("(whole program)");
    let metrics = whole.metrics();
    assert_eq!((whole.outcome(), &whole.json["cut_short"]), ("ok", &false.into()));

    let ran = recorded("hang").ended_with(101).says("holds them\n").says("TIMED OUT, cut short");
    ran.complains(&format!("error: `whole` {SAID}"));
    let summary = fixture.summary();
    let stuck = summary.test("(whole program)");
    let (outcome, cut_short, blocks, space) = ended(&stuck);
    assert!((outcome, cut_short) == ("timed_out", true) && blocks >= 3 && space >= 300, "{:?}", stuck.metrics());
    // Until it hangs it does what the other did.
    let allocated = (stuck.metrics().alloc_objects, stuck.metrics().alloc_space);
    assert_eq!(allocated, (metrics.alloc_objects, metrics.alloc_space));
    stuck.file("profile");

    fixture.memprof("test --test whole --save-baseline").env("DOES", "ends").succeed();
    let gated = fixture.memprof("gate --output-format junit --test whole").arg(TIME).env("DOES", "hang").run();
    gated.ended_with(101).says("message=\"the test itself timed out, so it was not compared\"");

    let ran = fixture.memprof("test --test whole --repeat 2").arg(TIME).env("DOES", "start").run();
    ran.ended_with(101).never_says("the process lived on");
    assert_eq!(fixture.summary().tests().len(), 1);
}

#[test]
fn a_test_of_a_program_that_lists_them_is_ended_alone() {
    let fixture = Fixture::copy("stuck_programs");
    let ran = fixture.memprof("test --test listed --memprofilerate 1").arg(TIME).run().ended_with(101);
    // The program itself ran the other one.
    let ran = ran.says("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out");
    let ran = ran.says("TIMED OUT, cut short").never_says("the process lived on");
    let ran = ran.complains(&format!("error: test `hangs` {SAID}"));
    let ran = ran.complains(&format!("error: test `hangs_with_a_process` {SAID}"));
    let summary = fixture.summary();
    let (ends, hangs) = (ended(&summary.test("ends")), ended(&summary.test("hangs")));
    assert_eq!((ends.0, ends.1, hangs.0, hangs.1), ("ok", false, "timed_out", true), "{}", ran.all());
    // What libtest-mimic holds while its test runs is there besides.
    assert!(hangs.2 >= 3 && hangs.3 >= 300, "{hangs:?}");
    assert_eq!((ends.2, ends.3), (1, 100));
    summary.test("hangs").file("profile");
    assert_eq!(summary.test("hangs_with_a_process").outcome(), "timed_out");
}

/// Runs the doctests, two of which hang.
fn doctests(fixture: &Fixture) -> Ran {
    let ran = fixture.memprof("test --doc --memprofilerate 1").arg(TIME).run().ended_with(101);
    let mut verdicts: Vec<String> =
        ran.verdicts().iter().map(|line| line[line.find("(line").expect("a line")..].to_owned()).collect();
    verdicts.sort();
    let failed = verdicts.iter().filter(|line| line.ends_with("FAILED")).count();
    assert_eq!((verdicts.len(), failed), (4, 2), "{verdicts:?}");
    let summary = fixture.summary();
    let rows = |outcome: &str| {
        let tests = summary.tests().into_iter().filter(|test| test.outcome() == outcome);
        let mut rows: Vec<_> = tests.map(|test| (ended(&test).1, ended(&test).2, ended(&test).3)).collect();
        rows.sort_unstable();
        rows
    };
    // What a panic leaves is std's.
    assert!(rows("ok").len() == 2 && rows("ok").contains(&(false, 1, 100)), "{:?}", rows("ok"));
    assert_eq!(rows("timed_out"), [(true, 0, 0), (true, 3, 300)]);
    ran.says("holds them").says(SAID).says("TIMED OUT, cut short")
}

#[test]
fn a_doctest_that_hangs_is_killed_and_keeps_its_profile() {
    doctests(&Fixture::copy("stuck_programs"));
}

#[test]
fn so_is_one_of_those_that_were_compiled_as_one() {
    let fixture = Fixture::copy("stuck_programs");
    fixture.replace("Cargo.toml", "edition = \"2021\"", "edition = \"2024\"");
    doctests(&fixture);
}

#[test]
fn a_program_in_time_has_its_streams_its_exit_code_and_its_signals() {
    let fixture = Fixture::copy("stuck_programs");
    let arguments = "test --test whole --memprofilerate 1";
    let mut call = fixture.memprof(arguments).arg(AMPLE).env("DOES", "echo");
    let command = call.command().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("it is piped").write_all(b"to and fro\n").expect("it is read");
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout.starts_with(b"to and fro\n") && stderr.contains("(exit status: 7)"), "{stderr}");
    let failed = fixture.memprof(arguments).arg(AMPLE).env("DOES", "abort").run();
    failed.complains("(signal: 6, SIGABRT: process abort signal)");
    assert_eq!(fixture.summary().test("(whole program)").outcome(), "unknown");

    // It may read from a terminal, which `script` makes, though such is not for a group of its own.
    let line = format!("cargo memprof {arguments} {AMPLE}");
    let mut call = fixture.in_terminal(&line).env("DOES", "a line");
    let mut child =
        call.command().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("`script` is everywhere");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(b"from the terminal\n").expect("it is read");
    let mut stdout = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut stdout).expect("it is text");
    assert!(stdout.contains("read: from the terminal") && child.wait().expect("it ends").success(), "{stdout}");

    // Ctrl-C reaches the program, which may take its time.
    let pipe = fixture.outside().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is everywhere").success());
    let mut call = fixture.memprof(arguments).arg(AMPLE).env("DOES", "take the signal").env("PIPE", &pipe);
    let command = call.command().process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = command.spawn().expect("it starts");
    let mut meeting = File::open(&pipe).expect("the pipe is there");
    meeting.read_exact(&mut [0; 4]).expect("the program writes four bytes");
    let sent = Command::new("sh").args(["-c", &format!("kill -INT -{}", run.id())]).status();
    assert!(sent.expect("sh is everywhere").success());
    assert_eq!(run.wait().expect("it ends").code(), Some(130));
    // Comes back when the program is gone too.
    meeting.read_to_end(&mut Vec::new()).expect("the program ends");
    let rows = std::fs::read_to_string(format!("{}-signal", pipe.display()));
    assert_eq!(rows.expect("the program left it"), "2");
}
