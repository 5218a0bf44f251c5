//! The baseline's file: found, read and written; and which of its lines a run replaces.

use super::baseline::{Baseline, Flaw};
use super::compare;
use super::pattern::Pattern;
use super::policy::Policy;
use super::recorded::RecordedRun;
use crate::files::intake;
use crate::files::outlet;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use camino::{Utf8Path, Utf8PathBuf};
use memprof_profile::record::TestId;
use memprof_profile::view::plain::plain;
use std::collections::BTreeMap;
use std::io;

/// Its name where nobody says otherwise, relative to the root of the workspace.
pub const DEFAULT: &str = "memprof.baseline";

/// The file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaselineFile {
    path: Utf8PathBuf,
}

/// What writing changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<TestId>,
    pub changed: Vec<TestId>,
    pub removed: Vec<TestId>,
    /// Tests of the run whose figures are now in the baseline, changed or not.
    pub taken: Vec<TestId>,
    /// Tests of the run that failed or did not come to their end, which have no figures to take.
    pub without_figures: Vec<TestId>,
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
        let failed =
            || Error::new(format!("cannot read the baseline `{}`", self.path)).with_code(ExitCode::CANNOT_COMPARE);
        let bytes = match intake::read(self.path.as_std_path()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed().caused_by(error).help("pass another file with `--baseline FILE`")),
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
            Flaw { line: Some(line), what: "it is not UTF-8".into(), help: None }
        });
        text.and_then(|text| Baseline::parse(&text)).map(Some).map_err(|flaw| {
            let place = flaw.line.map_or_else(String::new, |line| format!("line {line}: "));
            let help = flaw.help.unwrap_or_else(|| {
                "restore it from git, or record it anew: remove it and run `cargo memprof test --save-baseline`".into()
            });
            // It quotes from the file.
            failed().caused_by(format!("{place}{}", plain(&flaw.what))).help(help)
        })
    }

    /// Puts the figures of `run` in it: of the tests that match one of `patterns`, or of all where there are none.
    /// Lines of tests that did not run stay; lines of tests that are gone go.
    ///
    /// # Errors
    /// Where a pattern matches nothing, lines of other conditions would stay, or the file cannot be read or written.
    pub fn take(&self, run: &RecordedRun, policy: &Policy, patterns: &[Pattern]) -> Result<Changes, Error> {
        let old = self.read()?;
        let (new, changes) = taken(old.as_ref(), run, policy, patterns).map_err(|error| {
            let asked = Error::new(format!("cannot write the baseline `{}`", self.path));
            asked.caused_by(error.0).help(error.1).with_code(ExitCode::CANNOT_COMPARE)
        })?;
        self.write(&new)?;
        Ok(changes)
    }

    /// Whole or not at all: a baseline cut short would be one with fewer tests.
    fn write(&self, baseline: &Baseline) -> Result<(), Error> {
        let folder = self.path.parent().filter(|folder| !folder.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
        let write = || -> io::Result<()> {
            fs_err::create_dir_all(folder)?;
            outlet::put(&self.path, baseline.to_text())
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
    run: &RecordedRun,
    policy: &Policy,
    patterns: &[Pattern],
) -> Result<(Baseline, Changes), Refusal> {
    let empty = Baseline { conditions: run.run.conditions.clone(), tests: BTreeMap::new() };
    let old = old.unwrap_or(&empty);
    let differences = old.conditions.differences(&run.run.conditions);
    let meant = |id: &TestId| patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(&id.name));
    let mut new = Baseline { conditions: run.run.conditions.clone(), tests: old.tests.clone() };
    let mut changes = Changes::default();
    let by_test = run.by_test();
    for (id, repeats) in by_test.iter().filter(|(id, _)| meant(id)) {
        let whole = repeats.iter().all(|test| test.is_whole());
        let Some(figures) = compare::least(repeats).filter(|_| whole) else {
            changes.without_figures.push(id.clone());
            continue;
        };
        let threads = repeats.iter().map(|test| test.threads).max().unwrap_or(1);
        let mut figures = figures;
        changes.taken.push(id.clone());
        match old.tests.get(id) {
            None => changes.added.push(id.clone()),
            Some(before) => {
                // A peak that differs by chance would change the line with every run.
                if !policy.compares_peak(id, threads) {
                    (figures.peak_space, figures.peak_error) = (before.peak_space, before.peak_error);
                }
                if before.may_equal(&figures) && differences.is_empty() {
                    continue;
                }
                if *before != figures {
                    changes.changed.push(id.clone());
                }
            }
        }
        new.tests.insert(id.clone(), figures);
    }
    changes.removed = compare::gone(old, run).into_iter().filter(meant).collect();
    new.tests.retain(|id, _| !changes.removed.contains(id));
    let names: Vec<&str> = by_test.keys().chain(&changes.removed).map(|id| id.name.as_str()).collect();
    if let Some(pattern) = patterns.iter().find(|pattern| !names.iter().any(|name| pattern.matches(name))) {
        return Err((format!("no test of the last run matches `{}`", pattern.as_str()), advice(pattern, &names)));
    }
    let stay = new.tests.keys().find(|id| !changes.taken.contains(id));
    if let (Some(difference), Some(stay)) = (differences.first(), stay) {
        let help = "run all tests and take all of them: `cargo memprof test --save-baseline`";
        return Err((
            format!("{difference}, and figures of tests such as `{}` would stay", stay.name),
            help.to_owned(),
        ));
    }
    if changes.taken.is_empty() && changes.removed.is_empty() {
        return Err((
            "no test of the run has figures to take".to_owned(),
            "see above why its tests failed, or why their targets were not profiled".to_owned(),
        ));
    }
    Ok((new, changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(tests: &[(&str, u64)]) -> RecordedRun {
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
        let changes = file.take(&run(&[("a", 1), ("b", 2), ("c", 3)]), &policy, &[]).unwrap();
        assert_eq!(names(&changes.added), ["a", "b", "c"]);
        let now = run(&[("a", 1), ("b", 5), ("d", 4)]);
        let some = file.take(&now, &policy, &[Pattern::new("d")]).unwrap();
        assert_eq!((names(&some.added), names(&some.removed)), (vec!["d"], vec![]));
        let all = file.take(&now, &policy, &[]).unwrap();
        assert_eq!((names(&all.changed), names(&all.removed)), (vec!["b"], vec!["c"]));
        let tests = file.read().unwrap().unwrap().tests;
        let objects: Vec<u64> = tests.values().map(|figures| figures.alloc_objects).collect();
        assert_eq!(objects, [1, 5, 4]);
        let error = file.take(&now, &policy, &[Pattern::new("e")]).unwrap_err();
        assert_eq!(error.advice(), Some("it has tests such as `a`, `b`, `d`"));
        // A part of a name is no name; and a line whose test is gone can go alone.
        let longer = run(&[("tests::b", 1)]);
        let error = file.take(&longer, &policy, &[Pattern::new("st*")]).unwrap_err();
        assert!(error.advice().unwrap().contains("`'*st*'` does; there is `tests::b`"), "{error}");
        let gone = file.take(&longer, &policy, &[Pattern::new("d")]).unwrap();
        assert_eq!((names(&gone.taken), names(&gone.removed)), (vec![], vec!["d"]));
    }

    #[test]
    fn lines_of_other_conditions_never_stay_among_new_ones() {
        let folder = tempfile::tempdir().unwrap();
        let file = BaselineFile::new(Utf8Path::from_path(folder.path()).unwrap().join("b"));
        let policy = Policy::default();
        file.take(&run(&[("a", 1), ("b", 2)]), &policy, &[]).unwrap();
        let mut now = run(&[("a", 1), ("b", 3)]);
        now.run.conditions.rustc = "2".into();
        assert!(file.take(&now, &policy, &[Pattern::new("a")]).is_err());
        file.take(&now, &policy, &[]).unwrap();
        assert_eq!(file.read().unwrap().unwrap().conditions.rustc, "2");
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
