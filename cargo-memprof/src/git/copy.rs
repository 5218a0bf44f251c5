//! A clone of ours, which borrows the objects of the user's repository. It is made by hand where `git clone --shared` would
//! ask the repository through a program of its own, which does not see the folders the user trusts by variables, and which
//! gives nothing of a shallow clone but its branches.

use super::repository::{Repository, Shared};
use super::{Failure, Git, GitCommand};
use crate::files::outlet;
use camino::{Utf8Path, Utf8PathBuf};
use std::io;

/// See the head of this file.
pub struct Copy<'a> {
    git: &'a Git,
    tree: &'a Utf8Path,
}

impl<'a> Copy<'a> {
    /// The clone whose files are in `tree`; neither need be there.
    pub fn at(git: &'a Git, tree: &'a Utf8Path) -> Copy<'a> {
        Copy { git, tree }
    }

    /// Puts the files of the commit `hash` of the user's repository into the tree, and nothing else.
    ///
    /// # Errors
    /// Where git cannot, or the folder cannot be written.
    pub fn check_out(&self, repository: &Repository<'_>, hash: &str) -> Result<(), Failure> {
        let shared = repository.shared()?;
        // One that was restored from somewhere may lack objects, or be no clone of ours.
        let again = self.is_there() && self.update(&shared, hash).is_ok();
        if again {
            // What a build, or another revision, left is not this one's. Twice `f` for repositories in it.
            self.call(&shared).first_line(["clean", "--quiet", "-ffdx"])?;
        } else {
            self.make(hash).and_then(|()| self.update(&shared, hash))?;
        }
        if self.tree.join(".gitmodules").exists() {
            let settings = [shared.settings.as_slice(), shared.submodules.as_slice()].concat();
            let update = ["submodule", "--quiet", "update", "--init", "--recursive", "--force"];
            self.call_with(&settings).first_line(update)?;
        }
        Ok(())
    }

    /// The manifests among the revision's files; no build's copies.
    ///
    /// # Errors
    /// Where git does not answer.
    pub fn tracked(&self, patterns: &[&str]) -> Result<Vec<Utf8PathBuf>, Failure> {
        let args = ["ls-files", "-z", "--"].into_iter().chain(patterns.iter().copied());
        let listed = self.call_with(&[]).output(args, super::HELP)?;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        Ok(listed.split('\0').filter(|path| !path.is_empty()).map(|path| self.tree.join(path)).collect())
    }

    fn git_dir(&self) -> Utf8PathBuf {
        self.tree.join(".git")
    }

    /// A link, or a file that leads elsewhere, is none of ours.
    fn is_there(&self) -> bool {
        self.git_dir().symlink_metadata().is_ok_and(|found| found.is_dir())
    }

    /// An empty repository for hashes like `hash`.
    fn make(&self, hash: &str) -> Result<(), Failure> {
        /// Letters of a SHA-256.
        const LONG: usize = 64;
        let made = match self.tree.symlink_metadata() {
            Ok(found) if found.is_dir() => fs_err::remove_dir_all(self.tree),
            Ok(_) => fs_err::remove_file(self.tree),
            Err(_) => Ok(()),
        };
        made.and_then(|()| fs_err::create_dir_all(self.tree)).map_err(|error| cannot_write(&error))?;
        let format = (hash.len() == LONG).then_some("--object-format=sha256");
        let args = [
            "-c",
            "init.defaultBranch=none",
            "-c",
            "init.defaultRefFormat=files",
            "-c",
            "init.defaultObjectFormat=sha1",
            "init",
            "--quiet",
            "--template=",
        ]
        .into_iter()
        .chain(format);
        self.git.call().first_line(args.chain([self.tree.as_str()]))?;
        for (key, value) in [
            ("core.hooksPath", "/dev/null"),
            ("gc.auto", "0"),
            // Submodules that the user has are not fetched again.
            ("submodule.alternateLocation", "superproject"),
            ("submodule.alternateErrorStrategy", "info"),
        ] {
            self.set(key, value)?;
        }
        Ok(())
    }

    /// Borrows what there is now, and checks the commit out.
    fn update(&self, shared: &Shared, hash: &str) -> Result<(), Failure> {
        let info = self.git_dir().join("info");
        let borrow = || {
            fs_err::create_dir_all(self.git_dir().join("objects/info"))?;
            outlet::put(self.git_dir().join("objects/info/alternates"), line(&shared.objects))?;
            fs_err::create_dir_all(&info)?;
            mirror(&shared.attributes, &info.join("attributes"))?;
            mirror(&shared.shallow, &self.git_dir().join("shallow"))?;
            // For what asks git for its version while it is built. All at once, so that none of before is left.
            outlet::put(self.git_dir().join("packed-refs"), shared.refs.concat())
        };
        borrow().map_err(|error| cannot_write(&error))?;
        if let Some(origin) = &shared.origin {
            self.set("remote.origin.url", &origin.url)?;
            self.set("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")?;
            if let Some(filter) = &origin.filter {
                self.set("core.repositoryformatversion", "1")?;
                self.set("extensions.partialClone", "origin")?;
                self.set("remote.origin.promisor", "true")?;
                self.set("remote.origin.partialclonefilter", filter)?;
            }
        }
        self.call(shared).first_line(["checkout", "--quiet", "--force", "--detach", hash])?;
        Ok(())
    }

    fn set(&self, key: &str, value: &str) -> Result<(), Failure> {
        self.call_with(&[]).first_line(["config", "--replace-all", key, value]).map(drop)
    }

    fn call(&self, shared: &Shared) -> GitCommand {
        self.call_with(&shared.settings)
    }

    /// The clone is named and not looked for: where it is broken, git would go on to the user's.
    fn call_with(&self, settings: &[super::Setting]) -> GitCommand {
        let call = self.git.call_with(settings).in_folder(self.tree);
        call.arg("--git-dir").arg(self.git_dir().into_string()).arg("--work-tree").arg(self.tree.as_str())
    }
}

/// A path as a file of alternates has it, quoted where it would not be one line.
fn line(path: &Utf8Path) -> String {
    if !path.as_str().contains(['\n', '\r', '"']) {
        return format!("{path}\n");
    }
    let quoted = path.as_str().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
    format!("\"{quoted}\"\n")
}

/// Makes `to` what `from` is: its copy, or nothing.
fn mirror(from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
    match fs_err::read(from) {
        Ok(bytes) => outlet::put(to, bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs_err::remove_file(to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        Err(error) => Err(error),
    }
}

fn cannot_write(error: &io::Error) -> Failure {
    Failure { cause: error.to_string(), help: "see that the target folder can be written to" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_objects_is_one_line() {
        assert_eq!(line("/a b/objects".into()), "/a b/objects\n");
        assert_eq!(line("/a\nb\\\"".into()), "\"/a\\nb\\\\\\\"\"\n");
    }
}
