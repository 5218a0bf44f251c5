//! Whether allocation tests ever give a wrong verdict: the patterns of `fixtures/counting`, run again and again beside eight busy threads
//! under plain `cargo test`, with as many threads as by default and with 64, and then under `cargo memprof test`.
//!
//!     cargo bench --profile dev -p memprof-tests --bench patterns -- [--runs N]
//!
//! One run in eleven has an allocation planted in each pattern, which has to fail it, with its line. Fails where a verdict is wrong.

use memprof_tests::command;
use memprof_tests::patterns::{self, wrong_verdicts};
use std::hint::spin_loop;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const BUSY: usize = 8;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let runs: usize = match (words.next().as_deref(), words.next()) {
        (Some("--runs"), Some(runs)) => runs.parse().expect("`--runs` needs a number"),
        _ => 1000,
    };
    let fixture = patterns::fixture();
    let executable = patterns::executable(&fixture);
    let stop = AtomicBool::new(false);
    let wrong = thread::scope(|scope| {
        for _ in 0..BUSY {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    spin_loop();
                }
            });
        }
        let mut wrong = Vec::new();
        for threads in ["", "--test-threads=64"] {
            let before = wrong.len();
            for run in 0..runs + runs / 10 {
                let planted = run % 11 == 10;
                let mut command = Command::new(&executable);
                command::clean(&mut command);
                command.args(threads.split_whitespace());
                if planted {
                    command.env("PLANTED", "1").env("RUST_BACKTRACE", "0");
                }
                let output = command.output().expect("the test starts");
                wrong.extend(wrong_verdicts(&fixture, &String::from_utf8_lossy(&output.stdout), planted));
            }
            let how = if threads.is_empty() { "as many threads as by default" } else { "64 threads" };
            println!(
                "cargo test, {how}: {runs} runs and {} planted, {} wrong verdicts",
                runs / 10,
                wrong.len() - before
            );
        }
        for planted in [false, true] {
            let before = wrong.len();
            let call = fixture.memprof("test --test patterns --repeat").arg((runs / 10).max(1).to_string());
            let call = if planted { call.env("PLANTED", "1") } else { call };
            wrong.extend(wrong_verdicts(&fixture, &call.run().stdout, planted));
            let what = if planted { "planted" } else { "as they are" };
            println!("cargo memprof test, {} runs {what}: {} wrong verdicts", (runs / 10).max(1), wrong.len() - before);
        }
        stop.store(true, Ordering::Relaxed);
        wrong
    });
    for text in wrong.iter().take(10) {
        println!("{text}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
