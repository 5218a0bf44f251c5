//! The variables by which git is told of a repository, and the settings that are handed to it by variables.

use std::ffi::{OsStr, OsString};
use std::process::Command;

/// The variables that belong to one repository: what `git rev-parse --local-env-vars` says since 2.40. A git that knows
/// more says so itself.
pub const LOCAL: [&str; 15] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    COUNT,
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
];

/// Variables by which the same call of git means something else, or is refused.
pub const MEANINGS: [&str; 10] = [
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_ATTR_SOURCE",
    "GIT_NAMESPACE",
    "GIT_QUARANTINE_PATH",
    "GIT_TEMPLATE_DIR",
    "GIT_DEFAULT_HASH",
    "GIT_DEFAULT_REF_FORMAT",
];

const COUNT: &str = "GIT_CONFIG_COUNT";
const SAFE: &str = "safe.directory";

/// A key of git's configuration, and its value.
pub type Setting = (OsString, OsString);

/// Settings in their order, which counts where a key has several values.
#[derive(Debug, Clone, Default)]
pub struct Settings(Vec<Setting>);

impl Settings {
    pub fn with(&self, more: &[Setting]) -> Settings {
        Settings([self.0.as_slice(), more].concat())
    }

    /// Hands them to `command`, and to every git below it. By variables and not by arguments, which all users of a
    /// machine can read: a setting may be a secret.
    pub fn give_to(&self, command: &mut Command) {
        if self.0.is_empty() {
            command.env_remove(COUNT);
            return;
        }
        command.env(COUNT, self.0.len().to_string());
        for (number, (key, value)) in self.0.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
    }
}

/// The folders that the user trusts by variables. `git` is a call without any of the user's: it is given those of
/// settings alone, and neither a file nor a repository to find others in.
pub fn safe_directories(mut git: Command) -> Settings {
    for (name, value) in std::env::vars_os() {
        let is_setting =
            |name: &str| name == "GIT_CONFIG_PARAMETERS" || name.starts_with("GIT_CONFIG_") && is_numbered(name);
        if name.to_str().is_some_and(is_setting) {
            git.env(name, value);
        }
    }
    git.env("GIT_DIR", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    git.env("HOME", "/dev/null").env_remove("XDG_CONFIG_HOME");
    // A git that is too old to take settings by variables has none.
    let output = git.args(["config", "-z", "--get-all", SAFE]).output();
    let values = output.ok().filter(|output| output.status.success()).map(|output| output.stdout).unwrap_or_default();
    let mut values: Vec<OsString> = values.split(|byte| *byte == 0).map(os_string).collect();
    // Each value ends with a zero byte.
    values.pop();
    Settings(values.into_iter().map(|value| (SAFE.into(), value)).collect())
}

/// Whether the variable is that of a number of settings, or of one of them.
fn is_numbered(name: &str) -> bool {
    let numbered = ["GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_"].iter().find_map(|prefix| name.strip_prefix(prefix));
    name == COUNT || numbered.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

pub fn os_string(bytes: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStrExt;
    OsStr::from_bytes(bytes).to_owned()
}
