//! Benchmarks are gated as tests are, by a baseline of their own.

use memprof_tests::fixture::Fixture;
use memprof_tests::repository;
use memprof_tests::tool;

#[test]
fn a_benchmark_that_allocates_more_fails_the_gate_of_benchmarks() {
    let fixture = Fixture::copy("benchmarks");
    fixture.memprof("gate --bench").run().ended_with(6).complains("cargo memprof bench --save-baseline");
    fixture.memprof("bench --save-baseline").succeed().complains("4 tests added");
    let baseline = fixture.read("memprof.bench.baseline");
    assert!(baseline.contains("@profile bench\n"), "{baseline}");
    assert!(baseline.contains("\nbenchmarks bench/listed three boxes alloc_objects="), "{baseline}");
    // Of tests there is none.
    fixture.memprof("gate").run().ended_with(6).complains("memprof.baseline");
    fixture
        .memprof("gate --bench")
        .succeed()
        .says("within budget: 4 benchmarks compared with `memprof.bench.baseline`");
    let one = fixture.memprof("gate --bench=listed three").run().ended_with(6);
    one.says("did not run: it was filtered out, or is no more")
        .says("its target `bench/whole` did not run")
        .never_says("any more");
    fixture.memprof("gate --bench=listed --allow not-run").succeed().says("within budget: 3 benchmarks compared");

    fixture.replace(
        "src/lib.rs",
        "    Box::new([3; 20])\n",
        "    Box::new(*std::hint::black_box(Box::new([3; 20])))\n",
    );
    let over =
        fixture.memprof("gate --bench").run().ended_with(5).says("over budget benchmarks bench/listed three boxes");
    over.says("(+1); at most").says("src/lib.rs:7 in three").says("over budget: 1 of 4 benchmarks");
    let against = |arguments: &str| fixture.memprof(&format!("gate --bench --against HEAD {arguments}"));
    repository::begin(&fixture);
    against("").succeed().says("within budget: 4 benchmarks compared with `HEAD`");
    fixture.replace("src/lib.rs", "Vec::with_capacity(size)", "Vec::with_capacity(2 * size)");
    against("").run().ended_with(5).says("over budget benchmarks bench/listed group/block").says("alloc_space");
    fixture
        .memprof("gate --no-run --baseline memprof.bench.baseline")
        .run()
        .ended_with(6)
        .complains("it is of benchmarks, and the baseline is of tests");

    // Which baseline is meant, the run says.
    fixture.memprof("accept").succeed().complains("memprof.bench.baseline: 3 tests changed");
    fixture.memprof("gate --bench").succeed();
    // Where not every stack is recorded nothing is known of an iteration, and nothing is gone for that.
    for rate in ["0", "4096"] {
        let unknown = fixture.memprof(&format!("gate --bench --memprofilerate {rate}")).run().ended_with(6);
        let unknown =
            unknown.says("but not measured: what one iteration allocates is not known").never_says("no such test");
        unknown.says("  benchmarks bench/listed three boxes\n");
        fixture.memprof("accept").succeed().never_says("removed");
    }
    fixture.memprof("gate --bench").succeed();
    fixture.memprof("gate --bench --repeat 3").run().ended_with(2).complains("--repeat");
}

#[test]
fn a_benchmark_of_libtest_is_gated_by_its_iteration_and_its_test_by_all_of_it() {
    if !tool::has("rustc", &["+nightly", "-V"], "`#[bench]`") {
        return;
    }
    let fixture = Fixture::copy("benchmarks");
    let folder = fixture.path("nightly");
    let lib = "#![feature(test)]
extern crate test;
#[bench]
fn grows(bencher: &mut test::Bencher) {
    let outside = vec![1_u8; 1000];
    bencher.iter(|| Box::new(1));
    drop(outside);
}
";
    fixture.write("nightly/src/lib.rs", lib);
    let memprof = |line: &str| {
        let mut words: Vec<&str> = vec!["+nightly", "memprof"];
        words.extend(line.split_whitespace());
        fixture.cargo("").args(words).in_folder(&folder)
    };
    memprof("bench --save-baseline").succeed();
    memprof("test --save-baseline").succeed();
    let objects = |file: &str| {
        let text = fixture.read(&format!("nightly/{file}"));
        let (_, behind) = text.split_once(" grows alloc_objects=").unwrap_or_else(|| panic!("{text}"));
        behind.split(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!((&*objects("memprof.bench.baseline"), &*objects("memprof.baseline")), ("1", "2"));
    fixture.write("nightly/src/lib.rs", &lib.replace("Box::new(1)", "(Box::new(1), Box::new(2))"));
    let over = memprof("gate --bench").run().ended_with(5).says("alloc_objects 1 → 2 (+1)").says("src/lib.rs:6");
    over.says("target/memprof/baseline/bench.grows-");
    memprof("gate").run().ended_with(5).says("alloc_objects 2 → 3 (+1)").says("src/lib.rs:6");
}
