//! The state of a harness in its place: the compiled file and its purpose, or the reason why there is none.

use super::Form;
use crate::files::outlet;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};

/// The file in a place that says why there is no harness for tests.
pub(super) const NO_LIBTEST: &str = "no-libtest";

/// What there is of a harness in a [`place`](super::fingerprint::place).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Built {
    /// It is compiled, and here.
    Rlib(PathBuf),
    /// The harness for tests cannot be compiled against the toolchain's libtest, for this reason.
    NoLibtest(String),
}

impl Built {
    /// `None` = nobody has tried yet.
    pub fn look(place: &Path, form: Form) -> Option<Built> {
        let rlib = form.rlib(place);
        // A power cut or a full disk may leave a part of it.
        if let (Some(seal), Ok(rlib_now)) = (Seal::read(place, form), fs_err::metadata(&rlib))
            && seal.len == rlib_now.len()
        {
            return Some(Built::Rlib(rlib));
        }
        let reason = fs_err::read_to_string(place.join(NO_LIBTEST)).ok().filter(|_| form == Form::Test)?;
        Some(Built::NoLibtest(reason))
    }
}

/// What a compiled harness is to be: kept beside it, since it may be damaged, and what is linked with it then is as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seal {
    /// In bytes.
    len: u64,
    hash: u64,
}

impl Seal {
    fn path(place: &Path, form: Form) -> PathBuf {
        form.rlib(place).with_extension("seal")
    }

    fn of(rlib: &Path) -> io::Result<Seal> {
        let bytes = fs_err::read(rlib)?;
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        Ok(Seal { len: bytes.len() as u64, hash: hasher.finish() })
    }

    /// `None` where there is none.
    fn read(place: &Path, form: Form) -> Option<Seal> {
        let text = fs_err::read_to_string(Seal::path(place, form)).ok()?;
        let (len, hash) = text.trim().split_once(' ')?;
        Some(Seal { len: len.parse().ok()?, hash: u64::from_str_radix(hash, 16).ok()? })
    }

    fn write(self, place: &Path, form: Form) -> io::Result<()> {
        outlet::put(Seal::path(place, form), format!("{} {:016x}", self.len, self.hash))
    }
}

/// Writes down in `place` what its harness is to be, which is now in the file `rlib`.
///
/// # Errors
/// Whatever the file system says.
pub fn seal(rlib: &Path, place: &Path, form: Form) -> io::Result<()> {
    Seal::of(rlib)?.write(place, form)
}

/// Whether what is in `place` is as it was compiled. One that is not goes, so that it is made again.
pub fn is_whole(place: &Path, form: Form) -> bool {
    match Built::look(place, form) {
        Some(Built::Rlib(rlib)) => {
            let whole = Seal::read(place, form) == Seal::of(&rlib).ok();
            if !whole {
                // Where it cannot be removed, its seal may.
                let _ = fs_err::remove_file(Seal::path(place, form));
                let _ = fs_err::remove_file(rlib);
            }
            whole
        }
        other => other.is_some(),
    }
}
