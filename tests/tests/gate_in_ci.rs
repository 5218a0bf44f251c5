//! A pull request adds an allocation three calls deep. Everything a CI server can show says which line did it.

use memprof_tests::fixture::{Call, Fixture};
use memprof_tests::repository::{self, git};
use memprof_tests::tool;
use std::fs;
use std::path::{Path, PathBuf};

const BEFORE: &str = "line.trim().to_owned()";
const AFTER: &str = "let clean = line.trim().to_owned();\n    clean.as_str().to_owned()";
/// What every form has to say.
const SITE: &str = "+3 allocs (0 → 3), src/parser.rs:11 in clean ← parse ← load ← loads_three_rows";

/// A repository with one commit, and a change that is not committed.
fn repository() -> Fixture {
    let fixture = Fixture::copy("growing");
    fixture.write(".gitignore", "target\nCargo.lock\n");
    git(&fixture, &["init", "--quiet"]);
    commit(&fixture);
    fixture
}

fn commit(fixture: &Fixture) {
    repository::commit(fixture, "change");
}

fn on_github(call: Call, fixture: &Fixture) -> Call {
    let summary = fixture.outside().join("summary.md");
    call.env("GITHUB_ACTIONS", "true").env("GITHUB_WORKSPACE", fixture.root()).env("GITHUB_STEP_SUMMARY", summary)
}

/// The one file below `folder` with this name.
fn found(folder: &Path, name: &str) -> PathBuf {
    let folders = fs::read_dir(folder)
        .expect("the gate wrote its folder")
        .map(|entry| entry.expect("the folder can be read").path());
    let found: Vec<PathBuf> = folders.map(|folder| folder.join(name)).filter(|path| path.exists()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn a_regression_is_explained_in_text_annotations_markdown_junit_json_and_pictures() {
    let fixture = repository();
    fixture.memprof("test --save-baseline").succeed();
    fixture.replace("src/parser.rs", BEFORE, AFTER);
    let ran = on_github(fixture.memprof("gate"), &fixture).run().ended_with(5);
    let ran = ran.says(&format!("    {SITE}\n")).says("  difference: target/memprof/gate/");
    let ran =
        ran.says("::error file=src/parser.rs,line=11,title=allocates more in growing tests%3A%3Aloads_three_rows::");
    ran.says(
        "::notice file=src/lib.rs,line=19,title=over budget%3A growing tests%3A%3Aloads_three_rows::alloc_objects",
    );

    let markdown = fs::read_to_string(fixture.outside().join("summary.md")).expect("the job summary is written");
    assert!(markdown.contains("### ❌ cargo memprof: 1 test over budget (3 tests compared)"), "{markdown}");
    assert!(markdown.contains("| alloc_objects | 4 | 7 | +3 |") && markdown.contains(SITE), "{markdown}");

    let folder = fixture.path("target/memprof/gate");
    let xml = fixture.read("target/memprof/gate/junit.xml");
    check_junit(&xml);
    assert!(xml.contains(&format!("\n{SITE}</failure>")), "{xml}");

    let json: serde_json::Value = serde_json::from_str(&fixture.read("target/memprof/gate/gate.json")).expect("JSON");
    assert_eq!(json["verdict"], "over-budget");
    let test = json["tests"].as_array().unwrap().iter().find(|test| test["name"] == "tests::loads_three_rows").unwrap();
    assert_eq!((&test["before"]["alloc_objects"], &test["now"]["alloc_objects"]), (&4.into(), &7.into()));
    let change = &test["changes"]["alloc_objects"][0];
    assert_eq!((&change["file"], &change["line"]), (&"src/parser.rs".into(), &11.into()));

    // Both directions, as XML, with the function that grew.
    for name in ["alloc_objects.svg", "alloc_objects.before.svg"] {
        let svg = fs::read_to_string(found(&folder, name)).unwrap();
        let svg = roxmltree::Document::parse_with_options(
            &svg,
            roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() },
        )
        .expect("a flamegraph is XML");
        let titles: Vec<&str> =
            svg.descendants().filter(|node| node.has_tag_name("title")).filter_map(|node| node.text()).collect();
        assert!(titles.iter().any(|title| title.starts_with("growing::parser::clean (")), "{titles:?}");
    }
    // The profiles are a pair that pprof can compare.
    for path in [&test["profiles"]["before"], &test["profiles"]["now"]] {
        assert!(fixture.path(path.as_str().unwrap()).exists());
    }
}

/// What the schema of Jenkins' xUnit plugin asks for.
fn check_junit(xml: &str) {
    let document = roxmltree::Document::parse(xml).expect("a report is XML");
    let known = |tag: &str| match tag {
        "testsuites" => vec!["name", "tests", "failures", "errors", "time"],
        "testsuite" => vec!["name", "tests", "failures", "errors", "skipped", "time", "timestamp"],
        "testcase" => vec!["name", "classname", "time"],
        "failure" | "error" | "skipped" => vec!["type", "message"],
        other => panic!("the schema has no <{other}>"),
    };
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let known = known(node.tag_name().name());
        for attribute in node.attributes() {
            assert!(known.contains(&attribute.name()), "<{} {}>", node.tag_name().name(), attribute.name());
        }
        if node.has_tag_name("testsuite") {
            let counted = |tag: &str| node.descendants().filter(|child| child.has_tag_name(tag)).count().to_string();
            assert_eq!(node.attribute("failures"), Some(&*counted("failure")));
            assert_eq!(node.attribute("tests"), Some(&*counted("testcase")));
        }
    }
}

#[test]
fn stdout_holds_one_format_alone_when_a_program_is_to_read_it() {
    let fixture = repository();
    fixture.memprof("test --save-baseline").succeed();
    let json = fixture.memprof("gate --output-format json").succeed().complains("test tests::loads_nothing ... ok");
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("stdout is JSON");
    assert_eq!(json["compared"], 3);
    check_junit(&fixture.memprof("gate --no-run --output-format junit").succeed().stdout);
    assert_eq!(fixture.memprof("gate --no-run --output-format github").succeed().stdout, "");
    let filtered = fixture.memprof("gate three --output-format github").run().ended_with(6).stdout;
    assert!(filtered.starts_with("::error title=2 tests%3A it is in the baseline and did not run"), "{filtered}");
    assert!(fixture.memprof("gate --no-run --output-format markdown").run().stdout.starts_with("### ❌"));
    fixture.memprof("gate --output-format xml").run().ended_with(2).complains("`junit`");
}

#[test]
fn a_regression_without_its_profiles_says_what_is_missing() {
    let fixture = repository();
    fixture.memprof("test --save-baseline --baseline-dir kept").succeed();
    fixture.replace("src/parser.rs", BEFORE, AFTER);
    let without = fixture.memprof("gate").run().ended_with(5);
    let without = without.says("what changed is not known: the baseline's profile is missing");
    // What there is to see without it, which for a small test is the answer.
    without.says("--explain-against REVISION").says("    3 allocs of this run, src/parser.rs:11 in clean ← parse");
    let junit = fixture.read("target/memprof/gate/junit.xml");
    assert!(
        junit.contains("alloc_objects 4 → 7 (+3); at most 4") && junit.contains("of this run, src/parser.rs:"),
        "{junit}"
    );
    let explained = on_github(fixture.memprof("gate --no-run --explain-against HEAD"), &fixture).run().ended_with(5);
    explained.says(SITE).says("::error file=src/parser.rs,line=11,").never_says("what changed is not known");
    let nowhere = fixture.memprof("gate --no-run --explain-against nowhere").run().ended_with(5);
    nowhere.complains("`--explain-against` explains nothing").says("what changed is not known");
    fixture.memprof("gate --explain-against HEAD --against HEAD").run().ended_with(2);
    fixture.memprof("gate --no-run --baseline-dir kept").run().ended_with(5).says(SITE);
    let sampled = fixture.memprof("gate --memprofilerate 512").run().ended_with(5);
    sampled.says("at a rate of 512, so not every allocation has a stack");
    // A profile that belongs to other metrics explains nothing.
    fixture.memprof("test --save-baseline --baseline other --baseline-dir kept").succeed();
    let stale = fixture.memprof("gate --no-run --baseline-dir kept").run().ended_with(5);
    stale.says("it has 7 allocations, not 4");
}

#[test]
fn a_revision_can_stand_for_the_baseline_and_is_recorded_once() {
    let fixture = repository();
    if !tool::has("git", &["worktree", "list"], "the gate against a revision") {
        return;
    }
    fixture.replace("src/parser.rs", BEFORE, AFTER);
    commit(&fixture);
    let first = fixture.memprof("gate --against HEAD~1").run().ended_with(5).says(SITE);
    let first = first.complains("Recording HEAD~1").says("compared with `HEAD~1`");
    assert!(!first.stdout.contains("cargo memprof accept"), "{}", first.all());
    let again = fixture.memprof("gate --against HEAD~1").run().ended_with(5).says(SITE).complains("Known HEAD~1");
    assert!(!again.stderr.contains("Recording"), "{}", again.all());
    // Another revision in the same worktree; equal to what is here.
    fixture.memprof("gate --against HEAD").succeed().says("within budget: 3 tests compared with `HEAD`");
    // A test that is removed needs no line removed.
    fixture.replace("src/lib.rs", "fn loads_nothing", "fn loads_not_much");
    fixture
        .memprof("gate --against HEAD")
        .succeed()
        .says("warning: there at `HEAD`, and there is no such test any more");
    assert!(!fixture.path("memprof.baseline").exists());
    git(&fixture, &["diff", "--quiet", "HEAD", "--", "src/parser.rs"]);
    let unknown = fixture.memprof("gate --against no-such-branch").run().ended_with(6);
    unknown.complains("cannot compare with `no-such-branch`").complains("git fetch");
}

#[test]
fn a_revision_that_is_laid_out_otherwise_is_compared_and_one_that_does_not_build_is_not() {
    let fixture = repository();
    if !tool::has("git", &["worktree", "list"], "the gate against a revision") {
        return;
    }
    // A package alone, as cargo makes them: it must not be taken for a part of the workspace that it becomes later.
    fixture.replace("Cargo.toml", "[workspace]", "");
    commit(&fixture);
    fs::create_dir_all(fixture.path("crates/growing")).expect("the copy can be written to");
    git(&fixture, &["mv", "src", "Cargo.toml", "crates/growing"]);
    fixture.write("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\nresolver = \"3\"\n");
    fixture.replace("crates/growing/src/parser.rs", BEFORE, AFTER);
    commit(&fixture);
    let site = SITE.replace("src/", "crates/growing/src/");
    fixture.memprof("gate --against HEAD~1").run().ended_with(5).says(&site);
    // From the folder that was not there then, and by the manifest's path.
    let below = fixture.path("crates/growing");
    fixture.memprof("gate --against HEAD~1").in_folder(&below).run().ended_with(5).says(&site);
    fixture.memprof("gate --against HEAD~1 --manifest-path crates/growing/Cargo.toml").run().ended_with(5).says(&site);

    // The other way round; and a folder that came out of a cache may be no clone of this repository.
    git(&fixture, &["checkout", "--quiet", "HEAD~1"]);
    fs::write(fixture.path("target/memprof/against/tree/.git/HEAD"), "none").expect("git keeps the commit there");
    let improved = fixture.memprof("gate --against @{-1}").succeed();
    improved.says("within budget: 3 tests compared with `@{-1}`");

    fixture.write("src/parser.rs", "no Rust at all");
    commit(&fixture);
    fixture.write("src/parser.rs", &git(&fixture, &["show", "HEAD~1:src/parser.rs"]).stdout);
    let broken = fixture.memprof("gate --against HEAD").run().ended_with(6);
    let broken = broken.complains("error: cannot compare with `HEAD`").complains("could not compile `growing`");
    broken.complains("  help: name a revision whose tests can be built");
    fixture.write("new/Cargo.toml", "[package]\nname = \"new\"\nedition = \"2021\"\n[workspace]\n");
    fixture.write("new/src/lib.rs", "");
    let new = fixture.memprof("gate --against HEAD").in_folder(&fixture.path("new")).run().ended_with(6);
    new.complains("the revision has no `new/Cargo.toml`, and no package `new` elsewhere")
        .complains("help: what is new");
}

#[test]
fn a_revision_is_recorded_again_where_what_it_is_built_with_has_changed() {
    let fixture = repository();
    // A dependency that is not committed, and releases.
    fixture.write("dep/Cargo.toml", "[package]\nname = \"dep\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
    fixture.write("dep/src/lib.rs", "");
    fixture.write("Cargo.toml", "[package]\nname = \"growing\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n[dependencies]\ndep = { path = \"dep\" }\n");
    commit(&fixture);
    let gate = || fixture.memprof("gate --against HEAD --memprofilerate 512");
    gate().succeed().complains("Recording HEAD");
    gate().succeed().complains("Known HEAD");
    let lock = fixture.read("Cargo.lock");
    fixture.write("Cargo.lock", &format!("{lock}# another\n"));
    gate().succeed().complains("Recording HEAD");
    fixture.write("Cargo.lock", &lock);
    gate().succeed().complains("Known HEAD");
    gate().env("CARGO_PROFILE_TEST_OPT_LEVEL", "1").succeed().complains("Recording HEAD");
    gate().env("RUST_BACKTRACE", "1").succeed().complains("Recording HEAD");
    fixture.memprof("gate --against HEAD --native").succeed().says("within budget: 3 tests compared with `HEAD`");
    fixture.write(".cargo/config.toml", "[profile.test]\nopt-level = 1\n");
    gate().succeed().complains("Recording HEAD");
    // A lock file that is committed is the revision's own.
    fixture.write(".gitignore", "target\n.cargo\n");
    commit(&fixture);
    gate().succeed().complains("Recording HEAD");
    fixture.write("Cargo.lock", &format!("{lock}# another\n"));
    gate().succeed().complains("Known HEAD");
}

/// Cargo reads the configuration of every folder above the clone, which lies below the user's checkout.
#[test]
fn a_configuration_that_this_side_committed_is_not_the_revisions() {
    let fixture = repository();
    fixture.write(".cargo/config.toml", "[env]\nSIZE = \"1000\"\n");
    // Not committed it is both sides', and what was recorded so does not count when it is.
    fixture.memprof("gate --against HEAD --memprofilerate 512").succeed();
    commit(&fixture);
    let gate = || fixture.memprof("gate --against HEAD~1 --memprofilerate 512");
    let refused = gate().run().ended_with(6).complains("`.cargo/config.toml` is another there than here");
    refused.complains("help: set `CARGO_TARGET_DIR` to a folder outside of the repository");
    gate().env("CARGO_TARGET_DIR", fixture.outside().join("elsewhere")).succeed();
    // Equal on both sides, or nobody's but the user's, it is meant for both.
    fixture.memprof("gate --against HEAD --memprofilerate 512").succeed();
}

/// What the gate's files say: the verdict, and the heading for people.
fn verdict_and_heading(fixture: &Fixture) -> (String, String) {
    let json: serde_json::Value = serde_json::from_str(&fixture.read("target/memprof/gate/gate.json")).expect("JSON");
    let markdown = fixture.read("target/memprof/gate/summary.md");
    (json["verdict"].as_str().expect("a verdict").to_owned(), markdown.lines().next().unwrap_or_default().to_owned())
}

/// How many cases of the JUnit file are said not to have gone well.
fn not_well(fixture: &Fixture) -> usize {
    let xml = fixture.read("target/memprof/gate/junit.xml");
    check_junit(&xml);
    let document = roxmltree::Document::parse(&xml).expect("a report is XML");
    document.descendants().filter(|node| node.has_tag_name("failure") || node.has_tag_name("error")).count()
}

#[test]
fn a_job_that_failed_is_green_in_no_form() {
    let fixture = repository();
    fixture.memprof("test --save-baseline").succeed();
    fixture.memprof("gate").succeed();
    assert_eq!(verdict_and_heading(&fixture).0, "passed");

    // A test fails, and the others are within budget.
    fixture.replace("src/lib.rs", "load(\"\").is_empty()", "!load(\"\").is_empty()");
    let gate = |more: &str| on_github(fixture.memprof(&format!("gate {more}")), &fixture).run();
    let failed = gate("--no-fail-fast").ended_with(101).never_says("within budget");
    let failed = failed.says("tests failed: 2 tests compared with `memprof.baseline`, none over budget");
    failed.says("::error title=tests failed%2C or did not compile%3A cargo ended with 101::");
    let heading = "### ❌ cargo memprof: tests failed (2 tests compared, none over budget)";
    assert_eq!(verdict_and_heading(&fixture), ("tests-failed".to_owned(), heading.to_owned()));
    assert_eq!(not_well(&fixture), 2, "the test, and the job");
    fixture.memprof("gate --no-run").run().ended_with(101).never_says("within budget");

    // The crate does not compile: nothing of the run before is left.
    fixture.write("src/parser.rs", "syntax error");
    let broken = gate("--output-format json").ended_with(101);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&broken.stdout).unwrap()["verdict"], "tests-failed");
    assert_eq!((verdict_and_heading(&fixture).0.as_str(), not_well(&fixture)), ("tests-failed", 1));

    // There is no baseline, or none that can be read, or no such revision.
    let cases: [(&str, Option<&str>); 3] =
        [("gate --baseline none", None), ("gate", Some("<<<<<<<")), ("gate --against nope", None)];
    for (command, text) in cases {
        text.into_iter().for_each(|text| fixture.write("memprof.baseline", text));
        let refused = on_github(fixture.memprof(command), &fixture).run().ended_with(6);
        let (verdict, heading) = verdict_and_heading(&fixture);
        assert_eq!((verdict.as_str(), not_well(&fixture)), ("cannot-compare", 1), "{command}");
        assert!(heading.starts_with("### ❌"), "{command}: {heading}");
        let annotation = refused.stdout.lines().find(|line| line.starts_with("::error title=cannot "));
        assert!(annotation.is_some(), "{command}: {}", refused.stdout);
    }
}
