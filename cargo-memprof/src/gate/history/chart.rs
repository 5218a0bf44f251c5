//! The history of tests as a table with bars. Pure.

use super::{Commit, Moment};
use crate::gate::metrics::{Metric, Seen, show_span};
use memprof_profile::record::TestId;
use memprof_profile::view::amount::plural;
use memprof_profile::view::plain::plain;
use std::collections::BTreeMap;

/// Letters of a hash.
const SHOWN: usize = 12;
/// Cells of the longest bar.
const CELLS: usize = 12;
/// Eighths of a cell, from none to seven.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
/// What is shown of each moment.
const METRICS: [Metric; 3] = [Metric::AllocObjects, Metric::AllocSpace, Metric::PeakSpace];
const HEADS: [&str; 3] = ["allocs", "bytes", "peak"];

/// Draws each test that `is_drawn` and that changed: a row for each commit with which it did, the oldest first. The bar is that of allocations.
pub fn render(moments: &[Moment], is_drawn: impl Fn(&TestId) -> bool) -> String {
    let mut tests: BTreeMap<&TestId, Vec<(&Commit, &Seen)>> = BTreeMap::new();
    for moment in moments {
        let drawn = moment.changed.iter().filter(|(id, _)| is_drawn(id));
        drawn.for_each(|(id, seen)| tests.entry(id).or_default().push((&moment.commit, seen)));
    }
    let (changed, steady): (Vec<_>, Vec<_>) = tests.into_iter().partition(|(_, rows)| rows.len() > 1);
    let mut text: String = changed.iter().map(|(id, rows)| of_test(id, rows)).collect();
    match steady.as_slice() {
        [] => {}
        // Whoever asks for one test wants to see it.
        [(id, rows)] => text.push_str(&of_test(id, rows)),
        steady => text.push_str(&format!("{} never changed\n", plural(steady.len(), "test"))),
    }
    text
}

fn of_test(id: &TestId, rows: &[(&Commit, &Seen)]) -> String {
    let most = rows.iter().map(|(_, seen)| seen.most.alloc_objects).max().unwrap_or(0);
    let number = |seen: &Seen, metric: Metric| show_span(metric, seen.least.get(metric), seen.most.get(metric));
    let cells = |row: &(&Commit, &Seen)| METRICS.map(|metric| number(row.1, metric));
    let numbers: Vec<[String; 3]> = rows.iter().map(cells).collect();
    let width = |column: usize| {
        let longest = numbers.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        longest.max(HEADS[column].len())
    };
    let widths = [width(0), width(1), width(2)];
    let line = |cells: [&str; 3]| {
        let [a, b, c] = cells;
        format!("{a:>0$}  {b:>1$}  {c:>2$}", widths[0], widths[1], widths[2])
    };
    let mut text = format!("{}\n  {:10}  {:SHOWN$}  {}\n", plain(&id.label()), "date", "commit", line(HEADS));
    for ((commit, seen), [a, b, c]) in rows.iter().zip(&numbers) {
        let hash = commit.hash.get(..SHOWN).unwrap_or(&commit.hash);
        let dirty = if commit.dirty { " (with changes)" } else { "" };
        let row = format!(
            "  {:10}  {:SHOWN$}  {}  {:CELLS$}  {}{dirty}",
            plain(&commit.date),
            plain(hash),
            line([a, b, c]),
            bar(seen.most.alloc_objects, most),
            plain(&commit.subject),
        );
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text + "\n"
}

/// A bar as long as `number` is of `most`.
fn bar(number: u64, most: u64) -> String {
    let eighths = u128::from(number) * (CELLS as u128) * 8 / u128::from(most.max(1));
    // At most eight times the longest.
    let eighths = usize::try_from(eighths).unwrap_or(usize::MAX).min(CELLS * 8);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::metrics::Metrics;

    fn moment(hash: &str, tests: &[(&str, u64)]) -> Moment {
        let test = |&(name, alloc_objects): &(&str, u64)| {
            let id = TestId { package: "p".into(), kind: "lib".into(), target: "p".into(), name: name.into() };
            let metrics =
                Metrics { alloc_objects, alloc_space: alloc_objects * 100, peak_space: 100, ..Metrics::default() };
            (id, Seen::once(metrics))
        };
        let (hash, date) = (hash.repeat(40), "2026-11-30".to_owned());
        let commit = Commit { hash, date, subject: "Say what changed".into(), dirty: false };
        Moment { commit, changed: tests.iter().map(test).collect() }
    }

    #[test]
    fn a_test_has_a_row_for_each_change_and_steady_ones_are_counted() {
        let moments = [
            moment("a", &[("grows", 6), ("steady", 3), ("as_well", 3)]),
            moment("b", &[]),
            moment("c", &[("grows", 12)]),
        ];
        insta::assert_snapshot!(render(&moments, |_| true), @r"
        p grows
          date        commit        allocs    bytes   peak
          2026-11-30  aaaaaaaaaaaa       6    600 B  100 B  ██████        Say what changed
          2026-11-30  cccccccccccc      12  1,200 B  100 B  ████████████  Say what changed

        2 tests never changed
        ");
        insta::assert_snapshot!(render(&moments, |id| id.name == "steady"), @r"
        p steady
          date        commit        allocs  bytes   peak
          2026-11-30  aaaaaaaaaaaa       3  300 B  100 B  ████████████  Say what changed
        ");
        assert_eq!(render(&moments, |_| false), "");
    }

    #[test]
    fn bars_are_in_proportion() {
        assert_eq!((bar(0, 0), bar(1, 1), bar(1, 96)), (String::new(), "█".repeat(12), "▏".to_owned()));
        assert_eq!(bar(u64::MAX, u64::MAX), "█".repeat(12));
    }
}
