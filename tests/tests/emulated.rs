//! An executable that another program runs, as an emulator does, has that program run its tests' processes too. `.ci/emulated` does the
//! same with a real one.

use memprof_harness::emulator::Emulator;
use memprof_harness::environment::EMULATOR;
use memprof_harness::ledger;
use memprof_tests::fixture::Fixture;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn each_test_is_started_as_its_executable_was() {
    let fixture = Fixture::copy("known");
    fixture.write(
        "tests/started.rs",
        "#[test]\nfn sees_nothing_of_it() {\n    assert!(std::env::var_os(\"MEMPROF_EMULATOR\").is_none());\n    \
         std::hint::black_box(Box::new(1_u64));\n}\n#[test]\nfn has_its_arguments() {\n    \
         assert!(std::env::args().any(|argument| argument == \"--test-threads=1\"));\n}\n",
    );
    fixture.memprof("test --test started -- --test-threads=1").succeed();
    let built = fs::read_dir(fixture.path("target/memprof/build/debug/deps")).expect("cargo has built there");
    let exe = built.map(|entry| entry.expect("it can be read").path());
    let exe = exe.filter(|path| path.extension().is_none()).find(|path| path.to_string_lossy().contains("/started-"));
    let exe = exe.expect("the test's executable");
    let (emulator, log) = (fixture.path("an emulator"), fixture.path("log"));
    let text = format!("#!/bin/sh\necho \"$2\" >> '{}'\nshift\nexec \"$@\"\n", log.display());
    fs::write(&emulator, text).expect("the copy can be written to");
    fs::set_permissions(&emulator, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let words = Emulator::new(vec![emulator.into_os_string(), "-x y".into()]).to_variable();
    let arguments = ["--test-threads=1", "--memprofilerate", "1", "--memprofile", "target/memprof/ledgers"];
    let ran = fixture.program(&exe.to_string_lossy()).args(arguments).env(EMULATOR, &words).succeed();
    assert_eq!(ran.verdicts(), ["has_its_arguments ... ok", "sees_nothing_of_it ... ok"]);
    let starts = fs::read_to_string(&log).expect("it was started");
    assert_eq!(starts.lines().collect::<Vec<_>>(), [exe.to_string_lossy().as_ref(); 2]);
    let files = fs::read_dir(fixture.path("target/memprof/ledgers"))
        .expect("it was made")
        .map(|entry| entry.expect("it can be read").path());
    let ledgers = files.filter(|path| path.extension().is_some_and(|end| end == "ledger"));
    let mut ledgers = ledgers.map(|path| ledger::read(&fs::read(path).expect("it is a file")).expect("it is whole"));
    let ledger = ledgers.find(|ledger| ledger.identity.name == "sees_nothing_of_it").expect("it was recorded");
    assert_eq!(ledger.counters.alloc_space, 8);

    // What it cannot start is no test that passed.
    fs::remove_file(fixture.path("an emulator")).expect("it is there");
    let ran = fixture.program(&exe.to_string_lossy()).args(arguments).env(EMULATOR, &words).run().ended_with(101);
    ran.says("cannot run `has_its_arguments` in a process of its own");
}
