//! The profile files of one run of a test or of a program that it starts; a program has one for each of its processes.

use crate::files::intake::IntakeFile;
use camino::Utf8PathBuf;
use memprof_profile::export::pprof;
use memprof_profile::import::import;
use memprof_profile::model::ProfileBuilder;
use memprof_profile::symbolize::SourceRoots;
use std::io;
use std::path::PathBuf;

/// See the head of this file.
#[derive(Debug, Clone)]
pub struct ProfileFiles {
    first: IntakeFile,
    others: Vec<IntakeFile>,
}

impl From<IntakeFile> for ProfileFiles {
    fn from(first: IntakeFile) -> ProfileFiles {
        ProfileFiles { first, others: Vec::new() }
    }
}

impl ProfileFiles {
    /// `None` = there are none.
    pub fn of(files: impl IntoIterator<Item = IntakeFile>) -> Option<ProfileFiles> {
        let mut files = files.into_iter();
        Some(ProfileFiles { first: files.next()?, others: files.collect() })
    }

    /// Whether all of them are there.
    pub fn exist(&self) -> bool {
        self.first.exists() && self.others.iter().all(IntakeFile::exists)
    }

    /// Where they are, to be shown.
    pub fn paths(&self) -> Vec<Utf8PathBuf> {
        std::iter::once(&self.first).chain(&self.others).map(IntakeFile::path).collect()
    }

    /// One profile with all that is in them.
    ///
    /// # Errors
    /// Where one cannot be read, or is no profile.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        if self.others.is_empty() {
            return self.first.read();
        }
        // Whose code a function is, the file does not say.
        let nobody = SourceRoots { workspace: PathBuf::new(), beside: Vec::new() };
        let mut whole = ProfileBuilder::default();
        let mut about = None;
        for file in std::iter::once(&self.first).chain(&self.others) {
            let damaged = |why| io::Error::other(format!("`{}` is damaged: {why}", file.path()));
            let profile = import(&file.read()?, &nobody).map_err(damaged)?;
            whole.merge(&profile, None);
            about.get_or_insert(profile.about);
        }
        Ok(pprof::export(&whole.finish(about.unwrap_or_default())))
    }
}
