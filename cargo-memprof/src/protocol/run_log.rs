//! The run log, the list of the executables that cargo ran: the runner adds a line before it becomes the executable, and the driver reads
//! the lines when cargo has ended.

use crate::context::env;
use crate::context::executable::ExecutablePath;
use crate::files::intake;
use crate::files::outlet;
use crate::protocol::build_record::BuildRecord;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// One start of one executable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLogEntry {
    pub exe: ExecutablePath,
    /// What the wrapper noted; `None` = it never saw the executable compiled, as with doctests.
    pub build_record: Option<BuildRecord>,
    /// `CARGO_PKG_NAME` of the runner; empty where cargo did not set it.
    pub package: String,
    /// `CARGO_MANIFEST_DIR` of the runner.
    pub manifest_dir: PathBuf,
    /// Where the executable is still to be found when the run has ended; `None` = where it was.
    #[serde(default)]
    pub kept: Option<PathBuf>,
    /// What the user should know of how it was recorded.
    #[serde(default)]
    pub remark: Option<String>,
    /// What this start is to leave behind.
    pub leaves: Trace,
    /// The user's own runner by which it was started, as one would type it; empty = none.
    pub runner: String,
    /// The environment asks for backtraces, as `std::backtrace::Backtrace::capture` reads it.
    #[serde(default)]
    pub backtraces: bool,
}

/// Whether the environment asks for backtraces, in the same words.
pub fn asks_for_backtraces() -> bool {
    let setting = [env::RUST_LIB_BACKTRACE, env::RUST_BACKTRACE].into_iter().find_map(std::env::var_os);
    setting.is_some_and(|value| value != "0")
}

/// What the start of an executable leaves in the ledgers' folder where it is recorded. An executable of which there is none
/// was not, whatever the wrapper noted of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Trace {
    /// It was not to be recorded.
    #[default]
    Nothing,
    /// The ledger of a program, or of one of its tests.
    Ledger,
    /// A test executable's list of its tests.
    Inventory,
}

impl RunLogEntry {
    /// A program that rustdoc made of a doctest: those have no build record, and they have rustdoc's name.
    pub fn is_doctest(&self) -> bool {
        let named = |name: &std::ffi::OsStr| {
            let name = name.to_string_lossy();
            name.starts_with("rustdoctest") || name.starts_with("rust_out") || name.starts_with("merged_doctest")
        };
        self.build_record.is_none() && self.exe.as_path().components().any(|part| named(part.as_os_str()))
    }

    /// Adds a line to the list at `path`. Several processes may do so at once: each line is one write to a file opened
    /// for appending.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn append(&self, path: &Path) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        outlet::add(path, &line)
    }
}

/// All of the list at `path`, in the order of the starts; nothing was run where there is no list. A line cut short by
/// a crash is left out.
pub fn read(path: &Path) -> Vec<RunLogEntry> {
    let text = intake::read_unlinked(path).unwrap_or_default();
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}
