//! The table at the end of a run: the tests that allocate most.

use super::amount::{bytes, count, plural};
use crate::record::{Outcome, TestId, TestRecord};
use crate::view::plain::plain;
use anstyle::{AnsiColor, Style};
use std::collections::{HashMap, HashSet};

const HEAD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// How many tests are listed.
const LISTED: usize = 10;
/// Width of the columns of metrics, each with its gap.
const METRICS: usize = 13 + 11 + 11 + 11 + 2;
/// Names are not made shorter than this, however narrow the terminal.
const SHORTEST_NAME: usize = 20;

/// The table, with ANSI styles. `columns` is the width of the terminal; `None`: there is none, and names are not
/// shortened. `unrecorded` tests were run without being recorded.
pub fn render(tests: &[TestRecord], unrecorded: usize, columns: Option<usize>) -> String {
    let (tests, runs) = once_each(tests);
    let mut order: Vec<&TestRecord> = tests.iter().copied().filter(|test| test.counters.alloc_objects > 0).collect();
    order.sort_by(|a, b| {
        let key = |test: &TestRecord| (test.counters.alloc_space, test.counters.alloc_objects);
        key(b).cmp(&key(a)).then_with(|| a.id.cmp(&b.id))
    });
    let packages = tests.iter().map(|test| &test.id.package).collect::<HashSet<_>>().len();
    let targets = tests.iter().map(|test| (&test.id.package, &test.id.kind, &test.id.target)).collect::<HashSet<_>>();
    let target = |test: &TestRecord| match (packages, targets.len()) {
        (..=1, ..=1) => String::new(),
        (..=1, _) => format!("{} ", test.id.target_label()),
        _ => format!("{}::{} ", test.id.package, test.id.target_label()),
    };
    let room = columns.map(|columns| columns.saturating_sub(METRICS).max(SHORTEST_NAME));
    let mut out = format!("{HEAD}{:>13}{:>11}{:>11}{:>11}  test{HEAD:#}\n", "allocs", "bytes", "peak", "in use");
    for test in order.iter().take(LISTED) {
        let metrics = &test.counters;
        // Of a test that is partially recorded these are what there is at least.
        let metric = |text: String| if test.is_partial() { format!("≥{text}") } else { text };
        out.push_str(&format!(
            "{:>13}{:>11}{:>11}{:>11}  {}\n",
            metric(count(metrics.alloc_objects)),
            metric(bytes(metrics.alloc_space)),
            metric(bytes(metrics.peak_space)),
            bytes(metrics.inuse_space),
            label(test, &repeats(&runs[&test.id]), &target(test), room)
        ));
    }
    out.push_str(&totals(&tests, order.len(), unrecorded));
    out.push_str(&children(&tests));
    out
}

/// How many tests there are, and how many runs of them where some ran more than once: `11 tests in 110 runs`.
pub fn tests_and_runs(tests: &[TestRecord]) -> String {
    let (once, _) = once_each(tests);
    let all = plural(once.len(), "test");
    if once.len() == tests.len() { all } else { format!("{all} in {} runs", count(tests.len() as i128)) }
}

/// One run of each test, that with the most, and all its runs by test.
fn once_each(tests: &[TestRecord]) -> (Vec<&TestRecord>, HashMap<&TestId, Vec<&TestRecord>>) {
    let mut runs: HashMap<&TestId, Vec<&TestRecord>> = HashMap::new();
    let mut order: Vec<&TestId> = Vec::new();
    for test in tests {
        let of_test = runs.entry(&test.id).or_default();
        if of_test.is_empty() {
            order.push(&test.id);
        }
        of_test.push(test);
    }
    let most = |id: &&TestId| {
        let key = |test: &&&TestRecord| {
            // What went wrong in one run is not to be hidden by the others.
            (mark(test).is_some(), test.counters.alloc_space, test.counters.alloc_objects)
        };
        runs[id].iter().rev().max_by_key(key).copied()
    };
    (order.iter().filter_map(most).collect(), runs)
}

/// `  (3 runs)`, or with what they differ by: `  (3 runs, 6 to 8 allocs)`.
fn repeats(runs: &[&TestRecord]) -> String {
    if runs.len() < 2 {
        return String::new();
    }
    let objects = |test: &&TestRecord| test.counters.alloc_objects;
    let (least, most) = (runs.iter().map(objects).min().unwrap_or(0), runs.iter().map(objects).max().unwrap_or(0));
    let differ = if least == most { String::new() } else { format!(", {} to {} allocs", count(least), count(most)) };
    format!(" ({} runs{differ})", runs.len())
}

fn totals(tests: &[&TestRecord], allocating: usize, unrecorded: usize) -> String {
    let sum = |metric: fn(&TestRecord) -> i128| tests.iter().map(|test| metric(test)).sum::<i128>();
    let mut notes = Vec::new();
    if allocating > LISTED {
        notes.push(format!("{} more not listed", count((allocating - LISTED) as i128)));
    }
    let partial = tests.iter().filter(|test| test.is_partial()).count();
    let unseen = tests.iter().filter(|test| test.is_partial() && test.counters.alloc_objects == 0).count();
    if allocating + unseen < tests.len() {
        notes.push(format!("{} without allocations", count((tests.len() - allocating - unseen) as i128)));
    }
    if partial > 0 {
        notes.push(format!("{} partially recorded", count(partial as i128)));
    }
    if unrecorded > 0 {
        notes.push(format!("{} more not profiled", count(unrecorded as i128)));
    }
    let notes = if notes.is_empty() { String::new() } else { format!(" {DIM}({}){DIM:#}", notes.join(", ")) };
    format!(
        "{HEAD}{:>13}{:>11}{:>11}{:>11}  {}{HEAD:#}{notes}\n",
        count(sum(|test| test.counters.alloc_objects.into())),
        bytes(sum(|test| test.counters.alloc_space.into())),
        "",
        bytes(sum(|test| test.counters.inuse_space.into())),
        plural(tests.len(), "test")
    )
}

/// What tests started or forked, where that was recorded: it is not in the tests' metrics.
fn children(tests: &[&TestRecord]) -> String {
    let children: Vec<&TestRecord> = tests.iter().flat_map(|test| &test.children).collect();
    if children.is_empty() {
        return String::new();
    }
    let sum = |metric: fn(&TestRecord) -> i128| children.iter().map(|child| metric(child)).sum::<i128>();
    let partial = match children.iter().filter(|child| child.is_partial()).count() {
        0 => String::new(),
        some => format!(" ({} partially recorded)", count(some as i128)),
    };
    format!(
        "{:>13}{:>11}{:>11}{:>11}  {DIM}beside them {} that they started{partial}{DIM:#}\n",
        count(sum(|child| child.counters.alloc_objects.into())),
        bytes(sum(|child| child.counters.alloc_space.into())),
        "",
        bytes(sum(|child| child.counters.inuse_space.into())),
        match children.len() {
            1 => "1 process".to_owned(),
            more => format!("{} processes", count(more as i128)),
        }
    )
}

fn label(test: &TestRecord, repeats: &str, target: &str, room: Option<usize>) -> String {
    let mark = mark(test).map_or(String::new(), |mark| format!(" {mark}"));
    let left = room.map(|room| room.saturating_sub(width(&mark) + width(repeats)));
    // The name is worth more than the target, which many tests share.
    let name = shortened(&plain(&test.id.name), left.map(|left| left.saturating_sub(width(target)).max(SHORTEST_NAME)));
    let target = shortened(target, left.map(|left| left.saturating_sub(width(&name))));
    format!("{DIM}{target}{DIM:#}{name}{BAD}{mark}{BAD:#}{DIM}{repeats}{DIM:#}")
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// What is not as it should be.
fn mark(test: &TestRecord) -> Option<&'static str> {
    match (test.outcome, test.cut_short) {
        (Outcome::Ok, false) => None,
        (Outcome::Ok, true) => Some("cut short"),
        (Outcome::Failed, false) => Some("FAILED"),
        (Outcome::Failed, true) => Some("FAILED, cut short"),
        (Outcome::TimedOut, false) => Some("TIMED OUT"),
        (Outcome::TimedOut, true) => Some("TIMED OUT, cut short"),
        (Outcome::Unknown, _) => Some("no verdict"),
    }
}

/// `name` in at most `room` letters. The end tells tests apart, so the beginning goes.
fn shortened(name: &str, room: Option<usize>) -> String {
    match room {
        Some(0) => String::new(),
        Some(room) if width(name) > room => {
            format!("…{}", name.chars().skip(width(name) - room + 1).collect::<String>())
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::record::TestId;
    use memprof_harness::ledger::{Counters, Losses};

    pub fn test(kind: &str, name: &str, objects: u64, space: u64) -> TestRecord {
        let counters =
            Counters { alloc_objects: objects, alloc_space: space, peak_space: space, ..Counters::default() };
        TestRecord {
            id: TestId { package: "p".into(), target: "p".into(), kind: kind.into(), name: name.into() },
            executable: "/p".into(),
            outcome: Outcome::Ok,
            cut_short: false,
            forked: false,
            child: None,
            children: Vec::new(),
            hook: memprof_harness::ledger::Hook::Rust,
            started: true,
            message: None,
            rate: 1,
            started_ns: 0,
            duration_ns: 0,
            counters,
            losses: Losses::default(),
            stacks: 0,
            is_benchmark: false,
            iteration: None,
            lifetimes: None,
            leaked_at: Vec::new(),
            source_file: "".into(),
            start_line: 0,
        }
    }

    fn plain(tests: &[TestRecord], columns: Option<usize>) -> String {
        anstream::adapter::strip_str(&render(tests, 0, columns)).to_string()
    }

    #[test]
    fn the_tests_that_allocate_most_bytes_come_first_and_what_went_wrong_is_said() {
        let mut failed = test("lib", "a", 1, 100);
        (failed.outcome, failed.cut_short) = (Outcome::Failed, true);
        let tests = [failed, test("lib", "b", 1234, 5000), test("lib", "idle", 0, 0)];
        insta::assert_snapshot!("a_failed_test_and_an_idle_one", plain(&tests, None));
    }

    #[test]
    fn a_test_that_ran_more_than_once_has_one_row() {
        let tests = [test("lib", "a", 6, 60), test("lib", "b", 1, 8), test("lib", "a", 8, 80), test("lib", "b", 1, 8)];
        insta::assert_snapshot!("tests_that_ran_twice", plain(&tests, None));
        assert_eq!(tests_and_runs(&tests), "2 tests in 4 runs");
        assert_eq!(tests_and_runs(&tests[..2]), "2 tests");
    }

    #[test]
    fn tests_of_several_targets_are_told_apart() {
        insta::assert_snapshot!(
            "tests_of_several_targets",
            plain(&[test("lib", "a", 1, 2), test("test", "a", 1, 1)], None)
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let name = format!("module::{}::the_end", "very_long_".repeat(20));
        let mut long = test("test", &name, u64::from(u32::MAX), u64::MAX);
        long.outcome = Outcome::Failed;
        let mut other = test("lib", "module::short", 1, 1);
        other.id.package = "a-package-with-a-name-of-many-words".into();
        let table = plain(&[long, other], Some(80));
        insta::assert_snapshot!("long_names_at_80_columns", table);
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    }

    #[test]
    fn what_is_not_listed_is_counted() {
        let tests: Vec<TestRecord> = (0..12).map(|number| test("lib", &format!("t{number:02}"), 1, 8)).collect();
        let table = plain(&tests, Some(80));
        insta::assert_snapshot!("more_tests_than_are_listed", table);
    }
}
