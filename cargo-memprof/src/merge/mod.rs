//! Several shards of one run as one: their summaries are put together, their files taken over, and the result lies there as if
//! it had been one run, for `gate --no-run` and `accept`. Shards that do not make up one whole run are refused.

mod profile;
mod shards;

use crate::drive::Here;
use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::gate::recorded::RecordedRun;
use crate::options::TestOptions;
use crate::report::Outputs;
use crate::report::layout;
use crate::surroundings::absolute;
use crate::view::amount::plural;
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
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
    let summary = write(&shards, &outputs)?;
    outputs.publish()?;
    let tests = summary["tests"].as_array().map_or(0, Vec::len);
    let what = format!("{} of {} into `{out}`", plural(tests, "test"), plural(shards.len(), "shard"));
    here.shell.status("Merged", &what);
    let exit = summary["run"]["cargo_exit"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
    Ok(ExitCode::of_cargo(exit))
}

/// One of them.
struct Shard {
    folder: Utf8PathBuf,
    run: RecordedRun,
    /// All of the summary, also what this program does not know.
    summary: Value,
}

impl Shard {
    fn read(folder: &Utf8Path) -> Result<Shard, Error> {
        let cannot = |error: Error| error.with_code(ExitCode::CANNOT_COMPARE);
        let run = RecordedRun::read(folder).map_err(cannot)?;
        let path = folder.join(layout::SUMMARY);
        let failed = || Error::new(format!("cannot read `{path}`")).with_code(ExitCode::CANNOT_COMPARE);
        let text = fs_err::read(&path).map_err(|error| failed().caused_by(error))?;
        let summary = serde_json::from_slice(&text).map_err(|error| failed().caused_by(error))?;
        Ok(Shard { folder: folder.to_owned(), run, summary })
    }
}

/// Takes over the tests' files, and writes the profile and the summary of the whole, which is given.
fn write(shards: &[Shard], outputs: &Outputs) -> Result<Value, Error> {
    let mut summaries: Vec<Value> = shards.iter().map(|shard| shard.summary.clone()).collect();
    for (number, (shard, summary)) in shards.iter().zip(&mut summaries).enumerate() {
        for test in summary["tests"].as_array_mut().into_iter().flatten() {
            for path in test["files"].as_object_mut().into_iter().flat_map(|files| files.values_mut()) {
                let from = Utf8PathBuf::from(path.as_str().unwrap_or_default());
                // Repeats and names that differ in case alone have numbered folders, which are another test's elsewhere.
                let to = Utf8PathBuf::from(format!("shard-{}", number + 1)).join(&from);
                copy(&shard.folder.join(from), outputs, &to)?;
                *path = Value::String(to.into_string());
            }
        }
    }
    let profiles: Vec<Vec<u8>> =
        shards.iter().filter_map(|shard| fs_err::read(shard.folder.join(layout::PROFILE)).ok()).collect();
    let mut summary = shards::merged(summaries);
    if !profiles.is_empty() {
        let whole = profile::merged(&profiles).map_err(|why| {
            let asked = Error::new("cannot merge the profiles of the shards");
            asked.caused_by(why).help("record the shards again").with_code(ExitCode::OUTPUT)
        })?;
        outputs.put(Utf8Path::new(layout::PROFILE), &whole)?;
        summary["run"]["files"] = serde_json::json!({ "profile": layout::PROFILE });
    }
    let text = serde_json::to_vec(&summary).expect("JSON can be written");
    outputs.put(Utf8Path::new(layout::SUMMARY), &text)?;
    Ok(summary)
}

fn copy(from: &Utf8Path, outputs: &Outputs, to: &Utf8Path) -> Result<(), Error> {
    let bytes = fs_err::read(from).map_err(|error| {
        Error::new("cannot take over the files of a shard")
            .caused_by(error)
            .help("keep the whole folder of each shard, as its run left it")
            .with_code(ExitCode::CANNOT_COMPARE)
    })?;
    outputs.put(to, &bytes)
}

fn made(out: &Utf8Path) -> Result<&Utf8Path, Error> {
    fs_err::create_dir_all(out).map(|()| out).map_err(|error| cannot_write(out, &error))
}

fn cannot_write(out: &Utf8Path, error: &std::io::Error) -> Error {
    Error::new(format!("cannot write to `{out}`")).caused_by(error).with_code(ExitCode::OUTPUT)
}
