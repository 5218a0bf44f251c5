//! Our own flags: before and after `--`, with a space and with `=`, and what is said where they are wrong.

use memprof_tests::fixture::Fixture;
use std::fs;
use std::path::{Path, PathBuf};

/// The rate that a run's ledgers were recorded with.
fn rate(fixture: &Fixture) -> u64 {
    let ledgers = fixture.ledgers();
    let mut rates = ledgers.values().map(|ledger| ledger.rate);
    let rate = rates.next().expect("a ledger");
    assert!(rates.all(|other| other == rate));
    rate
}

#[test]
fn they_work_wherever_they_stand() {
    let fixture = Fixture::copy("known");
    for (arguments, expected) in [
        ("test --keep-ledgers", 524_288),
        ("test --keep-ledgers --memprofilerate 7", 7),
        ("test --keep-ledgers --memprofilerate=8 --lib", 8),
        ("--memprofilerate 9 test --keep-ledgers", 9),
        ("test --lib -- --memprofilerate 10 --keep-ledgers", 10),
        ("test -- --test-threads 1 --memprofilerate=11 --keep-ledgers one_box", 11),
        ("t one_box --keep-ledgers --memprofilerate 0", 0),
        ("test --keep-ledgers --memprofilerate 1 -- --memprofilerate 12", 12),
    ] {
        fixture.memprof(arguments).succeed();
        assert_eq!(rate(&fixture), expected, "{arguments}");
    }
}

#[test]
fn the_outputs_go_where_one_wants_them() {
    let fixture = Fixture::copy("known");
    for (arguments, folder) in [
        ("test --lib --memprofile first", "first"),
        ("test --lib --memprofile=second/deeper", "second/deeper"),
        ("test --lib -- --memprofile third", "third"),
    ] {
        fixture.memprof(arguments).arg("--keep-ledgers").succeed();
        let ledgers = fixture.path(folder).join("ledgers");
        assert_eq!(std::fs::read_dir(ledgers).expect("ledgers were kept there").count(), 20, "{arguments}");
        assert!(!fixture.path("target/memprof/ledgers").exists());
    }
    let absolute = fixture.outside().join("with spaces");
    fixture.memprof("test --lib --memprofile").arg(&absolute).succeed();
    assert!(absolute.is_dir());
}

#[test]
fn bad_values_are_refused_before_anything_is_done() {
    let fixture = Fixture::copy("known");
    for (arguments, text) in [
        ("test --memprofilerate -1", "cannot use `-1` as the rate"),
        ("test --memprofilerate=x", "cannot use `x` as the rate"),
        ("test -- --memprofilerate=1.5", "cannot use `1.5` as the rate"),
        ("test --memprofilerate", "--memprofilerate"),
        ("test --memprofile=", "--memprofile"),
        ("test --keep-ledgers=1", "takes no value"),
        ("tst", "there is no command `tst`"),
        ("clean --bogus", "`--bogus`"),
    ] {
        let ran = fixture.memprof(arguments).run().ended_with(2).complains(text).complains("help: ");
        assert_eq!(ran.stdout, "", "{arguments}");
        assert!(!fixture.path("target").exists(), "{arguments}");
    }
}

#[test]
fn what_nobody_knows_is_refused_by_whom_it_went_to_and_then_we_suggest() {
    let fixture = Fixture::copy("known");
    for (arguments, code, near) in [
        ("test --memprofilrate 1", 1, "--memprofilerate"),
        ("test --hlep", 1, "--help"),
        ("test --lib -- --memprofilrate 1", 101, "--memprofilerate"),
        ("test --lib -- --show-ouput", 101, "--show-output"),
    ] {
        let ran = fixture.memprof(arguments).run().ended_with(code);
        ran.complains(&format!("a flag with a similar name exists: `{near}`"));
    }
    let ran = fixture.memprof("bench --repeat 2").run().ended_with(1);
    ran.complains("`--repeat` is a flag of `cargo memprof test`, and not of `cargo memprof bench`");
    // It has a value of the program's, whatever it looks like.
    fixture.memprof("test --lib -- --skip --memprofilrate").succeed().never_says("similar name");
}

#[test]
fn what_cargo_refuses_waits_for_no_harness() {
    let fixture = Fixture::copy("known");
    let cache = tempfile::TempDir::new().expect("a temporary folder");
    let ran = fixture.memprof("test --memprofilrate 1").env("XDG_CACHE_HOME", cache.path()).run().ended_with(1);
    ran.complains("Compiling memprof-harness").complains("a flag with a similar name exists");
    // What was begun is gone, and what was not is not begun.
    let left = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("one").path()).collect()
    };
    for place in left(&cache.path().join("cargo-memprof")) {
        let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        assert!(!name.starts_with("."), "{name} was left behind");
        let rlib = left(&place).into_iter().find(|file| file.extension().is_some_and(|end| end == "rlib"));
        assert_eq!(rlib, None, "a harness was waited for");
    }
    // The next run makes it.
    let ran = fixture.memprof("test --lib -- leaf").env("XDG_CACHE_HOME", cache.path()).succeed();
    let _ = ran.complains("Compiling memprof-harness");
}

#[test]
fn the_help_teaches_and_does_nothing() {
    let fixture = Fixture::copy("known");
    for arguments in ["", "--help", "help", "-h"] {
        fixture.memprof(arguments).succeed().says("cargo memprof test --memprofilerate 1").says("Examples:");
    }
    for arguments in ["test --help", "test -h", "help test", "test --lib --help"] {
        let ran = fixture.memprof(arguments).succeed().says("--memprofilerate <N>").says("--memprofile <DIR>");
        assert!(ran.stdout.lines().count() <= 45, "{}", ran.all());
    }
    fixture.memprof("--version").succeed().says("memprof 0.");
    assert!(!fixture.path("target").exists());
}
