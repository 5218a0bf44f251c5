//! Tests that forbid themselves system calls, and are killed where another is made: recording one makes none that it would not make.

use memprof_tests::fixture::Fixture;

const TESTS: [&str; 9] = [
    "with_no_descriptor_to_be_had",
    "past_the_c_library_for_all_threads",
    "beside_a_thread_that_has_not_allocated",
    "its_thread_then_many_stacks",
    "all_threads_then_many_stacks",
    "all_but_a_few",
    "opening_of_files_for_all_threads",
    "in_a_child_that_has_not_allocated",
    "nothing_for_the_filter_is_refused",
];

#[test]
fn who_forbids_itself_system_calls_is_recorded_and_not_killed_at_every_rate() {
    let fixture = Fixture::copy("sandboxed");
    // Without us each in a process of its own, too: what one forbids, all others of the process lack.
    for name in TESTS {
        fixture.cargo("test --lib").arg(format!("tests::{name}")).succeed().says("1 passed");
    }
    fixture.cargo("test --test program").succeed();
    for options in ["", " --native"] {
        for rate in [0, 1, 524_288] {
            fixture.memprof(&format!("test{options} --memprofilerate={rate}")).succeed();
            let summary = fixture.summary();
            let check = |name: &str, objects: u64, space: u64, left: i64| {
                let test = summary.test(name);
                let metrics = test.metrics();
                let found = (metrics.alloc_objects, metrics.alloc_space, metrics.inuse_objects);
                assert_eq!(found, (objects, space, left), "{name} at rate {rate}{options}");
                for loss in [
                    "unattributed_objects",
                    "lost_peaks",
                    "untracked_samples",
                    "untracked_foreign",
                    "unwalkable_stacks",
                ] {
                    assert_eq!(
                        test.json["losses"][loss], 0,
                        "{name} at rate {rate}{options}: {:#}",
                        test.json["losses"]
                    );
                }
                assert_eq!(test.json["cut_short"], false, "{name} at rate {rate}{options}");
                let many = name.contains("many") || name.contains("files") || name.contains("nothing");
                let stacks = test.json["stacks"].as_u64().expect("a number");
                assert!(rate != 1 || !many || stacks >= 1 << 14, "{name}{options}: {stacks} stacks");
            };
            const MANY: u64 = 1 << 14;
            for name in ["its_thread_then", "all_threads_then"] {
                check(&format!("tests::{name}_many_stacks"), 3 + MANY, (3 + MANY) * 50, 3 + MANY as i64);
            }
            check("tests::opening_of_files_for_all_threads", 3 + MANY, (3 + MANY) * 50, 3 + MANY as i64);
            check("tests::nothing_for_the_filter_is_refused", MANY, MANY * 50, MANY as i64);
            check("tests::past_the_c_library_for_all_threads", 10, 500, 10);
            check("tests::beside_a_thread_that_has_not_allocated", 15, 900, 15);
            check("tests::with_no_descriptor_to_be_had", 7, 350, 7);
            // The main thread may look where the filter is the test's thread's own.
            for (name, leak_check) in [
                ("its_thread_then_many_stacks", "done"),
                ("all_but_a_few", "done"),
                ("with_no_descriptor_to_be_had", "done"),
                ("all_threads_then_many_stacks", "skipped: filtered"),
                ("past_the_c_library_for_all_threads", "skipped: filtered"),
            ] {
                let test = summary.test(&format!("tests::{name}"));
                assert_eq!(test.text("leak_check"), leak_check, "{name} at rate {rate}{options}");
            }
            check("tests::all_but_a_few", 3006, 300 + 3000 * 3001 / 2, 6);
            let name = "tests::in_a_child_that_has_not_allocated";
            check(name, 3, 150, 3);
            let test = summary.test(name);
            let child = &test.json["children"][0];
            assert_eq!((&child["alloc_objects"], &child["alloc_space"]), (&5.into(), &350.into()), "{child:#}");
            let program =
                summary.tests().into_iter().find(|test| test.json["target"] == "program").expect("it was recorded");
            let metrics = program.metrics();
            assert_eq!(program.outcome(), "ok");
            // With `--native`, what the C library allocates before `main` is in the metrics.
            let (objects, space) = (metrics.alloc_objects, metrics.alloc_space);
            assert!(if options.is_empty() { (objects, space) == (8, 500) } else { objects >= 8 && space >= 500 });
        }
    }
}

#[test]
fn a_process_with_little_address_space_has_most_of_it_for_its_threads_and_blocks() {
    with_little_address_space("ten_threads_and_a_large_block", 100 << 20);
}

#[test]
fn a_process_with_little_address_space_has_what_was_set_aside_when_it_needs_it() {
    // A twelfth is left of what it may have, in which are the executable, its libraries and stacks: no eighth of it can be for small blocks
    // alone, nor for a ledger that is to come.
    with_little_address_space("large_and_small_blocks_in_nearly_all_there_is", (420 << 20) + 104_000_000);
}

#[test]
fn a_process_with_little_address_space_has_that_of_small_blocks_again_when_they_are_gone() {
    with_little_address_space("few_blocks_stay_and_others_take_their_place", 400_000_000);
}

fn with_little_address_space(name: &str, peak: u64) {
    let fixture = Fixture::copy("sandboxed");
    // In KiB. Ten threads need 350,000 without us, most of it for their stacks and heaps.
    let limit = "ulimit -v 600000";
    fixture.cargo("test --lib --no-run").succeed();
    let plain = format!("{limit}; exec cargo test --lib {name}");
    fixture.program("sh").args(["-c", &plain]).succeed();
    for rate in [0, 1, 524_288] {
        let line = format!("test --lib --memprofilerate={rate}");
        fixture.memprof(&format!("{line} --no-run")).succeed();
        let limited = format!("{limit}; exec cargo memprof {line} {name}");
        fixture.program("sh").args(["-c", &limited]).succeed();
        let test = fixture.summary();
        let test = test.test(&format!("tests::{name}"));
        let metrics = test.metrics();
        assert_eq!((test.outcome(), metrics.inuse_objects, metrics.inuse_space), ("ok", 0, 0), "at rate {rate}");
        assert!(metrics.peak_space >= peak, "at rate {rate}: {}", metrics.peak_space);
        assert_eq!(test.json["losses"]["unattributed_objects"], 0);
    }
}
