//! Cargo's configuration above the clone of another revision. Cargo reads it for the clone too. What a user has there and does
//! not commit is meant for both sides, but for what leads back into the user's checkout; what this side has committed is
//! not the revision's. Pure.

use crate::context::cargo_config::Setting;
use camino::{Utf8Path, Utf8PathBuf};
use std::fmt;

/// Where the two checkouts are, whose paths have no links in them.
pub struct Checkouts<'a> {
    /// Root of the user's repository.
    pub top: &'a Utf8Path,
    /// Root of the clone.
    pub tree: &'a Utf8Path,
}

/// What of the configuration has the revision built from this side's files.
#[derive(Debug, PartialEq, Eq)]
pub enum Astray<'a> {
    /// The value is a path to what is this side's.
    Leads { setting: &'a Setting, to: Utf8PathBuf },
    /// Cargo appends this side's list to the revision's.
    Doubled { setting: &'a Setting },
}

impl Checkouts<'_> {
    /// Whether the file is one of the user's checkout that the clone does not have itself.
    pub fn is_ours(&self, file: &Utf8Path) -> bool {
        file.starts_with(self.top) && !file.starts_with(self.tree)
    }

    /// The first of `settings`, which cargo reads in the clone, that has something of this side's built or run for the revision. Where the
    /// revision has the same key, cargo takes its value, but of lists it takes both. `is_committed` tells of a file of ours.
    pub fn astray<'s>(&self, settings: &'s [Setting], is_committed: impl Fn(&Utf8Path) -> bool) -> Option<Astray<'s>> {
        let ours = || settings.iter().filter(|setting| self.is_ours(&setting.file));
        let leads = ours().filter(|setting| names_code(setting, settings)).find_map(|setting| {
            let to = normal(&setting.home()?.join(setting.text()?));
            self.is_ours(&to).then_some(Astray::Leads { setting, to })
        });
        // Flags for compilers mean twice what they mean once.
        let doubled = || ours().find(|setting| setting.in_list && is_runner(setting) && is_committed(&setting.file));
        leads.or_else(|| doubled().map(|setting| Astray::Doubled { setting }))
    }
}

/// Whether the value is a path to code, or to what code reads. A path to a tool of the user's is the same tool on both sides.
fn names_code(setting: &Setting, all: &[Setting]) -> bool {
    let (first, last) = setting.ends();
    match (first, last) {
        ("paths", _) => true,
        ("patch", "path") | ("source", "directory" | "local-registry") => true,
        ("env", "value") => {
            let switch = setting.key.replace(".value", ".relative");
            all.iter().any(|other| other.key == switch && other.value == toml::Value::Boolean(true))
        }
        _ => false,
    }
}

fn is_runner(setting: &Setting) -> bool {
    setting.ends() == ("target", "runner")
}

/// The path without `.` and `..`; what is there is not looked at.
fn normal(path: &Utf8Path) -> Utf8PathBuf {
    let mut normal = Utf8PathBuf::new();
    for part in path.components() {
        match part {
            camino::Utf8Component::ParentDir => {
                normal.pop();
            }
            camino::Utf8Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

impl fmt::Display for Astray<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Astray::Leads { setting, to } => write!(
                f,
                "`{}` in `{}` leads to `{to}`, which is this side's, and cargo reads it for the clone too, which lies below it",
                setting.key, setting.file
            ),
            Astray::Doubled { setting } => write!(
                f,
                "`{}` in `{}` is a list, which cargo appends to the revision's own: the clone lies below it",
                setting.key, setting.file
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::cargo_config::settings;

    #[track_caller]
    fn astray(text: &str, committed: bool) -> Option<String> {
        let text = text.replace('^', "/r/.cargo/config.toml").replace('~', "/r/target/tree/.cargo/config.toml");
        let found = settings(&text);
        assert!(!found.is_empty(), "{text}");
        let here = Checkouts { top: "/r".into(), tree: "/r/target/tree".into() };
        here.astray(&found, |_| committed).map(|astray| match astray {
            Astray::Leads { to, .. } => to.into_string(),
            Astray::Doubled { setting } => setting.key.clone(),
        })
    }

    #[test]
    fn what_leads_into_the_users_checkout_is_found_and_what_leads_elsewhere_is_not() {
        let found = |text| astray(text, false);
        assert_eq!(found("paths = [\n    \"dep\", # ^\n    \"dep\", # ~\n]\n").unwrap(), "/r/dep");
        assert_eq!(found("paths = [\n    \"./a/../dep\", # ^\n]\n").unwrap(), "/r/dep");
        assert_eq!(found("paths = [\n    \"../other\", # ^\n]\n"), None);
        assert_eq!(found("paths = [\n    \"target/tree/dep\", # ^\n]\n"), None);
        assert_eq!(found("patch.crates-io.\"a b\".path = \"dep\" # ^\n").unwrap(), "/r/dep");
        assert_eq!(found("source.v.directory = \"vendor\" # ^\n").unwrap(), "/r/vendor");
        // Cargo has taken the revision's own.
        assert_eq!(found("source.v.directory = \"vendor\" # ~\n"), None);
        let relative = "env.A.relative = true # ^\nenv.A.value = \"\" # ^\n";
        assert_eq!(found(relative).unwrap(), "/r");
        assert_eq!(found("env.A.value = \"x\" # ^\nenv.B = \"x\" # ^\n"), None);
        assert_eq!(found("build.rustc-wrapper = \"tools/w\" # ^\n"), None);
    }

    #[test]
    fn a_runner_of_both_sides_is_no_runner() {
        let both = "target.\"cfg(unix)\".runner = [\n    \"run\", # ^\n    \"run\", # ~\n]\n";
        assert_eq!(astray(both, true).unwrap(), "target.\"cfg(unix)\".runner");
        assert_eq!(astray(both, false), None);
        assert_eq!(astray("target.a-b.runner = \"run\" # ^\n", true), None);
        assert_eq!(astray("build.rustflags = [\n    \"-Cx\", # ^\n    \"-Cx\", # ~\n]\n", true), None);
    }
}
