//! Blocks in use at the end of a test are divided into reachable and leaked ones: the same at every rate, on every run.

use memprof_tests::fixture::Fixture;
use memprof_tests::summary::Summary;
use std::collections::BTreeSet;

/// Leaked blocks and their bytes of each test, and blocks that can be reached; `None` where the runtime decides how many.
const FOUND: [(&str, [i64; 2], Option<i64>); 34] = [
    ("a_box_a_vec_and_a_string", [3, 6044], Some(0)),
    ("a_cycle", [2, 144], Some(0)),
    ("a_list_of_a_million", [1_000_000, 8_000_000], Some(0)),
    ("a_list_of_a_million_in_a_static", [0, 0], Some(1_000_000)),
    ("a_runtime_in_a_static", [0, 0], None),
    ("a_runtime_in_a_static_and_a_block_that_is_leaked", [1, 48], None),
    ("a_runtime_of_four_workers", [0, 0], Some(0)),
    ("a_runtime_that_holds_tasks_which_wait", [0, 0], None),
    ("a_small_runtime", [0, 0], Some(0)),
    ("beside_a_stack_of_the_tests_own", [0, 0], Some(1)),
    ("forgotten_before_a_panic", [1, 48], Some(0)),
    ("forgotten_by_a_thread_that_goes_on", [1, 48], None),
    ("forgotten_by_forty_threads_at_a_time", [40, 1920], Some(0)),
    ("from_a_vec_that_was_given_back", [1000, 1_008_000], Some(0)),
    ("in_a_lazy_lock_behind_a_mutex", [0, 0], Some(2)),
    ("in_memory_that_was_a_stack", [0, 0], Some(1)),
    ("in_memory_that_was_a_stack_with_a_guard", [0, 0], Some(1)),
    ("in_a_once_lock", [0, 0], Some(1)),
    ("in_a_struct_of_c", [0, 0], Some(1)),
    ("in_a_thread_local_of_a_thread_that_ended", [1, 64], Some(0)),
    ("in_a_thread_local_of_a_thread_that_goes_on", [0, 0], None),
    ("in_a_thread_local_of_the_test", [1, 64], Some(0)),
    ("leaked_into_a_static", [0, 0], Some(1)),
    ("nothing", [0, 0], Some(0)),
    ("of_many_sizes_at_one_place", [50, 40_050], Some(51)),
    ("on_the_stack_of_a_thread_that_ended", [2, 96], Some(0)),
    ("on_the_stack_of_a_thread_that_goes_on", [0, 0], None),
    ("only_from_blocks_that_are_leaked", [4, 2102], Some(0)),
    ("only_its_middle_in_a_static", [0, 0], Some(1)),
    ("two_mebibytes", [1, 2 << 20], Some(0)),
    ("while_a_thread_runs", [0, 0], None),
    ("with_a_large_alignment", [3, 384], Some(1)),
    ("with_a_tag_in_the_lowest_bits", [0, 0], Some(1)),
    ("with_all_bits_inverted", [1, 48], Some(0)),
];

/// Holds every test of a run against what it has. Where only a part of the blocks is leaked, of the test where stacks are sampled and of
/// one place otherwise, bytes are known up to what the allocator gives more than was asked for.
fn hold(summary: &Summary, rate: u64) {
    let mut names = BTreeSet::new();
    for test in summary.tests() {
        let found = FOUND.iter().find(|(name, ..)| *name == test.name());
        let (name, [objects, space], reachable) = found.unwrap_or_else(|| panic!("{}", test.name()));
        names.insert(*name);
        let number = |field: &str| test.json[field].as_i64().expect("a whole number");
        let metrics = test.metrics();
        let shown = format!("at rate {rate}: {:#}", test.json);
        assert_eq!(number("leaked_objects"), *objects, "{shown}");
        let is_part = *objects > 0 && *objects < metrics.inuse_objects;
        let is_mixed = is_part && (rate > 1 || *name == "of_many_sizes_at_one_place");
        let slack = if is_mixed { objects * 47 } else { 0 };
        assert!((number("leaked_space") - space).abs() <= slack, "{shown}");
        assert_eq!(number("leaked_objects") + number("reachable_objects"), metrics.inuse_objects, "{shown}");
        assert_eq!(number("leaked_space") + number("reachable_space"), metrics.inuse_space, "{shown}");
        assert!(reachable.is_none_or(|reachable| number("reachable_objects") == reachable), "{shown}");
        let check = if *name == "while_a_thread_runs" { "skipped: thread_running" } else { "done" };
        assert_eq!(test.text("leak_check"), check, "{shown}");
    }
    assert_eq!(names.len(), FOUND.len());
}

#[test]
fn what_can_be_reached_is_not_leaked_and_what_is_leaked_is_found_on_every_run() {
    let fixture = Fixture::copy("leaked");
    for (profile, runs) in [("dev", 10), ("release", 3)] {
        for rate in [1, 524_288] {
            let call = fixture.memprof("test --lib --profile").arg(profile);
            let call = call.args([format!("--memprofilerate={rate}"), format!("--repeat={runs}")]);
            call.args(["--", "--skip", "ends_the_process"]).succeed();
            let summary = fixture.summary();
            assert_eq!(summary.tests().len(), FOUND.len() * runs);
            hold(&summary, rate);
        }
    }
}

#[test]
fn a_process_that_ends_by_itself_has_nothing_leaked_and_says_that_nobody_looked() {
    let fixture = Fixture::copy("leaked");
    fixture.memprof("test --lib ends_the_process").run().ended_with(101);
    let summary = fixture.summary();
    let test = summary.test("ends_the_process");
    assert_eq!((test.text("leak_check"), test.json["leaked_objects"].as_i64()), ("skipped: cut_short", Some(0)));
    assert_eq!(test.json["reachable_space"], 48);
}

/// Of what the C library's own `free` was asked for by its address nobody knows: the search must not fall over what is there now.
#[test]
fn a_block_that_was_given_back_unseen_does_not_end_the_search() {
    let fixture = Fixture::copy("leaked");
    let test = "#[test]
fn unseen() {
    // SAFETY: C strings; it is the function of that name; each block is the C library's, and is given back once.
    unsafe {
        let library = libc::dlopen(c\"libc.so.6\".as_ptr(), libc::RTLD_NOW);
        let free = libc::dlsym(library, c\"free\".as_ptr());
        let free: unsafe extern \"C\" fn(*mut u8) = std::mem::transmute(free);
        for size in [1_500, 20_000, 100_000, 2_000_000, 20_000] {
            free(Box::into_raw(vec![1_u8; size].into_boxed_slice()).cast());
        }
    }
    std::mem::forget(std::hint::black_box(vec![1_u8; 48]));
}
";
    fixture.write("tests/unseen.rs", test);
    for rate in ["0", "512", "524288"] {
        fixture.memprof("test --test unseen --repeat 3 --memprofilerate").arg(rate).succeed();
        for test in fixture.summary().tests() {
            assert_eq!(test.text("leak_check"), "done");
            assert!(test.json["leaked_objects"].as_i64() >= Some(1), "{:#}", test.json);
        }
    }
}

#[test]
fn an_empty_program_leaks_nothing() {
    let fixture = Fixture::copy("leaked");
    for rate in ["1", "524288"] {
        fixture.memprof("run --memprofilerate").arg(rate).succeed();
        let summary = fixture.summary();
        let [program] = &summary.tests()[..] else { panic!("{:#}", summary.json) };
        let number = |field: &str| program.json[field].as_i64();
        assert_eq!((number("inuse_objects"), number("leaked_objects")), (Some(0), Some(0)), "{:#}", program.json);
        assert_eq!(program.text("leak_check"), "done");
    }
}
