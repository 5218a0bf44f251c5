//! Allocation tests as projects write them: `fixtures/counting/tests/patterns.rs`, built, run and judged.

use crate::fixture::Fixture;
use crate::workspace;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

const SOURCE: &str = "tests/patterns.rs";
/// Of the tests, those that stay as they are where something is planted.
const UNPLANTED: [&str; 3] =
    ["a_noisy_neighbour", "another_that_measures_at_the_same_time", "one_that_measures_at_the_same_time"];

/// A copy of the fixture `counting`, with this tree's crate `memprof` as its dependency.
pub fn fixture() -> Fixture {
    let fixture = Fixture::copy("counting");
    let live = workspace::root().join("memprof-harness/live");
    fixture.replace("Cargo.toml", "../../memprof-harness/live", live.to_str().expect("a path in UTF-8"));
    fixture
}

/// The test program of the patterns, as plain cargo builds it.
///
/// # Panics
/// Where it does not build.
pub fn executable(fixture: &Fixture) -> PathBuf {
    let built = fixture.cargo("test --test patterns --no-run --message-format=json").succeed();
    let mut executables = built.stdout.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executables.next_back().expect("cargo names it")
}

/// Each planted line, by its test's name.
fn planted_lines(fixture: &Fixture) -> BTreeMap<String, usize> {
    let source = fixture.read(SOURCE);
    let mut function = "";
    let mut lines = BTreeMap::new();
    for (index, line) in source.lines().enumerate() {
        if let Some(rest) = line.strip_prefix("fn ") {
            function = rest.split('(').next().unwrap_or_default();
        }
        if line.ends_with("// PLANTED") {
            lines.insert(function.to_owned(), index + 1);
        }
    }
    lines
}

/// What is wrong with the report of some runs: tests that passed and should not have, or the other way round; and where something was planted,
/// messages that do not name its line.
pub fn wrong_verdicts(fixture: &Fixture, report: &str, planted: bool) -> Vec<String> {
    let lines = planted_lines(fixture);
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    let mut named = BTreeSet::new();
    let mut panicked = "";
    for line in report.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["test", name, "...", verdict] = words[..] {
            seen.insert(name);
            let should_fail = planted && !UNPLANTED.contains(&name);
            if (verdict == "FAILED") != should_fail || !["ok", "FAILED"].contains(&verdict) {
                wrong.push(format!("{line}, planted: {planted}"));
            }
        } else if let Some(rest) = line.strip_prefix("thread '") {
            panicked = rest.split('\'').next().unwrap_or_default();
        } else if lines.get(panicked).is_some_and(|number| line.contains(&format!("patterns.rs:{number} in "))) {
            named.insert(panicked);
        }
    }
    if seen.len() != lines.len() + UNPLANTED.len() {
        wrong.push(format!("only {} tests ran:\n{report}", seen.len()));
    }
    if planted {
        wrong.extend(
            lines.keys().filter(|name| !named.contains(name.as_str())).map(|name| format!("{name} names no line")),
        );
    }
    wrong
}
