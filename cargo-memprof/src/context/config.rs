//! The configuration of a workspace: `.config/memprof.toml`, or the same below `[workspace.metadata.memprof]` of its
//! manifest, or below `[package.metadata.memprof]` where there is one package. In a workspace of several, a package's manifest may have
//! rules for its own tests there. A key that is not known is an error, because a limit that is not there protects nothing.

use crate::context::workspace::Workspace;
use crate::files::intake;
use crate::ui::error::Error;
use camino::{Utf8Path, Utf8PathBuf};
use memprof_harness::run_options::StackDepth;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use std::io::{self, ErrorKind};

/// Relative to the root of the workspace.
const FILE: &str = ".config/memprof.toml";
/// Below `[workspace.metadata]` or `[package.metadata]` of the manifest.
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

/// Rules that the manifest of a package may have for its own tests.
pub trait Extend {
    type OfPackage: DeserializeOwned;

    /// Takes in the rules of `package`.
    fn extend(&mut self, package: &str, rules: Self::OfPackage);
}

/// What the manifest of one package among several may have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfPackage<Rules> {
    gate: Rules,
}

impl<Gate: Default + DeserializeOwned + Extend> Config<Gate> {
    /// The configuration of `workspace`.
    ///
    /// # Errors
    /// Where it cannot be read or understood, or is in two places.
    pub fn read(workspace: &Workspace) -> Result<Config<Gate>, Error> {
        let in_packages = workspace.packages.iter().filter_map(|package| {
            Some((package.name.as_str(), package.manifest_path.as_path(), package.metadata.get(KEY)?))
        });
        let (whole, of_packages): (Vec<_>, Vec<_>) = in_packages.partition(|_| workspace.packages.len() == 1);
        let in_manifests = workspace
            .metadata
            .get(KEY)
            .map(|value| (format!("[workspace.metadata.{KEY}]"), workspace.root.join("Cargo.toml"), value));
        let whole = whole.into_iter();
        let whole = whole.map(|(_, path, value)| (format!("[package.metadata.{KEY}]"), path.to_owned(), value));
        let whole: Vec<(String, Utf8PathBuf, &serde_json::Value)> = in_manifests.into_iter().chain(whole).collect();
        let mut config = Config::<Gate>::of_whole(&workspace.root, &whole)?;
        for (package, path, value) in of_packages {
            let place = format!("`[package.metadata.{KEY}]` of `{path}`");
            let rules: OfPackage<Gate::OfPackage> =
                serde_json::from_value(value.clone()).map_err(|error| refused(&place, &error.to_string()))?;
            config.gate.extend(package, rules.gate);
        }
        Ok(config)
    }
}

impl<Gate: Default + DeserializeOwned> Config<Gate> {
    /// That of the workspace at `root` as a whole, which manifests have in these tables.
    fn of_whole(
        root: &Utf8Path,
        in_manifests: &[(String, Utf8PathBuf, &serde_json::Value)],
    ) -> Result<Config<Gate>, Error> {
        let path = root.join(FILE);
        let twice = |path: &Utf8Path, (table, manifest, _): &(String, Utf8PathBuf, &serde_json::Value)| {
            Error::usage(format!("cannot use the configuration `{path}`"))
                .caused_by(format!("`{manifest}` has one below `{table}` as well"))
                .help("keep one of the two")
        };
        if let [one, other, ..] = in_manifests {
            return Err(twice(&one.1, other));
        }
        // A repository can have a link there that leads anywhere.
        let read = intake::read(path.as_std_path());
        let read = read
            .and_then(|bytes| String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error)));
        let text = match read {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let of_manifest = |(table, path, value): &(String, Utf8PathBuf, &serde_json::Value)| {
                    Config::of_manifest(path, table, value)
                };
                return in_manifests.first().map_or_else(|| Ok(Config::default()), of_manifest);
            }
            Err(error) => {
                let cannot = Error::usage(format!("cannot read the configuration `{path}`")).caused_by(error);
                return Err(cannot.help("make it a file that can be read, or remove it"));
            }
        };
        if let Some(other) = in_manifests.first() {
            return Err(twice(&path, other));
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

    /// The configuration that the manifest at `path` has below `table`.
    ///
    /// # Errors
    /// Where it cannot be understood.
    pub fn of_manifest(path: &Utf8Path, table: &str, value: &serde_json::Value) -> Result<Config<Gate>, Error> {
        let place = format!("`{table}` of `{path}`");
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
