//! A test that hangs is ended when its time is up, with everything it started. It has failed, its figures and its
//! profile are those until then, and the other tests are as ever.

use memprof_tests::fixture::Fixture;
use memprof_tests::summary::Figures;

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
    let three = Figures {
        alloc_objects: 3,
        alloc_space: 300,
        reallocs: 0,
        peak_space: 300,
        inuse_objects: 3,
        inuse_space: 300,
    };
    assert_eq!(stuck.figures(), three, "{}", ran.all());
    stuck.file("profile");
    stuck.file("inuse_space");
    assert_eq!(summary.test("tests::hangs_before_it_panics").outcome(), "timed_out");
    assert_eq!((summary.test("tests::ends").outcome(), summary.test("tests::ends").figures().alloc_space), ("ok", 8));
}

#[test]
fn what_a_stuck_test_started_ends_with_it() {
    let fixture = Fixture::copy("stuck");
    // Without capture the process has our pipe, so that this waits until it is gone.
    let ran = fixture.memprof("test process").args([TIME, "--", "--nocapture"]).run().ended_with(101);
    ran.says("test timed out after 6 s").never_says("the process lived on");
    assert_eq!(fixture.summary().test("tests::hangs_with_a_process").outcome(), "timed_out");
}
