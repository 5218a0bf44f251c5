//! Programs of benchmarks: which they have, and how one of them is run once. criterion answers `--list` as libtest does; divan
//! has names for its benchmarks only while it runs them, once each, as its tests.

use super::{Answer, BENCHMARK, BUDGET, FLAG, NOBODY, Tests, parse, said};
use std::ffi::OsString;
use std::process::Command;
use std::time::Instant;

/// Crates, as symbols name them.
const CRITERION: &[u8] = b"9criterion";
const DIVAN: &[u8] = b"5divan";

/// Asks a program that cargo would run with `args`, `--bench` among them; see [`super::ask`].
pub fn ask(args: &[OsString], contains: impl Fn(&[u8]) -> bool, command: impl Fn(&[OsString]) -> Command) -> Answer {
    // With flags of its own the program may do anything; a filter or a wish for a short run keeps its meaning.
    let filters: Vec<OsString> =
        args.iter().filter(|arg| *arg != "--bench" && *arg != "--test" && *arg != "--noplot").cloned().collect();
    let words =
        |flags: &[&str]| -> Vec<OsString> { flags.iter().map(OsString::from).chain(filters.iter().cloned()).collect() };
    let begun = Instant::now();
    let names = if contains(DIVAN) {
        said(command(&words(&["--test"]))).and_then(|tree| leaves(&tree))
    } else if contains(CRITERION) || contains(FLAG) {
        let list = |words: &[OsString]| parse(&said(command(words))?, BENCHMARK);
        // A program that does not listen would say the same again.
        let nobody = ["--list", "--format", "terse", "--exact", NOBODY].map(OsString::from);
        let names = list(&words(&["--list", "--format", "terse"]));
        names.filter(|names| !names.is_empty() && list(&nobody).is_some_and(|names| names.is_empty()))
    } else {
        None
    };
    let Some(names) = names else { return Answer::Whole(None) };
    if begun.elapsed() * u32::try_from(names.len()).unwrap_or(u32::MAX) > BUDGET * 10 {
        return Answer::Whole(Some(format!(
            "recorded as one: its {} benchmarks would take minutes in processes of their own; a filter that leaves fewer \
             has each recorded alone",
            names.len()
        )));
    }
    // One at a time: what they measure is over, but they may be large.
    Answer::Tests(Tests { names, on_threads: false, window: None, jobs: 1, alone })
}

/// The arguments by which one benchmark runs one iteration.
fn alone(name: &str, _: &[OsString]) -> Vec<OsString> {
    ["--test", "--exact", "--", name].map(OsString::from).into()
}

/// Of a tree as divan draws it, the paths of the leaves; `None` where it is none.
fn leaves(tree: &str) -> Option<Vec<String>> {
    /// A level is three columns wide.
    const STEP: usize = 3;
    let mut path: Vec<&str> = Vec::new();
    let mut leaves: Vec<String> = Vec::new();
    // The depth of the line before, whose path is no leaf if this one is deeper.
    let mut before = None;
    for line in tree.lines().filter(|line| !line.trim().is_empty()) {
        let name = line.trim_start_matches(['│', '├', '╰', '─', ' ']);
        let indent = line.chars().count() - name.chars().count();
        // Columns follow the name.
        let name = name.split("  ").next().unwrap_or(name).trim();
        let depth = indent / STEP;
        if !indent.is_multiple_of(STEP) || name.is_empty() || depth > path.len() {
            return None;
        }
        if before.is_some_and(|before| depth > before) {
            leaves.pop();
        }
        path.truncate(depth);
        path.push(name);
        leaves.push(path.join("::"));
        before = Some(depth);
    }
    // The program itself, without a benchmark.
    leaves.retain(|leaf| leaf.contains("::"));
    Some(leaves).filter(|leaves| !leaves.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leaves_of_a_tree_are_named_by_their_paths() {
        let tree = "div\n├─ many\n│  ├─ 1\n│  ╰─ 2\n├─ two  (ignored)\n╰─ z\n   ╰─ a b\n\n";
        assert_eq!(leaves(tree).unwrap(), ["div::many::1", "div::many::2", "div::two", "div::z::a b"]);
        assert_eq!(leaves("hello\n  world\n"), None);
        assert_eq!(leaves("div\n"), None);
    }
}
