//! A child of a recorded process has a ledger of its own, however it was made; it leaves its parent's ledger alone, and
//! its parent's blocks do not count as its own.

use memprof_tests::fixture::Fixture;
use memprof_tests::probe::{Hook, probe_at};
use memprof_tests::summary::Test;
use std::collections::BTreeSet;

/// Allocations, their bytes, frees, and blocks and bytes that are left.
type Counts = [i64; 5];

fn counts(json: &serde_json::Value) -> Counts {
    ["alloc_objects", "alloc_space", "frees", "inuse_objects", "inuse_space"]
        .map(|field| json[field].as_i64().unwrap_or_else(|| panic!("no `{field}` in {json:#}")))
}

fn children(test: &Test<'_>) -> Vec<Counts> {
    let children = test.json["children"].as_array().expect("a list");
    assert!(children.iter().all(|child| child["forked"] == true));
    let mut children: Vec<Counts> = children.iter().map(counts).collect();
    children.sort_unstable();
    children
}

/// So many blocks of so many bytes, all given back.
fn of(objects: i64, bytes: i64) -> Counts {
    [objects, objects * bytes, objects, 0, 0]
}

#[test]
fn children_are_counted_apart_however_they_were_made_and_whatever_they_free_at_every_rate() {
    let fixture = Fixture::copy("forks");
    for options in ["", " --native"] {
        for rate in [0, 1, 4096, 524_288] {
            fixture.memprof(&format!("test{options} --memprofilerate={rate}")).succeed();
            let summary = fixture.summary();
            let check = |name: &str, parent: Counts, expected: &[Counts]| {
                let test = summary.test(name);
                assert_eq!(counts(test.json), parent, "{name} at rate {rate}{options}");
                assert_eq!(children(&test), expected, "children of {name} at rate {rate}{options}");
                assert_eq!(test.json["losses"]["unreadable_sites"], 0);
            };
            check("by_the_system_call", of(6, 10), &[of(1000, 100)]);
            check("by_the_system_call_twice", of(6, 10), &[of(1000, 100)]);
            check("by_clone", [7, 65_536 + 60, 7, 0, 0], &[of(1000, 100)]);
            check("past_the_c_library_and_frees_small_blocks_of_the_parents", of(10, 100), &[of(1, 100)]);
            check("by_fork_and_frees_large_blocks_of_the_parents", of(10, 4096), &[of(3, 2000)]);
            check("past_the_c_library_and_frees_large_blocks_of_the_parents", of(10, 4096), &[of(3, 2000)]);
            check("by_a_fork_of_a_fork_that_frees_large_blocks_of_both", of(5, 3000), &[of(1, 70), of(5, 3000)]);
            check("by_fork_and_resizes_a_large_block_of_the_parents", of(1, 5000), &[of(1, 20_000)]);
            check("by_a_fork_of_a_fork", of(6, 10), &[of(1000, 100)]);
            check("past_the_c_library_twice_deep", of(6, 10), &[of(7, 70), of(1000, 100)]);
            check("by_fork_and_forbids_itself_files", of(2, 10), &[]);
            check("past_the_c_library_and_forbids_itself_files", of(2, 10), &[]);
            check("by_a_fork_of_a_fork_and_forbids_itself_files", of(2, 10), &[of(3, 30)]);
            check("by_a_fork_that_forks_before_it_allocates", of(0, 0), &[of(500, 400); 10]);
            let beside = summary.test("past_the_c_library_beside_threads");
            assert_eq!(children(&beside), vec![of(50, 100); 20], "at rate {rate}{options}");
            assert_eq!(beside.json["losses"]["forks"], 20);
        }
    }
}

#[test]
fn a_fork_that_can_make_no_ledger_is_a_loss_that_is_told() {
    let fixture = Fixture::copy("forks");
    for options in ["", " --native"] {
        let output = fixture.memprof(&format!("test{options}")).succeed();
        output.complains("5 forked processes of 3 tests could not make ledgers of their own");
        let summary = fixture.summary();
        for test in summary.tests() {
            let lost = match test.name() {
                "by_fork_and_forbids_itself_files" => 3,
                "by_a_fork_of_a_fork_and_forbids_itself_files" | "past_the_c_library_and_forbids_itself_files" => 1,
                _ => 0,
            };
            assert_eq!(test.json["losses"]["lost_forks"], lost, "{}{options}", test.name());
        }
    }
}

#[test]
fn forks_of_a_fork_that_did_not_allocate_have_a_seed_each_which_is_the_same_on_every_run() {
    let fixture = Fixture::copy("forks");
    let mut runs = (0..2).map(|_| {
        fixture.memprof("test --keep-ledgers by_a_fork_that_forks_before_it_allocates").succeed();
        let forked = fixture.all_ledgers().into_iter().filter(|ledger| ledger.fork_of.is_some());
        forked.map(|ledger| ledger.identity.seed.0).collect::<BTreeSet<u64>>()
    });
    let (first, second) = (runs.next().expect("two runs"), runs.next().expect("two runs"));
    assert_eq!(first.len(), 10);
    assert_eq!(first, second);
}

#[test]
fn every_fork_samples_by_a_seed_of_its_own_which_is_the_same_on_every_run() {
    let seeds = || {
        let probed = probe_at(Hook::Rust, "fork-busy", 4096);
        let seeds: BTreeSet<u64> = probed.forked.iter().map(|ledger| ledger.identity.seed.0).collect();
        assert_eq!(seeds.len(), probed.forked.len());
        assert!(!seeds.is_empty() && !seeds.contains(&probed.ledger.identity.seed.0));
        seeds
    };
    assert_eq!(seeds(), seeds());
}

#[test]
fn ledgers_that_are_kept_are_those_of_forked_processes_too() {
    let fixture = Fixture::copy("forks");
    fixture.memprof("test --keep-ledgers --memprofilerate 1").succeed();
    let summary = fixture.summary();
    let of_children: usize = summary.tests().iter().map(|test| children(test).len()).sum();
    assert!(of_children > 3, "{of_children}");
    let forked = fixture.all_ledgers().into_iter().filter(|ledger| ledger.fork_of.is_some()).count();
    assert_eq!(forked, of_children);
    fixture.memprof("test --memprofilerate 1").succeed();
    assert!(!fixture.path("target/memprof/ledgers").exists());
}
