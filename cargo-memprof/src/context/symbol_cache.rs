//! The folder that keeps the names of addresses from one run to the next, in one file an entry. `memprof_profile::symbolize` defines what an
//! entry holds.

use crate::files::{intake, outlet};
use memprof_profile::symbolize::SymbolStore;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Files are removed this long after they were written: every rebuild of a test leaves one behind, and making one
/// again costs a second at most.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A folder of cached symbol tables.
#[derive(Debug, Clone)]
pub struct SymbolCache {
    folder: PathBuf,
}

impl SymbolCache {
    /// A cache in `folder`, which is made when there is something to keep.
    pub fn new(folder: PathBuf) -> SymbolCache {
        SymbolCache { folder }
    }

    /// Removes what was written long ago.
    pub fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
            let ours = entry.path().extension().is_some_and(|extension| extension == "symbols");
            if ours && age.is_ok_and(|age| age.is_ok_and(|age| age > KEPT)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.symbols"))
    }
}

impl SymbolStore for SymbolCache {
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        intake::read_unlinked(&self.path(name)).ok()
    }

    fn write(&self, name: &str, entry: &[u8]) {
        // What cannot be kept is resolved again.
        let _ = fs::create_dir_all(&self.folder).and_then(|()| outlet::put(self.path(name), entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_for_the_next_run_until_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let cache = SymbolCache::new(folder.path().join("symbols"));
        assert_eq!(cache.read("a"), None);
        cache.write("a", b"entry");
        cache.write("old", b"entry");
        assert_eq!(cache.read("a").unwrap(), b"entry");
        let long_ago = std::time::SystemTime::now() - KEPT - Duration::from_secs(60);
        fs::File::open(cache.path("old")).unwrap().set_modified(long_ago).unwrap();
        cache.sweep();
        assert_eq!((cache.read("a").is_some(), cache.read("old")), (true, None));
    }

    #[test]
    fn a_link_in_the_place_of_an_entry_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let cache = SymbolCache::new(folder.path().to_owned());
        cache.write("a", b"entry");
        std::os::unix::fs::symlink(cache.path("a"), cache.path("b")).unwrap();
        assert_eq!(cache.read("b"), None);
    }
}
