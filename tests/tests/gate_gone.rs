//! Tests go with their targets and packages, and their lines go with them.

use memprof_tests::fixture::Fixture;

fn member(fixture: &Fixture, name: &str, lib: &str) {
    let manifest = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
    fixture.write(&format!("{name}/Cargo.toml"), &manifest);
    fixture.write(&format!("{name}/src/lib.rs"), lib);
}

const TEST: &str = "#[test] fn works() { std::hint::black_box(Box::new(1)); }\n";
const DOCTEST: &str = "//! ```\n//! std::hint::black_box(Box::new(1));\n//! ```\n";

#[test]
fn lines_of_targets_packages_and_doctests_that_are_gone_are_removed_by_accept() {
    let fixture = Fixture::copy("growing");
    std::fs::remove_dir_all(fixture.path("src")).expect("the copy is ours");
    fixture.write("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\"]\nresolver = \"2\"\n");
    member(&fixture, "a", &format!("{DOCTEST}{TEST}"));
    member(&fixture, "b", TEST);
    for target in ["one", "two", "three"] {
        fixture.write(&format!("a/tests/{target}.rs"), TEST);
    }
    fixture.memprof("test --save-baseline").succeed().complains("6 tests added");

    // A target is renamed, one has no test left, the last doctest goes, and so does a package.
    std::fs::rename(fixture.path("a/tests/one.rs"), fixture.path("a/tests/first.rs")).expect("it was written");
    fixture.write("a/tests/two.rs", "");
    fixture.write("a/src/lib.rs", TEST);
    fixture.replace("Cargo.toml", ", \"b\"", "");
    let gone = fixture.memprof("gate").run().ended_with(6).never_says("did not run");
    let gone = gone.says("there is no such test any more; `cargo memprof accept` removes it:\n");
    let gone = gone.says("  doc/a a/src/lib.rs\n").says("  a test/one works\n").says("  a test/two works\n");
    gone.says("  b works\n").says("not in the baseline yet; `cargo memprof accept` takes it in: a test/first works");

    // What was not chosen is there.
    let chosen = fixture.memprof("gate --test three").run().ended_with(6);
    chosen
        .says("did not run: its target `a` did not run: a works")
        .says("there is no such test any more")
        .never_says("three works");
    fixture.memprof("gate").run().ended_with(6);
    fixture.memprof("accept").succeed().complains("1 test added, 4 tests removed");
    fixture.memprof("gate --no-run").succeed().says("within budget: 3 tests compared");
    assert_eq!(fixture.read("memprof.baseline").matches(" alloc_objects=").count(), 3);
}
