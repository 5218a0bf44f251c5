//! What changes metrics and is no change of the code: which packages are chosen, how code is optimized, whether errors capture backtraces.

use memprof_tests::fixture::{Call, Fixture};
use memprof_tests::repository;
use memprof_tests::tool;

/// `b` has `a` allocate twice, wherever both are built together.
fn workspace() -> Fixture {
    let fixture = Fixture::copy("growing");
    std::fs::remove_dir_all(fixture.path("src")).expect("the copy is ours");
    fixture.write("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\", \"c\"]\nresolver = \"2\"\n");
    let member = |name: &str, more: &str, lib: &str| {
        let manifest = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{more}");
        fixture.write(&format!("{name}/Cargo.toml"), &manifest);
        fixture.write(&format!("{name}/src/lib.rs"), lib);
    };
    let a = "//! ```\n//! a::f();\n//! ```\n\n\
             pub fn f() {\n    for _ in 0..if cfg!(feature = \"extra\") { 2 } else { 1 } {\n        std::hint::black_box(Box::new(1));\n    }\n}\n\n\
             #[test]\nfn of_a() {\n    f();\n}\n";
    member("a", "[features]\nextra = []\n", a);
    member(
        "b",
        "[dependencies]\na = { path = \"../a\", features = [\"extra\"] }\n",
        "#[test]\nfn of_b() {\n    a::f();\n}\n",
    );
    member("c", "[dependencies]\na = { path = \"../a\" }\n", "#[test]\nfn of_c() {\n    a::f();\n}\n");
    fixture
}

/// The call in an environment that has no wishes of its own.
fn quiet(call: Call) -> Call {
    call.env("RUST_BACKTRACE", "0").env("RUSTFLAGS", "")
}

#[test]
fn features_that_other_packages_bring_are_a_condition_of_each_target() {
    let fixture = workspace();
    quiet(fixture.memprof("test --save-baseline")).succeed().complains("4 tests added");
    let baseline = fixture.read("memprof.baseline");
    assert!(baseline.contains("\n@unit a lib/a features=extra opt-level=0 debug-assertions=on flags="), "{baseline}");
    assert_eq!(baseline.matches("\n@unit ").count(), 4, "{baseline}");
    assert!(baseline.contains("\n@backtrace off\n"), "{baseline}");
    quiet(fixture.memprof("gate")).succeed().says("within budget: 4 tests compared");

    // Alone, `a` allocates once: neither better nor, the other way round, over budget.
    let alone = quiet(fixture.memprof("gate -p a --allow not-run")).run().ended_with(6);
    let alone = alone.says("error: 2 targets were compiled otherwise than for the baseline");
    let alone = alone.says("a lib/a: features `extra` → `none`, packages `workspace` → `a`");
    alone
        .says("a doc/a: features `extra` → `none`, other features of its dependencies")
        .says("help: choose the same packages, over which cargo unifies features");
    quiet(fixture.memprof("gate -p a --allow not-run --allow conditions")).succeed();
    // What `b` is made of is the same, and `c` has another dependency.
    quiet(fixture.memprof("gate -p b --allow not-run")).succeed().says("within budget: 1 test compared");
    let other = quiet(fixture.memprof("gate -p c --allow not-run")).run().ended_with(6);
    other.says("c lib/c: other features of its dependencies, packages `workspace` → `c`").never_says("features `");

    // A baseline of both would be of neither.
    quiet(fixture.memprof("gate -p a --lib --allow not-run")).run().ended_with(6);
    quiet(fixture.memprof("accept")).succeed().complains("`a lib/a` was compiled otherwise: features `extra` → `none`");
    let taken = fixture.read("memprof.baseline");
    assert!(taken.contains("@unit a lib/a features=none"), "{taken}");
    assert!(taken.contains("@unit c lib/c") && taken.contains(" packages=a\n"), "{taken}");
    let back = quiet(fixture.memprof("gate")).run().ended_with(6);
    back.says("error: 1 target was compiled otherwise than for the baseline").never_says("over budget a");
    quiet(fixture.memprof("test --save-baseline")).succeed();
    assert_eq!(fixture.read("memprof.baseline"), baseline);

    // The manifests are code: what they bring is compared.
    fixture.replace("b/Cargo.toml", ", features = [\"extra\"]", "");
    let better = quiet(fixture.memprof("gate")).succeed().says("within budget: 4 tests compared");
    better.never_says("compiled otherwise");
    quiet(fixture.memprof("accept")).succeed();
    fixture.replace("c/Cargo.toml", "\"../a\"", "\"../a\", features = [\"extra\"]");
    quiet(fixture.memprof("gate"))
        .run()
        .ended_with(5)
        .says("alloc_objects 1 → 2 (+1)")
        .never_says("compiled otherwise");
}

#[test]
fn features_are_one_condition_however_they_are_asked_for() {
    let fixture = Fixture::copy("growing");
    let manifest = fixture.read("Cargo.toml");
    fixture.write("Cargo.toml", &format!("{manifest}\n[features]\ndefault = [\"std\"]\nstd = []\nmore = [\"std\"]\n"));
    quiet(fixture.memprof("test --save-baseline")).succeed();
    let baseline = fixture.read("memprof.baseline");
    assert!(baseline.contains("\n@features default\n"), "{baseline}");
    for spelt in ["--features std", "--features default,growing/std"] {
        let ran = quiet(fixture.memprof(&format!("gate {spelt}"))).succeed();
        ran.says("within budget: 3 tests compared").never_says("features");
        quiet(fixture.memprof("accept")).succeed().never_says("features");
        quiet(fixture.memprof(&format!("test --save-baseline {spelt}"))).succeed();
        assert_eq!(fixture.read("memprof.baseline"), baseline, "the file keeps its own words");
    }
    let other = quiet(fixture.memprof("gate --features more")).run().ended_with(6);
    other.says("it was recorded with features `default`; this run used `default,more`");
    quiet(fixture.memprof("gate --no-default-features --features std")).run().ended_with(6);
    quiet(fixture.memprof("test --save-baseline --all-features")).succeed().complains("is now of features `all`");
    quiet(fixture.memprof("gate --features more,std")).succeed();
}

#[test]
fn a_test_of_a_target_that_is_compiled_otherwise_is_not_taken_alone() {
    let fixture = Fixture::copy("growing");
    quiet(fixture.memprof("test --save-baseline")).succeed();
    let baseline = fixture.read("memprof.baseline");
    quiet(fixture.memprof("gate")).env("RUSTFLAGS", "-Copt-level=3").run().ended_with(6);
    let refused = quiet(fixture.memprof("accept tests::loads_nothing")).run().ended_with(6);
    refused.complains("was compiled otherwise (opt-level `0` → `3`").complains("would stay");
    assert_eq!(fixture.read("memprof.baseline"), baseline);
}

#[test]
fn a_baseline_that_does_not_say_how_a_target_was_compiled_is_named_until_it_does() {
    let fixture = Fixture::copy("growing");
    quiet(fixture.memprof("test --save-baseline")).succeed();
    let baseline = fixture.read("memprof.baseline");
    quiet(fixture.memprof("gate")).succeed().never_says("was compiled");
    let without: Vec<&str> = baseline.lines().filter(|line| !line.starts_with("@unit")).collect();
    fixture.write("memprof.baseline", &(without.join("\n") + "\n"));
    let remark = "`memprof.baseline` does not say how `growing lib/growing` was compiled";
    quiet(fixture.memprof("gate")).succeed().complains(remark).complains("`cargo memprof accept` adds the `@unit`");
    quiet(fixture.memprof("accept")).succeed();
    assert_eq!(fixture.read("memprof.baseline"), baseline);
    quiet(fixture.memprof("gate --no-run")).succeed().never_says("was compiled");
}

#[test]
fn how_code_is_optimized_and_what_errors_capture_are_conditions() {
    let fixture = Fixture::copy("growing");
    quiet(fixture.memprof("test --save-baseline")).succeed();
    let level = "growing lib/growing: opt-level `0` → `3`";
    let by_flags = quiet(fixture.memprof("gate")).env("RUSTFLAGS", "-Copt-level=3").run().ended_with(6);
    by_flags.says(level).says("help: compile with the same profile and flags").never_says("nothing was compared");
    let by_variable = quiet(fixture.memprof("gate")).env("CARGO_PROFILE_TEST_OPT_LEVEL", "3").run().ended_with(6);
    by_variable.says(level);
    quiet(fixture.memprof("gate --config profile.test.opt-level=3")).run().ended_with(6).says(level);
    let by_cfg = quiet(fixture.memprof("gate")).env("RUSTFLAGS", "--cfg other").run().ended_with(6);
    by_cfg.says("growing lib/growing: other compiler flags");
    // What tools for debuggers and linkers ask for changes no allocation.
    let harmless = "-Cdebuginfo=1 -Clink-arg=-Wl,--as-needed -Cmetadata=x";
    quiet(fixture.memprof("gate")).env("RUSTFLAGS", harmless).succeed();

    let captured = quiet(fixture.memprof("gate")).env("RUST_BACKTRACE", "1").run().ended_with(6);
    captured.says("it was recorded with backtrace `off`; this run used `on`");
    fixture.write(".cargo/config.toml", "[env]\nRUST_LIB_BACKTRACE = \"1\"\n");
    quiet(fixture.memprof("gate")).run().ended_with(6).says("backtrace `off`");
    std::fs::remove_file(fixture.path(".cargo/config.toml")).expect("it was written");
    quiet(fixture.memprof("gate")).env("RUST_BACKTRACE", "1").env("RUST_LIB_BACKTRACE", "0").succeed();
}

#[test]
fn both_sides_of_a_revision_are_built_by_one_command() {
    let fixture = workspace();
    if !tool::has("git", &["worktree", "list"], "the gate against a revision") {
        return;
    }
    repository::begin(&fixture);
    fixture.replace("c/Cargo.toml", "\"../a\"", "\"../a\", features = [\"extra\"]");
    let grown = quiet(fixture.memprof("gate -p c --against HEAD")).run().ended_with(5);
    grown.says("alloc_objects 1 → 2 (+1)").never_says("compiled otherwise");
}
