//! The state that all tests of one run share, and the lists of tests that are left for whoever reads the ledgers.

use super::executable::Executable;
use super::folder;
use super::on_panic::{OnPanic, FAILURE};
use super::options::{Options, Plan, SampleRate, NO_CAPTURE};
use crate::emulator::Emulator;
use crate::ledger::{fnv1a, Hook, Inventory, Listed, Seed};
use crate::run_options::{Detail, RunOptions};
use crate::settle::Rules;
use crate::std_start::StdStart;
use crate::{environment, file_limit};
use real::TestDescAndFn;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::{env, fs, io};

/// What the process is given besides its arguments.
pub(super) struct Given {
    /// See [`crate::environment::MODES`].
    pub(super) run_options: Option<OsString>,
    pub(super) emulator: Emulator,
    pub(super) on_panic: OnPanic,
}

/// What all tests of one run share.
pub(super) struct Session {
    pub(super) rate: SampleRate,
    pub(super) folder: PathBuf,
    /// Where the lists of its tests are.
    pub(super) lists: PathBuf,
    pub(super) exe: Executable,
    /// Keeps the ledgers of different executables apart; the same in every run.
    pub(super) exe_hash: u64,
    /// What a test sees as its process's arguments.
    pub(super) arguments: Vec<OsString>,
    pub(super) package: String,
    pub(super) manifest_dir: PathBuf,
    pub(super) inherit_output: bool,
    pub(super) run_options: RunOptions,
    /// By which tests are run again; `None` = they are run as often as the run options say.
    pub(super) rules: Option<Rules>,
    pub(super) on_panic: OnPanic,
    pub(super) hook: Hook,
    /// See [`environment::THREAD_INFO`].
    pub(super) thread_info: String,
    /// Std's advice to ask for backtraces has been shown, which it gives once for each process, and the tests have one each.
    pub(super) advised: AtomicBool,
}

impl Session {
    /// Makes ready what the tests need.
    ///
    /// # Errors
    /// Where nothing can be recorded at all.
    pub(super) fn prepare(options: &Options, plan: Plan, given: Given) -> Result<Session, Refusal> {
        let Given { run_options, emulator, on_panic } = given;
        let run_options = understood(run_options)?;
        let rules = run_options.rules.as_ref().map(|file| rules(Path::new(file))).transpose()?;
        let hook = hook(&emulator);
        let exe = Executable::current(emulator).map_err(|cause| Refusal {
            what: "cannot start tests in processes of their own".into(),
            cause,
            help: "mount `/proc`, or run without profiling",
        })?;
        let by_hand = plan.folder.is_none();
        let folder = plan.folder.unwrap_or_else(|| folder::fresh(&exe.path));
        let made = fs::create_dir_all(&folder).and_then(|()| folder.canonicalize());
        let folder = made.map_err(|cause| Refusal {
            what: format!("cannot keep ledgers in `{}`", folder.display()),
            cause,
            help: "pass a folder that can be written to with `--memprofile DIR`",
        })?;
        if by_hand {
            folder::announce_at_exit(&folder);
        }
        Ok(Session {
            rate: plan.rate,
            lists: if by_hand { folder.clone() } else { Inventory::folder(&folder) },
            folder,
            exe_hash: fnv1a(exe.path.as_os_str().as_bytes()),
            exe,
            arguments: options.rest.iter().map(OsString::from).collect(),
            package: env::var("CARGO_PKG_NAME").unwrap_or_default(),
            advised: AtomicBool::new(false),
            manifest_dir: env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default(),
            inherit_output: options.no_capture || env::var_os(NO_CAPTURE).is_some_and(|value| value != "0"),
            run_options,
            rules,
            on_panic,
            hook,
            thread_info: StdStart::of_this_program().unwrap_or_default().thread_info_text(),
        })
    }

    /// What has the programs that a test starts record themselves, as the test's own.
    pub(super) fn for_programs(&self, ledger: &Path, seed: Seed) -> OsString {
        let stem = ledger.file_stem().unwrap_or_default();
        let detail = Detail { rate: self.rate.0, depth: self.run_options.depth };
        let mut value = OsString::from(format!("{detail} {} {} ", seed.to_text(), stem.to_string_lossy()));
        value.push(&self.folder);
        value
    }
}

fn understood(run_options: Option<OsString>) -> Result<RunOptions, Refusal> {
    let Some(text) = run_options else { return Ok(RunOptions::default()) };
    text.to_string_lossy().parse().map_err(|error: String| Refusal {
        what: format!("cannot run the tests as `{}` says", environment::MODES),
        cause: io::Error::other(error),
        help: "run them with `cargo memprof`, which sets it",
    })
}

fn rules(file: &Path) -> Result<Rules, Refusal> {
    let read = fs::read_to_string(file).and_then(|text| text.parse().map_err(io::Error::other));
    read.map_err(|cause| Refusal {
        what: format!("cannot run the tests by the rules in `{}`", file.display()),
        cause,
        help: "run them with `cargo memprof`, which writes them",
    })
}

#[cfg(not(memprof_native))]
fn hook(_: &Emulator) -> Hook {
    Hook::Rust
}

#[cfg(memprof_native)]
fn hook(emulator: &Emulator) -> Hook {
    crate::probe::ask(emulator)
}

/// Why nothing can be recorded.
pub(super) struct Refusal {
    what: String,
    cause: io::Error,
    help: &'static str,
}

impl Refusal {
    pub(super) fn give_up(&self) -> ! {
        let Refusal { what, cause, help } = self;
        eprintln!("error: {what}");
        eprintln!("  caused by: {cause}");
        eprintln!("  help: {help}");
        std::process::exit(FAILURE)
    }

    /// Whether it is the ledgers' folder that this process may not write to, or cannot see: somebody between `cargo memprof` and
    /// this process made it another user's, or put it elsewhere. The tests are no worse for it, so they run as ever, and
    /// that there is no inventory tells `cargo memprof`.
    pub(super) fn is_of_folder(&self) -> bool {
        let errors = [libc::EACCES, libc::EPERM, libc::EROFS, libc::ENOENT, libc::ENOTDIR];
        self.cause.raw_os_error().is_some_and(|error| errors.contains(&error))
    }
}

impl Session {
    /// Names all tests for whoever reads the ledgers: those that are filtered out have none.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn leave_inventory(&self, tests: &[&TestDescAndFn]) -> Result<(), Refusal> {
        let listed =
            |test: &&TestDescAndFn| Listed { name: test.desc.name.as_slice().to_owned(), ignored: test.desc.ignore };
        let inventory = Inventory { exe: self.exe.path.clone(), tests: tests.iter().map(listed).collect() };
        let path = self.list(Inventory::EXTENSION);
        let write = || {
            self.put_list(&path, &inventory, |draft| fs::rename(draft, &path))?;
            if !self.run_options.only.is_empty() {
                self.begin_list(Inventory::UNRECORDED)?;
            }
            self.begin_list(Inventory::BEGUN)
        };
        file_limit::as_error(write).map_err(|cause| Refusal {
            what: format!("cannot write `{}`", path.display()),
            cause,
            help: "make room on the disk",
        })
    }

    /// Makes the list of the name that ends in `ending`, where another process of this executable has not: nextest starts one for
    /// each test.
    fn begin_list(&self, ending: &str) -> io::Result<()> {
        let path = self.list(ending);
        if path.exists() {
            return Ok(());
        }
        let none = Inventory { exe: self.exe.path.clone(), tests: Vec::new() };
        self.put_list(&path, &none, |draft| {
            match fs::hard_link(draft, &path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            fs::remove_file(draft)
        })
    }

    /// Writes a list beside its place, and has `place_it` put it there. A test may have put a link in either place: none is followed.
    fn put_list(
        &self,
        path: &Path,
        list: &Inventory,
        place_it: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        // Left by a process of the same number that was killed.
        let _ = fs::remove_file(&draft);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&draft)?;
        file.write_all(&list.to_bytes())?;
        place_it(&draft)
    }

    fn list(&self, ending: &str) -> PathBuf {
        self.lists.join(format!("{:016x}.{ending}", self.exe_hash))
    }

    /// Adds a test to a list. What cannot be noted is not counted.
    pub(super) fn note(&self, ending: &str, name: &str) {
        let _ = fs::OpenOptions::new()
            .append(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.list(ending))
            .and_then(|mut file| file.write_all(&Inventory::entry(name, false)));
    }

    /// Whether the test is to be run without being recorded. Where panics abort, libtest starts itself again for each test,
    /// and would find nothing but our closures.
    pub(super) fn leaves_alone(&self, test: &TestDescAndFn) -> bool {
        self.on_panic == OnPanic::Unwind && !self.run_options.records(test.desc.name.as_slice())
    }

    /// For each test whether it is in the share that is to be run.
    pub(super) fn share(&self, tests: &[&TestDescAndFn]) -> Vec<bool> {
        let names: Vec<&str> = tests.iter().map(|test| test.desc.name.as_slice()).collect();
        self.run_options.partition.map_or_else(|| vec![true; names.len()], |partition| partition.selects(&names))
    }
}
