//! Profiles of the tests as they were when their metrics went into the baseline: one small file for each, so that a test
//! that is accepted alone has its profile replaced alone. They explain a regression; the verdict never needs them.

use crate::files::intake::{IntakeFile, PlainPath};
use crate::files::outlet;
use crate::gate::compare::loaded_run::LoadedRun;
use crate::gate::compare::loaded_test::LoadedTest;
use crate::gate::compare::profile_files::ProfileFiles;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use camino::{Utf8Path, Utf8PathBuf};
use memprof_profile::record::TestId;
use std::collections::BTreeMap;
use std::io;

/// Bytes of a test's name that its file's name shows, at most; a name may have 255, the hash and the ending included.
const SHOWN: usize = 80;
/// Of the files.
const ENDING: &str = ".pb.gz";

/// Where profiles of before are found.
#[derive(Debug, Clone)]
pub enum Store {
    /// A folder of ours, see [`Store::keep`]; what the names in it begin with.
    Folder(Utf8PathBuf, &'static str),
    /// The outputs of a run of another revision, by test.
    Run(BTreeMap<TestId, ProfileFiles>),
}

/// Which of a test's repeats explains most: the least of now is held against the most of then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    Least,
    Most,
}

impl Repeat {
    /// The one of `repeats` that is meant.
    fn of<'a>(self, repeats: &[&'a LoadedTest]) -> Option<&'a LoadedTest> {
        let metrics = |test: &&&LoadedTest| (test.metrics.alloc_objects, test.metrics.alloc_space);
        match self {
            Repeat::Least => repeats.iter().min_by_key(metrics).copied(),
            Repeat::Most => repeats.iter().max_by_key(metrics).copied(),
        }
    }
}

impl Store {
    /// The profiles in a folder of them.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn files_in(folder: &Utf8Path) -> io::Result<Vec<Utf8PathBuf>> {
        let paths = folder.read_dir_utf8()?.map(|entry| entry.map(|entry| entry.into_path()));
        let paths: Vec<Utf8PathBuf> = paths.collect::<io::Result<_>>()?;
        Ok(paths.into_iter().filter(|path| path.as_str().ends_with(ENDING)).collect())
    }

    /// The profiles in a run's own outputs.
    pub fn of_run(run: &LoadedRun, repeat: Repeat) -> Store {
        let profile = |(id, repeats): (TestId, Vec<&LoadedTest>)| Some((id, run.profiles(repeat.of(&repeats)?)?));
        Store::Run(run.by_test().into_iter().filter_map(profile).collect())
    }

    /// The files of the test's profile, whether or not they are there; `None` where they cannot be.
    pub fn profile(&self, id: &TestId) -> Option<ProfileFiles> {
        match self {
            Store::Folder(folder, prefix) => {
                let name = format!("{prefix}{}", file_name(id));
                Some(IntakeFile::new(folder, &PlainPath::ours(name.into())).into())
            }
            Store::Run(profiles) => profiles.get(id).cloned(),
        }
    }

    /// Keeps the profiles of `tests` as `run` has them. A test without one loses what was kept of it: a profile of other
    /// metrics would explain nothing.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn keep(&self, run: &LoadedRun, tests: &[TestId]) -> Result<(), Error> {
        let Store::Folder(folder, prefix) = self else { return Ok(()) };
        let by_test = run.by_test();
        let keep = |id: &TestId| -> io::Result<()> {
            let path = folder.join(format!("{prefix}{}", file_name(id)));
            let repeats = by_test.get(id).map(Vec::as_slice).unwrap_or_default();
            match Repeat::Most.of(repeats).and_then(|test| run.profiles(test)) {
                Some(profile) => outlet::put(path, profile.read()?),
                None => match fs_err::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                },
            }
        };
        fs_err::create_dir_all(folder).and_then(|()| tests.iter().try_for_each(keep)).map_err(|error| {
            Error::new(format!("cannot keep the baseline's profiles in `{folder}`"))
                .caused_by(error)
                .help("pass another folder with `--baseline-dir DIR`")
                .with_code(ExitCode::OUTPUT)
        })
    }
}

/// Readable, and distinct by its hash.
pub fn file_name(id: &TestId) -> String {
    format!("{}{ENDING}", stem(id))
}

/// A name for files of one test: readable, the same in every run, and distinct by its hash.
pub fn stem(id: &TestId) -> String {
    let plain = |letter: char| if letter.is_alphanumeric() || "_-.".contains(letter) { letter } else { '-' };
    let mut name: String = id.name.replace("::", ".").chars().map(plain).collect();
    name.truncate((0..=SHOWN).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0));
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in [&id.package, &id.kind, &id.target, &id.name] {
        // FNV-1a, 64 bits; the zero byte keeps the parts apart.
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{}-{hash:016x}", name.trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_readable_and_distinct() {
        let id = |kind: &str, name: &str| TestId {
            package: "p".into(),
            target: "p".into(),
            kind: kind.into(),
            name: name.into(),
        };
        let name = file_name(&id("lib", "a::b"));
        assert!(name.starts_with("a.b-") && name.ends_with(".pb.gz"), "{name}");
        assert_ne!(name, file_name(&id("bin", "a::b")));
        assert_ne!(file_name(&id("lib", "a/b")), file_name(&id("lib", "a?b")));
        // Whatever a letter takes.
        for letter in ["x", "é", "長", "𝄞"] {
            assert!(file_name(&id("lib", &letter.repeat(500))).len() < 120);
        }
    }
}
