//! Programs with a `main` of their own: test programs without libtest are profiled, and so is what a test starts.

use memprof_tests::fixture::Fixture;
use memprof_tests::summary::Test;
use serde_json::Value;

fn number(json: &Value, field: &str) -> i64 {
    json[field].as_i64().unwrap_or_else(|| panic!("`{field}` is no whole number in {json:#}"))
}

fn children<'a>(test: &Test<'a>) -> Vec<&'a Value> {
    test.json["children"].as_array().expect("`children` is a list").iter().collect()
}

#[test]
fn a_test_program_without_libtest_is_run_once_and_has_one_profile() {
    let fixture = Fixture::copy("programs");
    let plain = fixture.cargo("test --test whole").succeed();
    fixture.memprof("test --test whole --memprofilerate 1").succeed().says(plain.stdout.trim());
    assert_eq!(fixture.read("runs"), "run\nrun\n");
    let summary = fixture.summary();
    let test = summary.test("(whole program)");
    assert_eq!((test.text("kind"), test.text("target"), test.outcome()), ("test", "whole", "ok"));
    assert_eq!(test.json["cut_short"], false);
    assert!(test.file("profile").exists());
    assert!(test.metrics().alloc_space >= 60, "{:?}", test.metrics());
    assert_eq!(summary.json["unprofiled"].as_array().map(Vec::len), Some(0));
}

#[test]
fn programs_that_a_test_starts_are_its_children_and_not_in_its_metrics() {
    let fixture = Fixture::copy("programs");
    fixture.memprof("test --test starts --memprofilerate 1").succeed().says("6 processes that they started");
    let summary = fixture.summary();
    let started = |name: &str| {
        let test = summary.test(name);
        let row = |child: &&Value| {
            let text = |field: &str| child[field].as_str().expect("a text").to_owned();
            (text("program"), text("outcome"), child["cut_short"] == true, child["forked"] == true)
        };
        children(&test).iter().map(row).collect::<Vec<_>>()
    };
    let child = |outcome: &str, cut_short| ("programs".to_owned(), outcome.to_owned(), cut_short, false);
    assert_eq!(started("starts_the_program_twice"), [child("ok", false), child("failed", false)]);
    assert_eq!(started("starts_a_program_that_starts_one"), [child("ok", false), child("ok", false)]);
    assert_eq!(started("starts_one_that_aborts"), [child("unknown", true)]);
    assert_eq!(started("forks"), [("starts".to_owned(), "unknown".to_owned(), true, true)]);
    assert_eq!(started("starts_itself"), []);

    // Of two runs of one program, one with an argument more: the difference is the argument's, whatever the runtime takes.
    let twice = summary.test("starts_the_program_twice");
    let [one, other] = children(&twice)[..] else { panic!("{:#}", twice.json) };
    assert_eq!(number(other, "alloc_objects") - number(one, "alloc_objects"), 1);
    let aborted = summary.test("starts_one_that_aborts");
    assert!(number(children(&aborted)[0], "inuse_space") >= 5000);
    let forked = summary.test("forks");
    let copy = children(&forked)[0];
    assert_eq!((number(copy, "alloc_objects"), number(copy, "alloc_space")), (3, 60));
    assert_eq!(forked.metrics().alloc_objects, 0);
    let in_all = |field: &str| {
        summary.tests().iter().flat_map(|test| children(test)).map(|child| number(child, field)).sum::<i64>()
    };
    let run = &summary.json["run"];
    assert_eq!(number(run, "children_alloc_objects"), in_all("alloc_objects"));
    assert_eq!(number(run, "children_alloc_space"), in_all("alloc_space"));
    for child in children(&aborted) {
        let profile = child["files"]["profile"].as_str().expect("a profile");
        assert!(profile.contains("starts_one_that_aborts/children/programs/"), "{profile}");
        assert!(summary.folder.join(profile).exists());
    }
}

#[test]
fn each_test_of_a_program_that_lists_them_has_a_process_and_a_profile_of_its_own() {
    let fixture = Fixture::copy("programs");
    let arguments = "test --test mimic --test lookalike --no-fail-fast";
    let plain = fixture.cargo(arguments).run().ended_with(101);
    let profiled = fixture.memprof(arguments).arg("--memprofilerate=1").run().ended_with(101);
    assert_eq!(profiled.verdicts(), plain.verdicts());
    let summary = fixture.summary();
    let mut found: Vec<_> =
        summary.tests().iter().map(|test| [test.text("target"), test.name(), test.outcome()].join(" ")).collect();
    found.sort();
    let expected = [
        "lookalike (whole program) ok",
        "mimic fails failed",
        "mimic leaks a name with spaces ok",
        "mimic panics failed",
        "mimic three ok",
    ];
    assert_eq!(found, expected);
    // What libtest-mimic itself takes on the test's thread is the same for each: the channel it reports by.
    let metrics = |name: &str| summary.test(name).metrics();
    let (three, leaks) = (metrics("three"), metrics("leaks a name with spaces"));
    assert_eq!((three.alloc_objects, three.inuse_space, leaks.inuse_space), (leaks.alloc_objects + 2, 0, 777));
    assert_eq!(three.alloc_space - 60, leaks.alloc_space - 777);
}

#[test]
fn a_filter_and_the_choice_of_ignored_tests_count_for_the_profiles_too() {
    let fixture = Fixture::copy("programs");
    let names = |arguments: &str| {
        fixture.memprof(arguments).succeed();
        let summary = fixture.summary();
        summary.tests().iter().map(|test| test.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("test --test mimic -- three"), ["three"]);
    assert_eq!(names("test --test mimic -- --ignored"), ["ignored"]);
}

#[test]
fn run_passes_arguments_stdin_stdout_and_exit_code_through() {
    use std::io::Write;
    use std::process::Stdio;
    let fixture = Fixture::copy("programs");
    let mut call = fixture.memprof("run --memprofilerate 1 --bin programs -- echo --memprofilerate=2");
    let mut child = call.command().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("it is piped").write_all(b"to and fro\n").expect("it is read");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"to and fro\n".as_slice()));
    let summary = fixture.summary();
    let program = summary.test("(whole program)");
    assert_eq!((program.text("kind"), program.text("target"), program.outcome()), ("bin", "programs", "ok"));
    assert_eq!(summary.json["run"]["rate"], 1);

    let failed = fixture.memprof("run --quiet --bin programs -- fail").run().ended_with(3);
    assert_eq!(failed.stdout, "");
    assert_eq!(fixture.summary().test("(whole program)").outcome(), "failed");
    fixture.memprof("run --memprofilerate 1 --example shown").succeed().says("shown");
    let summary = fixture.summary();
    let example = summary.test("(whole program)");
    assert_eq!(example.text("kind"), "example");
    assert!(example.metrics().inuse_space >= 4096);
    fixture.memprof("run --bin programs -- nest").succeed();
    assert_eq!(children(&fixture.summary().test("(whole program)")).len(), 1);
}

/// Says in the place of the fixture's own program that its tests are called `names`.
fn with_names(fixture: &Fixture, names: &[&str]) {
    let trials: String =
        names.iter().map(|name| format!("Trial::test({name:?}, || {{ programs::three(); Ok(()) }}),\n")).collect();
    let main = "let arguments = Arguments::from_args();\nlibtest_mimic::run(&arguments, trials).exit();";
    let text =
        format!("use libtest_mimic::{{Arguments, Trial}};\nfn main() {{\nlet trials = vec![{trials}];\n{main}\n}}\n");
    fixture.write("tests/mimic.rs", &text);
}

#[test]
fn a_test_is_known_by_its_name_whatever_letters_are_in_it_and_shown_so_that_it_does_nothing() {
    let fixture = Fixture::copy("programs");
    let names = ["\u{1b}[31mred", "bell\u{7}", "\u{202e}sdrawkcab", "tab\there", "::error::x"];
    with_names(&fixture, &names);
    fixture.memprof("test --test mimic --save-baseline").succeed();
    let ran = fixture.memprof("test --test mimic --memprofilerate 1").succeed();
    let table = ran.stdout.split("in use  test").nth(1).expect("there is a table").to_owned();
    assert!(!table.contains(['\u{1b}', '\u{7}', '\u{202e}', '\t']), "{table:?}");
    assert!(table.contains("\\u{1b}[31mred") && table.contains("\\u{202e}sdrawkcab"), "{table}");
    let summary = fixture.summary();
    for name in names {
        assert_eq!(summary.test(name).metrics().alloc_objects, 4, "{name:?}");
    }
    let page = fixture.read("target/memprof/index.html");
    assert!(!page.contains(['\u{1b}', '\u{7}', '\u{202e}']) && page.contains("\\u{202e}sdrawkcab"));
    let gate = fixture.memprof("gate --no-run --output-format junit").succeed();
    assert!(roxmltree::Document::parse(&gate.stdout).expect("a report is XML").descendants().count() > 5);

    // Such a one cannot be asked for: no argument has a zero in it.
    with_names(&fixture, &["zero\0in it", "another"]);
    let ran = fixture.memprof("test --test mimic").succeed();
    ran.complains("was recorded as one: it lists a test `zeroin it`, and cannot be asked for that alone");
    assert_eq!(fixture.summary().tests().len(), 1);
}

/// What a test starts is the test's, which looks at all that it prints.
#[test]
fn a_program_that_cannot_be_recorded_prints_nothing_of_ours() {
    let fixture = Fixture::copy("growing");
    fixture.write("src/main.rs", "fn main() {\n    drop(std::hint::black_box(vec![1]));\n}\n");
    fixture.write(
        "tests/quiet.rs",
        "use std::process::Command;\n\n\
         #[test]\n\
         fn is_quiet() {\n    \
             let program = env!(\"CARGO_BIN_EXE_growing\");\n    \
             // No file may have a byte.\n    \
             let output = Command::new(\"sh\").args([\"-c\", &format!(\"ulimit -f 0; exec {program}\")]).output().unwrap();\n    \
             assert!(output.status.success());\n    \
             assert_eq!(String::from_utf8_lossy(&output.stderr), \"\");\n\
         }\n",
    );
    fixture.cargo("test --test quiet").succeed();
    for rate in [0, 1] {
        fixture.memprof(&format!("test --test quiet --memprofilerate {rate}")).succeed();
    }
}
