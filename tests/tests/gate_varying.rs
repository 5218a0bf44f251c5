//! Tests that vary by themselves fail no gate, whatever a run happens to show, and hide no regression of a neighbour.

use memprof_tests::fixture::{Fixture, Ran};

/// A test that allocates as often as the script says for each of its runs so far, and the last number of times for ever: the file has a
/// letter for each run.
fn scripted(name: &str, script: &[u32]) -> String {
    format!(
        "#[test]
fn {name}() {{
    use std::io::Write;
    let path = concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/target/runs-of-{name}\");
    let runs = std::fs::metadata(path).map_or(0, |file| file.len() as usize);
    std::fs::File::options().create(true).append(true).open(path).unwrap().write_all(b\"x\").unwrap();
    let script = {script:?};
    for number in 0..script[runs.min(script.len() - 1)] {{
        std::hint::black_box(Box::new(number));
    }}
}}
"
    )
}

fn steady(boxes: u32) -> String {
    format!("#[test]\nfn steady() {{ for number in 0..{boxes} {{ std::hint::black_box(Box::new(number)); }} }}\n")
}

fn with(fixture: &Fixture, tests: &[String]) {
    fixture.write("src/lib.rs", &tests.concat());
}

/// How often the test has run by now.
fn runs(fixture: &Fixture, name: &str) -> u64 {
    std::fs::metadata(fixture.path(&format!("target/runs-of-{name}"))).expect("it ran").len()
}

fn begin_again(fixture: &Fixture, name: &str) {
    std::fs::remove_file(fixture.path(&format!("target/runs-of-{name}"))).expect("it ran");
}

fn line(fixture: &Fixture, name: &str) -> String {
    let baseline = fixture.read("memprof.baseline");
    let line = baseline.lines().find(|line| line.contains(&format!(" {name} "))).expect("the test has a line");
    line.split(" alloc_space=").next().unwrap_or_default().to_owned()
        + line.rsplit_once("inuse_space=0").map_or("", |(_, rest)| rest)
}

#[test]
fn a_baseline_has_all_that_several_runs_show() {
    let fixture = Fixture::copy("growing");
    with(&fixture, &[steady(3), scripted("varies", &[7, 6, 8, 7])]);
    let saved = fixture.memprof("test --save-baseline").succeed().complains("not the same on every run: `varies`");
    // libtest ran two tests, and says so once.
    saved.says("test result: ok. 2 passed");
    // Three times until it was known to vary, and eight more without news.
    assert_eq!(
        (line(&fixture, "varies"), runs(&fixture, "varies")),
        ("growing lib/growing varies alloc_objects=6..8 runs=11".into(), 11)
    );
    assert_eq!(line(&fixture, "steady"), "growing lib/growing steady alloc_objects=3");
    assert_eq!(fixture.summary().tests().iter().filter(|test| test.name() == "steady").count(), 3);
    for boxes in [6, 7, 8] {
        with(&fixture, &[steady(3), scripted("varies", &[boxes])]);
        let gated = fixture.memprof("gate").succeed().says("within budget: 2 tests compared");
        assert!(!gated.stdout.contains("not the same"), "{}", gated.all());
    }
}

#[test]
fn a_test_over_its_limit_is_run_again_before_anything_is_said() {
    let fixture = Fixture::copy("growing");
    with(&fixture, &[steady(3), scripted("varies", &[6])]);
    fixture.memprof("test --save-baseline").succeed();
    assert_eq!(line(&fixture, "varies"), "growing lib/growing varies alloc_objects=6");

    // What is usual is more, and what is rare has been seen.
    begin_again(&fixture, "varies");
    with(&fixture, &[steady(3), scripted("varies", &[8, 8, 8, 6])]);
    let passed = fixture.memprof("gate").succeed().says("within budget: 2 tests compared");
    let passed = passed.says("warning: not the same on every run: growing varies\n  alloc_objects 6 to 8 in 4 runs\n");
    passed.says("    [[gate.override]]\n    package = \"growing\"\n    target = \"lib/growing\"\n    test = \"varies\"\n    alloc_objects = \"+4\"\n").never_says("memprof accept");
    assert_eq!(runs(&fixture, "varies"), 4);
    assert_eq!(fixture.summary().tests().iter().filter(|test| test.name() == "steady").count(), 1);
    // The run is as it was.
    fixture.memprof("gate --no-run").succeed();

    // A steady regression of a neighbour, of one allocation.
    begin_again(&fixture, "varies");
    with(&fixture, &[steady(4), scripted("varies", &[8, 6])]);
    let over = fixture.memprof("gate").run().ended_with(5).says("over budget growing steady");
    over.says("alloc_objects 3 → 4 (+1)")
        .says("  so in each of its 20 runs\n")
        .never_says("over budget growing varies");

    // It needs more than it ever did, and varies: no metric is the one to accept.
    begin_again(&fixture, "varies");
    with(&fixture, &[steady(3), scripted("varies", &[9, 8, 7, 9])]);
    let over =
        fixture.memprof("gate").run().ended_with(5).says("alloc_objects 6 → 7 (+1); at most 6 are allowed by `+0`");
    over.says("not the same on every run: growing varies").never_says("memprof accept");
    assert_eq!(runs(&fixture, "varies"), 20);
}

#[test]
fn what_cannot_be_run_twice_is_run_once_and_what_is_excluded_is_left_alone() {
    let fixture = Fixture::copy("growing");
    let once = "#[test]
fn once() {
    std::hint::black_box(Box::new(1));
    let path = concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/target/once\");
    println!(\"an output\");
    std::fs::File::options().create_new(true).write(true).open(path).unwrap();
}
";
    fixture.write(".config/memprof.toml", "[[gate.exclude]]\ntest = 'varies'\nreason = 'it is random'\n");
    with(&fixture, &[steady(3), scripted("varies", &[8, 6, 7, 5]), once.to_owned()]);
    let saved = fixture.memprof("test --save-baseline -- --nocapture").succeed().says("test result: ok. 3 passed");
    assert_eq!(saved.stdout.matches("an output").count(), 1, "{}", saved.all());
    assert_eq!((runs(&fixture, "varies"), &*line(&fixture, "once")), (1, "growing lib/growing once alloc_objects=1"));
    assert!(!fixture.read("memprof.baseline").contains(" varies "));
}

/// Arguments, filters, shards and nextest are those of the run, because the test's own process is what is started again.
#[test]
fn the_run_is_the_users_own_run() {
    let fixture = Fixture::copy("growing");
    let tests = |script: &[u32]| with(&fixture, &[steady(3), scripted("varies", script)]);
    tests(&[6]);
    fixture.memprof("test --save-baseline").succeed();
    let passes = |ran: Ran, times: u64| {
        assert_eq!(runs(&fixture, "varies"), times, "{}", ran.all());
        begin_again(&fixture, "varies");
    };
    begin_again(&fixture, "varies");
    tests(&[9, 8, 6]);
    passes(fixture.memprof("gate --allow not-run varies").succeed().says("1 test compared"), 3);
    passes(fixture.memprof("gate --repeat 2").succeed().says("2 tests compared"), 3);
    // By the list of the tests, and where a program has a `main` of its own.
    let listed = fixture.memprof("gate --allow conditions").env("CARGO_MEMPROF_LIBTEST", "list");
    passes(listed.succeed().says("2 tests compared"), 3);
}
