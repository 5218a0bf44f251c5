//! A test suite is divided over several machines; merged, it gets one verdict.

use memprof_tests::fixture::Fixture;
use memprof_tests::repository;
use memprof_tests::summary::Summary;
use memprof_tests::tool;
use std::collections::BTreeMap;
use std::process::Command;

fn shard(fixture: &Fixture, partition: &str, folder: &str) {
    let run = fixture.memprof("test --memprofilerate 1 --partition").arg(partition);
    run.args(["--memprofile", folder]).succeed();
}

/// What the frames of a flamegraph of the run say.
fn titles(fixture: &Fixture, picture: &str) -> Vec<String> {
    let svg = fixture.read(&format!("target/memprof/{picture}"));
    let titles = svg.split("<title>").skip(1).map(|rest| rest.split("</title>").next().unwrap_or_default().to_owned());
    titles.collect()
}

#[test]
fn shards_merge_into_one_run_with_one_verdict() {
    let fixture = Fixture::copy("growing");
    fixture.memprof("test --save-baseline").succeed();
    fixture.memprof("test --memprofilerate 1").succeed();
    let whole = fixture.summary();
    let pictured =
        ["alloc_objects.svg", "alloc_space.svg", "peak_space.svg"].map(|name| (name, titles(&fixture, name)));
    let pictured = BTreeMap::from(pictured);
    shard(&fixture, "count:1/2", "one");
    shard(&fixture, "count:2/2", "two");
    fixture.memprof("merge one two").succeed().complains("Merged 3 tests of 2 shards");
    let merged = fixture.summary();
    let metrics = |summary: &Summary| {
        summary.tests().iter().map(|test| (test.name().to_owned(), test.metrics())).collect::<Vec<_>>()
    };
    assert_eq!(metrics(&merged), metrics(&whole));
    assert_eq!(merged.json["run"]["alloc_objects"], whole.json["run"]["alloc_objects"]);
    assert_eq!(merged.json["not_run"], whole.json["not_run"]);
    // Everything lies where a run that was not divided has it: each test's files, and those of the whole.
    let places = |summary: &Summary| {
        let tests = summary.tests().into_iter().map(|test| test.json["files"].clone()).collect::<Vec<_>>();
        (tests, summary.json["run"]["files"].clone())
    };
    assert_eq!(places(&merged), places(&whole));
    merged.test("tests::loads_three_rows").file("alloc_objects");
    assert!(fixture.read("target/memprof/index.html").contains("tests::loads_three_rows"));
    for picture in ["alloc_objects.svg", "alloc_space.svg", "peak_space.svg"] {
        assert_eq!(titles(&fixture, picture), pictured[picture], "{picture}");
    }
    fixture.memprof("gate --no-run").succeed().says("within budget: 3 tests compared");
    if tool::has("go", &["version"], "pprof's reading of a merged profile") {
        let mut pprof = Command::new("go");
        pprof
            .args(["tool", "pprof", "-sample_index=alloc_objects", "-raw"])
            .arg(fixture.path("target/memprof/profile.pb.gz"));
        let output = pprof.output().expect("go starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("tests::loads_three_rows"), "{text}");
    }

    // A regression in one shard is one of the whole.
    fixture.replace("src/parser.rs", "line.trim().to_owned()", "line.trim().to_owned().as_str().to_owned()");
    shard(&fixture, "count:1/2", "one");
    shard(&fixture, "count:2/2", "two");
    fixture.memprof("merge one two --memprofile all").succeed();
    fixture
        .memprof("gate --no-run --memprofile all")
        .run()
        .ended_with(5)
        .says("+3 allocs (3 → 6), src/parser.rs:10 in clean");
}

#[test]
fn shards_that_were_run_until_their_metrics_were_known_merge_as_well() {
    let fixture = Fixture::copy("growing");
    for (share, folder) in [("count:1/2", "one"), ("count:2/2", "two")] {
        let saved = fixture.memprof("test --memprofilerate 1 --save-baseline --partition").arg(share);
        saved.args(["--memprofile", folder]).succeed();
    }
    fixture.memprof("merge one two").succeed().complains("Merged 9 tests of 2 shards");
    fixture.memprof("accept").succeed();
    fixture.memprof("gate --no-run").succeed().says("within budget: 3 tests compared");
}

#[test]
fn a_missing_shard_is_an_error_and_not_a_smaller_run() {
    let fixture = Fixture::copy("growing");
    shard(&fixture, "hash:1/3", "one");
    shard(&fixture, "hash:3/3", "three");
    let missing = fixture.memprof("merge one three").run().ended_with(6);
    missing.complains("cannot merge the shards").complains("missing: hash:2/3");
    fixture.memprof("merge one one three").run().ended_with(6).complains("are both hash:1/3");
    std::os::unix::fs::symlink("one", fixture.path("other")).expect("there is none");
    for into in ["one", "./one/.", "three/../one", "other"] {
        let refused = fixture.memprof("merge one three --memprofile").arg(into).run().ended_with(2);
        refused.complains("it is one of the shards");
    }
    fixture.memprof("merge one three").run().ended_with(6).complains("missing: hash:2/3");
    fixture.memprof("merge one nowhere").run().ended_with(6).complains("there is no `");
    assert!(!fixture.path("target/memprof/summary.json").exists());
    fixture.memprof("test").succeed();
    fixture
        .memprof("merge target/memprof --memprofile all")
        .run()
        .ended_with(6)
        .complains("recorded without `--partition`");
    fixture.memprof("test --partition count:4/3").run().ended_with(2).complains("4 is not from 1 to 3");
    fixture.memprof("merge").run().ended_with(2);
}

#[test]
fn shards_of_different_code_or_arguments_are_no_run() {
    let fixture = Fixture::copy("growing");
    repository::begin(&fixture);
    // What differs from machine to machine makes no other run.
    let one = fixture
        .memprof("test --memprofilerate 1 --partition count:1/2 --memprofile one -j 1 --color never -- --nocapture");
    one.succeed();
    shard(&fixture, "count:2/2", "two");
    fixture.memprof("merge one two").succeed();
    let refused = |other: &str, what: &str| {
        let refused = fixture.memprof(&format!("merge one {other}")).run().ended_with(6);
        refused.complains("cannot merge the shards").complains(what).complains("help: record all shards of one commit");
    };
    fixture.memprof("test --memprofilerate 1 --partition count:2/2 --memprofile some three --lib").succeed();
    refused("some", "their arguments differ: `");
    refused("some", "has `three --lib`");
    let lock = fixture.read("Cargo.lock");
    // Another version of its format is another file.
    fixture.replace("Cargo.lock", "version = 4", "version = 3");
    fixture.memprof("test --memprofilerate 1 --partition count:2/2 --memprofile locked").succeed();
    refused("locked", "their hashes of Cargo.lock differ");
    fixture.write("Cargo.lock", &lock);
    fixture.replace("src/parser.rs", "line.trim().to_owned()", "line.trim().to_owned().as_str().to_owned()");
    repository::commit(&fixture, "two");
    fixture.memprof("test --memprofilerate 1 --partition count:2/2 --memprofile later").succeed();
    refused("later", "their commits differ");
}

/// The recorded tests of a run, sorted; one that ran twice is there twice.
fn recorded(fixture: &Fixture, arguments: &str) -> Vec<String> {
    fixture.memprof(arguments).run();
    let summary = fixture.summary();
    let mut names: Vec<String> =
        summary.tests().iter().map(|test| format!("{} {}", test.text("target"), test.name())).collect();
    names.sort();
    names
}

#[test]
fn programs_with_a_main_of_their_own_are_repeated_and_in_one_shard_each() {
    let fixture = Fixture::copy("programs");
    let test = "test --test mimic --test whole --no-fail-fast";
    let all = recorded(&fixture, test);
    assert_eq!(all.len(), 5, "{all:?}");
    let twice: Vec<String> = all.iter().flat_map(|name| [name.clone(), name.clone()]).collect();
    assert_eq!(recorded(&fixture, &format!("{test} --repeat 2")), twice);
    for scheme in ["count", "hash"] {
        let mut shares: Vec<String> =
            (1..=2).flat_map(|share| recorded(&fixture, &format!("{test} --partition {scheme}:{share}/2"))).collect();
        shares.sort();
        assert_eq!(shares, all, "{scheme}");
    }
}

#[test]
fn programs_with_a_main_of_their_own_run_in_each_shard_what_is_in_it() {
    let fixture = Fixture::copy("programs");
    // Beside a filter, tests to be left out can only be told by parts of their names.
    for (arguments, verdicts) in [("--test mimic --test whole", 4), ("--test mimic -- a", 3)] {
        let (flags, filter) = arguments.split_once(" -- ").unwrap_or((arguments, ""));
        let plain = fixture.cargo(&format!("test {flags} --no-fail-fast -- {filter}")).run();
        let mut divided: Vec<String> = Vec::new();
        fixture.write("runs", "");
        for share in 1..=2 {
            let test = format!("test {flags} --partition count:{share}/2 --no-fail-fast -- {filter}");
            divided.extend(fixture.memprof(&test).run().verdicts());
        }
        divided.sort();
        // Names are followed by as many spaces as the longest of those that run needs.
        let ran = |verdicts: Vec<String>| {
            let words = verdicts.iter().map(|verdict| verdict.split_whitespace().collect::<Vec<_>>().join(" "));
            words.filter(|verdict| !verdict.ends_with("ignored")).collect::<Vec<_>>()
        };
        let divided = ran(divided);
        assert_eq!((&divided, divided.len()), (&ran(plain.verdicts()), verdicts));
        assert_eq!(fixture.read("runs").lines().count(), usize::from(flags.contains("whole")));
    }
}

#[test]
fn doctests_are_in_one_shard_each() {
    let fixture = Fixture::copy("doctests");
    let all = recorded(&fixture, "test --doc --workspace");
    assert!(all.len() > 3, "{all:?}");
    let mut shares: Vec<String> = (1..=2)
        .flat_map(|share| recorded(&fixture, &format!("test --doc --workspace --partition hash:{share}/2")))
        .collect();
    shares.sort();
    assert_eq!(shares, all);
}
