//! The table at the end of a run: which tests allocate most.

use super::amount::{bytes, count, plural};
use crate::record::{Outcome, TestRecord};
use anstyle::{AnsiColor, Style};
use std::collections::HashSet;

const HEAD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// How many tests are listed.
const LISTED: usize = 10;
/// Width of the columns of figures, each with its gap.
const FIGURES: usize = 13 + 11 + 11 + 11 + 2;
/// Names are not made shorter than this, however narrow the terminal.
const SHORTEST_NAME: usize = 20;

/// The table, with ANSI styles. `columns` is the width of the terminal; `None`: there is none, and names are not
/// shortened.
pub fn render(tests: &[TestRecord], columns: Option<usize>) -> String {
    let mut order: Vec<&TestRecord> = tests.iter().filter(|test| test.counters.alloc_objects > 0).collect();
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
    let room = columns.map(|columns| columns.saturating_sub(FIGURES).max(SHORTEST_NAME));
    let mut out = format!("{HEAD}{:>13}{:>11}{:>11}{:>11}  test{HEAD:#}\n", "allocs", "bytes", "peak", "at end");
    for test in order.iter().take(LISTED) {
        let figures = &test.counters;
        out.push_str(&format!(
            "{:>13}{:>11}{:>11}{:>11}  {}\n",
            count(figures.alloc_objects),
            bytes(figures.alloc_space),
            bytes(figures.peak_space),
            bytes(figures.inuse_space),
            label(test, &target(test), room)
        ));
    }
    out.push_str(&totals(tests, order.len()));
    out.push_str(&children(tests));
    out
}

fn totals(tests: &[TestRecord], allocating: usize) -> String {
    let sum = |figure: fn(&TestRecord) -> i128| tests.iter().map(figure).sum::<i128>();
    let mut notes = Vec::new();
    if allocating > LISTED {
        notes.push(format!("{} more not listed", count((allocating - LISTED) as i128)));
    }
    if allocating < tests.len() {
        notes.push(format!("{} without allocations", count((tests.len() - allocating) as i128)));
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

/// What tests started or forked, where that was recorded: it is not in the tests' figures.
fn children(tests: &[TestRecord]) -> String {
    let children: Vec<&TestRecord> = tests.iter().flat_map(|test| &test.children).collect();
    if children.is_empty() {
        return String::new();
    }
    let sum = |figure: fn(&TestRecord) -> i128| children.iter().map(|child| figure(child)).sum::<i128>();
    format!(
        "{:>13}{:>11}{:>11}{:>11}  {DIM}beside them {} that they started{DIM:#}\n",
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

fn label(test: &TestRecord, target: &str, room: Option<usize>) -> String {
    let mark = mark(test);
    let mark_width = mark.map_or(0, |mark| mark.chars().count() + 1);
    let left = room.map(|room| room.saturating_sub(target.chars().count() + mark_width).max(SHORTEST_NAME));
    let name = shortened(&test.id.name, left);
    let mark = mark.map_or(String::new(), |mark| format!(" {BAD}{mark}{BAD:#}"));
    format!("{DIM}{target}{DIM:#}{name}{mark}")
}

/// What is not as it should be.
fn mark(test: &TestRecord) -> Option<&'static str> {
    match (test.outcome, test.cut_short) {
        (Outcome::Ok, false) => None,
        (Outcome::Ok, true) => Some("cut short"),
        (Outcome::Failed, false) => Some("FAILED"),
        (Outcome::Failed, true) => Some("FAILED, cut short"),
        (Outcome::TimedOut, _) => Some("TIMED OUT, cut short"),
        (Outcome::Unknown, _) => Some("no verdict"),
    }
}

/// `name` in at most `room` letters. The end tells tests apart, so the beginning goes.
fn shortened(name: &str, room: Option<usize>) -> String {
    let length = name.chars().count();
    match room {
        Some(room) if length > room => format!("…{}", name.chars().skip(length - room + 1).collect::<String>()),
        _ => name.to_owned(),
    }
}
