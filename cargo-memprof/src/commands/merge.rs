//! `cargo memprof merge`: makes one run of several shards. It puts their summaries together and copies their files, so
//! that `gate --no-run` and `accept` read the result like any other run. It refuses shards that do not make up one
//! whole run.

mod shards;

use crate::context::Context;
use crate::context::cargo_args::CargoArgs;
use crate::context::cargo_env::absolute;
use crate::files::intake::{self, IntakeFile, PlainPath};
use crate::gate::compare::loaded_run::LoadedRun;
use crate::report::layout;
use crate::report::{Files, LastCommand, Outputs, Running, Summary, title, write_formats, write_whole};
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use camino::{Utf8Path, Utf8PathBuf};
use memprof_profile::import::{self, FileTables, ImportError};
use memprof_profile::model::{About, ProfileBuilder};
use memprof_profile::parallel::on_all_cores;
use memprof_profile::record::TestId;
use memprof_profile::symbolize::SourceRoots;
use memprof_profile::view::amount::plural;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that the profiles of all shards together may unpack to. Those of a hundred thousand tests have fewer.
const MOST_UNPACKED: u64 = 8 << 30;
/// What each profile counts as at least: its pictures are as large, however small it is.
const LEAST_UNPACKED: u64 = 64 << 10;

/// What `cargo memprof merge` was asked for.
#[derive(Debug)]
pub struct MergeOptions {
    /// Where the package is.
    pub cargo: CargoArgs,
    /// Where the whole goes; `None` = `memprof` below cargo's target folder.
    pub folder: Option<PathBuf>,
    /// The outputs of each shard.
    pub folders: Vec<PathBuf>,
}

/// Puts the shards together.
///
/// # Errors
/// Where they are no shards of one run, one is missing, or the outputs cannot be written.
pub fn merge(options: &MergeOptions) -> Result<ExitCode, Error> {
    let context = match Context::load(&options.cargo)? {
        Ok(context) => context,
        Err(code) => return Ok(code),
    };
    let out = context.out_dir(options.folder.as_deref())?;
    let folders: Vec<Utf8PathBuf> =
        options.folders.iter().map(|folder| absolute(folder, "merge")).collect::<Result<_, _>>()?;
    // One folder has many names, and what it has is lost as soon as the whole is written.
    let resolved = |folder: &Utf8PathBuf| folder.canonicalize_utf8().unwrap_or_else(|_| folder.clone());
    if folders.iter().any(|folder| resolved(folder) == resolved(&out)) {
        return Err(Error::usage(format!("cannot merge into `{out}`"))
            .caused_by("it is one of the shards")
            .help("pass another folder for the whole: `--memprofile DIR`"));
    }
    let command = format!("cargo memprof merge {}", {
        let named: Vec<String> = options.folders.iter().map(|folder| folder.display().to_string()).collect();
        named.join(" ")
    });
    let running = Running::begin(made(&out)?, &command)?;
    let merged = put_together(&folders, &out, &command, &context.workspace.root);
    let (exit, produced) = match &merged {
        Ok(summary) => (ExitCode::of_cargo(summary.run.cargo_exit), true),
        Err(error) => (error.code(), false),
    };
    let recorded_end = running.end(exit, produced, false);
    let summary = merged?;
    recorded_end?;
    let what = format!("{} of {} into `{out}`", plural(summary.tests.len(), "test"), plural(folders.len(), "shard"));
    context.shell.status("Merged", &what);
    Ok(exit)
}

/// Gives the summary of the whole, which is in `out`.
fn put_together(
    folders: &[Utf8PathBuf],
    out: &Utf8Path,
    command: &str,
    root: &Utf8Path,
) -> Result<Summary<'static>, Error> {
    let mut room = intake::MOST_OF_TEXT;
    let shards = folders.iter().map(|folder| Shard::read(folder, &mut room)).collect::<Result<Vec<Shard>, Error>>()?;
    shards::check(&shards.iter().map(|shard| (&*shard.folder, &shard.run)).collect::<Vec<_>>())?;
    let summaries: Vec<_> = shards.iter().map(|shard| (&*shard.folder, &shard.summary)).collect();
    shards::each_once(&summaries)?;
    shards::each_file_once(&summaries)?;
    let scratch = tempfile::Builder::new().prefix(".run-merge-").tempdir_in(out);
    let scratch = scratch.map_err(|error| cannot_write(out, &error))?;
    let outputs = Outputs::stage_in(out, Utf8Path::from_path(scratch.path()).unwrap_or(out))?;
    let summary = write(shards, command, root, &outputs)?;
    outputs.publish()?;
    Ok(summary)
}

/// One of them.
struct Shard {
    folder: Utf8PathBuf,
    run: LoadedRun,
    summary: Summary<'static>,
}

impl Shard {
    /// Where the user's own code was when the shard was recorded.
    fn source_roots(&self) -> SourceRoots {
        let run = &self.summary.run;
        let beside = run.beside.iter().map(|folder| folder.to_string().into()).collect();
        SourceRoots { workspace: run.workspace_root.to_string().into(), beside }
    }

    /// `room` has bytes for the summaries that are not read yet: that of the whole is as long as all of them, and is to be read in its turn.
    fn read(folder: &Utf8Path, room: &mut u64) -> Result<Shard, Error> {
        LastCommand::must_have_produced(folder, "cannot merge the shards")?;
        let run = LoadedRun::read(folder).map_err(|error| error.with_code(ExitCode::CANNOT_COMPARE))?;
        if run.run.interrupted {
            return Err(Error::new("cannot merge the shards")
                .caused_by(format!("the run in `{folder}` was interrupted"))
                .help("record the shard again, to its end")
                .with_code(ExitCode::CANNOT_COMPARE));
        }
        let file = IntakeFile::new(folder, &PlainPath::ours(layout::SUMMARY.into()));
        let failed = || Error::new(format!("cannot read `{}`", file.path())).with_code(ExitCode::CANNOT_COMPARE);
        let text = file.read_text().map_err(|error| failed().caused_by(error))?;
        *room = room.checked_sub(text.len() as u64).ok_or_else(|| {
            let most = intake::MOST_OF_TEXT >> 20;
            failed().caused_by(format!("the summaries of all shards together hold more than {most} MiB"))
        })?;
        let summary = Summary::from_json(&text).map_err(|error| {
            failed().caused_by(error).help("record all shards with the `cargo memprof` that merges them")
        })?;
        Ok(Shard { folder: folder.to_owned(), run, summary })
    }
}

/// Writes what there is of the whole. Gives its summary. Of a test's files a shard gives the profile, which is read into
/// the model; everything is written anew from that, so no byte of a stranger's gets among our files as it was.
fn write(mut shards: Vec<Shard>, command: &str, root: &Utf8Path, outputs: &Outputs) -> Result<Summary<'static>, Error> {
    for (number, shard) in shards.iter_mut().enumerate() {
        for files in shard.summary.all_files() {
            let profile = files.remove(layout::PROFILE_KEY);
            // Until the whole has its files, which shard they are in comes first.
            let numbered = |path| (layout::PROFILE_KEY.into(), PlainPath::ours(format!("{number}/{path}").into()));
            *files = profile.map(numbered).into_iter().collect();
        }
    }
    let sources: Vec<(&Utf8Path, SourceRoots)> =
        shards.iter().map(|shard| (&*shard.folder, shard.source_roots())).collect();
    let mut summary = shards::merged(shards.iter().map(|shard| shard.summary.clone()).collect());
    summary.run.command = command.to_owned().into();
    // Wherever the shards were recorded, the whole is this workspace's.
    summary.run.workspace_root = root.to_string().into();
    let jobs = jobs(&mut summary, &sources);
    let gathered: Mutex<Vec<ProfileBuilder>> = Mutex::default();
    let room = Room(AtomicU64::new(MOST_UNPACKED));
    let written = on_all_cores(&jobs, |job| job.write(outputs, &room, &gathered));
    for (files, written) in summary.all_files().zip(written) {
        *files = written?;
    }
    let mut parts = gathered.into_inner().expect("no thread panicked with the lock held").into_iter();
    let mut whole = parts.next().unwrap_or_default();
    parts.for_each(|part| whole.append(part));
    import::within_limits(&whole).map_err(|why| too_large(&why))?;
    write_whole(outputs, &mut summary, |about: About| whole.finish(about))?;
    Ok(summary)
}

/// How many bytes the profiles that are not read yet may unpack to.
struct Room(AtomicU64);

impl Room {
    /// Takes those of one profile; `None` = there is no room for them.
    fn take(&self, unpacked: u64) -> Option<()> {
        let rest = |room: u64| room.checked_sub(unpacked.max(LEAST_UNPACKED));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).ok().map(drop)
    }
}

/// What is to be done for one test, or for a process that it started.
struct Job<'a> {
    id: TestId,
    /// The process's program; `None` = it is the test itself.
    child: Option<String>,
    /// `None` = it has no samples.
    profile: Option<(IntakeFile, &'a SourceRoots)>,
    /// Where a run that was not divided would have put its files.
    folder: Utf8PathBuf,
}

/// One for each of the summary's files, in their order.
fn jobs<'a>(summary: &mut Summary<'_>, sources: &'a [(&Utf8Path, SourceRoots)]) -> Vec<Job<'a>> {
    let processes: Vec<(TestId, Option<String>)> = summary
        .tests
        .iter()
        .flat_map(|test| {
            let children = test.children.iter().map(|child| (test.id(), Some(child.program.to_string())));
            std::iter::once((test.id(), None)).chain(children)
        })
        .collect();
    let folders = layout::test_folders(processes.iter().map(|(id, child)| (id, child.as_deref())));
    let profile = |files: &mut Files| {
        let numbered = files.remove(layout::PROFILE_KEY)?;
        let (number, path) = numbered.as_str().split_once('/')?;
        let (folder, source_roots) = sources.get(number.parse::<usize>().ok()?)?;
        Some((IntakeFile::new(folder, &PlainPath::ours(path.into())), source_roots))
    };
    let profiles: Vec<_> = summary.all_files().map(profile).collect();
    let job = |(((id, child), folder), profile)| Job { id, child, profile, folder };
    processes.into_iter().zip(folders).zip(profiles).map(job).collect()
}

impl Job<'_> {
    fn write(&self, outputs: &Outputs, room: &Room, gathered: &Mutex<Vec<ProfileBuilder>>) -> Result<Files, Error> {
        let Some((file, source_roots)) = &self.profile else { return Ok(Files::new()) };
        let cannot = || Error::new("cannot merge the profiles of the shards").with_code(ExitCode::CANNOT_COMPARE);
        let bytes = file.read().map_err(|error| {
            cannot().caused_by(error).help("keep the whole folder of each shard, as its run left it")
        })?;
        let damaged = |why: ImportError| {
            cannot().caused_by(format!("`{}` is damaged: {why}", file.path())).help("record the shard again")
        };
        let tables = FileTables::read(&bytes).map_err(damaged)?;
        room.take(tables.unpacked).ok_or_else(|| {
            let most = MOST_UNPACKED >> 20;
            cannot()
                .caused_by(format!("the profiles of all shards together unpack to more than {most} MiB"))
                .help("record the shards with a higher `--memprofilerate`, or merge fewer tests")
        })?;
        let profile = tables.profile(&bytes, source_roots).map_err(damaged)?;
        let title = title(&self.id, self.child.as_deref());
        let files = write_formats(outputs, &self.folder, &profile, &title)?;
        if self.child.is_none() {
            // The run's profile has what its totals have: the tests' own.
            let lock = || gathered.lock().expect("no thread panicked with the lock held");
            let mut gathering = lock().pop().unwrap_or_default();
            gathering.append(ProfileBuilder::from_profile(profile, Some(&title)));
            import::within_limits(&gathering).map_err(|why| too_large(&why))?;
            lock().push(gathering);
        }
        Ok(files)
    }
}

fn too_large(why: &ImportError) -> Error {
    Error::new("cannot merge the profiles of the shards")
        .caused_by(format!("the profile of the whole is too large: {why}"))
        .help("record the shards with a higher `--memprofilerate`")
        .with_code(ExitCode::CANNOT_COMPARE)
}

fn made(out: &Utf8Path) -> Result<&Utf8Path, Error> {
    fs_err::create_dir_all(out).map(|()| out).map_err(|error| cannot_write(out, &error))
}

fn cannot_write(out: &Utf8Path, error: &std::io::Error) -> Error {
    Error::new(format!("cannot write to `{out}`")).caused_by(error).with_code(ExitCode::OUTPUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_have_room_until_they_have_taken_it_however_small_they_are() {
        for unpacked in [0, LEAST_UNPACKED, 1 << 30] {
            let room = Room(AtomicU64::new(MOST_UNPACKED));
            let fit = MOST_UNPACKED / unpacked.max(LEAST_UNPACKED);
            assert!((0..fit).all(|_| room.take(unpacked).is_some()), "{unpacked}");
            assert_eq!(room.take(unpacked), None, "{unpacked}");
        }
    }
}
