//! Builds that a build script starts with cargo or rustc have the same outputs as without us, byte for byte; and only a
//! build script is taken for one.

use memprof_tests::fixture::Fixture;
use memprof_tests::{output, tool};
use std::fs;

/// Builds a program in two profiles, runs it and its tests, and has rustc compile something through the wrapper, as crates do that
/// try out what the compiler can do.
const BUILD_SCRIPT: &str = r#"
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=guest");
    println!("cargo::rerun-if-env-changed=RUSTDOC");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    let cargo = |arguments: &str| {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap());
        cargo.args(arguments.split(' ')).args(["--manifest-path", "guest/Cargo.toml", "--target-dir"]).arg(out.join("guest"));
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    cargo("build --release");
    cargo("build");
    let tests = cargo("test");
    assert!(tests.contains("test in_the_guest ... ok") && tests.contains("test src/lib.rs - double (line 1) ... ok"), "{tests}");
    assert_eq!(cargo("run -q"), "1000\n");
    fs::write(out.join("probe.rs"), "fn main() {}").unwrap();
    let rustc = env::var_os("RUSTC").unwrap();
    let mut probe = match env::var_os("RUSTC_WRAPPER").filter(|wrapper| !wrapper.is_empty()) {
        Some(wrapper) => {
            let mut probe = Command::new(wrapper);
            probe.arg(rustc);
            probe
        }
        None => Command::new(rustc),
    };
    // As one that builds for another world does.
    let mut apart = Command::new(env::var_os("CARGO").unwrap());
    apart.args("build --manifest-path guest/Cargo.toml --target-dir".split(' ')).arg(out.join("apart"));
    let kept = |name: &str| name == "CARGO_HOME" || !name.starts_with("CARGO_") && name != "NUM_JOBS" && name != "OUT_DIR";
    let scrubbed = env::vars_os().filter(|(name, _)| !kept(&name.to_string_lossy()));
    scrubbed.for_each(|(name, _)| {
        apart.env_remove(name);
    });
    assert!(apart.status().unwrap().success());
    let tests = "unset NUM_JOBS $(env | grep -o '^CARGO_CFG[A-Z_]*')
        \"$CARGO\" test --no-run --manifest-path guest/Cargo.toml --target-dir \"$OUT_DIR/tests\"
        for test in \"$OUT_DIR\"/tests/debug/deps/guest-????????????????; do cp \"$test\" \"$OUT_DIR/tests/$(\"$test\" --list | grep -c test)\"; done";
    assert!(Command::new("sh").args(["-ec", tests]).status().unwrap().success());
    // Two that outlive what they were started by, with nothing left that a build script is known by; the other one has lost the plan too.
    for (name, gone) in [("detached", "NUM_JOBS|OUT_DIR|TARGET|HOST|CARGO_CFG.*"), ("bare", "NUM_JOBS|OUT_DIR|TARGET|HOST|CARGO_CFG.*|CARGO_MEMPROF.*|MEMPROF.*")] {
        let build = format!("unset $(env | sed -nE 's/^({gone})=.*/\\1/p')
            setsid sh -c '\"$CARGO\" test --no-run --manifest-path guest/Cargo.toml --target-dir \"$1\" > \"$1.log\" 2>&1; echo $? > \"$1.end\"' - \"$1\" &");
        let target = out.join(name);
        assert!(Command::new("mkfifo").arg(target.with_extension("end")).status().unwrap().success());
        assert!(Command::new("sh").args(["-ec", &build, "-"]).arg(&target).status().unwrap().success());
        // Until it has ended.
        let code = fs::read_to_string(target.with_extension("end")).unwrap();
        assert_eq!(code, "0\n", "{}", fs::read_to_string(target.with_extension("log")).unwrap());
        let built = fs::read_dir(target.join("debug/deps")).unwrap().map(|file| file.unwrap().path());
        let tests = built.filter(|path| path.extension().is_none());
        for test in tests {
            let listed = Command::new(&test).arg("--list").output().unwrap().stdout;
            let count = String::from_utf8(listed).unwrap().matches(": test").count();
            fs::copy(&test, target.join(count.to_string())).unwrap();
        }
    }
    probe.args(["--crate-name", "probe", "--crate-type", "bin", "-o", "probe", "probe.rs"]);
    assert!(probe.current_dir(&out).status().unwrap().success());
    println!("cargo::rustc-env=BUILT={}", out.display());
}
"#;

const LIBRARY: &str = r#"
#[test]
fn keeps_what_was_built() {
    let Some(folder) = std::env::var_os("KEEP_IN") else { return };
    for name in ["guest/release/guest", "guest/debug/guest", "apart/debug/guest", "tests/2", "detached/1", "bare/1", "probe"] {
        let built = std::path::Path::new(env!("BUILT")).join(name);
        std::fs::copy(built, std::path::Path::new(&folder).join(name.replace('/', "-"))).unwrap();
    }
}
"#;

fn host_with_guest() -> Fixture {
    let fixture = Fixture::copy("places");
    fs::remove_dir_all(fixture.path("tests")).expect("it was just copied");
    fixture.write("Cargo.toml", "[package]\nname = \"host\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\ndoctest = false\n[workspace]\nexclude = [\"guest\"]\n");
    fs::remove_file(fixture.path("Cargo.lock")).expect("it was just copied");
    fixture.write("build.rs", BUILD_SCRIPT);
    fixture.write("src/lib.rs", LIBRARY);
    fixture.write(
        "guest/Cargo.toml",
        "[package]\nname = \"guest\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[profile.release]\nstrip = true\ndebug = 0\n\
         panic = \"abort\"\nopt-level = \"z\"\nlto = true\n[workspace]\n",
    );
    fixture.write("guest/src/main.rs", "fn main() {\n    println!(\"{}\", guest::double(&[0; 500]).len());\n}\n");
    fixture.write(
        "guest/src/lib.rs",
        "/// ```\n/// assert_eq!(guest::double(&[1]), [1, 1]);\n/// ```\npub fn double(bytes: &[u8]) -> Vec<u8> {\n    bytes.repeat(2)\n}\n\
         #[test]\nfn in_the_guest() {\n    assert_eq!(double(&[1]), [1, 1]);\n}\n",
    );
    fixture
}

#[test]
fn what_a_build_script_builds_is_the_same_byte_for_byte() {
    let fixture = host_with_guest();
    let kept = |name: &str| {
        let folder = fixture.outside().join(name);
        fs::create_dir(&folder).expect("a folder can be made");
        folder
    };
    let (plain, profiled) = (kept("plain"), kept("profiled"));
    let expected = fixture.cargo("test").env("KEEP_IN", &plain).succeed();
    let found = fixture.memprof("test").env("KEEP_IN", &profiled).succeed();
    output::assert_same(&expected, &found);
    for name in
        ["guest-release-guest", "guest-debug-guest", "apart-debug-guest", "tests-2", "detached-1", "bare-1", "probe"]
    {
        let [expected, found] =
            [&plain, &profiled].map(|folder| fs::read(folder.join(name)).expect("the test kept it"));
        assert!(expected == found, "{name}: {} bytes are {} bytes under us", expected.len(), found.len());
    }
    // What ran in the build script is no part of the run.
    let summary = fixture.summary();
    let names: Vec<&str> = summary.tests().iter().map(|test| test.name()).collect();
    assert_eq!(names, ["keeps_what_was_built"]);
    for list in ["unprofiled", "not_run"] {
        assert_eq!(summary.json[list].as_array().map(Vec::len), Some(0), "{:#}", summary.json);
    }
    // A build script that asks for `RUSTDOC` has the same answer in every run.
    fixture.memprof("test").succeed().never_says("Compiling host");
}

#[test]
fn a_user_who_has_a_build_scripts_variables_set_is_profiled_all_the_same() {
    let fixture = Fixture::copy("places");
    let ran = fixture.memprof("test --lib").env("NUM_JOBS", "64").env("CARGO_CFG_TARGET_ARCH", "x86_64").succeed();
    ran.never_says("without being profiled");
    assert_eq!(fixture.summary().test("tests::unit").metrics().alloc_space, 100);
    let fixture = host_with_guest();
    fixture.memprof("test").env("NUM_JOBS", "64").succeed();
    assert_eq!(fixture.summary().tests().len(), 1);
}

/// For targets whose standard library is not at hand.
const NO_CORE: &str = "#![feature(no_core, lang_items)]\n#![no_core]\n#![allow(internal_features)]\n\
    #[lang = \"pointee_sized\"]\npub trait PointeeSized {}\n#[lang = \"meta_sized\"]\npub trait MetaSized: PointeeSized {}\n\
    #[lang = \"sized\"]\npub trait Sized: MetaSized {}\n#[lang = \"copy\"]\npub trait Copy {}\nimpl Copy for i32 {}\n\
    #[no_mangle]\npub extern \"C\" fn answer() -> i32 {\n    42\n}\n";

const FOREIGN_BUILD_SCRIPT: &str = r#"
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=guest");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    for target in ["x86_64-pc-windows-msvc", "wasm32-unknown-unknown", "aarch64-apple-darwin"] {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap());
        cargo.args(["rustc", "--release", "--lib", "--manifest-path", "guest/Cargo.toml", "--target", target, "--target-dir"]).arg(&out);
        let kind = if target.starts_with("wasm") { "cdylib" } else { "rlib" };
        let output = cargo.args(["--crate-type", kind]).output().unwrap();
        println!("cargo::warning={target}: {}", output.status);
    }
    let length = fs::metadata(out.join("wasm32-unknown-unknown/release/guest.wasm")).map_or(0, |file| file.len());
    println!("cargo::warning=wasm of {length} bytes");
}
"#;

#[test]
fn what_a_build_script_builds_for_other_targets_compiles_as_ever() {
    if !tool::has("cargo", &["+nightly", "--version"], "targets without a standard library") {
        return;
    }
    let fixture = host_with_guest();
    fixture.write("build.rs", FOREIGN_BUILD_SCRIPT);
    fixture.write("src/lib.rs", "#[test]\nfn passes() {}\n");
    fixture.write("guest/src/lib.rs", NO_CORE);
    fs::remove_file(fixture.path("guest/src/main.rs")).expect("it was just written");
    let warnings = |ran: memprof_tests::fixture::Ran| -> Vec<String> {
        ran.stderr.lines().filter(|line| line.contains("warning: host@")).map(str::to_owned).collect()
    };
    let plain = warnings(fixture.cargo("+nightly test").succeed());
    assert!(plain.len() == 4 && plain.iter().any(|line| line.contains("exit status: 0")), "{plain:?}");
    assert_eq!(warnings(fixture.cargo("+nightly memprof test").succeed()), plain);
}

#[test]
fn a_crate_that_is_called_like_a_build_script_is_profiled_like_any_other() {
    let stacks = |name: &str| {
        let fixture = Fixture::copy("places");
        fixture.write(
            "Cargo.toml",
            &format!(
                "[package]\nname = \"places\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\ndoctest = false\n\
                 [dependencies]\n{name} = {{ path = \"util\" }}\n[[test]]\nname = \"build_script_test\"\npath = \"tests/whole.rs\"\n\
                 harness = false\n[[bin]]\nname = \"build_script_bin\"\npath = \"src/bin.rs\"\n[profile.release]\ndebug = 0\n[workspace]\n"
            ),
        );
        fs::remove_file(fixture.path("Cargo.lock")).expect("it was just copied");
        fixture.write(
            "util/Cargo.toml",
            &format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\ndoctest = false\n"),
        );
        fixture.write(
            "util/src/lib.rs",
            "#[inline(never)]\npub fn outer(f: &dyn Fn(usize) -> usize) -> usize {\n    std::hint::black_box(middle(f)) + 1\n}\n\
             #[inline(never)]\nfn middle(f: &dyn Fn(usize) -> usize) -> usize {\n    (1..5).map(|i| std::hint::black_box(inner(f, i))).sum()\n}\n\
             #[inline(never)]\nfn inner(f: &dyn Fn(usize) -> usize, i: usize) -> usize {\n    std::hint::black_box(vec![1_u8; i]);\n    f(i) + f(i + 1)\n}\n",
        );
        fixture.write("src/bin.rs", "fn main() {\n    drop(std::hint::black_box(vec![1_u8; 10]));\n}\n");
        fixture.write(
            "src/lib.rs",
            &format!(
                "pub fn hundred() -> Vec<u8> {{\n    vec![1; 100]\n}}\n#[test]\nfn calls() {{\n    \
                 assert_eq!({name}::outer(&|n| vec![0_u8; n].len()), 25);\n}}\n"
            ),
        );
        fixture.memprof("test --release --memprofilerate 1").succeed().never_says("without being profiled");
        let summary = fixture.summary();
        let whole = summary.test("(whole program)");
        assert_eq!((whole.text("target"), whole.text("kind")), ("build_script_test", "test"));
        let stacks = summary.test("calls").json["stacks"].as_u64();
        fixture.memprof("run --release").succeed();
        assert_eq!(fixture.summary().test("(whole program)").text("target"), "build_script_bin");
        stacks
    };
    let expected = stacks("normal_util");
    assert!(expected > Some(1), "{expected:?}");
    assert_eq!(stacks("build_script_util"), expected);
}
