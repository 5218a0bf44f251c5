//! The folders of a run: where cargo builds for us, where the outputs go, and the scratch folder that is gone when the
//! run has ended. Names below the outputs are `report`'s business.

use crate::files::intake;
use crate::files::outlet;
use crate::ui::error::Error;
use camino::{Utf8Path, Utf8PathBuf};
use memprof_harness::ledger::Inventory;
use rustix::fs::FlockOperation;
use rustix::process::Pid;
use std::io;
use std::path::Path;

/// Below cargo's target folder: all that is ours.
pub const NAME: &str = "memprof";
/// In it: what cargo builds for us.
pub const BUILD: &str = "build";
/// The same with `--native`, which cargo's own fingerprints do not know of.
pub const BUILD_NATIVE: &str = "build-native";
/// In the outputs' folder, where the user wants the ledgers kept.
pub const LEDGERS: &str = "ledgers";
const SCRATCH: &str = ".run-";
/// In the folder of our builds: what they were made with.
const KEY: &str = ".memprof-key";
/// What tells backup programs that a folder can be made again; cargo writes the same.
const CACHE_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by cargo.
# For information about cache directory tags see https://bford.info/cachedir/
";

/// The folders of one run; all exist and can be written. Dropping this removes the scratch folder.
#[derive(Debug)]
pub struct Folders {
    /// Cargo's target folder for our builds.
    pub build: Utf8PathBuf,
    /// Where the outputs go, absolute.
    pub out: Utf8PathBuf,
    /// Of this run alone.
    pub scratch: Utf8PathBuf,
}

impl Folders {
    /// Makes them; what cargo builds goes into the folder of the name `built`. `out` is the user's wish; without one, the
    /// outputs go below `target`. What was built with another `key` is removed: cargo's own fingerprints do not know of the harness.
    ///
    /// # Errors
    /// Where one of them cannot be made or written.
    pub fn make(target: &Utf8Path, out: Option<Utf8PathBuf>, built: &str, key: &str) -> Result<Folders, Error> {
        let (out, help) = match out {
            Some(out) => (out, "pass a folder that you may write to: `--memprofile DIR`"),
            None => (target.join(NAME), "pass another target folder with `--target-dir`, or set `CARGO_TARGET_DIR`"),
        };
        // As long in every run: the path is in the environment of the tests, which some of them copy.
        let scratch = out.join(format!("{SCRATCH}{:010}", std::process::id()));
        let build = make_build(target, built, key)?;
        fs_err::create_dir_all(&out)
            .and_then(|()| remove_leftovers(&out))
            .and_then(|()| fs_err::create_dir_all(scratch.join(LEDGERS)))
            .and_then(|()| fs_err::create_dir_all(scratch.join(Inventory::FOLDER)))
            .map_err(|error| cannot_write(&out, &error, help))?;
        Ok(Folders { build, out, scratch })
    }

    /// Where this run's ledgers are recorded.
    pub fn ledgers(&self) -> Utf8PathBuf {
        self.scratch.join(LEDGERS)
    }

    /// Where this run's lists of tests are, which a test that empties the folder of the ledgers does not touch.
    pub fn lists(&self) -> Utf8PathBuf {
        self.scratch.join(Inventory::FOLDER)
    }

    /// Where kept ledgers are found.
    pub fn kept(&self) -> Utf8PathBuf {
        self.out.join(LEDGERS)
    }

    /// Removes the ledgers that an earlier run kept, and with `keep` moves this run's to their place. Other files there
    /// are somebody else's and stay.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn replace_kept_ledgers(&self, keep: bool) -> io::Result<()> {
        let kept = self.kept();
        if kept.is_dir() {
            for old in ledgers_in(&kept)? {
                fs_err::remove_file(old)?;
            }
        }
        if keep {
            fs_err::create_dir_all(&kept)?;
            // A test may have removed the folder.
            let ledgers = if self.ledgers().is_dir() { ledgers_in(&self.ledgers())? } else { Vec::new() };
            for ledger in ledgers {
                fs_err::rename(&ledger, kept.join(ledger.file_name().unwrap_or_default()))?;
            }
        } else if kept.is_dir() {
            // Refused where something is left in it, and it then has a reason to stay.
            let _ = std::fs::remove_dir(&kept);
        }
        Ok(())
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        // The next run removes what could not be removed now.
        let _ = fs_err::remove_dir_all(&self.scratch);
    }
}

/// Makes the folder of the name `built` for what cargo builds for us below `target`; what was built with another `key` is
/// removed.
///
/// # Errors
/// Where it cannot be made or written.
pub fn make_build(target: &Utf8Path, built: &str, key: &str) -> Result<Utf8PathBuf, Error> {
    let build = target.join(NAME).join(built);
    make_target(target)
        .and_then(|()| fs_err::create_dir_all(target.join(NAME)))
        .and_then(|()| fs_err::File::open(target.join(NAME)))
        .and_then(|folder| {
            // Tests that have cargo run programs come here at once, and what one has made another must not remove. Without
            // locks, on a file system that has none, that is unlikely enough.
            let _ = rustix::fs::flock(&folder, FlockOperation::LockExclusive);
            make_keyed(&build, key)
        })
        .map_err(|error| cannot_write(&build, &error, "pass another target folder with `--target-dir`"))?;
    Ok(build)
}

/// Makes cargo's target folder as cargo does, with its tag, where cargo has not been yet.
fn make_target(target: &Utf8Path) -> io::Result<()> {
    if target.exists() {
        return Ok(());
    }
    fs_err::create_dir_all(target)?;
    outlet::put(target.join("CACHEDIR.TAG"), CACHE_TAG)
}

/// Makes a folder of builds that are made with `key`, where it is not there.
fn make_keyed(build: &Utf8Path, key: &str) -> io::Result<()> {
    remove_stale(build, key)?;
    fs_err::create_dir_all(build)?;
    probe(build)?;
    match intake::read_unlinked(build.join(KEY).as_std_path()) {
        Ok(found) if found == key.as_bytes() => Ok(()),
        _ => outlet::put(build.join(KEY), key),
    }
}

/// Removes a folder of builds that were not made with `key`. One without a key was never finished, or is not ours.
fn remove_stale(build: &Utf8Path, key: &str) -> io::Result<()> {
    match intake::read_unlinked(build.join(KEY).as_std_path()) {
        Ok(found) if found != key.as_bytes() => fs_err::remove_dir_all(build),
        _ => Ok(()),
    }
}

/// Whether a file can be made in `folder`.
fn probe(folder: &Utf8Path) -> io::Result<()> {
    tempfile::Builder::new().prefix(".probe-").tempfile_in(folder).map(drop)
}

/// Removes what cargo built for us in the folder `ours`, scratch folders of runs that were killed, and ledgers that were kept. What is not
/// ours stays.
///
/// # Errors
/// Whatever the file system says.
pub fn remove_builds(ours: &Utf8Path) -> io::Result<()> {
    for build in [BUILD, BUILD_NATIVE].map(|name| ours.join(name)) {
        if !build.is_symlink() && build.join(KEY).is_file() {
            fs_err::remove_dir_all(build)?;
        }
    }
    remove_leftovers(ours)?;
    let kept = ours.join(LEDGERS);
    if kept.is_dir() && !kept.is_symlink() {
        for ledger in ledgers_in(&kept)? {
            fs_err::remove_file(ledger)?;
        }
        // Refused where something is left in it.
        let _ = std::fs::remove_dir(kept);
    }
    Ok(())
}

/// Removes scratch folders of runs that were killed.
fn remove_leftovers(out: &Utf8Path) -> io::Result<()> {
    for entry in out.read_dir_utf8()? {
        let entry = entry?;
        let owner = entry.file_name().strip_prefix(SCRATCH).and_then(|process| process.parse().ok());
        if owner.is_some_and(|process| process == std::process::id() || !is_alive(process)) {
            fs_err::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn ledgers_in(folder: &Utf8Path) -> io::Result<Vec<Utf8PathBuf>> {
    let mut ledgers = Vec::new();
    for entry in folder.read_dir_utf8()? {
        let path = entry?.into_path();
        if is_ledger(path.as_std_path()) {
            ledgers.push(path);
        }
    }
    Ok(ledgers)
}

fn cannot_write(folder: &Utf8Path, error: &io::Error, help: &str) -> Error {
    Error::new(format!("cannot write to `{folder}`")).caused_by(error).help(help)
}

/// A forked process puts its ledger beside its parent's, under a longer name.
pub const FORK: &str = ".ledger.fork-";

/// Whether the file is called as a ledger is: of a test, of a program, or of a process that one of them forked.
pub fn is_ledger(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".ledger") || name.contains(FORK)
}

/// Whether the process still runs.
pub fn is_alive(process: u32) -> bool {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    let Some(process) = process else { return false };
    !matches!(rustix::process::test_kill_process(process), Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_leaves_no_scratch_and_clears_that_of_a_killed_one() {
        let temporary = tempfile::tempdir().unwrap();
        let target = Utf8Path::from_path(temporary.path()).unwrap().join("target");
        let out = target.join(NAME);
        // No process has this number: it is above every limit.
        fs_err::create_dir_all(out.join(".run-2147483646/ledgers")).unwrap();
        let folders = Folders::make(&target, None, BUILD, "1").unwrap();
        assert!(folders.ledgers().is_dir() && !out.join(".run-2147483646").exists());
        let scratch = folders.scratch.clone();
        drop(folders);
        assert!(!scratch.exists() && out.is_dir());
    }

    #[test]
    fn kept_ledgers_replace_those_of_the_run_before_and_nothing_else() {
        let temporary = tempfile::tempdir().unwrap();
        let target = Utf8Path::from_path(temporary.path()).unwrap().join("target");
        let folders = Folders::make(&target, Some(target.join("out")), BUILD, "1").unwrap();
        let kept = folders.kept();
        fs_err::create_dir_all(&kept).unwrap();
        fs_err::write(kept.join("old.ledger"), "").unwrap();
        fs_err::write(kept.join("accounts.txt"), "mine").unwrap();
        fs_err::write(folders.ledgers().join("new.ledger"), "").unwrap();
        fs_err::write(folders.ledgers().join("new.ledger.fork-1"), "").unwrap();
        folders.replace_kept_ledgers(true).unwrap();
        assert!(kept.join("new.ledger").exists() && !kept.join("old.ledger").exists());
        assert!(kept.join("new.ledger.fork-1").exists());
        folders.replace_kept_ledgers(false).unwrap();
        assert!(!kept.join("new.ledger").exists() && kept.join("accounts.txt").exists());
        assert!(!kept.join("new.ledger.fork-1").exists());
        fs_err::remove_file(kept.join("accounts.txt")).unwrap();
        folders.replace_kept_ledgers(false).unwrap();
        assert!(!kept.exists() && target.join("CACHEDIR.TAG").exists());
    }

    #[test]
    fn builds_made_with_another_harness_are_removed_and_those_with_the_same_stay() {
        let temporary = tempfile::tempdir().unwrap();
        let target = Utf8Path::from_path(temporary.path()).unwrap().join("target");
        let object = Folders::make(&target, None, BUILD, "1").unwrap().build.join("object");
        fs_err::write(&object, "").unwrap();
        drop(Folders::make(&target, None, BUILD, "1").unwrap());
        assert!(object.exists());
        let folders = Folders::make(&target, None, BUILD, "2").unwrap();
        assert!(!object.exists() && folders.build.is_dir());
    }
}
