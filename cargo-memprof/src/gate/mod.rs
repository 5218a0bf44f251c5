//! The gate: allocation figures are held against a committed baseline, and what grew is explained. This file has the
//! commands; whatever decides anything is in a file of its own and pure.

pub mod baseline;
pub mod compare;
pub mod figures;
pub mod flags;
pub mod limit;
pub mod outcome;
pub mod pattern;
pub mod policy;
pub mod recorded;

mod against;
mod annotate;
mod checkout;
mod doctest;
mod evidence;
mod explain;
mod file;
mod job_summary;
mod json;
mod junit;
mod lines;
mod names;
mod outputs;
mod picture;
mod self_test;
mod stacks;
mod store;
mod text;
mod varying;

use crate::config::Config;
use crate::context::Context;
use crate::context::cargo_args::CargoArgs;
use crate::context::test_filter;
use crate::drive;
use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::options::TestOptions;
use crate::report::{LastCommand, layout};
use crate::surroundings::absolute;
use crate::view::amount::plural;
use crate::view::plain::plain;
use against::Against;
use baseline::Baseline;
use camino::{Utf8Path, Utf8PathBuf};
use evidence::Evidence;
use file::{BaselineFile, Changes};
use flags::GateFlags;
use memprof_harness::modes::Modes;
use outcome::{Doubt, Outcome, Verdict};
use outputs::Outputs;
use pattern::Pattern;
use policy::{Policy, Severity};
use recorded::{RecordedRun, RecordedTest};
use std::path::PathBuf;
use store::Store;
use text::Source;

/// What `cargo memprof gate` was asked for; `test` with the gate's flags is the same.
#[derive(Debug)]
pub struct GateOptions {
    pub test: TestOptions,
    pub flags: GateFlags,
}

impl GateOptions {
    /// Words that choose tests, or how they run, mean nothing where none is run; a user who wrote them thinks otherwise.
    fn refuse_idle_words(&self) -> Result<(), Error> {
        // With `--against`, the other revision may have to be run.
        if !self.flags.no_run || self.flags.against.is_some() {
            return Ok(());
        }
        let modes = (self.flags.modes != Modes::default()).then(|| "--repeat or --deterministic".to_owned());
        let Some(word) = test_filter::choice(&self.test.cargo).or(modes) else { return Ok(()) };
        let help = match self.test.suggestions.first() {
            Some(suggestion) => suggestion.clone(),
            None => "choose when the tests run: leave `--no-run` out".to_owned(),
        };
        Err(Error::usage(format!("cannot use `{word}` with `--no-run`"))
            .caused_by("the last run is compared as it is")
            .help(help))
    }
}

/// What `cargo memprof accept` was asked for.
#[derive(Debug)]
pub struct AcceptOptions {
    /// Where the package is.
    pub cargo: CargoArgs,
    /// Where the run's outputs are; `None` = `memprof` below cargo's target folder.
    pub folder: Option<PathBuf>,
    pub flags: GateFlags,
    /// Of tests' names; none = all.
    pub patterns: Vec<Pattern>,
}

/// Runs the tests and, if the user wants that, takes their figures into the baseline.
///
/// # Errors
/// Where something of ours fails.
pub fn test(options: &GateOptions) -> Result<ExitCode, Error> {
    let here = match Context::look(&options.test.cargo)? {
        Ok(here) => here,
        Err(code) => return Ok(code),
    };
    // Before a run that may take long, whether its end can be done.
    let place = options.flags.save_baseline.then(|| Place::find(&here, &options.flags)).transpose()?;
    let done = drive::test(&options.test, &here)?;
    let Some(place) = place else { return Ok(done.exit_code()) };
    match done.outputs {
        _ if done.not_recorded => {
            here.shell
                .warn(&format!("the baseline `{}` was not written: not all of it was recorded", place.file.path()));
            Ok(done.exit_code())
        }
        Some(folder) if done.code == ExitCode::OK => {
            place.take(&RecordedRun::read(&folder)?, &[], &here)?;
            Ok(ExitCode::OK)
        }
        Some(_) => {
            here.shell.warn(&format!("the baseline `{}` was not written: the tests did not pass", place.file.path()));
            Ok(done.code)
        }
        None if done.code == ExitCode::OK => Err(nothing_ran("save a baseline")),
        None => Ok(done.code),
    }
}

/// Takes figures of the last run into the baseline.
///
/// # Errors
/// Where there is no last run, or the baseline cannot be written.
pub fn accept(options: &AcceptOptions) -> Result<ExitCode, Error> {
    let here = match Context::look(&options.cargo)? {
        Ok(here) => here,
        Err(code) => return Ok(code),
    };
    let place = Place::find(&here, &options.flags)?;
    let folder = here.out_dir(options.folder.as_deref())?;
    LastCommand::must_have_produced(&folder, "cannot accept the last run")?;
    let run = RecordedRun::read(&folder).map_err(|error| error.with_code(ExitCode::CANNOT_COMPARE))?;
    if run.run.interrupted {
        return Err(Error::new("cannot accept the last run")
            .caused_by("it was interrupted: tests are missing, and others were cut short")
            .help("run the tests again, to their end")
            .with_code(ExitCode::CANNOT_COMPARE));
    }
    place.take(&run, &options.patterns, &here)?;
    Ok(ExitCode::OK)
}

/// Runs the tests (or takes the last run) and compares their figures.
///
/// # Errors
/// Where something of ours fails, or there is nothing to compare.
pub fn gate(options: &GateOptions) -> Result<ExitCode, Error> {
    let mut here = match Context::look(&options.test.cargo)? {
        Ok(here) => here,
        Err(code) => return Ok(code),
    };
    options.refuse_idle_words()?;
    let out = here.out_dir(options.test.own.folder.as_deref())?;
    // Whatever happens from here on, nobody takes the verdict of before for this one's.
    evidence::empty(&out)?;
    let ended = compare_run(options, &mut here, &out);
    let (doubt, code) = match ended {
        Ok(Ended::Compared(code)) => return Ok(code),
        Ok(Ended::Not { doubt, code }) => (doubt, Ok(code)),
        Err(error) => (refusal(&error), Err(error)),
    };
    // Whoever reads the outcome alone is to learn that there is none. What went wrong before is the more important news.
    let outcome = Outcome::refused(doubt);
    let (evidence, root) = (Evidence::default(), &here.workspace.root);
    let baseline = Source { name: String::new(), committed: false };
    let outputs = Outputs { outcome: &outcome, evidence: &evidence, baseline: &baseline, told: true, root };
    let _ = evidence::begin(&out).and_then(|()| outputs.give(&out, options.flags.format, &here.shell));
    code
}

/// What became of a gate.
enum Ended {
    /// The outcome was given out.
    Compared(ExitCode),
    /// It did not come to a comparison, and the user has been told why.
    Not { doubt: Doubt, code: ExitCode },
}

fn refusal(error: &Error) -> Doubt {
    Doubt::Refused {
        asked: error.asked().to_owned(),
        causes: error.causes().to_vec(),
        help: error.advice().map(str::to_owned),
    }
}

fn compare_run(options: &GateOptions, here: &mut Context<'_>, out: &Utf8Path) -> Result<Ended, Error> {
    let place = Place::find(here, &options.flags)?;
    // A baseline that cannot be used should not cost a run of all tests.
    let (place, baseline) = match &options.flags.against {
        Some(revision) => {
            let git = against::git(revision)?;
            let other = Against { revision, options: &options.test, here, git: &git };
            let against = place.against(other)?;
            here.git = Some(git);
            against
        }
        None => {
            let baseline = place.baseline()?;
            (place, baseline)
        }
    };
    let folder = if options.flags.no_run {
        LastCommand::must_have_produced(out, "cannot compare the last run")?;
        out.to_owned()
    } else {
        let done = drive::test(&options.test, here)?;
        match done.outputs {
            // There is nothing to be said of what the rest would have been.
            _ if done.interrupted => return Ok(Ended::Not { doubt: Doubt::Interrupted, code: done.code }),
            Some(folder) => folder,
            None if done.code == ExitCode::OK => return Err(nothing_ran("compare allocations")),
            None => {
                let doubt = Doubt::TestsFailed { cargo_exit: i32::from(done.code.get()) };
                return Ok(Ended::Not { doubt, code: done.code });
            }
        }
    };
    let run = RecordedRun::read(&folder).map_err(|error| error.with_code(ExitCode::CANNOT_COMPARE))?;
    let outcome = compare::compare(&baseline, &run, &place.policy);
    let evidence = evidence::gather(&outcome, &run, &place.store, &here.workspace.places())?;
    let root = &here.workspace.root;
    let outputs = Outputs { outcome: &outcome, evidence: &evidence, baseline: &place.source, told: false, root };
    outputs.give(&run.folder, options.flags.format, &here.shell)?;
    if options.flags.self_test && outcome.verdict() == Verdict::Passed {
        return Ok(Ended::Compared(self_test(&baseline, &run, &place.policy, &outcome, here)));
    }
    Ok(Ended::Compared(outcome.exit_code()))
}

fn self_test(
    baseline: &Baseline,
    run: &RecordedRun,
    policy: &Policy,
    outcome: &Outcome,
    here: &Context<'_>,
) -> ExitCode {
    let result = self_test::run(baseline, run, policy, outcome);
    here.shell.result(&text::self_test(&result));
    if result.trips() { ExitCode::OK } else { ExitCode::CANNOT_COMPARE }
}

fn nothing_ran(what: &str) -> Error {
    Error::new(format!("cannot {what}"))
        .caused_by("no test was recorded")
        .help("see that the package has tests, that no filter leaves them all out, and that their targets can be measured")
        .with_code(ExitCode::CANNOT_COMPARE)
}

/// Where the baseline is, and what holds for it.
struct Place {
    file: BaselineFile,
    store: Store,
    policy: Policy,
    source: Source,
}

impl Place {
    fn find(here: &Context<'_>, flags: &GateFlags) -> Result<Place, Error> {
        let root = &here.workspace.root;
        let mut policy = Config::read(root, &here.workspace.metadata)?.gate;
        flags.soften(&mut policy);
        let path = match &flags.baseline {
            Some(path) => absolute(path, "--baseline")?,
            None => root.join(policy.baseline.as_deref().unwrap_or(file::DEFAULT)),
        };
        let folder = match &flags.baseline_dir {
            Some(folder) => absolute(folder, "--baseline-dir")?,
            None => {
                let ours = here.surroundings.target_dir(&here.workspace)?.join(crate::folders::NAME);
                ours.join(layout::BASELINE)
            }
        };
        let source = Source { name: near(&path).into_string(), committed: true };
        Ok(Place { file: BaselineFile::new(path), store: Store::Folder(folder), policy, source })
    }

    /// Another revision in place of the file.
    fn against(mut self, against: Against<'_>) -> Result<(Place, Baseline), Error> {
        let run = against.record()?;
        let whole = |repeats: &Vec<&RecordedTest>| repeats.iter().all(|test| test.is_whole());
        let tests = run.by_test().into_iter().filter(|(_, repeats)| whole(repeats));
        let tests = tests.filter_map(|(id, repeats)| compare::least(&repeats).map(|figures| (id, figures))).collect();
        self.store = Store::of_run(&run);
        self.source = Source { name: against.revision.to_owned(), committed: false };
        // There is no line that could be removed when a test is.
        self.policy.gone = self.policy.gone.min(Severity::Warn);
        Ok((self, Baseline { conditions: run.run.conditions, tests }))
    }

    fn baseline(&self) -> Result<Baseline, Error> {
        self.file.read()?.ok_or_else(|| {
            Error::new("cannot compare with the baseline")
                .caused_by(format!("there is no `{}`", self.file.path()))
                .help("record one with `cargo memprof test --save-baseline` and commit it")
                .with_code(ExitCode::CANNOT_COMPARE)
        })
    }

    fn take(&self, run: &RecordedRun, patterns: &[Pattern], here: &Context<'_>) -> Result<(), Error> {
        let changes = self.file.take(run, &self.policy, patterns)?;
        self.store.keep(run, &changes.taken)?;
        if !changes.without_figures.is_empty() {
            let names: Vec<String> =
                changes.without_figures.iter().map(|id| format!("`{}`", plain(&id.name))).collect();
            here.shell
                .warn(&format!("not taken, because they failed, were cut short or seen in part: {}", names.join(", ")));
        }
        let unstable = compare::unstable_tests(run, &changes.taken);
        if !unstable.is_empty() {
            let names: Vec<String> = unstable.iter().map(|id| format!("`{}`", plain(&id.name))).collect();
            here.shell.warn(&format!(
                "not the same on every run: {}\nthe least was taken; `cargo memprof gate --repeat {}` says where they differ, and what to do",
                names.join(", "),
                run.run.repeat
            ));
        }
        here.shell.status("Baseline", &said(&changes, self.file.path()));
        Ok(())
    }
}

/// What was done to the baseline, as a status.
fn said(changes: &Changes, path: &Utf8Path) -> String {
    let parts: Vec<String> = [(&changes.added, "added"), (&changes.changed, "changed"), (&changes.removed, "removed")]
        .into_iter()
        .filter(|(tests, _)| !tests.is_empty())
        .map(|(tests, what)| format!("{} {what}", plural(tests.len(), "test")))
        .collect();
    let same = format!("{} unchanged", plural(changes.taken.len(), "test"));
    format!("{}: {}", near(path), if parts.is_empty() { same } else { parts.join(", ") })
}

/// `path` as one would type it here.
fn near(path: &Utf8Path) -> Utf8PathBuf {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.as_std_path().strip_prefix(here).ok())
        .and_then(|path| Utf8PathBuf::from_path_buf(path.to_owned()).ok())
        .unwrap_or_else(|| path.to_owned())
}
