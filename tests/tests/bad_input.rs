//! Mistakes of the user are explained clearly, end with cargo's own exit code, and leave no half-written file behind.

use memprof_tests::fixture::Fixture;
use memprof_tests::output::assert_same;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_crate_that_does_not_compile_fails_with_cargos_own_words() {
    let fixture = Fixture::copy("known");
    fixture.replace("src/lib.rs", "black_box(Box::new(7_u64));", "black_box(Box::new(no_such_name));");
    let plain = fixture.cargo("test").run().ended_with(101);
    let profiled = fixture.memprof("test").run().ended_with(101);
    for error in ["error[E0425]: cannot find value `no_such_name` in this scope", "could not compile `known`"] {
        assert!(plain.stderr.contains(error), "{}", plain.all());
        // Once: that the compilation was tried with and without the harness is nobody's concern.
        let count = |text: &str| text.matches(error).count();
        assert_eq!(count(&plain.stderr), count(&profiled.stderr), "{}", profiled.all());
    }
    assert!(!fixture.path("target/memprof/summary.json").exists());
}

#[test]
fn a_broken_test_target_fails_with_cargos_own_words() {
    let fixture = Fixture::copy("known");
    fixture.write("tests/broken.rs", "#[test]\nfn half(\n");
    let plain = fixture.cargo("test --test broken").run().ended_with(101);
    let profiled = fixture.memprof("test --test broken").run().ended_with(101);
    let errors =
        |text: &str| text.lines().filter(|line| line.starts_with("error")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(errors(&plain.stderr), errors(&profiled.stderr), "{}", profiled.all());
}

#[test]
fn warnings_are_shown_once_and_also_when_nothing_is_compiled() {
    let fixture = Fixture::copy("known");
    fixture.replace("src/lib.rs", "pub fn nothing() {}", "pub fn nothing() { let unused_here = 1; }");
    for _ in 0..2 {
        let plain = fixture.cargo("test --lib").succeed();
        let profiled = fixture.memprof("test --lib").succeed();
        let count = |text: &str| text.matches("unused variable: `unused_here`").count();
        assert_eq!(count(&plain.stderr), count(&profiled.stderr), "{}", profiled.all());
    }
}

#[test]
fn no_package_is_cargos_error() {
    let fixture = Fixture::copy("known");
    let empty = fixture.outside().join("empty");
    fs::create_dir(&empty).expect("a fresh folder");
    let plain = fixture.cargo("test").in_folder(&empty).run().ended_with(101);
    let profiled = fixture.memprof("test").in_folder(&empty).run();
    assert_same(&plain, &profiled);
    assert!(profiled.complains("could not find `Cargo.toml`").stdout.is_empty());
    assert_eq!(fs::read_dir(&empty).expect("it is there").count(), 0);
}

#[test]
fn a_broken_manifest_is_cargos_error() {
    let fixture = Fixture::copy("known");
    fixture.replace("Cargo.toml", "[package]", "[package");
    let plain = fixture.cargo("test").run();
    assert_same(&plain, &fixture.memprof("test").run());
}

#[test]
fn a_filter_that_fits_no_test_is_no_error_as_with_cargo() {
    let fixture = Fixture::copy("known");
    let plain = fixture.cargo("test no_such_test").run().ended_with(0);
    assert_same(&plain, &fixture.memprof("test no_such_test").run());
}

#[test]
fn a_folder_that_cannot_be_written_is_said_before_anything_is_built() {
    let fixture = Fixture::copy("known");
    fixture.write("file", "in the way\n");
    let ran = fixture.memprof("test --memprofile file/below").run().ended_with(3);
    let ran = ran.complains("cannot write to `").complains("file/below").complains("help: ");
    assert!(!ran.stderr.contains("Compiling known"), "{}", ran.all());
    let fixture = Fixture::copy("known");
    fixture.write("target/memprof", "in the way too\n");
    fixture.memprof("test").run().ended_with(3).complains("target/memprof").complains("help: ");
}

#[test]
fn a_folder_without_permission_is_said_before_anything_is_built() {
    let fixture = Fixture::copy("known");
    let folder = fixture.path("forbidden");
    fs::create_dir(&folder).expect("a fresh folder");
    fs::set_permissions(&folder, Permissions::from_mode(0o555)).expect("it is ours");
    if fs::write(folder.join("probe"), "").is_ok() {
        eprintln!("skipped: a folder without permission, because this user may write everywhere");
        return;
    }
    fixture.memprof("test --memprofile forbidden").run().ended_with(3).complains("cannot write to `");
}

#[test]
fn a_toolchain_that_is_not_there_is_rustups_error() {
    let fixture = Fixture::copy("known");
    let ran = fixture.memprof("test").env("RUSTC", "/nonexistent/rustc").run();
    assert!(!ran.status.success());
    assert!(ran.stderr.contains("/nonexistent/rustc"), "{}", ran.all());
}
