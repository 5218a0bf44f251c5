//! The evidence for every regression: reads both profiles, finds the call sites that grew, and writes the pictures
//! below `gate` in the outputs. It names the evidence that is missing.

use crate::files::outlet;
use crate::gate::baseline::store::{self, Repeat, Store};
use crate::gate::compare::loaded_run::LoadedRun;
use crate::gate::compare::loaded_test::LoadedTest;
use crate::gate::compare::profile_files::ProfileFiles;
use crate::gate::explain::changed_lines::ChangedLines;
use crate::gate::explain::picture::{self, Widths};
use crate::gate::explain::stacks::Stacks;
use crate::gate::explain::varying::{self, Varying};
use crate::gate::explain::{Change, Comparison};
use crate::gate::metrics::{Metric, Metrics};
use crate::gate::outcome::{Finding, Judged, Outcome};
use crate::report::layout;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use camino::{Utf8Path, Utf8PathBuf};
use memprof_profile::record::TestId;
use memprof_profile::symbolize::SourceRoots;
use std::collections::BTreeMap;
use std::io;

/// Tests whose pictures are drawn: those that grew most.
const PICTURED: usize = 20;
/// What tells our folder from one of the user's.
const MARK: &str = layout::GATE_MARK;

/// What there is to show, by test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    pub(in crate::gate) regressions: BTreeMap<TestId, Explanation>,
    pub(in crate::gate) varying: BTreeMap<TestId, Varying>,
}

impl Evidence {
    /// What explains the test's regression; `None` = it has none.
    pub fn get(&self, id: &TestId) -> Option<&Explanation> {
        self.regressions.get(id)
    }

    /// Whether what changed in a test is not known because the profile of before is not there, or another.
    pub fn lacks_profiles(&self) -> bool {
        self.regressions.values().any(|explanation| explanation.missing.is_some() && !explanation.sites.is_empty())
    }

    /// How the repeats of the test differ; `None` = they do not, or it cannot be told.
    pub fn varying(&self, id: &TestId) -> Option<&Varying> {
        self.varying.get(id)
    }
}

/// What explains the regression of one test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// For each metric that is over its limit, what changed.
    pub changes: Vec<(Metric, Vec<Change>)>,
    /// For each metric of which nothing says what changed, where this run's comes from.
    pub sites: Vec<(Metric, Vec<Change>)>,
    /// Why there are no changes; `None` = there are.
    pub missing: Option<Missing>,
    /// Flamegraphs of the difference, this run's widths first.
    pub pictures: Vec<Utf8PathBuf>,
    /// The baseline's profile and this run's, where they are.
    pub profiles: (Vec<Utf8PathBuf>, Vec<Utf8PathBuf>),
}

/// Why a regression cannot be explained, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub what: String,
    pub help: String,
}

/// Gathers the evidence for `outcome` of `run`. The profiles of before are in the first of `stores` that has that of the metrics; `changed`
/// tells which lines of the workspace have changed since the baseline.
///
/// # Errors
/// Where the pictures cannot be written. A profile that cannot be read explains nothing, and that is said.
pub fn gather(
    outcome: &Outcome,
    run: &LoadedRun,
    stores: &[&Store],
    source_roots: &SourceRoots,
    changed: &ChangedLines,
) -> Result<Evidence, Error> {
    begin(&run.folder)?;
    let folder = run.folder.join(layout::GATE);
    let now: BTreeMap<TestId, ProfileFiles> = match Store::of_run(run, Repeat::Least) {
        Store::Run(profiles) => profiles,
        Store::Folder(..) => BTreeMap::new(),
    };
    let mut evidence = Evidence { varying: varying_tests(outcome, run, source_roots), ..Evidence::default() };
    let over = outcome.over_budget().into_iter().map(|test| (test, metrics_over(test)));
    for (at, (test, metrics)) in over.filter(|(_, metrics)| !metrics.is_empty()).enumerate() {
        let before = stores.iter().filter_map(|store| store.profile(&test.id)).collect();
        let case =
            Case { test, of_benchmarks: outcome.of_benchmarks, metrics, before, now: now.get(&test.id).cloned() };
        let explanation = match case.now(run, source_roots) {
            Ok(now) => match case.before(source_roots) {
                Ok((before, file)) => {
                    let folder = (at < PICTURED).then(|| folder.join(store::stem(&test.id)));
                    case.explain(&before, file, &now, changed, folder.as_deref())?
                }
                Err(missing) => {
                    let sites = case.metrics.iter().map(|metric| (*metric, sites(&now, *metric))).collect();
                    Explanation { sites, missing: Some(missing), ..case.nothing(None) }
                }
            },
            Err(missing) => Explanation { missing: Some(missing), ..case.nothing(None) },
        };
        evidence.regressions.insert(test.id.clone(), explanation);
    }
    Ok(evidence)
}

/// Makes the gate's folder in the outputs `out`, with nothing in it.
///
/// # Errors
/// Where it cannot be made, or is somebody else's.
pub fn begin(out: &Utf8Path) -> Result<(), Error> {
    let folder = out.join(layout::GATE);
    fresh(out)
        .map_err(|error| Error::new(format!("cannot write to `{folder}`")).caused_by(error).with_code(ExitCode::OUTPUT))
}

/// How the repeats of unstable tests differ: of each, those with the least and with the most.
fn varying_tests(outcome: &Outcome, run: &LoadedRun, source_roots: &SourceRoots) -> BTreeMap<TestId, Varying> {
    let by_test = run.by_test();
    let stacks = |test: &LoadedTest| {
        let Some(profile) = run.profiles(test) else {
            return Some(Stacks::none());
        };
        let bytes = profile.read().ok()?;
        Stacks::parse(&bytes, source_roots).ok().filter(|stacks| stacks.rate == 1)
    };
    let varying = |test: &Judged| {
        let metric = test.findings.iter().find_map(|(_, finding)| match finding {
            Finding::Unstable { metric, .. } => Some(*metric),
            _ => None,
        })?;
        let repeats = by_test.get(&test.id)?;
        let least = repeats.iter().min_by_key(|test| test.metrics.get(metric))?;
        let most = repeats.iter().max_by_key(|test| test.metrics.get(metric))?;
        let threads = repeats.iter().map(|test| test.threads).max()?;
        Some((test.id.clone(), varying::varying(&stacks(least)?, &stacks(most)?, metric, threads)))
    };
    outcome.tests.iter().filter_map(varying).collect()
}

fn metrics_over(test: &Judged) -> Vec<Metric> {
    let metric = |finding: &Finding| match finding {
        Finding::Over { metric, .. } => Some(*metric),
        _ => None,
    };
    test.failures().filter_map(metric).collect()
}

/// Removes what an earlier gate wrote into the outputs `out`. What is not ours stays.
///
/// # Errors
/// Where it cannot be removed.
pub fn empty(out: &Utf8Path) -> Result<(), Error> {
    let folder = out.join(layout::GATE);
    // Of a link there will be an error as soon as something is to be written there.
    if folder.is_symlink() || !folder.join(MARK).exists() {
        return Ok(());
    }
    fs_err::remove_dir_all(&folder)
        .map_err(|error| Error::new(format!("cannot empty `{folder}`")).caused_by(error).with_code(ExitCode::OUTPUT))
}

/// Empties the folder in the outputs `out`, which must be ours or not there.
fn fresh(out: &Utf8Path) -> io::Result<()> {
    let folder = outlet::make_below(out, layout::GATE.into())?;
    if folder.join(MARK).exists() {
        fs_err::remove_dir_all(&folder)?;
    } else if folder.read_dir_utf8()?.next().is_some() {
        return Err(io::Error::other("it is not empty, and `cargo memprof` did not write it"));
    }
    outlet::make_below(out, layout::GATE.into())?;
    outlet::put(folder.join(MARK), "")
}

/// One test over budget.
struct Case<'a> {
    test: &'a Judged,
    /// Around the iteration, a benchmark's profile has the work of its framework.
    of_benchmarks: bool,
    metrics: Vec<Metric>,
    /// Where that of before may be.
    before: Vec<ProfileFiles>,
    now: Option<ProfileFiles>,
}

/// Where all of one profile comes from, the largest first.
fn sites(now: &Stacks, metric: Metric) -> Vec<Change> {
    Comparison::new(&Stacks::none(), now, &ChangedLines::default()).changes(metric)
}

impl Case<'_> {
    fn nothing(&self, before: Option<&ProfileFiles>) -> Explanation {
        let there =
            |files: Option<&ProfileFiles>| files.filter(|files| files.exist()).map_or(Vec::new(), ProfileFiles::paths);
        let before = before.or_else(|| self.before.first());
        Explanation { profiles: (there(before), there(self.now.as_ref())), ..Explanation::default() }
    }

    /// The profile of this run, which must be that of the metrics.
    fn now(&self, run: &LoadedRun, source_roots: &SourceRoots) -> Result<Stacks, Missing> {
        if run.run.rate != 1 {
            return Err(Missing {
                what: format!("this run recorded at a rate of {}, so not every allocation has a stack", run.run.rate),
                help: "run it with `--memprofilerate 1`, which is the gate's default".into(),
            });
        }
        self.read(self.now.as_ref(), self.test.now.map(|seen| seen.least), source_roots).map_err(|why| Missing {
            what: format!("the profile of this run {why}"),
            help: "run `cargo memprof gate` again".into(),
        })
    }

    /// The same of before, and where it was.
    fn before(&self, source_roots: &SourceRoots) -> Result<(Stacks, Option<&ProfileFiles>), Missing> {
        let Some(metrics) = self.test.before else {
            // A new test above a ceiling: all of it is the explanation.
            return Ok((Stacks::none(), None));
        };
        let mut missing = "is missing".to_owned();
        for file in self.before.iter().map(Some).chain(self.before.is_empty().then_some(None)) {
            match self.read(file, Some(metrics.most), source_roots) {
                Ok(stacks) => return Ok((stacks, file)),
                Err(why) => missing = why,
            }
        }
        Err(Missing {
            what: format!("the baseline's profile {missing}"),
            help: "it is kept where `--save-baseline` and `accept` ran (`--baseline-dir`); \
                   `--explain-against REVISION` records it anew where a test is over budget"
                .into(),
        })
    }

    fn read(
        &self,
        file: Option<&ProfileFiles>,
        metrics: Option<Metrics>,
        source_roots: &SourceRoots,
    ) -> Result<Stacks, String> {
        let objects = metrics.map_or(0, |metrics| metrics.get(Metric::AllocObjects));
        let Some(file) = file.filter(|file| file.exist()) else {
            // A test that allocates nothing has no profile.
            let nothing = Stacks::none();
            return if objects == 0 { Ok(nothing) } else { Err("is missing".into()) };
        };
        let bytes = file.read().map_err(|error| format!("cannot be read: {error}"))?;
        let stacks =
            Stacks::parse(&bytes, source_roots).map_err(|why| format!("`{}` is damaged: {why}", file.paths()[0]))?;
        if stacks.rate != 1 {
            return Err(format!("was recorded at a rate of {}, so not every allocation is in it", stacks.rate));
        }
        let recorded = stacks.total(Metric::AllocObjects);
        if recorded != objects && !(self.of_benchmarks && recorded > objects) {
            return Err(format!("is of other metrics: it has {recorded} allocations, not {objects}"));
        }
        Ok(stacks)
    }

    fn explain(
        &self,
        before: &Stacks,
        file: Option<&ProfileFiles>,
        now: &Stacks,
        changed: &ChangedLines,
        folder: Option<&Utf8Path>,
    ) -> Result<Explanation, Error> {
        let mut explanation = self.nothing(file);
        let comparison = Comparison::new(before, now, changed);
        for &metric in &self.metrics {
            let changes = comparison.changes(metric);
            if changes.iter().all(|change| change.difference() <= 0) {
                // It is over a ceiling, and was before.
                explanation.sites.push((metric, sites(now, metric)));
            }
            explanation.changes.push((metric, changes));
        }
        // Of a million stacks it takes as much memory as what the pictures are drawn of.
        drop(comparison);
        let Some(folder) = folder else { return Ok(explanation) };
        for &metric in &self.metrics {
            let tree = picture::tree(before, now, metric);
            for widths in Widths::BOTH {
                let Some(svg) = picture::draw(&self.test.id.label(), &tree, metric, widths) else { continue };
                let path = folder.join(widths.file_name(metric));
                let written = fs_err::create_dir_all(folder).and_then(|()| outlet::put(&path, svg));
                written.map_err(|error| {
                    Error::new(format!("cannot write `{path}`")).caused_by(error).with_code(ExitCode::OUTPUT)
                })?;
                explanation.pictures.push(path);
            }
        }
        Ok(explanation)
    }
}
