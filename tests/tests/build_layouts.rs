//! What cargo builds is found wherever cargo puts it: in the layout of cargo 1.100, and with a build folder apart.

use memprof_tests::fixture::{Call, Fixture};
use memprof_tests::tool;
use std::fs;

/// A package with a program and an example whose names have hyphens, a test that has cargo run the program, and a benchmark.
fn package() -> Fixture {
    let fixture = Fixture::copy("places");
    let program = "fn main() {\n    println!(\"{}\", places::hundred().len());\n}\n";
    fixture.write("src/bin/k-x.rs", program);
    fixture.write("examples/e-x.rs", program);
    fixture.write(
        "tests/runs.rs",
        "#[test]\nfn has_cargo_run_it() {\n    let mut cargo = std::process::Command::new(\"cargo\");\n    \
         let output = cargo.args([\"run\", \"-q\", \"--bin\", \"k-x\"]).output().unwrap();\n    \
         assert_eq!(output.stdout, b\"100\\n\");\n}\n",
    );
    fixture
}

/// Runs tests, programs and an example of `fixture`, called by `call`, and checks that all of them are recorded.
fn assert_all_recorded(fixture: &Fixture, call: &dyn Fn(&str) -> Call) {
    let call = |arguments: &str| call(arguments).succeed().never_says("without being profiled");
    call("test --lib --bins --tests");
    let summary = fixture.summary();
    let name = |test: memprof_tests::summary::Test<'_>| format!("{} {}", test.text("kind"), test.name());
    let names: Vec<String> = summary.tests().into_iter().map(name).collect();
    assert_eq!(names, ["lib tests::unit", "test has_cargo_run_it", "test (whole program)"]);
    let children = &summary.test("has_cargo_run_it").json["children"];
    assert_eq!(children.as_array().map(|children| children.iter().any(|child| child["program"] == "k-x")), Some(true));
    for (arguments, kind) in [("run --bin k-x", "bin"), ("run --example e-x", "example")] {
        call(arguments).says("100");
        let summary = fixture.summary();
        let whole = summary.test("(whole program)");
        assert_eq!((whole.text("kind"), whole.text("target")), (kind, arguments.split(' ').next_back().unwrap_or("")));
    }
}

#[test]
fn the_layout_of_coming_cargos_loses_nothing() {
    if !tool::has("cargo", &["+nightly", "--version"], "cargo's coming layout") {
        return;
    }
    let fixture = package();
    let call = |arguments: &str| {
        let call = fixture.cargo("+nightly memprof").args(arguments.split(' '));
        call.env("CARGO_UNSTABLE_BUILD_DIR_NEW_LAYOUT", "true")
    };
    assert_all_recorded(&fixture, &call);
    let built = fixture.path("target/memprof/build/debug");
    assert!(built.join("build/places").exists() && !built.join("deps").exists(), "the layout is another");
    fixture.write(
        "benches/b.rs",
        "#![feature(test)]\nextern crate test;\n#[bench]\nfn hundreds(bencher: &mut test::Bencher) {\n    \
         bencher.iter(places::hundred);\n}\n",
    );
    call("bench --bench b").succeed().says("hundreds");
    assert_eq!(fixture.summary().test("hundreds").json["iteration"]["alloc_space"], 100);
    if tool::has("cargo", &["nextest", "--version"], "nextest in cargo's coming layout") {
        call("nextest run --lib").succeed();
        assert_eq!(fixture.summary().test("tests::unit").metrics().alloc_space, 100);
    }
}

#[test]
fn a_build_folder_apart_loses_nothing() {
    let fixture = package();
    fixture.write(".cargo/config.toml", "[build]\nbuild-dir = \"apart/{workspace-path-hash}\"\n");
    assert_all_recorded(&fixture, &|arguments| fixture.memprof(arguments));
    // Ours is beside the outputs, whatever the user's is.
    assert!(fixture.path("target/memprof/build/debug").exists());
    if tool::has("cargo", &["+nightly", "--version"], "cargo's coming layout, with a build folder apart") {
        fs::remove_dir_all(fixture.path("target")).expect("it was built");
        assert_all_recorded(&fixture, &|arguments| {
            let call = fixture.cargo("+nightly memprof").args(arguments.split(' '));
            call.env("CARGO_UNSTABLE_BUILD_DIR_NEW_LAYOUT", "true")
        });
    }
}
