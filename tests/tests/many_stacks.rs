//! A test whose calls branch has as many stacks as there are ways through them: all are recorded, written and merged, and no two
//! become one.

use memprof_tests::fixture::Fixture;
use memprof_tests::pprof::{can_read, pprof};
use memprof_tests::summary::Summary;
use std::collections::HashSet;
use std::path::Path;

/// Ways through the fixture's calls: 16 choices between two calls, and 8.
const TESTS: [(&str, usize); 2] = [("stacks_that_share_their_callers", 1 << 16), ("stacks_that_share_little", 1 << 8)];

#[test]
fn every_way_through_a_tree_of_calls_is_a_stack_of_its_own() {
    let fixture = Fixture::copy("branching");
    fixture.memprof("test --memprofilerate 1").succeed();
    let summary = fixture.summary();
    for (name, ways) in TESTS {
        let test = summary.test(&format!("tests::{name}"));
        let metrics = test.metrics();
        assert_eq!((metrics.alloc_objects, metrics.alloc_space), (ways as u64, 16 * ways as u64), "{name}");
        assert_eq!((metrics.peak_space, metrics.inuse_space), (16, 0), "{name}");
        assert_eq!(test.json["stacks"], ways, "{name}");
        if can_read() {
            stacks_are_told_apart(&test.file("profile"), ways);
        }
    }
    if can_read() {
        stacks_are_told_apart(&fixture.path("target/memprof/profile.pb.gz"), TESTS.iter().map(|(_, ways)| ways).sum());
    }
    picture_is_of_what_can_be_seen(&summary);
}

/// As many samples as there are ways, each a stack of its own that was met once and is as deep as the others of its test.
fn stacks_are_told_apart(profile: &Path, ways: usize) {
    // Not spelt out: these would be eight million names.
    let raw = pprof(&["-raw"], profile);
    let (_, samples) = raw.split_once("Samples:\n").expect("pprof prints samples");
    let (samples, _) = samples.split_once("Locations\n").expect("pprof prints locations");
    let mut stacks: HashSet<&str> = HashSet::new();
    let mut depths: HashSet<usize> = HashSet::new();
    // The sample types stand first, and labels below their samples.
    let stack = |line: &&str| line.split_once(": ").is_some_and(|(values, _)| !values.contains('['));
    for line in samples.lines().skip(1).filter(stack) {
        let (values, locations) = line.split_once(": ").expect("it was looked for");
        let values: Vec<&str> = values.split_whitespace().collect();
        assert_eq!(values[..4], ["1", "16", "0", "0"], "{line}");
        depths.insert(locations.split_whitespace().count());
        assert!(stacks.insert(locations), "{locations} is there twice");
    }
    assert_eq!(stacks.len(), ways);
    assert!(depths.len() <= TESTS.len() && depths.iter().all(|depth| (100..128).contains(depth)), "{depths:?}");
}

fn picture_is_of_what_can_be_seen(summary: &Summary) {
    let test = summary.test("tests::stacks_that_share_little");
    let picture = std::fs::read_to_string(test.file("alloc_objects")).expect("there is a picture");
    // Two calls on two lines of one function are one frame, so there is one for each call below the other.
    assert!(!picture.contains("not drawn"));
    assert!(picture.contains("branching::leaf (256 objects, 100.00%)"), "{picture}");
}

#[test]
fn shards_with_many_stacks_are_merged_stack_by_stack() {
    let fixture = Fixture::copy("branching");
    for shard in ["1", "2"] {
        fixture.memprof(&format!("test --memprofilerate 1 --partition count:{shard}/2 --memprofile {shard}")).succeed();
    }
    fixture.memprof("merge 1 2").succeed();
    if can_read() {
        let whole = fixture.path("target/memprof/profile.pb.gz");
        stacks_are_told_apart(&whole, TESTS.iter().map(|(_, ways)| ways).sum());
    }
}
