//! A maintainer commits a baseline; a later change allocates more, three calls deep; the gate stops it.

use memprof_tests::fixture::Fixture;
use memprof_tests::repository::{self, git, git_in};

/// In `parser::clean`, which `parser::parse` calls, which `load` calls.
const BEFORE: &str = "line.trim().to_owned()";
const AFTER: &str = "let clean = line.trim().to_owned();\n    clean.as_str().to_owned()";

/// A copy with a baseline of the code as it is.
fn with_baseline() -> Fixture {
    let fixture = Fixture::copy("growing");
    fixture.memprof("test --save-baseline").succeed().complains("3 tests added");
    fixture
}

#[test]
fn one_more_allocation_in_a_loop_fails_the_gate_until_it_is_accepted() {
    let fixture = with_baseline();
    let baseline = fixture.read("memprof.baseline");
    let line = "growing lib/growing tests::loads_three_rows alloc_objects=4 alloc_space=75 peak_space=75 inuse_objects=0 inuse_space=0\n\n";
    assert!(baseline.contains(line), "{baseline}");
    fixture.memprof("gate").succeed().says("within budget: 3 tests compared");

    fixture.replace("src/parser.rs", BEFORE, AFTER);
    let ran = fixture.memprof("gate").run().ended_with(5);
    let ran = ran.says("over budget growing tests::loads_three_rows  (src/lib.rs:19)");
    ran.says("alloc_objects 4 → 7 (+3); at most 4 are allowed by `+0`").says("over budget: 1 of 3 tests");
    // The last run is still there to be compared again.
    fixture.memprof("gate --no-run").run().ended_with(5);

    fixture.memprof("accept tests::loads_nothing").succeed().complains("1 test unchanged");
    fixture.memprof("gate --no-run").run().ended_with(5);
    // As the gate says it, as its line begins, or by a part of its name.
    for pattern in ["growing tests::loads_three_rows", "growing lib/growing tests::*", "*three*"] {
        fixture.write("memprof.baseline", &baseline);
        fixture.memprof("accept").args([pattern]).succeed().complains("1 test changed");
    }
    fixture.memprof("gate --no-run").succeed();
    let accepted = fixture.read("memprof.baseline");
    let changed = accepted.lines().zip(baseline.lines()).filter(|(one, other)| one != other).count();
    assert_eq!((changed, accepted.lines().count()), (1, baseline.lines().count()), "{accepted}");
}

#[test]
fn the_gate_cannot_pass_by_comparing_nothing() {
    let fixture = Fixture::copy("growing");
    fixture.memprof("gate --no-run").run().ended_with(6).complains("there is no `").complains("--save-baseline");
    fixture.memprof("test --save-baseline").succeed();
    let filtered = fixture.memprof("gate three").run().ended_with(6);
    filtered.says("error: in the baseline, but did not run: it was filtered out:").says("tests::loads_nothing");
    fixture.memprof("gate --no-run --allow not-run").succeed().says("1 test compared");
    fixture.memprof("gate no_such_test").run().ended_with(6).complains("no test was recorded");
    fixture.memprof("gate --doc").run().ended_with(6).complains("no test was recorded");
    let profile = fixture.memprof("gate --release").run().ended_with(6);
    profile.says("it was recorded with profile `test`; this run used `release`").says("--allow conditions");
    fixture.memprof("gate --no-run --allow conditions").succeed();

    fixture.replace("src/lib.rs", "fn loads_nothing", "fn loads_not_much");
    let gone = fixture.memprof("gate").run().ended_with(6);
    let gone =
        gone.says("there is no such test any more; `cargo memprof accept` removes it: growing tests::loads_nothing");
    gone.says("warning: not in the baseline yet; `cargo memprof accept` takes it in: growing tests::loads_not_much");
    fixture.memprof("accept").succeed().complains("1 test added, 1 test removed");
    fixture.memprof("gate --no-run").succeed();
}

#[test]
fn failing_tests_keep_cargos_exit_code_and_write_no_baseline() {
    let fixture = with_baseline();
    let baseline = fixture.read("memprof.baseline");
    fixture.replace("src/lib.rs", "load(\"\").is_empty()", "!load(\"\").is_empty()");
    fixture.memprof("gate").run().ended_with(101).says("not compared, because the test itself failed");
    fixture.memprof("test --save-baseline").run().ended_with(101).complains("was not written: the tests did not pass");
    assert_eq!(fixture.read("memprof.baseline"), baseline);
    fixture.write("src/parser.rs", "syntax error");
    fixture.memprof("gate").run().ended_with(101).never_says("within budget");
}

#[test]
fn a_policy_says_what_is_allowed_and_what_is_not() {
    let fixture = with_baseline();
    fixture.replace("src/parser.rs", BEFORE, AFTER);
    fixture.memprof("gate").run().ended_with(5);
    let with = |text: &str| {
        fixture.write(".config/memprof.toml", text);
        fixture.memprof("gate --no-run --self-test").run()
    };
    with("[gate.limits]\nalloc_objects = '+3'")
        .ended_with(0)
        .says("one more allocation fails the gate in 1 of 3 tests\n    not noticed in:\n")
        .says("tests::loads_nothing: 3 are allowed\n")
        .says("\n  alloc_space: 254..257 B more in 3 of 3 tests\n  peak_space: 256..257 B more in 3 of 3 tests\n")
        .says("\n  inuse_objects: 1 more in 3 of 3 tests\n  inuse_space: 257 B more in 3 of 3 tests\n");
    with("[gate.limits]\npeak_space = 'any'\nalloc_objects = '+3'")
        .ended_with(0)
        .says("\n  peak_space: more in 0 of 3 tests\n    not noticed in:\n")
        .says("tests::loads_nothing: any number is allowed\n");
    with("[gate.limits]\nalloc_objects = '+10% or 2'").ended_with(5).says("at most 6 are allowed by `+10% or 2`");
    with("[[gate.override]]\ntest = '*three*'\nalloc_objects = 7").ended_with(0).says("in 3 of 3 tests");
    with("[[gate.exclude]]\ntest = '*three*'\nreason = 'it grows'").ended_with(0).says("excluded: it grows");
    with("[gate.limits]\nalloc_objects = 'any'").ended_with(6).says("would not be noticed in any of 3 tests");
    let idle = with("[[gate.override]]\ntest = 'tests::loads_three_row'\nalloc_objects = 0").ended_with(5);
    idle.complains("is for no test; did you mean test = \"tests::loads_three_rows\"?");
    with("[[gate.override]]\nalloc_objects = 0").ended_with(2).complains("an override names its tests by");
    with("[gate.limits]\nalloc_object = 'any'").ended_with(2).complains("did you mean `alloc_objects`?");
    with("[gate.limits]\nalloc_objects = '5%'").ended_with(2).complains("memprof.toml:2");

    fixture.write(".config/memprof.toml", "[gate]\nratchet = true");
    fixture.memprof("accept").succeed();
    fixture.replace("src/parser.rs", AFTER, BEFORE);
    fixture.memprof("gate").run().ended_with(5).says("better, and not yet in the baseline");
    fixture.memprof("accept").succeed();
    fixture.memprof("gate --no-run").succeed();
}

#[test]
fn a_hand_broken_baseline_names_the_line_and_costs_no_test_run() {
    let fixture = with_baseline();
    let good = fixture.read("memprof.baseline");
    let line = good.lines().rfind(|line| !line.is_empty()).expect("it has lines");
    let at = good.lines().position(|other| other == line).expect("it is one of them") + 1;
    for (broken, complaint) in [
        (String::new(), "it is empty"),
        ("{}".to_owned(), "line 1: "),
        (good.replace("@rustc", "@rusty"), "the line `@rustc …` is missing"),
        (good.replace("baseline 2", "baseline 9"), "update cargo-memprof"),
        (good.replace("baseline 2", "baseline 1"), "in the place of this one: `cargo memprof test --save-baseline`"),
        (good.replace(line, &format!("<<<<<<< ours\n{line}")), &*format!("line {at}: it holds a conflict")),
        (format!("{good}@seeds fixed\n"), "`@seeds` is there twice, and differs"),
        (good.replace("alloc_objects=4", "alloc_objects=many"), &format!("line {at}: `many` is not a valid value")),
        (good.replace(" inuse_space=0", ""), "it is cut short: `inuse_space=N` is missing"),
    ] {
        fixture.write("memprof.baseline", &broken);
        let ran =
            fixture.memprof("gate").run().ended_with(6).complains("cannot read the baseline").complains(complaint);
        assert!(!ran.stdout.contains("running"), "{}", ran.all());
        assert!(ran.stderr.contains("help: "), "{}", ran.all());
    }
    // One of an older version has nothing to lose, where all tests run.
    fixture.write("memprof.baseline", &good.replace("baseline 2", "baseline 1"));
    fixture.memprof("test --save-baseline three").run().ended_with(6).complains("its format is version 1");
    fixture.memprof("test --save-baseline").succeed().complains("3 tests added");
    assert_eq!(fixture.read("memprof.baseline"), good);
}

/// A repository whose tests allocate as many boxes as these say, with a baseline of them.
fn boxes(fixture: &Fixture, tests: &[(&str, u32)]) {
    let test = |(name, boxes): &(&str, u32)| {
        format!("#[test]\nfn {name}() {{ for n in 0..{boxes} {{ std::hint::black_box(Box::new(n)); }} }}\n")
    };
    fixture.write("src/lib.rs", &tests.iter().map(test).collect::<String>());
}

/// Has `branch`, from `main` on, have these tests and their lines.
fn branch(fixture: &Fixture, branch: &str, tests: &[(&str, u32)]) {
    git(fixture, &["checkout", "--quiet", "-b", branch, "main"]);
    boxes(fixture, tests);
    let _ = fixture.memprof("gate").run();
    fixture.memprof("accept").succeed();
    repository::commit(fixture, branch);
}

#[test]
fn branches_that_change_neighbouring_tests_merge() {
    let fixture = Fixture::copy("growing");
    repository::begin(&fixture);
    boxes(&fixture, &[("a", 1), ("b", 2), ("c", 3), ("d", 4)]);
    fixture.memprof("test --save-baseline").succeed();
    repository::commit(&fixture, "baseline");
    branch(&fixture, "x", &[("a", 1), ("b", 20), ("b_new", 5), ("d", 4)]);
    branch(&fixture, "y", &[("a", 10), ("b", 2), ("c", 3), ("d", 40), ("e", 6)]);
    // The sources would conflict, which is none of the baseline's business.
    git(&fixture, &["merge", "--quiet", "--no-commit", "-X", "theirs", "x"]);
    boxes(&fixture, &[("a", 10), ("b", 20), ("b_new", 5), ("d", 40), ("e", 6)]);
    fixture.memprof("gate").succeed().says("within budget: 5 tests compared");
}

#[test]
fn what_two_branches_add_at_one_place_is_kept_of_both_and_the_lower_of_two_lines_counts() {
    let fixture = Fixture::copy("growing");
    repository::begin(&fixture);
    boxes(&fixture, &[("a", 1), ("z", 2)]);
    fixture.memprof("test --save-baseline").succeed();
    repository::commit(&fixture, "baseline");
    branch(&fixture, "x", &[("a", 1), ("m", 3), ("z", 20)]);
    branch(&fixture, "y", &[("a", 1), ("n", 4), ("z", 30)]);
    let merge = |attributes: &str| {
        git(&fixture, &["checkout", "--quiet", "--force", "y"]);
        fixture.write(".git/info/attributes", attributes);
        let merged = git_in(&fixture, fixture.root(), &["merge", "--quiet", "--no-commit", "x"]).run();
        assert!(merged.all().contains("CONFLICT (content): Merge conflict in src/lib.rs"), "{}", merged.all());
        boxes(&fixture, &[("a", 1), ("m", 3), ("n", 4), ("z", 20)]);
        merged
    };
    // By git's own means there is a conflict, whose help is followed.
    let merged = merge("");
    assert!(merged.all().contains("Merge conflict in memprof.baseline"), "{}", merged.all());
    fixture.memprof("gate").run().ended_with(6).complains("remove the markers and keep the lines of both sides");
    let kept: Vec<String> = fixture
        .read("memprof.baseline")
        .lines()
        .filter(|line| !["<<<<<<<", "=======", ">>>>>>>"].iter().any(|marker| line.starts_with(marker)))
        .map(|line| format!("{line}\n"))
        .collect();
    fixture.write("memprof.baseline", &kept.concat());
    fixture.memprof("gate").succeed().says("within budget: 4 tests compared");

    git(&fixture, &["merge", "--abort"]);
    let merged = merge("memprof.baseline merge=union\n");
    assert!(!merged.all().contains("conflict in memprof.baseline"), "{}", merged.all());
    let two = "a merge left more than one line of 1 test in `memprof.baseline`, such as `z`: the lower counts";
    fixture.memprof("gate").succeed().complains(two).says("within budget: 4 tests compared");
    boxes(&fixture, &[("a", 1), ("m", 3), ("n", 4), ("z", 21)]);
    let over = fixture.memprof("gate").run().ended_with(5);
    over.says("alloc_objects 20 → 21 (+1); at most 20 are allowed by `+0`").says("over budget: 1 of 4 tests");
    fixture.memprof("accept").succeed().complains("1 test changed");
    fixture.memprof("gate --no-run").succeed().never_says("more than one line");
    let baseline = fixture.read("memprof.baseline");
    assert_eq!(baseline.matches("lib/growing z ").count(), 1, "{baseline}");
}

#[test]
fn what_is_better_is_shown_and_accept_takes_what_is_needed_alone() {
    let fixture = Fixture::copy("growing");
    let tests = |a: &str, b: &str, c: &str| {
        let test = |name: &str, bytes: &str| {
            format!("#[test]\nfn {name}() {{ std::hint::black_box(Vec::<u8>::with_capacity({bytes})); }}\n")
        };
        fixture.write("src/lib.rs", &[test("a", a), test("b", b), test("c", c)].concat());
    };
    tests("1000", "240000", "500");
    fixture.memprof("test --save-baseline").succeed();
    let before = fixture.read("memprof.baseline");
    // Within its limit, better, and a test more than three times what it was.
    tests("1100", "10", "900");
    let gated = fixture.memprof("gate").run().ended_with(5);
    let gated = gated.says("over budget growing c").says("alloc_space 500 B → 900 B (+400, +80.0 %)");
    gated.says(
        "improved: better than the baseline; `cargo memprof accept` takes it in: growing b: alloc_space 240,000 B → 10 B (-239,990, -100.0 %)",
    );
    let markdown = fixture.read("target/memprof/gate/summary.md");
    assert!(
        markdown.contains("- ✨ 1 test improved:\n  - <code>growing b</code>: alloc_space 240,000 B"),
        "{markdown}"
    );
    fixture.write(".config/memprof.toml", "[[gate.exclude]]\ntest = 'c'\nreason = 'it grows'\n");
    fixture.memprof("accept").succeed().complains("1 test changed, 1 excluded");
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (before, now) = (lines(&before), lines(&fixture.read("memprof.baseline")));
    let changed: Vec<&String> = now.iter().filter(|line| !before.contains(line)).collect();
    assert!(matches!(&changed[..], [line] if line.contains(" b alloc_objects=1 alloc_space=10 ")), "{changed:?}");
    // What is named is taken, though no limit asks for it.
    fixture.memprof("accept a").succeed().complains("1 test changed");
    assert!(fixture.read("memprof.baseline").contains(" a alloc_objects=1 alloc_space=1100 "));
}

#[test]
fn what_is_left_is_counted_in_blocks_and_its_bytes_have_room_for_paths() {
    let fixture = Fixture::copy("growing");
    let keep = |bytes: &str, blocks: &str| {
        let keep = format!(
            "for _ in 0..{blocks} {{ std::mem::forget(std::hint::black_box(Vec::<u8>::with_capacity({bytes}))); }}"
        );
        fixture.write("src/lib.rs", &format!("#[test]\nfn keeps() {{ {keep} }}\n"));
    };
    keep("19", "1");
    fixture.memprof("test --save-baseline").succeed();
    keep("83", "1");
    fixture.memprof("gate").succeed();
    keep("5", "2");
    let more = fixture.memprof("gate").run().ended_with(5);
    more.says("inuse_objects 1 → 2 (+1); at most 1 are allowed by `+0`").says("+1 block in use");
    keep("500", "1");
    let larger = fixture.memprof("gate").run().ended_with(5);
    larger.says("inuse_space 19 B → 500 B (+481, +2531.6 %)").never_says("inuse_objects 1");
}

#[test]
fn accept_says_that_the_file_has_other_conditions() {
    let fixture = with_baseline();
    fixture
        .memprof("test --release --save-baseline")
        .succeed()
        .complains("the baseline is now of profile `release`; it was of `test`");
}

#[test]
fn a_peak_that_is_compared_no_more_is_said() {
    let fixture = with_baseline();
    fixture.write(".config/memprof.toml", "[gate.limits]\nalloc_objects = '+9'\nalloc_space = 'any'\n");
    let test = "fn loads_nothing() {";
    let grown = "fn loads_nothing() {\n        std::thread::spawn(|| drop(vec![1u8; 3_000_000])).join().unwrap();";
    fixture.replace("src/lib.rs", test, grown);
    let ran = fixture.memprof("gate").succeed().says("warning: peak not compared any more, because several threads");
    ran.says("`threaded-peaks` compares it all the same").says("growing tests::loads_nothing");
    let text = fixture.read("target/memprof/gate/gate.json");
    assert!(text.contains("\"peak-not-compared\""), "{text}");
    let planted = fixture.memprof("gate --no-run --self-test").run();
    planted.says("peak_space: 257 B more in 2 of 3 tests").says("peaks of several threads are not compared");
    fixture.memprof("accept").succeed().complains("1 test changed");
    fixture.memprof("gate --no-run").succeed().never_says("peak not compared");
}

#[test]
fn a_manifest_may_have_the_configuration_and_a_members_has_rules_for_its_own_tests() {
    let fixture = with_baseline();
    fixture.replace("src/parser.rs", BEFORE, AFTER);
    fixture.memprof("gate").run().ended_with(5);
    let manifest = fixture.read("Cargo.toml");
    let with = |text: &str| {
        fixture.write("Cargo.toml", &format!("{manifest}\n{text}"));
        fixture.memprof("gate --no-run").run()
    };
    let limit = "gate.limits]\nalloc_objects = '+3'\n";
    with(&format!("[package.metadata.memprof.{limit}")).ended_with(0);
    with(&format!("[workspace.metadata.memprof.{limit}")).ended_with(0);
    let slip = with("[package.metadata.memprof.gate.limits]\nalloc_object = 3\n").ended_with(2);
    slip.complains("[package.metadata.memprof]` of `").complains("did you mean `alloc_objects`?");
    let both = with(&format!("[package.metadata.memprof.{limit}[workspace.metadata.memprof.{limit}")).ended_with(2);
    both.complains("has one below `[package.metadata.memprof]` as well").complains("keep one of the two");

    // One of two members.
    fixture.write("other/Cargo.toml", "[package]\nname = \"other\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
    fixture.write("other/src/lib.rs", "");
    let manifest = manifest.replace("[workspace]", "[workspace]\nmembers = ['other']");
    let member = |text: &str| {
        fixture.write("Cargo.toml", &format!("{manifest}\n{text}"));
        fixture.memprof("gate --no-run").run()
    };
    member(&format!("[package.metadata.memprof.{limit}")).ended_with(0);
    let by_name = "[[package.metadata.memprof.gate.override]]\ntest = '*three*'\nalloc_objects = '+3'\n";
    member(by_name).ended_with(0);
    let workspace = "[[workspace.metadata.memprof.gate.override]]\ntest = '*'\nalloc_objects = '+0'\n";
    member(&format!("{by_name}{workspace}")).ended_with(5);
    let strange = member(&format!("{by_name}package = 'other'\n")).ended_with(2);
    strange.complains("a package's manifest has rules for its own tests");
    member("[package.metadata.memprof]\nlist-limit = 5\n").ended_with(2).complains("there are `gate`");
    fixture
        .write("other/Cargo.toml", &format!("{}[package.metadata.memprof.{limit}", fixture.read("other/Cargo.toml")));
    member("").ended_with(5);
}

#[test]
fn doctests_keep_their_lines_when_what_stands_above_them_grows() {
    let fixture = Fixture::copy("doctests");
    fixture.memprof("test --save-baseline --doc").succeed();
    let baseline = fixture.read("memprof.baseline");
    assert!(baseline.contains("each doc/each each/src/lib.rs - eleven alloc_objects="), "{baseline}");
    let source = fixture.read("each/src/lib.rs");
    fixture.write("each/src/lib.rs", &format!("//! A remark.\n//!\n{source}"));
    fixture.memprof("gate --doc").succeed().says("within budget").never_says("no such test");
    fixture.memprof("test --save-baseline --doc").succeed();
    assert_eq!(fixture.read("memprof.baseline"), baseline);
    // rustdoc has no list of what a filter leaves out, so nothing is taken for gone.
    let filtered = fixture.memprof("gate --doc eleven").run().ended_with(6).says("it was filtered out, or is no more");
    filtered.never_says("there is no such test");
    fixture.memprof("accept").succeed();
    assert_eq!(fixture.read("memprof.baseline"), baseline);
}

#[test]
fn a_doctest_that_is_added_to_an_item_or_removed_shifts_no_line_of_another() {
    let fixture = Fixture::copy("growing");
    let source = |doctests: &[u32]| {
        let doctest = |boxes: &u32| {
            format!("/// ```\n/// for n in 0..{boxes} {{ std::hint::black_box(Box::new(n)); }}\n/// ```\n///\n")
        };
        let docs: String = doctests.iter().map(doctest).collect();
        fixture.write("src/lib.rs", &format!("{docs}pub fn f() {{}}\n"));
    };
    source(&[3, 7]);
    fixture.memprof("test --save-baseline").succeed().complains("2 tests added");
    let objects = |fixture: &Fixture| -> Vec<String> {
        let baseline = fixture.read("memprof.baseline");
        let lines = baseline.lines().filter(|line| line.contains(" alloc_objects="));
        lines.map(|line| line.split(" alloc_space=").next().unwrap_or_default().to_owned()).collect()
    };
    // In front, where it would take the line of the first.
    source(&[9, 3, 7]);
    let added =
        fixture.memprof("gate").succeed().says("not in the baseline yet").says("within budget: 2 tests compared");
    added.says("accept` takes it in: doc/growing src/lib.rs - f\n");
    // And what has grown beside it is still found.
    source(&[9, 3, 8]);
    fixture.memprof("gate").run().ended_with(5).says("over budget doc/growing src/lib.rs - f #3").says("7 → 8 (+1)");
    source(&[9, 3, 7]);
    fixture.memprof("gate").succeed();
    fixture.memprof("accept").succeed().complains("1 test added");
    let f = "growing doc/growing src/lib.rs - f";
    assert_eq!(
        objects(&fixture),
        [format!("{f} #2 alloc_objects=3"), format!("{f} #3 alloc_objects=7"), format!("{f} alloc_objects=9")]
    );
    fixture.memprof("gate").succeed().says("within budget: 3 tests compared").never_says("warning");
    source(&[9, 7]);
    let removed = fixture.memprof("gate").run().ended_with(6).says("no such test any more");
    removed.never_says("over budget growing").never_says("only 2 of 3");
    fixture.memprof("accept").succeed().complains("1 test removed");
    assert_eq!(objects(&fixture), [format!("{f} #2 alloc_objects=7"), format!("{f} alloc_objects=9")]);
    fixture.memprof("gate").succeed();
    // In another order each keeps its line, and so does one with another text.
    source(&[7, 9]);
    fixture.memprof("gate").succeed().says("within budget: 2 tests compared").never_says("improved");
    source(&[7, 10]);
    fixture.memprof("gate").run().ended_with(5).says("9 → 10 (+1)").never_says("7 →");
}

/// By metrics alone the new doctest would be the first of the old ones, and each old one the next.
#[test]
fn growth_behind_a_doctest_that_is_added_is_found() {
    let fixture = Fixture::copy("growing");
    let boxed = "drop(std::hint::black_box(Box::new(1)));";
    let source = |added: &str, body: &str| {
        let calls = |n: u32| format!("/// ```\n/// for _ in 0..{n} {{ growing::f(); }}\n/// ```\n///\n");
        fixture.write("src/lib.rs", &format!("{added}{}{}pub fn f() {{ {body} }}\n", calls(1), calls(2)));
    };
    source("", boxed);
    fixture.memprof("test --save-baseline").succeed();
    let added = format!("/// ```\n/// {boxed}\n/// ```\n///\n");
    source(&added, boxed);
    fixture.memprof("gate").succeed().says("within budget: 2 tests compared");
    source(&added, &boxed.repeat(2));
    let gate = fixture.memprof("gate").run().ended_with(5);
    gate.says("src/lib.rs - f #2").says("1 → 2 (+1)").says("src/lib.rs - f #3").says("2 → 4 (+2)");
    assert!(fixture.read("memprof.baseline").contains(" text="), "a line says which text it is of");
}

#[test]
fn what_would_change_nothing_is_refused() {
    let fixture = with_baseline();
    for (arguments, text) in [
        ("gate --no-run --lib", "cannot use `--lib` with `--no-run`"),
        ("gate --no-run three", "cannot use `three` with `--no-run`"),
        ("gate --no-run --repeat 3", "with `--no-run`"),
        ("gate --no-run --self-tset", "a flag with a similar name exists: `--self-test`"),
    ] {
        fixture.memprof(arguments).run().ended_with(2).complains(text).complains("help: ");
    }
    let config = fixture.path(".config/memprof.toml");
    std::fs::create_dir_all(config.parent().expect("it has one")).expect("the copy is ours");
    std::os::unix::fs::symlink("nowhere.toml", &config).expect("nothing is there");
    let dangling = fixture.memprof("gate --no-run").run().ended_with(2).complains("cannot read the configuration");
    dangling.complains("it is a link to `nowhere.toml`, which is not there").complains("help: ");
    std::fs::remove_file(&config).expect("it is there");
    fixture.memprof("gate --no-run --quiet --color never --manifest-path Cargo.toml").succeed();
    let unknown = fixture.memprof("accept tests").run().ended_with(6);
    unknown.complains("matches `tests`").complains("`'*tests*'` does; there is `tests::");
}
