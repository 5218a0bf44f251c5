//! The baseline's file: finds, reads and writes it, and decides which of its lines a run replaces.

use crate::context::conditions::Difference;
use crate::files::intake;
use crate::files::outlet;
use crate::gate::committed::{Baseline, Flaw, TargetId};
use crate::gate::compare;
use crate::gate::compare::doctest_lines;
use crate::gate::compare::loaded_run::LoadedRun;
use crate::gate::compare::loaded_test::LoadedTest;
use crate::gate::compare::one_test;
use crate::gate::compare::units;
use crate::gate::metrics::{Metric, Seen};
use crate::gate::outcome::{Finding, Judged};
use crate::gate::policy::Policy;
use crate::gate::policy::pattern::Pattern;
use crate::gate::program;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use camino::{Utf8Path, Utf8PathBuf};
use memprof_profile::record::TestId;
use memprof_profile::view::plain::plain;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Its name where nobody says otherwise, relative to the root of the workspace.
pub const DEFAULT: &str = "memprof.baseline";
/// The same of benchmarks, which cargo compiles with another profile.
pub const DEFAULT_OF_BENCHMARKS: &str = "memprof.bench.baseline";

/// The file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaselineFile {
    path: Utf8PathBuf,
}

/// Which lines a run replaces.
#[derive(Debug, Clone, Copy)]
pub enum Taking<'a> {
    /// Those whose metrics are others than were seen.
    Changed,
    /// Those that are over or better: what is within its limits is noise.
    Needed,
    /// As [`Taking::Changed`], of tests that one of these names. Not empty.
    Named(&'a [Pattern]),
}

impl Taking<'_> {
    fn means(&self, id: &TestId) -> bool {
        match self {
            Taking::Changed | Taking::Needed => true,
            Taking::Named(patterns) => patterns.iter().any(|pattern| names(pattern, id)),
        }
    }
}

/// Whether `pattern` is for the test: by its name alone, as the gate labels it, or as its line begins. What is for a test is for what it starts.
pub fn names(pattern: &Pattern, id: &TestId) -> bool {
    let line = || format!("{} {}/{} {}", id.package, id.kind, id.target, id.name);
    let is_it = pattern.matches(&id.name) || pattern.matches(&id.label()) || pattern.matches(&line());
    is_it || program::of_line(id).is_some_and(|(test, _)| names(pattern, &test))
}

/// What writing changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<TestId>,
    pub changed: Vec<TestId>,
    pub removed: Vec<TestId>,
    /// Tests of the run whose metrics are now in the baseline, changed or not.
    pub taken: Vec<TestId>,
    /// Those of them whose line is of these very runs, so that it belongs to their profiles.
    pub profiled: Vec<TestId>,
    /// Excluded ones, whose metrics were left alone.
    pub excluded: Vec<TestId>,
    /// Conditions of the file that are others now.
    pub conditions: Vec<Difference>,
    /// Targets whose lines were of other units, and in what they differed.
    pub units: Vec<(TargetId, Vec<Difference>)>,
    /// Tests of the run that failed or did not come to their end, which have no metrics to take.
    pub without_metrics: Vec<TestId>,
}

impl BaselineFile {
    pub fn new(path: Utf8PathBuf) -> BaselineFile {
        BaselineFile { path }
    }

    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// What is in it; `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read or understood.
    pub fn read(&self) -> Result<Option<Baseline>, Error> {
        self.look()?.map(|found| found.map_err(|flaw| self.refuse(flaw))).transpose()
    }

    /// The same; where what is in it is no baseline, why.
    fn look(&self) -> Result<Option<Result<Baseline, Flaw>>, Error> {
        let bytes = match intake::read(self.path.as_std_path()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let help = "make it a file that can be read, or pass another with `--baseline FILE`";
                return Err(self.unreadable().caused_by(error).help(help));
            }
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
            Flaw::new(Some(line), "it is not UTF-8")
        });
        Ok(Some(text.and_then(|text| Baseline::parse(&text))))
    }

    fn refuse(&self, flaw: Flaw) -> Error {
        let place = flaw.line.map_or_else(String::new, |line| format!("line {line}: "));
        let help = flaw.help.unwrap_or_else(|| {
            "restore it from git, or record it anew: remove it and run `cargo memprof test --save-baseline`".into()
        });
        // It quotes from the file.
        self.unreadable().caused_by(format!("{place}{}", plain(&flaw.what))).help(help)
    }

    fn unreadable(&self) -> Error {
        Error::new(format!("cannot read the baseline `{}`", self.path)).with_code(ExitCode::CANNOT_COMPARE)
    }

    /// Puts the metrics of `run` in it. Lines of tests that did not run stay; lines of deleted tests are removed. A file of an older version is
    /// as good as none where all tests ran, and all are to be taken.
    ///
    /// # Errors
    /// Where a pattern matches nothing, lines of other conditions would stay, or the file cannot be read or written.
    pub fn take(&self, run: &LoadedRun, policy: &Policy, taking: Taking<'_>) -> Result<Changes, Error> {
        let old = match self.look()? {
            None => None,
            Some(Ok(old)) => Some(old),
            Some(Err(flaw)) if flaw.is_older && matches!(taking, Taking::Changed) && !run.run.filtered => None,
            Some(Err(flaw)) => return Err(self.refuse(flaw)),
        };
        let (new, changes) = taken(old.as_ref(), run, policy, taking).map_err(|error| {
            let failure = Error::new(format!("cannot write the baseline `{}`", self.path));
            failure.caused_by(error.0).help(error.1).with_code(ExitCode::CANNOT_COMPARE)
        })?;
        self.write(&new)?;
        Ok(changes)
    }

    /// Whole or not at all: a baseline cut short would be one with fewer tests.
    fn write(&self, baseline: &Baseline) -> Result<(), Error> {
        let folder = self.path.parent().filter(|folder| !folder.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
        let write = || -> io::Result<()> {
            fs_err::create_dir_all(folder)?;
            // What a link leads to has been read as a baseline, and the link is the user's.
            let place = if self.path.is_symlink() { self.path.canonicalize_utf8()? } else { self.path.clone() };
            outlet::put(place, baseline.to_text())
        };
        write().map_err(|error| {
            Error::new(format!("cannot write the baseline `{}`", self.path))
                .caused_by(error)
                .help("pass another file with `--baseline FILE`")
                .with_code(ExitCode::OUTPUT)
        })
    }
}

/// Why lines cannot be taken, and what to do.
type Refusal = (String, String);

/// What somebody may have meant by a pattern that no name matches.
fn advice(pattern: &Pattern, names: &[&str]) -> String {
    let part = pattern.as_str().trim_matches('*');
    let near: Vec<String> =
        names.iter().filter(|name| name.contains(part)).take(3).map(|name| format!("`{name}`")).collect();
    if near.is_empty() {
        let some: Vec<String> = names.iter().take(3).map(|name| format!("`{name}`")).collect();
        return format!("it has tests such as {}", some.join(", "));
    }
    format!("a pattern matches a whole name, as `'*{part}*'` does; there is {}", near.join(", "))
}

fn taken(
    old: Option<&Baseline>,
    run: &LoadedRun,
    policy: &Policy,
    taking: Taking<'_>,
) -> Result<(Baseline, Changes), Refusal> {
    let empty = Baseline { conditions: run.run.conditions.clone(), ..Baseline::default() };
    let old = old.unwrap_or(&empty);
    let aligned = doctest_lines::aligned(old, run);
    let old = aligned.as_ref().unwrap_or(old);
    let differences = old.conditions.differences(&run.run.conditions);
    let mut new = Baseline { conditions: run.run.conditions.clone(), ..old.clone() };
    let otherwise = units::differences(old, run);
    let is_otherwise = |id: &TestId| !differences.is_empty() || otherwise.contains_key(&TargetId::of(id));
    let mut changes = Changes { conditions: differences.clone(), ..Changes::default() };
    let by_test = run.by_test();
    let outcome = compare::compare(old, run, policy);
    let judged: BTreeMap<&TestId, &Judged> = outcome.tests.iter().map(|test| (&test.id, test)).collect();
    for (id, repeats) in by_test.iter().filter(|(id, _)| taking.means(id)) {
        // Under other conditions nothing of before may stay.
        if policy.exclusion(id).is_some() && (!is_otherwise(id) || !old.tests.contains_key(id)) {
            changes.excluded.push(id.clone());
            continue;
        }
        let whole = repeats.iter().all(|test| test.is_whole());
        let Some(seen) = one_test::seen(repeats).filter(|_| whole) else {
            // A program that is there until it is killed has no metrics, and needs none.
            if program::of_line(id).is_none() || old.tests.get(id).is_some_and(|line| line.killed == 0) {
                changes.without_metrics.push(id.clone());
            }
            continue;
        };
        changes.taken.push(id.clone());
        let stays = match old.tests.get(id) {
            None => {
                changes.added.push(id.clone());
                None
            }
            Some(before) => {
                let seen = with_peak_of(before, seen, repeats, policy);
                let needed = match taking {
                    _ if is_otherwise(id) => *before != seen,
                    Taking::Changed | Taking::Named(_) => !before.holds(&seen) || seen.killed > 0 && before.killed == 0,
                    Taking::Needed => judged.get(id).is_some_and(|test| is_needed(test)),
                };
                if needed {
                    changes.changed.push(id.clone());
                }
                (!needed).then_some(*before)
            }
        };
        let line = stays.unwrap_or_else(|| match old.tests.get(id) {
            Some(before) => with_peak_of(before, seen, repeats, policy),
            None => seen,
        });
        if line.most.alloc_objects == seen.most.alloc_objects && line.most.alloc_space == seen.most.alloc_space {
            changes.profiled.push(id.clone());
        }
        new.tests.insert(id.clone(), line);
    }
    changes.removed = compare::gone(old, run).into_iter().filter(|id| taking.means(id)).collect();
    new.tests.retain(|id, _| !changes.removed.contains(id));
    if let Taking::Named(patterns) = taking {
        let tests: Vec<&TestId> = by_test.keys().chain(&changes.removed).collect();
        if let Some(pattern) = patterns.iter().find(|pattern| !tests.iter().any(|id| names(pattern, id))) {
            let names: Vec<&str> = tests.iter().map(|id| id.name.as_str()).collect();
            return Err((format!("no test of the last run matches `{}`", pattern.as_str()), advice(pattern, &names)));
        }
    }
    let stay = new.tests.keys().find(|id| !changes.taken.contains(id));
    if let (Some(difference), Some(stay)) = (differences.first(), stay) {
        let help = "run all tests and take all of them: `cargo memprof test --save-baseline`";
        return Err((
            format!("{difference}, and metrics of tests such as `{}` would stay", stay.name),
            help.to_owned(),
        ));
    }
    let mixed = new.tests.keys().find(|id| otherwise.contains_key(&TargetId::of(id)) && !changes.taken.contains(id));
    if let Some(stays) = mixed {
        let target = TargetId::of(stays);
        let differences: Vec<String> = otherwise[&target].iter().map(Difference::change).collect();
        return Err((
            format!(
                "`{target}` was compiled otherwise ({}), and metrics of tests such as `{}` would stay",
                differences.join(", "),
                stays.name
            ),
            "take all of the target's tests, or choose the packages and flags that the baseline was recorded with"
                .to_owned(),
        ));
    }
    changes.units = otherwise
        .into_iter()
        .filter(|(target, _)| changes.taken.iter().any(|id| TargetId::of(id) == *target))
        .collect();
    for (target, built) in units::built(run) {
        // What is the same but for the packages that were chosen stays as it was.
        if new.units.get(&target).is_none_or(|before| before.unit != built.unit) {
            new.units.insert(target, built);
        }
    }
    let with_tests: BTreeSet<TargetId> = new.tests.keys().map(TargetId::of).collect();
    new.units.retain(|target, _| with_tests.contains(target));
    if changes.taken.is_empty() && changes.removed.is_empty() && changes.excluded.is_empty() {
        return Err((
            "no test of the run has metrics to take".to_owned(),
            "see above why its tests failed, or why their targets were not profiled".to_owned(),
        ));
    }
    Ok((new, changes))
}

/// `seen` with the peak of the line of before, where both depend on who runs when: such a peak would change the line with every run.
fn with_peak_of(before: &Seen, seen: Seen, repeats: &[&LoadedTest], policy: &Policy) -> Seen {
    let threads = repeats.iter().map(|test| test.threads).max().unwrap_or(1);
    let Some(id) = repeats.first().map(|test| test.id()) else { return seen };
    if policy.compares_peak(&id, threads) || before.most.error(Metric::PeakSpace) == 0 {
        return seen;
    }
    let mut seen = seen;
    for (side, before) in [(&mut seen.least, before.least), (&mut seen.most, before.most)] {
        (side.peak_space, side.peak_error) = (before.peak_space, before.peak_error);
    }
    seen
}

/// Whether the test's line says no longer what holds.
fn is_needed(test: &Judged) -> bool {
    let says_more =
        |(_, finding): &(_, Finding)| matches!(finding, Finding::PeakNotCompared { .. } | Finding::Killed { .. });
    !test.better.is_empty() || test.failures().any(Finding::is_budget) || test.findings.iter().any(says_more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(tests: &[(&str, u64)]) -> LoadedRun {
        let tests: Vec<serde_json::Value> = tests
            .iter()
            .map(|(name, objects)| {
                serde_json::json!({
                    "package": "p", "target": "p", "kind": "lib", "name": name, "outcome": "ok", "cut_short": false,
                    "source_file": "", "start_line": 0, "threads": 1, "alloc_objects": objects, "alloc_space": 0,
                    "peak_space": 0, "inuse_space": 0
                })
            })
            .collect();
        let conditions = serde_json::json!({
            "rustc": "1", "target": "t", "profile": "test", "features": "default", "seeds": "random", "counting": 1
        });
        serde_json::from_value(serde_json::json!({
            "schema": 1, "tests": tests, "unprofiled": [],
            "run": { "command": "", "rate": 1, "repeat": 1, "conditions": conditions, "cargo_exit": 0, "interrupted": false,
                     "unreadable_ledgers": 0 }
        }))
        .unwrap()
    }

    fn names(ids: &[TestId]) -> Vec<&str> {
        ids.iter().map(|id| id.name.as_str()).collect()
    }

    #[test]
    fn a_run_adds_changes_and_removes_lines() {
        let folder = tempfile::tempdir().unwrap();
        let file = BaselineFile::new(Utf8Path::from_path(folder.path()).unwrap().join("x/b"));
        let policy = Policy::default();
        let changes = file.take(&run(&[("a", 1), ("b", 2), ("c", 3)]), &policy, Taking::Changed).unwrap();
        assert_eq!(names(&changes.added), ["a", "b", "c"]);
        let now = run(&[("a", 1), ("b", 5), ("d", 4)]);
        let some = file.take(&now, &policy, Taking::Named(&[Pattern::new("d")])).unwrap();
        assert_eq!((names(&some.added), names(&some.removed)), (vec!["d"], vec![]));
        let all = file.take(&now, &policy, Taking::Changed).unwrap();
        assert_eq!((names(&all.changed), names(&all.removed)), (vec!["b"], vec!["c"]));
        let tests = file.read().unwrap().unwrap().tests;
        let objects: Vec<u64> = tests.values().map(|seen| seen.most.alloc_objects).collect();
        assert_eq!(objects, [1, 5, 4]);
        let error = file.take(&now, &policy, Taking::Named(&[Pattern::new("e")])).unwrap_err();
        assert_eq!(error.advice(), Some("it has tests such as `a`, `b`, `d`"));
        // A part of a name is no name; and a line whose test is gone can go alone.
        let longer = run(&[("tests::b", 1)]);
        let error = file.take(&longer, &policy, Taking::Named(&[Pattern::new("st*")])).unwrap_err();
        assert!(error.advice().unwrap().contains("`'*st*'` does; there is `tests::b`"), "{error}");
        let gone = file.take(&longer, &policy, Taking::Named(&[Pattern::new("d")])).unwrap();
        assert_eq!((names(&gone.taken), names(&gone.removed)), (vec![], vec!["d"]));
    }

    #[test]
    fn lines_of_other_conditions_never_stay_among_new_ones() {
        let folder = tempfile::tempdir().unwrap();
        let file = BaselineFile::new(Utf8Path::from_path(folder.path()).unwrap().join("b"));
        let policy = Policy::default();
        file.take(&run(&[("a", 1), ("b", 2)]), &policy, Taking::Changed).unwrap();
        let mut now = run(&[("a", 1), ("b", 3)]);
        now.run.conditions.rustc = "2".into();
        assert!(file.take(&now, &policy, Taking::Named(&[Pattern::new("a")])).is_err());
        file.take(&now, &policy, Taking::Changed).unwrap();
        assert_eq!(file.read().unwrap().unwrap().conditions.rustc, "2");
    }

    #[test]
    fn a_link_to_a_baseline_stays_one_and_a_link_to_anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let (file, real) = (BaselineFile::new(folder.join("link")), folder.join("real"));
        fs_err::os::unix::fs::symlink("real", file.path()).unwrap();
        let policy = Policy::default();
        let take = |objects| file.take(&run(&[("a", objects)]), &policy, Taking::Changed);
        let error = take(1).unwrap_err();
        assert!(error.causes()[0].ends_with("it is a link to `real`, which is not there"), "{error}");
        fs_err::write(&real, "mine\n").unwrap();
        assert!(take(1).is_err() && fs_err::read_to_string(&real).unwrap() == "mine\n");
        fs_err::remove_file(&real).unwrap();
        BaselineFile::new(real.clone()).take(&run(&[("a", 1)]), &policy, Taking::Changed).unwrap();
        take(2).unwrap();
        assert!(file.path().is_symlink() && fs_err::read_to_string(&real).unwrap().contains("alloc_objects=2"));
    }

    #[test]
    fn a_broken_file_names_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("b");
        let file = BaselineFile::new(path.clone());
        assert_eq!(file.read().unwrap(), None);
        fs_err::write(&path, b"# x\n\xff\n").unwrap();
        assert_eq!(file.read().unwrap_err().causes(), ["line 2: it is not UTF-8"]);
        fs_err::write(&path, b"# x\nhello\n").unwrap();
        assert!(file.read().unwrap_err().causes()[0].starts_with("line 2: "));
        assert!(BaselineFile::new(Utf8Path::from_path(folder.path()).unwrap().to_owned()).read().is_err());
    }
}
