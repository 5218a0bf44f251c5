//! A test that hangs is ended when its time is up, with everything it started. It has failed, its metrics and its
//! profile are those until then, and the other tests are as ever.

use memprof_tests::fixture::{Call, Fixture};
use memprof_tests::summary::Metrics;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

/// Seconds. Nothing that is to happen before takes a hundredth of it.
const TIME: &str = "--test-timeout=6";

#[test]
fn a_test_that_hangs_is_killed_and_keeps_its_profile() {
    let fixture = Fixture::copy("stuck");
    let ran = fixture.memprof("test --memprofilerate 1").args([TIME, "--", "--skip", "process"]).run();
    let ran = ran.ended_with(101).says("holds them\ntest timed out after 6 s (--test-timeout)");
    assert_eq!(
        ran.verdicts(),
        [
            "test tests::ends ... ok",
            "test tests::hangs_before_it_panics - should panic ... FAILED",
            "test tests::hangs_with_three_boxes ... FAILED"
        ]
        .map(|line| line.trim_start_matches("test ").to_owned())
    );
    let ran = ran.says("TIMED OUT, cut short");
    let ran = ran.complains("the processes of 2 tests ended before the test function did");
    let summary = fixture.summary();
    let stuck = summary.test("tests::hangs_with_three_boxes");
    assert_eq!((stuck.outcome(), &stuck.json["cut_short"]), ("timed_out", &true.into()));
    let three = Metrics {
        alloc_objects: 3,
        alloc_space: 300,
        reallocs: 0,
        peak_space: 300,
        inuse_objects: 3,
        inuse_space: 300,
    };
    assert_eq!(stuck.metrics(), three, "{}", ran.all());
    stuck.file("profile");
    stuck.file("inuse_space");
    assert_eq!(summary.test("tests::hangs_before_it_panics").outcome(), "timed_out");
    assert_eq!((summary.test("tests::ends").outcome(), summary.test("tests::ends").metrics().alloc_space), ("ok", 8));
}

#[test]
fn what_a_stuck_test_started_ends_with_it() {
    let fixture = Fixture::copy("stuck");
    // Without capture the process has our pipe, so that this waits until it is gone.
    let ran = fixture.memprof("test process").args([TIME, "--", "--nocapture"]).run().ended_with(101);
    ran.says("test timed out after 6 s").says("begun").never_says("the process lived on");
    let summary = fixture.summary();
    for name in ["a_process", "a_process_in_another_session", "an_orphaned_process"] {
        assert_eq!(summary.test(&format!("tests::hangs_with_{name}")).outcome(), "timed_out");
    }
}

/// Whoever looks at the clock here finds it a minute and a second further on than at the look before, libtest included.
/// The test ends when its stdin does.
const HURRIED: &str = r#"
use std::sync::atomic::{AtomicI64, Ordering};

#[repr(C)]
pub struct Time {
    seconds: i64,
    nanoseconds: i64,
}

#[no_mangle]
pub extern "C" fn clock_gettime(_: i32, time: *mut Time) -> i32 {
    static LOOKS: AtomicI64 = AtomicI64::new(0);
    let looks = LOOKS.fetch_add(1, Ordering::Relaxed);
    unsafe { *time = Time { seconds: 1_700_000_000 + 61 * looks, nanoseconds: 0 } };
    0
}

#[test]
fn waits() {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}
"#;

/// Runs the test above until libtest says that it takes long, and then to its end. Gives what was said before and after.
fn waited_for(mut call: Call) -> (String, String) {
    let mut child =
        call.command().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let (mut before, mut after) = (String::new(), String::new());
    while !before.ends_with("seconds\n") {
        assert_ne!(stdout.read_line(&mut before).expect("it is text"), 0, "{before}");
    }
    drop(child.stdin.take());
    stdout.read_to_string(&mut after).expect("it is text");
    assert!(child.wait().expect("it ends").success(), "{before}{after}");
    (before, after)
}

#[test]
fn libtest_says_that_a_test_takes_long_as_ever() {
    let fixture = Fixture::copy("stuck");
    fixture.write("tests/hurried.rs", HURRIED);
    let arguments = "test --test hurried -- --test-threads=2";
    let (plain, _) = waited_for(fixture.cargo(arguments));
    let (before, after) = waited_for(fixture.memprof(arguments));
    assert!(before.contains("test waits has been running for over 60 seconds\n"), "{before}");
    assert!(after.starts_with("test waits ... ok\n"), "{after}");
    assert_eq!(before, plain);
    assert_eq!(fixture.summary().test("waits").outcome(), "ok");
}
