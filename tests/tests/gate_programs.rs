//! What tests start is gated: each program that a test starts has a line of its own.

use memprof_tests::fixture::{Fixture, Ran};
use memprof_tests::repository;

/// A program that allocates as often as its first argument says; with `tell` it says that it has, with `wait` it does not end
/// by itself, and with `script` it allocates
/// as often as the file says for its runs so far.
const PROGRAM: &str = r#"
use std::hint::black_box;
use std::io::Write;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = match words[0].as_str() {
        "script" => {
            let runs = std::fs::metadata(&words[1]).map_or(0, |file| file.len() as usize);
            std::fs::File::options().create(true).append(true).open(&words[1]).unwrap().write_all(b"x").unwrap();
            words[2..].get(runs).or(words.last()).unwrap().parse().unwrap()
        }
        number => number.parse::<usize>().unwrap(),
    };
    for number in 0..number {
        black_box(allocate(number));
    }
    if words.last().is_some_and(|word| ["wait", "tell"].contains(&word.as_str())) {
        println!("ready");
    }
    if words.last().is_some_and(|word| word == "wait") {
        std::thread::sleep(std::time::Duration::from_secs(600));
    }
}

#[inline(never)]
fn allocate(number: usize) -> Box<usize> {
    Box::new(number)
}
"#;

fn test(name: &str, body: &str) -> String {
    format!("#[test]\nfn {name}() {{\n{body}}}\n")
}

fn starts(words: &[&str]) -> String {
    format!(
        "    assert!(std::process::Command::new(env!(\"CARGO_BIN_EXE_m\")).args({words:?}).status().unwrap().success());\n"
    )
}

/// The body of a test that starts the program and kills it.
const KILLS: &str = "    use std::io::BufRead;
    let mut started = std::process::Command::new(env!(\"CARGO_BIN_EXE_m\"))
        .args([\"3\", \"wait\"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(started.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    started.kill().unwrap();
    started.wait().unwrap();
";

/// A test that kills the program in those of its runs that `script` has a `k` for, lets it end where there is an `e`, and starts none where there is a
/// `-`; the last letter holds for all others.
fn kills_by_chance(fixture: &Fixture, script: &str, boxes: &str) {
    let count = fixture.path("target/count");
    let _ = std::fs::remove_file(&count);
    let count = count.to_str().expect("it is UTF-8");
    let body = format!(
        "    use std::io::{{BufRead, Write}};
    let runs = std::fs::metadata({count:?}).map_or(0, |file| file.len() as usize);
    std::fs::File::options().create(true).append(true).open({count:?}).unwrap().write_all(b\"x\").unwrap();
    let letter = {script:?}.as_bytes().get(runs).or({script:?}.as_bytes().last()).unwrap();
    if *letter == b'-' {{
        return;
    }}
    let mut started = std::process::Command::new(env!(\"CARGO_BIN_EXE_m\"))
        .args([{boxes:?}, if *letter == b'k' {{ \"wait\" }} else {{ \"tell\" }}])
        .stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(started.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    if *letter == b'k' {{
        started.kill().unwrap();
    }}
    started.wait().unwrap();
"
    );
    with(fixture, &[test("may_kill", &body)]);
}

fn runs(fixture: &Fixture) -> u64 {
    std::fs::metadata(fixture.path("target/count")).map_or(0, |file| file.len())
}

fn with(fixture: &Fixture, tests: &[String]) {
    fixture.write("tests/cli.rs", &tests.concat());
}

fn fixture() -> Fixture {
    let fixture = Fixture::copy("growing");
    fixture.write("src/lib.rs", "");
    fixture.write("src/bin/m.rs", PROGRAM);
    fixture
}

fn objects(fixture: &Fixture, name: &str) -> String {
    let baseline = fixture.read("memprof.baseline");
    let line = baseline.lines().find(|line| line.contains(&format!("/cli {name} alloc_objects=")));
    let line = line.unwrap_or_else(|| panic!("{name}: {baseline}"));
    line.split("alloc_objects=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default().to_owned()
}

fn saved(fixture: &Fixture) -> Ran {
    fixture.memprof("test --save-baseline").succeed()
}

#[test]
fn a_regression_of_a_program_that_a_test_starts_is_found_and_named() {
    let fixture = fixture();
    with(&fixture, &[test("quiet", ""), test("runs", &(starts(&["3"]) + &starts(&["5"])))]);
    saved(&fixture).complains("3 tests added");
    let before: u64 = objects(&fixture, "runs › m").parse().expect("it does not vary");
    fixture.memprof("gate").succeed().says("within budget: 2 tests and 1 program that they start compared");

    // The program does more; the test's own metrics are what they were.
    fixture.replace("src/bin/m.rs", "    for number in 0..number {", "    for number in 0..number + 2 {");
    let over = fixture.memprof("gate").run().ended_with(5).says("over budget growing test/cli runs › m");
    over.says(&format!("alloc_objects {before} → {} (+4)", before + 4))
        .says("    +4 allocs (8 → 12), src/bin/m.rs:28 in allocate ← main\n")
        .says("  so in each of its 20 runs\n")
        .says("over budget: 1 program of 2 tests and 1 program that they start");
    let json: serde_json::Value =
        serde_json::from_str(&fixture.read("target/memprof/gate/gate.json")).expect("it is JSON");
    assert_eq!((&json["compared"], &json["compared_programs"]), (&2.into(), &1.into()), "{json}");

    // What is for a test is for what it starts.
    fixture.memprof("accept quiet").succeed().complains("1 test unchanged");
    fixture.memprof("gate --no-run").run().ended_with(5);
    fixture.memprof("accept runs").succeed().complains("1 test changed");
    fixture.memprof("gate").succeed();
    fixture.write(".config/memprof.toml", "[[gate.exclude]]\ntest = 'runs'\nreason = 'it is random'\n");
    let excluded = fixture.memprof("gate").succeed().says("excluded: it is random");
    excluded.says("growing test/cli runs › m");
}

#[test]
fn a_program_that_varies_fails_no_gate_and_one_that_is_killed_has_no_metrics() {
    let fixture = fixture();
    let count = fixture.path("target/count");
    let count = count.to_str().expect("it is UTF-8");
    let killed = KILLS;
    with(&fixture, &[test("varies", &starts(&["script", count, "7", "6", "8", "7"])), test("kills", killed)]);
    saved(&fixture).complains("not the same on every run: `varies › m`").never_says("not taken");
    let span = objects(&fixture, "varies › m");
    let (least, most) = span.split_once("..").expect("it varies");
    assert_eq!(least.parse::<u64>().unwrap() + 2, most.parse::<u64>().unwrap());
    assert!(!fixture.read("memprof.baseline").contains("kills › m"));
    for number in ["6", "7", "8"] {
        with(
            &fixture,
            &[test("varies", &starts(&["script", count, number, number, number, number])), test("kills", killed)],
        );
        fixture.memprof("gate").succeed().says("within budget: 2 tests and 1 program").never_says("not measured");
    }
    // Over in some runs, and not in all.
    std::fs::remove_file(count).expect("it was written");
    with(&fixture, &[test("varies", &starts(&["script", count, "9", "9", "8", "9"])), test("kills", killed)]);
    fixture.memprof("gate").succeed();
    // In all of them, and by one.
    with(&fixture, &[test("varies", &starts(&["script", count, "9", "9", "9", "9"])), test("kills", killed)]);
    fixture.memprof("gate").run().ended_with(5).says("over budget growing test/cli varies › m");

    // What had metrics and is killed now has none to compare.
    with(&fixture, &[test("varies", killed), test("kills", killed)]);
    let lost = fixture.memprof("gate").run().ended_with(5).says("over budget growing test/cli varies ");
    lost.says("error: in the baseline, but not measured: one of its processes was killed, or became another program: growing test/cli varies › m");
    let allowed = fixture.memprof("gate --allow unprofiled --no-run").run().ended_with(5);
    allowed.says("warning: in the baseline, but not measured: one of its processes was killed");
}

#[test]
fn a_program_goes_when_its_test_no_longer_starts_it_and_only_then() {
    let fixture = fixture();
    with(&fixture, &[test("quiet", ""), test("runs", &starts(&["3"]))]);
    saved(&fixture);
    let filtered = fixture.memprof("gate -- quiet").run().ended_with(6);
    filtered.says("did not run: it was filtered out").never_says("start it any more");
    with(&fixture, &[test("quiet", ""), test("runs", &(starts(&["3"]) + "    panic!();\n"))]);
    fixture.memprof("gate").run().ended_with(101).never_says("start it any more");
    with(&fixture, &[test("quiet", ""), test("runs", "    panic!();\n")]);
    fixture.memprof("gate").run().ended_with(101).never_says("start it any more");
    with(&fixture, &[test("quiet", ""), test("runs", "")]);
    let gone = fixture.memprof("gate").run().ended_with(6);
    gone.says("the test does not start it any more; `cargo memprof accept` removes it: growing test/cli runs › m");
    fixture.memprof("accept").succeed().complains("1 test removed");
    fixture.memprof("gate").succeed().says("within budget: 2 tests compared");

    // Another revision has no line that could go, and its programs are compared alike.
    with(&fixture, &[test("quiet", ""), test("runs", &starts(&["3"]))]);
    repository::begin(&fixture);
    fixture.replace("src/bin/m.rs", "    for number in 0..number {", "    for number in 0..number + 1 {");
    let over = fixture.memprof("gate --against HEAD").run().ended_with(5);
    over.says("over budget growing test/cli runs › m")
        .says("src/bin/m.rs:")
        .says("over budget: 1 program of 2 tests and 1 program that they start");
    with(&fixture, &[test("quiet", ""), test("runs", "")]);
    fixture.memprof("gate --against HEAD").succeed().says("and the test does not start it any more");
}

#[test]
fn a_program_that_may_be_killed_is_compared_by_the_runs_in_which_it_was_not() {
    let fixture = fixture();
    kills_by_chance(&fixture, "e", "3");
    saved(&fixture).never_says("not the same");
    assert!(!fixture.read("memprof.baseline").contains("killed="));
    // Its line does not say that it may be killed. The test is run again until it is not.
    kills_by_chance(&fixture, "kke", "3");
    let noted = fixture.memprof("gate").succeed().says("within budget: 1 test and 1 program");
    noted.says("`cargo memprof accept` notes that it may: growing test/cli may_kill › m: killed, or became another program, in 2 of 3 runs");
    assert_eq!(runs(&fixture), 3);
    fixture.memprof("accept").succeed().complains("1 test changed");
    assert!(fixture.read("memprof.baseline").contains(" runs=1 killed=2\n"), "{}", fixture.read("memprof.baseline"));
    fixture.memprof("gate --no-run").succeed().never_says("killed");

    std::fs::remove_file(fixture.path("memprof.baseline")).expect("it was written");
    kills_by_chance(&fixture, "eke", "3");
    saved(&fixture).complains("not the same on every run: `may_kill › m`");
    assert_eq!(runs(&fixture), 10, "three runs, until eight in a row had nothing new");
    let of_both = fixture.read("memprof.baseline");
    assert!(of_both.contains(" runs=9 killed=1\n"), "{of_both}");
    // From now on nobody is surprised.
    for script in ["e", "ke", "kkkke"] {
        kills_by_chance(&fixture, script, "3");
        fixture.memprof("gate").succeed().never_says("killed").says("1 program that they start compared");
    }
    kills_by_chance(&fixture, "k", "3");
    let always = fixture.memprof("gate").succeed().says("not compared, because its test killed it");
    always.says("in 20 of 20 runs").says("within budget: 1 test compared");
    // What it needs where it lives is compared all the same.
    kills_by_chance(&fixture, "kekee", "4");
    let over = fixture.memprof("gate").run().ended_with(5).says("over budget growing test/cli may_kill › m");
    over.says("so in each of its 18 runs");

    // Nor does a run in which it is not started say that it never is.
    kills_by_chance(&fixture, "e", "3");
    std::fs::remove_file(fixture.path("memprof.baseline")).expect("it was written");
    saved(&fixture);
    kills_by_chance(&fixture, "--e", "3");
    fixture.memprof("gate").succeed().says("not the same on every run").never_says("start it any more");
    kills_by_chance(&fixture, "-", "3");
    fixture.memprof("gate").run().ended_with(6).says("but the test does not start it any more");
    assert_eq!(runs(&fixture), 20);
}

#[test]
fn a_program_is_called_what_it_was_compiled_as_whatever_its_file_is_called() {
    let fixture = fixture();
    fixture.write("src/bin/my-tool.rs", PROGRAM);
    let copied = "    let copy = std::env::temp_dir().join(format!(\"copy-{}-{:?}\", std::process::id(), std::time::Instant::now()));
    std::fs::copy(env!(\"CARGO_BIN_EXE_my-tool\"), &copy).unwrap();
    for place in [copy.clone(), copy.with_extension(\"linked\")] {
        let _ = std::fs::hard_link(&copy, &place);
        assert!(std::process::Command::new(&place).arg(\"3\").status().unwrap().success());
        std::fs::remove_file(&place).unwrap_or_default();
        let _ = std::fs::copy(env!(\"CARGO_BIN_EXE_my-tool\"), &copy);
    }
    std::fs::remove_file(&copy).unwrap();
    assert!(std::process::Command::new(env!(\"CARGO_BIN_EXE_my-tool\")).arg(\"3\").status().unwrap().success());
";
    with(&fixture, &[test("copies", copied)]);
    saved(&fixture).complains("2 tests added");
    let baseline = fixture.read("memprof.baseline");
    assert_eq!(baseline.matches(" › ").count(), 1, "{baseline}");
    assert!(baseline.contains(" copies › my-tool alloc_objects="), "{baseline}");
    fixture.memprof("gate").succeed().says("within budget: 1 test and 1 program that they start compared");
    // Built by itself, it is as it ever was.
    fixture.cargo("build").succeed();
}
