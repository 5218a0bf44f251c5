//! A team compares with a revision, and its repository is not laid out as most are: cargo's configuration names folders in it, a member
//! of the workspace is a repository of its own, one worktree has settings of its own. The revision is compared as it is.

use memprof_tests::fixture::Fixture;
use memprof_tests::repository::{begin, commit, git, git_in, linked};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A package whose test allocates once for each `part::COUNT`.
fn parted() -> Fixture {
    let fixture = Fixture::copy("growing");
    for folder in ["part", "stand"] {
        fixture.write(
            &format!("{folder}/Cargo.toml"),
            "[package]\nname = \"part\"\nversion = \"1.0.0\"\nedition = \"2021\"\n",
        );
        fixture.write(&format!("{folder}/src/lib.rs"), "pub const COUNT: u64 = 1;\n");
    }
    fixture.replace("Cargo.toml", "[workspace]", "[dependencies]\npart = { path = \"stand\" }\n[workspace]");
    fixture.replace(
        "src/lib.rs",
        "assert!(load(\"\")",
        "(0..part::COUNT).for_each(|number| drop(std::hint::black_box(Box::new(number))));\n        assert!(load(\"\")",
    );
    fixture.cargo("generate-lockfile --quiet").succeed();
    fixture
}

fn commit_more(fixture: &Fixture) {
    fixture.write("notes", "more");
    commit(fixture, "more");
}

/// Cargo reads the configuration of every folder above the clone, and takes the lists of all of them.
#[test]
fn a_configuration_that_leads_back_to_this_side_is_refused_where_it_is_equal_too() {
    let fixture = parted();
    fixture.write(".cargo/config.toml", "paths = [\"part\"]\n");
    begin(&fixture);
    fixture.write("part/src/lib.rs", "pub const COUNT: u64 = 10;\n");
    commit(&fixture, "more");
    let gate = || fixture.memprof("gate --against HEAD~1");
    let elsewhere = || gate().env("CARGO_TARGET_DIR", fixture.outside().join("elsewhere"));
    let refused = gate().run().ended_with(6).complains("cannot build the revision by its own configuration");
    refused.complains("/part`, which is this side's").complains("help: set `CARGO_TARGET_DIR` to a folder outside");
    elsewhere().run().ended_with(5).says("over budget: 1 of 3 tests compared with `HEAD~1`").says("(1 → 10)");

    // Nobody's but the user's, it leads there as well; what it names outside of the checkout is both sides'.
    fixture.write(".gitignore", "target\n.cargo\n");
    git(&fixture, &["rm", "--quiet", "--cached", ".cargo/config.toml"]);
    commit(&fixture, "not committed");
    commit_more(&fixture);
    gate().run().ended_with(6).complains("/part`, which is this side's");
    let other = fixture.outside().join("part");
    let copied = std::process::Command::new("cp").arg("-r").arg(fixture.path("part")).arg(&other).status();
    assert!(copied.expect("there is a `cp`").success());
    fixture.write(".cargo/config.toml", "paths = [\"../part\"]\n");
    gate().run().ended_with(0).says("within budget: 3 tests compared with `HEAD~1`");

    // So with a file that another includes, where it has what the revision has not.
    fixture.write(".gitignore", "target\n");
    fixture.write(".cargo/config.toml", "include = [\"more.toml\"]\n");
    fixture.write(".cargo/more.toml", "[env]\nSIZE = \"1\"\n");
    commit(&fixture, "included");
    fixture.write(".cargo/more.toml", "[env]\nOTHER = \"2\"\n");
    commit(&fixture, "another");
    gate().run().ended_with(6).complains("`.cargo/more.toml` is another there than here");
}

#[test]
fn a_member_with_a_repository_of_its_own_is_compared_with_its_own_revisions() {
    let fixture = parted();
    for folder in ["part", "stand"] {
        fs::remove_dir_all(fixture.path(folder)).expect("it was just written");
    }
    fixture.replace("Cargo.toml", "\"stand\" }\n[workspace]", "\"part\" }\n[workspace]\nmembers = [\"part\"]");
    let write = |folder: &Path, count: u64| {
        let test =
            "#[test]\nfn allocates() { (0..COUNT).for_each(|number| drop(std::hint::black_box(Box::new(number)))) }\n";
        let code = format!("pub const COUNT: u64 = {count};\n{test}");
        fs::create_dir_all(folder.join("src")).expect("a temporary folder");
        fs::write(folder.join("src/lib.rs"), code).expect("a temporary folder");
        let manifest = "[package]\nname = \"part\"\nversion = \"1.0.0\"\nedition = \"2021\"\n";
        fs::write(folder.join("Cargo.toml"), manifest).expect("a temporary folder");
    };
    let origin = fixture.outside().join("part");
    write(&origin, 1);
    for words in [["init", "--quiet", "."], ["add", "--all", "."], ["commit", "--quiet", "--message=one"]] {
        git_in(&fixture, &origin, &words).succeed();
    }
    fixture.write(".gitignore", "target\n");
    git(&fixture, &["init", "--quiet", "--initial-branch=main"]);
    git(&fixture, &["config", "protocol.file.allow", "always"]);
    git(&fixture, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../part", "part"]);
    commit(&fixture, "one");
    let folder = fixture.path("part");
    write(&folder, 10);
    git_in(&fixture, &folder, &["commit", "--quiet", "--all", "--message=ten"]).succeed();
    fixture.write("notes", "");
    commit(&fixture, "two");

    // Both repositories have a `HEAD~1`.
    for call in [
        fixture.memprof("gate --against HEAD~1").in_folder(&folder),
        fixture.memprof("gate --against HEAD~1 --manifest-path part/Cargo.toml"),
    ] {
        let ran = call.run().ended_with(5).says("over budget: 1 of 1 test compared with `HEAD~1`").says("(1 → 10)");
        ran.complains(&format!(") of the repository `{}`", folder.display()));
    }
    // From the root it is the root's, with what that had of the submodule.
    let ran = fixture.memprof("gate --against HEAD~1 --package growing").run().ended_with(5).says("(1 → 10)");
    assert!(!ran.all().contains("of the repository"), "{}", ran.all());
}

#[test]
fn settings_of_one_worktree_decide_on_the_files_of_the_revision_too() {
    let fixture = Fixture::copy("growing");
    fixture.write("src/three.txt", "a\nb\nc\n");
    // As long as the file is.
    let body = "drop(include_str!(\"three.txt\").to_owned()); assert!(load";
    fixture.replace("src/lib.rs", "assert!(load", body);
    fixture.cargo("generate-lockfile --quiet").succeed();
    begin(&fixture);
    let folder = linked(&fixture, "feature");
    git(&fixture, &["config", "extensions.worktreeConfig", "true"]);
    let in_folder = |words: &[&str]| git_in(&fixture, &folder, words).succeed();
    in_folder(&["config", "--worktree", "core.autocrlf", "true"]);
    fs::remove_file(folder.join("src/three.txt")).expect("it is checked out");
    in_folder(&["checkout", "--quiet", "--", "."]);
    assert_eq!(fs::read_to_string(folder.join("src/three.txt")).expect("it is checked out"), "a\r\nb\r\nc\r\n");
    let gate = |limit: &str| {
        fs::create_dir_all(folder.join(".config")).expect("the checkout can be written to");
        fs::write(folder.join(".config/memprof.toml"), limit).expect("the checkout can be written to");
        fixture.memprof("gate --against HEAD").in_folder(&folder).run()
    };
    // Not a byte more: the two sides have the same files.
    gate("[gate.limits]\nalloc_space = \"+0\"\n").ended_with(0).says("within budget: 3 tests compared with `HEAD`");
}

/// The run of the revision that was recorded last.
fn other_side(fixture: &Fixture) -> serde_json::Value {
    let folder = fs::read_dir(fixture.path("target/memprof/against")).expect("revisions were recorded");
    let summaries = folder.map(|entry| entry.expect("it can be read").path().join("summary.json"));
    let time = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let newest = summaries.filter(|path| path.exists()).max_by_key(time).expect("one was recorded");
    serde_json::from_str(&fs::read_to_string(newest).expect("it is there")).expect("JSON")
}

#[test]
fn whatever_changes_counts_holds_for_both_sides() {
    let fixture = Fixture::copy("growing");
    fixture.replace("Cargo.toml", "[workspace]", "[features]\nextra = []\n[workspace]");
    fixture.replace(
        "src/lib.rs",
        "assert!(load(\"\")",
        "drop(std::hint::black_box(Box::new(cfg!(feature = \"extra\"))));\n        assert!(load(\"\")",
    );
    begin(&fixture);
    let both_sides = |flags: &str| {
        let ran = fixture.memprof(&format!("gate --against HEAD {flags}")).succeed().says("within budget: ");
        let other = other_side(&fixture);
        let this: serde_json::Value = serde_json::from_str(&fixture.read("target/memprof/summary.json")).expect("JSON");
        for key in ["rate", "repeat", "conditions", "filtered"] {
            assert_eq!(this["run"][key], other["run"][key], "{key} with `{flags}`");
        }
        let tests = |side: &serde_json::Value| {
            let tests = side["tests"].as_array().expect("tests").iter();
            tests.map(|test| (test["name"].to_string(), test["hook"].to_string())).collect::<BTreeSet<_>>()
        };
        assert_eq!(tests(&this), tests(&other), "with `{flags}`");
        (ran, other)
    };
    // Each of them alone is another run of the revision.
    for flags in ["", "--memprofilerate 4096", "--stack-depth 16", "--deterministic", "--repeat 2", "--features extra"]
    {
        let (ran, other) = both_sides(flags);
        ran.complains("Recording HEAD");
        let command = other["run"]["command"].as_str().expect("a command").to_owned();
        assert!(command.contains(flags), "`{flags}` in `{command}`");
    }
    let flags =
        "--native --release --memprofilerate 4096 --repeat 2 --deterministic --features extra -- --include-ignored";
    let (_, other) = both_sides(flags);
    assert_eq!(other["run"]["conditions"]["seeds"], "fixed");
    let names: Vec<&str> =
        other["tests"].as_array().expect("tests").iter().filter_map(|test| test["name"].as_str()).collect();
    assert!(names.contains(&"tests::loads_a_lot"), "{names:?}");
    both_sides("--no-default-features --lib loads_nothing");
}

#[test]
fn a_test_that_walks_up_its_path_is_named_where_the_path_of_the_clone_may_hide_a_growth() {
    let fixture = Fixture::copy("growing");
    fixture.cargo("generate-lockfile --quiet").succeed();
    let lib = |boxes: u32| {
        let text = format!(
            "#[test]
fn walks_up() {{
    let mut folder = std::path::PathBuf::from(env!(\"CARGO_MANIFEST_DIR\"));
    while let Some(parent) = folder.parent() {{
        folder = std::hint::black_box(parent.to_path_buf());
    }}
    for number in 0..{boxes} {{
        std::hint::black_box(Box::new(number));
    }}
}}

#[test]
fn names_a_file() {{
    std::hint::black_box(std::path::Path::new(env!(\"CARGO_MANIFEST_DIR\")).join(\"x\"));
}}
"
        );
        fixture.write("src/lib.rs", &text);
    };
    lib(0);
    begin(&fixture);
    // As it is, it needs less here: four folders fewer.
    fixture.memprof("gate --against HEAD").succeed().says("improved").never_says("may depend on the path");
    lib(4);
    let hidden = fixture.memprof("gate --against HEAD").succeed();
    let hidden = hidden.complains("1 test may depend on the path of the checkout, which is 28 bytes and 4 folders longer at `HEAD`: `growing walks_up`");
    hidden.complains("a committed baseline compares them where they are").never_says("names_a_file`");
    lib(5);
    fixture.memprof("gate --against HEAD").run().ended_with(5).says("over budget growing walks_up");
}
