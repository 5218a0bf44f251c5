//! The list of the programs that a test started, beside its ledger. Whoever starts tests reads it after each run, and
//! need not search a folder with the ledgers of all tests.
//!
//! **Format**: a line for each recorded process, `LEDGER PROGRAM`: the name of its ledger's file, and of the program without white space.

use super::LedgerFile;
#[cfg(not(memprof_program))]
use crate::ledger::{layout::state, Counts};
use std::fs;
use std::io;
use std::path::Path;
#[cfg(not(memprof_program))]
use std::path::PathBuf;

/// What the list's name ends with.
const EXTENSION: &str = "started";

/// Enters the process of `program` that has `ledger`, which was started by the test whose ledger has this `stem`.
///
/// # Errors
/// Whatever the file system says.
#[cfg(any(test, memprof_program))]
pub(crate) fn note(stem: &str, ledger: &LedgerFile, program: &str) -> io::Result<()> {
    use std::io::Write;
    let name = ledger.path().file_name().unwrap_or_default().to_string_lossy();
    let list = ledger.path().with_file_name(format!("{stem}.{EXTENSION}"));
    let line = format!("{name} {}\n", crate::run_options::without_spaces(program));
    // One call, so that lines of processes that are started at once do not mix.
    fs::OpenOptions::new().create(true).append(true).open(list)?.write_all(line.as_bytes())
}

/// What a run of a test counted: its own process, and the programs that it started.
#[cfg(not(memprof_program))]
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunCounts {
    pub own: Counts,
    /// By program, the sum over its processes, of whose peaks the highest; `None` = one of them was cut short or cannot be read.
    pub programs: std::collections::BTreeMap<String, Option<Counts>>,
}

#[cfg(not(memprof_program))]
impl LedgerFile {
    /// What a run has counted, once the processes are gone. This is the test's own ledger.
    ///
    /// # Errors
    /// Whatever the file system says of this ledger.
    pub fn run_counts(&self) -> io::Result<RunCounts> {
        let mut counts = RunCounts { own: self.counts()?, programs: std::collections::BTreeMap::new() };
        for (path, program) in started(self.path())? {
            let of_process = counts_of_process(&path);
            let sum = counts.programs.entry(program).or_insert_with(|| Some(Counts::default()));
            *sum = sum.zip(of_process).map(|(sum, counts)| sum.with(&counts));
        }
        Ok(counts)
    }
}

/// Removes the test's `ledger`, and those of what it started.
///
/// # Errors
/// Whatever the file system says of `ledger`.
#[cfg(not(memprof_program))]
pub fn remove_run(ledger: &Path) -> io::Result<()> {
    for (path, _) in started(ledger).unwrap_or_default() {
        let _ = fs::remove_file(path);
    }
    let _ = fs::remove_file(ledger.with_extension(EXTENSION));
    fs::remove_file(ledger)
}

/// The ledgers of what the test started whose `ledger` this is, with their programs.
#[cfg(not(memprof_program))]
fn started(ledger: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let text = match fs::read(ledger.with_extension(EXTENSION)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    let text = String::from_utf8_lossy(&text);
    let begin = format!("{}.child-", ledger.file_stem().unwrap_or_default().to_string_lossy());
    // The test can write to the list, and what is in it is removed.
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let lines = lines.filter(|(name, _)| name.starts_with(&begin) && !name.contains('/'));
    let entry = |(name, program)| Some((ledger.with_file_name(name), crate::run_options::with_spaces(program)?));
    Ok(lines.filter_map(entry).collect())
}

/// `None` = it was cut short, or cannot be read.
#[cfg(not(memprof_program))]
fn counts_of_process(path: &Path) -> Option<Counts> {
    let ledger = LedgerFile::open(path).ok()?;
    let is_whole = (state::RETURNED..=state::EXITED).contains(&ledger.state().ok()?);
    is_whole.then(|| ledger.counts().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Identity;

    #[test]
    fn the_programs_of_a_test_are_found_beside_its_ledger_and_go_with_it() {
        let folder = std::env::temp_dir().join(format!("memprof-started-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let ledger = |name: &str| LedgerFile::create(&folder.join(name), 1, &Identity::default()).unwrap();
        let (own, other) = (ledger("t.ledger"), ledger("t-2.ledger"));
        assert!(own.run_counts().unwrap().programs.is_empty());
        for (number, program) in ["a b", "c"].iter().enumerate() {
            note("t", &ledger(&format!("t.child-{number}.ledger")), program).unwrap();
        }
        // None of them came to an end.
        let programs: Vec<_> = own.run_counts().unwrap().programs.into_iter().collect();
        assert_eq!(programs, [("a b".to_owned(), None), ("c".to_owned(), None)]);
        assert!(other.run_counts().unwrap().programs.is_empty());
        // What a test writes into its list harms nobody else.
        let list = folder.join("t.started");
        let text = fs::read_to_string(&list).unwrap();
        fs::write(&list, text + "t-2.ledger c\n../x c\nt.child-/../t-2.ledger c\n").unwrap();
        assert_eq!(own.run_counts().unwrap().programs.len(), 2);
        remove_run(own.path()).unwrap();
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["t-2.ledger"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
