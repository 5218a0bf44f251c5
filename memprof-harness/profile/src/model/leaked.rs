//! The places at which the leaked blocks of a profile were allocated: for each, the innermost place in the user's own
//! code.

use super::Profile;
use super::function::Origin;
use super::location::Frame;
use super::sample::Sample;
use super::values::ValueType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A line and what was allocated there and is leaked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakedAt {
    /// Demangled, without hashes.
    pub function: String,
    /// Absolute where it is known; empty where it is not.
    pub file: String,
    /// 1-based; 0 = not known.
    pub line: u32,
    /// Blocks.
    pub leaked_objects: i64,
    /// Bytes in them.
    pub leaked_space: i64,
}

/// All such places, those with most bytes first. None where stacks are sampled.
pub fn leaked_at(profile: &Profile) -> Vec<LeakedAt> {
    let mut places: BTreeMap<(&str, &str, u32), (i64, i64)> = BTreeMap::new();
    for sample in profile.samples.iter().filter(|sample| sample.values[ValueType::LeakedObjects] > 0) {
        let sums = places.entry(place(profile, sample)).or_default();
        sums.0 += sample.values[ValueType::LeakedObjects];
        sums.1 += sample.values[ValueType::LeakedSpace];
    }
    let place = |((function, file, line), (objects, space)): ((&str, &str, u32), (i64, i64))| LeakedAt {
        function: function.to_owned(),
        file: file.to_owned(),
        line,
        leaked_objects: objects,
        leaked_space: space,
    };
    let mut places: Vec<LeakedAt> = places.into_iter().map(place).collect();
    // Stable, so that equals stay in the order of their names.
    places.sort_by_key(|place| std::cmp::Reverse((place.leaked_space, place.leaked_objects)));
    places
}

/// The innermost frame of the workspace; without one, of any crate but the standard library; without one, of all.
fn place<'a>(profile: &'a Profile, sample: &Sample) -> (&'a str, &'a str, u32) {
    let frames = || {
        let locations = profile.stacks.locations(sample.stack);
        locations.flat_map(|location| profile.locations.get(location).frames.iter().copied())
    };
    let origin = |frame: &Frame| profile.functions.get(frame.function).origin;
    let of_workspace = frames().find(|frame| origin(frame) == Origin::Workspace);
    let of_crates = || frames().find(|frame| origin(frame) == Origin::Dependency);
    let Some(frame) = of_workspace.or_else(of_crates).or_else(|| frames().next()) else { return ("", "", 0) };
    let function = profile.functions.get(frame.function);
    (profile.strings.get(function.name), profile.strings.get(function.file), frame.line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::test_profiles::profile;

    #[test]
    fn what_is_leaked_is_named_by_the_innermost_function_of_the_users() {
        let mut profile = profile(&[(&["test", "work"], 10), (&["test", "rest"], 20), (&["test"], 30)]);
        assert_eq!(leaked_at(&profile), []);
        for (sample, leaked) in profile.samples.iter_mut().zip([0, 7, 8]) {
            sample.values[ValueType::LeakedObjects] = i64::from(leaked > 0);
            sample.values[ValueType::LeakedSpace] = leaked;
        }
        let found = leaked_at(&profile);
        assert_eq!(found.iter().map(|place| place.leaked_space).collect::<Vec<_>>(), [8, 7]);
        assert!(found.iter().all(|place| place.leaked_objects == 1 && !place.function.is_empty()), "{found:?}");
    }
}
