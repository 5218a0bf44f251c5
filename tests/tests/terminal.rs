//! What is said on the terminal after the tests: results on stdout, everything else on stderr, and both clean where
//! somebody else reads them.

use memprof_tests::fixture::{Fixture, Ran};

/// The table behind the tests' own output, a row each.
fn table(ran: &Ran) -> Vec<Vec<&str>> {
    let lines = ran.stdout.lines().skip_while(|line| !line.trim_start().starts_with("allocs "));
    lines.take_while(|line| !line.is_empty()).map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn the_largest_tests_come_first_with_their_metrics_and_then_where_the_outputs_are() {
    let fixture = Fixture::copy("known");
    // Those whose metrics are the same with every std.
    let tests = "megabytes over_aligned zeroed hundred_boxes shrinking_vec growing_vec leaks one_box nothing";
    let ran = fixture.memprof(&format!("test --memprofilerate 1 --lib -- {tests}")).succeed();
    let ours: Vec<&str> = ran.stdout.lines().skip_while(|line| !line.trim_start().starts_with("allocs ")).collect();
    insta::assert_snapshot!("what_stands_behind_the_tests_own_output", ours.join("\n"));
    for place in ["target/memprof/index.html", "target/memprof/profile.pb.gz"] {
        assert!(fixture.path(place).exists(), "{}", ran.all());
    }
}

#[test]
fn what_is_pointed_to_is_there() {
    let fixture = Fixture::copy("known");
    // One box of 8 bytes: at the default rate no sample is to be expected, and so no profile.
    let ran = fixture.memprof("test --lib one_box").succeed().never_says("profile.pb.gz");
    assert!(ran.complains("no samples at this rate").complains("--memprofilerate 1").status.success());
    assert!(!fixture.path("target/memprof/profile.pb.gz").exists());
}

#[test]
fn quiet_is_quiet() {
    let fixture = Fixture::copy("known");
    let plain = fixture.cargo("test -q").succeed();
    let profiled = fixture.memprof("test -q").succeed();
    let lines = |ran: &Ran| ran.stdout.lines().count();
    assert_eq!(lines(&plain), lines(&profiled), "{}", profiled.all());
    assert!(plain.stderr.is_empty() && profiled.stderr.is_empty(), "{}", profiled.all());
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let fixture = Fixture::copy("known");
    let escape = '\u{1b}';
    let piped = fixture.memprof("test --lib one_box").succeed();
    assert!(!piped.stdout.contains(escape) && !piped.stderr.contains(escape), "{}", piped.all());
    let colored = fixture.memprof("test --lib one_box --color always").succeed();
    assert!(colored.stderr.contains(escape), "{}", colored.all());
}

#[test]
fn results_keep_off_a_stdout_that_programs_read() {
    let fixture = Fixture::copy("known");
    let ran = fixture.memprof("test --lib --message-format json --memprofilerate 1 one_box").succeed();
    assert!(table(&ran).is_empty(), "{}", ran.all());
}

#[test]
fn the_harness_is_compiled_once_and_said() {
    let fixture = Fixture::copy("known");
    let cache = fixture.outside().join("cache");
    std::fs::create_dir(&cache).expect("a fresh folder");
    let run = || fixture.memprof("test --lib one_box").env("XDG_CACHE_HOME", &cache).succeed();
    let first = run().complains("Compiling memprof-harness v");
    assert_eq!(first.stderr.matches("memprof-harness").count(), 1);
    let _ = run().never_says("memprof-harness");
}
