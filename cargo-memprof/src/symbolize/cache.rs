//! What was once resolved, kept on the disk: one file per build of an object. A cache that cannot be read or written is
//! no error, only work done again.

use super::symbols::{Stored, SymbolTable};
use crate::intake;
use crate::outlet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Raised by every change of the file's format, or of how names are made.
const VERSION: u32 = 2;
/// Files are removed this long after they were written: every rebuild of a test leaves one behind, and making one
/// again costs a second at most.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A folder of cached symbol tables.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

/// One build of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheKey(String);

impl CacheKey {
    /// The key of the object at `path`: its build id, or what the file system says of it where it has none.
    pub fn of(path: &Path, build_id: Option<&str>) -> Option<CacheKey> {
        if let Some(id) = build_id.filter(|id| !id.is_empty()) {
            // Two copies of one build may name different sources only if somebody moved them; the path keeps them apart.
            return Some(CacheKey(format!("{id}-{:016x}", fnv(path.as_os_str().as_encoded_bytes()))));
        }
        let metadata = fs::metadata(path).ok()?;
        let changed = metadata.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let text = format!("{}\0{}\0{}", path.display(), changed.as_nanos(), metadata.len());
        Some(CacheKey(format!("file-{:016x}", fnv(text.as_bytes()))))
    }
}

impl Cache {
    /// A cache in `folder`, which is made when there is something to keep.
    pub fn new(folder: PathBuf) -> Cache {
        Cache { folder }
    }

    /// What is known of `key`'s object; empty where nothing is, or the file is not what was written.
    pub fn load(&self, key: &CacheKey) -> SymbolTable {
        self.try_load(key).unwrap_or_default()
    }

    fn try_load(&self, key: &CacheKey) -> Option<SymbolTable> {
        let bytes = intake::read_unlinked(&self.path(key)).ok()?;
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (head, body) = (&bytes[..end], &bytes[end + 1..]);
        if head != first_line(body).as_bytes() {
            return None;
        }
        let stored: Stored = serde_json::from_slice(body).ok()?;
        SymbolTable::from_stored(stored)
    }

    /// Keeps `table` for later runs. Written beside its place and moved there, so that a reader sees all of it or none.
    pub fn store(&self, key: &CacheKey, table: &SymbolTable) {
        // See the head of this file: a failure costs time, nothing else.
        let _ = self.try_store(key, table);
    }

    fn try_store(&self, key: &CacheKey, table: &SymbolTable) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let body = serde_json::to_vec(&table.to_stored())?;
        outlet::put(self.path(key), [first_line(&body).as_bytes(), b"\n", &body].concat())
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

    fn path(&self, key: &CacheKey) -> PathBuf {
        self.folder.join(format!("{}.symbols", key.0))
    }
}

fn first_line(body: &[u8]) -> String {
    format!("memprof symbols {VERSION} {:016x}", fnv(body))
}

/// FNV-1a, 64 bits: tells damage and different texts apart. Nobody gains by forging one.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::super::symbols::{Resolved, ResolvedFrame};
    use super::*;

    fn table() -> SymbolTable {
        let mut table = SymbolTable::default();
        let frame = ResolvedFrame { name: "a::f".into(), file: "/a.rs".into(), line: 1, column: 2 };
        table.insert(Resolved { address: 42, frames: vec![frame], has_lines: true });
        table
    }

    #[test]
    fn what_is_stored_is_loaded_by_the_next_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(folder.path().join("symbols"));
        let key = CacheKey::of(Path::new("/x"), Some("abcd")).expect("a build id is a key");
        assert!(!cache.load(&key).contains(42));
        cache.store(&key, &table());
        assert_eq!(cache.load(&key).to_stored(), table().to_stored());
        let other = CacheKey::of(Path::new("/x"), Some("abce")).expect("a build id is a key");
        assert!(!cache.load(&other).contains(42));
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(folder.path().to_owned());
        let key = CacheKey::of(Path::new("/x"), Some("abcd")).expect("a build id is a key");
        cache.store(&key, &table());
        let path = cache.path(&key);
        let whole = fs::read(&path).expect("it was written");
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).expect("it can be written");
            assert!(!cache.load(&key).contains(42), "a flipped bit in byte {at} went unseen");
            fs::write(&path, &whole[..at]).expect("it can be written");
            assert!(!cache.load(&key).contains(42), "an end at byte {at} went unseen");
        }
    }
}
