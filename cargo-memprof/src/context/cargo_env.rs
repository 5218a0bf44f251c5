//! The environment that cargo finds: cargo itself, its configuration, the compiler, the user's own wrapper and runners, the targets and the
//! target folder. Nothing is changed here.

use crate::context::cargo_args::CargoArgs;
use crate::context::cargo_config::{self, CargoConfig, Setting};
use crate::context::env;
use crate::context::workspace::{NoWorkspace, Workspace};
use crate::ui::error::Error;
use crate::ui::terminal::Shell;
use camino::{Utf8Path, Utf8PathBuf};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// See the head of this file.
#[derive(Debug)]
pub struct CargoEnv<'a> {
    args: &'a CargoArgs,
    cargo: OsString,
    config: CargoConfig,
}

impl<'a> CargoEnv<'a> {
    /// Looks around for a command with the arguments `args`.
    pub fn load(args: &'a CargoArgs) -> (CargoEnv<'a>, Result<Workspace, NoWorkspace>) {
        let cargo = env::non_empty(env::CARGO).unwrap_or_else(|| "cargo".into());
        let config_flags = config_flags(args);
        let mut workspace_flags = config_flags.clone();
        if let Some(path) = &args.manifest_path {
            workspace_flags.extend(["--manifest-path".into(), path.clone().into_os_string()]);
        }
        // Two questions to cargo, at the same time.
        std::thread::scope(|scope| {
            let workspace = scope.spawn(|| Workspace::ask(&cargo, &workspace_flags));
            let config = CargoConfig::ask(&cargo, config_flags);
            let workspace = workspace.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (CargoEnv { args, cargo: cargo.clone(), config }, workspace)
        })
    }

    /// What to call for `cargo`.
    pub fn cargo(&self) -> &OsStr {
        &self.cargo
    }

    /// The terminal as cargo would use it.
    pub fn shell(&self) -> Shell {
        let variable = |name| env::non_empty(name).map(|value| value.to_string_lossy().into_owned());
        let quiet = self.args.quiet
            || match variable(env::CARGO_TERM_QUIET) {
                Some(value) => value == "true",
                None => self.config.truth(&["term", "quiet"]).unwrap_or(false),
            };
        let color = self.args.color.clone().or_else(|| variable(env::CARGO_TERM_COLOR));
        let color = color.as_deref().or_else(|| self.config.text(&["term", "color"]));
        Shell::configured(quiet, color).beside_machine_output(self.args.machine_output)
    }

    /// All of cargo's configuration but the environment, as one text; what changes it changes the text.
    pub fn configuration(&self) -> String {
        self.config.to_string()
    }

    /// What cargo reads in `folder` from files, each value with where it is from.
    pub fn settings_in(&self, folder: &Utf8Path) -> Vec<Setting> {
        self.config.settings_in(folder)
    }

    /// The compiler that cargo will use.
    pub fn rustc(&self) -> OsString {
        let variable = env::non_empty(env::RUSTC).or_else(|| env::non_empty(env::CARGO_BUILD_RUSTC));
        variable.or_else(|| self.config.program(&["build", "rustc"])).unwrap_or_else(|| "rustc".into())
    }

    /// The documentation tool that cargo will use.
    pub fn rustdoc(&self) -> OsString {
        let variable = env::non_empty(env::RUSTDOC).or_else(|| env::non_empty(env::CARGO_BUILD_RUSTDOC));
        variable.or_else(|| self.config.program(&["build", "rustdoc"])).unwrap_or_else(|| "rustdoc".into())
    }

    /// The user's own wrapper of rustc.
    pub fn wrapper(&self) -> Option<OsString> {
        let variable = |name| std::env::var_os(name);
        // A variable that is set and empty means none, whatever the configuration says.
        let variable = variable(env::RUSTC_WRAPPER).or_else(|| variable(env::CARGO_BUILD_RUSTC_WRAPPER));
        let variable = variable.map(|program| cargo_config::resolve(&program, || None));
        variable.or_else(|| self.config.program(&["build", "rustc-wrapper"])).filter(|wrapper| !wrapper.is_empty())
    }

    /// A variable as build scripts would have it: cargo's configuration may set it where the environment does not.
    pub fn variable(&self, name: &str) -> Option<String> {
        let configured = || self.config.text(&["env", name]).or_else(|| self.config.text(&["env", name, "value"]));
        std::env::var(name).ok().or_else(|| configured().map(str::to_owned))
    }

    /// The user's target folder, absolute.
    ///
    /// # Errors
    /// Where it is not UTF-8.
    pub fn target_dir(&self, workspace: &Workspace) -> Result<Utf8PathBuf, Error> {
        match &self.args.target_dir {
            Some(folder) => absolute(folder, "--target-dir"),
            None => Ok(workspace.target_dir.clone()),
        }
    }

    /// Whether the user has cargo keep what it builds apart from the target folder.
    pub fn has_build_dir(&self) -> bool {
        env::non_empty(env::CARGO_BUILD_BUILD_DIR).is_some() || self.config.text(&["build", "build-dir"]).is_some()
    }

    /// Every target that tests may be compiled for, as cargo names it to rustc: those asked for, and the host, for which
    /// the tests of proc macros are.
    pub fn targets(&self, host: &str) -> Vec<String> {
        let targets_of_build: Vec<String> = if !self.args.targets.is_empty() {
            self.args.targets.iter().map(|target| target.to_string_lossy().into_owned()).collect()
        } else if let Some(target) = env::non_empty(env::CARGO_BUILD_TARGET) {
            vec![target.to_string_lossy().into_owned()]
        } else {
            let (path, described) = (["build", "target"], |target: &String| target.ends_with(".json"));
            let targets = self.config.texts(&path);
            match targets.iter().any(described).then(|| self.config.home_of(&path)).flatten() {
                Some(home) => targets
                    .into_iter()
                    .map(
                        |target| {
                            if described(&target) { home.join(target).to_string_lossy().into_owned() } else { target }
                        },
                    )
                    .collect(),
                None => targets,
            }
        };
        let mut targets: Vec<String> = Vec::new();
        for target in targets_of_build.into_iter().chain([host.to_owned()]) {
            let target = match fs_err::canonicalize(&target) {
                Ok(path) if target.ends_with(".json") => path.to_string_lossy().into_owned(),
                _ if target == "host-tuple" => host.to_owned(),
                _ => target,
            };
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets
    }

    /// The user's own runners, by triple.
    pub fn runners(&self, targets: &[String], host: &str) -> BTreeMap<String, Vec<OsString>> {
        let runner = |target: &String| {
            let triple = triple(target);
            let configured = self.config.runner(&triple, || {
                cargo_config::cfgs(&self.rustc(), Some(target.as_str()).filter(|target| *target != host))
            });
            let variable = std::env::var(env::runner_of(&triple)).ok().map(|text| words_of(&text));
            // What `--config` says goes above the environment; the files go below it.
            let runner = if self.runner_by_flag(&triple).is_some() { configured } else { variable.or(configured) };
            runner.filter(|words| !words.is_empty()).map(|words| (triple, words))
        };
        targets.iter().filter_map(runner).collect()
    }

    /// Where the runner of `triple` may come from a `--config` of the user's, which would win over our variable: whether
    /// it is a list, since ours must then be of the same form.
    pub fn runner_by_flag(&self, triple: &str) -> Option<bool> {
        if self.args.config.is_empty() {
            return None;
        }
        self.config.is_list(&["target", triple, "runner"])
    }
}

/// The triple that cargo uses in the names of variables and keys: of a target's description, the file's name.
pub fn triple(target: &str) -> String {
    match target.strip_suffix(".json") {
        Some(path) => Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned(),
        None => target.to_owned(),
    }
}

/// A folder the user named after `flag`, absolute.
///
/// # Errors
/// Where it is not UTF-8.
pub fn absolute(folder: &Path, flag: &str) -> Result<Utf8PathBuf, Error> {
    let cannot = || Error::usage(format!("cannot use `{}` as the folder of `{flag}`", folder.display()));
    let path = std::path::absolute(folder).map_err(|error| cannot().caused_by(error))?;
    Utf8PathBuf::from_path_buf(path).map_err(|_| cannot().caused_by("its name is not UTF-8"))
}

/// The flags by which the user changes cargo's configuration.
fn config_flags(args: &CargoArgs) -> Vec<OsString> {
    let flags = |name: &'static str, values: &[OsString]| {
        values.iter().flat_map(|value| [name.into(), value.clone()]).collect::<Vec<OsString>>()
    };
    [flags("--config", &args.config), flags("-Z", &args.unstable)].concat()
}

/// What a runner's variable says; cargo splits it at white space, without any quoting.
fn words_of(text: &str) -> Vec<OsString> {
    let mut words: Vec<OsString> = text.split_whitespace().map(OsString::from).collect();
    if let Some(program) = words.first_mut() {
        *program = cargo_config::resolve(program, || None);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cargo_env(args: &CargoArgs) -> CargoEnv<'_> {
        CargoEnv { args, cargo: "false".into(), config: CargoConfig::ask("false".as_ref(), Vec::new()) }
    }

    #[test]
    fn the_host_is_always_among_the_targets_and_never_twice() {
        let args = CargoArgs { targets: vec!["a-b".into(), "host-tuple".into()], ..CargoArgs::default() };
        assert_eq!(cargo_env(&args).targets("h-h"), ["a-b", "h-h"]);
        let args = CargoArgs { targets: vec!["a-b".into()], ..CargoArgs::default() };
        assert_eq!(cargo_env(&args).targets("h-h"), ["a-b", "h-h"]);
    }

    #[test]
    fn a_described_target_goes_by_its_files_name() {
        assert_eq!(triple("x/my-target.json"), "my-target");
        assert_eq!(triple("a-b"), "a-b");
    }

    #[test]
    fn a_relative_runner_starts_where_the_user_stands() {
        let words = words_of(" ./run  -x ");
        assert!(Path::new(&words[0]).is_absolute());
        assert_eq!(words[1], "-x");
        assert_eq!(words_of("run"), ["run"]);
    }
}
