//! Makes a ledger and closes it: the harness's parent writes these parts with ordinary file I/O. The child writes the
//! rest through the engine.

use super::layout::{self, kind, Header};
use super::seed::Seed;
use crate::file_limit;
use crate::os;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem::offset_of;
use std::mem::size_of;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Who the recorded process is. Empty strings mean "not known".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The test's name as libtest prints it; empty where a whole program is recorded.
    pub name: String,
    /// The executable, absolute.
    pub exe: PathBuf,
    /// `CARGO_PKG_NAME` as cargo set it for the test run.
    pub package: String,
    /// `CARGO_MANIFEST_DIR`, likewise.
    pub manifest_dir: PathBuf,
    /// Where the test function stands, as rustc wrote it into the test's description.
    pub source_file: String,
    /// 1-based; 0 = not known.
    pub start_line: u32,
    /// Of a program that a recorded test or program started: the stem of that one's ledger. Empty otherwise.
    pub root: String,
    /// `None` where it is no benchmark that was measured too.
    pub benchmark: Option<Benchmark>,
    pub hook: Hook,
    /// What its samplers begin with.
    pub seed: Seed,
}

/// A benchmark that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Benchmark {
    /// The ledger is of one iteration.
    Iteration {
        /// The median time of an iteration, in picoseconds.
        ps: u64,
    },
    /// It iterated nothing, or failed before. The ledger is of the whole function.
    NoIteration,
}

impl Benchmark {
    /// What a ledger has in the place of a time.
    const NO_ITERATION: &'static str = "none";

    fn to_text(benchmark: Option<Benchmark>) -> String {
        match benchmark {
            None => String::new(),
            Some(Benchmark::NoIteration) => Benchmark::NO_ITERATION.to_owned(),
            Some(Benchmark::Iteration { ps }) => ps.to_string(),
        }
    }

    #[cfg(not(memprof_injected))]
    pub(super) fn from_text(text: &str) -> Option<Benchmark> {
        match text {
            Benchmark::NO_ITERATION => Some(Benchmark::NoIteration),
            text => text.parse().ok().map(|ps| Benchmark::Iteration { ps }),
        }
    }
}

/// Where allocations were noted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hook {
    /// At Rust's global allocator: all that is allocated through it.
    #[default]
    Rust,
    /// At the C library's functions: all that reaches them.
    Native,
    /// There too, but the program's own global allocator does not pass everything on to them.
    NativePartial,
}

impl Hook {
    const ALL: [Hook; 3] = [Hook::Rust, Hook::Native, Hook::NativePartial];

    /// As a ledger has it.
    pub fn name(self) -> &'static str {
        match self {
            Hook::Rust => "rust",
            Hook::Native => "native",
            Hook::NativePartial => "native-partial",
        }
    }

    /// `None` = no hook is called so.
    pub fn named(name: &str) -> Option<Hook> {
        Hook::ALL.into_iter().find(|hook| hook.name() == name)
    }
}

/// How a recorded process ended, as its parent saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finish {
    pub outcome: OutcomeCode,
    /// What `waitpid` gave.
    pub wait_status: i32,
    pub wall_ns: u64,
}

/// A test's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeCode {
    Ok,
    Failed,
    TimedOut,
}

/// A ledger that this process made for a child to record into.
#[derive(Debug)]
pub struct LedgerFile {
    file: File,
    path: PathBuf,
}

/// Bytes a new ledger is given on the disk: what most tests need, so that one that forbids itself system calls (as a seccomp filter
/// does) need not make any for us. What is not used is given back at the end.
const FIRST_EXTENT: u64 = 256 * 1024;
/// Where the disk has no room for that, so that a child on a full disk can still say how it ended.
const LEAST_EXTENT: u64 = 64 * 1024;
/// Payload kept for the child's message (a panic's text) beside the identity.
const MESSAGE_ROOM: usize = 4096;

impl LedgerFile {
    /// Makes the file at `path`, which must not exist.
    ///
    /// # Errors
    /// Whatever the file system says; nothing is left behind then.
    pub fn create(path: &Path, rate: u64, identity: &Identity) -> io::Result<LedgerFile> {
        file_limit::as_error(|| LedgerFile::create_at(path, rate, identity))
    }

    fn create_at(path: &Path, rate: u64, identity: &Identity) -> io::Result<LedgerFile> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let ledger = LedgerFile { file, path: path.to_owned() };
        match ledger.write_start(rate, identity) {
            Ok(()) => Ok(ledger),
            Err(error) => {
                // The error worth telling is the first one.
                let _ = std::fs::remove_file(path);
                Err(error)
            }
        }
    }

    fn write_start(&self, rate: u64, identity: &Identity) -> io::Result<()> {
        let extent = if reserve(&self.file, FIRST_EXTENT).is_ok() { FIRST_EXTENT } else { LEAST_EXTENT };
        reserve(&self.file, extent)?;
        let mut text = Vec::new();
        let line = identity.start_line.to_string();
        let time = Benchmark::to_text(identity.benchmark);
        for (key, value) in [
            ("name", identity.name.as_bytes()),
            ("exe", identity.exe.as_os_str().as_encoded_bytes()),
            ("package", identity.package.as_bytes()),
            ("manifest_dir", identity.manifest_dir.as_os_str().as_encoded_bytes()),
            ("source_file", identity.source_file.as_bytes()),
            ("start_line", line.as_bytes()),
            ("root", identity.root.as_bytes()),
            ("ps_per_iter", time.as_bytes()),
            ("hook", identity.hook.name().as_bytes()),
        ] {
            push_pair(&mut text, key, value);
        }
        let identity_end = write_chunk(&self.file, layout::HEADER_LEN as u64, kind::TEXT, &text, 0)?;
        let arena_end = write_chunk(&self.file, identity_end, kind::TEXT, &[], MESSAGE_ROOM)?;
        if arena_end > extent {
            reserve(&self.file, arena_end)?;
        }
        let started = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        self.file.write_all_at(&layout::VERSION.to_ne_bytes(), offset_of!(Header, version) as u64)?;
        self.file.write_all_at(&(layout::HEADER_LEN as u32).to_ne_bytes(), offset_of!(Header, header_len) as u64)?;
        self.put_u64(offset_of!(Header, rate), rate)?;
        self.put_u64(offset_of!(Header, seed), identity.seed.0)?;
        self.put_u64(offset_of!(Header, started_ns), started)?;
        self.put_u64(offset_of!(Header, arena_end), arena_end)?;
        // The magic goes last: a file without it was never a ledger.
        self.file.write_all_at(&layout::MAGIC, offset_of!(Header, magic) as u64)
    }

    /// Says how many frames of a stack are to be kept. Called before the process begins.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn set_depth(&self, frames: u32) -> io::Result<()> {
        self.file.write_all_at(&frames.to_ne_bytes(), offset_of!(Header, depth) as u64)
    }

    /// Says how the process ended. Called once it is gone.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn finish(&self, finish: Finish) -> io::Result<()> {
        let outcome = match finish.outcome {
            OutcomeCode::Ok => layout::outcome::OK,
            OutcomeCode::Failed => layout::outcome::FAILED,
            OutcomeCode::TimedOut => layout::outcome::TIMED_OUT,
        };
        self.put_u64(offset_of!(Header, wall_ns), finish.wall_ns)?;
        self.file.write_all_at(&finish.wait_status.to_ne_bytes(), offset_of!(Header, wait_status) as u64)?;
        self.file.write_all_at(&outcome.to_ne_bytes(), offset_of!(Header, outcome) as u64)
    }

    /// Opens a ledger that another process made.
    ///
    /// # Errors
    /// Whatever the file system says; or where it is none, as one is that was never begun.
    pub fn open(path: &Path) -> io::Result<LedgerFile> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        let mut magic = [0; layout::MAGIC.len()];
        file.read_exact_at(&mut magic, offset_of!(Header, magic) as u64)?;
        if magic != layout::MAGIC {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        Ok(LedgerFile { file, path: path.to_owned() })
    }

    /// Whether it says how its process ended.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn is_finished(&self) -> io::Result<bool> {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, offset_of!(Header, outcome) as u64)?;
        Ok(u32::from_ne_bytes(bytes) != layout::outcome::UNKNOWN)
    }

    /// Whether somebody took the file away: nothing has its name.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn is_removed(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// What it has counted, once its process is gone.
    ///
    /// # Errors
    /// Whatever the file system says.
    #[cfg(not(memprof_program))]
    pub fn counts(&self) -> io::Result<super::Counts> {
        super::Counts::read(&self.file)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One of [`layout::state`]: how far the child got.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn state(&self) -> io::Result<u32> {
        self.get_u32(offset_of!(Header, state))
    }

    /// Whether the recording was being ended when the process was.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn was_ending(&self) -> io::Result<bool> {
        Ok(self.get_u32(offset_of!(Header, leak_check))? == layout::leak_check::ENDING)
    }

    fn get_u32(&self, at: usize) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, at as u64)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn put_u64(&self, at: usize, value: u64) -> io::Result<()> {
        self.file.write_all_at(&value.to_ne_bytes(), at as u64)
    }
}

/// Appends `key` and `value` as two length-prefixed byte strings.
pub(crate) fn push_pair(text: &mut Vec<u8>, key: &str, value: &[u8]) {
    for part in [key.as_bytes(), value] {
        text.extend_from_slice(&(part.len() as u32).to_ne_bytes());
        text.extend_from_slice(part);
    }
}

/// Writes a whole chunk at `at` with `spare` bytes of unused payload; gives where the next one starts.
fn write_chunk(file: &File, at: u64, kind: u32, payload: &[u8], spare: usize) -> io::Result<u64> {
    let header = size_of::<layout::ChunkHeader>();
    let len = (header + payload.len() + spare).next_multiple_of(layout::CHUNK_ALIGN);
    let mut bytes = Vec::with_capacity(len);
    bytes.write_all(&kind.to_ne_bytes())?;
    bytes.write_all(&0u32.to_ne_bytes())?;
    bytes.write_all(&(len as u64).to_ne_bytes())?;
    bytes.write_all(&(payload.len() as u64).to_ne_bytes())?;
    bytes.resize(header, 0);
    bytes.extend_from_slice(payload);
    bytes.resize(len, 0);
    file.write_all_at(&bytes, at)?;
    Ok(at + len as u64)
}

/// Gives the file real blocks up to `len`, so that writing to its mapping can never meet a full disk.
fn reserve(file: &File, len: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let error = os::file::allocate(file.as_raw_fd(), 0, len);
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}
