//! Another revision as the baseline: it is checked out into a git worktree of its own below the target folder, and its
//! tests are recorded there, by this program, with the arguments of this run. Nothing of the user's checkout is touched. The
//! worktree and its build stay, so that the next time only what differs is compiled; and a revision whose figures are known
//! is not run again.

use super::checkout::{Checkout, Place};
use super::recorded::RecordedRun;
use crate::drive::Here;
use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::inject::harness;
use crate::options::{self, TestOptions};
use crate::report::layout;
use crate::toolchain::Toolchain;
use camino::{Utf8Path, Utf8PathBuf};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::{Command, Output};

/// The checkout, below the folder of this file.
const TREE: &str = "tree";
/// What the run of the other revision said.
const LOG: &str = "log.txt";

/// What is needed to record another revision.
pub struct Against<'a> {
    /// As the user named it.
    pub revision: &'a str,
    pub options: &'a TestOptions,
    pub here: &'a Here<'a>,
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
        self.run(&self.place(&checkout)?, &folder, &out)?;
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
        let again = ["checkout", "--quiet", "--force", "--detach", hash];
        // A folder that was restored from somewhere is no worktree of this clone.
        let there = tree.join(".git").exists() && self.git(tree, &again, "check out the revision").is_ok();
        if there {
            // A lock file that an earlier revision left is not this one's.
            self.git(tree, &["clean", "--quiet", "-fdx"], "clean the checkout")?;
        } else {
            if tree.exists() {
                let removed = fs_err::remove_dir_all(tree);
                removed.map_err(|error| self.failed("remove an earlier checkout").caused_by(error))?;
            }
            let add = ["worktree", "add", "--quiet", "--force", "--force", "--detach", tree.as_str(), hash];
            self.git(top, &add, "check out the revision")?;
        }
        if tree.join(".gitmodules").exists() {
            let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
            self.git(tree, &update, "check out the revision's submodules")?;
        }
        Ok(())
    }

    /// Where the revision has what this run is of, ready to be run.
    fn place(&self, checkout: &Checkout) -> Result<Place, Error> {
        let failed = || self.failed("find in the revision what this run is of");
        let current = std::env::current_dir().map_err(|error| failed().caused_by(error))?;
        let current = Utf8PathBuf::try_from(current).map_err(|error| failed().caused_by(error))?;
        let place = checkout.place(&current, &self.options.cargo.given).map_err(|why| {
            let new = "what is new has nothing to be compared with: name a revision that has it, or record a baseline";
            failed().caused_by(why).help(new)
        })?;
        // Where the lock file is not committed, both sides are to have the same dependencies.
        let (ours, theirs) =
            (self.here.workspace.root.join("Cargo.lock"), checkout.workspace_of(&place).join("Cargo.lock"));
        if ours.exists() && !theirs.exists() {
            let copied = fs_err::copy(&ours, &theirs);
            copied.map_err(|error| self.failed("copy the lock file").caused_by(error))?;
        }
        Ok(place)
    }

    fn run(&self, place: &Place, folder: &Utf8Path, out: &Utf8Path) -> Result<(), Error> {
        let failed = || self.failed("run the tests of the revision");
        let exe = std::env::current_exe().map_err(|error| failed().caused_by(error))?;
        let mut command = Command::new(exe);
        command.current_dir(&place.folder).args(["memprof", "test"]);
        command.args(["--memprofilerate".into(), self.options.own.rate.get().to_string()]);
        command.arg("--memprofile").arg(out).arg("--target-dir").arg(folder);
        let modes = &self.options.modes;
        command.args(["--repeat".into(), modes.repeat.to_string()]);
        command.args(modes.deterministic.then_some("--deterministic"));
        if let Some(time) = modes.timeout {
            command.arg("--test-timeout").arg(time.as_secs_f64().to_string());
        }
        command.args(&place.args);
        fs_err::create_dir_all(folder).map_err(|error| failed().caused_by(error))?;
        let output = command.output().map_err(|error| failed().caused_by(error))?;
        let log = folder.join(LOG);
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        fs_err::write(&log, &said).map_err(|error| failed().caused_by(error))?;
        if !out.join(layout::SUMMARY).exists() {
            let last = last_lines(&String::from_utf8_lossy(&output.stderr));
            return Err(failed()
                .caused_by(format!("{} ended with {} and recorded nothing\n{last}", shown(&command), output.status))
                .help(format!("name a revision whose tests can be built and run; all that was said is in `{log}`")));
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
