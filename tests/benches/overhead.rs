//! The cost of profiling: the workloads of `fixtures/workloads` under plain `cargo test`, under `cargo memprof`, and
//! under the profilers people use today, in one run.
//!
//!     cargo bench -p memprof-tests --bench overhead -- [--rounds N] [--scale S] [PROFILER…]
//!
//! Runs are interleaved: each of a profiler's runs has one of its own base right before it, and what is printed is the
//! median of the pairs' ratios. All times are the workload's own (user and system, all threads), so start-up and
//! writing a report are not in them. A profiler whose toolchain is not installed is skipped, and says so.

use memprof_tests::workloads::{Built, Run, Workbench};
use std::path::Path;
use std::time::Instant;

/// A profiler: how it is built, what it is compared with, and how long it can be let run.
struct Profiler {
    name: &'static str,
    build: Build,
    base: &'static str,
    /// Of the scale that was asked for: slow ones get less to do, and so does their base.
    share: f64,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Build {
    /// `cargo test --release`, with this feature of the fixture.
    Plain(&'static str),
    /// The same with frame pointers, on the nightly toolchain.
    Nightly(&'static str),
    /// `cargo memprof test --release`.
    Ours,
}

const PROFILERS: [Profiler; 10] = [
    Profiler {
        name: "cargo memprof, rate 1",
        build: Build::Ours,
        base: "unprofiled",
        share: 1.0,
        arguments: &["--memprofilerate", "1"],
        environment: &[],
    },
    Profiler {
        name: "cargo memprof, default rate",
        build: Build::Ours,
        base: "unprofiled",
        share: 1.0,
        arguments: &["--memprofilerate", "524288"],
        environment: &[],
    },
    Profiler {
        name: "cargo memprof, rate 0",
        build: Build::Ours,
        base: "unprofiled",
        share: 1.0,
        arguments: &["--memprofilerate", "0"],
        environment: &[],
    },
    Profiler {
        name: "dhat-rs 0.3.3, 10 frames",
        build: Build::Plain("dhat"),
        base: "unprofiled",
        share: 0.05,
        arguments: &[],
        environment: &[],
    },
    Profiler {
        name: "dhat-rs 0.3.3, all frames",
        build: Build::Plain("dhat"),
        base: "unprofiled",
        share: 0.02,
        arguments: &[],
        environment: &[("PEER_FRAMES", "all")],
    },
    Profiler {
        name: "heapscope 0.3, every allocation",
        build: Build::Nightly("heapscope"),
        base: "unprofiled, nightly",
        share: 0.5,
        arguments: &[],
        environment: &[],
    },
    Profiler {
        name: "heapscope 0.3, 512 KiB",
        build: Build::Nightly("heapscope"),
        base: "unprofiled, nightly",
        share: 1.0,
        arguments: &[],
        environment: &[("PEER_RATE", "524288")],
    },
    Profiler {
        name: "mod-alloc 1.0, 8 frames, no frees",
        build: Build::Plain("mod-alloc"),
        base: "unprofiled",
        share: 1.0,
        arguments: &[],
        environment: &[("MOD_ALLOC_BUCKETS", "1048576")],
    },
    Profiler {
        name: "jemalloc, lg_prof_sample 0",
        build: Build::Plain("jemalloc-prof"),
        base: "jemalloc",
        share: 0.05,
        arguments: &[],
        environment: &[("_RJEM_MALLOC_CONF", "prof:true,lg_prof_sample:0")],
    },
    Profiler {
        name: "jemalloc, lg_prof_sample 19",
        build: Build::Plain("jemalloc-prof"),
        base: "jemalloc",
        share: 1.0,
        arguments: &[],
        environment: &[("_RJEM_MALLOC_CONF", "prof:true,lg_prof_sample:19")],
    },
];

const WORKLOADS: [&str; 7] = ["w1", "w2", "w3x1", "w3", "w3x4", "w4", "w5"];

/// What the command line asked for.
struct Request {
    rounds: usize,
    scale: f64,
    names: Vec<String>,
}

fn main() {
    let request = request();
    let bench = Workbench::new();
    println!("# {}", bench.about());
    println!("# {} rounds, scale {}; medians of pairs\n", request.rounds, request.scale);
    println!("| profiler | workload | own cpu | ns per alloc+free | peak RSS | output KiB |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let counts = count_allocations(&bench);
    for profiler in &PROFILERS {
        if !request.names.is_empty() && !request.names.iter().any(|name| profiler.name.contains(name.as_str())) {
            continue;
        }
        match (build(&bench, profiler.build), base(&bench, profiler.base)) {
            (Ok(profiled), Ok(base)) => compare(&request, profiler, &profiled, &base, &counts),
            (Err(why), _) | (_, Err(why)) => println!("| {} | skipped: {why} | | | | |", profiler.name),
        }
    }
    cliffs(&bench, &request);
    report_writing(&bench, request.scale);
}

/// What the walk of a stack costs at rate 1, as the ratio of the same blocks below two kinds of stack.
fn cliffs(bench: &Workbench, request: &Request) {
    const CLIFFS: [(&str, &str, &str); 13] = [
        ("200 frames, over 120", "deep_200", "deep_120"),
        ("2000 frames, over 200", "deep_2000", "deep_200"),
        ("10000 frames, over 2000", "deep_10000", "deep_2000"),
        ("40 frames on another stack, over the thread's own", "elsewhere_40", "deep_40"),
        ("120 frames on another stack, over the thread's own", "elsewhere_120", "deep_120"),
        ("2000 frames on another stack, over the thread's own", "elsewhere_2000", "deep_2000"),
        ("10000 frames on another stack, over the thread's own", "elsewhere_10000", "deep_10000"),
        ("40 frames in a signal handler on its own stack", "handler_40", "deep_40"),
        ("40 frames, and code of C without frame pointers", "c_40", "deep_40"),
        ("40 frames below made code, where stacks end marked", "marked_40", "deep_40"),
        ("200000 frames, over 100000", "deep_200000", "deep_100000"),
        ("two call sites in turn below 120 frames of C, over Rust's", "in_turn_c_120", "in_turn_120"),
        ("a recursion that allocates at each of 16000 levels, over 8000", "levels_16000", "levels_8000"),
    ];
    let ours = bench.ours().expect("our own build works");
    println!("\n| the walk at rate 1 | own cpu |");
    println!("| --- | --- |");
    for (what, workload, base) in CLIFFS {
        let run = |workload: &str| {
            ours.run(&format!("cliffs::{workload}"), request.scale / 10.0, &["--memprofilerate", "1"], &[])
        };
        let pairs: Vec<(Run, Run)> = (0..request.rounds).filter_map(|_| run(workload).zip(run(base))).collect();
        if pairs.is_empty() {
            println!("| {what} | FAILED |");
            continue;
        }
        println!("| {what} | {:.2}× |", median(&pairs, |(with, without)| with.cpu_ns / without.cpu_ns));
    }
}

fn request() -> Request {
    let mut request = Request { rounds: 5, scale: 0.3, names: Vec::new() };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => request.rounds = arguments.next().and_then(|n| n.parse().ok()).expect("--rounds N"),
            "--scale" => request.scale = arguments.next().and_then(|s| s.parse().ok()).expect("--scale S"),
            _ => request.names.push(argument),
        }
    }
    request
}

fn build(bench: &Workbench, build: Build) -> Result<Built, String> {
    match build {
        Build::Plain(feature) => bench.plain(feature),
        Build::Nightly(feature) => bench.nightly(feature),
        Build::Ours => bench.ours(),
    }
}

fn base(bench: &Workbench, name: &str) -> Result<Built, String> {
    match name {
        "jemalloc" => bench.plain("jemalloc"),
        "unprofiled, nightly" => bench.nightly(""),
        _ => bench.plain(""),
    }
}

/// Allocations of each workload at a scale of 1, by our own exact counters.
fn count_allocations(bench: &Workbench) -> Vec<f64> {
    let ours = bench.ours().expect("our own build works");
    let count = |workload: &&str| {
        // Both are whole rounds of the workloads that have rounds. What does not depend on the scale falls out.
        let [small, large] = [0.125, 0.25].map(|scale| ours.allocations(workload, scale) as f64);
        (large - small) / 0.125
    };
    WORKLOADS.iter().map(count).collect()
}

fn compare(request: &Request, profiler: &Profiler, profiled: &Built, base: &Built, counts: &[f64]) {
    for (workload, count) in WORKLOADS.iter().zip(counts) {
        // W2 and W5 do whole rounds of something, of an eighth and a sixteenth of a second.
        let round = match *workload {
            "w2" => 0.125,
            "w5" => 0.0625,
            _ => 0.0,
        };
        let scale = whole_rounds(request.scale * profiler.share, round);
        let mut pairs: Vec<(Run, Run)> = Vec::new();
        for _ in 0..request.rounds {
            let with = profiled.run(workload, scale, profiler.arguments, profiler.environment);
            let without = base.run(workload, scale, &[], &[]);
            match (with, without) {
                (Some(with), Some(without)) => pairs.push((with, without)),
                _ => println!("| {} | {workload} | FAILED | | | |", profiler.name),
            }
        }
        if pairs.is_empty() {
            continue;
        }
        let own = median(&pairs, |(with, without)| with.cpu_ns / without.cpu_ns);
        let added = median(&pairs, |(with, without)| (with.cpu_ns - without.cpu_ns) / (count * scale));
        let rss = median(&pairs, |(with, without)| with.rss_kib / without.rss_kib);
        let output = median(&pairs, |(with, _)| with.output_kib);
        println!("| {} | {workload} | {own:.2}× | {added:.1} | {rss:.2}× | {output:.0} |", profiler.name);
    }
}

/// `scale` as a multiple of `round`, once at the least; unchanged where there are no rounds.
fn whole_rounds(scale: f64, round: f64) -> f64 {
    if round == 0.0 { scale } else { (scale / round).round().max(1.0) * round }
}

fn median(pairs: &[(Run, Run)], metric: impl Fn(&(Run, Run)) -> f64) -> f64 {
    let mut metrics: Vec<f64> = pairs.iter().map(metric).collect();
    metrics.sort_by(f64::total_cmp);
    metrics[metrics.len() / 2]
}

/// From ledgers to every file, for the workload with the most stacks: the time between cargo's end and ours.
fn report_writing(bench: &Workbench, scale: f64) {
    let scale = scale.max(0.0625);
    println!("\n| from ledger to every output, W5 at rate 1 | wall ms | profile.pb.gz KiB |");
    println!("| --- | --- | --- |");
    for name in ["first run (symbols resolved)", "second run (symbols cached)"] {
        let started = Instant::now();
        let run = bench.whole_run("w5", scale);
        let total = started.elapsed();
        let writing = total.saturating_sub(run.until_tests_ended);
        println!("| {name} | {} | {} |", writing.as_millis(), kib(&run.profile));
    }
}

fn kib(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len() / 1024)
}
