//! The path by which cargo calls this program back, as its rustc wrapper and its runner.

use crate::ui::error::Error;
use std::path::{Path, PathBuf};

/// A path of this program without white space, at which cargo would split it, and the folder of the link that the path
/// may need.
pub(super) fn callable_name() -> Result<(PathBuf, Option<tempfile::TempDir>), Error> {
    let spaced = |path: &Path| path.to_string_lossy().contains(char::is_whitespace);
    let exe = std::env::current_exe().map_err(|error| cannot_call_back(&error))?;
    if !spaced(&exe) {
        return Ok((exe, None));
    }
    let folder = [std::env::temp_dir(), "/var/tmp".into()].into_iter().find(|folder| !spaced(folder));
    let link = |folder: PathBuf| -> std::io::Result<_> {
        let folder = tempfile::Builder::new().prefix("cargo-memprof-").tempdir_in(folder)?;
        let link = folder.path().join("cargo-memprof");
        fs_err::os::unix::fs::symlink(&exe, &link)?;
        Ok((link, Some(folder)))
    };
    link(folder.unwrap_or_default()).map_err(|error| cannot_call_back(&error))
}

pub(super) fn cannot_call_back(error: &std::io::Error) -> Error {
    Error::new("cannot tell cargo how to call this program back").caused_by(error)
}
