//! Another revision as the baseline: it is checked out into a clone of our own below the target folder, and its tests are
//! recorded there, by this program, with the arguments of this run. Nothing of the user's repository is touched. The clone
//! and its build stay, so that the next time only what differs is compiled; and a revision whose metrics are known is not
//! run again.

use super::configuration::Checkouts;
use crate::context::Context;
use crate::context::options::{self, Task, TestOptions};
use crate::context::toolchain::Toolchain;
use crate::files::intake;
use crate::files::outlet;
use crate::gate::baseline::checkout::{Checkout, PackageAt};
use crate::gate::compare::loaded_run::LoadedRun;
use crate::git::{Copy, Failure, Git, Repository};
use crate::report::layout;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use crate::ui::interrupt;
use camino::{Utf8Path, Utf8PathBuf};
use memprof_profile::symbolize::SourceRoots;
use rustix::fs::FlockOperation;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::process::{Command, Stdio};

/// The checkout, below the folder of this file.
const TREE: &str = "tree";
/// What the run of the other revision said.
const LOG: &str = "log.txt";
/// A baseline of the revision and its profiles, which its run leaves and nobody reads: the run itself has all of it.
const METRICS: &str = "memprof.baseline";
const PROFILES: &str = "baseline";
const LOCK_FILE: &str = "Cargo.lock";
const ELSEWHERE: &str = "set `CARGO_TARGET_DIR` to a folder outside of the repository, where the clone then is";

/// Another revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// As the user knows it.
    pub name: String,
    /// As git knows it.
    pub commit: String,
}

impl Revision {
    /// What the user called so, who uses git's names.
    pub fn called(name: &str) -> Revision {
        Revision { name: name.to_owned(), commit: name.to_owned() }
    }
}

/// What is needed to record another revision.
pub struct Against<'a> {
    pub revision: Revision,
    pub options: &'a TestOptions,
    /// What the harness is made of, by which the revision is recorded.
    pub harness: u64,
    pub context: &'a Context<'a>,
    pub git: &'a Git,
}

/// Cargo's configuration in a folder, by its old and its new name.
const CONFIGURATIONS: [&str; 2] = [".cargo/config", ".cargo/config.toml"];

/// By which variables, besides what is said on the command line, a build or a run may become another.
const VARIABLES: [&str; 12] = [
    "CARGO_BUILD_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_UNSTABLE_",
    "CARGO_ENCODED_",
    "RUST",
    "CFLAGS",
    "CXXFLAGS",
    "MALLOC_",
    "GLIBC_TUNABLES",
    "LC_",
    "LANG",
];

impl Against<'_> {
    /// The run of the other revision, recorded now or before.
    ///
    /// # Errors
    /// Where there is no such revision, or it cannot be checked out or built.
    pub fn record(&self) -> Result<LoadedRun, Error> {
        let (repository, stand) = self.repository()?;
        let hash = repository.commit(&self.revision.commit, &stand).map_err(self.because("find the revision"))?;
        let folder = folder(self.context)?;
        let key = self.key(&repository, &hash)?;
        let checkout = Checkout { git: self.git, hash, top: repository.top.clone(), tree: folder.join(TREE) };
        let out = folder.join(format!("{}-{key:016x}", checkout.shown()));
        make(&folder).map_err(|error| self.failed("make its folder").caused_by(error))?;
        // Two at once, of hooks or in two terminals, would have one clone. A file system without locks has none.
        let lock = fs_err::File::open(&folder).map_err(|error| self.failed("open its folder").caused_by(error))?;
        let _ = rustix::fs::flock(&lock, FlockOperation::LockExclusive);
        let configuration = committed_configuration(&repository, &checkout.tree);
        // Of a workspace, a member may be a submodule, or a repository of its own.
        let is_whole = self.git.repository(&self.context.workspace.root).is_ok_and(|whole| whole.top == repository.top);
        let of = if is_whole { String::new() } else { format!(" of the repository `{}`", repository.top) };
        let status =
            |what: &str| self.context.shell.status(what, &format!("{} ({}){of}", self.revision.name, checkout.shown()));
        let known = known(&out);
        if let Some(run) = known.filter(|_| configuration.is_empty()) {
            status("Known");
            return Ok(run);
        }
        let copy = Copy::at(self.git, &checkout.tree);
        copy.check_out(&repository, &checkout.hash).map_err(self.because("check out the revision"))?;
        // Also of what is known: it was recorded before this side had committed its configuration, perhaps.
        self.refuse_our_configuration(&repository, &checkout, &configuration)?;
        if let Some(run) = self::known(&out) {
            status("Known");
            return Ok(run);
        }
        let package = self.package(&checkout)?;
        self.refuse_what_leads_back(&repository, &checkout, &package)?;
        status("Recording");
        self.run(&package, &folder, &out)?;
        LoadedRun::read(&out).map_err(|error| error.with_code(ExitCode::CANNOT_COMPARE))
    }

    /// Where the user's own code is in the clone.
    ///
    /// # Errors
    /// Where the target folder or the repository cannot be told.
    pub fn source_roots(&self) -> Result<SourceRoots, Error> {
        let root = &self.context.workspace.root;
        let repository = self.git.repository(root).map_err(self.because("ask git about the repository"))?;
        let tree = folder(self.context)?.join(TREE);
        let workspace = root.strip_prefix(&repository.top).map_or(tree.clone(), |inside| tree.join(inside));
        Ok(SourceRoots { workspace: workspace.into(), beside: vec![tree.into()] })
    }

    /// The repository that has the revisions, and the folder in it from which they are named.
    ///
    /// # Errors
    /// Where git does not know of one.
    pub fn repository(&self) -> Result<(Repository<'_>, Utf8PathBuf), Error> {
        let stand = self.stand()?;
        let repository = self.git.repository(&stand).map_err(self.because("ask git about the repository"))?;
        Ok((repository, stand))
    }

    /// The folder whose repository has revisions: that of the manifest which the user names, or the one the user is in, as for git.
    fn stand(&self) -> Result<Utf8PathBuf, Error> {
        let failed = |error| self.failed("find the folder that this run is of").caused_by(error);
        let current = std::env::current_dir().map_err(|error| failed(error.to_string()))?;
        let current = Utf8PathBuf::try_from(current).map_err(|error| failed(error.to_string()))?;
        let named = self.options.cargo.manifest_path.as_deref().and_then(Utf8Path::from_path);
        let folder = named.and_then(|path| current.join(path).parent().map(Utf8Path::to_owned));
        Ok(folder.filter(|folder| folder.is_dir()).unwrap_or(current))
    }

    /// A hash of all that the metrics of one revision depend on besides its files.
    fn key(&self, repository: &Repository<'_>, hash: &str) -> Result<u64, Error> {
        let mut hasher = DefaultHasher::new();
        Toolchain::ask(self.context.cargo_env.rustc())?.verbose.hash(&mut hasher);
        self.harness.hash(&mut hasher);
        self.options.task.name().hash(&mut hasher);
        self.options.cargo.given.hash(&mut hasher);
        self.options.own.rate.get().hash(&mut hasher);
        self.options.own.native.hash(&mut hasher);
        self.options.own.stack_depth.hash(&mut hasher);
        self.options.run_options.to_string().hash(&mut hasher);
        let variables: BTreeMap<OsString, OsString> = std::env::vars_os()
            .filter(|(name, _)| VARIABLES.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())))
            .collect();
        variables.hash(&mut hasher);
        // It lies above the clone as well, and so is both sides'.
        self.context.cargo_env.configuration().hash(&mut hasher);
        // Which packages are meant where none is named.
        std::env::current_dir().ok().hash(&mut hasher);
        self.lent_lock(repository, hash).hash(&mut hasher);
        Ok(hasher.finish())
    }

    /// The lock file that the revision gets from here, because it has none; `None` = it has one.
    fn lent_lock(&self, repository: &Repository<'_>, hash: &str) -> Option<Vec<u8>> {
        let root = &self.context.workspace.root;
        let lock = root.join(LOCK_FILE);
        if repository.has(hash, &lock) {
            return None;
        }
        if !lock.exists() {
            // As cargo is about to do for the tests. Where it must not, or cannot, it says so itself then.
            let cargo = &self.options.cargo;
            let offline = cargo.has("offline").then_some("--offline");
            if !cargo.has("locked") && !cargo.has("frozen") {
                let mut command = Command::new(self.context.cargo_env.cargo());
                command.args(["generate-lockfile", "--quiet", "--manifest-path"]).arg(root.join("Cargo.toml"));
                let _ = command.args(offline).stdin(Stdio::null()).output();
            }
        }
        intake::read(lock.as_std_path()).ok()
    }

    /// Where the revision has what this run is of, ready to be run.
    fn package(&self, checkout: &Checkout<'_>) -> Result<PackageAt, Error> {
        let failed = || self.failed("find in the revision what this run is of");
        let current = std::env::current_dir().map_err(|error| failed().caused_by(error))?;
        let current = Utf8PathBuf::try_from(current).map_err(|error| failed().caused_by(error))?;
        let package = checkout.package(&current, &self.options.cargo).map_err(|why| {
            let new = "what is new has nothing to be compared with: name a revision that has it, or record a baseline";
            failed().caused_by(why).help(new)
        })?;
        // Where the lock file is not committed, both sides are to have the same dependencies.
        let (ours, theirs) =
            (self.context.workspace.root.join(LOCK_FILE), checkout.workspace_of(&package).join(LOCK_FILE));
        if ours.exists() && !theirs.exists() {
            let copied = intake::read(ours.as_std_path()).and_then(|bytes| outlet::put(&theirs, bytes));
            copied.map_err(|error| self.failed("copy the lock file").caused_by(error))?;
        }
        Ok(package)
    }

    /// See [`super::configuration`]: what of `committed` the revision has not, or otherwise.
    fn refuse_our_configuration(
        &self,
        repository: &Repository<'_>,
        checkout: &Checkout<'_>,
        committed: &[Utf8PathBuf],
    ) -> Result<(), Error> {
        for file in committed {
            let Ok(inside) = file.strip_prefix(&repository.top) else { continue };
            let [ours, theirs] =
                [file.clone(), checkout.tree.join(inside)].map(|file| intake::read(file.as_std_path()).ok());
            if ours != theirs {
                return Err(self
                    .failed("build the revision by its own configuration")
                    .caused_by(format!(
                        "`{inside}` is another there than here, and cargo reads it for the clone too, which lies below it"
                    ))
                    .help(ELSEWHERE));
            }
        }
        Ok(())
    }

    /// What is equal on both sides, or the user's alone, may still lead from the clone to this side's files.
    fn refuse_what_leads_back(
        &self,
        repository: &Repository<'_>,
        checkout: &Checkout<'_>,
        package: &PackageAt,
    ) -> Result<(), Error> {
        let canonical = |path: &Utf8Path| path.canonicalize_utf8().unwrap_or_else(|_| path.to_owned());
        let (top, tree) = (canonical(&repository.top), canonical(&checkout.tree));
        if !tree.starts_with(&top) {
            return Ok(());
        }
        let checkouts = Checkouts { top: &top, tree: &tree };
        let settings = self.context.cargo_env.settings_in(&canonical(&package.folder));
        let is_committed = |file: &Utf8Path| repository.tracks(file);
        if let Some(astray) = checkouts.astray(&settings, is_committed) {
            return Err(self.failed("build the revision by its own configuration").caused_by(astray).help(ELSEWHERE));
        }
        // Files that a configuration includes are committed as well.
        let included: BTreeSet<&Utf8PathBuf> = settings.iter().map(|setting| &setting.file).collect();
        let included: Vec<Utf8PathBuf> =
            included.into_iter().filter(|file| checkouts.is_ours(file) && is_committed(file)).cloned().collect();
        self.refuse_our_configuration(repository, checkout, &included)
    }

    fn run(&self, package: &PackageAt, folder: &Utf8Path, out: &Utf8Path) -> Result<(), Error> {
        let failed = || self.failed("run the tests of the revision");
        let exe = std::env::current_exe().map_err(|error| failed().caused_by(error))?;
        let mut command = Command::new(exe);
        command.current_dir(&package.folder).args(["memprof", self.options.task.name()]);
        // What is compared with is known as a baseline is: by several runs of each test.
        command.args(["--save-baseline", "--baseline"]).arg(folder.join(METRICS));
        command.arg("--baseline-dir").arg(folder.join(PROFILES));
        command.args(["--memprofilerate".into(), self.options.own.rate.get().to_string()]);
        command.arg("--memprofile").arg(out).arg("--target-dir").arg(folder);
        command.args(self.options.own.native.then_some("--native"));
        if let Some(depth) = self.options.own.stack_depth {
            command.args(["--stack-depth".to_owned(), depth.to_string()]);
        }
        // Tests that ask git see no difference between the two sides.
        self.git.hide_from(&mut command);
        let run_options = &self.options.run_options;
        if self.options.task == Task::Test {
            command.args(["--repeat".into(), run_options.repeat.to_string()]);
        }
        command.args(run_options.deterministic.then_some("--deterministic"));
        if let Some(time) = run_options.timeout {
            command.arg("--test-timeout").arg(time.as_secs_f64().to_string());
        }
        command.args(&package.args);
        interrupt::watch(None).map_err(|error| failed().caused_by(format!("cannot watch for Ctrl-C: {error}")))?;
        let log = folder.join(LOG);
        // A pipe would stay open as long as a test does that outlives its run.
        let printed = outlet::begin(log.as_std_path()).map_err(|error| failed().caused_by(error))?;
        command.stderr(printed.try_clone().map_err(|error| failed().caused_by(error))?);
        let status = interrupt::status(command.stdin(Stdio::null()).stdout(printed))
            .map_err(|error| failed().caused_by(error))?;
        let interrupted =
            status.code().and_then(|code| code.checked_sub(128)).filter(|signal| interrupt::is_meant(*signal));
        if let Some(signal) = interrupted {
            // What there is of it is no run of the revision.
            let _ = fs_err::remove_dir_all(out);
            let interrupted = failed()
                .caused_by("it was interrupted")
                .help("call it again; what was recorded before is kept, and nothing of this");
            return Err(interrupted.with_code(ExitCode::of_signal(signal)));
        }
        if !out.join(layout::SUMMARY).exists() {
            let printed = intake::read(log.as_std_path()).unwrap_or_default();
            let last = last_lines(&String::from_utf8_lossy(&printed));
            return Err(failed()
                .caused_by(format!("{} ended with {} and recorded nothing\n{last}", shown(&command), status))
                .help(format!("name a revision whose tests can be built and run; all that was said is in `{log}`")));
        }
        if !status.success() {
            let what =
                format!("tests of {} fail; those have nothing to be compared with (see `{log}`)", self.revision.name);
            self.context.shell.warn(&what);
        }
        Ok(())
    }

    fn because<'b>(&'b self, what: &'b str) -> impl Fn(Failure) -> Error + 'b {
        move |failure| self.failed(what).caused_by(failure.cause).help(failure.help)
    }

    fn failed(&self, what: &str) -> Error {
        failed(&self.revision.name, what)
    }
}

/// Where other revisions are.
///
/// # Errors
/// Where the target folder is none.
pub fn folder(context: &Context<'_>) -> Result<Utf8PathBuf, Error> {
    let target = context.cargo_env.target_dir(&context.workspace)?;
    Ok(target.join(crate::context::target_dir::NAME).join(layout::AGAINST))
}

/// The root of the clone that other revisions are checked out into.
///
/// # Errors
/// Where the target folder is none.
pub fn tree(context: &Context<'_>) -> Result<Utf8PathBuf, Error> {
    Ok(folder(context)?.join(TREE))
}

/// Makes the folder of other revisions, and marks it as ours.
///
/// # Errors
/// Whatever the file system says.
pub fn make(folder: &Utf8Path) -> io::Result<()> {
    fs_err::create_dir_all(folder)?;
    outlet::put(folder.join(layout::AGAINST_MARK), "")
}

/// Cargo's configuration in the folders above `tree` that is there and that the repository tracks.
fn committed_configuration(repository: &Repository<'_>, tree: &Utf8Path) -> Vec<Utf8PathBuf> {
    let above = tree.ancestors().skip(1).take_while(|folder| folder.starts_with(&repository.top));
    let files = above.flat_map(|folder| CONFIGURATIONS.map(|name| folder.join(name)));
    files.filter(|file| file.is_file() && repository.tracks(file)).collect()
}

/// The git by which revisions are compared.
///
/// # Errors
/// Where there is none.
pub fn git(revision: &str) -> Result<Git, Error> {
    Git::find().map_err(|failure| failed(revision, "call git").caused_by(failure.cause).help(failure.help))
}

/// What stands above all that goes wrong with a revision; `what` could not be done.
pub fn failed(revision: &str, what: &str) -> Error {
    let failure = Error::new(format!("cannot compare with `{revision}`")).with_code(ExitCode::CANNOT_COMPARE);
    failure.caused_by(format!("cannot {what}"))
}

/// A run that was recorded before, all of whose tests passed.
fn known(out: &Utf8Path) -> Option<LoadedRun> {
    LoadedRun::read(out).ok().filter(|run| run.run.cargo_exit == 0 && !run.run.interrupted)
}

fn shown(command: &Command) -> String {
    format!("`{}`", options::shown(std::iter::once(command.get_program()).chain(command.get_args())))
}

/// The end of what a failed command said.
pub fn last_lines(text: &str) -> String {
    const SHOWN: usize = 15;
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}
