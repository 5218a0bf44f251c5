//! Allocators that are not the harness's: a test's own `#[global_allocator]`, and the C library's behind C code. They count
//! what they always count, and are recorded to the byte; what cannot be seen is named.

use memprof_tests::fixture::{Fixture, Ran};
use memprof_tests::output::assert_same;
use memprof_tests::pprof::{self, Raw};
use memprof_tests::summary::Summary;
use memprof_tests::workspace;

/// `alloc_objects`, `alloc_space`, `reallocs`, `peak_space`, `inuse_objects`, `inuse_space`, as the tests themselves hold
/// their allocator to.
const COUNTING: [(&str, [u64; 6]); 3] = [
    ("growing", [6, 1008, 5, 512, 0, 0]),
    ("aligned_and_zeroed", [2, 10_512, 0, 10_000, 0, 0]),
    ("leaking", [2, 312, 0, 312, 1, 300]),
];

fn metrics(summary: &Summary, name: &str) -> [u64; 6] {
    let found = summary.test(name).metrics();
    let inuse = [found.inuse_objects, found.inuse_space].map(|metric| u64::try_from(metric).expect("not negative"));
    [found.alloc_objects, found.alloc_space, found.reallocs, found.peak_space, inuse[0], inuse[1]]
}

fn warnings(ran: &Ran) -> String {
    ran.stdout.clone() + &ran.stderr
}

#[test]
fn a_test_with_a_counting_allocator_has_the_metrics_that_it_counts_at_every_rate() {
    let fixture = Fixture::copy("allocators");
    for rate in ["0", "1", "64", "524288"] {
        // Cargo would not build the one of these two with the other's flags.
        for profile in ["", "--release"] {
            let ran = fixture.memprof(&format!("test --test counting --memprofilerate {rate} {profile}")).succeed();
            assert!(!warnings(&ran).contains("without being profiled"), "{}", ran.all());
            let summary = fixture.summary();
            for (name, expected) in COUNTING {
                assert_eq!(metrics(&summary, name), expected, "{name} at rate {rate} {profile}");
                let test = summary.test(name);
                assert_eq!((test.text("hook"), test.text("seen")), ("native", "all"));
            }
        }
    }
}

#[test]
fn the_allocators_own_frames_are_not_in_its_stacks() {
    let fixture = Fixture::copy("allocators");
    fixture.memprof("test --test counting --memprofilerate 1").succeed();
    if !pprof::can_read() {
        return;
    }
    let raw = Raw::read(&fixture.path("target/memprof/profile.pb.gz"));
    for sample in &raw.samples {
        let glue = |name: &String| name.contains("Counting") || name == "counting::count" || name.contains("System");
        assert!(!sample.functions.iter().any(glue), "{:?}", sample.functions);
        assert!(sample.functions.iter().any(|name| name.starts_with("counting::")), "{:?}", sample.functions);
    }
}

#[test]
fn the_librarys_allocator_is_everybodys_and_counts_on() {
    let fixture = Fixture::copy("allocators");
    let arguments = "test -p everywhere -p merged -- --test-threads=1";
    let plain = fixture.cargo(arguments).succeed();
    let profiled = fixture.memprof(arguments).arg("--memprofilerate=1").succeed();
    assert_same(&plain, &profiled);
    let summary = fixture.summary();
    assert_eq!(summary.json["unprofiled"], serde_json::json!([]));
    for test in summary.tests() {
        assert_eq!((test.text("hook"), test.text("seen")), ("native", "all"), "{}", test.name());
        assert!(test.file("profile").exists());
    }
    for name in
        ["tests::of_the_library", "of_a_dependency", "everywhere/src/lib.rs - (line 3)", "merged/src/lib.rs - (line 3)"]
    {
        assert_eq!(metrics(&summary, name), [3, 60, 0, 20, 0, 0], "{name}");
    }
    assert_eq!(metrics(&summary, "everywhere/src/lib.rs - counted (line 34)"), [1, 77, 0, 77, 1, 77]);
    // Two programs that differ by what one does; the runtime's and the C library's own, which hang on how long the
    // program's name is, are in both.
    let program = |target: &str| {
        let tests = summary.tests();
        let test = tests.iter().find(|test| test.text("target") == target).expect("it ran");
        test.metrics()
    };
    let (whole, empty) = (program("whole"), program("empty"));
    assert_eq!(
        (whole.alloc_objects - empty.alloc_objects, whole.alloc_space - empty.alloc_space, whole.inuse_space),
        (3, 60, empty.inuse_space)
    );
    let started = &summary.test("starts_a_program").json["children"][0];
    assert_eq!((&started["program"], &started["hook"]), (&"everywhere".into(), &"native".into()));
    assert!(started["alloc_space"].as_u64().is_some_and(|space| space >= 60), "{started}");
}

#[test]
fn a_program_that_is_run_for_its_own_sake_keeps_its_allocator() {
    let fixture = Fixture::copy("allocators");
    let plain = fixture.cargo("run -p everywhere -- start-another").env("SAYS", "it").succeed();
    let ran = fixture.memprof("run -p everywhere --memprofilerate 1 -- start-another");
    let ran = ran.env("SAYS", "it").succeed();
    // What the allocator has counted when `main` begins is what it counts without us, also in a program that is started.
    assert!(plain.stdout.starts_with("before main: [") && plain.stdout.lines().count() == 2, "{}", plain.all());
    assert!(ran.stdout.starts_with(&plain.stdout), "{}{}", plain.stdout, ran.all());
    let summary = fixture.summary();
    let program = summary.test("(whole program)");
    assert_eq!((program.text("kind"), program.text("hook"), program.text("seen")), ("bin", "native", "all"));
    let started = &program.json["children"][0];
    assert_eq!((&started["outcome"], &started["hook"]), (&"ok".into(), &"native".into()));
    assert!(program.metrics().alloc_space >= 60);
}

#[test]
fn what_goes_past_the_c_library_is_named_and_is_no_zero() {
    let fixture = Fixture::copy("allocators");
    let ran = fixture.memprof("test --test pooled --test stepping_aside --memprofilerate 1").succeed();
    let summary = fixture.summary();
    let pooled = summary.test("allocates_past_everything");
    assert_eq!((pooled.text("hook"), pooled.text("seen")), ("native", "partial"));
    let warnings = warnings(&ran);
    assert!(warnings.contains("test/pooled: the `#[global_allocator]`"), "{}", ran.all());
    assert!(warnings.contains("#[cfg_attr(not(memprof), global_allocator)]"), "{}", ran.all());
    assert!(warnings.contains("1 partially recorded") && !warnings.contains("without allocations"), "{}", ran.all());
    assert!(fixture.read("target/memprof/index.html").contains("partially recorded"));
    assert!(fixture.read("target/memprof/index.html").contains(">≥0</td>"));
    // The same advice, taken; a name that plain cargo would warn of.
    assert!(!warnings.contains("unexpected `cfg`"), "{}", ran.all());
    let aside = summary.test("is_seen_whole");
    assert_eq!((aside.text("hook"), aside.text("seen")), ("rust", "all"));
    assert_eq!(metrics(&summary, "is_seen_whole"), [1, 4321, 0, 4321, 0, 0]);
}

#[test]
fn mimalloc_is_named_wherever_it_is_and_gone_where_it_steps_aside() {
    let fixture = Fixture::copy("mapped");
    if !fixture.cargo("fetch --locked").run().status.success() {
        eprintln!("skipped: the crate `mimalloc` cannot be had");
        return;
    }
    // Its C code takes a while to compile, once.
    let target = workspace::scratch().join("mapped");
    let plain = fixture.cargo("test").env("CARGO_TARGET_DIR", &target).succeed();
    let ran = fixture.memprof("test --memprofilerate 1").env("CARGO_TARGET_DIR", &target).succeed();
    assert_eq!(plain.verdicts(), ran.verdicts());
    let summary = Summary::read(&target.join("memprof"));
    let hidden = summary.test("with_mimalloc");
    assert_eq!((hidden.text("hook"), hidden.text("seen")), ("native", "partial"));
    assert_eq!(metrics(&summary, "with_mimalloc_aside"), [1, 123_456, 0, 123_456, 0, 0]);
    let starts = summary.test("starts_one_with_mimalloc");
    assert_eq!((starts.text("hook"), starts.text("seen")), ("rust", "all"));
    assert_eq!(starts.json["children"][0]["seen"], "partial");
    let warnings = warnings(&ran);
    assert!(warnings.contains("test/hidden, the program `mapped`: the `#[global_allocator]`"), "{}", ran.all());
    assert!(warnings.contains("beside them 1 process that they started (1 partially recorded)"), "{}", ran.all());
    assert!(warnings.contains("#[cfg_attr(not(memprof), global_allocator)]"), "{}", ran.all());
    assert!(!warnings.contains("unexpected `cfg`"), "{}", ran.all());
}

#[test]
fn c_code_is_seen_where_the_native_hook_is_asked_for() {
    let fixture = Fixture::copy("allocators");
    fixture.memprof("test --lib --memprofilerate 1").succeed();
    assert_eq!(metrics(&fixture.summary(), "tests::of_a_static_library"), [0; 6]);
    for rate in ["1", "64"] {
        fixture.memprof(&format!("test --lib --native --memprofilerate {rate}")).succeed();
        let summary = fixture.summary();
        assert_eq!(metrics(&summary, "tests::of_a_static_library"), [4, 442, 1, 330, 1, 12]);
        assert_eq!(metrics(&summary, "tests::of_a_shared_library"), [4, 442, 1, 330, 0, 0]);
        assert_eq!(metrics(&summary, "tests::of_both_sides"), [5, 1442, 1, 1330, 0, 0]);
    }
    fixture.memprof("test --lib --native --memprofilerate 1").succeed();
    if !pprof::can_read() {
        return;
    }
    let raw = Raw::read(&fixture.path("target/memprof/profile.pb.gz"));
    for (work, caller) in [("inside_work", "allocators::inside"), ("outside_work", "allocators::outside")] {
        let of_it: Vec<_> = raw.samples.iter().filter(|sample| sample.functions[0] == work).collect();
        assert!(of_it.len() >= 3, "{work}: {of_it:#?}");
        for sample in of_it {
            assert_eq!(sample.functions[1], caller, "{:?}", sample.functions);
            assert!(sample.functions[2].starts_with("allocators::tests::of_"), "{:?}", sample.functions);
        }
    }
}

#[test]
fn where_no_c_library_can_be_hooked_the_wish_is_refused_with_the_reason() {
    let fixture = Fixture::copy("allocators");
    let ran = fixture.memprof("test --native --target x86_64-unknown-linux-musl").run().ended_with(2);
    assert!(warnings(&ran).contains("only glibc can"), "{}", ran.all());
    let fixture = Fixture::copy("shapes");
    let flags = "-Ctarget-feature=+crt-static";
    let plain = fixture.cargo("test -p odd --test own_allocator").env("RUSTFLAGS", flags).succeed();
    let ran = fixture.memprof("test -p odd --test own_allocator").env("RUSTFLAGS", flags).succeed();
    assert_same(&plain, &ran);
    let warnings = warnings(&ran);
    assert!(warnings.contains("`#[global_allocator]`") && warnings.contains("`crt-static`"), "{warnings}");
}

/// What the tests of `made_by_c` are recorded with, on any machine, and at any rate.
fn assert_blocks_of_cs_are_not_counted(summary: &Summary, is_glibcs: bool, case: &str) {
    // What the blocks that were grown have afterwards: 12 of theirs, of twice the bytes and one.
    let sizes = [1, 8, 16, 24, 100, 1000, 1023, 1024, 1025, 5000, 100_000, 2_000_000_u64];
    let grown: u64 = sizes.iter().map(|size| size * 2 + 1).sum();
    let aligned = (4..13).flat_map(|power| [1, 1024, 50_000_u64].map(|size| size.next_multiple_of(1 << power)));
    let (most, aligned) = aligned.fold((0, 0), |(most, sum), size| (most.max(size * 3 / 2), sum + size * 3 / 2));
    for (name, expected) in [
        ("dropped", [3, 120, 0, 40, 0, 0]),
        ("dropped_where_nothing_is_in_front", [3, 120, 0, 40, 0, 0]),
        ("grown", [15, 120 + grown, 12, 4_000_001, 0, 0]),
        ("aligned_by_c", [30, 120 + aligned, 27, most, 0, 0]),
    ] {
        assert_eq!(metrics(summary, name), expected, "{name} {case}");
    }
    // Of blocks that are given back with another size all are known to be gone, and their sizes: of 80 small ones within 16 bytes, of
    // 40 large ones within 48 where they are glibc's. Never more is given back than was there.
    let other_sizes = summary.test("given_back_with_another_size").metrics();
    assert_eq!((other_sizes.alloc_objects, other_sizes.inuse_objects), (341, 0), "{other_sizes:?} {case}");
    if is_glibcs {
        assert!((0..80 * 16 + 40 * 48).contains(&other_sizes.inuse_space), "{other_sizes:?} {case}");
    }
    // What a thread takes to start is in it; that is below what one of the blocks has.
    let other = metrics(summary, "dropped_by_another_thread");
    assert!(other[1] < 5000 && other[4..] == [0, 0], "{other:?} {case}");
}

#[test]
fn blocks_of_cs_malloc_that_rust_drops_work_as_without_us_and_are_not_counted() {
    let fixture = Fixture::copy("allocators");
    let plain = fixture.cargo("test --test made_by_c -- --test-threads=1").succeed();
    for rate in ["0", "1", "4096", "524288"] {
        let arguments = format!("test --test made_by_c --memprofilerate {rate} -- --test-threads=1");
        let profiled = fixture.memprof(&arguments).succeed();
        assert_same(&plain, &profiled);
        assert_blocks_of_cs_are_not_counted(&fixture.summary(), true, &format!("at rate {rate}"));
    }
    fixture.memprof("test --test made_by_c --native").succeed();
}

#[test]
fn blocks_of_cs_malloc_are_not_counted_where_address_space_is_limited() {
    let fixture = Fixture::copy("allocators");
    fixture.memprof("test --test made_by_c --no-run").succeed();
    for (rate, limit) in [("0", 8_000_000), ("1", 8_000_000), ("4096", 1_500_000), ("524288", 1_500_000)] {
        let line = format!("ulimit -v {limit} && exec cargo memprof test --test made_by_c --memprofilerate {rate}");
        fixture.program("sh").args(["-c", &line]).succeed();
        assert_blocks_of_cs_are_not_counted(&fixture.summary(), true, &format!("at rate {rate}, of {limit} KiB"));
    }
}

#[test]
fn blocks_of_cs_malloc_are_not_counted_where_a_sanitizer_must_know_all_blocks() {
    let fixture = Fixture::copy("allocators");
    for rate in ["0", "1", "524288"] {
        let arguments = format!("test --test made_by_c --memprofilerate {rate}");
        fixture.memprof(&arguments).env("RUSTFLAGS", "--cfg has_a_sanitizers_symbol").succeed();
        assert_blocks_of_cs_are_not_counted(&fixture.summary(), false, &format!("at rate {rate}"));
    }
}
