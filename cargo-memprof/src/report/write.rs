//! Writes the outputs into their folder. Each is written beside its place first and moved there when it is whole. A list names the files of
//! the run before, which are removed; no other file is ever touched.

use super::layout;
use crate::collect::run_facts::RunFacts;
use crate::files::intake::{self, PlainPath};
use crate::files::outlet;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use crate::ui::interrupt;
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Mutex;

/// The first line of the list of our files, for whoever wonders what it is.
const MANIFEST_HEAD: &str = "# The files that `cargo memprof` wrote here. Its next run replaces these and no others.";
/// Where outputs are written first, in the run's scratch folder.
const STAGING: &str = "outputs";

/// The outputs of one run, not yet in their places.
#[derive(Debug)]
pub struct Outputs {
    out: Utf8PathBuf,
    staging: Utf8PathBuf,
    /// What an earlier run wrote, relative to the folder.
    before: BTreeSet<Utf8PathBuf>,
    /// Relative to the folder; whether it is in the staging folder, and not in its place already.
    written: Mutex<BTreeMap<Utf8PathBuf, bool>>,
}

impl Outputs {
    /// Makes room for the outputs of `facts`' run, in the scratch folder that its ledgers are in: what stays there when
    /// this fails goes with that folder.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub fn stage(facts: &RunFacts) -> Result<Outputs, Error> {
        Outputs::stage_in(&facts.out_dir, facts.ledgers.parent().unwrap_or(&facts.out_dir))
    }

    /// Makes room in `scratch`, a folder on the file system of `out`, for outputs that go to `out`.
    ///
    /// # Errors
    /// Where that cannot be written.
    pub fn stage_in(out: &Utf8Path, scratch: &Utf8Path) -> Result<Outputs, Error> {
        let staging = scratch.join(STAGING);
        fs_err::create_dir_all(&staging).map_err(|error| cannot_write(out, &error))?;
        let before = read_manifest(out).map_err(|error| cannot_write(out, &error))?;
        Ok(Outputs { out: out.to_owned(), staging, before, written: Mutex::default() })
    }

    /// Writes one output; `path` is relative to the folder. From any thread. Where an earlier run wrote the very same it
    /// stays: to replace a thousand files takes longer than to compare them.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn put(&self, path: &Utf8Path, bytes: &[u8]) -> Result<(), Error> {
        interrupt::stand_still_at_the_end();
        let stays = self.before.contains(path) && holds(&self.out.join(path), bytes);
        if !stays {
            let place = self.staging.join(path);
            if let Some(folder) = place.parent() {
                fs_err::create_dir_all(folder).map_err(|error| cannot_write(&self.out, &error))?;
            }
            outlet::put_new(&place, bytes).map_err(|error| cannot_write(&self.out, &error))?;
        }
        self.written.lock().expect("no thread panicked with the lock held").insert(path.to_owned(), !stays);
        Ok(())
    }

    /// Moves all outputs to their places and removes what an earlier run left.
    ///
    /// # Errors
    /// Where a file of somebody else's is in a place of ours (nothing was moved then), or the file system refuses.
    pub fn publish(self) -> Result<(), Error> {
        let written = self.written.into_inner().expect("no thread panicked with the lock held");
        let new: BTreeSet<Utf8PathBuf> = written.keys().cloned().collect();
        let old = read_manifest(&self.out).map_err(|error| cannot_write(&self.out, &error))?;
        refuse_foreign(&self.out, &new, &old)?;
        let moved = || -> io::Result<()> {
            // Whatever interrupts this, the list names every file of ours that is there.
            write_manifest(&self.out, &self.staging, old.union(&new))?;
            for (path, _) in written.iter().filter(|(_, staged)| **staged) {
                let place = self.out.join(path);
                if let Some(folder) = path.parent() {
                    outlet::make_below(&self.out, folder)?;
                }
                fs_err::rename(self.staging.join(path), place)?;
            }
            for path in old.difference(&new) {
                remove(&self.out, path)?;
            }
            write_manifest(&self.out, &self.staging, new.iter())
        };
        moved().map_err(|error| cannot_write(&self.out, &error))
    }
}

/// Whether there is a regular file at `place` with just these bytes.
fn holds(place: &Utf8Path, bytes: &[u8]) -> bool {
    let same_length = |found: std::fs::Metadata| found.is_file() && found.len() == bytes.len() as u64;
    place.symlink_metadata().is_ok_and(same_length)
        && intake::read_unlinked(place.as_std_path()).is_ok_and(|found| found == bytes)
}

/// Looks whether the outputs can go to `out`, before hours of tests are run for nothing.
///
/// # Errors
/// Where a file of somebody else's is in the place of one that every run writes.
pub fn check(out: &Utf8Path) -> Result<(), Error> {
    let ours = read_manifest(out).map_err(|error| cannot_write(out, &error))?;
    let always = [layout::INDEX, layout::SUMMARY, layout::PROFILE].map(Utf8PathBuf::from);
    refuse_foreign(out, &always.into_iter().collect(), &ours).map_err(|error| error.with_code(ExitCode::SET_UP))
}

/// Removes all that commands wrote into `out` and that their list has, the list included. What somebody else put there stays.
///
/// # Errors
/// Whatever the file system says.
pub fn remove_all(out: &Utf8Path) -> io::Result<()> {
    for path in read_manifest(out)? {
        remove(out, &path)?;
    }
    remove(out, layout::MANIFEST.into())?;
    remove(out, crate::report::last_command::LAST_COMMAND.into())
}

/// Refuses to write over what is not ours.
///
/// # Errors
/// Where one of `new` is there already and not among `ours`.
fn refuse_foreign(out: &Utf8Path, new: &BTreeSet<Utf8PathBuf>, ours: &BTreeSet<Utf8PathBuf>) -> Result<(), Error> {
    let foreign = new.difference(ours).find(|path| out.join(path).symlink_metadata().is_ok());
    let Some(path) = foreign else { return Ok(()) };
    Err(Error::new(format!("cannot write the profiles to `{out}`"))
        .caused_by(format!("`{}` is there already, and `cargo memprof` did not write it", out.join(path)))
        .help("move it away, or pass another folder: `--memprofile DIR`")
        .with_code(ExitCode::OUTPUT))
}

fn read_manifest(out: &Utf8Path) -> io::Result<BTreeSet<Utf8PathBuf>> {
    let text = match intake::read_unlinked(out.join(layout::MANIFEST).as_std_path()) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    // The list says what is removed, so it is believed only where it stays inside the folder.
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(Utf8PathBuf::from);
    Ok(lines.filter(|path| PlainPath::new(path.clone()).is_some()).collect())
}

fn write_manifest<'a>(
    out: &Utf8Path,
    staging: &Utf8Path,
    paths: impl Iterator<Item = &'a Utf8PathBuf>,
) -> io::Result<()> {
    let mut text = format!("{MANIFEST_HEAD}\n");
    for path in paths {
        text.push_str(path.as_str());
        text.push('\n');
    }
    let staged = staging.join(layout::MANIFEST);
    outlet::put_new(&staged, text)?;
    fs_err::rename(staged, out.join(layout::MANIFEST))
}

/// Removes an old file of ours and the folders that it leaves empty.
fn remove(out: &Utf8Path, path: &Utf8Path) -> io::Result<()> {
    // What is behind a link is not what we wrote.
    let above = path.ancestors().skip(1).filter(|folder| !folder.as_str().is_empty());
    if above.map(|folder| out.join(folder)).any(|folder| folder.is_symlink()) {
        return Ok(());
    }
    match fs_err::remove_file(out.join(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for folder in path.ancestors().skip(1).filter(|folder| !folder.as_str().is_empty()) {
        // A folder that somebody else's files are in stays.
        if std::fs::remove_dir(out.join(folder)).is_err() {
            break;
        }
    }
    Ok(())
}

fn cannot_write(out: &Utf8Path, error: &io::Error) -> Error {
    Error::new(format!("cannot write the profiles to `{out}`"))
        .caused_by(error)
        .help("make room or pass another folder: `--memprofile DIR`; what an earlier run wrote is still there")
        .with_code(ExitCode::OUTPUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(out: &Utf8Path, files: &[(&str, &str)]) -> Outputs {
        let staging = out.join(".run-1").join(STAGING);
        fs_err::create_dir_all(&staging).unwrap();
        let before = read_manifest(out).unwrap();
        let outputs = Outputs { out: out.to_owned(), staging, before, written: Mutex::default() };
        for (path, text) in files {
            outputs.put(Utf8Path::new(path), text.as_bytes()).unwrap();
        }
        outputs
    }

    fn read(out: &Utf8Path, path: &str) -> Option<String> {
        std::fs::read_to_string(out.join(path)).ok()
    }

    #[test]
    fn a_run_replaces_what_the_run_before_wrote_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let out = Utf8Path::from_path(folder.path()).unwrap();
        fs_err::create_dir_all(out.join("p/lib-p/gone")).unwrap();
        fs_err::write(out.join("p/lib-p/gone/mine.txt"), "mine").unwrap();
        fs_err::write(out.join("Cargo.toml"), "mine").unwrap();
        outputs(out, &[("index.html", "1"), ("p/lib-p/gone/a.svg", "1"), ("q/t/x.svg", "1")]).publish().unwrap();
        outputs(out, &[("index.html", "2"), ("p/lib-p/new/a.svg", "2")]).publish().unwrap();
        assert_eq!(read(out, "index.html").as_deref(), Some("2"));
        assert_eq!(read(out, "p/lib-p/new/a.svg").as_deref(), Some("2"));
        assert_eq!(read(out, "p/lib-p/gone/a.svg"), None);
        assert!(!out.join("q").exists());
        assert_eq!(read(out, "p/lib-p/gone/mine.txt").as_deref(), Some("mine"));
        assert_eq!(read(out, "Cargo.toml").as_deref(), Some("mine"));
    }

    #[test]
    fn what_is_the_same_stays_where_it_is() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let out = Utf8Path::from_path(folder.path()).unwrap();
        let file = |path: &str| fs_err::metadata(out.join(path)).unwrap().ino();
        outputs(out, &[("a.svg", "same"), ("b.svg", "1")]).publish().unwrap();
        let (same, other) = (file("a.svg"), file("b.svg"));
        outputs(out, &[("a.svg", "same"), ("b.svg", "2")]).publish().unwrap();
        assert_eq!(file("a.svg"), same);
        assert_ne!(file("b.svg"), other);
        assert_eq!(read(out, "b.svg").as_deref(), Some("2"));
    }

    #[test]
    fn a_file_of_the_users_in_a_place_of_ours_stops_everything() {
        let folder = tempfile::tempdir().unwrap();
        let out = Utf8Path::from_path(folder.path()).unwrap();
        fs_err::write(out.join("index.html"), "mine").unwrap();
        let error = outputs(out, &[("a.svg", "1"), ("index.html", "1")]).publish().unwrap_err();
        assert!(error.to_string().contains("index.html"), "{error}");
        assert_eq!(error.code(), ExitCode::OUTPUT);
        assert_eq!(read(out, "index.html").as_deref(), Some("mine"));
        assert_eq!(read(out, "a.svg"), None);
        assert_eq!(check(out).unwrap_err().code(), ExitCode::SET_UP);
        fs_err::remove_file(out.join("index.html")).unwrap();
        check(out).unwrap();
    }

    #[test]
    fn a_list_that_leads_outside_removes_nothing_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        let out = root.join("out");
        fs_err::create_dir_all(&out).unwrap();
        fs_err::write(root.join("precious"), "mine").unwrap();
        let list = format!("../precious\n{root}/precious\n./x\n");
        fs_err::write(out.join(layout::MANIFEST), list).unwrap();
        outputs(&out, &[("index.html", "1")]).publish().unwrap();
        assert_eq!(read(root, "precious").as_deref(), Some("mine"));
    }
}
