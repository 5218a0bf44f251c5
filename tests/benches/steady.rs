//! Checks that the gate gives one verdict: on copies of crates, it saves a baseline and runs the gate again and again,
//! while other work keeps every core busy.
//!
//!     cargo bench --profile dev -p memprof-tests --bench steady -- [--runs N] FOLDER… [-- ARGUMENTS]
//!
//! ARGUMENTS go to `cargo memprof test` and `cargo memprof gate`. It fails where a verdict is another than the first.

use memprof_tests::{command, tool};
use std::hint::spin_loop;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tempfile::TempDir;

/// What was asked for.
struct Request {
    runs: usize,
    folders: Vec<PathBuf>,
    arguments: Vec<String>,
}

impl Request {
    fn read() -> Request {
        let mut request = Request { runs: 20, folders: Vec::new(), arguments: Vec::new() };
        let mut words: Vec<String> = std::env::args().skip(1).collect();
        // Cargo's own word for it, behind all others.
        words.pop_if(|word| word == "--bench");
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--runs" => {
                    request.runs = words.next().and_then(|runs| runs.parse().ok()).expect("`--runs` needs a number");
                }
                "--" => request.arguments.extend(words.by_ref()),
                _ => request.folders.push(word.into()),
            }
        }
        request
    }
}

fn main() -> ExitCode {
    let request = Request::read();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let stop = AtomicBool::new(false);
    let steady = thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    spin_loop();
                }
            });
        }
        let steady = request.folders.iter().filter(|folder| is_steady(folder, &request)).count();
        stop.store(true, Ordering::Relaxed);
        steady
    });
    println!("{steady} of {} with one verdict, beside {cores} busy threads", request.folders.len());
    if steady == request.folders.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the gate on a copy of one crate, and says on stdout what came of it.
fn is_steady(folder: &Path, request: &Request) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let temporary = TempDir::new().expect("a temporary folder");
    let copy = temporary.path().join(&name);
    let copied = Command::new("cp").arg("-r").arg(folder).arg(&copy).status().expect("cp is everywhere");
    assert!(copied.success(), "`{}` cannot be copied", folder.display());
    let saved = memprof(&copy, &["test", "--save-baseline"], request);
    if !saved.status.success() {
        println!("{name}: no baseline\n{}", String::from_utf8_lossy(&saved.stderr));
        return false;
    }
    let verdict = |_| {
        let ran = memprof(&copy, &["gate"], request);
        let output = String::from_utf8_lossy(&ran.stdout).into_owned();
        (ran.status.code(), output.lines().last().unwrap_or_default().to_owned(), output)
    };
    let verdicts: Vec<_> = (0..request.runs).map(verdict).collect();
    let Some((code, last, _)) = verdicts.first() else { return true };
    println!("{name}: {} runs, the first ends with {code:?}: {last}", verdicts.len());
    let others: Vec<_> = verdicts.iter().filter(|(other, line, _)| (other, line) != (code, last)).collect();
    if let Some((code, _, output)) = others.first() {
        println!("{name}: {} others, such as {code:?}:\n{output}", others.len());
    }
    others.is_empty()
}

fn memprof(folder: &Path, words: &[&str], request: &Request) -> Output {
    let mut cargo = Command::new("cargo");
    command::clean(&mut cargo);
    cargo.current_dir(folder).env("PATH", tool::path()).env("XDG_CACHE_HOME", tool::cache());
    cargo.arg("memprof").args(words).arg("--quiet").args(&request.arguments);
    cargo.output().expect("cargo starts")
}
