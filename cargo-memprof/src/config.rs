//! The configuration of a workspace: `.config/memprof.toml`, or the same below `[workspace.metadata.memprof]` of its
//! manifest. A key that is not known is an error, because a limit that is not there protects nothing.

use crate::error::Error;
use crate::gate::policy::Policy;
use crate::intake;
use camino::{Utf8Path, Utf8PathBuf};
use memprof_harness::modes::StackDepth;
use serde::{Deserialize, Deserializer};
use std::io::{self, ErrorKind};

/// Relative to the root of the workspace.
const FILE: &str = ".config/memprof.toml";
/// Below `[workspace.metadata]` of the manifest.
const KEY: &str = "memprof";

/// See the head of this file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub gate: Policy,
    /// The most tests of a program with a `main` of its own that are recorded one by one; with more it is recorded as one.
    #[serde(rename = "list-limit")]
    pub list_limit: ListLimit,
    /// How many frames of a stack are kept.
    #[serde(rename = "stack-depth", deserialize_with = "stack_depth")]
    pub stack_depth: Option<StackDepth>,
}

fn stack_depth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<StackDepth>, D::Error> {
    let frames = u64::deserialize(deserializer)?;
    StackDepth::try_from(frames).map(Some).map_err(serde::de::Error::custom)
}

/// See [`Config::list_limit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ListLimit(pub usize);

impl Default for ListLimit {
    /// At some milliseconds a process, a few seconds of every run on two cores; suites with more tests than that in one
    /// program are tables of cases.
    fn default() -> ListLimit {
        ListLimit(2000)
    }
}

impl Config {
    /// The configuration of the workspace at `root`, whose manifest has `metadata` below `[workspace.metadata]`.
    ///
    /// # Errors
    /// Where it cannot be read or understood, or is in both places.
    pub fn read(root: &Utf8Path, metadata: &serde_json::Value) -> Result<Config, Error> {
        let path = root.join(FILE);
        let in_manifest = metadata.get(KEY);
        // A repository can have a link there that leads anywhere.
        let read = intake::read(path.as_std_path());
        let read = read
            .and_then(|bytes| String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error)));
        let text = match read {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return in_manifest.map_or_else(|| Ok(Config::default()), |value| Config::of_manifest(root, value));
            }
            Err(error) => return Err(Error::usage(format!("cannot read the configuration `{path}`")).caused_by(error)),
        };
        if in_manifest.is_some() {
            return Err(Error::usage(format!("cannot use the configuration `{path}`"))
                .caused_by(format!("`{}` has one below `[workspace.metadata.{KEY}]` as well", root.join("Cargo.toml")))
                .help("keep one of the two"));
        }
        Config::of_file(&path, &text)
    }

    fn of_file(path: &Utf8Path, text: &str) -> Result<Config, Error> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            let place = line.map_or_else(|| format!("`{path}`"), |line| format!("`{path}:{line}`"));
            refused(&place, error.message())
        })
    }

    fn of_manifest(root: &Utf8Path, value: &serde_json::Value) -> Result<Config, Error> {
        let place: Utf8PathBuf = root.join("Cargo.toml");
        let place = format!("`[workspace.metadata.{KEY}]` of `{place}`");
        serde_json::from_value(value.clone()).map_err(|error| refused(&place, &error.to_string()))
    }
}

fn refused(place: &str, message: &str) -> Error {
    let error =
        Error::usage(format!("cannot use the configuration {place}")).caused_by(message.trim().replace('\n', " "));
    match suggestion(message) {
        Some(help) => error.help(help),
        None => error.help("see docs/gate.md for every key and what it takes"),
    }
}

/// Which key was meant, from serde's list of those there are.
fn suggestion(message: &str) -> Option<String> {
    let (found, expected) = message.split_once("expected")?;
    let found = found.split('`').nth(1).filter(|_| found.contains("unknown"))?;
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let plain = |name: &str| name.replace('_', "-").to_lowercase();
    let near = |name: &&&str| strsim::damerau_levenshtein(&plain(found), &plain(name));
    match known.iter().min_by_key(near) {
        Some(nearest) if near(&nearest) <= 1 + found.len() / 4 => Some(format!("did you mean `{nearest}`?")),
        _ => Some(format!("there are {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, Error> {
        Config::of_file(Utf8Path::new("m.toml"), text)
    }

    #[test]
    fn all_keys_of_the_documentation_are_understood() {
        let text = include_str!("../../docs/gate.md");
        let example = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let config = read(example).unwrap();
        assert!(
            config.gate.overrides.len() > 1 && config.gate.exclude.len() == 1 && config.list_limit == ListLimit(5000)
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_right_one() {
        for (text, line, help) in [
            ("[gate]\nratchett = true\n", 2, "`ratchet`"),
            ("[gate.limits]\nalloc-objects = '+0'\n", 2, "`alloc_objects`"),
            ("[gate]\nnot_run = 'warn'\n", 2, "`not-run`"),
            ("[gates]\n", 1, "`gate`"),
            ("list_limit = 3\n", 1, "`list-limit`"),
            ("[gate]\nnew = 'warning'\n", 2, "`warn`"),
            ("[gate]\nbanana = 1\n", 2, "there are `baseline`, `limits`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.advice().unwrap().contains(help), "{text}{error}");
            assert!(error.asked().contains(&format!("`m.toml:{line}`")), "{text}{error}");
        }
    }

    #[test]
    fn a_value_that_is_none_says_what_is_wrong() {
        for (text, why) in [
            ("[gate.limits]\nalloc_objects = '5%'\n", "a growth begins with `+`"),
            ("[gate.limits]\nalloc_objects = true\n", "a limit is a text"),
            ("[[gate.exclude]]\ntest = 'x'\n", "reason"),
            ("stack-depth = 15\n", "15 is not from 16 to 1024"),
            ("stack-depth = '64'\n", "invalid type"),
            ("[gate\n", ""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(why), "{text}{error}");
        }
    }

    #[test]
    fn the_manifest_may_hold_it_as_well() {
        let value = serde_json::json!({ "gate": { "ratchet": true, "limits": { "peak_space": 4096 } } });
        let config = Config::of_manifest(Utf8Path::new("/w"), &value).unwrap();
        assert!(config.gate.ratchet);
        let error = Config::of_manifest(Utf8Path::new("/w"), &serde_json::json!({ "gat": 1 })).unwrap_err();
        assert_eq!(error.advice(), Some("did you mean `gate`?"));
    }
}
