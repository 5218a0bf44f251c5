//! The tables at the end of a run of benchmarks: what one iteration of each takes, in the manner of Go's `-benchmem`, and
//! what programs allocated whose iterations are not known.

use super::amount::count;
use crate::record::{Outcome, TestRecord};
use crate::view::plain::plain;
use anstyle::{AnsiColor, Style};

const HEAD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// A benchmark. Without an iteration, what it allocates is not known.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its metrics.
    pub test: &'a TestRecord,
    /// Nanoseconds of an iteration, as they were measured; `None` = they are not known.
    pub ns: Option<f64>,
}

/// A program of benchmarks that was recorded as one.
#[derive(Debug, Clone, Copy)]
pub struct Whole<'a> {
    /// Its metrics.
    pub test: &'a TestRecord,
    /// `None` where that is as it should be.
    pub why: Option<&'a str>,
}

/// The tables, with ANSI styles, each in its given order.
pub fn render(rows: &[Row<'_>], wholes: &[Whole<'_>]) -> String {
    let mut tables = Vec::new();
    if !rows.is_empty() {
        let metric = |metric: Option<String>| metric.unwrap_or_else(|| "-".to_owned());
        let lines = rows.iter().map(|row| {
            let iteration = row.test.iteration;
            let ns = metric(row.ns.map(nanoseconds));
            let space = metric(iteration.map(|iteration| count(iteration.alloc_space)));
            let objects = metric(iteration.map(|iteration| count(iteration.alloc_objects)));
            (vec![ns, space, objects], label(row.test, &plain(&row.test.id.name)))
        });
        let (mut heads, mut lines) = (vec!["ns/iter", "B/iter", "allocs/iter"], lines.collect::<Vec<_>>());
        if rows.iter().all(|row| row.ns.is_none()) {
            heads.remove(0);
            lines.iter_mut().for_each(|(metrics, _)| drop(metrics.remove(0)));
        }
        tables.push(table(&heads, "benchmark", &lines));
    }
    if !wholes.is_empty() {
        let line = |whole: &Whole<'_>| {
            let counters = &whole.test.counters;
            (vec![count(counters.alloc_space), count(counters.alloc_objects)], label(whole.test, ""))
        };
        let lines: Vec<_> = wholes.iter().map(line).collect();
        let mut text = table(&["B in all", "allocs in all"], "program of benchmarks", &lines);
        for whole in wholes {
            if let Some(why) = whole.why {
                text.push_str(&format!("{DIM}{}: {why}{DIM:#}\n", whole.test.id.target));
            }
        }
        tables.push(text);
    }
    tables.join("\n")
}

/// Metrics under their heads, however long they are.
fn table(heads: &[&str], last: &str, lines: &[(Vec<String>, String)]) -> String {
    /// Columns are as wide for all runs whose metrics are not out of the ordinary.
    const USUAL: usize = 13;
    let width = |at: usize| {
        let metrics = lines.iter().map(|(metrics, _)| metrics[at].chars().count());
        metrics.chain([heads[at].len(), USUAL]).max().unwrap_or(USUAL)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let row = |cells: &mut dyn Iterator<Item = &str>| -> String {
        cells.zip(&widths).map(|(cell, width)| format!("{cell:>width$} ")).collect()
    };
    let mut out = format!("{HEAD}{} {last}{HEAD:#}\n", row(&mut heads.iter().copied()));
    for (metrics, label) in lines {
        out.push_str(&format!("{} {label}\n", row(&mut metrics.iter().map(String::as_str))));
    }
    out
}

/// The target, and `name` where it has one.
fn label(test: &TestRecord, name: &str) -> String {
    let mark = match test.outcome {
        Outcome::Ok => "",
        Outcome::TimedOut => " TIMED OUT",
        Outcome::Failed | Outcome::Unknown => " FAILED",
    };
    match name {
        "" => format!("{}{BAD}{mark}{BAD:#}", test.id.target),
        name => format!("{DIM}{} {DIM:#}{name}{BAD}{mark}{BAD:#}", test.id.target),
    }
}

/// As libtest shows it: with two digits behind the point, where there are not enough in front of it.
fn nanoseconds(ns: f64) -> String {
    if ns < 1000.0 { format!("{ns:.2}") } else { count(ns.round() as i128) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Iteration;
    use crate::view::table::tests::test;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn columns_never_run_together() {
        let mut large = test("bench", "large", 1, 1);
        large.iteration = Some(Iteration { ns: None, alloc_objects: u64::MAX, alloc_space: u64::MAX });
        let small = test("bench", "small", 1, 1);
        let rows = [Row { test: &large, ns: Some(9e15) }, Row { test: &small, ns: None }];
        let text = plain(&render(&rows, &[]));
        // What was not measured is no zero.
        insta::assert_snapshot!("the_largest_metrics_and_none", text);
        let ends: Vec<usize> = text.lines().map(|line| line.rfind("  ").expect("labels stand apart")).collect();
        assert_eq!(ends, vec![ends[0]; 3]);
    }

    #[test]
    fn totals_stand_in_a_table_of_their_own() {
        let whole = test("bench", "(whole program)", 7, 31_572_465_694);
        let text = plain(&render(&[], &[Whole { test: &whole, why: Some("recorded as one: so it is") }]));
        insta::assert_snapshot!("a_program_of_benchmarks", text);
    }
}
