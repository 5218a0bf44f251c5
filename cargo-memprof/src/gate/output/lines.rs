//! The lines of the workspace that allocate more, over all tests that are over budget: one cause often affects many
//! tests. Pure.

use crate::gate::explain::Change;
use crate::gate::explain::evidence::Evidence;
use crate::gate::explain::names::short;
use crate::gate::metrics::Metric;
use crate::gate::outcome::Judged;
use camino::Utf8Path;
use std::collections::BTreeMap;

/// A line of the workspace, as file and number.
pub type FileLine = (String, i64);

/// What grew at one line.
#[derive(Debug, Default)]
pub struct Grown<'a> {
    /// Test, metric and what changed.
    pub changes: Vec<(&'a Judged, Metric, &'a Change)>,
}

impl Grown<'_> {
    /// How many tests it grew in.
    pub fn tests(&self) -> usize {
        let mut tests: Vec<_> = self.changes.iter().map(|(test, ..)| &test.id).collect();
        tests.dedup();
        tests.len()
    }

    /// The metric that the first test is over by, and the sum of it.
    pub fn sum(&self) -> Option<(Metric, i64)> {
        let (_, metric, _) = self.changes.first()?;
        let of_metric = self.changes.iter().filter(|(_, other, _)| other == metric);
        Some((*metric, of_metric.map(|(.., change)| change.difference()).fold(0, i64::saturating_add)))
    }

    /// The innermost function, where it is the same everywhere.
    pub fn function(&self) -> Option<String> {
        let mut names = self.changes.iter().map(|(.., change)| change.path.first());
        let first = names.next()??;
        names.all(|name| name == Some(first)).then(|| short(first))
    }

    fn weight(&self) -> i64 {
        self.changes.iter().map(|(.., change)| change.difference()).fold(0, i64::saturating_add)
    }
}

/// The worst first.
pub struct Lines<'a>(Vec<(FileLine, Grown<'a>)>);

impl<'a> Lines<'a> {
    /// Those of `over`, as far as `evidence` knows.
    pub fn of(over: &[&'a Judged], evidence: &'a Evidence) -> Lines<'a> {
        let mut lines: BTreeMap<FileLine, Grown<'a>> = BTreeMap::new();
        for test in over {
            let Some(explanation) = evidence.get(&test.id) else { continue };
            // One metric tells where; a second one would say the same of the same lines.
            let Some((metric, changes)) = explanation.changes.first() else { continue };
            for change in changes.iter().filter(|change| change.difference() > 0) {
                let (file, line) = change.own.clone().unwrap_or((change.file.clone(), change.line));
                if !file.is_empty() && !Utf8Path::new(&*file).is_absolute() {
                    lines.entry((file.to_string(), line)).or_default().changes.push((test, *metric, change));
                }
            }
        }
        let mut lines: Vec<(FileLine, Grown<'a>)> = lines.into_iter().collect();
        lines.sort_by(|a, b| b.1.weight().cmp(&a.1.weight()).then_with(|| a.0.cmp(&b.0)));
        Lines(lines)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &(FileLine, Grown<'a>)> {
        self.0.iter()
    }
}
