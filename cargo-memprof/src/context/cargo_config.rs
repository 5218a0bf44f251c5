//! Cargo's configuration, as `cargo config get` prints it. That command is unstable, so we set `RUSTC_BOOTSTRAP` for it. Where it fails, the
//! configuration counts as empty, and cargo itself will say what is wrong with it.
//!
//! Not by `cargo-config2` (0.1): that reads files and variables as cargo does, but neither `--config`, which users give and which goes above all
//! else, nor `include`.

use crate::context::env;
use camino::{Utf8Path, Utf8PathBuf};
use cargo_metadata::cargo_platform::{Cfg, Platform};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

/// See the head of this file.
#[derive(Debug, Clone)]
pub struct CargoConfig {
    cargo: OsString,
    /// `--config` and `-Z` with their values, as the user gave them.
    flags: Vec<OsString>,
    /// All files and `--config` merged; environment variables are not in it.
    values: Value,
}

impl CargoConfig {
    /// Asks `cargo`.
    pub fn ask(cargo: &OsStr, flags: Vec<OsString>) -> CargoConfig {
        let mut config = CargoConfig { cargo: cargo.to_owned(), flags, values: Value::Null };
        config.values = config
            .get(&["--format", "json"])
            .and_then(|text| serde_json::from_str(text.lines().next()?).ok())
            .unwrap_or_default();
        config
    }

    /// A text at `path`, such as `["term", "color"]`.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.as_str()
    }

    /// A truth value at `path`.
    pub fn truth(&self, path: &[&str]) -> Option<bool> {
        self.at(path)?.as_bool()
    }

    /// A list at `path`; a single text is a list of one.
    pub fn texts(&self, path: &[&str]) -> Vec<String> {
        match self.at(path) {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) => items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        }
    }

    /// The folder that what is written at `path` is relative to; `None` = it is not from a file.
    pub fn home_of(&self, path: &[&str]) -> Option<PathBuf> {
        Some(origin_of(&self.get(&["--show-origin"])?, path)?.parent()?.parent()?.to_owned())
    }

    /// Whether the value at `path` is a list; `None` = there is none.
    pub fn is_list(&self, path: &[&str]) -> Option<bool> {
        self.at(path).map(Value::is_array)
    }

    /// The program at `path`, found as cargo finds it: a bare name in PATH, a relative path from the folder that holds
    /// the `.cargo` it is written in.
    pub fn program(&self, path: &[&str]) -> Option<OsString> {
        Some(self.resolved(path, self.text(path)?))
    }

    /// The runner for executables of `target`, program and arguments; `None` = none. `cfgs` gives what
    /// `rustc --print cfg` says, and is asked only where a runner hangs on a `cfg(…)`.
    pub fn runner(&self, target: &str, cfgs: impl FnOnce() -> Vec<Cfg>) -> Option<Vec<OsString>> {
        if let Some(runner) = self.runner_at(&["target", target, "runner"]) {
            return Some(runner);
        }
        let tables = self.at(&["target"])?.as_object()?;
        let conditional: Vec<&String> = tables
            .keys()
            .filter(|key| key.starts_with("cfg(") && self.at(&["target", key, "runner"]).is_some())
            .collect();
        if conditional.is_empty() {
            return None;
        }
        let cfgs = cfgs();
        let matching = |key: &&&String| Platform::from_str(key).is_ok_and(|platform| platform.matches(target, &cfgs));
        // Where several match, cargo refuses to run: any of them will do here.
        let key = conditional.iter().find(matching)?;
        self.runner_at(&["target", key, "runner"])
    }

    fn runner_at(&self, path: &[&str]) -> Option<Vec<OsString>> {
        let words = match self.at(path)? {
            // Cargo splits a text at white space, without any quoting.
            Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
            Value::Array(_) => self.texts(path),
            _ => return None,
        };
        let (program, args) = words.split_first()?;
        Some(std::iter::once(self.resolved(path, program)).chain(args.iter().map(OsString::from)).collect())
    }

    fn resolved(&self, path: &[&str], program: &str) -> OsString {
        // Cargo reads a key of a table such as `cfg(…)` differently than it writes it, so it is asked for all of them.
        resolve(program.as_ref(), || self.home_of(path))
    }

    fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.values, |value, part| value.get(part))
    }

    /// What cargo reads in `folder` from files, each value with where it is from.
    pub fn settings_in(&self, folder: &Utf8Path) -> Vec<Setting> {
        let mut command = Command::new(&self.cargo);
        command.args(["config", "get", "-Zunstable-options", "--show-origin"]).current_dir(folder);
        let output = command.env(env::RUSTC_BOOTSTRAP, "1").output();
        let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout).unwrap_or_default();
        settings(&String::from_utf8_lossy(&text))
    }

    fn get(&self, args: &[&str]) -> Option<String> {
        let mut command = Command::new(&self.cargo);
        command.args(["config", "get", "-Zunstable-options"]).args(&self.flags).args(args);
        let output = command.env(env::RUSTC_BOOTSTRAP, "1").output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A value of cargo's configuration, or an item of a list, as a file has it.
#[derive(Debug, PartialEq)]
pub struct Setting {
    /// With dots, and quotes around what is no bare key.
    pub key: String,
    pub value: toml::Value,
    pub in_list: bool,
    /// Absolute.
    pub file: Utf8PathBuf,
}

// No value is a number that differs from itself.
impl Eq for Setting {}

impl Setting {
    /// The key's first part and its last, without quotes. A part between them may have dots of its own.
    pub fn ends(&self) -> (&str, &str) {
        let first = self.key.split('.').next().unwrap_or_default();
        (first, self.key.rsplit('.').next().unwrap_or_default())
    }

    pub fn text(&self) -> Option<&str> {
        self.value.as_str()
    }

    /// The folder that a relative path in the file is relative to.
    pub fn home(&self) -> Option<&Utf8Path> {
        self.file.parent()?.parent()
    }
}

/// The settings in what `cargo config get --show-origin` says. What is not from a file is left out.
pub fn settings(text: &str) -> Vec<Setting> {
    let mut settings = Vec::new();
    // The list whose items follow.
    let mut list: Option<&str> = None;
    for line in text.lines() {
        if list.is_some() && line == "]" {
            list = None;
            continue;
        }
        if let (None, Some(key)) = (list, line.strip_suffix(" = [")) {
            list = Some(key);
            continue;
        }
        let Some((written, file)) = line.rsplit_once(" # ") else { continue };
        let file = Utf8PathBuf::from(file);
        let parts = match list {
            Some(key) => Some((key, written.trim().trim_end_matches(','))),
            None => written.split_once(" = "),
        };
        let value = |text: &str| format!("x = {text}").parse::<toml::Table>().ok()?.remove("x");
        let setting = parts.and_then(|(key, text)| Some((key.to_owned(), value(text)?)));
        if let Some((key, value)) = setting.filter(|_| file.is_absolute()) {
            settings.push(Setting { key, value, in_list: list.is_some(), file });
        }
    }
    settings
}

/// The values, without where they are from.
impl std::fmt::Display for CargoConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.values.fmt(f)
    }
}

/// A program as cargo finds it: a bare name in PATH, a relative path from `home`, which without an answer is the
/// folder the user stands in. That folder is not the one in which rustc and the tests run.
pub fn resolve(program: &OsStr, home: impl FnOnce() -> Option<PathBuf>) -> OsString {
    let path = Path::new(program);
    if path.is_absolute() || path.components().count() < 2 {
        return program.to_owned();
    }
    let home = home().or_else(|| std::env::current_dir().ok()).unwrap_or_default();
    home.join(path).into_os_string()
}

/// The file that the value at `path` is from, where `text` has lines such as `a."b c".d = "value" # file`.
fn origin_of(text: &str, path: &[&str]) -> Option<PathBuf> {
    let mut lines = text.lines().skip_while(|line| !defines(line, path));
    // A list has one origin an item, on lines of their own.
    let (_, origin) = lines.find_map(|line| line.rsplit_once(" # "))?;
    Path::new(origin).is_absolute().then(|| PathBuf::from(origin))
}

/// Whether `line` begins with the key `path`, each part of which may be in quotes.
fn defines(line: &str, path: &[&str]) -> bool {
    let mut rest = line;
    for (at, part) in path.iter().enumerate() {
        let quote = rest.chars().next().filter(|c| "\"'".contains(*c)).map(String::from).unwrap_or_default();
        let end = if at + 1 == path.len() { " = " } else { "." };
        match rest.strip_prefix(&format!("{quote}{part}{quote}{end}")) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}

/// What `rustc --print cfg` says for `target`.
pub fn cfgs(rustc: &OsStr, target: Option<&str>) -> Vec<Cfg> {
    let mut command = Command::new(rustc);
    command.args(["--print", "cfg"]);
    if let Some(target) = target {
        command.args(["--target", target]);
        if target.ends_with(".json") {
            // Newer compilers read no description of a target unless they may.
            command.arg("-Zunstable-options").env(env::RUSTC_BOOTSTRAP, "1");
        }
    }
    let Ok(output) = command.output() else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| Cfg::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(values: Value) -> CargoConfig {
        CargoConfig { cargo: "false".into(), flags: Vec::new(), values }
    }

    #[test]
    fn a_runner_is_found_by_triple_before_cfg_as_text_or_list() {
        let by_cfg =
            serde_json::json!({"target": {"cfg(unix)": {"runner": "run  -x"}, "cfg(windows)": {"runner": "no"}}});
        let cfgs = || vec![Cfg::from_str("unix").unwrap()];
        assert_eq!(config(by_cfg).runner("a-b", cfgs).unwrap(), ["run", "-x"]);
        let both = serde_json::json!({"target": {"cfg(unix)": {"runner": "no"}, "a-b": {"runner": ["/r", "x y"]}}});
        assert_eq!(config(both).runner("a-b", cfgs).unwrap(), ["/r", "x y"]);
        assert_eq!(config(Value::Null).runner("a-b", cfgs), None);
    }

    #[test]
    fn settings_are_read_with_their_files_and_lists_item_by_item() {
        let text = "env.A.value = \"dep # x, = [\" # /p/.cargo/config.toml\n\
            target.\"cfg(unix)\".runner = [\n    \"a, b\", # /p/.cargo/config.toml\n    \"-q\", # /q/.cargo/config.toml\n]\n\
            term.quiet = true # /p/.cargo/more.toml\n\
            build.jobs = 2 # --config cli option\n\
            # The following environment variables may affect the loaded values.\n# CARGO_HOME=/root/.cargo\n";
        let found = settings(text);
        let shown: Vec<String> = found
            .iter()
            .map(|setting| {
                let Setting { key, value, in_list, file } = setting;
                let value = value.as_str().map_or_else(|| format!("{value:?}"), str::to_owned);
                format!("{key} {value} {in_list} {file}")
            })
            .collect();
        assert_eq!(
            shown,
            [
                "env.A.value dep # x, = [ false /p/.cargo/config.toml",
                "target.\"cfg(unix)\".runner a, b true /p/.cargo/config.toml",
                "target.\"cfg(unix)\".runner -q true /q/.cargo/config.toml",
                "term.quiet Boolean(true) false /p/.cargo/more.toml",
            ]
        );
        assert_eq!(found[1].ends(), ("target", "runner"));
        assert_eq!(found[0].home().unwrap(), "/p");
    }

    #[test]
    fn the_origin_of_a_value_is_the_file_behind_it() {
        let text = "build.rustc-wrapper = \"w # y\" # /p/.cargo/config.toml\n\
            target.'cfg(target_os = \"linux\")'.runner = [\n    \"x\", # /q/.cargo/config.toml\n]\n\
            target.\"cfg(unix)\".runner = \"x\" # /r/.cargo/config.toml\n\
            target.a-b.runner = \"x\" # --config cli option\n";
        for (path, origin) in [
            (["build", "rustc-wrapper"].as_slice(), Some("/p/.cargo/config.toml")),
            (&["target", "cfg(target_os = \"linux\")", "runner"], Some("/q/.cargo/config.toml")),
            (&["target", "cfg(unix)", "runner"], Some("/r/.cargo/config.toml")),
            (&["target", "a-b", "runner"], None),
            (&["build", "rustc"], None),
        ] {
            assert_eq!(origin_of(text, path), origin.map(PathBuf::from), "{path:?}");
        }
    }
}
