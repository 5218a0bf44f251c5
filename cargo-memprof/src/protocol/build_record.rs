//! The build record, which the wrapper leaves beside every executable that it saw compiled: the crate, the package, and whether the
//! executable carries the harness. It lies where cargo keeps the executable, because cargo may run it many times and compile it once.

use crate::context::build_layout;
use crate::context::unit::Unit;
use crate::files::outlet;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// One executable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
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
    /// Why it is recorded by the list of its tests although it has libtest; `None` = it is not.
    #[serde(default)]
    pub listed: Option<String>,
    /// What it is a doctest of; `None` = it is none.
    #[serde(default)]
    pub doctest: Option<Doctest>,
    /// Why the executable does not carry the harness; `None` = it does.
    pub unprofiled: Option<String>,
    /// How it was compiled.
    #[serde(default)]
    pub unit: Option<Unit>,
}

/// Which doctest a program is, or which ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doctest {
    /// The file that rustdoc's names of the crate's doctests are in, one a line.
    pub list: PathBuf,
    /// As rustdoc names it.
    pub file: String,
    /// 1-based, where the block of code begins, or not far in front of it.
    pub line: i64,
    pub exact: bool,
    pub should_panic: bool,
    /// It says itself where it begins, so that neither the runtime's start nor rustdoc's runner is recorded.
    pub begins: bool,
    /// Of doctests that were compiled as one: their names, and whether they are to panic, by number. Empty = one alone.
    pub merged: Vec<(String, bool)>,
}

impl Doctest {
    /// The names of the doctests in it, and whether they are to panic, by number; `root` is the workspace's.
    pub fn names(&self, root: &Path) -> Vec<(String, bool)> {
        if !self.merged.is_empty() {
            return self.merged.iter().map(|(name, panics)| (seen_from(root, name), *panics)).collect();
        }
        let list = fs_err::read_to_string(&self.list).unwrap_or_default();
        vec![(seen_from(root, &self.name_among(list.lines())), self.should_panic)]
    }

    /// The doctest's name among those of its crate; without them, what can be said of it.
    fn name_among<'a>(&self, names: impl Iterator<Item = &'a str>) -> String {
        let mine = names.filter_map(|name| {
            let (place, line) = name.strip_suffix(')')?.rsplit_once("(line ")?;
            let line = line.parse::<i64>().ok()?;
            let (file, _) = place.split_once(" - ")?;
            let fits = if self.exact { line == self.line } else { line >= self.line };
            (file == self.file && fits).then_some((line, name))
        });
        let nearest = mine.min().map(|(_, name)| name.to_owned());
        nearest.unwrap_or_else(|| format!("{} - (line {})", self.file, self.line))
    }
}

/// rustdoc's name of a doctest, with its file as it is in every checkout: rustdoc names files that are not below the workspace's
/// root, such as those of members beside it, by their absolute paths.
fn seen_from(root: &Path, name: &str) -> String {
    let (file, item) = name.split_once(" - ").unwrap_or((name, ""));
    let path = Path::new(file);
    let shared = root.components().zip(path.components()).take_while(|(of_root, of_file)| of_root == of_file).count();
    // The root of the file system alone says nothing of where the checkout is.
    if !path.is_absolute() || shared < 2 {
        return name.to_owned();
    }
    let up = root.components().skip(shared).map(|_| Component::ParentDir);
    let near: PathBuf = up.chain(path.components().skip(shared)).collect();
    format!("{} - {item}", near.display())
}

impl BuildRecord {
    /// Writes the build record of `executable`, whole or not at all.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&self, executable: &Path) -> io::Result<()> {
        outlet::put(path_of(executable), serde_json::to_vec(self)?)
    }

    /// The build record of `executable`; `None` where there is none that can be read.
    pub fn read(executable: &Path) -> Option<BuildRecord> {
        let text = fs_err::read(path_of(executable)).ok().or_else(|| {
            let written = build_layout::written_by_rustc(executable, |path| path_of(path).exists())?;
            fs_err::read(path_of(&written)).ok()
        })?;
        serde_json::from_slice(&text).ok()
    }
}

fn path_of(executable: &Path) -> PathBuf {
    let mut name = OsString::from(executable.as_os_str());
    name.push(".memprof.json");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doctest_beside_the_workspace_has_the_same_name_in_every_checkout() {
        let seen = |root: &str, name: &str| seen_from(Path::new(root), name);
        for home in ["/home/a", "/build/b/c"] {
            let name = format!("{home}/p1/src/lib.rs - doc (line 3)");
            assert_eq!(seen(&format!("{home}/ws"), &name), "../p1/src/lib.rs - doc (line 3)");
        }
        assert_eq!(seen("/w", "src/lib.rs - a - b (line 3)"), "src/lib.rs - a - b (line 3)");
        assert_eq!(seen("/w", "/w/src/lib.rs - (line 3)"), "src/lib.rs - (line 3)");
        assert_eq!(seen("/w", "/other/src/lib.rs - (line 3)"), "/other/src/lib.rs - (line 3)");
    }
}
