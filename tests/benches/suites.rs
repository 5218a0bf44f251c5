//! The cost of profiling a real suite, from the command to the prompt: the tests of bytes, csv and url under `cargo
//! nextest run` and under `cargo memprof`, which also writes all its outputs.
//!
//!     cargo bench -p memprof-tests --bench suites -- [--rounds N] [FOLDER]
//!
//! FOLDER holds checkouts of the three, of which copies are used; without it, they are taken from the registry. Each command
//! runs once before the clock does, so everything is compiled; then they take turns, and what is printed is the median of each one's wall time,
//! in seconds and against nextest's. What cannot be had is skipped, and says so.

use memprof_tests::{command, tool, workspace};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

/// Name in the registry, and of the checkout; which of its tests. nextest refuses url's third test program, which does not list
/// its tests.
const SUITES: [(&str, &str, &[&str]); 3] = [
    ("bytes", "bytes", &["--tests"]),
    ("csv", "csv", &["--tests"]),
    ("url", "rust-url-ws", &["--package", "url", "--lib", "--test", "unit"]),
];

/// The first is what the others are compared with.
const COMMANDS: [(&str, &[&str]); 5] = [
    ("cargo nextest run", &["nextest", "run", "--no-fail-fast"]),
    ("cargo memprof test, rate 1", &["memprof", "test", "--no-fail-fast", "--memprofilerate", "1"]),
    ("cargo memprof test, default rate", &["memprof", "test", "--no-fail-fast"]),
    ("cargo memprof nextest run, rate 1", &["memprof", "nextest", "run", "--no-fail-fast", "--memprofilerate", "1"]),
    ("cargo test", &["test", "--no-fail-fast"]),
];

fn main() {
    let mut rounds = 5;
    let mut folder = None;
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => rounds = arguments.next().and_then(|number| number.parse().ok()).expect("a number of rounds"),
            path => folder = Some(PathBuf::from(path)),
        }
    }
    if !tool::has("cargo", &["nextest", "--version"], "the comparison with nextest") {
        return;
    }
    let scratch = workspace::scratch().join("suites");
    for (name, checkout, tests) in SUITES {
        let suite = match &folder {
            Some(folder) => {
                let copy = scratch.join(name);
                let _ = fs::remove_dir_all(&copy);
                copy_folder(&folder.join(checkout), &copy)
                    .ok()
                    .map(|()| copy)
                    .filter(|copy| copy.join("Cargo.toml").exists())
            }
            None => from_registry(name, &scratch),
        };
        let Some(suite) = suite else {
            eprintln!("skipped: {name}, because it is neither in the folder nor to be had from the registry");
            continue;
        };
        measure(name, &suite, tests, rounds);
    }
}

/// The package's folder, copied out of what cargo fetched.
fn from_registry(name: &str, scratch: &Path) -> Option<PathBuf> {
    let (asking, copy) = (scratch.join(format!("{name}-asking")), scratch.join(name));
    fs::create_dir_all(asking.join("src")).ok()?;
    fs::write(asking.join("src/lib.rs"), "").ok()?;
    let manifest = format!(
        "[package]\nname = \"asking\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[dependencies]\n{name} = \"*\"\n[workspace]\n"
    );
    fs::write(asking.join("Cargo.toml"), manifest).ok()?;
    let output = cargo(&asking, &["metadata", "--format-version", "1"]).output().ok()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let packages = metadata["packages"].as_array()?;
    let package = packages.iter().find(|package| package["name"] == name)?;
    let from = Path::new(package["manifest_path"].as_str()?).parent()?.to_owned();
    let _ = fs::remove_dir_all(&copy);
    copy_folder(&from, &copy).ok()?;
    Some(copy)
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_name() == "target" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &copy)?
        } else {
            fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}

fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    command::clean(&mut cargo);
    cargo.current_dir(folder).args(arguments).env("PATH", tool::path()).stdin(Stdio::null());
    cargo
}

fn measure(name: &str, suite: &Path, tests: &[&str], rounds: usize) {
    let run = |arguments: &[&str]| {
        let mut cargo = cargo(suite, arguments);
        if arguments.first() == Some(&"memprof") {
            // Each command has a folder of its own: a run is compared with one that found its own outputs there, not another's.
            let words: String =
                arguments.iter().filter(|word| word.chars().all(char::is_alphanumeric)).copied().collect();
            cargo.arg("--memprofile").arg(suite.join("target").join(words));
        }
        let begun = Instant::now();
        let output = cargo.output().expect("cargo starts");
        (begun.elapsed(), output)
    };
    // Some tests run the package's examples.
    for all in [["test", "--no-run"].as_slice(), &["memprof", "test", "--no-run"]] {
        run(all);
    }
    let commands = COMMANDS.map(|(what, arguments)| (what, [arguments, tests].concat()));
    for (what, arguments) in &commands {
        let (_, output) = run(arguments);
        if !output.status.success() {
            eprintln!("note: {name}: `{what}` ended with {}", output.status);
        }
    }
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); commands.len()];
    for _ in 0..rounds {
        for ((_, arguments), times) in commands.iter().zip(&mut times) {
            times.push(run(arguments).0);
        }
    }
    println!("{name}");
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    for ((what, _), median) in commands.iter().zip(&medians) {
        println!("    {what:<36}{median:>8.2} s{:>7.2}x", median / medians[0]);
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
}
