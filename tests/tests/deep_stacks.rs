//! The test is in every stack, however deep that is and whatever it leads through; what is left out of a stack is said.

use memprof_tests::fixture::Fixture;
use memprof_tests::pprof::{Raw, can_read};
use memprof_tests::summary::Summary;

/// The functions of each stack through `function`, innermost first; `None` where nothing can read them.
fn stacks(summary: &Summary, test: &str, function: &str) -> Option<Vec<Vec<String>>> {
    can_read().then(|| {
        let raw = Raw::read(&summary.test(test).file("profile"));
        raw.through(function).into_iter().map(|sample| sample.functions.clone()).collect()
    })
}

fn losses(summary: &Summary, test: &str) -> [u64; 2] {
    let losses = &summary.test(test).json["losses"];
    ["truncated_stacks", "unwalkable_stacks"].map(|loss| losses[loss].as_u64().expect("a number"))
}

#[test]
fn of_a_deep_stack_both_ends_are_kept_as_many_frames_as_are_asked_for() {
    let fixture = Fixture::copy("deep");
    fixture.write(".config/memprof.toml", "stack-depth = 64\n");
    for (flags, depth) in [("", 64), (" --stack-depth=32", 32), (" --stack-depth 1024", 1024)] {
        let output = fixture.memprof(&format!("test --memprofilerate 1{flags} recursion")).succeed();
        let summary = fixture.summary();
        assert_eq!(summary.test("recursion").metrics().alloc_objects, 10);
        let is_cut = depth < 300;
        assert_eq!(losses(&summary, "recursion"), [u64::from(is_cut), 0]);
        assert_eq!(output.stderr.contains("frames in the middle are left out"), is_cut, "{}", output.stderr);
        let Some(stacks) = stacks(&summary, "recursion", "deep::descend") else { continue };
        let [stack] = stacks.as_slice() else { panic!("{stacks:?}") };
        assert!(stack.iter().any(|function| function == "deep::recursion"), "{stack:?}");
        let marks: Vec<_> = stack.iter().filter(|function| function.ends_with("frames left out]")).collect();
        assert_eq!(marks.len(), usize::from(is_cut), "{stack:?}");
        let calls = stack.iter().filter(|function| *function == "deep::descend").count();
        assert!(if is_cut { calls < depth } else { calls == 301 }, "{calls}");
    }
}

/// The first stack of a lane may be longer than the chunk that it has at first, and one that is cut is longer by a word.
#[test]
fn stacks_of_any_length_are_written_whole_at_every_depth() {
    let fixture = Fixture::copy("deep");
    for (flags, depth) in [("--stack-depth 16", 16), ("--release --stack-depth 511", 511), ("--stack-depth 1024", 1024)]
    {
        let output = fixture.memprof(&format!("test --memprofilerate 1 {flags} very_deep")).succeed();
        assert!(!output.stderr.contains("could not"), "{}", output.stderr);
        let summary = fixture.summary();
        let test = summary.test("very_deep");
        assert_eq!((test.metrics().alloc_objects, test.metrics().alloc_space), (1501, 150_100));
        let losses = &test.json["losses"];
        assert_eq!(
            [&losses["unattributed_objects"], &losses["unreadable_sites"], &losses["unwalkable_stacks"]],
            [0; 3]
        );
        // Outside of `descend` are the test and what called it, inside of it what allocates; of those at the outer end, 12 are kept.
        let kept = depth - depth / 4 + (depth / 4).max(12);
        let cut = losses["truncated_stacks"].as_u64().expect("a number");
        assert!((1501 - kept..1501 - kept + 24).contains(&cut), "{cut} of {depth}");
        if !can_read() {
            continue;
        }
        let raw = Raw::read(&test.file("profile"));
        let through = raw.through("deep::descend");
        assert_eq!(through.iter().map(|sample| sample.values[0]).sum::<i64>(), 1501);
        let has = |functions: &[String], name: &str| functions.iter().any(|function| function == name);
        assert!(through.iter().all(|sample| has(&sample.functions, "deep::very_deep")));
        let mark =
            |function: &String| function.strip_prefix('[')?.strip_suffix(" frames left out]")?.parse::<usize>().ok();
        let most = through.iter().flat_map(|sample| sample.functions.iter().filter_map(mark)).max();
        // Of the deepest stack, what is not kept.
        let most = most.expect("one is cut") + kept as usize;
        assert!((5002..5026).contains(&most), "{most}");
    }
}

#[test]
fn the_root_of_a_stack_is_kept_however_deep_that_is() {
    let fixture = Fixture::copy("deep");
    fixture.memprof("test --memprofilerate 1 deepest").succeed();
    let summary = fixture.summary();
    assert_eq!(losses(&summary, "deepest"), [2, 0]);
    if !can_read() {
        return;
    }
    let raw = Raw::read(&summary.test("deepest").file("profile"));
    let through = raw.through("deep::descend");
    let mut seen: Vec<_> = through
        .iter()
        .map(|sample| {
            assert!(sample.functions.iter().any(|function| function.contains("deep::deepest")), "{sample:?}");
            let mark = |function: &String| -> Option<usize> {
                function.strip_prefix('[')?.strip_suffix(" frames left out]")?.parse().ok()
            };
            let left_out: usize = sample.functions.iter().filter_map(mark).sum();
            let depth = left_out + sample.functions.len() - 1;
            (sample.values[0], depth)
        })
        .collect();
    seen.sort_unstable();
    let [(1, deepest), (10, deep)] = seen.as_slice() else { panic!("{seen:?}") };
    assert!((1_100_001..1_100_030).contains(deepest) && (300_001..300_030).contains(deep), "{seen:?}");
}

#[test]
fn a_benchmarks_stacks_are_kept_as_deep_as_is_asked_for() {
    let fixture = Fixture::copy("deep");
    let manifest = fixture.read("Cargo.toml");
    let target = "[[bench]]\nname = \"descending\"\nharness = false\n\n[workspace]";
    fixture.write("Cargo.toml", &manifest.replace("[workspace]", target));
    let source = "use std::hint::black_box;\n\n#[inline(never)]\nfn descend(calls: usize) -> usize {\n    \
                  if calls == 0 {\n        return black_box(vec![1_u8; 100]).len();\n    }\n    \
                  let len = descend(calls - 1);\n    black_box(len)\n}\n\n\
                  fn main() {\n    for _ in 0..black_box(10) {\n        descend(300);\n    }\n}\n";
    fixture.write("benches/descending.rs", source);
    for depth in [64, 512] {
        fixture.memprof(&format!("bench --bench descending --memprofilerate 1 --stack-depth {depth}")).succeed();
        let summary = fixture.summary();
        let tests = summary.tests();
        let [test] = tests.as_slice() else { panic!("{}", tests.len()) };
        let is_cut = depth < 300;
        assert_eq!(losses(&summary, test.name()), [u64::from(is_cut), 0], "{depth}");
        let Some(stacks) = stacks(&summary, test.name(), "descending::descend") else { continue };
        let [stack] = stacks.as_slice() else { panic!("{stacks:?}") };
        assert!(stack.iter().any(|function| function == "descending::main"), "{stack:?}");
        assert_eq!(stack.iter().any(|function| function.ends_with("frames left out]")), is_cut, "{stack:?}");
        let calls = stack.iter().filter(|function| *function == "descending::descend").count();
        assert!(if is_cut { (20..64).contains(&calls) } else { calls == 301 }, "{depth}: {calls}");
    }
}

#[test]
fn a_depth_that_cannot_be_kept_is_refused() {
    let fixture = Fixture::copy("deep");
    for depth in ["15", "1025", "deep"] {
        let output = fixture.memprof(&format!("test --stack-depth {depth}")).run().ended_with(2);
        assert!(output.stderr.contains(&format!("cannot use `{depth}` as the number of frames")), "{}", output.stderr);
    }
    fixture.write(".config/memprof.toml", "stack-depth = 5000\n");
    let output = fixture.memprof("test").run().ended_with(2);
    assert!(output.stderr.contains("5000 is not from 16 to 1024"), "{}", output.stderr);
}

#[test]
fn what_the_c_library_calls_back_has_the_test_in_a_handful_of_stacks() {
    let fixture = Fixture::copy("deep");
    fixture.memprof("test --memprofilerate 1 sorting").succeed();
    let summary = fixture.summary();
    let metrics = summary.test("sorting").metrics();
    assert!(metrics.alloc_objects > 400_000, "{metrics:?}");
    assert_eq!((losses(&summary, "sorting"), metrics.inuse_space), ([0, 0], 0));
    let distinct = summary.test("sorting").json["stacks"].as_u64().expect("a number");
    assert!(distinct <= 8, "{distinct}");
    let Some(stacks) = stacks(&summary, "sorting", "deep::compare") else { return };
    let mut deepest = 0;
    for stack in stacks {
        for caller in ["deep::sort", "deep::sorting"] {
            assert!(stack.iter().any(|function| function == caller), "{caller} is not in {stack:?}");
        }
        assert!(stack.iter().any(|function| function.contains("qsort")), "{stack:?}");
        // What calls itself is seen at both ends of its rounds, and what is between them is said to be missing.
        let gaps: Vec<_> = (1..stack.len() - 1).filter(|&at| stack[at] == "[frames left out]").collect();
        let is_c = |function: &String| !function.starts_with("deep::");
        assert!(gaps.iter().all(|&at| is_c(&stack[at - 1]) && is_c(&stack[at + 1])), "{stack:?}");
        deepest = deepest.max(gaps.len());
    }
    assert_eq!(deepest, 1);
}
