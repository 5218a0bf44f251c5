//! Recording a program whose `main` is its own: the window opens when the loader has set the program up, just before the
//! runtime calls `main`, and shuts when the process exits. Nothing happens unless the environment asks for it.
#![allow(unsafe_code)] // runs before `main`, and when the process exits

use crate::ledger::{executable, note_started, target_of, Hook, Identity, LedgerFile, Seed};
use crate::link_marker::NameSlot;
use crate::run_options::{Detail, RunOptions};
use crate::std_start::{self, StdStart};
use crate::{engine, environment, hash_seeds, link_marker, no_memory};
use std::ffi::{CStr, OsStr};
use std::hint::black_box;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::OnceLock;
use std::{env, fs, process};

// The native hook lies below Rust's allocator, which is then the user's own or the system's.
#[cfg(not(memprof_native))]
#[global_allocator]
static HOOK: engine::Hook = engine::Hook;

/// Set by rustdoc's test runner for itself: the process that starts doctests, and is none.
const DOCTEST_RUNNER: &str = "RUSTDOC_DOCTEST_BIN_PATH";
/// Set by rustdoc's test runner for each process it starts: which of the doctests it is.
const DOCTEST: &str = "RUSTDOC_DOCTEST_RUN_NB_TEST";
/// Set by libtest, where panics abort (`-Z panic-abort-tests`), for the process that it starts for each test. It is gone when the test runs.
const ONE_TEST: &CStr = c"__RUST_TEST_INVOKE";
/// The status by which libtest tells itself that the test of such a process passed (`TR_OK` in its `test_result.rs`, since Rust 1.39).
/// With any other it failed: a test that ends the process with 0 did not pass.
const TEST_PASSED: i32 = 50;

/// The loader calls what is listed here, after the C library is ready and before `main`.
#[used]
#[cfg_attr(target_os = "linux", link_section = ".init_array")]
#[cfg_attr(target_os = "macos", link_section = "__DATA,__mod_init_func")]
static SET_UP: extern "C" fn() = set_up;

extern "C" fn set_up() {
    black_box(link_marker::PROGRAM);
    // SAFETY: a C string; before `main` nothing changes the environment.
    if unsafe { libc::getenv(c"MEMPROF_PROGRAM".as_ptr()) }.is_null() {
        return;
    }
    // SAFETY: as above.
    if !unsafe { libc::getenv(ONE_TEST.as_ptr()) }.is_null() {
        SUCCESS.store(TEST_PASSED, Ordering::Relaxed);
    }
    // Rust's own set-up has not run, and a panic has nowhere to go. Whatever goes wrong, the program runs as ever.
    let _ = panic::catch_unwind(|| with_prepared(begin_recording));
}

/// Does `work` with what [`Recording::prepare`] gives. The program's own allocator, which may count, is to know nothing of
/// that, so it happens elsewhere; and `work` allocates nothing through it.
#[cfg(memprof_native)]
fn with_prepared(work: impl FnOnce(&[u8])) {
    match crate::in_fork::ask(Recording::prepare) {
        Some(answer) => work(answer.bytes()),
        None => work(&Recording::prepare().unwrap_or_default()),
    }
}

/// As above; here the program's allocator is ours.
#[cfg(not(memprof_native))]
fn with_prepared(work: impl FnOnce(&[u8])) {
    work(&Recording::prepare().unwrap_or_default());
}

fn begin_recording(prepared: &[u8]) {
    if prepared.is_empty() {
        return;
    }
    for taken in [environment::NAME, environment::WINDOW, environment::MODES, environment::EMULATOR] {
        // SAFETY: the process has one thread as yet, and nobody else reads the environment meanwhile.
        unsafe { env::remove_var(taken) };
    }
    let Some(prepared) = Prepared::read(prepared) else { return };
    if let Err(error) = prepared.begin() {
        if prepared.is_root() {
            warn(&error, prepared.ledger);
        }
    }
}

fn warn(error: &io::Error, place: &Path) {
    eprintln!("warning: this program cannot be recorded");
    eprintln!("  caused by: {error}");
    eprintln!("  help: see that `{}` can be written to and has room", place.display());
}

/// What of the program is recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Window {
    All = b'a' as isize,
    Threads = b't' as isize,
    FromCall = b'c' as isize,
    Frame = b'r' as isize,
}

/// Opens the window of a program that was started to be recorded from here on; does nothing in any other. Called by
/// doctests, into whose source it was put.
pub fn begin() {
    if WAITS.swap(false, Ordering::Relaxed) {
        engine::open();
    }
}

/// The window is to be opened by [`begin`].
static WAITS: AtomicBool = AtomicBool::new(false);

/// The status with which the program says that it did what it was to do.
static SUCCESS: AtomicI32 = AtomicI32::new(0);

/// Filled in when the program is linked.
#[used]
static NAME: NameSlot = NameSlot::EMPTY;

/// What the program in the file `exe` is called: what it was compiled as, whatever its file is called now.
fn name_of(exe: &Path) -> String {
    // What the compiler knows of it is not what is there.
    match black_box(&NAME).name() {
        "" => target_of(exe),
        name => name.to_owned(),
    }
}

/// Said where the ledger could not be made.
const NO_LEDGER: &[u8] = b"-";

/// What the environment asks for.
struct Recording {
    /// How much is recorded.
    detail: Detail,
    /// What its samplers begin with: its root's, from which its own is made.
    seed: Seed,
    /// Of a root: what the name of its ledger begins with. Otherwise the stem of the ledger that this one belongs to.
    stem: String,
    /// It is recorded for its own sake.
    is_root: bool,
    folder: PathBuf,
    name: String,
    window: Window,
    /// Of [`Window::Frame`]: which functions, as the environment says it.
    functions: String,
    /// Random numbers are fixed.
    fixed: bool,
}

impl Recording {
    /// Makes the ledger that the environment asks for; gives what is left to do, as [`Prepared::read`] reads it. `None` = this
    /// process is not asked.
    fn prepare() -> Option<Vec<u8>> {
        let recording = Recording::asked_for()?;
        match recording.create_ledger() {
            Ok(ledger) => Some(recording.left_to_do(ledger.path())),
            Err(error) => {
                // What a test starts is the test's, which may look at what it prints.
                if recording.is_root {
                    warn(&error, &recording.folder);
                }
                Some(NO_LEDGER.to_vec())
            }
        }
    }

    fn asked_for() -> Option<Recording> {
        let value = env::var_os(environment::PROGRAM)?.into_string().ok()?;
        let mut words = value.splitn(4, ' ');
        let (detail, seed) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let (stem, folder) = (words.next()?.to_owned(), words.next()?);
        let folder = PathBuf::from(folder);
        let name = env::var_os(environment::NAME);
        if env::var_os(DOCTEST_RUNNER).is_some() && name.is_some() {
            // The doctests are started with this environment and are the roots.
            return None;
        }
        let value = env::var(environment::WINDOW).unwrap_or_default();
        let functions = value.strip_prefix(environment::FRAME).map(str::to_owned);
        let window = match value.as_str() {
            environment::THREADS => Window::Threads,
            environment::CALL => Window::FromCall,
            _ if functions.is_some() => Window::Frame,
            _ => Window::All,
        };
        let functions = functions.unwrap_or_default();
        let run_options = env::var(environment::MODES).ok().filter(|_| name.is_some());
        let fixed = run_options
            .and_then(|run_options| run_options.parse::<RunOptions>().ok())
            .is_some_and(|run_options| run_options.deterministic);
        let doctest = env::var_os(DOCTEST).and_then(|number| number.into_string().ok());
        let name = name.map(|name| doctest.unwrap_or_else(|| name.to_string_lossy().into_owned()));
        let (is_root, name) = (name.is_some(), name.unwrap_or_default());
        Some(Recording { detail, seed, stem, is_root, folder, name, window, functions, fixed })
    }

    /// Two letters, and five C strings: the ledger; what the program hands on to those that it starts, which is nothing
    /// where it hands on what it was given; the functions of the window; and where std's set-up is, which is nothing where
    /// that is not to be left out; where std enters a thread in its map, which is nothing where that is not known.
    fn left_to_do(&self, ledger: &Path) -> Vec<u8> {
        let mut text = vec![self.window as u8, if self.fixed { b'f' } else { b'-' }];
        text.extend_from_slice(ledger.as_os_str().as_bytes());
        text.push(0);
        if self.is_root {
            let stem = ledger.file_stem().unwrap_or_default().to_string_lossy();
            text.extend_from_slice(format!("{} {} {stem} ", self.detail, self.seed.to_text()).as_bytes());
            text.extend_from_slice(self.folder.as_os_str().as_bytes());
        }
        text.push(0);
        text.extend_from_slice(self.functions.as_bytes());
        text.push(0);
        let std = StdStart::of_this_program().unwrap_or_default();
        if self.window == Window::All {
            text.extend_from_slice(std.set_up_text().as_bytes());
        }
        text.push(0);
        text.extend_from_slice(std.thread_info_text().as_bytes());
        text.push(0);
        text
    }

    fn create_ledger(&self) -> io::Result<LedgerFile> {
        let exe = crate::own_file::path()?;
        let called = name_of(&exe);
        let program = self.seed.with(called.as_bytes());
        let mut identity = Identity {
            name: if self.is_root { self.name.clone() } else { called.clone() },
            exe,
            package: env::var("CARGO_PKG_NAME").unwrap_or_default(),
            manifest_dir: env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default(),
            root: if self.is_root { String::new() } else { self.stem.clone() },
            hook: hook(),
            ..Identity::default()
        };
        // As long for every process, so that what is inherited takes as many bytes in every run.
        let start = if self.is_root {
            format!("{}-{:010}", self.stem, process::id())
        } else {
            format!("{}.child-{}", self.stem, program.to_text())
        };
        for number in self.first_number(&start).. {
            let path = self.folder.join(format!("{start}-{number}.ledger"));
            // The same on every run: of a root by the one test that it runs, of others by which program it is, and how many of
            // these the root has started. Arguments are not in it: they name temporary folders, ports and processes.
            identity.seed = match self.is_root {
                true => self.seed.with(self.name.as_bytes()),
                false => program.with(&number.to_le_bytes()),
            };
            match LedgerFile::create(&path, self.detail.rate, &identity) {
                Ok(ledger) => {
                    if let Some(depth) = self.detail.depth {
                        ledger.set_depth(depth.get())?;
                    }
                    // Without it there is the file that is there at the end.
                    let _ = (!self.is_root).then(|| executable::keep(&identity.exe, &path));
                    // Without it the test is not run again where this process' counts vary.
                    let _ = (!self.is_root).then(|| note_started(&self.stem, &ledger, &called));
                    return Ok(ledger);
                }
                // The number of a process that is gone, or a program that became another one, or another that was quicker.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound && !Path::new(&self.folder).exists() => {
                    fs::create_dir_all(&self.folder)?;
                }
                result => return result,
            }
        }
        unreachable!("there are more numbers than files")
    }

    /// From which number on there is no ledger yet whose name begins so.
    fn first_number(&self, start: &str) -> u64 {
        let exists = |number: u64| self.folder.join(format!("{start}-{number}.ledger")).exists();
        // Found in a few steps, however many there are: they have the numbers from 1 on.
        let mut free = 1;
        while exists(free) {
            free *= 2;
        }
        let mut taken = free / 2;
        while free - taken > 1 {
            let middle = taken + (free - taken) / 2;
            *(if exists(middle) { &mut taken } else { &mut free }) = middle;
        }
        free
    }
}

/// A recording whose ledger is there. Nothing here allocates through the program's allocator.
struct Prepared<'a> {
    window: Window,
    fixed: bool,
    ledger: &'a Path,
    hands_on: &'a CStr,
    functions: &'a [u8],
    set_up: &'a str,
    thread_info: &'a str,
}

impl<'a> Prepared<'a> {
    /// `None` = nothing is to be recorded.
    fn read(text: &'a [u8]) -> Option<Prepared<'a>> {
        let [window, fixed, texts @ ..] = text else { return None };
        let windows = [Window::All, Window::Threads, Window::FromCall, Window::Frame];
        let window = windows.into_iter().find(|one| *one as u8 == *window)?;
        let ledger = CStr::from_bytes_until_nul(texts).ok()?.to_bytes();
        let hands_on = CStr::from_bytes_until_nul(texts.get(ledger.len() + 1..)?).ok()?;
        let behind = ledger.len() + 1 + hands_on.count_bytes() + 1;
        let functions = CStr::from_bytes_until_nul(texts.get(behind..)?).ok()?.to_bytes();
        let behind = behind + functions.len() + 1;
        let set_up = CStr::from_bytes_until_nul(texts.get(behind..)?).ok()?.to_str().ok()?;
        let thread_info = CStr::from_bytes_until_nul(texts.get(behind + set_up.len() + 1..)?).ok()?.to_str().ok()?;
        let ledger = Path::new(OsStr::from_bytes(ledger));
        Some(Prepared { window, fixed: *fixed == b'f', ledger, hands_on, functions, set_up, thread_info })
    }

    /// A root alone hands on something else than it was given.
    fn is_root(&self) -> bool {
        !self.hands_on.is_empty()
    }

    fn begin(&self) -> io::Result<()> {
        if self.fixed {
            hash_seeds::fix();
        }
        if self.is_root() {
            // std's own function has long texts copied by the program's allocator.
            // SAFETY: both are C strings, and as above, there is one thread.
            unsafe { libc::setenv(c"MEMPROF_PROGRAM".as_ptr(), self.hands_on.as_ptr(), 1) };
        }
        engine::attach(self.ledger)?;
        wrap_panic_hook();
        no_memory::leave_out_message();
        watch_exit();
        if let Some(function) = std_start::ranges(self.thread_info).next() {
            engine::leave_out_thread_info(function);
        }
        match self.window {
            Window::All => {
                engine::leave_out_set_up(std_start::ranges(self.set_up));
                engine::open();
            }
            Window::Frame => {
                // As below; and where no function can be found, all of the other threads is recorded.
                std::mem::forget(engine::suspend());
                if !engine::open_in_frame(self.functions) {
                    engine::open();
                }
            }
            Window::Threads => {
                // For good: the main thread is the harness's.
                std::mem::forget(engine::suspend());
                engine::open();
            }
            Window::FromCall => WAITS.store(true, Ordering::Relaxed),
        }
        Ok(())
    }
}

#[cfg(not(memprof_native))]
fn hook() -> Hook {
    Hook::Rust
}

#[cfg(memprof_native)]
fn hook() -> Hook {
    let words = env::var_os(environment::EMULATOR).unwrap_or_default();
    crate::probe::ask(&crate::emulator::Emulator::from_variable(&words))
}

/// Keeps what the default panic hook does out of the recording, as under a test. A hook that the program sets itself is
/// recorded.
fn wrap_panic_hook() {
    // By its old name, which is the only one that compilers before 1.81 know.
    #[allow(deprecated)]
    type Info<'a> = panic::PanicInfo<'a>;
    /// Beside the hook and not in it: a box of something that has no size takes no memory.
    static PREVIOUS: OnceLock<Box<dyn Fn(&Info<'_>) + Sync + Send>> = OnceLock::new();
    if PREVIOUS.set(panic::take_hook()).is_ok() {
        panic::set_hook(Box::new(|info: &Info<'_>| {
            let _outside = engine::suspend();
            if let Some(previous) = PREVIOUS.get() {
                previous(info);
            }
        }));
    }
}

/// Has the ledger closed when the process exits. What is registered first is called last, so the program's own
/// handlers are recorded.
#[cfg(target_env = "gnu")]
fn watch_exit() {
    use std::ffi::{c_int, c_void};
    extern "C" fn end(status: c_int, _: *mut c_void) {
        engine::end_program(Some(status), SUCCESS.load(Ordering::Relaxed));
    }
    crate::os::task::at_exit(end);
}

/// As above, where the C library does not tell the status.
#[cfg(not(target_env = "gnu"))]
fn watch_exit() {
    extern "C" fn end() {
        engine::end_program(None, SUCCESS.load(Ordering::Relaxed));
    }
    // SAFETY: as above.
    let _ = unsafe { libc::atexit(end) };
}
