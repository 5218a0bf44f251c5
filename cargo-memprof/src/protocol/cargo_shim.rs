//! The shim of cargo: the folder in which recorded tests find this program under cargo's name, so that a `cargo run` of theirs can be
//! recorded: what is in it, and how it gets into an environment and out of it again.
//!
//! - `bin/cargo`: this program, the value of `CARGO`; beside it links to cargo's neighbours, such as rustc. It is no symbolic
//!   link, since a test may follow those before it calls cargo.
//! - `path/cargo`: the same; `path` comes first in `PATH`.
//! - `real`: a link to the real cargo.
//! - `ours`: a link to this program where it is otherwise.

use crate::context::env;
use crate::files::outlet;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Its name in the folder of our builds.
pub const NAME: &str = ".memprof-cargo";
const CARGO: &str = "cargo";
const BIN: &str = "bin";
const PATH: &str = "path";
const REAL: &str = "real";
const OURS: &str = "ours";
/// Beginnings of the names of programs that come with cargo, which somebody may look for beside it.
const NEIGHBOURS: [&str; 3] = ["rust", "cargo-", "clippy-"];

/// See the head of this file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CargoShim {
    /// Absolute.
    folder: PathBuf,
}

/// How this program was found when it was called as cargo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// By its path, which is in `CARGO`.
    Variable,
    /// By its name, in `PATH`.
    Name,
}

impl CargoShim {
    /// Makes the links in `folder`, to the program `exe` and to the cargo at `real`. Another run may be doing the same, or
    /// use what is there.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn make(folder: PathBuf, exe: &Path, real: &Path) -> io::Result<CargoShim> {
        let (bin, path) = (folder.join(BIN), folder.join(PATH));
        fs_err::create_dir_all(&bin)?;
        fs_err::create_dir_all(&path)?;
        link(real, &folder.join(REAL))?;
        for entry in real.parent().map(fs_err::read_dir).transpose()?.into_iter().flatten() {
            let entry = entry?;
            let name = entry.file_name();
            if NEIGHBOURS.iter().any(|beginning| name.as_encoded_bytes().starts_with(beginning.as_bytes())) {
                link(&entry.path(), &bin.join(name))?;
            }
        }
        link(exe, &folder.join(OURS))?;
        put(exe, &bin.join(CARGO))?;
        put(exe, &path.join(CARGO))?;
        Ok(CargoShim { folder })
    }

    /// The one by which this process was called, and how it was found; `None` = it was not called so.
    pub fn called() -> Option<(CargoShim, FoundBy)> {
        let called = executed()?;
        if called.file_name()? == CARGO { CargoShim::at(called.parent()?) } else { None }
    }

    /// The one that `folder`, which holds a `cargo`, belongs to.
    fn at(folder: &Path) -> Option<(CargoShim, FoundBy)> {
        let found = match folder.file_name()?.to_str()? {
            BIN => FoundBy::Variable,
            PATH => FoundBy::Name,
            _ => return None,
        };
        let folder = std::path::absolute(folder.parent()?).ok()?;
        let ours = folder.file_name()? == NAME && fs_err::read_link(folder.join(REAL)).is_ok();
        ours.then_some((CargoShim { folder }, found))
    }

    /// The value of `CARGO` in the place of `cargo`; `None` = that is another cargo than the real one.
    pub fn for_variable(&self, cargo: &OsStr) -> Option<PathBuf> {
        let real = fs_err::read_link(self.folder.join(REAL)).ok()?;
        (real == cargo).then(|| self.folder.join(BIN).join(CARGO))
    }

    /// Puts it into the environment of `command`, which has the variables of this process.
    pub fn put_into(&self, command: &mut Command) {
        if let Some(cargo) = env::non_empty(env::CARGO).and_then(|cargo| self.for_variable(&cargo)) {
            command.env(env::CARGO, cargo);
        }
        let path = std::env::var_os(env::PATH).unwrap_or_default();
        let folders = std::iter::once(self.folder.join(PATH)).chain(std::env::split_paths(&path));
        // A folder with a colon in its name cannot be there.
        if let Ok(path) = std::env::join_paths(folders) {
            command.env(env::PATH, path);
        }
    }

    /// The environment of this process as it is without it: what is to be set.
    pub fn without(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = Vec::new();
        if std::env::var_os(env::CARGO).is_some_and(|cargo| self.folder.join(BIN).join(CARGO) == cargo)
            && let Ok(real) = fs_err::read_link(self.folder.join(REAL))
        {
            variables.push((env::CARGO, real.into_os_string()));
        }
        if let Some(path) = self.path_without() {
            variables.push((env::PATH, path));
        }
        variables
    }

    fn path_without(&self) -> Option<OsString> {
        let ours = self.folder.join(PATH);
        let path = std::env::var_os(env::PATH)?;
        std::env::join_paths(std::env::split_paths(&path).filter(|folder| *folder != ours)).ok()
    }

    /// This program by its own name.
    pub fn ours(&self) -> io::Result<PathBuf> {
        fs_err::read_link(self.folder.join(OURS))
    }

    /// The cargo that would have been called without the shim.
    pub fn real_cargo(&self, found: FoundBy) -> Option<PathBuf> {
        let by_name = || in_path(CARGO, &self.path_without()?);
        let by_variable = || fs_err::read_link(self.folder.join(REAL)).ok();
        match found {
            FoundBy::Name => by_name().or_else(by_variable),
            FoundBy::Variable => by_variable(),
        }
    }
}

/// What the kernel was told to run, whatever the first argument and `PATH` say; `None` = the system does not say.
fn executed() -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    let path = Some(PathBuf::from(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(
        rustix::param::linux_execfn().to_bytes(),
    )));
    #[cfg(not(target_os = "linux"))]
    let path = None;
    path
}

/// The first file called `name` in the folders of `path` that can be executed.
pub fn in_path(name: &str, path: &OsStr) -> Option<PathBuf> {
    let executable = |path: &PathBuf| {
        fs_err::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path).map(|folder| folder.join(name)).find(executable)
}

/// Has `place`, whose folder need not exist, be a link to `target`. Other runs may be doing the same.
///
/// # Errors
/// Whatever the file system says.
pub fn put_link(target: &Path, place: &Path) -> io::Result<()> {
    fs_err::create_dir_all(place.parent().unwrap_or(place))?;
    link(target, place)
}

/// Has `place` be a link to `target`.
fn link(target: &Path, place: &Path) -> io::Result<()> {
    if fs_err::read_link(place).is_ok_and(|found| found == target) {
        return Ok(());
    }
    replace(place, |draft| fs_err::os::unix::fs::symlink(target, draft))
}

/// Has `place` be the file at `source`, or a copy of it where that is on another file system or somebody else's.
fn put(source: &Path, place: &Path) -> io::Result<()> {
    let metadata = fs_err::metadata(source)?;
    let same = |found: std::fs::Metadata| {
        // A copy has the time of its source.
        found.len() == metadata.len() && found.modified().ok() == metadata.modified().ok()
    };
    if fs_err::symlink_metadata(place).is_ok_and(same) {
        return Ok(());
    }
    replace(place, |draft| {
        fs_err::hard_link(source, draft).or_else(|_| {
            outlet::copy_new(source, draft)?;
            fs_err::File::open(draft)?.into_file().set_modified(metadata.modified()?)
        })
    })
}

/// Has `make` make what is then put into `place`, where at every moment there is something whole.
fn replace(place: &Path, make: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = place.parent().unwrap_or(Path::new("."));
    let draft = tempfile::Builder::new().prefix(".draft-").make_in(folder, |draft| make(draft))?;
    draft.persist(place)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shim_has_cargos_neighbours_beside_it_and_knows_the_cargo() {
        let temporary = tempfile::tempdir().unwrap();
        let toolchain = temporary.path().join("toolchain");
        fs_err::create_dir_all(&toolchain).unwrap();
        for name in ["cargo", "cargo-clippy", "rustc", "ls"] {
            fs_err::write(toolchain.join(name), name).unwrap();
        }
        let (folder, exe) = (temporary.path().join(NAME), temporary.path().join("exe"));
        let real = toolchain.join("cargo");
        for text in ["older", "newer one"] {
            let _ = fs_err::remove_file(&exe);
            fs_err::write(&exe, text).unwrap();
            CargoShim::make(folder.clone(), &exe, &real).unwrap();
            assert_eq!(fs_err::read_to_string(folder.join("path/cargo")).unwrap(), text);
        }
        let mut names: Vec<_> =
            fs_err::read_dir(folder.join(BIN)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["cargo", "cargo-clippy", "rustc"]);
        let (cargo_shim, found) = CargoShim::at(&folder.join(BIN)).unwrap();
        assert_eq!((found, cargo_shim.real_cargo(found)), (FoundBy::Variable, Some(real.clone())));
        assert_eq!(cargo_shim.ours().unwrap(), exe);
        assert_eq!(cargo_shim.for_variable(real.as_os_str()), Some(folder.join("bin/cargo")));
        assert_eq!(cargo_shim.for_variable(OsStr::new("/another/cargo")), None);
        assert_eq!(CargoShim::at(&toolchain), None);
    }
}
