//! The reference of a run: where the baseline is, which limits hold for it, and how it is read and written.

use crate::context::Context;
use crate::context::cargo_env::absolute;
use crate::context::conditions::Conditions;
use crate::context::config::Config;
use crate::context::features::Features;
use crate::context::target_dir;
use crate::gate::baseline::against::Against;
use crate::gate::baseline::file::{self, BaselineFile, Changes, Taking};
use crate::gate::baseline::store::{Repeat, Store};
use crate::gate::committed::Baseline;
use crate::gate::compare;
use crate::gate::compare::loaded_run::LoadedRun;
use crate::gate::compare::loaded_test::LoadedTest;
use crate::gate::compare::one_test;
use crate::gate::compare::units;
use crate::gate::flags::GateFlags;
use crate::gate::metrics::Seen;
use crate::gate::outcome::Severity;
use crate::gate::policy::Policy;
use crate::report::layout;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use camino::{Utf8Path, Utf8PathBuf};
use memprof_profile::record::TestId;
use memprof_profile::view::amount::plural;
use memprof_profile::view::plain::plain;
use std::collections::BTreeMap;
use std::fmt;

/// What is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// For people.
    pub name: String,
    /// A file that new metrics can be taken into, as opposed to another revision.
    pub committed: bool,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// See the head of this file.
pub struct Reference {
    pub file: BaselineFile,
    /// The profiles that belong to it.
    pub store: Store,
    pub policy: Policy,
    /// As the user knows it.
    pub source: Source,
    of_benchmarks: bool,
    features: Features,
}

impl Reference {
    /// What a run in this place is compared with; `flags` are the user's.
    ///
    /// # Errors
    /// Where the configuration or a path cannot be used.
    pub fn find(context: &Context<'_>, flags: &GateFlags) -> Result<Reference, Error> {
        let root = &context.workspace.root;
        let mut policy = Config::<Policy>::read(&context.workspace)?.gate;
        policy.allow(&flags.allow);
        let usual = match flags.bench {
            None => policy.baseline.as_deref().unwrap_or(file::DEFAULT),
            Some(_) => policy.bench_baseline.as_deref().unwrap_or(file::DEFAULT_OF_BENCHMARKS),
        };
        let path = match &flags.baseline {
            Some(path) => absolute(path, "--baseline")?,
            None => root.join(usual),
        };
        let folder = match &flags.baseline_dir {
            Some(folder) => absolute(folder, "--baseline-dir")?,
            None => {
                let ours = context.cargo_env.target_dir(&context.workspace)?.join(target_dir::NAME);
                ours.join(layout::BASELINE)
            }
        };
        let of_benchmarks = flags.bench.is_some();
        // A `#[bench]` is a test as well, and has one name as both.
        let prefix = if of_benchmarks { "bench." } else { "" };
        let source = Source { name: near(&path).into_string(), committed: true };
        Ok(Reference {
            file: BaselineFile::new(path),
            store: Store::Folder(folder, prefix),
            policy,
            source,
            of_benchmarks,
            features: Features::of(&context.workspace),
        })
    }

    /// Another revision in place of the file.
    ///
    /// # Errors
    /// Where that cannot be recorded.
    pub fn against(mut self, against: Against<'_>) -> Result<(Reference, Baseline), Error> {
        let run = against.record()?;
        let tests = metrics_of(&run);
        self.store = Store::of_run(&run, Repeat::Most);
        self.source = Source { name: against.revision.name.clone(), committed: false };
        // There is no line that could be removed when a test is.
        self.policy.gone = self.policy.gone.min(Severity::Warn);
        // Both sides were built by the same command: where units differ, it is the change that does it.
        Ok((self, Baseline { conditions: run.run.conditions, tests, ..Baseline::default() }))
    }

    /// The committed file, read.
    ///
    /// # Errors
    /// Where there is none, or it cannot be read.
    pub fn baseline(&self) -> Result<Baseline, Error> {
        self.file.read()?.ok_or_else(|| {
            Error::new("cannot compare with the baseline")
                .caused_by(format!("there is no `{}`", self.file.path()))
                .help(format!("record one with `{}` and commit it", self.saving()))
                .with_code(ExitCode::CANNOT_COMPARE)
        })
    }

    /// The conditions `now`, in the words of the baseline where these mean the same.
    pub fn in_its_words(&self, baseline: &Conditions, now: &Conditions) -> Conditions {
        let same = self.features.are_the_same(&baseline.features, &now.features);
        Conditions { features: if same { &baseline.features } else { &now.features }.clone(), ..now.clone() }
    }

    /// The command that records the baseline.
    fn saving(&self) -> &'static str {
        if self.of_benchmarks { "cargo memprof bench --save-baseline" } else { "cargo memprof test --save-baseline" }
    }

    /// That `run` is of what the baseline is of; `request` says what cannot be done otherwise.
    ///
    /// # Errors
    /// Where one is of benchmarks, and the other is not.
    pub fn must_fit(&self, run: &LoadedRun, request: &str) -> Result<(), Error> {
        let (what, help) = match (run.run.is_of_benchmarks(), self.of_benchmarks) {
            (true, false) => ("benchmarks, and the baseline is of tests", "pass `--bench`, or run the tests again"),
            (false, true) => {
                ("tests, and the baseline is of benchmarks", "leave `--bench` out, or run the benchmarks again")
            }
            _ => return Ok(()),
        };
        let error = Error::new(request).caused_by(format!("it is of {what}")).help(help);
        Err(error.with_code(ExitCode::CANNOT_COMPARE))
    }

    /// What is wrong with the committed file and keeps nothing from being compared; `accept` mends it.
    pub fn remarks(&self, baseline: &Baseline, run: &LoadedRun) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(test) = baseline.merged.first().filter(|_| self.source.committed) {
            remarks.push(format!(
                "a merge left more than one line of {} in `{}`, such as `{}`: the lower counts\n`cargo memprof accept` writes one, with metrics of the last run where these are over",
                plural(baseline.merged.len(), "test"),
                self.source,
                plain(&test.name)
            ));
        }
        if self.source.committed
            && let Some(target) = units::missing(baseline, run).first()
        {
            remarks.push(format!(
                "`{}` does not say how `{}` was compiled: its features and flags are not held against those of this run\n`cargo memprof accept` adds the `@unit`",
                self.source,
                plain(&target.to_string())
            ));
        }
        remarks
    }

    /// Takes the metrics of tests of `run`.
    ///
    /// # Errors
    /// Where the file or its profiles cannot be written.
    pub fn take(&self, run: &LoadedRun, taking: Taking<'_>, context: &Context<'_>) -> Result<(), Error> {
        let mut run = run.clone();
        // A file that cannot be read is for whoever writes it to judge.
        if let Ok(Some(baseline)) = self.file.read() {
            run.run.conditions = self.in_its_words(&baseline.conditions, &run.run.conditions);
        }
        let run = &run;
        let changes = self.file.take(run, &self.policy, taking)?;
        self.store.keep(run, &changes.profiled)?;
        if !changes.without_metrics.is_empty() {
            let names: Vec<String> =
                changes.without_metrics.iter().map(|id| format!("`{}`", plain(&id.name))).collect();
            context.shell.warn(&format!(
                "not taken, because they failed, were cut short or partially recorded: {}",
                names.join(", ")
            ));
        }
        let unstable = compare::unstable_tests(run, &changes.taken);
        if !unstable.is_empty() {
            let names: Vec<String> = unstable.iter().map(|id| format!("`{}`", plain(&id.name))).collect();
            context.shell.warn(&format!(
                "not the same on every run: {}\nall that was seen is in their lines; `cargo memprof gate --repeat 5` says where they differ, and why",
                names.join(", "),
            ));
        }
        for difference in &changes.conditions {
            let condition = difference.condition;
            context.shell.warn(&format!(
                "the baseline is now of {condition} `{}`; it was of `{}`",
                plain(&difference.now),
                plain(&difference.before)
            ));
        }
        for (target, differences) in &changes.units {
            let differences: Vec<String> = differences.iter().map(|one| plain(&one.change()).into_owned()).collect();
            context.shell.warn(&format!(
                "`{}` was compiled otherwise: {}",
                plain(&target.to_string()),
                differences.join(", ")
            ));
        }
        context.shell.status("Baseline", &sentence(&changes, self.file.path()));
        Ok(())
    }
}

/// What `run` has shown of each test that came to its end.
pub fn metrics_of(run: &LoadedRun) -> BTreeMap<TestId, Seen> {
    let whole = |repeats: &Vec<&LoadedTest>| repeats.iter().all(|test| test.is_whole());
    let tests = run.by_test().into_iter().filter(|(_, repeats)| whole(repeats));
    tests.filter_map(|(id, repeats)| one_test::seen(&repeats).map(|seen| (id, seen))).collect()
}

/// There is nothing to do `what` with.
pub fn nothing_ran(what: &str) -> Error {
    Error::new(format!("cannot {what}"))
        .caused_by("no test was recorded")
        .help("see that the package has tests, that no filter leaves them all out, and that their targets can be measured")
        .with_code(ExitCode::CANNOT_COMPARE)
}

/// What was done to the baseline, as a status.
fn sentence(changes: &Changes, path: &Utf8Path) -> String {
    let parts: Vec<String> = [(&changes.added, "added"), (&changes.changed, "changed"), (&changes.removed, "removed")]
        .into_iter()
        .filter(|(tests, _)| !tests.is_empty())
        .map(|(tests, what)| format!("{} {what}", plural(tests.len(), "test")))
        .collect();
    let same = format!("{} unchanged", plural(changes.taken.len(), "test"));
    let mut sentence = if parts.is_empty() { same } else { parts.join(", ") };
    if !changes.excluded.is_empty() {
        sentence.push_str(&format!(", {} excluded", changes.excluded.len()));
    }
    format!("{}: {sentence}", near(path))
}

/// `path` as one would type it here.
pub fn near(path: &Utf8Path) -> Utf8PathBuf {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.as_std_path().strip_prefix(here).ok())
        .and_then(|path| Utf8PathBuf::from_path_buf(path.to_owned()).ok())
        .unwrap_or_else(|| path.to_owned())
}
