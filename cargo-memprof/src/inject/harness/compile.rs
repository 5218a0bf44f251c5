//! The harness compiled: by the driver before cargo builds, by the wrapper where only it knows that one is needed.

use super::built::{Built, NO_LIBTEST, seal};
use super::compiler::Compiler;
use super::running::Running;
use super::{Form, Hooked, Unhookable, VERSION, cache, libtest};
use crate::context::env;
use crate::context::target_dir::is_alive;
use crate::context::toolchain::Takes;
use crate::files::outlet;
use crate::inject::diagnostics;
use crate::protocol::plan::Plan;
use rustix::process::Pid;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The file in a place that says which shape of libtest's interface its harness for tests is for.
const SHAPE: &str = "libtest-shape";
/// What rustc ends with where the text it was given is at fault.
const REFUSED: i32 = 1;

/// How the harness is compiled. `metadata` keeps its symbols apart from those of a `memprof-harness` the user's crate
/// may depend on; with bitcode, profiles with link-time optimisation can link it. It is only ever linked into executables: told
/// so, and in one piece, it finds its own variables without the detours that a shared object needs, at every allocation. Its
/// functions that call no other one need no frame: nobody looks for their callers while they run.
pub(super) const FLAGS: [&str; 19] = [
    "--crate-type",
    "rlib",
    "--edition",
    "2021",
    "--cfg",
    "memprof_injected",
    "--cap-lints",
    "allow",
    "-Copt-level=3",
    "-Ccodegen-units=1",
    "-Crelocation-model=pie",
    "-Zdirect-access-external-data=yes",
    "-Zunstable-options",
    "-Cmetadata=memprof",
    "-Cembed-bitcode=yes",
    "-Cdebuginfo=limited",
    "-Cpanic=unwind",
    "--error-format=human",
    "--color=never",
];

/// Frame pointers of the harness, for compilers that know the first and for those that do not.
pub(super) const FRAME_POINTERS: [&str; 2] = ["-Cforce-frame-pointers=non-leaf", "-Cforce-frame-pointers=yes"];

/// How soon a harness is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    Now,
    /// The rest of the build goes first.
    Later,
}

/// The niceness of a compiler whose work is wanted later.
const NICE: i32 = 10;

/// Compiles a harness into `place`, unless it is there or cannot be had. Where several runs do so at once, all but one of them wait.
///
/// # Errors
/// What the compiler or the file system said, but for what has its own place in [`Built`].
pub fn build(
    compiler: &Compiler,
    target: &str,
    place: &Path,
    hooked: Hooked,
    form: Form,
    urgency: Urgency,
) -> Result<(), String> {
    let folder = place.parent().unwrap_or(place);
    let to_text = |error: io::Error| error.to_string();
    fs_err::create_dir_all(place).map_err(to_text)?;
    // What cannot be removed now is no hindrance.
    let _ = cache::sweep(folder);
    // Without a lock it is compiled twice, and the first to finish wins.
    let _lock = cache::lock_file(&place.join(form.file_name()).with_extension("lock"));
    if Built::look(place, form).is_some() {
        return Ok(());
    }
    let draft = tempfile::Builder::new().prefix(".draft-").tempdir_in(folder).map_err(to_text)?;
    let sources = tempfile::Builder::new().prefix(".sources-").tempdir_in(folder).map_err(to_text)?;
    let sources = sources.path();
    for (path, text) in memprof_harness::sources::FILES {
        let path = sources.join(path);
        fs_err::create_dir_all(path.parent().unwrap_or(sources)).map_err(to_text)?;
        outlet::put(path, text).map_err(to_text)?;
    }
    let mut command = Command::new(&compiler.rustc);
    let frame_pointers = FRAME_POINTERS[usize::from(!Takes::of(&compiler.version).non_leaf)];
    command
        .args(FLAGS)
        .arg(frame_pointers)
        .args(["--crate-name", form.crate_name()])
        .args(form.flags())
        .args(hooked.flags());
    // The harness names the toolchain's own `test` and `libc`, which stable compilers keep to themselves.
    command.env(env::RUSTC_BOOTSTRAP, form.crate_name());
    if target != compiler.host {
        command.args(["--target", target]);
    }
    if form == Form::Test {
        match libtest::shape(compiler, target, draft.path()) {
            Ok(shape) => {
                command.arg("--cfg").arg(format!("memprof_libtest=\"{}\"", shape.name));
                outlet::put(place.join(SHAPE), shape.name).map_err(to_text)?;
            }
            Err(stderr) if is_about_the_text(&stderr) && libtest::compiles_at_all(compiler, target, draft.path()) => {
                return settle(place, compiler, &stderr).map_err(to_text);
            }
            Err(stderr) => return Err(stderr),
        }
    }
    if libtest::has_alloc_error_hook(compiler, target, draft.path()) {
        command.args(["--cfg", "memprof_alloc_error_hook"]);
    }
    let draft = draft.path().join(form.file_name());
    command.arg("-o").arg(&draft);
    match compile(command, sources, urgency, &compiler.running)? {
        Compiled::Well => {
            // On the disk before it has its name.
            fs_err::File::open(&draft).and_then(|draft| draft.sync_all()).map_err(to_text)?;
            seal(&draft, place, form).map_err(to_text)?;
            fs_err::rename(draft, form.rlib(place)).map_err(to_text)
        }
        Compiled::Not { stderr, code } if form == Form::Test && code == Some(REFUSED) && is_about_the_text(&stderr) => {
            settle(place, compiler, &stderr).map_err(to_text)
        }
        Compiled::Not { stderr, .. } => Err(stderr),
    }
}

/// Whether the compiler refused what it read: such errors have a code (`error[E0432]`), and a full disk's has none.
pub fn is_about_the_text(stderr: &str) -> bool {
    stderr.lines().any(|line| line.trim_start().starts_with("error[E"))
}

/// Writes down for all runs with this toolchain that its libtest is none that the harness knows: the compiler wrote that to `stderr`.
fn settle(place: &Path, compiler: &Compiler, stderr: &str) -> io::Result<()> {
    let error = diagnostics::first_error(stderr.as_bytes()).unwrap_or_default();
    let reason = format!("the libtest of {} is not known to cargo-memprof {VERSION} ({error})", compiler.version);
    outlet::put(place.join(NO_LIBTEST), reason)
}

/// As [`build`], in all `forms` at once; that for tests first.
///
/// # Errors
/// As there.
pub fn build_all(
    compiler: &Compiler,
    target: &str,
    place: &Path,
    hooked: Hooked,
    forms: &[Form],
) -> Result<(), String> {
    let urgency = |form| if forms[0] == form { Urgency::Now } else { Urgency::Later };
    std::thread::scope(|scope| {
        let build = |form: &Form| build(compiler, target, place, hooked, *form, urgency(*form));
        let built: Vec<_> = forms.iter().map(|form| scope.spawn(move || build(form))).collect();
        let ended = built.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect()
    })
}

/// How a compilation went.
enum Compiled {
    Well,
    Not {
        /// What the compiler said.
        stderr: String,
        /// `None` = a signal ended it.
        code: Option<i32>,
    },
}

/// Compiles `sources` once, with a `command` that lacks only them.
fn compile(mut command: Command, sources: &Path, urgency: Urgency, running: &Running) -> Result<Compiled, String> {
    command.arg(sources.join("lib.rs"));
    let mut remap = OsString::from("--remap-path-prefix=");
    remap.push(sources);
    remap.push("=memprof-harness/src");
    command.arg(remap);
    let begun = |process: u32| {
        if urgency == Urgency::Later {
            let process = i32::try_from(process).ok().and_then(Pid::from_raw);
            // It is only slower for others where that cannot be done.
            let _ = rustix::process::setpriority_process(process, NICE);
        }
    };
    let output = running.run(&mut command, begun).map_err(|error| error.to_string())?;
    Ok(match output.status.success() {
        true => Compiled::Well,
        false => Compiled::Not { stderr: output.stderr, code: output.status.code() },
    })
}

/// The native harness for `target`, made where no run before has; or why there is none. For what has a global allocator of
/// its own.
///
/// # Errors
/// The reason, in the user's words.
pub fn native(plan: &Plan, target: &str, unhookable: Option<&Unhookable>, form: Form) -> Result<PathBuf, String> {
    if let Some(refusal) = Hooked::Native.refusal(target, unhookable) {
        return Err(refusal);
    }
    let place = plan.native_harness.get(target).ok_or("there is no native harness for its target")?;
    if !cache::claim(place, &[form]) {
        build(&Compiler::of(plan), target, place, Hooked::Native, form, Urgency::Now)
            .map_err(|failure| format!("the native harness does not compile: {failure}"))?;
    }
    match Built::look(place, form) {
        Some(Built::Rlib(rlib)) => Ok(rlib),
        Some(Built::NoLibtest(reason)) => Err(reason),
        None => Err("the native harness was removed while it was wanted".into()),
    }
}

/// Waits until the driver has done what it can for the `form` in `place`; `None` where that failed.
pub fn wait_for(place: &Path, form: Form, plan: &Plan) -> Option<Built> {
    loop {
        if let Some(built) = Built::look(place, form) {
            return Some(built);
        }
        if !plan.harness_pending.exists() || !is_alive(plan.driver) {
            // It may have come to be between the two looks.
            return Built::look(place, form);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A file that says that the harness is being compiled. Dropping this removes it, however the compiling ended: nobody may
/// wait for what will never come.
#[derive(Debug)]
pub struct Pending(PathBuf);

impl Pending {
    /// # Errors
    /// Whatever the file system says.
    pub fn declare(path: PathBuf) -> io::Result<Pending> {
        outlet::put(&path, "")?;
        Ok(Pending(path))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // It goes with the scratch folder otherwise.
        let _ = fs_err::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_nothing_of_a_text() {
        assert!(is_about_the_text("error[E0432]: unresolved import `real::TestList`\n --> src/lib.rs:1:5"));
        assert!(!is_about_the_text(
            "error: failed to build archive at `x.rlib`: No space left on device (os error 28)"
        ));
    }
}
