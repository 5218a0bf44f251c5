//! Finds targets that were compiled in another way than when their lines were written, without a change of the code:
//! their metrics differ, and the code is not the cause.
//!
//! How code is optimized is always a condition. Features, its own and those of what it links, follow from the manifests and from the
//! packages that were chosen, over which cargo unifies them: where the same packages were chosen, the manifests have changed, and what
//! that allocates is for the gate to tell.

use crate::context::conditions::Difference;
use crate::context::unit::{DEPENDENCIES, FLAGS, UNKNOWN};
use crate::gate::committed::{Baseline, Built, TargetId};
use crate::gate::compare::loaded_run::LoadedRun;
use std::collections::{BTreeMap, BTreeSet};

/// How the targets of `run` were compiled that tests ran of.
pub fn built(run: &LoadedRun) -> BTreeMap<TargetId, Built> {
    let known = run.targets.iter().filter_map(|known| {
        let (package, kind, target) = (known.package.clone(), known.kind.clone(), known.target.clone());
        let built = Built { unit: known.unit.clone()?, packages: run.run.packages.clone() };
        Some((TargetId { package, kind, target }, built))
    });
    known.collect()
}

/// Those that were compiled otherwise than for `baseline`, and in what.
pub fn differences(baseline: &Baseline, run: &LoadedRun) -> BTreeMap<TargetId, Vec<Difference>> {
    let both =
        built(run).into_iter().filter_map(|(target, now)| Some((between(baseline.units.get(&target)?, &now), target)));
    both.filter(|(differences, _)| !differences.is_empty()).map(|(differences, target)| (target, differences)).collect()
}

/// Those of which `baseline` has lines of tests and no unit: a file of before units were conditions, or one that was edited.
pub fn missing(baseline: &Baseline, run: &LoadedRun) -> Vec<TargetId> {
    let with_lines: BTreeSet<TargetId> = baseline.tests.keys().map(TargetId::of).collect();
    let built = built(run).into_keys();
    built.filter(|target| with_lines.contains(target) && !baseline.units.contains_key(target)).collect()
}

/// The flags that have a condition of their own.
const HOW: [&str; 2] = ["opt-level", "debug-assertions"];

fn between(before: &Built, now: &Built) -> Vec<Difference> {
    let others_chosen = before.packages != now.packages;
    let pairs = before.unit.fields().into_iter().zip(now.unit.fields());
    let differ = pairs.filter(|((name, before), (_, now))| {
        let by_choice = ["features", DEPENDENCIES].contains(name);
        before != now && ![before, now].contains(&&UNKNOWN.to_owned()) && (others_chosen || !by_choice)
    });
    let mut differences: Vec<Difference> =
        differ.map(|((condition, before), (_, now))| Difference { condition, before, now }).collect();
    if differences.iter().any(|difference| HOW.contains(&difference.condition)) {
        // The hash has them as well.
        differences.retain(|difference| difference.condition != FLAGS);
    }
    if others_chosen && !differences.is_empty() {
        let (before, now) = (before.packages.clone(), now.packages.clone());
        differences.push(Difference { condition: "packages", before, now });
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::unit::Unit;

    #[test]
    fn features_that_others_bring_are_a_condition_and_those_of_the_manifest_are_code() {
        let built = |features: &str, dependencies: &str, level: &str, packages: &str| Built {
            unit: Unit {
                features: features.into(),
                dependencies: dependencies.into(),
                opt_level: level.into(),
                debug_assertions: true,
                flags: "f".into(),
            },
            packages: packages.into(),
        };
        let names = |before: &Built, now: &Built| -> Vec<&str> {
            between(before, now).iter().map(|difference| difference.condition).collect()
        };
        let one = built("a", "1", "0", "workspace");
        assert_eq!(names(&one, &one), Vec::<&str>::new());
        assert_eq!(names(&one, &built("a,b", "2", "0", "workspace")), Vec::<&str>::new());
        assert_eq!(names(&one, &built("a", "1", "0", "x")), Vec::<&str>::new());
        assert_eq!(names(&one, &built("a,b", "2", "0", "x")), ["features", "dependencies", "packages"]);
        assert_eq!(names(&one, &built("a", UNKNOWN, "0", "x")), Vec::<&str>::new());
        let mut optimized = built("a", "1", "3", "workspace");
        optimized.unit.flags = "g".into();
        assert_eq!(names(&one, &optimized), ["opt-level"]);
        optimized.unit.opt_level = "0".into();
        assert_eq!(names(&one, &optimized), [FLAGS]);
    }
}
