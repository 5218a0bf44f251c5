//! The cost of all outputs of a test with very many stacks: the time and the memory of `cargo memprof` itself, on a
//! copy of `fixtures/branching`.
//!
//!     cargo bench -p memprof-tests --bench million -- [CHOICES…]
//!
//! Each number of choices between two calls makes twice as many stacks as the one before it; 17 and 20 if none is given. What is
//! printed is one run of each: the metrics do not vary by much, and the largest takes its time.

use memprof_tests::fixture::Fixture;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Each with the variable that has its number of choices.
const TESTS: [(&str, &str); 2] =
    [("stacks_that_share_their_callers", "BRANCHING_CHOICES"), ("stacks_that_share_little", "BRANCHING_CHOICES_APART")];

fn main() {
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let mut choices: Vec<u32> = arguments.map(|argument| argument.parse().expect("a number of choices")).collect();
    if choices.is_empty() {
        choices = vec![17, 20];
    }
    let fixture = Fixture::copy("branching");
    // Everything is compiled and every symbol resolved before the clock starts.
    fixture.memprof("test --memprofilerate 1").succeed();
    println!("| test | stacks | own cpu s | own peak RSS MiB | wall s | ledger MiB | profile.pb.gz KiB |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (name, variable) in TESTS {
        for &choices in &choices {
            println!("| {name} | {} | {} |", 1u64 << choices, run(&fixture, name, variable, choices));
        }
    }
}

/// The row's metrics.
fn run(fixture: &Fixture, name: &str, variable: &str, choices: u32) -> String {
    let call = fixture.memprof("test --memprofilerate 1 --keep-ledgers --lib --").arg(name);
    let mut call = call.env(variable, choices.to_string());
    let begun = Instant::now();
    let started = call.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let (cpu, peak) = watched(started.expect("cargo starts"));
    let wall = begun.elapsed().as_secs_f64();
    let output = fixture.path("target/memprof");
    let ledgers = fs::read_dir(output.join("ledgers")).expect("the ledgers were kept");
    let ledger: u64 = ledgers.map(|entry| entry.map_or(0, |entry| len(&entry.path()))).sum();
    let profile = len(&output.join("profile.pb.gz")) / 1024;
    format!("{cpu:.1} | {} | {wall:.1} | {} | {profile}", peak / 1024, ledger >> 20)
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Waits for a process, which becomes `cargo memprof`; gives its own CPU seconds and its peak in KiB, its children's not included.
fn watched(mut child: Child) -> (f64, u64) {
    let (mut cpu, mut peak) = (0.0f64, 0);
    let process = Path::new("/proc").join(child.id().to_string());
    while child.try_wait().expect("it can be waited for").is_none() {
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let high = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let high = high.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
        peak = peak.max(high.unwrap_or(0));
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        // Behind the name: user time and system time are the 14th and 15th field of all, in hundredths of a second.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
        let ticks = |at: usize| fields.as_ref().and_then(|fields| fields.get(at)).and_then(|text| text.parse().ok());
        cpu = cpu.max((ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0);
        thread::sleep(Duration::from_millis(10));
    }
    (cpu, peak)
}
