//! The rules of all tests as a file: `cargo memprof` writes it, and whoever starts the processes of tests reads it. Pure.

use super::{Bounds, Pattern, Rule, METRICS};
use crate::pattern;
use crate::run_options::{with_spaces, without_spaces};
use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

/// When which test has to run again. What is named nowhere is new, and is run until its metrics are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    tests: HashMap<Key, Bounds>,
    /// By the test that starts them.
    programs: HashMap<Key, BTreeMap<String, Bounds>>,
    /// Patterns for package, target and name of tests whose metrics nobody wants to know.
    excluded: Vec<[String; 3]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    package: String,
    target: String,
    name: String,
}

impl Key {
    /// An executable is named after its crate, which has no `-`.
    fn new(package: &str, target: &str, name: &str) -> Key {
        Key { package: package.to_owned(), target: target.replace('-', "_"), name: name.to_owned() }
    }
}

impl Rules {
    /// Adds a test. Of two of one name, whose targets have one name as well, the wider bounds hold for both.
    pub fn add(&mut self, package: &str, target: &str, name: &str, bounds: Bounds) {
        let key = Key::new(package, target, name);
        let bounds = match self.tests.remove(&key) {
            Some(other) => bounds.or(&other),
            None => bounds,
        };
        self.tests.insert(key, bounds);
    }

    /// Adds a program that the test `name` starts; likewise.
    pub fn add_program(&mut self, [package, target, name]: [&str; 3], program: &str, bounds: Bounds) {
        let programs = self.programs.entry(Key::new(package, target, name)).or_default();
        let bounds = match programs.remove(program) {
            Some(other) => bounds.or(&other),
            None => bounds,
        };
        programs.insert(program.to_owned(), bounds);
    }

    /// Adds tests that are not to be looked at.
    pub fn exclude(&mut self, package: &str, target: &str, test: &str) {
        self.excluded.push([package.to_owned(), target.replace('-', "_"), test.to_owned()]);
    }

    /// What holds for a test.
    pub fn of(&self, package: &str, target: &str, name: &str) -> Rule {
        let key = Key::new(package, target, name);
        let fits = |rule: &[String; 3], texts: &[&String]| {
            rule.iter().zip(texts).all(|(rule, text)| pattern::matches(rule, text))
        };
        if self.excluded.iter().any(|rule| fits(rule, &[&key.package, &key.target, &key.name])) {
            return Rule::Never;
        }
        let of_target = self.excluded.iter().filter(|rule| fits(rule, &[&key.package, &key.target]));
        let ignored = of_target.map(|[_, _, line]| Pattern { test: name.to_owned(), line: line.clone() }).collect();
        match self.tests.get(&key) {
            None => Rule::Settle(ignored),
            Some(own) => {
                let programs = self.programs.get(&key).cloned().unwrap_or_default();
                Rule::Outside { own: own.clone(), programs, ignored }
            }
        }
    }

    /// The text that is read back by `parse`.
    pub fn to_text(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for rule in &self.excluded {
            let words = rule.iter().map(|pattern| format!(" {}", without_spaces(pattern)));
            lines.push(format!("{EXCLUDED}{}", words.collect::<String>()));
        }
        let bounds_of = |kind: &str, bounds: &Bounds, names: &[&String]| {
            let flags = match (bounds.threaded_peaks, bounds.always_started) {
                (false, false) => "-",
                (true, false) => PEAKS,
                (false, true) => STARTED,
                (true, true) => BOTH,
            };
            let mut line = format!("{kind} {flags}");
            for limit in bounds.most.iter().chain(&bounds.least) {
                line.push(' ');
                line.push_str(&limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string()));
            }
            for name in names {
                line.push(' ');
                line.push_str(&without_spaces(name));
            }
            line
        };
        for (key, bounds) in &self.tests {
            lines.push(bounds_of(TEST, bounds, &[&key.package, &key.target, &key.name]));
        }
        for (key, programs) in &self.programs {
            let line = |(program, bounds)| bounds_of(PROGRAM, bounds, &[&key.package, &key.target, &key.name, program]);
            lines.extend(programs.iter().map(line));
        }
        lines.sort();
        lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }
}

const EXCLUDED: &str = "excluded";
const TEST: &str = "test";
const PROGRAM: &str = "program";
/// What [`Bounds::threaded_peaks`] and [`Bounds::always_started`] are called.
const PEAKS: &str = "peaks";
const STARTED: &str = "started";
const BOTH: &str = "peaks,started";

impl Bounds {
    fn or(&self, other: &Bounds) -> Bounds {
        let mut wider = self.clone();
        for at in 0..METRICS {
            let pair = |one: Option<i64>, other: Option<i64>, choose: fn(i64, i64) -> i64| Some(choose(one?, other?));
            wider.most[at] = pair(self.most[at], other.most[at], i64::max);
            wider.least[at] = pair(self.least[at], other.least[at], i64::min);
        }
        wider.threaded_peaks = self.threaded_peaks && other.threaded_peaks;
        wider.always_started = self.always_started && other.always_started;
        wider
    }
}

impl FromStr for Rules {
    type Err = String;

    /// # Errors
    /// Where a line is not one of ours: no test is to be run less often than it was said.
    fn from_str(text: &str) -> Result<Rules, String> {
        let mut rules = Rules::default();
        for line in text.lines() {
            let wrong = || format!("`{line}` is no rule");
            // An empty text is an empty word.
            let words: Vec<&str> = line.split(' ').collect();
            let word = |at: usize| words.get(at).and_then(|word| with_spaces(word)).ok_or_else(wrong);
            match words.first() {
                Some(&EXCLUDED) => rules.exclude(&word(1)?, &word(2)?, &word(3)?),
                Some(kind @ (&TEST | &PROGRAM)) => {
                    let mut limits = [None; 2 * METRICS];
                    for (limit, word) in limits.iter_mut().zip(words.get(2..).unwrap_or_default()) {
                        *limit = if *word == "-" { None } else { Some(word.parse().map_err(|_| wrong())?) };
                    }
                    let flags = word(1)?;
                    let mut bounds = Bounds {
                        threaded_peaks: [PEAKS, BOTH].contains(&&*flags),
                        always_started: [STARTED, BOTH].contains(&&*flags),
                        ..Bounds::default()
                    };
                    bounds.most.copy_from_slice(&limits[..METRICS]);
                    bounds.least.copy_from_slice(&limits[METRICS..]);
                    let at = 2 + 2 * METRICS;
                    let test = [word(at)?, word(at + 1)?, word(at + 2)?];
                    let [package, target, name] = [&*test[0], &*test[1], &*test[2]];
                    match *kind {
                        TEST => rules.add(package, target, name, bounds),
                        _ => rules.add_program([package, target, name], &word(at + 3)?, bounds),
                    }
                }
                _ => return Err(wrong()),
            }
        }
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settle::Ignored;

    /// Of a test whose allocated objects are to be within these.
    fn bounds(least: i64, most: i64) -> Bounds {
        let mut bounds = Bounds::default();
        (bounds.least[0], bounds.most[0]) = (Some(least), Some(most));
        bounds
    }

    #[test]
    fn rules_are_read_back_as_they_were_written() {
        let mut rules = Rules::default();
        let bounds = bounds(-3, 5);
        rules.add("p", "it-is", "a b::c", bounds.clone());
        rules.add("", "x", "%", Bounds { threaded_peaks: true, ..Bounds::default() });
        rules.exclude("*", "it-*", "slow *");
        for (threaded_peaks, always_started) in [(false, true), (true, true)] {
            let bounds = Bounds { threaded_peaks, always_started, ..bounds.clone() };
            rules.add_program(["p", "x", "%"], if threaded_peaks { "m" } else { "n" }, bounds);
        }
        rules.add_program(["p", "it-is", "a b::c"], "m x", bounds.clone());
        let read: Rules = rules.to_text().parse().unwrap();
        assert_eq!(read, rules);
        let Rule::Outside { own, programs, .. } = read.of("p", "it_is", "a b::c") else { unreachable!() };
        assert_eq!((own, programs), (bounds.clone(), [("m x".to_owned(), bounds)].into()));
        assert_eq!(read.of("p", "it_is", "slow one"), Rule::Never);
        assert!(matches!(read.of("p", "it_is", "new"), Rule::Settle(_)));
        assert_eq!(read.of("p", "other", "slow one"), Rule::Settle(Ignored::new()));
        for broken in ["x", "test", "test - 1 2", "excluded", "test - 1 2 3 4 x 1 2 3 4 5 p t n"] {
            assert!(broken.parse::<Rules>().is_err(), "{broken}");
        }
    }

    #[test]
    fn of_two_tests_of_one_name_the_wider_bounds_hold() {
        let mut rules = Rules::default();
        for (least, most) in [(3, 5), (1, 4)] {
            rules.add("p", "p", "a", bounds(least, most));
        }
        let Rule::Outside { own, .. } = rules.of("p", "p", "a") else { unreachable!() };
        assert_eq!(own, bounds(1, 5));
    }
}
