//! The configuration of a workspace: `.config/memprof.toml`, or the same below `[workspace.metadata.memprof]` of its
//! manifest. A key that is not known is an error, because a limit that is not there protects nothing.

use crate::files::intake;
use crate::ui::error::Error;
use camino::{Utf8Path, Utf8PathBuf};
use memprof_harness::run_options::StackDepth;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use std::io::{self, ErrorKind};

/// Relative to the root of the workspace.
const FILE: &str = ".config/memprof.toml";
/// Below `[workspace.metadata]` of the manifest.
const KEY: &str = "memprof";

/// See the head of this file. What the table `[gate]` holds is the gate's business: `Gate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config<Gate: Default> {
    pub gate: Gate,
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

impl<Gate: Default + DeserializeOwned> Config<Gate> {
    /// The configuration of the workspace at `root`, whose manifest has `metadata` below `[workspace.metadata]`.
    ///
    /// # Errors
    /// Where it cannot be read or understood, or is in both places.
    pub fn read(root: &Utf8Path, metadata: &serde_json::Value) -> Result<Config<Gate>, Error> {
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

    /// The configuration that the file at `path` holds as `text`.
    ///
    /// # Errors
    /// Where it cannot be understood.
    pub fn of_file(path: &Utf8Path, text: &str) -> Result<Config<Gate>, Error> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            let place = line.map_or_else(|| format!("`{path}`"), |line| format!("`{path}:{line}`"));
            refused(&place, error.message())
        })
    }

    /// The configuration in the manifest of the workspace at `root`.
    ///
    /// # Errors
    /// Where it cannot be understood.
    pub fn of_manifest(root: &Utf8Path, value: &serde_json::Value) -> Result<Config<Gate>, Error> {
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
