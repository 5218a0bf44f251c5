//! Several shards of one run as one: their summaries are put together, their files taken over, and the result lies there as if
//! it had been one run, for `gate --no-run` and `accept`. Shards that do not make up one whole run are refused.

mod shards;

use crate::drive::Here;
use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::export::import;
use crate::gate::recorded::RecordedRun;
use crate::options::TestOptions;
use crate::profile::{About, Profile, ProfileBuilder};
use crate::record::TestId;
use crate::report::layout;
use crate::report::{Files, Outputs, Summary, write_whole};
use crate::surroundings::absolute;
use crate::symbolize::Places;
use crate::view::amount::plural;
use camino::{Utf8Path, Utf8PathBuf};
use std::path::PathBuf;

/// What `cargo memprof merge` was asked for.
#[derive(Debug)]
pub struct MergeOptions {
    pub test: TestOptions,
    /// The outputs of each shard.
    pub folders: Vec<PathBuf>,
}

/// Puts the shards together.
///
/// # Errors
/// Where they are no shards of one run, one is missing, or the outputs cannot be written.
pub fn merge(options: &MergeOptions) -> Result<ExitCode, Error> {
    let here = match Here::look(&options.test.cargo)? {
        Ok(here) => here,
        Err(code) => return Ok(code),
    };
    let out = here.out_dir(options.test.own.folder.as_deref())?;
    let folders: Vec<Utf8PathBuf> =
        options.folders.iter().map(|folder| absolute(folder, "merge")).collect::<Result<_, _>>()?;
    if folders.contains(&out) {
        return Err(Error::usage(format!("cannot merge into `{out}`"))
            .caused_by("it is one of the shards")
            .help("pass another folder for the whole: `--memprofile DIR`"));
    }
    let shards = folders.iter().map(|folder| Shard::read(folder)).collect::<Result<Vec<Shard>, Error>>()?;
    shards::check(&shards.iter().map(|shard| (&*shard.folder, &shard.run)).collect::<Vec<_>>())?;
    let scratch = tempfile::Builder::new().prefix(".run-merge-").tempdir_in(made(&out)?);
    let scratch = scratch.map_err(|error| cannot_write(&out, &error))?;
    let outputs = Outputs::stage_in(&out, Utf8Path::from_path(scratch.path()).unwrap_or(&out))?;
    let named: Vec<String> = options.folders.iter().map(|folder| folder.display().to_string()).collect();
    let summary = write(&shards, &format!("cargo memprof merge {}", named.join(" ")), &outputs)?;
    outputs.publish()?;
    let what = format!("{} of {} into `{out}`", plural(summary.tests.len(), "test"), plural(shards.len(), "shard"));
    here.shell.status("Merged", &what);
    Ok(ExitCode::of_cargo(summary.run.cargo_exit))
}

/// One of them.
struct Shard {
    folder: Utf8PathBuf,
    run: RecordedRun,
    summary: Summary<'static>,
}

impl Shard {
    fn read(folder: &Utf8Path) -> Result<Shard, Error> {
        let run = RecordedRun::read(folder).map_err(|error| error.with_code(ExitCode::CANNOT_COMPARE))?;
        let path = folder.join(layout::SUMMARY);
        let failed = || Error::new(format!("cannot read `{path}`")).with_code(ExitCode::CANNOT_COMPARE);
        let text = fs_err::read_to_string(&path).map_err(|error| failed().caused_by(error))?;
        let mut summary = Summary::from_json(&text).map_err(|error| {
            failed().caused_by(error).help("record all shards with the `cargo memprof` that merges them")
        })?;
        // Until the whole has its places.
        for files in summary.all_files() {
            for path in files.values_mut() {
                *path = folder.join(&*path);
            }
        }
        Ok(Shard { folder: folder.to_owned(), run, summary })
    }

    /// The profile of all its tests; `None` = there are no samples.
    fn profile(&self) -> Result<Option<Profile>, Error> {
        let Some(path) = self.summary.run.files.get("profile").map(|path| self.folder.join(path)) else {
            return Ok(None);
        };
        let bytes = read(&path)?;
        let places = Places { workspace: self.summary.run.workspace_root.to_string().into() };
        let profile = import::import(&bytes, &places).map_err(|why| {
            Error::new("cannot merge the profiles of the shards")
                .caused_by(format!("`{path}` is damaged: {why}"))
                .help("record the shard again")
                .with_code(ExitCode::CANNOT_COMPARE)
        })?;
        Ok(Some(profile))
    }
}

/// Takes over the tests' files, and writes what there is of the whole. Gives its summary.
fn write(shards: &[Shard], command: &str, outputs: &Outputs) -> Result<Summary<'static>, Error> {
    let mut summary = shards::merged(shards.iter().map(|shard| shard.summary.clone()).collect());
    summary.run.command = command.to_owned().into();
    take_over(&mut summary, outputs)?;
    let mut whole = ProfileBuilder::default();
    for shard in shards {
        if let Some(profile) = shard.profile()? {
            whole.merge(&profile, None);
        }
    }
    write_whole(outputs, &mut summary, |about: About| whole.finish(about))?;
    Ok(summary)
}

/// Puts the files of each test where a run that was not divided would have put them.
fn take_over(summary: &mut Summary<'_>, outputs: &Outputs) -> Result<(), Error> {
    let ids: Vec<TestId> = summary.tests.iter().map(|test| test.id()).collect();
    let processes = summary.tests.iter().zip(&ids).flat_map(|(test, id)| {
        let children = test.children.iter().map(move |child| (id, Some(&*child.program)));
        std::iter::once((id, None)).chain(children)
    });
    let folders = layout::test_folders(processes);
    for (files, folder) in summary.all_files().zip(&folders) {
        moved(files, folder, outputs)?;
    }
    Ok(())
}

fn moved(files: &mut Files, folder: &Utf8Path, outputs: &Outputs) -> Result<(), Error> {
    for path in files.values_mut() {
        let to = folder.join(path.file_name().unwrap_or_default());
        outputs.put(&to, &read(path)?)?;
        *path = to;
    }
    Ok(())
}

fn read(path: &Utf8Path) -> Result<Vec<u8>, Error> {
    fs_err::read(path).map_err(|error| {
        Error::new("cannot take over the files of a shard")
            .caused_by(error)
            .help("keep the whole folder of each shard, as its run left it")
            .with_code(ExitCode::CANNOT_COMPARE)
    })
}

fn made(out: &Utf8Path) -> Result<&Utf8Path, Error> {
    fs_err::create_dir_all(out).map(|()| out).map_err(|error| cannot_write(out, &error))
}

fn cannot_write(out: &Utf8Path, error: &std::io::Error) -> Error {
    Error::new(format!("cannot write to `{out}`")).caused_by(error).with_code(ExitCode::OUTPUT)
}
