//! Some tests are profiled, the others run as ever; and a run that profiles none leaves what the run before left.

use memprof_tests::fixture::Fixture;
use memprof_tests::output;
use serde_json::Value;

/// The tests that ran without being profiled, sorted.
fn others(json: &Value) -> Vec<&str> {
    let idle = json["not_run"].as_array().expect("`not_run` is a list");
    idle.iter().filter(|test| test["ran"] == true).map(|test| test["name"].as_str().expect("a name")).collect()
}

#[test]
fn only_the_tests_that_are_named_have_a_profile() {
    let fixture = Fixture::copy("stuck");
    fixture.write(
        "src/lib.rs",
        "#[cfg(test)]\nmod tests {\n    fn keep(size: usize) {\n        std::mem::forget(vec![1_u8; size]);\n    }\n    \
         #[test]\n    fn small() {\n        keep(1);\n    }\n    #[test]\n    fn large() {\n        keep(1000);\n    }\n    \
         #[test]\n    fn larger() {\n        keep(2000);\n    }\n    #[test]\n    #[should_panic]\n    fn panics() {\n        panic!(\"as it must\");\n    }\n    \
         #[test]\n    #[ignore]\n    fn ignored() {}\n}\n",
    );
    let plain = fixture.cargo("test -- --test-threads=1").succeed();
    let found = |arguments: &str| {
        let ran = fixture.memprof("test").args(arguments.split(' ')).args(["--", "--test-threads=1"]).succeed();
        output::assert_same(&plain, &ran);
        let summary = fixture.summary();
        let tests: Vec<_> =
            summary.tests().iter().map(|test| (test.name().to_owned(), test.metrics().alloc_space)).collect();
        let others = others(&summary.json).iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        (tests, others, ran)
    };
    let named = |tests: &[(&str, u64)]| {
        tests.iter().map(|(name, space)| (format!("tests::{name}"), *space)).collect::<Vec<_>>()
    };
    let (tests, others, ran) = found("--memprof-only large");
    assert_eq!(tests, named(&[("large", 1000), ("larger", 2000)]));
    assert_eq!(others, ["tests::panics", "tests::small"]);
    ran.says("2 tests (2 more not profiled)");
    let (tests, others, _) = found("--memprof-only *::large --memprof-only small");
    assert_eq!(tests, named(&[("large", 1000), ("small", 1)]));
    assert_eq!(others, ["tests::larger", "tests::panics"]);
    // Nothing is recorded, so the outputs are still those of the run before.
    let (tests, others, ran) = found("--memprof-only nobody");
    assert_eq!(tests, named(&[("large", 1000), ("small", 1)]));
    assert_eq!(others, ["tests::larger", "tests::panics"]);
    ran.complains("no test was profiled: `--memprof-only` fits none that ran").complains("is of an earlier run");
}

#[test]
fn tests_of_programs_with_a_main_of_their_own_are_chosen_too() {
    let fixture = Fixture::copy("programs");
    let run = fixture.memprof("test --test mimic --test whole --no-fail-fast --memprof-only three");
    run.run().ended_with(101);
    let summary = fixture.summary();
    assert_eq!(summary.tests().iter().map(|test| test.name()).collect::<Vec<_>>(), ["three"]);
    assert_eq!(others(&summary.json), ["fails", "leaks a name with spaces", "panics", "(whole program)"]);
}

#[test]
fn doctests_are_chosen_too_whether_they_are_compiled_one_by_one_or_as_one() {
    let fixture = Fixture::copy("doctests");
    for package in ["each", "merged"] {
        let plain = fixture.cargo("test --doc -p").arg(package).succeed();
        let ran = fixture.memprof("test --memprofilerate 1 --memprof-only Asking --doc -p").arg(package).succeed();
        assert_eq!(ran.verdicts(), plain.verdicts());
        let summary = fixture.summary();
        let [asking] = &summary.tests()[..] else { panic!("{:#}", summary.json) };
        let metrics = asking.metrics();
        assert!(asking.name().contains(" - Asking (line "), "{}", asking.name());
        assert_eq!((asking.outcome(), metrics.alloc_objects, metrics.alloc_space), ("ok", 2, 22));
        asking.file("profile");
        let items: Vec<&str> = others(&summary.json).iter().map(|name| item(name)).collect();
        assert_eq!(items, ["", "eleven", "with_a_main"]);
        // A process that leaves no ledger was not recorded.
        fixture.memprof("test --keep-ledgers --memprof-only Asking --doc -p").arg(package).succeed();
        let folder = fixture.path("target/memprof/ledgers");
        let files = std::fs::read_dir(folder).expect("it was kept").map(|file| file.expect("one").path());
        assert_eq!(files.filter(|file| file.extension().is_some_and(|end| end == "ledger")).count(), 1);
    }
}

/// The item that a doctest belongs to, as rustdoc names it.
fn item(name: &str) -> &str {
    let (_, rest) = name.split_once(" - ").expect("a doctest's name");
    rest.rsplit_once("(line ").expect("with a line").0.trim_end()
}

#[test]
fn a_run_that_records_no_test_keeps_the_run_before_and_says_so() {
    let fixture = Fixture::copy("known");
    fixture.memprof("test --memprofilerate 1 one_box").succeed();
    let profile = fixture.path("target/memprof/profile.pb.gz");
    assert!(profile.exists());
    let last = || {
        let text = fixture.read("target/memprof/last-command.json");
        serde_json::from_str::<Value>(&text).expect("it is JSON")
    };
    assert_eq!(last()["produced"], true);
    let ran = fixture.memprof("test nothing_is_called_so").succeed();
    ran.complains("no test was run").complains("is of an earlier run");
    assert!(profile.exists());
    assert_eq!(fixture.summary().tests().len(), 1);
    assert_eq!(last()["command"], "cargo memprof test nothing_is_called_so");
    assert_eq!(last()["produced"], false);

    // The same where libtest refuses a flag, for which no filter is to blame.
    let ran = fixture.memprof("test -- --no-such-flag").run().ended_with(101).never_says("no name fits");
    ran.complains("no test was recorded").complains("is of an earlier run");
    assert!(profile.exists());

    // The same where cargo ran nothing at all.
    fixture.memprof("test one_box").succeed();
    fixture.write("src/lib.rs", "this is no Rust");
    fixture.memprof("test one_box").run().ended_with(101).complains("is of an earlier run");
    assert_eq!(fixture.summary().tests().len(), 1);
}
