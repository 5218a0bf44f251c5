//! `cargo memprof history`: what tests needed at one commit after another, by the versions of the committed baseline or by a file that
//! `gate --history` adds to.

use crate::context::Context;
use crate::context::cargo_args::CargoArgs;
use crate::context::cargo_env::absolute;
use crate::files::{intake, outlet};
use crate::gate::baseline::file::names;
use crate::gate::baseline::reference::{Reference, metrics_of, near};
use crate::gate::committed::Baseline;
use crate::gate::compare::loaded_run::LoadedRun;
use crate::gate::flags::GateFlags;
use crate::gate::history::{self, Commit, Moment, chart, log};
use crate::gate::policy::pattern::Pattern;
use crate::git::{Failure, Git};
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use camino::{Utf8Path, Utf8PathBuf};
use memprof_profile::view::amount::plural;
use memprof_profile::view::plain::plain;
use std::io;

/// Versions of the baseline that are read, the last ones.
const MOST: usize = 500;

/// What `cargo memprof history` was asked for.
#[derive(Debug)]
pub struct HistoryOptions {
    /// Where the package is.
    pub cargo: CargoArgs,
    /// The baseline's file, and that of the history, if it is not to be the baseline's.
    pub flags: GateFlags,
    /// Of tests; none = all.
    pub patterns: Vec<Pattern>,
}

fn cannot(what: &str) -> Error {
    Error::new(format!("cannot {what}")).with_code(ExitCode::CANNOT_COMPARE)
}

/// Draws the history of the tests that the patterns name.
///
/// # Errors
/// Where there is none, or it cannot be read.
pub fn history(options: &HistoryOptions) -> Result<ExitCode, Error> {
    let context = match Context::load(&options.cargo)? {
        Ok(context) => context,
        Err(code) => return Ok(code),
    };
    let moments = match &options.flags.history {
        Some(file) => {
            let path = absolute(file, "--history")?;
            let moments = read(&path)?;
            moments.ok_or_else(|| {
                cannot("draw the history")
                    .caused_by(format!("there is no `{path}`"))
                    .help("`cargo memprof gate --history FILE` begins it")
            })?
        }
        None => of_baseline(&context, &Reference::find(&context, &options.flags)?)?,
    };
    let is_drawn = |id: &_| options.patterns.is_empty() || options.patterns.iter().any(|pattern| names(pattern, id));
    let text = chart::render(&moments, is_drawn);
    if text.is_empty() {
        let named: Vec<String> = options.patterns.iter().map(|pattern| format!("`{}`", pattern.as_str())).collect();
        let cause = if named.is_empty() {
            "it has no test".to_owned()
        } else {
            format!("no test in it is {}", named.join(" or "))
        };
        return Err(cannot("draw the history")
            .caused_by(cause)
            .help("a pattern is a whole name, as the gate writes it: `*` is any text"));
    }
    context.shell.result(&text);
    Ok(ExitCode::OK)
}

/// The versions of the baseline that were committed.
fn of_baseline(context: &Context<'_>, reference: &Reference) -> Result<Vec<Moment>, Error> {
    // Git has the versions of the file, and not of a link to it.
    let path = &reference.file.path().canonicalize_utf8().unwrap_or_else(|_| reference.file.path().to_owned());
    let failed = |failure: Failure| cannot("draw the history").caused_by(failure.cause).help(failure.help);
    let git = Git::find().map_err(failed)?;
    let folder = path.parent().unwrap_or(&context.workspace.root);
    let repository = git.repository(folder).map_err(failed)?;
    let mut commits = repository.commits_of(path, MOST + 1).map_err(failed)?;
    if commits.len() > MOST {
        commits.remove(0);
        context.shell.warn(&format!("left out: all versions of `{}` but the last {MOST}", near(path)));
    }
    if commits.is_empty() {
        return Err(cannot("draw the history")
            .caused_by(format!("no commit has `{}`", near(path)))
            .help("record a baseline with `cargo memprof test --save-baseline` and commit it, or name a file that `gate --history` adds to"));
    }
    let (mut known, mut unread) = (Vec::new(), 0);
    for [hash, date, subject] in commits {
        let text = repository.file_at(&hash, path).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match text.and_then(|text| Baseline::parse(&text).ok()) {
            Some(baseline) => known.push((Commit { hash, date, subject, dirty: false }, baseline.tests)),
            None => unread += 1,
        }
    }
    if unread > 0 {
        let versions = plural(unread, "version");
        context.shell.warn(&format!(
            "left out: {versions} of `{}` that no longer can be read, or in which it was removed",
            near(path)
        ));
    }
    Ok(history::moments(known))
}

/// What stands in the file; `None` where there is none.
fn read(path: &Utf8Path) -> Result<Option<Vec<Moment>>, Error> {
    let failed = || cannot(&format!("read the history `{path}`"));
    let bytes = match intake::read(path.as_std_path()) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed().caused_by(error).help("name another file with `--history FILE`")),
    };
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned());
    let moments = text.and_then(|text| log::parse(&text));
    let help = "remove the line, or name another file with `--history FILE`";
    moments.map(Some).map_err(|flaw| failed().caused_by(plain(&flaw)).help(help))
}

/// Where what the tests of a run need is to be added.
pub struct Addition {
    path: Utf8PathBuf,
    before: Vec<Moment>,
    commit: Commit,
}

impl Addition {
    /// Reads the file and asks git for the commit, before any test runs.
    ///
    /// # Errors
    /// Where either cannot be had.
    pub fn prepare(context: &Context<'_>, flags: &GateFlags) -> Result<Option<Addition>, Error> {
        let Some(file) = &flags.history else { return Ok(None) };
        let path = absolute(file, "--history")?;
        let before = read(&path)?.unwrap_or_default();
        let failed = |failure: Failure| cannot("add to the history").caused_by(failure.cause).help(failure.help);
        let git = Git::find().map_err(failed)?;
        let repository = git.repository(&context.workspace.root).map_err(failed)?;
        let [hash, date, subject] = repository.about("HEAD").map_err(failed)?;
        let dirty = !repository.changed_sources("HEAD").map_err(failed)?.is_empty();
        Ok(Some(Addition { path, before, commit: Commit { hash, date, subject, dirty } }))
    }

    /// Adds what the run has shown.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn add(self, run: &LoadedRun) -> Result<(), Error> {
        let Some(line) = log::next_line(&self.before, self.commit, metrics_of(run)) else { return Ok(()) };
        outlet::add_to_named(self.path.as_std_path(), line.as_bytes()).map_err(|error| {
            Error::new(format!("cannot add to the history `{}`", self.path))
                .caused_by(error)
                .help("name another file with `--history FILE`")
                .with_code(ExitCode::OUTPUT)
        })
    }
}
