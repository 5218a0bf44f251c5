//! The only place that starts git. A hook, an alias or a user may have exported variables that lead git to another
//! repository, index or work tree than the folder it is called in. No call made here has them: the one way to a command
//! is [`Git::call`], which is private. What is done to the user's repository only reads it ([`Repository`]); what writes
//! is done to a clone of ours ([`struct@Copy`]), whose folder is named in every call and never looked for.

mod copy;
mod environment;
mod repository;

pub use copy::Copy;
pub use repository::Repository;

use camino::Utf8Path;
use environment::{Setting, Settings};
use std::ffi::OsString;
use std::process::{Command, Output, Stdio};

/// Held against the configuration of whoever runs us: no hook of the user's runs in our clone, and no process of git's
/// stays behind.
const QUIET: [&str; 16] = [
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
    "-c",
    "submodule.recurse=false",
    // What is read back has no line and no letter that the user has asked for besides.
    "-c",
    "log.showSignature=false",
    "-c",
    "color.ui=false",
    "-c",
    "core.quotePath=false",
];
const HELP: &str = "see what git says";

/// Git, and what is hidden from it.
#[derive(Debug, Clone)]
pub struct Git {
    /// Variables that belong to one repository, as this git names them.
    local: Vec<String>,
    /// Folders that the user trusts by a variable, which is one of those: they go on being trusted.
    safe: Settings,
}

/// A call of git that failed.
#[derive(Debug)]
pub struct Failure {
    /// The call, and what git said.
    pub cause: String,
    pub help: &'static str,
}

impl Git {
    /// Asks git for the variables that it must not see.
    ///
    /// # Errors
    /// Where there is no git.
    pub fn find() -> Result<Git, Failure> {
        let known = environment::LOCAL.map(str::to_owned).to_vec();
        let mut git = Git { local: known, safe: Settings::default() };
        let named = git.call().first_line(["rev-parse", "--local-env-vars"])?;
        let new: Vec<String> =
            named.lines().filter(|name| !git.local.iter().any(|known| known == name)).map(str::to_owned).collect();
        git.local.extend(new);
        git.safe = environment::safe_directories(git.call().command);
        Ok(git)
    }

    /// The user's repository around `folder`.
    ///
    /// # Errors
    /// Where there is none, or git refuses to look into it.
    pub fn repository(&self, folder: &Utf8Path) -> Result<Repository<'_>, Failure> {
        Repository::around(self, folder)
    }

    /// Hides from `command`, and from all that it starts, what git is not to see.
    pub fn hide_from(&self, command: &mut Command) {
        self.hide_with(command, &[]);
    }

    fn hide_with(&self, command: &mut Command, more: &[Setting]) {
        self.local.iter().for_each(|name| {
            command.env_remove(name);
        });
        self.safe.with(more).give_to(command);
    }

    /// A call that sees no variable of the user's.
    fn call(&self) -> GitCommand {
        self.call_with(&[])
    }

    /// The same with settings for this call alone.
    fn call_with(&self, settings: &[Setting]) -> GitCommand {
        let mut command = Command::new("git");
        command.args(QUIET).stdin(Stdio::null());
        environment::MEANINGS.iter().for_each(|name| {
            command.env_remove(name);
        });
        self.hide_with(&mut command, settings);
        GitCommand { command }
    }
}

/// A command that is about to be run.
struct GitCommand {
    command: Command,
}

impl GitCommand {
    fn in_folder(mut self, folder: &Utf8Path) -> GitCommand {
        self.command.args(["-C", folder.as_str()]);
        self
    }

    fn arg(mut self, arg: impl Into<OsString>) -> GitCommand {
        self.command.arg(arg.into());
        self
    }

    /// The line that git prints, without its end.
    fn first_line<'a>(self, args: impl IntoIterator<Item = &'a str>) -> Result<String, Failure> {
        let output = self.output(args, HELP)?;
        Ok(String::from_utf8_lossy(&output).trim_end_matches(['\n', '\r']).to_owned())
    }

    /// All that git prints.
    fn output<'a>(mut self, args: impl IntoIterator<Item = &'a str>, help: &'static str) -> Result<Vec<u8>, Failure> {
        self.command.args(args);
        let output = self.command.output();
        self.judge(output, help)
    }

    fn judge(&self, output: std::io::Result<Output>, help: &'static str) -> Result<Vec<u8>, Failure> {
        let shown = self.shown();
        let Output { status, stdout, stderr } =
            output.map_err(|error| Failure { cause: format!("{shown}: {error}"), help: "is git in PATH?" })?;
        if status.success() {
            return Ok(stdout);
        }
        let message = String::from_utf8_lossy(&stderr).trim().to_owned();
        let message = if message.is_empty() { format!("git ended with {status}") } else { message };
        Err(Failure { cause: format!("{shown}\n{message}"), help })
    }

    /// The call as one would type it: what is the same in all is left out.
    fn shown(&self) -> String {
        let args = self.command.get_args().skip(QUIET.len());
        let words = std::iter::once(self.command.get_program()).chain(args);
        format!("`{}`", crate::context::options::shown(words))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => sources(&path, found),
                false => found.push(path),
            }
        }
    }

    #[test]
    fn git_is_started_in_one_place_alone() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        sources(&root, &mut files);
        let naming = |path: &&std::path::PathBuf| {
            let text = fs_err::read_to_string(path).unwrap();
            // In two parts, so that this line is no match.
            text.contains(concat!("new(\"gi", "t\")"))
        };
        let starting: Vec<&std::path::PathBuf> = files.iter().filter(naming).collect();
        assert_eq!(starting, [&root.join("git/mod.rs")], "start git through `crate::git`");
    }
}
