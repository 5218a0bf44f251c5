//! The file of a history: one JSON object a line, one line for each run of the gate. It has the lines of the baseline, as they would be, of
//! tests that needed something else than the lines before say. Pure.

use super::{Commit, Moment};
use crate::gate::committed;
use crate::gate::metrics::Seen;
use memprof_profile::record::TestId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Raised when a key changes its meaning or goes.
const SCHEMA: u32 = 1;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    schema: u32,
    commit: String,
    date: String,
    subject: String,
    dirty: bool,
    tests: Vec<String>,
}

/// What stands in a file.
///
/// # Errors
/// The first line that is none, with its number.
pub fn parse(text: &str) -> Result<Vec<Moment>, String> {
    text.lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty())
        .map(|(line, number)| moment(line, number))
        .collect()
}

fn moment(line: &str, number: usize) -> Result<Moment, String> {
    let flaw = |what: String| format!("line {number}: {what}");
    let line: Line = serde_json::from_str(line).map_err(|error| flaw(error.to_string()))?;
    if line.schema != SCHEMA {
        return Err(flaw(format!("its format is version {}; this cargo-memprof reads version {SCHEMA}", line.schema)));
    }
    let tests = line.tests.iter().map(|test| committed::test_of(test).map_err(flaw));
    let Line { commit, date, subject, dirty, .. } = line;
    let commit = Commit { hash: commit, date, subject, dirty };
    Ok(Moment { commit, changed: tests.collect::<Result<_, String>>()? })
}

/// The line to be added, with its end; `None` = the file has it already.
pub fn next_line(before: &[Moment], commit: Commit, now: BTreeMap<TestId, Seen>) -> Option<String> {
    let known = before.iter().flat_map(|moment| moment.changed.clone()).collect();
    let changed = super::changed(&known, now);
    if changed.is_empty() && before.last().is_some_and(|last| last.commit == commit) {
        return None;
    }
    let tests = changed.iter().map(|(id, seen)| committed::line(id, seen)).collect();
    let Commit { hash, date, subject, dirty } = commit;
    let line = Line { schema: SCHEMA, commit: hash, date, subject, dirty, tests };
    // Strings and numbers can always be written.
    serde_json::to_string(&line).ok().map(|line| line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::metrics::Metrics;

    fn tests(numbers: &[(&str, u64)]) -> BTreeMap<TestId, Seen> {
        let test = |&(name, alloc_objects): &(&str, u64)| {
            let id = TestId { package: "p".into(), kind: "lib".into(), target: "p".into(), name: name.into() };
            (id, Seen::once(Metrics { alloc_objects, ..Metrics::default() }))
        };
        numbers.iter().map(test).collect()
    }

    #[test]
    fn what_did_not_change_is_written_once() {
        let commit = |hash: &str| Commit { hash: hash.into(), subject: "a \"word\"\u{1b}".into(), ..Commit::default() };
        let mut text = String::new();
        let mut add = |hash: &str, numbers: &[(&str, u64)]| {
            let line = next_line(&parse(&text).unwrap(), commit(hash), tests(numbers));
            text.push_str(line.as_deref().unwrap_or(""));
            line
        };
        assert!(add("1", &[("a b", 3), ("c", 4)]).unwrap().contains("p lib/p a b alloc_objects=3 "));
        assert_eq!(add("1", &[("a b", 3), ("c", 4)]), None);
        assert!(add("2", &[("a b", 3)]).unwrap().ends_with("\"tests\":[]}\n"));
        assert!(add("3", &[("a b", 3), ("c", 5)]).unwrap().contains("c alloc_objects=5"));
        let moments = parse(&text).unwrap();
        assert_eq!(moments.iter().map(|moment| moment.changed.len()).collect::<Vec<_>>(), [2, 0, 1]);
        assert_eq!(moments[0].commit, commit("1"));
    }

    #[test]
    fn what_is_no_line_is_named_by_its_number() {
        let refused = |text: &str| parse(text).unwrap_err();
        assert!(refused("\n\nx").starts_with("line 3: "));
        let line = |schema: u32, test: &str| {
            format!(r#"{{"schema":{schema},"commit":"","date":"","subject":"","dirty":false,"tests":["{test}"]}}"#)
        };
        assert_eq!(refused(&line(2, "")), "line 1: its format is version 2; this cargo-memprof reads version 1");
        assert!(refused(&line(1, "p lib/p a alloc_objects=3")).contains("it is cut short"));
    }
}
