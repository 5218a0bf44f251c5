//! A fixture under git, in the state that git's own commands see.

use crate::fixture::{Call, Fixture, Ran};
use std::fs;
use std::path::{Path, PathBuf};

/// A git command in `folder`, which knows who commits and nothing of this machine's configuration.
pub fn git_in(fixture: &Fixture, folder: &Path, arguments: &[&str]) -> Call {
    let names = ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"];
    let call = fixture.program("git").in_folder(folder).args(arguments);
    let call = names.into_iter().fold(call, |call, name| call.env(name, "n@example.org"));
    call.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_EDITOR", "true")
}

/// The same in the fixture's own folder, which must succeed.
pub fn git(fixture: &Fixture, arguments: &[&str]) -> Ran {
    git_in(fixture, fixture.root(), arguments).succeed()
}

/// Makes a repository of the fixture, with one commit.
pub fn begin(fixture: &Fixture) {
    fixture.write(".gitignore", "target\n");
    git(fixture, &["init", "--quiet", "--initial-branch=main"]);
    commit(fixture, "one");
}

/// Commits all that has changed.
pub fn commit(fixture: &Fixture, message: &str) {
    git(fixture, &["add", "--all"]);
    git(fixture, &["commit", "--quiet", "--message", message]);
}

/// Sets a hook that does `line` in a shell.
pub fn hook(fixture: &Fixture, name: &str, line: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = format!(".git/hooks/{name}");
    fixture.write(&path, &format!("#!/bin/sh\n{line}\n"));
    fs::set_permissions(fixture.path(&path), fs::Permissions::from_mode(0o755)).expect("it was just written");
}

/// Everything of a checkout that is the user's: what is checked out, what is staged, what is changed, every name and
/// every setting.
pub fn state(fixture: &Fixture, folder: &Path) -> String {
    let commands: [&[&str]; 7] = [
        &["symbolic-ref", "--quiet", "HEAD"],
        &["rev-parse", "HEAD"],
        &["status", "--porcelain"],
        &["diff", "HEAD"],
        &["for-each-ref"],
        &["worktree", "list", "--porcelain"],
        &["config", "--local", "--list"],
    ];
    commands.iter().map(|arguments| git_in(fixture, folder, arguments).run().stdout).collect()
}

/// Another checkout of the same repository, beside the fixture, on a branch of the same name.
pub fn linked(fixture: &Fixture, name: &str) -> PathBuf {
    let folder = fixture.outside().join(name);
    git(fixture, &["worktree", "add", "--quiet", &folder.to_string_lossy(), "-b", name]);
    folder
}
