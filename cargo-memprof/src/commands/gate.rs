//! `cargo memprof gate`: runs the tests, or takes the last run, and compares their metrics with the baseline.

use super::history::Addition;
use super::recording;
use crate::collect::targets;
use crate::context::options::TestOptions;
use crate::context::{Context, test_filter};
use crate::gate::baseline::against::{self, Against, Revision};
use crate::gate::baseline::paths;
use crate::gate::baseline::reference::Source;
use crate::gate::baseline::reference::{Reference, nothing_ran};
use crate::gate::baseline::release;
use crate::gate::baseline::store::{Repeat, Store};
use crate::gate::committed::Baseline;
use crate::gate::compare::loaded_run::LoadedRun;
use crate::gate::compare::{self, again, self_test};
use crate::gate::explain::changed_lines::ChangedLines;
use crate::gate::explain::evidence::{self, Evidence};
use crate::gate::flags::{GateFlags, Other};
use crate::gate::outcome::{Doubt, Outcome, Verdict};
use crate::gate::output::Outputs;
use crate::gate::output::text;
use crate::gate::policy::Policy;
use crate::git::Git;
use crate::inject::harness::fingerprint;
use crate::report::LastCommand;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use camino::Utf8Path;
use memprof_harness::run_options::RunOptions;

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
        let run_options =
            (self.flags.run_options != RunOptions::default()).then(|| "--repeat or --deterministic".to_owned());
        let Some(word) = test_filter::choice(&self.test.cargo).or(run_options) else { return Ok(()) };
        let help = match self.test.suggestions.first() {
            Some(suggestion) => suggestion.clone(),
            None => "choose when the tests run: leave `--no-run` out".to_owned(),
        };
        Err(Error::usage(format!("cannot use `{word}` with `--no-run`"))
            .caused_by("the last run is compared as it is")
            .help(help))
    }
}

/// Runs the tests (or takes the last run) and compares their metrics.
///
/// # Errors
/// Where something of ours fails, or there is nothing to compare.
pub fn gate(options: &GateOptions) -> Result<ExitCode, Error> {
    let mut context = match Context::load(&options.test.cargo)? {
        Ok(context) => context,
        Err(code) => return Ok(code),
    };
    options.refuse_idle_words()?;
    let out = context.out_dir(options.test.own.folder.as_deref())?;
    // Whatever happens from here on, nobody takes the verdict of before for this one's.
    evidence::empty(&out)?;
    let conclusion = compare_run(options, &mut context, &out);
    let (doubt, code) = match conclusion {
        Ok(Conclusion::Compared(code)) => return Ok(code),
        Ok(Conclusion::NotCompared { doubt, code }) => (doubt, Ok(code)),
        Err(error) => (refusal(&error), Err(error)),
    };
    // Whoever reads the outcome alone is to learn that there is none. What went wrong before is the more important news.
    let outcome = Outcome::refused(doubt);
    let (evidence, root) = (Evidence::default(), &context.workspace.root);
    let baseline = Source { name: String::new(), committed: false };
    let outputs = Outputs { outcome: &outcome, evidence: &evidence, baseline: &baseline, already_shown: true, root };
    let _ = evidence::begin(&out).and_then(|()| outputs.give(&out, options.flags.format, &context.shell));
    code
}

/// What cannot be done with a run that is not there, or another.
const LAST_RUN: &str = "cannot compare the last run";

/// What became of a gate.
enum Conclusion {
    /// The outcome was given out.
    Compared(ExitCode),
    /// It did not come to a comparison, and the user has been told why.
    NotCompared { doubt: Doubt, code: ExitCode },
}

fn refusal(error: &Error) -> Doubt {
    Doubt::Refused {
        request: error.request().to_owned(),
        causes: error.causes().to_vec(),
        help: error.advice().map(str::to_owned),
    }
}

fn compare_run(options: &GateOptions, context: &mut Context<'_>, out: &Utf8Path) -> Result<Conclusion, Error> {
    let reference = Reference::find(context, &options.flags)?;
    let addition = Addition::prepare(context, &options.flags)?;
    // A baseline that cannot be used should not cost a run of all tests.
    let (reference, baseline, revision) = match &options.flags.against {
        Some(other) => {
            let git = against::git(other.name())?;
            let revision = match other {
                Other::Revision(name) => Revision::called(name),
                Other::Release(spec) => release::find(context, &options.test.cargo, &git, spec)?,
            };
            let commit = revision.commit.clone();
            let harness = fingerprint::fingerprint();
            let (reference, baseline) =
                reference.against(Against { revision, options: &options.test, harness, context, git: &git })?;
            context.git = Some(git);
            (reference, baseline, Some(commit))
        }
        None => {
            let baseline = reference.baseline()?;
            (reference, baseline, None)
        }
    };
    let folder = if options.flags.no_run {
        LastCommand::must_have_produced(out, LAST_RUN)?;
        out.to_owned()
    } else {
        let done = recording::record(&options.test, context, &|now| {
            // A benchmark is measured many times over already.
            let now = reference.in_its_words(&baseline.conditions, now);
            options.flags.bench.is_none().then(|| again::rules(&baseline, &now, &reference.policy)).flatten()
        })?;
        match done.outputs {
            // There is nothing to be said of what the rest would have been.
            _ if done.interrupted => return Ok(Conclusion::NotCompared { doubt: Doubt::Interrupted, code: done.code }),
            Some(folder) => folder,
            None if done.code == ExitCode::OK => return Err(nothing_ran("compare allocations")),
            None => {
                let doubt = Doubt::TestsFailed { cargo_exit: i32::from(done.code.get()) };
                return Ok(Conclusion::NotCompared { doubt, code: done.code });
            }
        }
    };
    let mut run = LoadedRun::read(&folder).map_err(|error| error.with_code(ExitCode::CANNOT_COMPARE))?;
    run.run.conditions = reference.in_its_words(&baseline.conditions, &run.run.conditions);
    run.must_be_of(&context.workspace.root, LAST_RUN)?;
    reference.must_fit(&run, LAST_RUN)?;
    reference.remarks(&baseline, &run).iter().for_each(|remark| context.shell.warn(remark));
    let outcome = compare::compare(&baseline, &run, &reference.policy);
    let all: Vec<_> = outcome.tests.iter().map(|test| &test.id).collect();
    reference.policy.idle(&all).iter().for_each(|idle| context.shell.warn(idle));
    if let (Some(git), Some(other)) = (&context.git, &options.flags.against)
        && let Ok(repository) = git.repository(&context.workspace.root)
    {
        let remark =
            paths::remark(&outcome, &reference.policy, [&repository.top, &against::tree(context)?], other.name());
        remark.iter().for_each(|remark| context.shell.warn(remark));
    }
    let evidence = gather(options, &outcome, &run, (&reference, revision.as_ref()), context)?;
    let root = &context.workspace.root;
    let outputs =
        Outputs { outcome: &outcome, evidence: &evidence, baseline: &reference.source, already_shown: false, root };
    outputs.give(&run.folder, options.flags.format, &context.shell)?;
    addition.map_or(Ok(()), |addition| addition.add(&run))?;
    if options.flags.self_test && outcome.verdict() == Verdict::Passed {
        return Ok(Conclusion::Compared(show_that_it_trips(&baseline, &run, &reference.policy, &outcome, context)));
    }
    Ok(Conclusion::Compared(outcome.exit_code()))
}

/// What there is to show of every test over budget.
fn gather(
    options: &GateOptions,
    outcome: &Outcome,
    run: &LoadedRun,
    (reference, revision): (&Reference, Option<&String>),
    context: &Context<'_>,
) -> Result<Evidence, Error> {
    let explain_against = &options.flags.explain_against;
    let source_roots = targets::source_roots(&context.workspace);
    let changed = match outcome.over_budget().is_empty() {
        true => ChangedLines::default(),
        false => changed_since(revision.or(explain_against.as_ref()), reference, context).unwrap_or_default(),
    };
    let evidence = evidence::gather(outcome, run, &[&reference.store], &source_roots, &changed)?;
    let Some(revision) = explain_against.as_ref().filter(|_| evidence.lacks_profiles()) else { return Ok(evidence) };
    let recorded = against::git(revision).and_then(|git| {
        let harness = fingerprint::fingerprint();
        let revision = Revision::called(revision);
        Against { revision, options: &options.test, harness, context, git: &git }.record()
    });
    match recorded {
        Ok(other) => {
            let other = Store::of_run(&other, Repeat::Most);
            evidence::gather(outcome, run, &[&reference.store, &other], &source_roots, &changed)
        }
        // The verdict is known, and does not depend on it.
        Err(error) => {
            context.shell.warn(&format!("`--explain-against` explains nothing\n{error}"));
            Ok(evidence)
        }
    }
}

/// Which lines have changed since the other revision, or since the baseline was last committed. `None` where no git knows: the metrics do not
/// depend on it.
fn changed_since(revision: Option<&String>, reference: &Reference, context: &Context<'_>) -> Option<ChangedLines> {
    let found;
    let git = match &context.git {
        Some(git) => git,
        None => {
            found = Git::find().ok()?;
            &found
        }
    };
    let root = &context.workspace.root;
    let repository = git.repository(root).ok()?;
    let revision = revision.cloned().or_else(|| repository.last_commit_of(reference.file.path()));
    let commit = repository.commit(revision.as_deref().unwrap_or("HEAD"), root).ok()?;
    let prefix = root.strip_prefix(&repository.top).ok()?;
    Some(ChangedLines::parse(&repository.changed_sources(&commit).ok()?, prefix.as_str()))
}

fn show_that_it_trips(
    baseline: &Baseline,
    run: &LoadedRun,
    policy: &Policy,
    outcome: &Outcome,
    context: &Context<'_>,
) -> ExitCode {
    let result = self_test::run(baseline, run, policy, outcome);
    context.shell.result(&text::self_test(&result));
    if result.trips() { ExitCode::OK } else { ExitCode::CANNOT_COMPARE }
}
