//! A maintainer asks since when a test allocates as much: the committed baseline knows, and so does a file that the gate adds to.

use memprof_tests::fixture::Fixture;
use memprof_tests::repository::{begin, commit, git};

#[test]
fn the_history_of_a_test_is_that_of_its_lines_or_of_a_file() {
    let fixture = Fixture::copy("growing");
    fixture.cargo("generate-lockfile --quiet").succeed();
    fixture.write(".gitignore", "target\nhistory.jsonl\n");
    let none = fixture.memprof("history").run().ended_with(6);
    none.complains("cannot draw the history");
    fixture.memprof("test --save-baseline").succeed();
    begin(&fixture);
    fixture.write(".gitignore", "target\nhistory.jsonl\n");
    commit(&fixture, "two");
    let gate = || fixture.memprof("gate --history history.jsonl").run();
    gate().ended_with(0);
    let slow = "let mut rows = Vec::with_capacity(text.lines().count());";
    fixture.replace("src/lib.rs", slow, &format!("drop(std::hint::black_box(Box::new(1)));\n    {slow}"));
    // What is over budget is history as well; and that it was not committed.
    gate().ended_with(5);
    fixture.memprof("accept").succeed();
    commit(&fixture, "Box a number");
    gate().ended_with(0);
    gate().ended_with(0);
    let lines = fixture.read("history.jsonl");
    assert_eq!(lines.lines().count(), 3, "{lines}");

    let of_baseline = fixture.memprof("history").succeed();
    let of_baseline = of_baseline
        .says("growing tests::loads_three_rows\n")
        .says("Box a number")
        .says("growing tests::loads_nothing\n");
    // Behind a link it is the same.
    std::os::unix::fs::symlink("memprof.baseline", fixture.path("linked")).expect("nothing is there");
    let linked = fixture.memprof("history --baseline linked").succeed();
    assert_eq!(linked.stdout, of_baseline.stdout);
    std::fs::remove_file(fixture.path("linked")).expect("it was made above");
    let one = fixture.memprof("history tests::adds*").succeed();
    one.says("growing tests::adds_without_allocating\n").says("  one\n").never_says("loads");
    let of_file = fixture.memprof("history --history history.jsonl 'tests::loads*'").run();
    // The shell's quotes are not ours to take away.
    of_file.ended_with(6).complains("no test in it is `'tests::loads*'`");
    let of_file = fixture.memprof("history --history history.jsonl tests::loads*").succeed();
    of_file.says("two (with changes)\n").never_says("Box a number").never_says("adds_without");

    fixture.write("history.jsonl", &format!("{lines}x\n"));
    let refused = gate().ended_with(6).complains("cannot read the history").complains("line 4: ");
    refused.complains("help: remove the line, or name another file with `--history FILE`");
    fixture.memprof("history --history nothing").run().ended_with(6).complains("there is no `").complains("begins it");
    fixture.memprof("history --baseline x --history y").run().ended_with(2);
}

#[test]
fn of_a_long_history_it_is_said_that_the_last_versions_are_shown() {
    let fixture = Fixture::copy("growing");
    fixture.cargo("generate-lockfile --quiet").succeed();
    fixture.memprof("test --save-baseline").succeed();
    let baseline = fixture.read("memprof.baseline");
    begin(&fixture);
    let versions = (1..=500).map(|number| {
        let text = baseline.replace("loads_nothing alloc_objects=0", &format!("loads_nothing alloc_objects={number}"));
        assert_ne!(text, baseline);
        let from = if number == 1 { "\nfrom refs/heads/main^0" } else { "" };
        format!(
            "commit refs/heads/main\ncommitter n <n@example.org> {number} +0000\ndata 1\nx{from}\nM 100644 inline memprof.baseline\ndata {}\n{text}\n",
            text.len()
        )
    });
    fixture.write("stream", &versions.collect::<String>());
    git(&fixture, &["-c", "alias.import=!git fast-import --quiet < stream", "import"]);
    fixture.memprof("history").succeed().complains("left out: all versions of `memprof.baseline` but the last 500");
    git(&fixture, &["update-ref", "refs/heads/main", "refs/heads/main~1"]);
    fixture.memprof("history").succeed().never_says("left out");
}
