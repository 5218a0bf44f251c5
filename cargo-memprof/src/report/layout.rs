//! Every name under the folder of the outputs.
//!
//! ```text
//! index.html  summary.json  profile.pb.gz  alloc_space.svg …     the run
//! <package>/<kind>-<target>/<test>/profile.pb.gz, …              a test
//! .memprof-files                                                 what of all this is ours
//! ```

use camino::{Utf8Path, Utf8PathBuf};
use memprof_profile::model::values::ValueType;
use memprof_profile::record::TestId;
use std::collections::{HashMap, HashSet};

/// The page for people.
pub const INDEX: &str = "index.html";
/// The metrics for programs.
pub const SUMMARY: &str = "summary.json";
/// A pprof profile, of a test or of the run.
pub const PROFILE: &str = "profile.pb.gz";
/// What a test's profile is called among its files.
pub const PROFILE_KEY: &str = "profile";
/// The list of the files that a run wrote, so that the next run removes those and no others.
pub const MANIFEST: &str = ".memprof-files";

/// In a test's folder: the processes that it started.
const CHILDREN: &str = "children";

/// Profiles of the tests as they were when their metrics went into the baseline.
pub const BASELINE: &str = "baseline";
/// What the gate writes.
pub const GATE: &str = "gate";
/// Checkouts of other revisions, and what was recorded of them.
pub const AGAINST: &str = "against";
/// In that folder: it is ours, and may be removed.
pub const AGAINST_MARK: &str = ".memprof-against";
/// The same in the gate's.
pub const GATE_MARK: &str = ".memprof-gate";

/// Folders beside the packages' that are not theirs: cargo's, that of kept ledgers, and the gate's.
const TAKEN: [&str; 5] = ["build", "ledgers", BASELINE, GATE, AGAINST];
/// Bytes of the longest name; file systems refuse more than 255, and some tools put an ending to it.
const LONGEST: usize = 200;

/// The flamegraph of `value`, of a test or of the run.
pub fn flamegraph(value: ValueType) -> String {
    format!("{}.svg", value.name())
}

/// The folder of each of `tests`, in their order, relative to the outputs. No two are equal, not even for a file system
/// that does not tell `A` from `a`. A process that a test started is named by its program and follows the test, in whose
/// folder its own is.
pub fn test_folders<'a>(tests: impl Iterator<Item = (&'a TestId, Option<&'a str>)>) -> Vec<Utf8PathBuf> {
    let mut namer = Namer::default();
    let mut last = Utf8PathBuf::new();
    tests
        .map(|(id, child)| {
            if let Some(program) = child {
                return namer.fresh(&last.join(CHILDREN), program);
            }
            let package = namer.distinct(Utf8Path::new(""), &id.package);
            let target = namer.distinct(&package, &format!("{}-{}", id.kind, id.target));
            last = namer.fresh(&target, &id.name);
            last.clone()
        })
        .collect()
}

/// Gives out names, folder by folder.
#[derive(Debug, Default)]
struct Namer {
    /// By folder and name as it was wished for.
    given: HashMap<(Utf8PathBuf, String), Utf8PathBuf>,
    /// Lower-case, with the folder.
    taken: HashSet<String>,
}

impl Namer {
    /// The place of `name` in `folder`: the same for the same name, another for every other.
    fn distinct(&mut self, folder: &Utf8Path, name: &str) -> Utf8PathBuf {
        let key = (folder.to_owned(), name.to_owned());
        if let Some(given) = self.given.get(&key) {
            return given.clone();
        }
        let place = self.fresh(folder, name);
        self.given.insert(key, place.clone());
        place
    }

    /// A place for `name` in `folder` that nothing else has.
    fn fresh(&mut self, folder: &Utf8Path, name: &str) -> Utf8PathBuf {
        let safe = safe(name);
        let reserved = folder.as_str().is_empty() && TAKEN.contains(&safe.as_str());
        if !reserved && self.taken.insert(folder.join(&safe).as_str().to_lowercase()) {
            return folder.join(safe);
        }
        for number in 2.. {
            let place = folder.join(format!("{safe}~{number}"));
            if self.taken.insert(place.as_str().to_lowercase()) {
                return place;
            }
        }
        unreachable!("there are more numbers than tests")
    }
}

/// `name` as the name of one file: without separators and control characters, not too long, and none of the names that
/// mean something else. A name that had to be changed ends in a hash of what it was, so that two stay two.
fn safe(name: &str) -> String {
    let cleaned: String = name
        .chars()
        .map(|letter| if letter == '/' || letter == '\\' || letter.is_control() { '_' } else { letter })
        .collect();
    let hidden = cleaned.starts_with('.');
    if cleaned == name && !hidden && !name.is_empty() && name.len() <= LONGEST {
        return cleaned;
    }
    let end = (0..=cleaned.len().min(LONGEST - 18)).rev().find(|at| cleaned.is_char_boundary(*at)).unwrap_or(0);
    let start = if hidden || cleaned.is_empty() { "_" } else { "" };
    format!("{start}{}-{:016x}", &cleaned[..end], fnv(name.as_bytes()))
}

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(names: &[(&str, &str, &str, &str)]) -> Vec<String> {
        let ids: Vec<TestId> = names
            .iter()
            .map(|(package, kind, target, name)| TestId {
                package: (*package).into(),
                target: (*target).into(),
                kind: (*kind).into(),
                name: (*name).into(),
            })
            .collect();
        test_folders(ids.iter().map(|id| (id, None))).into_iter().map(Utf8PathBuf::into_string).collect()
    }

    #[test]
    fn an_ordinary_test_has_a_readable_folder() {
        let given = folders(&[("csv", "lib", "csv", "reader::tests::it_works"), ("csv", "bin", "csv", "it_works")]);
        assert_eq!(given, ["csv/lib-csv/reader::tests::it_works", "csv/bin-csv/it_works"]);
    }

    #[test]
    fn no_two_tests_share_a_folder() {
        let long = "x".repeat(300);
        let longer = "x".repeat(301);
        let names =
            ["a", "A", "a", "a~2", "..", ".", "", "a/b", "a_b", "a\0b", "a\nb", &long, &longer, ".hidden", "日本"];
        let ids: Vec<_> = names.iter().map(|name| ("p", "lib", "t", *name)).collect();
        let given = folders(&ids);
        let distinct: HashSet<String> = given.iter().map(|folder| folder.to_lowercase()).collect();
        assert_eq!(distinct.len(), names.len(), "{given:#?}");
        for folder in &given {
            assert_eq!(Utf8Path::new(folder).components().count(), 3, "{folder}");
            let name = folder.rsplit('/').next().unwrap();
            assert!(name.len() <= 255 && !name.starts_with('.') && !name.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_package_never_gets_the_folder_of_cargos_build() {
        assert_eq!(
            folders(&[("build", "lib", "build", "t"), ("build", "lib", "build", "u")]),
            ["build~2/lib-build/t", "build~2/lib-build/u"]
        );
    }
}
