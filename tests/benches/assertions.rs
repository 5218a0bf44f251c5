//! What it costs to count: one pair of an allocation and a free under the crate `memprof` and under its peers, in one run.
//!
//!     cargo bench -p memprof-tests --bench assertions -- [--rounds N]
//!
//! Every program of `fixtures/counters` runs the same loop over a block of 64 bytes. Runs are interleaved, each right behind one of the
//! uncounted program; printed is what a pair took, and the median of the differences between the two. Once with optimization, once without.

use memprof_tests::{command, workspace};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is measured: its name, program and argument, and pairs that suit its speed.
struct Counter {
    name: &'static str,
    program: &'static str,
    argument: &'static str,
    pairs: u64,
}

const COUNTERS: [Counter; 8] = [
    Counter { name: "memprof, no region open", program: "memprof", argument: "idle", pairs: 400_000 },
    Counter {
        name: "memprof, a region open on another thread",
        program: "memprof",
        argument: "elsewhere",
        pairs: 400_000,
    },
    Counter { name: "memprof, within `assert_allocs!`", program: "memprof", argument: "counting", pairs: 400_000 },
    Counter {
        name: "memprof, within `measure`, which follows each block",
        program: "memprof",
        argument: "measure",
        pairs: 100_000,
    },
    Counter { name: "stats_alloc 0.1.10", program: "stats-alloc", argument: "", pairs: 400_000 },
    Counter { name: "allocation-counter 0.8.1", program: "allocation-counter", argument: "", pairs: 400_000 },
    Counter { name: "cap 0.1.2", program: "cap", argument: "", pairs: 400_000 },
    Counter { name: "dhat 0.3.3, testing", program: "dhat", argument: "", pairs: 5_000 },
];

fn main() {
    let rounds = rounds();
    for (profile, heading) in [("release", "with optimization"), ("dev", "without optimization")] {
        let folder = match build(profile) {
            Ok(folder) => folder,
            Err(why) => {
                println!("skipped, {heading}: {why}");
                continue;
            }
        };
        println!("\n| {heading} | ns a pair | more than uncounted |\n| --- | --- | --- |");
        for counter in &COUNTERS {
            let pairs: Vec<(f64, f64)> = (0..rounds)
                .filter_map(|_| {
                    let counted = run(&folder, counter.program, counter.argument, counter.pairs)?;
                    Some((counted, run(&folder, "plain", "", counter.pairs)?))
                })
                .collect();
            if pairs.is_empty() {
                println!("| {} | FAILED | |", counter.name);
                continue;
            }
            let counted = median(pairs.iter().map(|(counted, _)| *counted));
            let more = median(pairs.iter().map(|(counted, plain)| counted - plain));
            println!("| {} | {counted:.1} | {more:+.1} |", counter.name);
        }
    }
}

fn rounds() -> usize {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("--rounds"), Some(rounds)) => rounds.parse().expect("`--rounds` needs a number"),
        _ => 25,
    }
}

/// The folder of the programs.
fn build(profile: &str) -> Result<PathBuf, String> {
    let target = workspace::scratch().join("counters");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command::clean(&mut cargo);
    cargo.args(["build", "--quiet", "--bins", "--profile", profile, "--target-dir"]).arg(&target);
    cargo.current_dir(workspace::fixtures().join("counters"));
    let output = cargo.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(target.join(if profile == "dev" { "debug" } else { profile }))
}

/// Nanoseconds of one pair; `None` where the program fails.
fn run(folder: &Path, program: &str, argument: &str, pairs: u64) -> Option<f64> {
    let mut command = Command::new(folder.join(program));
    command::clean(&mut command);
    let output = command.arg(pairs.to_string()).arg(argument).stderr(Stdio::inherit()).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
