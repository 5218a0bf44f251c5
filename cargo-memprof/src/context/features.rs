//! Which features cargo enables where some are asked for. Two words for one set, such as `default` and `default,std`, are one condition. Pure.

use crate::context::conditions::{ALL, NONE};
use crate::context::workspace::Workspace;
use std::collections::{BTreeMap, BTreeSet};

/// The features of the workspace's packages. A feature of another package is no key, and implies nothing that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features(BTreeMap<Feature, Vec<Feature>>);

/// A package and the name of one of its features; or of a dependency, or of one's feature, as the manifest has it.
type Feature = (String, String);

impl Features {
    pub fn of(workspace: &Workspace) -> Features {
        let mut features = BTreeMap::new();
        let members: BTreeSet<&str> = workspace.packages.iter().map(|package| package.name.as_str()).collect();
        for package in &workspace.packages {
            for (name, implied) in &package.features {
                let implied = implied.iter().map(|value| match value.split_once('/') {
                    // Of an optional dependency it holds only where that is enabled.
                    Some((dependency, feature)) if members.contains(dependency) => {
                        (dependency.to_owned(), feature.to_owned())
                    }
                    _ => (package.name.to_string(), value.clone()),
                });
                features.insert((package.name.to_string(), name.clone()), implied.collect());
            }
        }
        Features(features)
    }

    /// Whether cargo enables the same where it is asked for `one` and for `other`, which are as [`crate::context::conditions::features`] has them.
    pub fn are_the_same(&self, one: &str, other: &str) -> bool {
        one == other || self.enabled(one) == self.enabled(other)
    }

    fn enabled(&self, word: &str) -> BTreeSet<Feature> {
        let mut open: Vec<Feature> = match word {
            ALL => self.0.keys().cloned().collect(),
            NONE => Vec::new(),
            names => names.split(',').flat_map(|name| self.named(name)).collect(),
        };
        let mut enabled = BTreeSet::new();
        while let Some(feature) = open.pop() {
            open.extend(self.0.get(&feature).into_iter().flatten().cloned());
            enabled.insert(feature.clone());
            // What has been followed is not followed again.
            open.retain(|feature| !enabled.contains(feature));
        }
        enabled
    }

    /// The features that have this name on a command line: of each package that has it, or of the one that is named.
    fn named(&self, name: &str) -> Vec<Feature> {
        if let Some((package, feature)) = name.split_once('/') {
            return vec![(package.to_owned(), feature.to_owned())];
        }
        let all: Vec<Feature> = self.0.keys().filter(|(_, feature)| feature == name).cloned().collect();
        // A package need not have a `default`; any other name that none has means something else than one that is there.
        if all.is_empty() && name != "default" { vec![(String::new(), name.to_owned())] } else { all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_one_set_are_one_condition() {
        let feature = |text: &str| {
            let (package, feature) = text.split_once('/').unwrap();
            (package.to_owned(), feature.to_owned())
        };
        let of = |features: &[(&str, &[&str])]| {
            let one =
                |(name, implied): &(&str, &[&str])| (feature(name), implied.iter().map(|text| feature(text)).collect());
            Features(features.iter().map(one).collect())
        };
        // `loop` and `round` imply each other.
        let features = of(&[
            ("a/default", &["a/std"]),
            ("a/std", &["a/alloc", "a/dep:x"]),
            ("a/alloc", &[]),
            ("a/loop", &["a/round"]),
            ("a/round", &["a/loop", "b/extra"]),
            ("b/extra", &[]),
        ]);
        for (one, other) in [
            ("default", "default,std"),
            ("default", "default,alloc,std"),
            ("default,loop", "default,extra,round"),
            ("default,extra", "default,b/extra"),
            ("all", "default,loop"),
        ] {
            assert!(features.are_the_same(one, other) && features.are_the_same(other, one), "{one} {other}");
        }
        for (one, other) in
            [("default", "std"), ("default", "none"), ("default", "default,extra"), ("default", "all"), ("none", "zzz")]
        {
            assert!(!features.are_the_same(one, other) && !features.are_the_same(other, one), "{one} {other}");
        }
        // A package without features has one set.
        assert!(Features::default().are_the_same("default", "all") && Features::default().are_the_same("none", "all"));
    }
}
