//! Benchmarks are measured as ever, and one iteration of each is recorded: with exact metrics and a profile.

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
    let ran = ran.says("three boxes             time:   [1.00 ns 1.50 ns 2.00 ns]\n");
    let ran = ran.says("      ns/iter        B/iter   allocs/iter  benchmark\n");
    let ran = ran.says("         1.50            60             3  listed three boxes\n").says("300\n");
    // Of the other program nothing is known that would be one iteration's.
    let ran = ran.says("     B in all allocs in all  program of benchmarks\n");
    let ran = ran.says("\nwhole: recorded as one: of its framework nothing is known\n");
    let summary = fixture.summary();
    let expected = [
        ("group/block", Some((1, 1000))),
        ("nothing", Some((0, 0))),
        ("three boxes", Some((3, 60))),
        ("(whole program)", None),
    ];
    assert_eq!(iterations(&summary), expected.map(|(name, metrics)| (name.to_owned(), metrics)), "{}", ran.all());
    assert_eq!(summary.test("three boxes").json["iteration"]["ns"].as_f64(), Some(1.5));
    let whole = summary.test("(whole program)");
    assert_eq!((whole.text("target"), whole.text("kind"), whole.outcome()), ("whole", "bench", "ok"));
    assert!(whole.metrics().alloc_space >= 300);
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
    let ran = ran
        .says("test tests::three_boxes      ... bench:")
        .says("MB/s")
        .says("test tests::is_no_benchmark ... ignored");
    let ran = ran.says("test tests::fails            ... FAILED\n");
    let summary = Summary::read(&folder.join("target/memprof"));
    for (name, metrics) in [("three_boxes", (3, 60)), ("grows_once", (2, 24)), ("nothing", (0, 0))] {
        let test = summary.test(&format!("tests::{name}"));
        assert_eq!((iteration(&test), test.outcome()), (Some(metrics), "ok"), "{name}: {}", ran.all());
        assert!(test.json["iteration"]["ns"].as_f64().is_some_and(|ns| ns >= 0.0), "{name}");
    }
    let twice = summary.test("tests::iterates_twice");
    assert_eq!(iteration(&twice), Some((1, 50)), "the call of `iter` whose time libtest prints");
    // Of what was not measured there is no metric, and what was recorded is the whole function.
    assert_eq!((iteration(&summary.test("tests::fails")), summary.test("tests::fails").outcome()), (None, "failed"));
    let nothing = summary.test("tests::iterates_nothing");
    assert_eq!((iteration(&nothing), nothing.metrics().alloc_space), (None, 100));
    let row = |name: &str| {
        let line = ran.stdout.lines().find(|line| line.contains(&format!("unstable tests::{name}")));
        line.map(|line| line.split_whitespace().take(3).map(str::to_owned).collect::<Vec<_>>())
    };
    for name in ["fails", "iterates_nothing"] {
        assert_eq!(row(name).unwrap(), ["-", "-", "-"], "{name}: {}", ran.all());
    }
    ran.complains("2 benchmarks have no metrics of an iteration: they called no `Bencher::iter`, or failed");
    assert_eq!(summary.test("tests::three_boxes").metrics().inuse_objects, 0);
    // As a test it runs once, and is recorded with what is around.
    let ran = fixture.cargo("+nightly memprof test three_boxes").in_folder(&folder).succeed();
    ran.says("test tests::three_boxes ... ok");
    let summary = Summary::read(&folder.join("target/memprof"));
    assert_eq!(summary.test("tests::three_boxes").metrics().alloc_space, 5060);
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

/// Whether what the fixture needs can be had: from the registry, or from what it left on this machine.
fn can_fetch(fixture: &Fixture, what: &str) -> bool {
    let mut fetch = fixture.cargo("fetch");
    fetch.command().env_remove("CARGO_NET_OFFLINE");
    let can = fetch.run().status.success();
    if !can {
        eprintln!("skipped: {what}, because they cannot be fetched here");
    }
    can
}

/// A copy of the fixture whose programs of benchmarks are `benches` (name and source), with these dependencies.
fn with_frameworks(dependencies: &str, benches: &[(&str, &str)]) -> Fixture {
    let fixture = Fixture::copy("benchmarks");
    let manifest = fixture.read("Cargo.toml");
    let (package, _) = manifest.split_once("[[bench]]").expect("the fixture has programs of benchmarks");
    // Its own programs ask for a criterion that is not there now.
    let package = package.replace("publish = false", "publish = false\nautobenches = false");
    let target = |(name, _): &(&str, &str)| format!("[[bench]]\nname = \"{name}\"\nharness = false\n\n");
    let targets: String = benches.iter().map(target).collect();
    fixture.write("Cargo.toml", &format!("{package}{targets}[dev-dependencies]\n{dependencies}\n[workspace]\n"));
    for (name, source) in benches {
        fixture.write(&format!("benches/{name}.rs"), source);
    }
    fixture
}

/// Benchmarks of criterion's, whichever crate it is.
fn of_criterion(name: &str) -> String {
    format!(
        "use {name}::{{criterion_group, criterion_main, Criterion}};\nfn all(criterion: &mut Criterion) {{\n    \
         criterion.bench_function(\"one string\", |bencher| bencher.iter(|| String::with_capacity(1000)));\n    \
         criterion.bench_function(\"one string more\", |bencher| {{\n        \
         bencher.iter(|| (String::with_capacity(1000), String::with_capacity(24)))\n    }});\n}}\n\
         criterion_group!(benches, all);\ncriterion_main!(benches);\n"
    )
}

#[test]
fn every_known_framework_has_its_iterations_recorded() {
    let benches = [
        ("old", of_criterion("criterion03")),
        ("copy", of_criterion("codspeed_criterion_compat")),
        (
            "drawn",
            "use codspeed_divan_compat as divan;\nfn main() {\n    divan::main();\n}\n\
             #[divan::bench(crate = codspeed_divan_compat)]\nfn one_string() -> String {\n    String::with_capacity(1000)\n}\n"
                .to_owned(),
        ),
        (
            "plain",
            "use bencher::{benchmark_group, benchmark_main, Bencher};\n\
             fn one_string(bencher: &mut Bencher) {\n    bencher.iter(|| String::with_capacity(1000))\n}\n\
             fn one_string_more(bencher: &mut Bencher) {\n    \
             bencher.iter(|| (String::with_capacity(1000), String::with_capacity(24)))\n}\n\
             fn nothing(bencher: &mut Bencher) {\n    bencher.iter(|| 1)\n}\n\
             benchmark_group!(all, one_string, one_string_more, nothing);\nbenchmark_main!(all);\n"
                .to_owned(),
        ),
    ];
    let benches = benches.each_ref().map(|(name, source)| (*name, source.as_str()));
    let dependencies = "criterion03 = { package = \"criterion\", version = \"=0.3.6\", default-features = false }\n\
                        codspeed-criterion-compat = { version = \"6\", default-features = false }\n\
                        codspeed-divan-compat = \"6\"\nbencher = \"0.1\"\n";
    let fixture = with_frameworks(dependencies, &benches);
    if !can_fetch(&fixture, "criterion 0.3, CodSpeed's copies and bencher") {
        return;
    }
    let of_criterion = [("one string", Some((1, 1000))), ("one string more", Some((2, 1024)))];
    let of_bencher = [("nothing", Some((0, 0))), ("one_string", Some((1, 1000))), ("one_string_more", Some((2, 1024)))];
    let quick = "--warm-up-time 1 --measurement-time 1 --sample-size 10";
    let expected: [(&str, &str, &[_]); 4] = [
        ("old", quick, &of_criterion),
        ("copy", quick, &of_criterion),
        ("drawn", "--max-time 0.1", &[("drawn::one_string", Some((1, 1000)))]),
        ("plain", "", &of_bencher),
    ];
    for (program, flags, expected) in expected {
        // What is not optimized is soon compiled.
        let ran = fixture.memprof(&format!("bench --profile dev --bench {program} -- {flags}")).succeed();
        let summary = fixture.summary();
        let expected: Vec<_> = expected.iter().map(|(name, metrics)| ((*name).to_owned(), *metrics)).collect();
        assert_eq!(iterations(&summary), expected, "{program}: {}", ran.all());
        for test in summary.tests() {
            assert!(test.json["iteration"]["ns"].as_f64().is_some_and(|ns| ns >= 0.0), "{program}: {}", ran.all());
        }
    }
}

#[test]
fn no_metric_of_bencher_is_of_anything_but_what_it_iterates() {
    let source = "use bencher::{benchmark_group, benchmark_main, Bencher};\n\
        fn with_setup(bencher: &mut Bencher) {\n    let kept = vec![1u8; 1 << 20];\n    bencher.iter(|| kept[0..10].to_vec())\n}\n\
        fn prints(bencher: &mut Bencher) {\n    println!(\"loading\");\n    bencher.iter(|| String::with_capacity(1000))\n}\n\
        fn forges(bencher: &mut Bencher) {\n    println!(\"bench:   1 ns/iter (+/- 0)\");\n    bencher.iter(|| String::with_capacity(10))\n}\n\
        fn iterates_nothing(_: &mut Bencher) {\n    drop(std::hint::black_box(vec![1u8; 100]))\n}\n\
        fn iterates_twice(bencher: &mut Bencher) {\n    bencher.iter(|| vec![1u8; 100]);\n    bencher.iter(|| String::with_capacity(20))\n}\n\
        fn twice(bencher: &mut Bencher) {\n    bencher.iter(|| String::with_capacity(20))\n}\n\
        mod other {\n    pub fn twice(bencher: &mut super::Bencher) {\n        bencher.iter(|| String::with_capacity(30))\n    }\n}\n\
        fn all() -> Vec<bencher::TestDescAndFn> {\n    let mut all = most();\n    all.extend({\n        use other::twice;\n        \
        benchmark_group!(more, twice);\n        more()\n    });\n    all\n}\n\
        benchmark_group!(most, with_setup, prints, forges, iterates_nothing, iterates_twice, twice);\nbenchmark_main!(all);\n";
    let liar = "use bencher::{benchmark_group, benchmark_main, Bencher};\n\
        fn lies(bencher: &mut Bencher) {\n    println!(\"\\ntest nobody ... bench:   1 ns/iter (+/- 0)\");\n    \
        bencher.iter(|| String::with_capacity(10))\n}\nbenchmark_group!(all, lies);\nbenchmark_main!(all);\n";
    let fixture = with_frameworks("bencher = \"0.1\"\n", &[("plain", source), ("liar", liar)]);
    if !can_fetch(&fixture, "bencher") {
        return;
    }
    let ran = fixture.memprof("bench --profile dev --bench plain").succeed();
    let summary = fixture.summary();
    let expected = [
        ("forges", Some((1, 10))),
        ("iterates_nothing", None),
        ("iterates_twice", None),
        ("prints", Some((1, 1000))),
        ("with_setup", Some((1, 10))),
    ];
    let expected: Vec<_> = expected.iter().map(|(name, metrics)| ((*name).to_owned(), *metrics)).collect();
    assert_eq!(iterations(&summary), expected, "{}", ran.all());
    let ns = |name: &str| summary.test(name).json["iteration"]["ns"].as_f64();
    assert_eq!(ns("forges"), None, "{}", ran.all());
    assert!(ns("prints").is_some_and(|ns| ns > 1.0) && ns("with_setup").is_some_and(|ns| ns > 1.0), "{}", ran.all());
    let ran = ran.complains("plain (bench) was recorded without `twice`: several of its benchmarks have that name");
    let ran = ran.complains("they may have iterated nothing\n    iterates_nothing");
    ran.complains("the time that is printed is of one call only\n    iterates_twice");

    let ran = fixture.memprof("bench --profile dev --bench liar").run();
    ran.complains("its code prints lines like those of the framework");
}

#[test]
fn a_divan_of_another_shape_has_its_iterations_recorded_too() {
    let source = "fn main() {\n    divan::main();\n}\n\
                  #[divan::bench]\nfn a_string() -> String {\n    String::with_capacity(1000)\n}\n\
                  #[divan::bench]\nfn with_bencher(bencher: divan::Bencher) {\n    bencher.bench(|| vec![0u8; 2000]);\n}\n";
    let fixture = with_frameworks("divan = \"=0.1.17\"\ndivan-macros = \"=0.1.17\"\n", &[("drawn", source)]);
    if !can_fetch(&fixture, "divan 0.1.17") {
        return;
    }
    let ran = fixture.memprof("bench -- --max-time 0.1").succeed();
    let expected = [("drawn::a_string", Some((1, 1000))), ("drawn::with_bencher", Some((1, 2000)))];
    let expected = expected.map(|(name, metrics)| (name.to_owned(), metrics));
    assert_eq!(iterations(&fixture.summary()), expected, "{}", ran.all());
}

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
         let input: Vec<String> = (0..3).map(|number| number.to_string()).collect();\n    \
         criterion.bench_function(\"prepared\", |bencher| bencher.iter(|| benchmarks::block(input.len())));\n    \
         let mut group = criterion.benchmark_group(\"group\");\n    \
         group.bench_function(\"batched\", |bencher| {\n        \
         bencher.iter_batched(|| benchmarks::block(7), |block| block.len(), BatchSize::SmallInput)\n    });\n}\n\
         criterion_group!(benches, all);\ncriterion_main!(benches);\n",
    );
    fixture.write(
        "benches/drawn.rs",
        "fn main() {\n    divan::main();\n}\n#[divan::bench]\nfn three() -> Box<[u8; 20]> {\n    benchmarks::three()\n}\n\
         #[divan::bench(args = [10, 200])]\nfn block(size: usize) -> Vec<u8> {\n    benchmarks::block(size)\n}\n\
         #[divan::bench(threads = [1, 2])]\nfn threaded() -> Box<[u8; 20]> {\n    benchmarks::three()\n}\n\
         #[divan::bench(ignore)]\nfn ignored() -> Box<[u8; 20]> {\n    benchmarks::three()\n}\n",
    );
    if !can_fetch(&fixture, "criterion and divan") {
        return;
    }
    // Criterion measures for as long as it is told.
    let quick = "bench --bench real -- --warm-up-time 0.1 --measurement-time 0.1 --sample-size 10";
    let ran = fixture.memprof(quick).succeed();
    // What was prepared before is no part of an iteration, and nothing that another thread did.
    let ran = ran.never_says("other threads");
    let expected = [("group/batched", Some((1, 7))), ("prepared", Some((1, 3))), ("three boxes", Some((3, 60)))];
    assert_eq!(
        iterations(&fixture.summary()),
        expected.map(|(name, metrics)| (name.to_owned(), metrics)),
        "{}",
        ran.all()
    );
    let ran = fixture.memprof("bench --bench drawn -- --max-time 0.1").succeed();
    let expected = [
        ("drawn::block::10", Some((1, 10))),
        ("drawn::block::200", Some((1, 200))),
        ("drawn::threaded", Some((3, 60))),
        ("drawn::three", Some((3, 60))),
    ];
    assert_eq!(
        iterations(&fixture.summary()),
        expected.map(|(name, metrics)| (name.to_owned(), metrics)),
        "{}",
        ran.all()
    );
}

#[test]
fn no_metric_of_criterion_or_divan_is_of_anything_but_one_benchmark() {
    let of_criterion = "use criterion::{criterion_group, criterion_main, Criterion};\nfn all(criterion: &mut Criterion) {\n    \
        criterion.bench_function(\"ends in a blank \", |bencher| bencher.iter(|| vec![1u8; 10]));\n    \
        criterion.bench_function(\"one #2\", |bencher| bencher.iter(|| vec![1u8; 50]));\n    \
        criterion.bench_function(\"same\", |bencher| bencher.iter(|| vec![1u8; 20]));\n    \
        criterion.bench_function(\"same\", |bencher| bencher.iter(|| vec![1u8; 30]));\n    \
        criterion.bench_function(\"twice\", |bencher| {\n        bencher.iter(|| vec![1u8; 100]);\n        \
        bencher.iter(|| (vec![1u8; 10], vec![1u8; 10]))\n    });\n    \
        criterion.bench_function(\"never\", |_| drop(std::hint::black_box(vec![1u8; 50])));\n}\n\
        criterion_group!(benches, all);\ncriterion_main!(benches);\n";
    let of_divan = "fn main() {\n    divan::main();\n}\n\
        mod a {\n    pub struct Size;\n    impl super::Bytes for Size {\n        const BYTES: usize = 100;\n    }\n}\n\
        mod b {\n    pub struct Size;\n    impl super::Bytes for Size {\n        const BYTES: usize = 7;\n    }\n}\n\
        trait Bytes {\n    const BYTES: usize;\n}\n\
        #[divan::bench(types = [a::Size, b::Size])]\nfn sized<T: Bytes>() -> Vec<u8> {\n    vec![1; T::BYTES]\n}\n\
        #[divan::bench(args = [\"x\", \"x \"])]\nfn blank(text: &str) -> Vec<u8> {\n    vec![1; text.len()]\n}\n\
        #[divan::bench(name = \"same\")]\nfn one() -> Vec<u8> {\n    vec![1; 3]\n}\n\
        #[divan::bench(name = \"same\")]\nfn other() -> Vec<u8> {\n    vec![1; 4]\n}\n\
        #[divan::bench(name = \"has  two   blanks\")]\nfn blanks() -> Vec<u8> {\n    vec![1; 5]\n}\n\
        #[divan::bench]\nfn plain() -> Vec<u8> {\n    vec![1; 6]\n}\n";
    let dependencies = "criterion = { version = \"0.5\", default-features = false }\ndivan = \"0.1\"\n";
    let fixture = with_frameworks(dependencies, &[("real", of_criterion), ("drawn", of_divan)]);
    if !can_fetch(&fixture, "criterion and divan") {
        return;
    }
    let quick = "--warm-up-time 0.1 --measurement-time 0.1 --sample-size 10";
    let ran = fixture.memprof(&format!("bench --profile dev --bench real -- {quick}")).run();
    let summary = fixture.summary();
    let expected = [("ends in a blank ", Some((1, 10))), ("never", None), ("one #2", Some((1, 50))), ("twice", None)];
    assert_eq!(iterations(&summary), expected.map(|(name, metrics)| (name.to_owned(), metrics)), "{}", ran.all());
    let ns = summary.test("ends in a blank ").json["iteration"]["ns"].as_f64();
    assert!(ns.is_some_and(|ns| ns > 0.0), "{}", ran.all());
    let ran = ran.complains("recorded without `same`, `same #2`: several of its benchmarks have that name");
    let ran = ran.complains("the time that is printed is of one call only\n    twice");
    ran.complains("they failed while one was recorded").complains("\n    never");

    let ran = fixture.memprof("bench --profile dev --bench drawn -- --max-time 0.1").succeed();
    assert_eq!(iterations(&fixture.summary()), [("drawn::plain".to_owned(), Some((1, 6)))], "{}", ran.all());
    let several = "recorded without `drawn::blank::x`, `drawn::same`, `drawn::sized::Size`: several of its benchmarks have that name";
    let ran = ran.complains(several);
    ran.complains("without `drawn::has`: divan finds no benchmark by the name that it shows");
}

#[test]
fn tests_and_benchmarks_of_one_run_have_a_table_each() {
    let fixture = Fixture::copy("known");
    let manifest = fixture
        .read("Cargo.toml")
        .replace("[workspace]", "[[bench]]\nname = \"pushing\"\nharness = false\n\n[workspace]");
    fixture.write("Cargo.toml", &manifest);
    fixture.write("benches/pushing.rs", "fn main() {\n    std::hint::black_box(vec![0_u8; 10]);\n}\n");
    let ran = fixture.memprof("test --all-targets --memprofilerate 1").succeed();
    let (_, tables) = ran.stdout.split_once("in use  test").expect("there is a table of tests");
    let (tests, benchmarks) = tables.split_once("program of benchmarks").expect("there is a table of benchmarks");
    assert!(tests.contains("tests::megabytes") && !tests.contains("pushing"), "{}", ran.stdout);
    let of_the_program: Vec<&str> =
        benchmarks.trim_start().lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(of_the_program, ["10", "1", "pushing"], "{}", ran.stdout);
    let summary = fixture.summary();
    assert_eq!(summary.test("(whole program)").text("kind"), "bench");
    ran.never_says("B/iter");
}
