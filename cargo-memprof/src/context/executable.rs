//! Which file an executable is. Cargo names one by the path it built to, a process by what the kernel says of it; the two
//! differ where a target folder has `..` in its name or lies behind a link. So neither is compared with the other before it is
//! resolved, and what is resolved is a type of its own.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The path of an executable without links, `.` and `..`. Empty = an executable without a path of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutablePath(PathBuf);

impl ExecutablePath {
    /// Resolves `path`. Of an executable that is gone, the path stays as it is: a process names itself by a resolved one.
    pub fn resolve(path: &Path) -> ExecutablePath {
        ExecutablePath(path.canonicalize().unwrap_or_else(|_| path.to_owned()))
    }

    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_one_path_however_it_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        fs_err::create_dir_all(root.join("real/deps")).unwrap();
        fs_err::write(root.join("real/deps/x"), "").unwrap();
        fs_err::os::unix::fs::symlink(root.join("real"), root.join("link")).unwrap();
        let file = ExecutablePath::resolve(&root.join("real/deps/x"));
        assert_eq!(file.as_path(), root.join("real/deps/x"));
        for other in ["link/deps/x", "real/../real/deps/x", "link/deps/../../real/./deps/x"] {
            assert_eq!(ExecutablePath::resolve(&root.join(other)), file, "{other}");
        }
        fs_err::remove_file(file.as_path()).unwrap();
        assert_eq!(ExecutablePath::resolve(file.as_path()), file);
    }
}
