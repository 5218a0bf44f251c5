//! A run read back from its `summary.json`. The gate compares files, so it makes no difference whether the tests ran
//! just now, yesterday or on another machine.

use crate::context::conditions::Conditions;
use crate::context::provenance::Provenance;
use crate::context::unit::Unit;
use crate::files::intake::{self, IntakeFile, PlainPath};
use crate::gate::compare::doctest;
use crate::gate::compare::loaded_test::{LoadedTest, NotRun};
use crate::gate::compare::profile_files::ProfileFiles;
use crate::gate::compare::programs;
use crate::report::layout;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use camino::{Utf8Path, Utf8PathBuf};
use memprof_profile::record::TestId;
use memprof_profile::view::plain::plain;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Schema of the summaries that can be read.
const SCHEMA: u32 = 1;

/// A run.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct LoadedRun {
    pub schema: u32,
    pub run: LoadedRunFacts,
    /// A test that was repeated is here as often as it ran.
    pub tests: Vec<LoadedTest>,
    pub unprofiled: Vec<UnprofiledTarget>,
    /// Tests of executables that ran which were filtered out or ignored.
    #[serde(default)]
    pub not_run: Vec<NotRun>,
    /// Every target that may have tests; nothing in older summaries.
    #[serde(default)]
    pub targets: Vec<KnownTarget>,
    /// Where the summary was; files of tests are relative to it.
    #[serde(skip)]
    pub folder: Utf8PathBuf,
}

/// What holds for all of it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct LoadedRunFacts {
    /// What cargo was to do; empty in older summaries.
    #[serde(default, deserialize_with = "intake::line")]
    pub task: String,
    /// Mean bytes between samples; 1 = every allocation has its stack.
    pub rate: u64,
    /// How often each test was to be run.
    pub repeat: u32,
    pub conditions: Conditions,
    /// The packages that the arguments chose; see [`crate::context::conditions::packages`].
    #[serde(default, deserialize_with = "intake::line")]
    pub packages: String,
    pub cargo_exit: i32,
    pub interrupted: bool,
    /// Some tests of the targets that ran were left out.
    #[serde(default)]
    pub filtered: bool,
    pub unreadable_ledgers: usize,
    /// Where it was recorded; empty in older summaries.
    #[serde(default, deserialize_with = "intake::line")]
    pub workspace_root: String,
    /// `count:1/3`, where the run was one of several.
    #[serde(default)]
    pub partition: Option<String>,
    /// What it was made of then.
    #[serde(default)]
    pub provenance: Option<Provenance>,
}

/// A target that ran and was not measured.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct UnprofiledTarget {
    #[serde(deserialize_with = "intake::line")]
    pub package: String,
    #[serde(deserialize_with = "intake::line")]
    pub target: String,
    #[serde(deserialize_with = "intake::line")]
    pub kind: String,
    #[serde(deserialize_with = "intake::lines")]
    pub reason: String,
    /// It carries the harness and ran, and left no recording.
    #[serde(default)]
    pub not_recorded: bool,
}

/// A target that may have tests.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct KnownTarget {
    #[serde(deserialize_with = "intake::line")]
    pub package: String,
    #[serde(deserialize_with = "intake::line")]
    pub target: String,
    #[serde(deserialize_with = "intake::line")]
    pub kind: String,
    /// As opposed to left out.
    pub ran: bool,
    /// How it was compiled; `None` = it was not, or it is not known.
    #[serde(default)]
    pub unit: Option<Unit>,
}

impl LoadedRunFacts {
    /// Whether iterations of benchmarks were recorded, and no tests.
    pub fn is_of_benchmarks(&self) -> bool {
        self.task == "bench"
    }
}

impl LoadedRun {
    /// That the run is of the workspace at `root`, and not of another one here that has the same target folder; `request` says what cannot be
    /// done otherwise. A run from another machine was recorded in a folder that is not here.
    ///
    /// # Errors
    /// Where it is another's.
    pub fn must_be_of(&self, root: &Utf8Path, request: &str) -> Result<(), Error> {
        let there = Utf8Path::new(&self.run.workspace_root);
        let canonical = |folder: &Utf8Path| folder.canonicalize_utf8().ok();
        if there.as_str().is_empty() || !there.join("Cargo.toml").exists() || canonical(there) == canonical(root) {
            return Ok(());
        }
        Err(Error::new(request)
            .caused_by(format!("it is of the workspace `{}`, which has the same target folder", plain(there.as_str())))
            .help("run the tests here first: `cargo memprof test`")
            .with_code(ExitCode::CANNOT_COMPARE))
    }

    /// The run whose outputs are in `folder`.
    ///
    /// # Errors
    /// Where there is none, or it cannot be understood.
    pub fn read(folder: &Utf8Path) -> Result<LoadedRun, Error> {
        let file = IntakeFile::new(folder, &PlainPath::ours(layout::SUMMARY.into()));
        let path = file.path();
        let failed = || Error::new(format!("cannot read the run in `{folder}`"));
        let again = "record one with `cargo memprof test`";
        let text = file.read_text().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failed().caused_by(format!("there is no `{path}`")).help(again),
            _ => failed().caused_by(error),
        })?;
        let broken = |why: &dyn std::fmt::Display| failed().caused_by(format!("`{path}`: {why}")).help(again);
        let mut run: LoadedRun = intake::json(&text).map_err(|error| broken(&error))?;
        if run.schema != SCHEMA {
            return Err(broken(&format!("its schema is {}; this program reads schema {SCHEMA}", run.schema)));
        }
        run.folder = folder.to_owned();
        // What forked processes did is no metric of the test, and what has no test belongs to no line.
        run.tests.retain(|test| !test.forked && test.kind != "exe");
        if run.run.is_of_benchmarks() {
            let not_known = run.tests.extract_if(.., |test| !test.only_iteration());
            run.not_run.extend(not_known.map(|test| NotRun::without_iteration(&test)));
        }
        let root = Utf8PathBuf::from(&run.run.workspace_root);
        if root.is_absolute() {
            doctest::note_texts(&mut run.tests, |file| {
                String::from_utf8(intake::read(root.join(file).as_std_path()).ok()?).ok()
            });
        }
        doctest::without_lines(&mut run.tests);
        programs::add_to(&mut run.tests);
        Ok(run)
    }

    /// The runs of each test, in the order of the tests.
    pub fn by_test(&self) -> BTreeMap<TestId, Vec<&LoadedTest>> {
        let mut tests: BTreeMap<TestId, Vec<&LoadedTest>> = BTreeMap::new();
        for test in &self.tests {
            tests.entry(test.id()).or_default().push(test);
        }
        tests
    }

    /// The profiles of `test`, which is one of its tests; `None` = it has none.
    pub fn profiles(&self, test: &LoadedTest) -> Option<ProfileFiles> {
        let files = test.files.get(layout::PROFILE_KEY).into_iter().chain(&test.more_profiles);
        ProfileFiles::of(files.map(|file| IntakeFile::new(&self.folder, file)))
    }
}
