//! Resolved names, kept between runs: one entry per build of an object. Where entries are kept is the caller's
//! business ([`SymbolStore`]). A store that cannot be read or written is no error, only work done again.

use super::symbols::{Stored, SymbolTable};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// Raised by every change of an entry's format, or of how names are made.
const VERSION: u32 = 2;

/// Keeps entries by their names from one run to the next.
///
/// An entry is checked as it is read back, so a store may forget or damage any of them: that costs time and changes no name.
pub trait SymbolStore {
    /// The entry `name`; `None` where it is not known, or cannot be read. A name is letters, digits and `-`, at most 256 of them.
    fn read(&self, name: &str) -> Option<Vec<u8>>;

    /// Keeps `entry` under `name`, in the place of what was there. A store that cannot keep it does nothing.
    fn write(&self, name: &str, entry: &[u8]);
}

/// Keeps nothing: every address is resolved anew.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStore;

impl SymbolStore for NoStore {
    fn read(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn write(&self, _: &str, _: &[u8]) {}
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

/// What `store` has of `key`'s object; empty where it has nothing, or not what was written.
pub fn load(store: &dyn SymbolStore, key: &CacheKey) -> SymbolTable {
    store.read(&key.0).and_then(|entry| read_entry(&entry)).unwrap_or_default()
}

fn read_entry(entry: &[u8]) -> Option<SymbolTable> {
    let end = entry.iter().position(|byte| *byte == b'\n')?;
    let (head, body) = (&entry[..end], &entry[end + 1..]);
    if head != first_line(body).as_bytes() {
        return None;
    }
    let stored: Stored = serde_json::from_slice(body).ok()?;
    SymbolTable::from_stored(stored)
}

/// Has `store` keep `table` for later runs.
pub fn store(store: &dyn SymbolStore, key: &CacheKey, table: &SymbolTable) {
    if let Ok(body) = serde_json::to_vec(&table.to_stored()) {
        store.write(&key.0, &[first_line(&body).as_bytes(), b"\n", &body].concat());
    }
}

fn first_line(body: &[u8]) -> String {
    format!("memprof symbols {VERSION} {:016x}", fnv(body))
}

/// FNV-1a, 64 bits: tells damage and different texts apart. Nobody gains by forging one.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Keeps entries in memory, for tests.
#[cfg(test)]
#[derive(Default)]
pub(super) struct InMemory(std::cell::RefCell<std::collections::HashMap<String, Vec<u8>>>);

#[cfg(test)]
impl SymbolStore for InMemory {
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.0.borrow().get(name).cloned()
    }

    fn write(&self, name: &str, entry: &[u8]) {
        self.0.borrow_mut().insert(name.to_owned(), entry.to_owned());
    }
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

    fn key(build_id: &str) -> CacheKey {
        CacheKey::of(Path::new("/x"), Some(build_id)).expect("a build id is a key")
    }

    #[test]
    fn what_is_stored_is_loaded_by_the_next_run() {
        let kept = InMemory::default();
        assert!(!load(&kept, &key("abcd")).contains(42));
        store(&kept, &key("abcd"), &table());
        assert_eq!(load(&kept, &key("abcd")).to_stored(), table().to_stored());
        assert!(!load(&kept, &key("abce")).contains(42));
        store(&NoStore, &key("abcd"), &table());
        assert!(!load(&NoStore, &key("abcd")).contains(42));
    }

    #[test]
    fn a_damaged_entry_is_as_good_as_none() {
        let kept = InMemory::default();
        store(&kept, &key("abcd"), &table());
        let name = key("abcd").0;
        let whole = kept.read(&name).expect("it was written");
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            kept.write(&name, &flipped);
            assert!(!load(&kept, &key("abcd")).contains(42), "a flipped bit in byte {at} went unseen");
            kept.write(&name, &whole[..at]);
            assert!(!load(&kept, &key("abcd")).contains(42), "an end at byte {at} went unseen");
        }
    }
}
