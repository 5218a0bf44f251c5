//! The note that the wrapper leaves beside an executable it saw compiled: what it is and whether it carries the
//! harness. It lies where cargo keeps the executable, because cargo may run it many times and compile it once.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// One executable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// rustc's name for the crate, with underscores.
    pub crate_name: String,
    /// The crate's main file, absolute.
    pub source: PathBuf,
    /// The package's name.
    pub package: String,
    /// The folder of the package's manifest, absolute.
    pub manifest_dir: PathBuf,
    /// Cargo's name of the binary where it compiled one.
    pub bin_name: Option<String>,
    /// It has a `main` of its own, and no libtest.
    #[serde(default)]
    pub own_main: bool,
    /// Why the executable does not carry the harness; `None` = it does.
    pub unprofiled: Option<String>,
}

impl Note {
    /// Leaves the note of `executable`, whole or not at all.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&self, executable: &Path) -> io::Result<()> {
        let path = path_of(executable);
        let mut draft = path.clone().into_os_string();
        draft.push(format!(".{}", std::process::id()));
        let draft = PathBuf::from(draft);
        fs_err::write(&draft, serde_json::to_vec(self)?)?;
        fs_err::rename(&draft, &path)
    }

    /// The note of `executable`; `None` where there is none that can be read.
    pub fn read(executable: &Path) -> Option<Note> {
        let text = fs_err::read(path_of(executable)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

fn path_of(executable: &Path) -> PathBuf {
    let mut name = OsString::from(executable.as_os_str());
    name.push(".memprof.json");
    PathBuf::from(name)
}
