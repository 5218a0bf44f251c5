//! How a library was compiled that others link: the wrapper leaves it beside every library, reads those of the libraries that the next
//! call links, and puts what comes of it into the note of every executable.

use crate::context::unit::{UNKNOWN, Unit};
use crate::files::outlet;
use memprof_harness::ledger::fnv1a;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// See the head of this file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    pub name: String,
    pub unit: Unit,
    /// Of it and of all that it links: each way to compile that occurs, once.
    pub ways: BTreeSet<String>,
}

/// What one call of rustc says of the unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub features: BTreeSet<String>,
    pub opt_level: String,
    pub debug_assertions: bool,
    /// The other flags that change the code that is made, sorted.
    pub flags: BTreeSet<String>,
    /// The files of the crates that it names.
    pub externs: Vec<PathBuf>,
}

impl Library {
    /// The unit `name` that is compiled with `settings`.
    pub fn of(name: &str, settings: &Settings) -> Library {
        let mut ways = BTreeSet::from([settings.way()]);
        let mut linked = BTreeSet::new();
        let mut all_known = true;
        for path in settings.externs.iter().filter(|path| is_linked(path)) {
            match Library::read(path) {
                Some(library) => {
                    all_known &= library.unit.dependencies != UNKNOWN;
                    ways.extend(library.ways);
                    linked.insert(format!("{} {} {}", library.name, library.unit.features, library.unit.dependencies));
                }
                None => all_known = false,
            }
        }
        let features: Vec<&str> = settings.features.iter().map(String::as_str).collect();
        let unit = Unit {
            features: if features.is_empty() { "none".to_owned() } else { features.join(",") },
            opt_level: settings.opt_level.clone(),
            debug_assertions: settings.debug_assertions,
            flags: if all_known { hash(&ways) } else { UNKNOWN.to_owned() },
            dependencies: if all_known { hash(&linked) } else { UNKNOWN.to_owned() },
        };
        Library { name: name.to_owned(), unit, ways }
    }

    /// Leaves it beside the library at `path`, whole or not at all.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        outlet::put(beside(path), serde_json::to_vec(self)?)
    }

    /// What stands beside the library at `path`; `None` where there is nothing that can be read.
    pub fn read(path: &Path) -> Option<Library> {
        serde_json::from_slice(&fs_err::read(beside(path)).ok()?).ok()
    }
}

impl Settings {
    fn way(&self) -> String {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let checked = if self.debug_assertions { "on" } else { "off" };
        format!("opt-level={} debug-assertions={checked} {}", self.opt_level, flags.join(" "))
    }
}

/// Whether a crate that is named so becomes a part of what is compiled. A procedural macro is a shared library and runs in the compiler.
fn is_linked(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "rlib" || ending == "rmeta")
}

/// The note's place: the same for a library and for its metadata, which is there earlier.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.file_stem().unwrap_or_default());
    name.push(".memprof-unit.json");
    path.with_file_name(name)
}

fn hash(lines: &BTreeSet<String>) -> String {
    let text: Vec<&str> = lines.iter().map(String::as_str).collect();
    format!("{:016x}", fnv1a(text.join("\n").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(features: &[&str], externs: &[&Path]) -> Settings {
        Settings {
            features: features.iter().map(|name| (*name).to_owned()).collect(),
            opt_level: "0".into(),
            debug_assertions: true,
            flags: BTreeSet::new(),
            externs: externs.iter().map(|path| path.to_path_buf()).collect(),
        }
    }

    #[test]
    fn what_is_far_below_shows_above() {
        let folder = tempfile::tempdir().unwrap();
        let (far, near) = (folder.path().join("libfar-1.rmeta"), folder.path().join("libnear-2.rlib"));
        let top = |far_features: &[&str], far_level: &str| {
            let below = Settings { opt_level: far_level.into(), ..settings(far_features, &[]) };
            Library::of("far", &below).write(&far).unwrap();
            Library::of("near", &settings(&[], &[&far.with_extension("rlib")])).write(&near).unwrap();
            Library::of("top", &settings(&["b", "a"], &[&near, Path::new("/x/libmac.so")])).unit
        };
        let plain = top(&[], "0");
        assert_eq!((plain.features.as_str(), plain.opt_level.as_str()), ("a,b", "0"));
        assert_eq!(plain, top(&[], "0"));
        let features = top(&["std"], "0");
        assert!(features.dependencies != plain.dependencies && features.flags == plain.flags);
        let optimized = top(&[], "3");
        assert!(optimized.dependencies == plain.dependencies && optimized.flags != plain.flags);
        fs_err::remove_file(folder.path().join("libfar-1.memprof-unit.json")).unwrap();
        Library::of("near", &settings(&[], &[&far])).write(&near).unwrap();
        assert_eq!(Library::of("top", &settings(&[], &[&near])).unit.dependencies, UNKNOWN);
    }
}
