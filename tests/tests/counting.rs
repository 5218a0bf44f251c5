//! Allocation tests with the crate `memprof`: the same counts under plain `cargo test` and under every kind of recording.

use memprof_tests::fixture::Fixture;
use memprof_tests::patterns;

fn counting() -> Fixture {
    let fixture = patterns::fixture();
    fixture.write("tests/counting.rs", include_str!("../../memprof-harness/live/tests/counting.rs"));
    fixture
}

/// The patterns of projects that had their own counters; the benchmark `patterns` runs them a thousand times.
#[test]
fn patterns_pass_as_they_are_and_fail_with_a_line_where_one_is_planted() {
    let fixture = patterns::fixture();
    for planted in [false, true] {
        for command in ["test --test patterns", "memprof test --test patterns --memprofilerate 1"] {
            let call = fixture.cargo(command);
            let call = if planted { call.env("PLANTED", "1").env("RUST_BACKTRACE", "0") } else { call };
            let ran = call.run();
            let wrong = patterns::wrong_verdicts(&fixture, &ran.stdout, planted);
            assert!(wrong.is_empty(), "{command}: {wrong:#?}\n{}", ran.stdout);
        }
    }
}

#[test]
fn assertions_hold_and_fail_alike_however_the_tests_are_run() {
    let fixture = counting();
    fixture.cargo("test --test counting").succeed().says("; 0 failed");
    for options in
        ["--memprofilerate 0", "--memprofilerate 1", "--memprofilerate 524288", "--memprofilerate 1 --native"]
    {
        fixture.memprof(&format!("test --test counting {options}")).succeed().says("; 0 failed");
    }
}

/// What the crate keeps for its regions is not the test's: a region changes no metric of the record.
#[test]
fn a_region_adds_nothing_to_the_record() {
    let fixture = counting();
    let test = |body: &str| format!("memprof::install!();\n#[test]\nfn it() {{ {body} }}\n");
    let mut found = Vec::new();
    for body in [
        "drop(std::hint::black_box(vec![1_u8; 100])); std::mem::forget(std::hint::black_box(vec![1_u8; 7]));",
        "memprof::measure(|| drop(std::hint::black_box(vec![1_u8; 100]))); memprof::assert_allocs!(inuse_objects == 1, { \
         std::mem::forget(std::hint::black_box(vec![1_u8; 7])) });",
    ] {
        fixture.write("tests/one.rs", &test(body));
        for rate in [0, 1, 524_288] {
            fixture.memprof(&format!("test --test one --memprofilerate {rate}")).succeed();
            let summary = fixture.summary();
            let metrics = summary.test("it").metrics();
            found.push((metrics.alloc_objects, metrics.alloc_space, metrics.inuse_objects, metrics.inuse_space));
        }
    }
    assert_eq!(found, [(2, 107, 1, 7); 6]);
}

#[test]
fn an_allocator_of_the_users_own_may_count_too() {
    let fixture = counting();
    let test = "#[global_allocator]
static ALLOCATOR: memprof::Allocator = memprof::Allocator::new(std::alloc::System);

#[test]
fn it() {
    let counts = memprof::measure(|| vec![1_u8; 100]).counts();
    assert_eq!(counts.to_string(), \"1 alloc, 100 B, peak 100 B, 100 B in use\");
}
";
    fixture.write("tests/one.rs", test);
    fixture.cargo("test --test one").succeed();
    fixture.memprof("test --test one --memprofilerate 1").succeed();
}
