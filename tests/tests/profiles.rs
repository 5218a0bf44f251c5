//! The profiles are what `go tool pprof` takes them for: the right functions, lines and numbers, of each test and of the
//! run.

use memprof_tests::fixture::Fixture;
use memprof_tests::pprof::{Raw, can_read, pprof};
use memprof_tests::summary::Test;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The fixture, recorded once with every allocation.
fn recorded() -> &'static Fixture {
    static RECORDED: OnceLock<Fixture> = OnceLock::new();
    RECORDED.get_or_init(|| {
        let fixture = Fixture::copy("known");
        fixture.memprof("test --memprofilerate 1").succeed();
        fixture
    })
}

fn profile(test: &str) -> PathBuf {
    recorded().summary().test(&format!("tests::{test}")).file("profile")
}

/// The line of the fixture's source with this text in it.
fn line_with(text: &str) -> usize {
    let source = recorded().read("src/lib.rs");
    let mut lines = source.lines().enumerate().filter(|(_, line)| line.contains(text));
    let (number, _) = lines.next().unwrap_or_else(|| panic!("no line with `{text}`"));
    assert_eq!(lines.next(), None, "`{text}` stands on two lines");
    number + 1
}

#[test]
fn sample_types_are_gos_and_then_ours() {
    if !can_read() {
        return;
    }
    for profile in [profile("three_deep"), recorded().path("target/memprof/profile.pb.gz")] {
        let raw = Raw::read(&profile);
        let expected = [
            "alloc_objects/count",
            "alloc_space/bytes[dflt]",
            "inuse_objects/count",
            "inuse_space/bytes",
            "peak_objects/count",
            "peak_space/bytes",
            "reallocs/count",
        ];
        assert_eq!(raw.sample_types[..7], expected);
        assert_eq!(raw.period, "1");
    }
}

#[test]
fn lifetimes_are_those_of_each_stack() {
    if !can_read() {
        return;
    }
    let fixture = Fixture::copy("known");
    fixture.write(
        "tests/lives.rs",
        "use std::hint::black_box;\n\
         #[inline(never)]\nfn dies_at_once() {\n    drop(black_box(vec![1_u8; 100]));\n}\n\
         #[inline(never)]\nfn dies_soon() -> Vec<u8> {\n    black_box(vec![1_u8; 200])\n}\n\
         #[inline(never)]\nfn lives_long() -> Vec<u8> {\n    black_box(vec![1_u8; 300])\n}\n\
         #[inline(never)]\nfn passes(bytes: usize) {\n    std::mem::forget(black_box(vec![1_u8; bytes]));\n}\n\
         #[test]\nfn lives() {\n    for _ in 0..3 {\n        dies_at_once();\n        let soon = dies_soon();\n        \
         passes(4096);\n        drop(soon);\n        let long = lives_long();\n        passes(4097);\n        \
         drop(long);\n    }\n}\n",
    );
    fixture.memprof("test --test lives --memprofilerate 1").succeed();
    let summary = fixture.summary();
    let lifetimes = &summary.test("lives").json["lifetimes"];
    let sums =
        ["frees", "lifetime_space", "temporary_objects", "short_lived_objects"].map(|name| lifetimes[name].as_u64());
    assert_eq!(sums, [9, 3 * 4096 + 3 * 4097, 3, 6].map(Some));
    let raw = Raw::read(&summary.test("lives").file("profile"));
    let metrics = ["lifetime_space", "temporary_objects", "short_lived_objects"].map(|name| raw.position(name));
    for (function, expected) in [
        ("dies_at_once", [0, 3, 3]),
        // No more than 4096 bytes were allocated meanwhile.
        ("dies_soon", [3 * 4096, 0, 3]),
        ("lives_long", [3 * 4097, 0, 0]),
        ("passes", [0, 0, 0]),
    ] {
        let through = raw.through(&format!("lives::{function}"));
        let found = metrics.map(|at| through.iter().map(|sample| sample.values[at]).sum::<i64>());
        assert_eq!(found, expected, "{function}");
    }
}

#[test]
fn comments_name_test_rate_and_command() {
    if !can_read() {
        return;
    }
    let comments = Raw::read(&profile("three_deep")).comments.join("\n");
    for text in ["tests::three_deep", "rate: 1", "cargo memprof test --memprofilerate 1"] {
        assert!(comments.contains(text), "{comments}");
    }
}

#[test]
fn the_stacks_add_up_to_the_exact_metrics() {
    if !can_read() {
        return;
    }
    let summary = recorded().summary();
    let run = Raw::read(&recorded().path("target/memprof/profile.pb.gz"));
    for test in summary.tests() {
        let metrics = test.metrics();
        if metrics.alloc_objects == 0 {
            continue;
        }
        let raw = Raw::read(&test.file("profile"));
        for (sample_type, metric) in [
            ("alloc_objects", metrics.alloc_objects as i64),
            ("alloc_space", metrics.alloc_space as i64),
            ("inuse_objects", metrics.inuse_objects),
            ("inuse_space", metrics.inuse_space),
            ("reallocs", metrics.reallocs as i64),
        ] {
            assert_eq!(raw.total(sample_type), metric, "{sample_type} of {}", test.name());
            assert_eq!(total_of(&run, &test, sample_type), metric, "{sample_type} of {} in the run", test.name());
        }
        if test.json["peak_error"] == 0 {
            assert_eq!(raw.total("peak_space"), metrics.peak_space as i64, "{}", test.name());
        }
    }
}

/// One test's part of the run's profile.
fn total_of(run: &Raw, test: &Test<'_>, sample_type: &str) -> i64 {
    let at = run.position(sample_type);
    let label = test.name();
    // The label says the package and, where it is not the library, the target in front of the name.
    let ours = |label_of: &String| label_of.trim_end_matches(']').ends_with(label);
    run.samples.iter().filter(|sample| sample.labels.iter().any(ours)).map(|sample| sample.values[at]).sum()
}

#[test]
fn top_shows_functions_and_their_shares() {
    if !can_read() {
        return;
    }
    let top = pprof(&["-top", "-cum", "-focus=known::"], &profile("three_deep"));
    for (function, cumulated) in [
        ("known::tests::three_deep", "600B"),
        ("known::three_deep", "600B"),
        ("known::middle", "500B"),
        ("known::innermost", "300B"),
    ] {
        let line = top.lines().find(|line| line.ends_with(function)).unwrap_or_else(|| panic!("no {function}: {top}"));
        let columns: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(columns[3], cumulated, "{top}");
    }
    assert!(top.contains("Type: alloc_space"), "{top}");
}

#[test]
fn peek_shows_callers_and_callees() {
    if !can_read() {
        return;
    }
    let peek = pprof(&["-peek", "known::middle$"], &profile("three_deep"));
    let part = |function: &str, amount: &str| {
        let mut lines = peek.lines().filter(|line| line.trim_end().ends_with(function));
        assert!(lines.any(|line| line.contains(amount)), "{function} {amount}: {peek}");
    };
    part("|   known::three_deep", "500B");
    part("|   known::innermost", "300B");
    part("| known::middle", "500B");
}

#[test]
fn list_shows_the_lines_that_allocate() {
    if !can_read() {
        return;
    }
    let list = pprof(&["-list", "known::(middle|innermost|three_deep)$"], &profile("three_deep"));
    for (text, amount) in [
        ("let held = vec![1_u8; 100];", "100B"),
        ("let held = vec![2_u8; 200];", "200B"),
        ("    innermost();", "300B"),
        ("black_box(vec![3_u8; 300]);", "300B"),
    ] {
        let number = line_with(text);
        let is_it = |line: &&str| line.contains(&format!("{number}:")) && line.contains(text.trim());
        let line = list.lines().find(is_it).unwrap_or_else(|| panic!("no line {number}: {list}"));
        assert!(line.contains(amount), "{line}");
    }
}

#[test]
fn an_inlined_function_is_a_frame_of_its_own() {
    if !can_read() {
        return;
    }
    let raw = Raw::read(&profile("inlined"));
    let [sample] = &raw.samples[..] else { panic!("{raw:?}") };
    let at = sample.functions.iter().position(|name| name == "known::has_no_frame").expect("the inlined function");
    assert_eq!(sample.functions[at + 1..], ["known::inlined", "known::tests::inlined"]);
    assert!(sample.lines[at].ends_with(&format!("src/lib.rs:{}", line_with("vec![7; 77]"))), "{sample:?}");
    assert!(sample.lines[at + 1].ends_with(&format!("src/lib.rs:{}", line_with("black_box(has_no_frame());"))));
}

#[test]
fn the_stack_of_a_test_begins_with_the_test() {
    if !can_read() {
        return;
    }
    for test in recorded().summary().tests() {
        if test.metrics().alloc_objects == 0 || test.json["threads"] != 1 {
            continue;
        }
        for sample in Raw::read(&test.file("profile")).samples {
            let root = sample.functions.last().expect("a stack is not empty");
            assert!(root.ends_with(test.name()), "{sample:?}");
            // The allocator's own functions say nothing to anyone.
            let leaf = sample.functions.first().expect("as above");
            assert!(!leaf.contains("__rust") && !leaf.contains("memprof"), "{sample:?}");
        }
    }
}

#[test]
fn the_peak_is_shown_where_it_was_made() {
    if !can_read() {
        return;
    }
    let raw = Raw::read(&profile("three_peaks"));
    let at = raw.position("peak_space");
    let peak = |function: &str| raw.through(function).iter().map(|sample| sample.values[at]).sum::<i64>();
    assert_eq!(peak("known::highest_peak"), 3000);
    assert_eq!((peak("known::first_peak"), peak("known::last_peak")), (0, 0));
}

#[test]
fn threads_are_seen_with_their_own_stacks() {
    if !can_read() {
        return;
    }
    let raw = Raw::read(&profile("threads"));
    let in_thread = raw.through("known::in_thread");
    let sum = |at: usize| in_thread.iter().map(|sample| sample.values[at]).sum::<i64>();
    assert_eq!((sum(0), sum(1)), (40, 40_000));
}

#[test]
fn a_test_that_leaks_everything_keeps_all_columns() {
    if !can_read() {
        return;
    }
    let raw = Raw::read(&profile("leaks"));
    assert_eq!((raw.total("alloc_space"), raw.total("inuse_space"), raw.total("inuse_objects")), (120, 120, 3));
    let top = pprof(&["-top", "-sample_index=inuse_space"], &profile("leaks"));
    assert!(top.contains("Total samples = 120B") || top.contains("of 120B total"), "{top}");
}

#[test]
fn samples_of_the_run_can_be_chosen_by_test() {
    if !can_read() {
        return;
    }
    let run = recorded().path("target/memprof/profile.pb.gz");
    let top = pprof(&["-top", "-tagfocus=test=tests::zeroed"], &run);
    assert!(top.contains("known::zeroed") && !top.contains("known::leaks"), "{top}");
}

#[test]
fn sampled_stacks_are_scaled_to_an_estimate_of_everything() {
    if !can_read() {
        return;
    }
    let fixture = Fixture::copy("known");
    // 64 blocks of a mebibyte at the default rate of half a one: each is seen with a probability of 86 %.
    fixture.memprof("test --lib megabytes").succeed();
    let summary = fixture.summary();
    let raw = Raw::read(&summary.test("tests::megabytes").file("profile"));
    let estimate = raw.total("alloc_space") as f64;
    let truth = f64::from(64 << 20);
    // The seed is fixed. Standard error of the estimate: sqrt((1 - p) / (64 p)) = 5 %; four of them.
    assert!((estimate / truth - 1.0).abs() < 0.2, "{estimate}");
    assert_eq!(raw.period, "524288");
    let blocks = estimate / f64::from(1 << 20);
    assert!((raw.total("alloc_objects") as f64 - blocks).abs() <= 1.0, "{blocks}");
}

#[test]
fn a_run_without_samples_says_so_and_how_to_get_some() {
    let fixture = Fixture::copy("known");
    let ran = fixture.memprof("test --lib one_box").succeed();
    assert!((ran.stdout + &ran.stderr).contains("--memprofilerate 1"));
    assert_eq!(fixture.summary().test("tests::one_box").metrics().alloc_objects, 1);
}
