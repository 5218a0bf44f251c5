//! The conditions of a run: everything besides the code on which exact metrics depend. Metrics of different conditions
//! are not compared.

use crate::context::cargo_args::CargoArgs;
use crate::context::unit::{self, switch};
use crate::context::workspace::Workspace;
use crate::files::intake;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Version of the rules by which allocations are counted. Raised with every change of the harness after which an unchanged
/// test may have other metrics.
pub const COUNTING: u32 = 2;
/// The same with `--native`, which counts what C libraries allocate as well.
pub const COUNTING_NATIVE: u32 = 1000 + COUNTING;

/// What is added where libtest itself ran the tests, and was not wrapped: they may have other metrics then.
pub const LISTED: u32 = 2000;

/// The conditions of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// The compiler's release, such as `1.95.0`: `std` and the optimizer come with it. Of one that is no release, its date as well.
    #[serde(deserialize_with = "intake::line")]
    pub rustc: String,
    /// The triple that the tests were compiled for.
    #[serde(deserialize_with = "intake::line")]
    pub target: String,
    /// Cargo's profile: optimized code may do without an allocation.
    #[serde(deserialize_with = "intake::line")]
    pub profile: String,
    /// As [`features`] writes them.
    #[serde(deserialize_with = "intake::line")]
    pub features: String,
    /// `random` as ever, or `fixed`, of hash tables and addresses.
    #[serde(deserialize_with = "intake::line")]
    pub seeds: String,
    /// `on` where the environment asks for backtraces, which errors such as those of `anyhow` then capture; or `off`.
    #[serde(default = "off", deserialize_with = "intake::line")]
    pub backtrace: String,
    /// See [`COUNTING`].
    pub counting: u32,
}

fn off() -> String {
    switch(false)
}

/// A condition in which two runs differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub condition: &'static str,
    pub before: String,
    pub now: String,
}

impl Conditions {
    /// Name and value of each, in the order in which a baseline has them.
    pub fn fields(&self) -> [(&'static str, String); 7] {
        [
            ("rustc", self.rustc.clone()),
            ("target", self.target.clone()),
            ("profile", self.profile.clone()),
            ("features", self.features.clone()),
            ("seeds", self.seeds.clone()),
            ("backtrace", self.backtrace.clone()),
            ("counting", self.counting.to_string()),
        ]
    }

    /// In what the run with conditions `now` differs from this one.
    pub fn differences(&self, now: &Conditions) -> Vec<Difference> {
        let pairs = self.fields().into_iter().zip(now.fields());
        pairs
            .filter(|((_, before), (_, now))| before != now)
            .map(|((condition, before), (_, now))| Difference { condition, before, now })
            .collect()
    }
}

impl Difference {
    /// Both values; of hashes, what they are of.
    pub fn change(&self) -> String {
        let Difference { condition, before, now } = self;
        match *condition {
            unit::FLAGS => "other compiler flags".to_owned(),
            unit::DEPENDENCIES => "other features of its dependencies".to_owned(),
            _ => format!("{condition} `{before}` → `{now}`"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { condition, before, now } = self;
        match *condition {
            "counting" => write!(f, "it was counted by rules {before}; this cargo-memprof counts by rules {now}"),
            _ => write!(f, "it was recorded with {condition} `{before}`; this run used `{now}`"),
        }
    }
}

/// The words for all features, and for none.
pub const ALL: &str = "all";
pub const NONE: &str = "none";

/// The features of a run as one word: `default`, `all`, `none`, `default,a,b`. Taken from the arguments of `cargo test`. `package` is the
/// one that they are of where no package is named; `None` = they are of several.
pub fn features(args: &CargoArgs, package: Option<&str>) -> String {
    if args.has("all-features") {
        return ALL.to_owned();
    }
    let lists =
        args.arguments().filter_map(|argument| Some(argument.value_of("features")?.to_string_lossy().into_owned()));
    let lists: Vec<String> = lists.collect();
    let names = lists.iter().flat_map(|list| list.split([',', ' '])).filter(|name| !name.is_empty());
    let mut named: Vec<&str> = names.collect();
    let given = one_package(args);
    let of_package = given.as_ref().map_or(package, |given| given.as_deref());
    for name in &mut named {
        // The same feature, spelt with its package.
        if let Some((spelt, feature)) = name.split_once('/')
            && Some(spelt) == of_package
        {
            *name = feature;
        }
    }
    named.sort_unstable();
    named.dedup();
    if !args.has("no-default-features") {
        named.retain(|name| *name != "default");
        named.insert(0, "default");
    }
    if named.is_empty() { NONE.to_owned() } else { named.join(",") }
}

/// The packages whose features cargo unifies, as one word: `workspace`, or their names, such as `a,b`.
pub fn packages(args: &CargoArgs, workspace: &Workspace) -> String {
    chosen(args, &workspace.default_packages, workspace.packages.len())
}

/// The same, where those called `default` are chosen when none is named, of `members` packages.
fn chosen(args: &CargoArgs, default: &[String], members: usize) -> String {
    const ALL: &str = "workspace";
    if members == 1 {
        return ALL.to_owned();
    }
    let mut named = Vec::new();
    let mut excluded = Vec::new();
    let mut all = false;
    for argument in args.arguments() {
        let value = |flag| argument.value_of(flag).map(|value| value.to_string_lossy().into_owned());
        named.extend(value("package"));
        excluded.extend(value("exclude").map(|name| format!("-{name}")));
        all |= argument.has("workspace") || argument.has("all");
    }
    named.sort_unstable();
    named.dedup();
    excluded.sort_unstable();
    match (all, named.is_empty()) {
        (true, _) => std::iter::once(ALL.to_owned()).chain(excluded).collect::<Vec<_>>().join(","),
        (false, false) => named.join(","),
        (false, true) if default.len() == members => ALL.to_owned(),
        (false, true) => default.join(","),
    }
}

/// The one package that `args` name; `None` = they name none, and inside of that: they name several.
fn one_package(args: &CargoArgs) -> Option<Option<String>> {
    let mut named = args.arguments().filter_map(|argument| match argument.value_of("package") {
        Some(name) => Some(name.to_string_lossy().into_owned()),
        None => (argument.has("workspace") || argument.has("all")).then(|| "*".to_owned()),
    });
    let first = named.next()?;
    let is_name = !first.contains(['*', '?', '[', '@', '#', '/', ':']);
    Some(Some(first).filter(|_| is_name && named.next().is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::cargo_flags::Tool;

    fn read(line: &str) -> CargoArgs {
        CargoArgs::read(Tool::Cargo, line.split(' ').map(Into::into).collect())
    }

    #[test]
    fn a_feature_spelt_with_its_package_is_that_feature() {
        let of = |line: &str, package| features(&read(line), package);
        for line in ["--features b", "--features x/b", "-p x -F x/b", "-px --features=b", "--package=x -F b,x/b"] {
            assert_eq!(of(line, Some("x")), "default,b", "{line}");
        }
        assert_eq!(of("-p y -F x/b", Some("x")), "default,x/b");
        assert_eq!(of("--workspace -F x/b", Some("x")), "default,x/b");
        assert_eq!(of("-p x -p y -F x/b", Some("x")), "default,x/b");
        assert_eq!(of("-F x/b", None), "default,x/b");
    }

    #[test]
    fn packages_are_one_word_whatever_their_spelling() {
        let of = |line: &str, default: &[&str]| {
            let default: Vec<String> = default.iter().map(|name| (*name).to_owned()).collect();
            chosen(&read(line), &default, 3)
        };
        assert_eq!(of("--workspace --lib", &["a"]), "workspace");
        assert_eq!(of("--all --exclude b", &[]), "workspace,-b");
        assert_eq!(of("-p b --package=a -pb", &[]), "a,b");
        assert_eq!((of("--lib", &["a"]), of("--lib", &["a", "b"])), ("a".into(), "a,b".into()));
        assert_eq!(of("--lib", &["a", "b", "c"]), "workspace");
        assert_eq!(chosen(&read("-p a"), &["a".into()], 1), "workspace");
    }

    #[test]
    fn features_are_one_word_whatever_their_spelling() {
        let of = |line: &str| features(&read(line), None);
        assert_eq!(of("--lib"), "default");
        assert_eq!(of("--all-features -Fx"), "all");
        assert_eq!(of("--no-default-features"), "none");
        assert_eq!(of("--features b,a -F c --features=a"), "default,a,b,c");
        assert_eq!(of("--no-default-features -Fa -- --features z"), "a");
    }

    #[test]
    fn every_differing_condition_is_named() {
        let before = Conditions { rustc: "1.94.0".into(), profile: "test".into(), ..Conditions::default() };
        let now = Conditions { rustc: "1.95.0".into(), ..before.clone() };
        let differences = before.differences(&now);
        assert_eq!(differences.len(), 1);
        assert_eq!(differences[0].to_string(), "it was recorded with rustc `1.94.0`; this run used `1.95.0`");
        assert!(before.differences(&before).is_empty());
    }
}
