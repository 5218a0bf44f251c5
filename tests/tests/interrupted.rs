//! Ctrl-C in mid-run: everything ends, nobody is left behind, and what was recorded until then is there and is marked.
//!
//! The test in the fixture meets the story at a named pipe, so no clock is involved.

use memprof_tests::fixture::Fixture;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The second test says who it is, opens the pipe, which says that it runs, and stays.
const WAITING: &str = r#"
use std::io::Write;

#[test]
fn a_finishes() {
    std::hint::black_box(Box::new(1_u32));
}

#[test]
fn waits() {
    let pipe = std::env::var("PIPE").unwrap();
    std::fs::write(format!("{pipe}-test"), std::process::id().to_string()).unwrap();
    let mut pipe = std::fs::OpenOptions::new().write(true).open(pipe).unwrap();
    pipe.write_all(b"here").unwrap();
    loop {
        std::thread::park();
    }
}
"#;

fn waiting() -> (Fixture, PathBuf) {
    let fixture = Fixture::copy("known");
    fixture.write("tests/waiting.rs", WAITING);
    let pipe = fixture.outside().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is everywhere");
    assert!(made.success());
    (fixture, pipe)
}

/// Sends a signal to a process, or to a whole group if `target` begins with a dash.
fn signal(name: &str, target: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {target}")]).status().expect("sh is everywhere");
    assert!(sent.success(), "kill -{name} {target}");
}

/// A run in a process group of its own, with a test in the middle of it.
struct Running {
    run: Child,
    /// The story's end of the pipe.
    meeting: File,
    stderr: PathBuf,
}

impl Running {
    fn start(fixture: &Fixture, pipe: &Path) -> Running {
        let stderr = fixture.outside().join("stderr");
        let mut call = fixture.memprof("test --test waiting --memprofilerate 1 -- --test-threads=1").env("PIPE", pipe);
        let command = call.command();
        // A file and no pipe: whoever is left behind would keep a pipe open.
        let file = File::create(&stderr).expect("the temporary folder can be written to");
        command.process_group(0).stdout(Stdio::null()).stderr(file);
        let run = command.spawn().expect("it starts");
        // Comes back when the test has opened the other end.
        let mut meeting = File::open(pipe).expect("the pipe is there");
        meeting.read_exact(&mut [0; 4]).expect("the test writes four bytes");
        Running { run, meeting, stderr }
    }

    fn process(&self) -> String {
        self.run.id().to_string()
    }

    fn group(&self) -> String {
        format!("-{}", self.run.id())
    }

    /// Waits until the program has ended. Gives the exit code, or the signal negated, and stderr.
    fn ends(&mut self) -> (i32, String) {
        let status = self.run.wait().expect("it ends");
        let code = status.code().or(status.signal().map(|signal| -signal)).expect("either of the two");
        (code, fs::read_to_string(&self.stderr).expect("it is text"))
    }

    /// Waits until the last process that has the other end of the pipe open is gone: the test.
    fn leaves_nobody(mut self) {
        self.meeting.read_to_end(&mut Vec::new()).expect("the test ends");
    }
}

fn nothing_looks_whole(fixture: &Fixture) {
    assert!(!fixture.path("target/memprof/summary.json").exists());
    assert!(!fixture.path("target/memprof/profile.pb.gz").exists());
}

#[test]
fn ctrl_c_ends_everything_and_leaves_what_was_recorded_until_then() {
    let (fixture, pipe) = waiting();
    let mut running = Running::start(&fixture, &pipe);
    signal("INT", &running.group());
    let (code, stderr) = running.ends();
    running.leaves_nobody();
    assert_eq!(code, 130, "{stderr}");
    assert!(stderr.contains("the run was interrupted\n  caused by: 2 tests had begun"), "{stderr}");
    let summary = fixture.summary();
    assert_eq!(summary.json["run"]["interrupted"], true);
    assert_eq!((summary.test("a_finishes").outcome(), summary.test("a_finishes").metrics().alloc_objects), ("ok", 1));
    assert_eq!(summary.test("waits").json["cut_short"], true);
    assert!(summary.test("a_finishes").file("profile").exists());
    assert_eq!(last_command(&fixture), (130.into(), true, true));
    let scratch = fs::read_dir(fixture.path("target/memprof")).expect("it is there");
    let scratch =
        scratch.filter(|entry| entry.as_ref().expect("one").file_name().to_string_lossy().starts_with(".run-"));
    assert_eq!(scratch.count(), 0);
    // It is no whole run, so nobody takes it for one.
    fixture.memprof("accept").run().ended_with(6).complains("it was interrupted");
    assert!(!fixture.path("memprof.baseline").exists());
    fixture.memprof("test --lib --save-baseline").succeed();
    let mut running = Running::start(&fixture, &pipe);
    signal("INT", &running.group());
    running.ends();
    running.leaves_nobody();
    fixture.memprof("gate --no-run").run().ended_with(130).says("the run was interrupted");
}

/// What the last command ended with, whether it produced the outputs, and whether it was interrupted.
fn last_command(fixture: &Fixture) -> (serde_json::Value, bool, bool) {
    let last: serde_json::Value =
        serde_json::from_str(&fixture.read("target/memprof/last-command.json")).expect("it is JSON");
    (last["exit"].clone(), last["produced"] == true, last["interrupted"] == true)
}

#[test]
fn a_polite_end_of_the_program_alone_ends_it_and_cargo() {
    let (fixture, pipe) = waiting();
    let mut running = Running::start(&fixture, &pipe);
    signal("TERM", &running.process());
    let (code, stderr) = running.ends();
    // Cargo passes no signal on to the tests, so they go on as they do under plain cargo.
    signal("KILL", &running.group());
    running.leaves_nobody();
    assert_eq!(code, 143, "{stderr}");
    assert_eq!(fixture.summary().json["run"]["interrupted"], true);
    assert_eq!(last_command(&fixture), (143.into(), true, true));
}

#[test]
fn a_terminal_that_is_closed_ends_everything_and_leaves_what_was_recorded_until_then() {
    let (fixture, pipe) = waiting();
    let mut running = Running::start(&fixture, &pipe);
    signal("HUP", &running.group());
    let (code, stderr) = running.ends();
    running.leaves_nobody();
    assert_eq!(code, 129, "{stderr}");
    assert_eq!(fixture.summary().json["run"]["interrupted"], true);
    assert_eq!(fixture.summary().test("a_finishes").metrics().alloc_objects, 1);
    assert_eq!(last_command(&fixture), (129.into(), true, true));
}

#[test]
fn a_killed_program_leaves_no_test_running_and_the_next_run_cleans_up() {
    let (fixture, pipe) = waiting();
    // The whole group, as a CI system ends a job.
    let mut running = Running::start(&fixture, &pipe);
    signal("KILL", &running.group());
    assert_eq!(running.ends().0, -9);
    running.leaves_nobody();
    nothing_looks_whole(&fixture);
    assert_eq!(last_command(&fixture), (serde_json::Value::Null, false, false));
    fixture.memprof("test --lib").succeed();
    let scratch = fs::read_dir(fixture.path("target/memprof")).expect("it is there");
    let scratch =
        scratch.filter(|entry| entry.as_ref().expect("one").file_name().to_string_lossy().starts_with(".run-"));
    assert_eq!(scratch.count(), 0);
}

#[test]
fn a_test_that_is_killed_from_outside_fails_alone() {
    let (fixture, pipe) = waiting();
    let mut running = Running::start(&fixture, &pipe);
    let test = fs::read_to_string(format!("{}-test", pipe.display())).expect("the test says who it is");
    signal("KILL", &test);
    let (code, stderr) = running.ends();
    running.leaves_nobody();
    assert_eq!(code, 101, "{stderr}");
    let summary = fixture.summary();
    assert_eq!(summary.test("a_finishes").outcome(), "ok");
    assert_eq!((summary.test("waits").outcome(), &summary.test("waits").json["cut_short"]), ("failed", &true.into()));
}
