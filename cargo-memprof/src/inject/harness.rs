//! The harness: its sources compiled once for a toolchain and a target, kept where the next run finds it.

use crate::inject::plan::Plan;
use crate::inject::{depot, env};
use crate::toolchain::Toolchain;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

/// The version of the harness, which is this program's.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The harness for tests.
pub const RLIB: &str = "libmemprof_harness.rlib";
/// Beside it: the same for programs with a `main` of their own.
const PROGRAM_RLIB: &str = "libmemprof_program.rlib";
/// Its name as a crate, which no crate of the user's has: a program may well depend on `memprof-harness`.
pub const PROGRAM_CRATE: &str = "memprof_program";
/// What makes it so.
const PROGRAM_FLAGS: [&str; 4] = ["--crate-name", PROGRAM_CRATE, "--cfg", "memprof_program"];
/// What makes the other one, which goes under tests by the name `test`.
const TEST_FLAGS: [&str; 2] = ["--crate-name", "memprof_harness"];

/// How the harness is compiled. `metadata` keeps its symbols apart from those of a `memprof-harness` the user's crate
/// may depend on; with bitcode, profiles with link-time optimisation can link it. It is only ever linked into executables: told
/// so, and in one piece, it finds its own variables without the detours that a shared object needs, at every allocation. Its
/// functions that call no other one need no frame: nobody looks for their callers while they run.
const FLAGS: [&str; 20] = [
    "--crate-type",
    "rlib",
    "--edition",
    "2024",
    "--cfg",
    "memprof_injected",
    "--cap-lints",
    "allow",
    "-Copt-level=3",
    "-Ccodegen-units=1",
    "-Crelocation-model=pie",
    "-Zdirect-access-external-data=yes",
    "-Zunstable-options",
    "-Cforce-frame-pointers=non-leaf",
    "-Cmetadata=memprof",
    "-Cembed-bitcode=yes",
    "-Cdebuginfo=limited",
    "-Cpanic=unwind",
    "--error-format=human",
    "--color=never",
];

/// Which calls the harness hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hooked {
    /// Those of Rust's global allocator, which the harness then is.
    Rust,
    /// Those of the C library's allocation functions, whatever the global allocator is.
    Native,
}

impl Hooked {
    /// What makes a harness of it. That all of it is one object has the linker take the native one's `malloc` along with what it
    /// is asked for.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Hooked::Rust => &[],
            Hooked::Native => &["--cfg", "memprof_native"],
        }
    }

    /// Why it cannot be had for `target`; `None` = it can.
    pub fn refusal(self, target: &str, static_libc: bool) -> Option<String> {
        match self {
            Hooked::Rust => None,
            // Other C libraries have no second name for their functions, and neither has glibc when it is linked in.
            Hooked::Native if !target.contains("-linux-gnu") => {
                Some(format!("the C library of `{target}` cannot be hooked, only glibc can"))
            }
            Hooked::Native => {
                static_libc.then(|| "a C library that is linked in (`crt-static`) cannot be hooked".into())
            }
        }
    }
}

/// A hash of everything the harness and the wrapper do to a compilation.
pub fn fingerprint() -> u64 {
    let mut hasher = DefaultHasher::new();
    memprof_harness::sources::FILES.hash(&mut hasher);
    FLAGS.hash(&mut hasher);
    (TEST_FLAGS, PROGRAM_FLAGS).hash(&mut hasher);
    [Hooked::Rust, Hooked::Native].map(Hooked::flags).hash(&mut hasher);
    super::invocation::flags_in_words().hash(&mut hasher);
    hasher.finish()
}

/// What objects that the harness is linked with must have been built with. A toolchain is not in it: that cargo sees to.
pub fn build_key() -> String {
    format!("{VERSION} {:016x}\n", fingerprint())
}

/// The place of the harness of `toolchain` for `target` in `depot`. It is there, whole, or not at all.
pub fn place(depot: &Path, toolchain: &Toolchain, target: &str, hooked: Hooked) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (fingerprint(), hooked, &toolchain.verbose, &toolchain.sysroot, target, VERSION).hash(&mut hasher);
    // A toolchain built at home may change without changing its version.
    let library = toolchain.sysroot.join("lib/rustlib").join(target).join("lib");
    let changed = fs_err::metadata(library).and_then(|library| library.modified()).ok();
    changed.and_then(|changed| changed.duration_since(UNIX_EPOCH).ok()).hash(&mut hasher);
    depot.join(format!("{}-{:016x}", toolchain.release, hasher.finish())).join(RLIB)
}

/// The harness for programs with a `main` of their own that lies beside `rlib`, a [`place`].
pub fn for_programs(rlib: &Path) -> PathBuf {
    rlib.with_file_name(PROGRAM_RLIB)
}

/// Compiles the harness with `rustc` to `rlib`, a [`place`]. Two runs may do so at once: the first to finish wins, and
/// both are right.
///
/// # Errors
/// What the compiler or the file system said.
pub fn build(rustc: &OsStr, host: &str, target: &str, rlib: &Path, hooked: Hooked) -> Result<(), String> {
    let place = rlib.parent().unwrap_or(rlib);
    let depot = place.parent().unwrap_or(place);
    let told = |error: io::Error| error.to_string();
    fs_err::create_dir_all(depot).map_err(told)?;
    // What cannot be removed now is no hindrance.
    let _ = depot::sweep(depot);
    let draft = tempfile::Builder::new().prefix(".draft-").tempdir_in(depot).map_err(told)?;
    let sources = tempfile::Builder::new().prefix(".sources-").tempdir_in(depot).map_err(told)?;
    let sources = sources.path();
    for (path, text) in memprof_harness::sources::FILES {
        let path = sources.join(path);
        fs_err::create_dir_all(path.parent().unwrap_or(sources)).map_err(told)?;
        fs_err::write(path, text).map_err(told)?;
    }
    let compile = |flags: &[&str], name: &str| {
        let flags = [flags, hooked.flags()].concat();
        let mut command = Command::new(rustc);
        command.args(FLAGS).args(flags).arg("-o").arg(draft.path().join(name));
        if target != host {
            command.args(["--target", target]);
        }
        compile(command, sources)
    };
    std::thread::scope(|scope| {
        let program = scope.spawn(|| compile(&PROGRAM_FLAGS, PROGRAM_RLIB));
        compile(&TEST_FLAGS, RLIB)?;
        program.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    match fs_err::rename(draft.path(), place) {
        // Another run was faster.
        Err(_) if rlib.exists() => Ok(()),
        result => result.map_err(told),
    }
}

/// Compiles `sources` once, with a `command` that lacks only them.
fn compile(mut command: Command, sources: &Path) -> Result<(), String> {
    command.arg(sources.join("lib.rs"));
    let mut remap = std::ffi::OsString::from("--remap-path-prefix=");
    remap.push(sources);
    remap.push("=memprof-harness/src");
    command.arg(remap);
    // The harness names the toolchain's own `test` and `libc`, which stable compilers keep to themselves.
    command.env(env::RUSTC_BOOTSTRAP, "1");
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// The native harness for `target`, made where no run before has; or why there is none. For what has a global allocator of
/// its own.
///
/// # Errors
/// The reason, in the user's words.
pub fn native<'a>(plan: &'a Plan, target: &str, static_libc: bool) -> Result<&'a Path, String> {
    if let Some(refusal) = Hooked::Native.refusal(target, static_libc) {
        return Err(refusal);
    }
    let rlib = plan.native_harness.get(target).ok_or("there is no native harness for its target")?;
    if !depot::claim(rlib) {
        build(plan.rustc.as_os_str(), &plan.host, target, rlib, Hooked::Native)
            .map_err(|failure| format!("the native harness does not compile: {failure}"))?;
    }
    Ok(rlib)
}

/// Waits until the driver has done what it can for `rlib`; `false` where that failed.
pub fn wait_for(rlib: &Path, plan: &Plan) -> bool {
    while !rlib.exists() {
        if !plan.harness_pending.exists() || !is_alive(plan.driver) {
            // It may have come to be between the two looks.
            return rlib.exists();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// A file that says that the harness is being compiled. Dropping this removes it, however the compiling ended: nobody may
/// wait for what will never come.
#[derive(Debug)]
pub struct Pending(PathBuf);

impl Pending {
    /// # Errors
    /// Whatever the file system says.
    pub fn declare(path: PathBuf) -> io::Result<Pending> {
        fs_err::write(&path, "")?;
        Ok(Pending(path))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // It goes with the scratch folder otherwise.
        let _ = fs_err::remove_file(&self.0);
    }
}

/// Whether the process still runs.
pub fn is_alive(process: u32) -> bool {
    let process = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw);
    let Some(process) = process else { return false };
    !matches!(rustix::process::test_kill_process(process), Err(rustix::io::Errno::SRCH))
}
