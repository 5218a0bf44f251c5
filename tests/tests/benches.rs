//! Benchmarks are measured as ever, and one iteration of each is recorded: with exact figures and a profile.

use memprof_tests::fixture::Fixture;
use memprof_tests::pprof::{Raw, can_read};
use memprof_tests::summary::{Summary, Test};
use memprof_tests::tool;

/// Allocations and bytes of one iteration; `None` = it is not known.
fn iteration(test: &Test<'_>) -> Option<(u64, u64)> {
    let number = |field: &str| test.json["iteration"][field].as_u64();
    Some((number("alloc_objects")?, number("alloc_space")?))
}

fn iterations(summary: &Summary) -> Vec<(String, Option<(u64, u64)>)> {
    summary.tests().iter().map(|test| (test.name().to_owned(), iteration(test))).collect()
}

#[test]
fn benchmarks_that_are_listed_have_a_process_and_a_profile_each() {
    let fixture = Fixture::copy("benchmarks");
    let ran = fixture.memprof("bench").succeed();
    let ran = ran.says("three boxes is measured").says("ns/iter").says("B/iter").says("allocs/iter");
    let ran = ran.says("            60             3  listed three boxes\n").says("300\n");
    let summary = fixture.summary();
    let expected = [
        ("group/block", Some((1, 1000))),
        ("nothing", Some((0, 0))),
        ("three boxes", Some((3, 60))),
        ("(whole program)", None),
    ];
    assert_eq!(iterations(&summary), expected.map(|(name, figures)| (name.to_owned(), figures)), "{}", ran.all());
    let whole = summary.test("(whole program)");
    assert_eq!((whole.text("target"), whole.text("kind"), whole.outcome()), ("whole", "bench", "ok"));
    assert!(whole.figures().alloc_space >= 300);
    if can_read() {
        let raw = Raw::read(&summary.test("three boxes").file("profile"));
        let three = raw.through("benchmarks::three");
        let objects = raw.position("alloc_objects");
        assert_eq!(three.iter().map(|sample| sample.values[objects]).sum::<i64>(), 3);
    }
    fixture.memprof("bench --bench listed -- three").succeed();
    assert_eq!(iterations(&fixture.summary()), [("three boxes".to_owned(), Some((3, 60)))]);
    fixture.memprof("bench --bench listed --memprof-only nothing").succeed();
    assert_eq!(iterations(&fixture.summary()), [("nothing".to_owned(), Some((0, 0)))]);
}

#[test]
fn a_benchmark_of_libtest_is_measured_and_one_iteration_recorded() {
    if !tool::has("rustc", &["+nightly", "-V"], "`#[bench]`") {
        return;
    }
    let fixture = Fixture::copy("benchmarks");
    let folder = fixture.path("nightly");
    let bench =
        |filter: &str| fixture.cargo("+nightly memprof bench").args(filter.split_whitespace()).in_folder(&folder);
    let ran = bench("").run().ended_with(101);
    let ran =
        ran.says("test tests::three_boxes ... bench:").says("MB/s").says("test tests::is_no_benchmark ... ignored");
    let ran = ran.says("test tests::fails       ... FAILED");
    let summary = Summary::read(&folder.join("target/memprof"));
    for (name, figures) in [("three_boxes", (3, 60)), ("grows_once", (2, 24)), ("nothing", (0, 0))] {
        let test = summary.test(&format!("tests::{name}"));
        assert_eq!((iteration(&test), test.outcome()), (Some(figures), "ok"), "{name}: {}", ran.all());
        assert!(test.json["iteration"]["ns"].as_f64().is_some_and(|ns| ns >= 0.0), "{name}");
    }
    assert_eq!(summary.test("tests::fails").outcome(), "failed");
    assert_eq!(summary.test("tests::three_boxes").figures().inuse_objects, 0);
    // As a test it runs once, and is recorded with what is around.
    let ran = fixture.cargo("+nightly memprof test three_boxes").in_folder(&folder).succeed();
    ran.says("test tests::three_boxes ... ok");
    let summary = Summary::read(&folder.join("target/memprof"));
    assert_eq!(summary.test("tests::three_boxes").figures().alloc_space, 5060);
}

#[test]
fn a_compiler_without_benchmarks_is_said_in_three_parts() {
    let stable = std::process::Command::new("rustc").arg("-V").output().expect("rustc starts");
    if String::from_utf8_lossy(&stable.stdout).contains("nightly") {
        eprintln!("skipped: `#[bench]` on a stable compiler, because this one is a nightly");
        return;
    }
    let fixture = Fixture::copy("benchmarks");
    let ran = fixture.memprof("bench").in_folder(&fixture.path("nightly")).run().ended_with(101);
    let ran = ran.complains("error: cannot run `cargo memprof bench`").complains("`#[bench]` is unstable");
    ran.complains("help: use one (`cargo +nightly memprof bench`)");
}

/// The real ones, where they can be had: from the registry, or from what it left on this machine.
#[test]
fn criterion_and_divan_run_one_benchmark_a_process() {
    let fixture = Fixture::copy("benchmarks");
    let manifest = fixture.read("Cargo.toml");
    let manifest = manifest.replace(
        "criterion = { path = \"criterion\" }",
        "criterion = { version = \"0.5\", default-features = false }\ndivan = \"0.1\"",
    );
    let manifest =
        manifest.replace("[\".\", \"criterion\"]", "[\".\"]").replace("name = \"listed\"", "name = \"real\"");
    fixture.write("Cargo.toml", &manifest.replace("name = \"whole\"", "name = \"drawn\""));
    fixture.write(
        "benches/real.rs",
        "use criterion::{criterion_group, criterion_main, BatchSize, Criterion};\nfn all(criterion: &mut Criterion) {\n    \
         criterion.bench_function(\"three boxes\", |bencher| bencher.iter(|| benchmarks::three()));\n    \
         let mut group = criterion.benchmark_group(\"group\");\n    \
         group.bench_function(\"batched\", |bencher| {\n        \
         bencher.iter_batched(|| benchmarks::block(7), |block| block.len(), BatchSize::SmallInput)\n    });\n}\n\
         criterion_group!(benches, all);\ncriterion_main!(benches);\n",
    );
    fixture.write(
        "benches/drawn.rs",
        "fn main() {\n    divan::main();\n}\n#[divan::bench]\nfn three() -> Box<[u8; 20]> {\n    benchmarks::three()\n}\n\
         #[divan::bench(args = [10, 200])]\nfn block(size: usize) -> Vec<u8> {\n    benchmarks::block(size)\n}\n",
    );
    let mut fetch = fixture.cargo("fetch");
    fetch.command().env_remove("CARGO_NET_OFFLINE");
    if !fetch.run().status.success() {
        eprintln!("skipped: criterion and divan, because they cannot be fetched here");
        return;
    }
    // Criterion measures for as long as it is told.
    let quick = "bench --bench real -- --warm-up-time 0.1 --measurement-time 0.1 --sample-size 10";
    let ran = fixture.memprof(quick).succeed();
    let expected = [("group/batched", Some((1, 7))), ("three boxes", Some((3, 60)))];
    assert_eq!(
        iterations(&fixture.summary()),
        expected.map(|(name, figures)| (name.to_owned(), figures)),
        "{}",
        ran.all()
    );
    let ran = fixture.memprof("bench --bench drawn -- --max-time 0.1").succeed();
    let expected =
        [("drawn::block::10", Some((1, 10))), ("drawn::block::200", Some((1, 200))), ("drawn::three", Some((3, 60)))];
    assert_eq!(
        iterations(&fixture.summary()),
        expected.map(|(name, figures)| (name.to_owned(), figures)),
        "{}",
        ran.all()
    );
}
