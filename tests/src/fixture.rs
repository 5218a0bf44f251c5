//! A fixture, copied to where it can be built and broken, and the commands that are run in it.

use crate::summary::Summary;
use crate::{command, tool, workspace};
use memprof_harness::ledger::{self, Ledger};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use tempfile::TempDir;

/// A copy of a fixture, gone when this is.
#[derive(Debug)]
pub struct Fixture {
    temporary: TempDir,
    root: PathBuf,
}

impl Fixture {
    /// Copies `fixtures/<name>`.
    pub fn copy(name: &str) -> Fixture {
        Fixture::copy_as(name, name)
    }

    /// Copies `fixtures/<name>` into a folder called otherwise.
    pub fn copy_as(name: &str, folder: &str) -> Fixture {
        let temporary = TempDir::new().expect("a temporary folder");
        // Where temporary folders are behind a link, cargo says the one path and the compiler the other.
        let root = temporary.path().canonicalize().expect("just made").join(folder);
        copy_folder(&workspace::fixtures().join(name), &root);
        Fixture { temporary, root }
    }

    /// The folder of the copy.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder beside the copy, for what must not be inside it.
    pub fn outside(&self) -> &Path {
        self.temporary.path()
    }

    /// A path inside the copy.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// Writes a file into the copy, in the place of what is there.
    pub fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("it is below the copy")).expect("the copy can be written to");
        fs::write(path, text).expect("the copy can be written to");
    }

    /// Reads a file of the copy.
    pub fn read(&self, below: &str) -> String {
        let path = self.path(below);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Replaces a text in a file of the copy, where it must occur.
    pub fn replace(&self, below: &str, old: &str, new: &str) {
        let text = self.read(below);
        assert!(text.contains(old), "`{below}` does not contain `{old}`");
        self.write(below, &text.replace(old, new));
    }

    /// `cargo <arguments>`, one word each.
    pub fn cargo(&self, arguments: &str) -> Call {
        Call::new("cargo", &self.root).args(arguments.split_whitespace())
    }

    /// Another program.
    pub fn program(&self, name: &str) -> Call {
        Call::new(name, &self.root)
    }

    /// `cargo memprof <arguments>`, one word each.
    pub fn memprof(&self, arguments: &str) -> Call {
        self.cargo("memprof").args(arguments.split_whitespace())
    }

    /// `<line>` as a shell reads it, with a terminal that `script` makes of its stdin and stdout.
    pub fn in_terminal(&self, line: &str) -> Call {
        Call::new("script", &self.root).args(["--quiet", "--return", "--command", line, "/dev/null"])
    }

    /// The run's summary where it goes if nobody says otherwise.
    pub fn summary(&self) -> Summary {
        Summary::read(&self.path("target/memprof"))
    }

    /// What the run's ledgers hold, by the test's name. They are there after `--keep-ledgers`.
    pub fn ledgers(&self) -> BTreeMap<String, Ledger> {
        self.all_ledgers().into_iter().map(|ledger| (ledger.identity.name.clone(), ledger)).collect()
    }

    /// As [`Fixture::ledgers`], all of a test that was recorded several times among them.
    pub fn all_ledgers(&self) -> Vec<Ledger> {
        self.ledgers_in("target/memprof/ledgers")
    }

    /// As [`Fixture::all_ledgers`], from another folder below the copy.
    pub fn ledgers_in(&self, folder: &str) -> Vec<Ledger> {
        let folder = self.path(folder);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let ledgers = entries.map(|entry| {
            let path = entry.expect("the folder can be read").path();
            let bytes = fs::read(&path).expect("the ledger can be read");
            ledger::read(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        });
        ledgers.collect()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the copy can be written to");
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.expect("the fixture can be read");
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if !path.is_dir() {
            fs::copy(&path, &copy).expect("the fixture can be copied");
        } else if entry.file_name() != "target" {
            copy_folder(&path, &copy);
        }
    }
}

/// A command that is about to be run, as a user would run it in a fresh shell.
#[derive(Debug)]
#[must_use = "nothing happens before `run`"]
pub struct Call {
    command: Command,
}

impl Call {
    fn new(program: &str, folder: &Path) -> Call {
        let mut command = Command::new(program);
        command::clean(&mut command);
        command.current_dir(folder).stdin(Stdio::null());
        command.env("PATH", tool::path()).env("XDG_CACHE_HOME", tool::cache());
        command.env("CARGO_NET_OFFLINE", "true");
        Call { command }
    }

    /// Adds arguments, which may hold spaces.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Call {
        self.command.args(arguments);
        self
    }

    pub fn arg(self, argument: impl AsRef<OsStr>) -> Call {
        self.args([argument])
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Call {
        self.command.env(name, value);
        self
    }

    /// Runs it in another folder.
    pub fn in_folder(mut self, folder: &Path) -> Call {
        self.command.current_dir(folder);
        self
    }

    /// The command itself, for what is not foreseen here.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Ran {
        let Output { status, stdout, stderr } = self.command.output().expect("the program starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let shown = words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
        Ran { shown, status, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Runs it to its end, which must be a success.
    pub fn succeed(self) -> Ran {
        self.run().ended_with(0)
    }
}

/// A command that was run.
#[derive(Debug)]
pub struct Ran {
    shown: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Checks the exit code.
    pub fn ended_with(self, code: i32) -> Ran {
        assert_eq!(self.status.code(), Some(code), "{}", self.all());
        self
    }

    /// Checks that stdout has this in it.
    pub fn says(self, text: &str) -> Ran {
        assert!(self.stdout.contains(text), "stdout lacks `{text}`\n{}", self.all());
        self
    }

    /// Checks that stderr has this in it.
    pub fn complains(self, text: &str) -> Ran {
        assert!(self.stderr.contains(text), "stderr lacks `{text}`\n{}", self.all());
        self
    }

    /// Checks that neither output has this in it.
    pub fn never_says(self, text: &str) -> Ran {
        let is_there = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(!is_there, "`{text}` is said\n{}", self.all());
        self
    }

    /// Everything, for a failed assertion.
    pub fn all(&self) -> String {
        /// Bytes of each output that are worth reading.
        const ENOUGH: usize = 20_000;
        let Ran { shown, status, stdout, stderr } = self;
        let [stdout, stderr] = [stdout, stderr].map(|text| text.chars().take(ENOUGH).collect::<String>());
        format!("{shown}\n{status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }

    /// The tests that libtest ran, with their verdicts as it printed them, sorted. Doctests have their line and file
    /// in their names.
    pub fn verdicts(&self) -> Vec<String> {
        let lines = self.stdout.lines().filter_map(|line| line.strip_prefix("test "));
        let mut verdicts: Vec<String> =
            lines.filter(|line| line.contains(" ... ")).map(|line| line.trim_end().to_owned()).collect();
        verdicts.sort();
        verdicts
    }
}
