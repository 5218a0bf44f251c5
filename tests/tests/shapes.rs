//! Crates of every shape: all kinds of targets are profiled, what cannot be is named with its reason, and what the user
//! has set up goes on working.

use memprof_tests::fixture::{Fixture, Ran};
use memprof_tests::output::assert_same;
use memprof_tests::summary::Summary;
use memprof_tests::{tool, workspace};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

#[test]
fn every_kind_of_target_is_profiled_under_its_own_name() {
    let fixture = Fixture::copy("shapes");
    fixture.memprof("test -p both -p macros --all-targets --memprofilerate 1").succeed();
    let summary = fixture.summary();
    let mut found: Vec<_> = summary
        .tests()
        .iter()
        .map(|test| [test.text("package"), test.text("kind"), test.text("target"), test.name()].join(" "))
        .collect();
    found.sort();
    let expected = [
        "both bench measured of_a_bench",
        "both bin both tests::same_name",
        "both example shown of_an_example",
        "both lib both tests::built",
        "both lib both tests::optimized_as_asked",
        "both lib both tests::same_name",
        "both test outside with_a_macro",
        "both test outside with_the_binary",
        "macros lib macros tests::of_a_macro_crate",
    ];
    assert_eq!(found, expected);
    for (kind, name, bytes) in [
        ("lib", "tests::same_name", 11),
        ("bin", "tests::same_name", 22),
        ("example", "of_an_example", 33),
        ("bench", "of_a_bench", 44),
        ("test", "with_a_macro", 55),
    ] {
        let tests = summary.tests();
        let test = tests.iter().find(|test| test.text("kind") == kind && test.name() == name).expect("listed above");
        assert_eq!(test.metrics().alloc_space, bytes, "{kind} {name}");
        assert!(test.file("profile").exists());
    }
}

#[test]
fn odd_targets_run_as_ever_and_each_has_its_profile() {
    let fixture = Fixture::copy("shapes");
    let arguments = ["test", "-p", "odd", "--", "--test-threads=1"];
    let plain = fixture.cargo("").args(arguments).succeed();
    let profiled = fixture.memprof("").args(arguments).succeed();
    assert_same(&plain, &profiled);
    let summary = fixture.summary();
    assert_eq!(summary.json["unprofiled"], serde_json::json!([]));
    let mut targets: Vec<&str> = summary.tests().iter().map(|test| test.text("target")).collect();
    targets.sort();
    assert_eq!(targets, ["custom_main", "nests", "nests", "odd", "own_allocator"]);
}

#[test]
fn tests_that_run_cargo_see_what_the_user_had() {
    let fixture = Fixture::copy("shapes");
    let wrapper = script(&fixture, "wrapper", "exec \"$@\"");
    let shown = wrapper.to_string_lossy().into_owned();
    fixture
        .memprof("test -p odd --test nests")
        .env("RUSTC_WRAPPER", &shown)
        .env("EXPECTED_WRAPPER", &shown)
        .env("RUSTFLAGS", "--cfg wished")
        .env("EXPECTED_RUSTFLAGS", "--cfg wished")
        .succeed();
    fixture.memprof("test -p odd --test nests").succeed();
    assert_eq!(fixture.summary().tests().len(), 2);
}

/// A shell script beside the copy.
fn script(fixture: &Fixture, name: &str, text: &str) -> std::path::PathBuf {
    let path = fixture.outside().join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("the temporary folder can be written to");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
    path
}

#[test]
fn a_wrapper_of_the_users_is_still_called() {
    let fixture = Fixture::copy("known");
    let log = fixture.outside().join("log");
    let wrapper = script(&fixture, "wrapper", &format!("echo \"$@\" >> '{}'\nexec \"$@\"", log.display()));
    fixture.memprof("test --lib --memprofilerate 1 one_box").env("RUSTC_WRAPPER", &wrapper).succeed();
    let called = || fs::read_to_string(&log).unwrap_or_default().matches("--crate-name known").count();
    assert_eq!(called(), 1);
    assert_eq!(fixture.summary().test("tests::one_box").metrics().alloc_objects, 1);
    fixture.write(".cargo/config.toml", &format!("[build]\nrustc-wrapper = {:?}\n", wrapper.display().to_string()));
    fixture.replace("src/lib.rs", "Box::new(7_u64)", "Box::new([7_u64; 2])");
    fixture.memprof("test --lib --memprofilerate 1 one_box").succeed();
    assert_eq!(called(), 2);
    assert_eq!(fixture.summary().test("tests::one_box").metrics().alloc_space, 16);
}

#[test]
fn a_runner_of_the_users_is_still_called() {
    let fixture = Fixture::copy("known");
    fixture.write(
        "tests/runs.rs",
        "#[test]\nfn under_the_runner() {\n    std::env::var(\"FROM_THE_RUNNER\").unwrap();\n}\n",
    );
    let runner = script(&fixture, "runner", "FROM_THE_RUNNER=1 exec \"$@\"");
    let host = tool::host();
    fixture.cargo("test --test runs").run().ended_with(101);
    let variable = format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_"));
    let by_variable = || fixture.memprof("test --test runs").env(&variable, &runner);
    by_variable().succeed();
    assert_eq!(fixture.summary().tests().len(), 1);
    fixture.memprof("test --test runs").run().ended_with(101);
    fixture.write(".cargo/config.toml", &format!("[target.{host}]\nrunner = {:?}\n", runner.display().to_string()));
    fixture.memprof("test --test runs").succeed();
    fixture
        .write(".cargo/config.toml", &format!("[target.'cfg(unix)']\nrunner = [{:?}]\n", runner.display().to_string()));
    fixture.memprof("test --test runs").succeed();
    fixture.write(".cargo/config.toml", "");
    let flag = format!("target.{host}.runner={:?}", runner.display().to_string());
    fixture.memprof("test --test runs --config").arg(flag).succeed();
}

#[test]
fn flags_for_the_compiler_still_count() {
    let fixture = Fixture::copy("known");
    fixture.write("tests/flags.rs", "#[test]\nfn has_the_flag() {\n    assert!(cfg!(wished));\n}\n");
    fixture.memprof("test --test flags").run().ended_with(101);
    fixture.memprof("test --test flags").env("RUSTFLAGS", "--cfg wished").succeed();
    fixture.write(".cargo/config.toml", "[build]\nrustflags = [\"--cfg\", \"wished\"]\n");
    fixture.memprof("test --test flags").succeed();
    assert_eq!(fixture.summary().test("has_the_flag").outcome(), "ok");
}

#[test]
fn a_crate_can_tell_that_it_is_profiled() {
    let fixture = Fixture::copy("known");
    fixture
        .write("tests/told.rs", "#![allow(unexpected_cfgs)]\n#[test]\nfn told() {\n    assert!(cfg!(memprof));\n}\n");
    fixture.cargo("test --test told").run().ended_with(101);
    fixture.memprof("test --test told").succeed();
}

#[test]
fn optimised_stripped_and_linked_as_one_is_still_named() {
    let fixture = Fixture::copy("shapes");
    fixture.memprof("test -p both --profile slim --lib --memprofilerate 1").succeed();
    let summary = fixture.summary();
    let test = summary.test("tests::same_name");
    assert_eq!(test.metrics().alloc_space, 11);
    let svg = fs::read_to_string(test.file("alloc_space")).expect("it is text");
    assert!(svg.contains("both::eleven") && svg.contains("both::tests::same_name"), "{svg}");
}

#[test]
fn settings_that_change_how_code_is_compiled_are_no_trouble() {
    let fixture = Fixture::copy("known");
    fixture.replace("Cargo.toml", "[lib]", "[lib]\ncrate-type = [\"rlib\", \"cdylib\"]");
    let settings = "[lints.rust]\nwarnings = \"deny\"\nunsafe_op_in_unsafe_fn = \"forbid\"\n\n\
         [profile.test]\ndebug = 0\nstrip = \"symbols\"\nsplit-debuginfo = \"packed\"\nopt-level = 1\n\
         overflow-checks = false\npanic = \"abort\"\n";
    fixture.write("Cargo.toml", &format!("{}\n{settings}", fixture.read("Cargo.toml")));
    fixture.write(
        "tests/old.rs",
        "#[test]\nfn in_another_edition() {\n    let async = 5;\n    std::hint::black_box(Box::new([async; 9]));\n}\n",
    );
    let test = "[[test]]\nname = \"old\"\nedition = \"2015\"\n";
    fixture.write("Cargo.toml", &format!("{}\n{test}", fixture.read("Cargo.toml")));
    let plain = fixture.cargo("test -- --test-threads=1").run();
    let profiled = fixture.memprof("test --memprofilerate 1 -- --test-threads=1").run();
    assert_same(&plain, &profiled);
    let summary = fixture.summary();
    assert_eq!(summary.test("in_another_edition").metrics().alloc_space, 36);
    let svg = fs::read_to_string(summary.test("tests::three_deep").file("alloc_space")).expect("it is text");
    assert!(svg.contains("known::middle"), "{svg}");
}

#[test]
fn a_crate_that_depends_on_what_we_are_made_of_is_no_trouble() {
    let fixture = Fixture::copy("crowded");
    let harness = workspace::root().join("memprof-harness");
    fixture.replace("Cargo.toml", "../../memprof-harness", &harness.to_string_lossy());
    // The versions that are on this machine because this workspace has them.
    fs::copy(workspace::root().join("Cargo.lock"), fixture.path("Cargo.lock")).expect("the copy can be written to");
    // These dependencies take a while to compile, once.
    let target = workspace::scratch().join("crowded");
    let ran = fixture.memprof("test --memprofilerate 1").env("CARGO_TARGET_DIR", &target).succeed();
    let _ = ran.says("3 passed").says("test under_libtest_mimic ... ok");
    let summary = Summary::read(&target.join("memprof"));
    assert_eq!(summary.json["unprofiled"], serde_json::json!([]));
    assert!(summary.test("tests::with_clap").metrics().alloc_space > 70);
}

#[test]
fn a_dependency_or_module_called_test_is_no_trouble() {
    let fixture = Fixture::copy("known");
    fixture.write(
        "tests/module.rs",
        "mod test {\n    pub fn it() -> Box<u32> {\n        Box::new(1)\n    }\n}\nuse test::it;\n\
         #[test]\nfn of_a_module() {\n    it();\n}\n",
    );
    fixture.memprof("test --test module --memprofilerate 1").succeed();
    assert_eq!(fixture.summary().test("of_a_module").metrics().alloc_space, 4);
    fixture
        .write("test/Cargo.toml", "[package]\nname = \"test\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n");
    fixture.write("test/src/lib.rs", "pub fn it() {}\n");
    fixture.replace("Cargo.toml", "[lib]", "[dev-dependencies]\ntest = { path = \"test\" }\n\n[lib]");
    fixture.write("tests/dependency.rs", "#[test]\nfn of_a_dependency() {\n    test::it();\n}\n");
    let plain = fixture.cargo("test --test dependency").run();
    let profiled = fixture.memprof("test --test dependency").run();
    assert_same(&plain, &profiled);
}

#[test]
fn benchmarks_of_nightly_are_tests_too() {
    if !tool::has("cargo", &["+nightly", "--version"], "nightly's benchmarks") {
        return;
    }
    let fixture = Fixture::copy("known");
    fixture.write(
        "benches/measured.rs",
        "#![feature(test)]\nextern crate test;\n#[bench]\nfn boxes(bencher: &mut test::Bencher) {\n    \
         bencher.iter(|| Box::new([1_u8; 99]));\n}\n",
    );
    fixture.cargo("+nightly memprof test --benches --memprofilerate 1").succeed().says("test boxes ... ok");
    assert_eq!(fixture.summary().test("boxes").metrics().alloc_space, 99);
}

#[test]
fn folders_with_spaces_and_letters_from_everywhere_are_folders() {
    let fixture = Fixture::copy_as("known", "über den Wolken");
    let plain: Ran = fixture.cargo("test -- --test-threads=1").succeed();
    let profiled = fixture.memprof("test --memprofilerate 1 -- --test-threads=1").succeed();
    assert_same(&plain, &profiled);
    assert_eq!(fixture.summary().test("tests::one_box").metrics().alloc_objects, 1);
}

#[test]
fn it_works_from_a_folder_below() {
    let fixture = Fixture::copy("shapes");
    fixture.memprof("test --lib").in_folder(&fixture.path("both/src")).succeed();
    // As for cargo, the package is that of the folder, and the target folder the workspace's.
    assert!(fixture.summary().tests().iter().all(|test| test.text("package") == "both"));
}

#[test]
fn members_beside_the_root_are_the_users_own_and_no_name_is_taken() {
    let fixture = Fixture::copy("known");
    fixture.write("ws/Cargo.toml", "[workspace]\nmembers = [\"../side\"]\nresolver = \"2\"\n");
    // A crate of this name is handed to programs.
    fixture.write(
        "side/Cargo.toml",
        "[package]\nname = \"memprof_program\"\nversion = \"0.1.0\"\nedition = \"2021\"\nworkspace = \"../ws\"\n",
    );
    fixture.write(
        "side/src/lib.rs",
        "/// ```\n/// assert_eq!(memprof_program::made(7).len(), 7);\n/// ```\n#[inline(never)]\npub fn made(len: usize) -> Vec<u8> {\n    vec![1; len]\n}\n\n#[test]\nfn makes() {\n    assert_eq!(made(3).len(), 3);\n}\n",
    );
    let folder = fixture.path("ws");
    fixture.memprof("test --workspace --memprofilerate 1").in_folder(&folder).succeed();
    let summary = memprof_tests::summary::Summary::read(&folder.join("target/memprof"));
    assert_eq!(summary.json["unprofiled"].as_array().map(Vec::len), Some(0), "{}", summary.json["unprofiled"]);
    for name in ["makes", "../side/src/lib.rs - made (line 1)"] {
        let test = summary.test(name);
        assert_eq!(test.metrics().alloc_objects, 1, "{name}");
        let picture = std::fs::read_to_string(test.file("alloc_objects")).expect("there is a flamegraph");
        let frames = picture.split("<title>").filter(|frame| frame.starts_with("memprof_program::made"));
        assert!(frames.count() > 0, "{picture}");
    }
}
