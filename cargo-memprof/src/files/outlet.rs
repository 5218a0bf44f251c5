//! The one way out for files. What is below the target folder may have been put there by a test, or by whoever else can
//! write to it: a link in the place of a file of ours would have us write to what it leads to. So a file is made beside its
//! place and moved there, which replaces a link and never follows it; or it is opened and must be no link.

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Has `path` be a file with these bytes: whole at every moment, and in the place of whatever is there.
///
/// # Errors
/// Whatever the file system says.
pub fn put(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let path = path.as_ref();
    let write = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut draft = tempfile::Builder::new();
        // As an ordinary file is made: who may read it is the user's mask to say.
        let mut draft = draft.prefix(".draft-").permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
        draft.write_all(bytes.as_ref())?;
        draft.persist(path)?;
        Ok(())
    };
    write().map_err(|error| told_of(path, &error))
}

/// Writes over what stands at `offset` in the file at `path`, which is ours.
///
/// # Errors
/// Where it is a link, or the file system refuses.
pub fn write_over(path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).custom_flags(no_link()).open(path);
    file.and_then(|file| file.write_all_at(bytes, offset)).map_err(|error| told_of(path, &error))
}

/// Makes the file at `path`, where nothing may be.
///
/// # Errors
/// Where something is there, or the file system refuses.
pub fn put_new(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let path = path.as_ref();
    // Of a link that leads nowhere, too, it is said that something is there.
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(bytes.as_ref())).map_err(|error| told_of(path, &error))
}

/// A file at `path` for what another program writes, in the place of whatever is there.
///
/// # Errors
/// Whatever the file system says.
pub fn begin(path: &Path) -> io::Result<File> {
    let _ = fs_err::remove_file(path);
    OpenOptions::new().append(true).create_new(true).open(path).map_err(|error| told_of(path, &error))
}

/// Adds to the file at `path`, which is made where it is not there, in one write.
///
/// # Errors
/// Where it is a link, or the file system refuses.
pub fn add(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().append(true).create(true).custom_flags(no_link()).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(|error| told_of(path, &error))
}

/// The same with a file that somebody whom the user trusts has named for it: it may be a link.
///
/// # Errors
/// Whatever the file system says.
pub fn add_to_named(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(|error| told_of(path, &error))
}

/// Opens the file at `path` to be locked; nothing is written to it.
///
/// # Errors
/// Where it is a link, or the file system refuses.
pub fn to_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).custom_flags(no_link());
    options.open(path).map_err(|error| told_of(path, &error))
}

/// Has `place`, where nothing may be, be a copy of `source`.
///
/// # Errors
/// Whatever the file system says.
pub fn copy_new(source: &Path, place: &Path) -> io::Result<()> {
    let mut from = File::open(source).map_err(|error| told_of(source, &error))?;
    let mut copy = || {
        let mut to = OpenOptions::new().write(true).create_new(true).open(place)?;
        io::copy(&mut from, &mut to)?;
        to.set_permissions(from.metadata()?.permissions())
    };
    copy().map_err(|error| told_of(place, &error))
}

/// Makes the folder `below` in `folder`, and those that it is in. `folder` is the user's word and may be a link; no other may.
///
/// # Errors
/// Where one is a link or no folder, or the file system refuses.
pub fn make_below(folder: &Utf8Path, below: &Utf8Path) -> io::Result<Utf8PathBuf> {
    fs_err::create_dir_all(folder)?;
    let mut place = folder.to_owned();
    for name in below.components() {
        place.push(name.as_str());
        match std::fs::create_dir(&place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = place.symlink_metadata().map_err(|error| told_of(place.as_std_path(), &error))?;
                if !found.is_dir() {
                    let what = if found.is_symlink() { "it is a link" } else { "it is no folder" };
                    return Err(told_of(place.as_std_path(), &io::Error::other(what)));
                }
            }
            made => made.map_err(|error| told_of(place.as_std_path(), &error))?,
        }
    }
    Ok(place)
}

fn no_link() -> i32 {
    // The bits are those of the kernel, few and low.
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

fn told_of(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_is_written_through() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(temporary.path()).unwrap();
        let precious = folder.join("precious");
        fs_err::write(&precious, "mine").unwrap();
        let link = folder.join("link");
        let put_link = || {
            let _ = fs_err::remove_file(&link);
            symlink(&precious, &link).unwrap();
        };
        put_link();
        put(&link, "ours").unwrap();
        assert!(!link.is_symlink() && fs_err::read_to_string(&link).unwrap() == "ours");
        put_link();
        assert!(put_new(&link, "ours").is_err() && copy_new(link.as_std_path(), link.as_std_path()).is_err());
        assert!(add(link.as_std_path(), b"ours").is_err() && to_lock(link.as_std_path()).is_err());
        assert_eq!(fs_err::read_to_string(&precious).unwrap(), "mine");
        add_to_named(link.as_std_path(), b"+").unwrap();
        assert_eq!(fs_err::read_to_string(&precious).unwrap(), "mine+");

        fs_err::create_dir(folder.join("theirs")).unwrap();
        symlink(folder.join("theirs"), folder.join("linked")).unwrap();
        assert!(make_below(folder, "linked/a".into()).unwrap_err().to_string().contains("it is a link"));
        assert!(make_below(&folder.join("linked"), "a/b".into()).unwrap().is_dir());
        assert!(make_below(folder, "precious/a".into()).is_err());
    }

    /// What makes or opens a file to be written, and follows links.
    const WORDS: [&str; 6] =
        ["fs::write(", "fs_err::write(", "File::create(", "OpenOptions", "fs_err::copy(", "fs::copy("];

    fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
        let entries = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let below = |path: std::path::PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
        entries.flat_map(below).collect()
    }

    #[test]
    fn nothing_else_of_this_program_writes_files() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let all = sources(&root);
        assert!(all.len() > 100, "{}", all.len());
        for path in all.iter().filter(|path| !path.ends_with("outlet.rs") && !path.ends_with("tests.rs")) {
            let text = fs_err::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for word in WORDS {
                assert!(!code.contains(word), "{} has `{word}`: see outlet.rs", path.display());
            }
        }
    }
}
