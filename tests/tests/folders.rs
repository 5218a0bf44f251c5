//! What is the user's stays as it is; what is ours is replaced by each run, and never mixed.

use memprof_tests::fixture::Fixture;
use memprof_tests::{repository, tool};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Every file below `folder` with the time it was written.
fn files(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let written = fs::metadata(&path).and_then(|metadata| metadata.modified());
                found.insert(path, written.expect("files have times"));
            }
        }
    }
    found
}

#[test]
fn the_users_own_build_is_neither_used_nor_invalidated() {
    let fixture = Fixture::copy("known");
    fixture.cargo("test").succeed().complains("Compiling known");
    let before = files(&fixture.path("target"));
    fixture.memprof("test").succeed().complains("Compiling known");
    let mut after = files(&fixture.path("target"));
    after.retain(|path, _| !path.starts_with(fixture.path("target/memprof")));
    assert_eq!(before, after);
    fixture.cargo("test").succeed().never_says("Compiling");
    fixture.memprof("test").succeed().never_says("Compiling");
    fixture.replace("src/lib.rs", "Box::new(7_u64)", "Box::new([7_u64; 3])");
    fixture.memprof("test --memprofilerate 1").succeed().complains("Compiling known");
    assert_eq!(fixture.summary().test("tests::one_box").metrics().alloc_space, 24);
    fixture.cargo("test").succeed().complains("Compiling known");
}

#[test]
fn another_rate_compiles_nothing() {
    let fixture = Fixture::copy("known");
    fixture.memprof("test --memprofilerate 1").succeed();
    fixture.memprof("test --memprofilerate 4096").succeed().never_says("Compiling");
}

#[test]
fn sources_and_manifest_are_not_touched() {
    let fixture = Fixture::copy("known");
    fixture.memprof("test").succeed();
    let left: Vec<_> =
        fs::read_dir(fixture.root()).expect("the copy").map(|entry| entry.expect("one").file_name()).collect();
    let mut left: Vec<_> = left.iter().map(|name| name.to_string_lossy()).collect();
    left.sort();
    assert_eq!(left, ["Cargo.lock", "Cargo.toml", "src", "target", "tests"]);
    for file in ["Cargo.lock", "Cargo.toml", "src/lib.rs"] {
        let original = memprof_tests::workspace::fixtures().join("known").join(file);
        assert_eq!(fixture.read(file), fs::read_to_string(original).expect("the fixture"), "{file}");
    }
}

/// The files of the outputs, relative to their folder; cargo's build is not one.
fn outputs(fixture: &Fixture) -> Vec<String> {
    let folder = fixture.path("target/memprof");
    let below = |path: PathBuf| path.strip_prefix(&folder).map(|path| path.to_string_lossy().into_owned());
    files(&folder).into_keys().filter_map(|path| below(path).ok()).filter(|path| !path.starts_with("build/")).collect()
}

#[test]
fn each_run_replaces_the_outputs_of_the_run_before() {
    let fixture = Fixture::copy("known");
    fixture.memprof("test --memprofilerate 1").succeed();
    let all = outputs(&fixture);
    assert!(all.iter().any(|path| path.contains("tests::leaks")) && all.iter().any(|path| path == "inuse_space.svg"));
    // What somebody put there is theirs.
    fixture.write("target/memprof/known/notes.txt", "mine\n");
    fixture.memprof("test --lib --memprofilerate 1 one_box").succeed();
    let one = outputs(&fixture);
    assert!(!one.iter().any(|path| path.contains("tests::leaks") || path == "inuse_space.svg"), "{one:#?}");
    assert!(one.iter().any(|path| path.contains("tests::one_box/profile.pb.gz")), "{one:#?}");
    assert!(one.iter().any(|path| path == "known/notes.txt"), "{one:#?}");
    assert_eq!(fixture.summary().tests().len(), 1);
}

#[test]
fn where_nothing_ran_the_outputs_of_before_stay_and_are_known_to_be_of_before() {
    let fixture = Fixture::copy("known");
    fixture.memprof("test --lib --memprofilerate 1 --save-baseline").succeed();
    fixture.memprof("gate --lib").succeed();
    let last = |fixture: &Fixture| -> serde_json::Value {
        serde_json::from_str(&fixture.read("target/memprof/last-command.json")).expect("it is JSON")
    };
    assert_eq!((&last(&fixture)["exit"], &last(&fixture)["produced"]), (&0.into(), &true.into()));
    let broken = fixture.read("src/lib.rs");
    for (arguments, code, breaks) in [
        ("test --lib nothing_has_this_name", 0, false),
        ("test --lib -- --no-such-flag", 101, false),
        ("test --lib --memprof-only nothing_has_this_name", 0, false),
        ("test --lib", 101, true),
    ] {
        let (before, summary) = (outputs(&fixture), fixture.summary().json);
        if breaks {
            fixture.write("src/lib.rs", "no Rust at all");
        }
        let ran = fixture.memprof(arguments).run();
        assert_eq!(ran.status.code(), Some(code), "{}", ran.all());
        ran.complains("is of an earlier run");
        assert_eq!(outputs(&fixture), before, "{arguments}");
        assert!(fixture.summary().json == summary, "{arguments}");
        let expected = serde_json::json!({
            "command": format!("cargo memprof {arguments}"), "exit": code, "produced": false, "interrupted": false
        });
        assert_eq!(last(&fixture), expected);
        let stale = format!("ended with {code} and recorded nothing; what is in `");
        fixture.memprof("gate --no-run").run().ended_with(6).complains(&stale);
        fixture.memprof("accept").run().ended_with(6).complains(&stale);
        // The verdict of before is gone all the same: it is nobody's now.
        assert!(fixture.read("target/memprof/gate/gate.json").contains("\"refused\""));
        fixture.memprof("gate --lib").run();
        if !breaks {
            assert!(fixture.path("target/memprof/gate/gate.json").exists());
            fixture.memprof("gate --no-run").succeed();
        }
    }
    fixture.write("src/lib.rs", &broken);
    // A file of that name that is not ours is not written over.
    fixture.write("target/memprof/last-command.json", "mine");
    fixture.memprof("test --lib").run().ended_with(3).complains("last-command.json");
    assert_eq!(fixture.read("target/memprof/last-command.json"), "mine");
}

#[test]
fn asking_for_a_list_or_for_help_is_no_run() {
    let fixture = Fixture::copy("known");
    fixture.memprof("test --memprofilerate 1").succeed();
    let before = outputs(&fixture);
    for arguments in ["test -- --list", "test --lib -- --help", "test --no-run"] {
        let ran =
            fixture.memprof(arguments).succeed().never_says("no test was run").never_says("without being profiled");
        assert_eq!(outputs(&fixture), before, "{}", ran.all());
    }
}

#[test]
fn a_run_that_comes_to_nothing_leaves_nothing_half_written() {
    let fixture = Fixture::copy("known");
    fixture.memprof("test --memprofilerate 1").succeed();
    let before = fixture.summary().json;
    fixture.write("tests/broken.rs", "no Rust at all");
    fixture.memprof("test --memprofilerate 1").run().ended_with(101);
    // Either the outputs of the last whole run, or none.
    if fixture.path("target/memprof/summary.json").exists() {
        assert_eq!(fixture.summary().json, before);
        assert!(fixture.summary().test("tests::leaks").file("profile").exists());
    }
    let scratch = outputs(&fixture).into_iter().filter(|path| path.starts_with(".run-")).count();
    assert_eq!(scratch, 0);
}

#[test]
fn ledgers_are_gone_when_they_were_turned_into_profiles() {
    let fixture = Fixture::copy("known");
    fixture.memprof("test").succeed();
    assert!(!outputs(&fixture).iter().any(|path| path.ends_with(".ledger")));
    fixture.memprof("test --keep-ledgers").succeed();
    assert_eq!(fixture.ledgers().len(), 22);
    fixture.memprof("test --keep-ledgers one_box").succeed();
    assert_eq!(fixture.ledgers().len(), 1);
}

#[test]
fn what_is_ours_can_be_removed() {
    let fixture = Fixture::copy("known");
    fixture.cargo("test").succeed();
    fixture.memprof("test").succeed();
    fixture.memprof("clean").succeed();
    assert!(!fixture.path("target/memprof").exists());
    fixture.cargo("test").succeed().never_says("Compiling");
    fixture.memprof("clean").succeed();
}

#[test]
fn what_is_not_ours_is_left_by_clean() {
    let fixture = Fixture::copy("growing");
    fixture.memprof("test --save-baseline --keep-ledgers").succeed();
    if tool::has("git", &["worktree", "list"], "the removal of a clone") {
        repository::begin(&fixture);
        fixture.memprof("gate --against HEAD").succeed();
        assert!(fixture.path("target/memprof/against/tree").exists());
    }
    fixture.memprof("gate --native").run();
    fixture.write("target/memprof/notes.txt", "mine");
    fixture.write("target/memprof/growing/src/lib.rs", "mine");
    fixture.write("target/memprof/baseline/note", "mine");
    let left = fixture.memprof("clean").succeed().complains("but for what `cargo memprof` did not write");
    left.complains("memprof/baseline`, `").complains("memprof/growing`, `").complains("memprof/notes.txt`");
    assert_eq!(outputs(&fixture), ["baseline/note", "growing/src/lib.rs", "notes.txt"]);
    // A folder of this name may be a package of the user's, and cargo's target folder the workspace's root.
    let fixture = Fixture::copy("growing");
    fixture.write("memprof/notes.txt", "mine");
    fixture.memprof("clean --target-dir .").succeed().complains("left in it");
    assert_eq!(fixture.read("memprof/notes.txt"), "mine");
}

/// Replaces a file or a folder of ours by a link to one of the user's.
fn plant(place: &Path, to: &Path) {
    let _ = fs::remove_file(place);
    let _ = fs::remove_dir_all(place);
    fs::create_dir_all(place.parent().expect("it is below a folder")).expect("the copy can be written to");
    std::os::unix::fs::symlink(to, place).expect("the copy can be written to");
}

#[test]
fn links_that_were_planted_among_our_files_lead_nothing_astray() {
    let fixture = Fixture::copy("growing");
    fixture.memprof("test --save-baseline").succeed();
    let ours = fixture.path("target/memprof");
    let precious = fixture.outside().join("precious");
    fs::write(&precious, "mine").expect("a temporary folder");
    let folder = fixture.outside().join("folder");
    fs::create_dir(&folder).expect("a temporary folder");
    fs::write(folder.join("kept"), "mine").expect("a temporary folder");
    let untouched = || {
        assert_eq!(fs::read_to_string(&precious).expect("nobody removes it"), "mine");
        let names: Vec<_> = fs::read_dir(&folder).expect("nobody removes it").map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["kept"]);
    };
    let profile = fs::read_dir(ours.join("baseline")).expect("it was saved").next().expect("a profile").unwrap().path();
    for place in [ours.join("build/.memprof-key"), profile.clone(), fixture.path("memprof.baseline")] {
        plant(&place, &precious);
    }
    fixture.memprof("test --save-baseline").run();
    untouched();
    fs::remove_file(fixture.path("memprof.baseline")).expect("it is there");
    fixture.memprof("test --save-baseline").succeed();
    assert!(!profile.is_symlink() && !ours.join("build/.memprof-key").is_symlink());

    fixture.memprof("gate").succeed();
    for name in ["gate.json", "junit.xml", "summary.md"] {
        plant(&ours.join("gate").join(name), &precious);
    }
    fixture.memprof("gate --no-run").succeed();
    untouched();
    // A folder is as good as a file.
    plant(&ours.join("gate"), &folder);
    fixture.memprof("gate --no-run").run().ended_with(4).complains("it is a link");
    fs::remove_file(ours.join("gate")).expect("it is a link");
    plant(&ours.join("growing"), &folder);
    fixture.memprof("test --memprofilerate 1").run().ended_with(4).complains("it is a link");
    fs::remove_file(ours.join("growing")).expect("it is a link");
    plant(&ours.join("last-command.json"), &precious);
    fixture.memprof("test").run().ended_with(3).complains("did not write it");
    untouched();
    fs::remove_file(ours.join("last-command.json")).expect("it is a link");

    // The whole of ours is behind a link: that goes, what it leads to stays, and that is said.
    plant(&ours, &folder);
    fixture.memprof("clean").succeed().complains("a link").complains("was not removed");
    assert!(!ours.is_symlink());
    untouched();
}

/// Whoever works in two checkouts may have one target folder for both.
#[test]
fn what_another_checkout_ran_is_neither_compared_nor_accepted() {
    let (one, other) = (Fixture::copy("growing"), Fixture::copy("growing"));
    let target = one.outside().join("shared");
    let memprof = |fixture: &Fixture, words: &str| fixture.memprof(words).env("CARGO_TARGET_DIR", &target).run();
    memprof(&one, "test --save-baseline").ended_with(0);
    other.write("memprof.baseline", &one.read("memprof.baseline"));
    for words in ["gate --no-run", "accept"] {
        let refused = memprof(&other, words).ended_with(6).complains("error: cannot ").complains("the last run");
        refused.complains("which has the same target folder").complains("help: run the tests here first");
    }
    memprof(&other, "gate").ended_with(0);
    memprof(&other, "accept").ended_with(0);
    memprof(&one, "gate --no-run").ended_with(6);
}
