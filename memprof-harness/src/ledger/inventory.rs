//! The inventory: the names of all tests of one executable, left beside its ledgers, so that a test that did not run can be
//! told from one that is no more. Texts with a zero byte behind each: the executable, then for every test `i` or `-`
//! (whether it is ignored) and its name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// See the head of this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// As in the ledgers' [`super::Identity`].
    pub exe: PathBuf,
    /// In the order of the executable's own list.
    pub tests: Vec<Listed>,
}

/// One test of an executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub ignored: bool,
}

impl Inventory {
    /// How the file's name ends.
    pub const EXTENSION: &'static str = "inventory";

    /// How the name of a like file ends, which has the tests that were run without being recorded. Each is added when it
    /// starts.
    pub const UNRECORDED: &'static str = "unrecorded";

    /// How the name of a like file ends, which has the tests of which a ledger was made. Each is added when its ledger is there. One of
    /// which there is none in the end had its own taken away.
    pub const BEGUN: &'static str = "begun";

    /// Where the lists are of the executables whose ledgers are in `ledgers`: in a folder beside it where whoever reads them made
    /// one, which a test that empties the ledgers' folder does not touch; otherwise among the ledgers.
    pub fn folder(ledgers: &Path) -> PathBuf {
        let beside = ledgers.with_file_name(Inventory::FOLDER);
        if beside.is_dir() {
            beside
        } else {
            ledgers.to_owned()
        }
    }

    /// What the folder beside that of the ledgers is called.
    pub const FOLDER: &'static str = "lists";

    /// What is added to the bytes for one more test.
    pub fn entry(name: &str, ignored: bool) -> Vec<u8> {
        [if ignored { b"i".as_slice() } else { b"-" }, name.as_bytes(), &[0]].concat()
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [self.exe.as_os_str().as_bytes(), &[0]].concat();
        for test in &self.tests {
            bytes.extend(Inventory::entry(&test.name, test.ignored));
        }
        bytes
    }

    /// Reads what [`Inventory::to_bytes`] wrote; `None` where it did not, or not to the end.
    pub fn parse(bytes: &[u8]) -> Option<Inventory> {
        let mut texts = bytes.strip_suffix(&[0])?.split(|byte| *byte == 0);
        let exe = PathBuf::from(OsStr::from_bytes(texts.next()?));
        let test = |text: &[u8]| {
            let (mark, name) = text.split_first()?;
            let name = String::from_utf8(name.to_vec()).ok()?;
            matches!(mark, b'i' | b'-').then_some(Listed { name, ignored: *mark == b'i' })
        };
        Some(Inventory { exe, tests: texts.map(test).collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_a_part_of_it_is_not() {
        let test = |name: &str, ignored| Listed { name: name.into(), ignored };
        let inventory = Inventory { exe: "/x/a b".into(), tests: vec![test("a::b", false), test("c", true)] };
        let bytes = inventory.to_bytes();
        assert_eq!(Inventory::parse(&bytes), Some(inventory));
        assert_eq!(Inventory::parse(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Inventory::parse(b""), None);
    }

    #[test]
    fn lists_are_beside_the_ledgers_where_somebody_reads_them() {
        let folder = std::env::temp_dir().join(format!("memprof-lists-{}", std::process::id()));
        let ledgers = folder.join("ledgers");
        assert_eq!(Inventory::folder(&ledgers), ledgers);
        std::fs::create_dir_all(folder.join(Inventory::FOLDER)).unwrap();
        assert_eq!(Inventory::folder(&ledgers), folder.join(Inventory::FOLDER));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
