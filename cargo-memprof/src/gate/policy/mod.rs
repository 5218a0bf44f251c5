//! The policy: which limits hold for which test, and what else is a failure. Plain values, as `config` reads them.

pub mod amount;
pub mod limit;
pub mod pattern;

use crate::context::config::Extend;
use crate::gate::flags::Allowed;
use crate::gate::metrics::Metric;
use crate::gate::outcome::Severity;
use crate::gate::policy::limit::Limit;
use crate::gate::policy::pattern::Pattern;
use crate::gate::program;
use memprof_profile::record::TestId;
use serde::Deserialize;
use serde::de::{self, Deserializer};

/// The table `[gate]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Policy {
    /// The file of the baseline, relative to the workspace; `None` = `memprof.baseline`.
    pub baseline: Option<String>,
    /// The same of benchmarks; `None` = `memprof.bench.baseline`.
    pub bench_baseline: Option<String>,
    /// For all tests.
    pub limits: Limits,
    /// Later ones win, metric by metric.
    #[serde(rename = "override", deserialize_with = "overrides")]
    pub overrides: Vec<Override>,
    #[serde(deserialize_with = "exclusions")]
    pub exclude: Vec<Exclusion>,
    /// Improvements must be accepted into the baseline, so that they are not lost again.
    pub ratchet: bool,
    /// Whether peaks of tests with several threads are compared: how high they get depends on who runs when.
    pub threaded_peaks: bool,
    /// A test without a line in the baseline.
    pub new: Severity,
    /// A line whose test is gone.
    pub gone: Severity,
    /// A line whose test was filtered out or ignored.
    pub not_run: Severity,
    /// A line whose target ran without being measured.
    pub unprofiled: Severity,
    /// A baseline recorded under other conditions.
    pub conditions: Severity,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            baseline: None,
            bench_baseline: None,
            limits: Limits::default(),
            overrides: Vec::new(),
            exclude: Vec::new(),
            ratchet: false,
            threaded_peaks: false,
            new: Severity::Warn,
            gone: Severity::Fail,
            not_run: Severity::Fail,
            unprofiled: Severity::Fail,
            conditions: Severity::Fail,
        }
    }
}

impl Policy {
    /// The policy with what the user allows on the command line.
    pub fn allow(&mut self, allowed: &[Allowed]) {
        for allowed in allowed {
            let severity = match allowed {
                Allowed::New => &mut self.new,
                Allowed::Gone => &mut self.gone,
                Allowed::NotRun => &mut self.not_run,
                Allowed::Unprofiled => &mut self.unprofiled,
                Allowed::Conditions => &mut self.conditions,
            };
            // `--allow` turns the failure into a warning; it does not make it go away.
            *severity = (*severity).min(Severity::Warn);
        }
    }
}

/// A limit for each metric; `None` = what held before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub alloc_objects: Option<Limit>,
    pub alloc_space: Option<Limit>,
    pub peak_space: Option<Limit>,
    pub inuse_objects: Option<Limit>,
    pub inuse_space: Option<Limit>,
}

impl Limits {
    fn get(&self, metric: Metric) -> Option<&Limit> {
        match metric {
            Metric::AllocObjects => self.alloc_objects.as_ref(),
            Metric::AllocSpace => self.alloc_space.as_ref(),
            Metric::PeakSpace => self.peak_space.as_ref(),
            Metric::InuseObjects => self.inuse_objects.as_ref(),
            Metric::InuseSpace => self.inuse_space.as_ref(),
        }
    }
}

/// Which tests a rule is for: those that match all the patterns that are there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Override {
    pub package: Option<Pattern>,
    /// Of `lib/csv`, `test/reader`, ….
    pub target: Option<Pattern>,
    pub test: Option<Pattern>,
    pub alloc_objects: Option<Limit>,
    pub alloc_space: Option<Limit>,
    pub peak_space: Option<Limit>,
    pub inuse_objects: Option<Limit>,
    pub inuse_space: Option<Limit>,
    pub ratchet: Option<bool>,
    #[serde(rename = "threaded-peaks")]
    pub threaded_peaks: Option<bool>,
}

/// Tests that are not compared.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    #[serde(default)]
    pub package: Option<Pattern>,
    #[serde(default)]
    pub target: Option<Pattern>,
    #[serde(default)]
    pub test: Option<Pattern>,
    /// Why; shown with every run.
    pub reason: String,
}

/// What the manifest of a package may say of its own tests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OfPackage {
    /// For all tests of the package.
    limits: Limits,
    #[serde(rename = "override", deserialize_with = "own_overrides")]
    overrides: Vec<Override>,
    #[serde(deserialize_with = "own_exclusions")]
    exclude: Vec<Exclusion>,
    ratchet: Option<bool>,
    threaded_peaks: Option<bool>,
}

impl Extend for Policy {
    type OfPackage = OfPackage;

    /// Overrides of the workspace win over those of a package.
    fn extend(&mut self, package: &str, rules: OfPackage) {
        let package = Some(Pattern::new(package));
        let OfPackage { limits, overrides, exclude, ratchet, threaded_peaks } = rules;
        let Limits { alloc_objects, alloc_space, peak_space, inuse_objects, inuse_space } = limits;
        let all = Override {
            alloc_objects,
            alloc_space,
            peak_space,
            inuse_objects,
            inuse_space,
            ratchet,
            threaded_peaks,
            ..Override::default()
        };
        let all = Some(all).filter(Override::changes_something);
        let own = all.into_iter().chain(overrides).map(|rule| Override { package: package.clone(), ..rule });
        self.overrides.splice(..0, own);
        self.exclude.extend(exclude.into_iter().map(|rule| Exclusion { package: package.clone(), ..rule }));
    }
}

/// What is for another package stands in the workspace's configuration.
fn refuse_packages<'a, E: de::Error>(mut packages: impl Iterator<Item = &'a Option<Pattern>>) -> Result<(), E> {
    match packages.any(Option::is_some) {
        true => Err(E::custom(
            "a package's manifest has rules for its own tests; `package` belongs in the workspace's configuration",
        )),
        false => Ok(()),
    }
}

fn own_overrides<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Override>, D::Error> {
    let rules = overrides(deserializer)?;
    refuse_packages(rules.iter().map(|rule| &rule.package))?;
    Ok(rules)
}

fn own_exclusions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Exclusion>, D::Error> {
    let rules = exclusions(deserializer)?;
    refuse_packages(rules.iter().map(|rule| &rule.package))?;
    Ok(rules)
}

/// Limits where nobody says otherwise. Counts are the strictest: they do not depend on the lengths of paths and names, as bytes do a little.
/// A path is some hundred bytes at most, and is kept in a few copies.
fn default_limit(metric: Metric) -> Limit {
    let text = match metric {
        Metric::AllocObjects | Metric::InuseObjects => "+0",
        Metric::AllocSpace | Metric::PeakSpace | Metric::InuseSpace => "+5% or 256",
    };
    text.parse().expect("the default limits are limits")
}

const PATTERNS: &str = "`package`, `target` or `test`";

/// An override that is for no test in particular, or changes nothing, is a slip.
fn overrides<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Override>, D::Error> {
    let rules = Vec::<Override>::deserialize(deserializer)?;
    for rule in &rules {
        if rule.package.is_none() && rule.target.is_none() && rule.test.is_none() {
            let instead = "limits for all tests are in `[gate.limits]`";
            return Err(de::Error::custom(format!("an override names its tests by {PATTERNS}; {instead}")));
        }
        if !rule.changes_something() {
            return Err(de::Error::custom(
                "an override has a limit, `ratchet` or `threaded-peaks`; this one changes nothing",
            ));
        }
    }
    Ok(rules)
}

/// An exclusion switches the gate off for tests, so it says for which, and why.
fn exclusions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Exclusion>, D::Error> {
    let rules = Vec::<Exclusion>::deserialize(deserializer)?;
    for rule in &rules {
        if rule.package.is_none() && rule.target.is_none() && rule.test.is_none() {
            return Err(de::Error::custom(format!("an exclusion names its tests by {PATTERNS}")));
        }
        if rule.reason.trim().is_empty() {
            return Err(de::Error::custom("an exclusion has a `reason` in words"));
        }
    }
    Ok(rules)
}

/// Whether the pattern is for the test, or for the one that starts the program.
fn fits_name(pattern: &Option<Pattern>, id: &TestId) -> bool {
    let Some(pattern) = pattern else { return true };
    pattern.matches(&id.name) || program::of_line(id).is_some_and(|(test, _)| pattern.matches(&test.name))
}

fn covers(package: &Option<Pattern>, target: &Option<Pattern>, test: &Option<Pattern>, id: &TestId) -> bool {
    let fits = |pattern: &Option<Pattern>, name: &str| pattern.as_ref().is_none_or(|pattern| pattern.matches(name));
    fits(package, &id.package) && fits(target, &format!("{}/{}", id.kind, id.target)) && fits_name(test, id)
}

impl Policy {
    /// The limit of `metric` for the test.
    pub fn limit(&self, id: &TestId, metric: Metric) -> Limit {
        let last = self.overrides_of(id).filter_map(|rule| rule.limit(metric)).last();
        last.or(self.limits.get(metric)).cloned().unwrap_or_else(|| default_limit(metric))
    }

    /// Why the test is not compared; `None` = it is.
    pub fn exclusion(&self, id: &TestId) -> Option<&str> {
        let covering = |rule: &&Exclusion| covers(&rule.package, &rule.target, &rule.test, id);
        self.exclude.iter().find(covering).map(|rule| rule.reason.as_str())
    }

    /// Whether the test's improvements must be accepted.
    pub fn ratchet(&self, id: &TestId) -> bool {
        self.overrides_of(id).filter_map(|rule| rule.ratchet).last().unwrap_or(self.ratchet)
    }

    /// See [`Policy::threaded_peaks`].
    pub fn compares_peak(&self, id: &TestId, threads: u32) -> bool {
        threads <= 1
            || self.overrides_of(id).filter_map(|rule| rule.threaded_peaks).last().unwrap_or(self.threaded_peaks)
    }

    /// The overrides and exclusions that are for none of `tests`, each in words, with what may have been meant.
    pub fn idle(&self, tests: &[&TestId]) -> Vec<String> {
        let of_overrides = self.overrides.iter().map(|rule| ("gate.override", &rule.package, &rule.target, &rule.test));
        let of_exclusions = self.exclude.iter().map(|rule| ("gate.exclude", &rule.package, &rule.target, &rule.test));
        let rules = of_overrides.chain(of_exclusions);
        let idle = rules.filter(|(_, package, target, test)| !tests.iter().any(|id| covers(package, target, test, id)));
        idle.map(|(table, package, target, test)| {
            let keys = [("package", package), ("target", target), ("test", test)];
            let given = keys.iter().filter_map(|(key, text)| Some(format!("{key} = {:?}", text.as_ref()?.as_str())));
            let given = given.collect::<Vec<_>>().join(", ");
            let names: [fn(&TestId) -> String; 3] =
                [|id| id.package.clone(), |id| format!("{}/{}", id.kind, id.target), |id| id.name.clone()];
            // The first pattern that fits nothing by itself is the one that is wrong.
            let wrong = keys.iter().zip(names).find_map(|((key, text), name)| {
                let text = text.as_ref()?;
                let fits = tests.iter().any(|id| text.matches(&name(id)));
                (!fits).then(|| (key, text.as_str(), tests.iter().map(|id| name(id)).collect::<Vec<_>>()))
            });
            let near = wrong.and_then(|(key, text, names)| Some((key, nearest(text, &names)?)));
            let near = near.map_or(String::new(), |(key, name)| format!("; did you mean {key} = {name:?}?"));
            format!("`[[{table}]]` with {given} is for no test{near}")
        })
        .collect()
    }

    fn overrides_of(&self, id: &TestId) -> impl Iterator<Item = &Override> {
        self.overrides.iter().filter(move |rule| covers(&rule.package, &rule.target, &rule.test, id))
    }
}

/// The name most like `text`, where one is; of `target = "it"` the one that has a kind before it.
fn nearest(text: &str, names: &[String]) -> Option<String> {
    let behind = |name: &&String| name.rsplit(['/', ':']).next() == Some(text);
    let like = |name: &String| strsim::jaro_winkler(text, name);
    let best = names.iter().filter(|name| like(name) > 0.85).max_by(|a, b| like(a).total_cmp(&like(b)));
    names.iter().find(behind).or(best).cloned()
}

impl Override {
    fn changes_something(&self) -> bool {
        let limits = Metric::ALL.iter().any(|metric| self.limit(*metric).is_some());
        limits || self.ratchet.is_some() || self.threaded_peaks.is_some()
    }

    fn limit(&self, metric: Metric) -> Option<&Limit> {
        match metric {
            Metric::AllocObjects => self.alloc_objects.as_ref(),
            Metric::AllocSpace => self.alloc_space.as_ref(),
            Metric::PeakSpace => self.peak_space.as_ref(),
            Metric::InuseObjects => self.inuse_objects.as_ref(),
            Metric::InuseSpace => self.inuse_space.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_no_test_is_named_and_one_that_says_nothing_is_refused() {
        let id = TestId { package: "p".into(), target: "it".into(), kind: "test".into(), name: "tests::one".into() };
        let idle = |rule: &str| {
            toml::from_str::<Policy>(&format!("override = [{{ {rule}, ratchet = true }}]")).unwrap().idle(&[&id])
        };
        assert!(idle("test = 'tests::*', package = 'p'").is_empty());
        for (rule, advice) in [
            ("test = 'tests::onee'", "is for no test; did you mean test = \"tests::one\"?"),
            ("target = 'it'", "did you mean target = \"test/it\"?"),
            ("package = 'zzz'", "`[[gate.override]]` with package = \"zzz\" is for no test"),
        ] {
            assert!(idle(rule)[0].ends_with(advice), "{:?}", idle(rule));
        }
        for (text, why) in [
            ("override = [{ alloc_objects = 0 }]", "names its tests"),
            ("override = [{ test = 'a' }]", "changes nothing"),
            ("exclude = [{ reason = 'x' }]", "names its tests"),
            ("exclude = [{ test = 'a', reason = ' ' }]", "in words"),
        ] {
            let error = toml::from_str::<Policy>(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn later_overrides_win_metric_by_metric() {
        let policy: Policy = toml::from_str(
            r#"
            limits.alloc_objects = "+1"
            override = [
                { package = "csv*", alloc_objects = "+2", alloc_space = "any" },
                { target = "lib/csv", test = "a::*", alloc_objects = "+3", peak_space = ["+5%", 4096] },
            ]
            exclude = [{ test = "*::flaky", reason = "asks the network" }]
            "#,
        )
        .unwrap();
        let id = |package: &str, name: &str| TestId {
            package: package.into(),
            target: "csv".into(),
            kind: "lib".into(),
            name: name.into(),
        };
        let limit = |id: &TestId, metric| policy.limit(id, metric).to_string();
        assert_eq!(limit(&id("x", "b"), Metric::AllocObjects), "+1");
        assert_eq!(limit(&id("csv-core", "b"), Metric::AllocObjects), "+2");
        assert_eq!(limit(&id("csv", "a::b"), Metric::AllocObjects), "+3");
        assert_eq!(limit(&id("csv", "a::b"), Metric::AllocSpace), "any");
        assert_eq!(limit(&id("csv", "a::b"), Metric::PeakSpace), "+5%, 4096");
        assert_eq!(limit(&id("x", "b"), Metric::InuseObjects), "+0");
        assert_eq!(policy.exclusion(&id("x", "b::flaky")), Some("asks the network"));
        assert_eq!(policy.exclusion(&id("x", "flaky")), None);
    }
}

/// The policy as a part of the whole configuration.
#[cfg(test)]
mod in_the_configuration {
    use super::*;
    use crate::context::config::{Config, ListLimit};
    use crate::ui::error::Error;
    use camino::Utf8Path;

    fn read(text: &str) -> Result<Config<Policy>, Error> {
        Config::of_file(Utf8Path::new("m.toml"), text)
    }

    #[test]
    fn all_keys_of_the_documentation_are_understood() {
        let text = include_str!("../../../../docs/gate.md");
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
            ("[gate]\nbanana = 1\n", 2, "there are `baseline`, `bench-baseline`, `limits`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.advice().unwrap().contains(help), "{text}{error}");
            assert!(error.request().contains(&format!("`m.toml:{line}`")), "{text}{error}");
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
        let of_manifest = |value: &serde_json::Value| {
            Config::<Policy>::of_manifest(Utf8Path::new("/w"), "[workspace.metadata]", value)
        };
        let config = of_manifest(&value).unwrap();
        assert!(config.gate.ratchet);
        let error = of_manifest(&serde_json::json!({ "gat": 1 })).unwrap_err();
        assert_eq!(error.advice(), Some("did you mean `gate`?"));
    }
}
