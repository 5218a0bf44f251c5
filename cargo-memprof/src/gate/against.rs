//! Another revision as the baseline: it is checked out into a git worktree of its own below the target folder, and its
//! tests are recorded there, by this program, with the arguments of this run. Nothing of the user's checkout is touched. The
//! worktree and its build stay, so that the next time only what differs is compiled; and a revision whose figures are known
//! is not run again.

use super::recorded::RecordedRun;
use crate::drive::Here;
use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::inject::harness;
use crate::options::{self, TestOptions};
use crate::report::layout;
use crate::toolchain::Toolchain;
use camino::{Utf8Path, Utf8PathBuf};
use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::{Command, Output};

/// The checkout, below the folder of this file.
const TREE: &str = "tree";
/// What the run of the other revision said.
const LOG: &str = "log.txt";
/// Letters of a revision's hash that are shown.
const SHORT: usize = 12;

/// What is needed to record another revision.
pub struct Against<'a> {
    /// As the user named it.
    pub revision: &'a str,
    pub options: &'a TestOptions,
    pub here: &'a Here<'a>,
}

/// A revision that is checked out.
struct Checkout {
    hash: String,
    /// Root of the user's repository.
    top: Utf8PathBuf,
    /// Root of the other checkout.
    tree: Utf8PathBuf,
}

impl Against<'_> {
    /// The run of the other revision, recorded now or before.
    ///
    /// # Errors
    /// Where there is no such revision, or it cannot be checked out or built.
    pub fn record(&self) -> Result<RecordedRun, Error> {
        let root = &self.here.workspace.root;
        let top = self.git(root, &["rev-parse", "--show-toplevel"], "ask git about the repository")?;
        let commit = format!("{}^{{commit}}", self.revision);
        let hash =
            self.git(root, &["rev-parse", "--verify", "--quiet", "--end-of-options", &commit], "find the revision")?;
        let target = self.here.surroundings.target_dir(&self.here.workspace)?;
        let folder = target.join(crate::folders::NAME).join(layout::AGAINST);
        let checkout = Checkout { hash, top: top.into(), tree: folder.join(TREE) };
        let out = folder.join(format!("{}-{:016x}", checkout.shown(), self.key()?));
        if let Some(run) = known(&out) {
            self.here.shell.status("Known", &format!("{} ({})", self.revision, checkout.shown()));
            return Ok(run);
        }
        self.here.shell.status("Recording", &format!("{} ({})", self.revision, checkout.shown()));
        self.check_out(&checkout)?;
        self.run(&checkout, &folder, &out)?;
        RecordedRun::read(&out).map_err(|error| error.with_code(ExitCode::CANNOT_COMPARE))
    }

    /// A hash of all that the figures of one revision depend on.
    fn key(&self) -> Result<u64, Error> {
        let mut hasher = DefaultHasher::new();
        Toolchain::ask(self.here.surroundings.rustc())?.verbose.hash(&mut hasher);
        harness::fingerprint().hash(&mut hasher);
        self.options.cargo.given.hash(&mut hasher);
        self.options.own.rate.get().hash(&mut hasher);
        self.options.modes.to_string().hash(&mut hasher);
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
            std::env::var_os(name).hash(&mut hasher);
        }
        // Which packages are meant where none is named.
        std::env::current_dir().ok().hash(&mut hasher);
        Ok(hasher.finish())
    }

    fn check_out(&self, checkout: &Checkout) -> Result<(), Error> {
        let Checkout { hash, top, tree } = checkout;
        if tree.join(".git").exists() {
            self.git(tree, &["checkout", "--quiet", "--force", "--detach", hash], "check out the revision")?;
            // A lock file that an earlier revision left is not this one's.
            self.git(tree, &["clean", "--quiet", "-fdx"], "clean the checkout")?;
        } else {
            let add = ["worktree", "add", "--quiet", "--force", "--force", "--detach", tree.as_str(), hash];
            self.git(top, &add, "check out the revision")?;
        }
        if tree.join(".gitmodules").exists() {
            let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
            self.git(tree, &update, "check out the revision's submodules")?;
        }
        self.copy_lock_file(checkout)
    }

    /// Where the lock file is not committed, both sides are to have the same dependencies.
    fn copy_lock_file(&self, checkout: &Checkout) -> Result<(), Error> {
        let root = &self.here.workspace.root;
        let (Some(there), lock) = (checkout.place_of(root), root.join("Cargo.lock")) else { return Ok(()) };
        let copy = there.join("Cargo.lock");
        if !lock.exists() || copy.exists() || !there.exists() {
            return Ok(());
        }
        fs_err::copy(&lock, &copy).map(drop).map_err(|error| self.failed("copy the lock file").caused_by(error))
    }

    fn run(&self, checkout: &Checkout, folder: &Utf8Path, out: &Utf8Path) -> Result<(), Error> {
        let failed = || self.failed("run the tests of the revision");
        let current = std::env::current_dir().map_err(|error| failed().caused_by(error))?;
        let current = Utf8PathBuf::try_from(current).map_err(|error| failed().caused_by(error))?;
        let Some(there) = checkout.place_of(&current).filter(|there| there.exists()) else {
            return Err(failed()
                .caused_by(format!("the revision has no folder `{}`", checkout.place_of(&current).unwrap_or(current)))
                .help("run it from the root of the repository, with `--manifest-path`"));
        };
        let exe = std::env::current_exe().map_err(|error| failed().caused_by(error))?;
        let mut command = Command::new(exe);
        command.current_dir(there).args(["memprof", "test"]);
        command.args(["--memprofilerate".into(), self.options.own.rate.get().to_string()]);
        command.arg("--memprofile").arg(out).arg("--target-dir").arg(folder);
        let modes = &self.options.modes;
        command.args(["--repeat".into(), modes.repeat.to_string()]);
        command.args(modes.deterministic.then_some("--deterministic"));
        let given = self.options.cargo.given.iter().map(|arg| checkout.translated(arg));
        command.args(given);
        fs_err::create_dir_all(folder).map_err(|error| failed().caused_by(error))?;
        let output = command.output().map_err(|error| failed().caused_by(error))?;
        let log = folder.join(LOG);
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        fs_err::write(&log, &said).map_err(|error| failed().caused_by(error))?;
        if !out.join(layout::SUMMARY).exists() {
            let last = last_lines(&String::from_utf8_lossy(&output.stderr));
            return Err(failed()
                .caused_by(format!("{} ended with {} and recorded nothing\n{last}", shown(&command), output.status))
                .help(format!("all it said is in `{log}`")));
        }
        if !output.status.success() {
            let what = format!("tests of {} fail; those have nothing to be compared with (see `{log}`)", self.revision);
            self.here.shell.warn(&what);
        }
        Ok(())
    }

    /// What git says, without the line's end.
    fn git(&self, folder: &Utf8Path, args: &[&str], what: &str) -> Result<String, Error> {
        let mut command = Command::new("git");
        command.args(["-C", folder.as_str()]).args(args);
        let output = command.output().map_err(|error| {
            self.failed(what).caused_by(format!("{}: {error}", shown(&command))).help("is git in PATH?")
        })?;
        let Output { status, stdout, stderr } = output;
        if !status.success() {
            let said = String::from_utf8_lossy(&stderr).trim().to_owned();
            let said = if said.is_empty() { format!("git ended with {status}") } else { said };
            return Err(self.failed(what).caused_by(format!("{}\n{said}", shown(&command))).help(
                "name a revision that is here, such as `origin/main`; a shallow clone may need `git fetch origin main`",
            ));
        }
        Ok(String::from_utf8_lossy(&stdout).trim_end().to_owned())
    }

    fn failed(&self, what: &str) -> Error {
        let asked = Error::new(format!("cannot compare with `{}`", self.revision)).with_code(ExitCode::CANNOT_COMPARE);
        asked.caused_by(format!("cannot {what}"))
    }
}

impl Checkout {
    fn shown(&self) -> &str {
        self.hash.get(..SHORT).unwrap_or(&self.hash)
    }

    /// Where `path` of the user's checkout is in the other; `None` where it is outside.
    fn place_of(&self, path: &Utf8Path) -> Option<Utf8PathBuf> {
        path.strip_prefix(&self.top).ok().map(|inside| self.tree.join(inside))
    }

    /// An argument in which a path into the user's checkout leads into the other.
    fn translated(&self, arg: &OsStr) -> OsString {
        let text = arg.to_string_lossy();
        let (flag, path) = text.split_once('=').map_or(("", &*text), |(flag, path)| (flag, path));
        match self.place_of(Utf8Path::new(path)).filter(|_| Path::new(path).is_absolute()) {
            Some(place) if flag.is_empty() => place.into_string().into(),
            Some(place) => format!("{flag}={place}").into(),
            None => arg.to_owned(),
        }
    }
}

/// A run that was recorded before, all of whose tests passed.
fn known(out: &Utf8Path) -> Option<RecordedRun> {
    RecordedRun::read(out).ok().filter(|run| run.run.cargo_exit == 0 && !run.run.interrupted)
}

fn shown(command: &Command) -> String {
    format!("`{}`", options::shown(std::iter::once(command.get_program()).chain(command.get_args())))
}

/// The end of what a failed command said.
fn last_lines(text: &str) -> String {
    const SHOWN: usize = 15;
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_into_the_checkout_lead_into_the_other() {
        let checkout = Checkout { hash: "0123456789abcdef".into(), top: "/repo".into(), tree: "/t/tree".into() };
        let translated = |arg: &str| checkout.translated(OsStr::new(arg)).into_string().unwrap();
        assert_eq!(translated("/repo/a/Cargo.toml"), "/t/tree/a/Cargo.toml");
        assert_eq!(translated("--manifest-path=/repo/Cargo.toml"), "--manifest-path=/t/tree/Cargo.toml");
        assert_eq!(translated("a/Cargo.toml"), "a/Cargo.toml");
        assert_eq!(translated("/elsewhere/Cargo.toml"), "/elsewhere/Cargo.toml");
        assert_eq!(checkout.shown(), "0123456789ab");
    }
}
