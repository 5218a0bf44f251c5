//! The set of tests and their names are the same on every machine and in every checkout.

use memprof_tests::fixture::Fixture;
use std::fs;
use std::path::Path;

/// A program that answers as libtest does, and has the tests `case_0` to `case_4`.
const LISTS: &str = r#"
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let filters: Vec<&String> = arguments.iter().filter(|argument| argument.starts_with("case") || argument.contains("no test")).collect();
    let fits = |name: &String| filters.is_empty() || filters.contains(&name);
    let names: Vec<String> = (0..5).map(|number| format!("case_{number}")).filter(fits).collect();
    // Understood: --test-threads
    std::hint::black_box("test-threads");
    if has("--list") {
        names.iter().filter(|_| !has("--ignored")).for_each(|name| println!("{name}: test"));
        return;
    }
    for name in names {
        drop(std::hint::black_box(vec![0_u8; 10]));
        println!("test {name} ... ok");
    }
}
"#;

#[test]
fn how_many_tests_of_a_program_are_recorded_one_by_one_is_configured_and_no_matter_of_speed() {
    let fixture = Fixture::copy("places");
    fixture.write("tests/whole.rs", LISTS);
    let names = || {
        let summary = fixture.summary();
        summary.tests().iter().map(|test| test.name().to_owned()).collect::<Vec<_>>()
    };
    let cases: Vec<String> = (0..5).map(|number| format!("case_{number}")).collect();
    fixture.memprof("test --test whole --save-baseline").succeed();
    fixture.memprof("test --test whole").succeed().never_says("recorded as one");
    assert_eq!(names(), cases);
    fixture.write(".config/memprof.toml", "list-limit = 4\n");
    let gated = fixture.memprof("gate --test whole").run().ended_with(6);
    gated
        .complains("recorded as one: it has 5 tests, and at most 4")
        .says("its program was recorded as one")
        .never_says("there is no such test any more");
    // New as it is, it runs until its metrics are known.
    assert_eq!(names(), ["(whole program)"; 3]);
    fixture.write(".config/memprof.toml", "list-limit = 5\n");
    fixture.memprof("gate --test whole").succeed();
    // Of a libtest executable every test is recorded, however many there are.
    fixture.write(".config/memprof.toml", "list-limit = 0\n");
    fixture.memprof("test --lib").succeed();
    assert_eq!(names(), ["tests::unit"]);
}

/// A workspace whose member lies beside it, in `folder`.
fn beside(folder: &Path) {
    let write = |below: &str, text: &str| {
        let path = folder.join(below);
        fs::create_dir_all(path.parent().expect("it is below")).expect("a folder can be made");
        fs::write(path, text).expect("it can be written to");
    };
    write("ws/Cargo.toml", "[workspace]\nmembers = [\"../p1\"]\nresolver = \"2\"\n");
    write(
        "p1/Cargo.toml",
        "[package]\nname = \"p1\"\nversion = \"0.1.0\"\nedition = \"2021\"\nworkspace = \"../ws\"\n",
    );
    let library = "/// ```\n/// assert_eq!(p1::hundred().len(), 100);\n/// ```\npub fn hundred() -> Vec<u8> {\n    vec![1; 100]\n}\n\
        #[test]\nfn unit() {\n    assert_eq!(hundred().len(), 100);\n}\n";
    write("p1/src/lib.rs", library);
}

#[test]
fn doctests_of_a_member_beside_the_workspace_have_one_name_in_every_checkout() {
    let fixture = Fixture::copy("places");
    let (here, elsewhere) = (fixture.path("here"), fixture.outside().join("in/another/folder"));
    beside(&here);
    beside(&elsewhere);
    fixture.memprof("test --workspace --save-baseline").in_folder(&here.join("ws")).succeed();
    let baseline = fixture.read("here/ws/memprof.baseline");
    assert!(baseline.contains("\np1 doc/p1 ../p1/src/lib.rs - hundred alloc_objects=1 "), "{baseline}");
    fs::write(elsewhere.join("ws/memprof.baseline"), baseline).expect("it can be written to");
    let gated = fixture.memprof("gate --workspace").in_folder(&elsewhere.join("ws")).succeed();
    gated.says("within budget: 2 tests");
    // Those that are not recorded have the same names.
    let call = fixture.memprof("test --workspace --memprof-only unit").in_folder(&here.join("ws"));
    call.succeed();
    let summary = memprof_tests::summary::Summary::read(&here.join("ws/target/memprof"));
    assert_eq!(summary.json["not_run"][0]["name"], "../p1/src/lib.rs - hundred (line 1)");
}

#[test]
fn a_test_that_reads_a_child_is_told_that_the_pipe_varies() {
    let fixture = Fixture::copy("places");
    // More on every run, so that it is no matter of chance here.
    fixture.write(
        "src/lib.rs",
        "#[test]\nfn reads_a_child() {\n    let script = \"echo >> runs; head -c ${MORE}$(wc -l < runs)000 /dev/zero\";\n    \
         let output = std::process::Command::new(\"sh\").args([\"-c\", script]).output().unwrap();\n    \
         assert!(output.status.success());\n}\n",
    );
    fixture.memprof("test --lib --memprofilerate 1 --save-baseline").succeed();
    // Later runs read so much that one more is the same.
    fs::remove_file(fixture.path("runs")).expect("the test counts its runs there");
    let gated = fixture.memprof("gate --lib --memprofilerate 1 --repeat 3").run();
    gated.says("not the same on every run").says("it reads what a child writes, which arrives in other pieces");
}
