//! The executable of a program that a test started, kept beside its ledger: it may be gone, or another one be in its place,
//! by the time that the ledger's addresses are named.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{symlink, MetadataExt};
use std::path::{Path, PathBuf};
use std::process;

/// In place of the ledger's: a link to what is kept.
const EXTENSION: &str = "exe";

/// Keeps `exe` for the ledger at `ledger`. All that run the same file share what is kept, which takes no room where the folder is on
/// the same file system.
///
/// # Errors
/// Whatever the file system says.
pub fn keep(exe: &Path, ledger: &Path) -> io::Result<()> {
    let name = name(&fs::metadata(exe)?);
    let place = ledger.with_file_name(&name);
    if !place.exists() && fs::hard_link(exe, &place).is_err() {
        let draft = place.with_extension(process::id().to_string());
        fs::copy(exe, &draft)?;
        fs::rename(draft, &place)?;
    }
    symlink(name, ledger.with_extension(EXTENSION))
}

/// Where the executable is that was at `exe` when it was kept for the ledger at `ledger`; `None` = nobody kept it.
pub fn find(ledger: &Path, exe: &Path) -> Option<PathBuf> {
    let kept = fs::read_link(ledger.with_extension(EXTENSION)).ok()?;
    let unchanged = fs::metadata(exe).is_ok_and(|metadata| Path::new(&name(&metadata)) == kept);
    Some(if unchanged { exe.to_owned() } else { ledger.with_file_name(kept) })
}

/// What the file is called that one of this `metadata` is kept as.
fn name(metadata: &Metadata) -> String {
    let (device, inode) = (metadata.dev(), metadata.ino());
    format!("program-{device:x}-{inode:x}-{}-{}", metadata.mtime(), metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri makes no hard links")]
    fn an_executable_is_found_where_it_was_or_where_it_was_kept() {
        let folder = std::env::temp_dir().join(format!("memprof-executable-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (exe, one, other) = (folder.join("exe"), folder.join("one.ledger"), folder.join("other.ledger"));
        fs::write(&exe, "first").unwrap();
        keep(&exe, &one).unwrap();
        keep(&exe, &other).unwrap();
        assert_eq!(find(&one, &exe), Some(exe.clone()));
        fs::remove_file(&exe).unwrap();
        fs::write(&exe, "second").unwrap();
        let [kept, same] = [&one, &other].map(|ledger| find(ledger, &exe).unwrap());
        assert_eq!((&kept, fs::read_to_string(&kept).unwrap()), (&same, "first".to_owned()));
        assert_eq!(find(&folder.join("none.ledger"), &exe), None);
        fs::remove_dir_all(folder).unwrap();
    }
}
