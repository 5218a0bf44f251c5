//! Decides how often a test runs where its metrics are to be known, and not its verdict alone. `cargo memprof` writes
//! down the bounds within which a test does not run again; whoever starts the processes of tests reads them and asks
//! after each run. Pure.

mod rules;

pub use rules::Rules;

use crate::ledger::{Counts, RunCounts};
use crate::pattern;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Runs of a test whose metrics are to be known.
pub const LEAST: u32 = 3;
/// Runs of a test that varies, or is over a limit, at most. Assumes that what a test needs once in seven runs is seen once in twenty, which it
/// is but for 4 %.
pub const MOST: u32 = 20;
/// A test that varies is known when so many runs in a row were within what had been seen.
const QUIET: u32 = 8;
/// Runs of a test that is over a limit, in any case.
const OVER: u32 = 5;
/// No test is run again once its runs have taken as long together, and have been as many as there must be.
const PATIENCE: Duration = Duration::from_secs(30);

/// The metrics of a run: `alloc_objects`, `alloc_space`, `peak_space`, `inuse_objects`, `inuse_space`.
pub const METRICS: usize = 5;
/// The place of the peak among them.
pub const PEAK: usize = 2;

/// Metrics in the order of [`METRICS`]; `None` = any will do.
pub type Limits = [Option<i64>; METRICS];

/// When a test has to run again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Rule {
    /// Never.
    #[default]
    Never,
    /// Until its metrics are known, and those of the programs that it starts.
    Settle(Ignored),
    /// While all its runs are outside of these. A program that is not named is new, and its metrics are to be known.
    Outside { own: Bounds, programs: BTreeMap<String, Bounds>, ignored: Ignored },
}

/// Programs whose metrics nobody wants to know.
pub type Ignored = BTreeSet<Pattern>;

/// Fits a program that a test starts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    /// The name of the test, as far as its programs' lines begin with it.
    test: String,
    /// Of what such a line is called.
    line: String,
}

/// Between which metrics a test has nothing new to say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bounds {
    /// With more than this it is over its limit.
    pub most: Limits,
    /// With less than this it is better.
    pub least: Limits,
    /// Peaks count also where several threads allocated.
    pub threaded_peaks: bool,
    /// Of a program: no run is known that did not start it.
    pub always_started: bool,
}

/// The runs of one test so far.
#[derive(Debug, Default)]
pub struct Runs {
    rule: Rule,
    /// It runs as often in any case.
    times: u32,
    runs: u32,
    own: Metrics,
    /// Those of the programs that it started.
    programs: BTreeMap<String, Metrics>,
    spent: Duration,
}

/// What was seen of one process in all runs, or of one program.
#[derive(Debug, Clone, Default)]
struct Metrics {
    /// The least that each metric may truly have been, and the most, in the runs that count; `None` = there was none.
    seen: Option<[(i64, i64); METRICS]>,
    varies: bool,
    threads: u32,
    /// Runs since one that had something new.
    quiet: u32,
    /// Runs in which a process of the program was cut short. How far it came is chance, so they do not count.
    cut_short: u32,
}

impl Runs {
    pub fn new(rule: Rule, times: u32) -> Runs {
        Runs { rule, times, ..Runs::default() }
    }

    /// How many there were.
    pub fn count(&self) -> u32 {
        self.runs
    }

    /// Whether there is one run, whatever it shows.
    pub fn is_once(&self) -> bool {
        self.times <= 1 && self.rule == Rule::Never
    }

    /// Whether the next run is one that the user has not asked for.
    pub fn is_ours(&self) -> bool {
        self.runs >= self.times
    }

    /// Takes a run in, which took `wall` and whose counts are known or not; whether there is to be another.
    pub fn again(&mut self, counts: Option<RunCounts>, wall: Duration) -> bool {
        self.spent += wall;
        let is_known = counts.is_some();
        if let Some(counts) = counts {
            self.add(&counts);
        }
        self.runs += 1;
        if self.runs < self.times {
            return true;
        }
        if !is_known {
            return false;
        }
        match &self.rule {
            Rule::Never => false,
            Rule::Settle(ignored) => {
                self.is_open(&self.own) || self.known_programs(ignored).any(|(_, metrics)| self.is_open(metrics))
            }
            Rule::Outside { own, programs, ignored } => {
                let is_missing = |(program, bounds): (&String, &Bounds)| {
                    bounds.always_started && !self.programs.contains_key(program) && !is_ignored(ignored, program)
                };
                (programs.iter().any(is_missing) && self.may_be_chance())
                    || self.is_outside(&self.own, own)
                    || self.known_programs(ignored).any(|(program, metrics)| match programs.get(program) {
                        Some(bounds) => self.is_outside(metrics, bounds),
                        None => self.is_open(metrics),
                    })
            }
        }
    }

    fn add(&mut self, counts: &RunCounts) {
        self.own.add(&counts.own);
        let none = Counts::default();
        for program in counts.programs.keys() {
            let new = || {
                // Whatever ran so far did not start it.
                let mut metrics = Metrics::default();
                (0..self.runs).for_each(|_| metrics.add(&none));
                metrics
            };
            self.programs.entry(program.clone()).or_insert_with(new);
        }
        for (program, metrics) in &mut self.programs {
            match counts.programs.get(program).map_or(Some(none), |counts| *counts) {
                Some(counts) => metrics.add(&counts),
                None => metrics.cut_short(),
            }
        }
    }

    /// The programs that are not ignored.
    fn known_programs<'a>(&'a self, ignored: &'a Ignored) -> impl Iterator<Item = (&'a String, &'a Metrics)> {
        self.programs.iter().filter(move |(program, _)| !is_ignored(ignored, program))
    }

    /// Whether a run more may show that what all runs have shown is not so in each.
    fn may_be_chance(&self) -> bool {
        self.runs < MOST && (self.runs < OVER || self.spent < PATIENCE)
    }

    /// Whether metrics are outside of `bounds`, and another run may show more.
    fn is_outside(&self, metrics: &Metrics, bounds: &Bounds) -> bool {
        // What cannot be compared for having been killed may live on in the next run.
        let Some(seen) = metrics.seen else { return metrics.cut_short > 0 && self.may_be_chance() };
        let counts = |at: usize| at != PEAK || metrics.threads <= 1 || bounds.threaded_peaks;
        let over = |at: usize| bounds.most[at].is_some_and(|most| seen[at].0 > most);
        let better = |at: usize| bounds.least[at].is_some_and(|least| seen[at].1 < least);
        let compared = || (0..METRICS).filter(|at| counts(*at));
        if compared().any(over) {
            self.may_be_chance()
        } else {
            compared().any(better) && self.is_open(metrics)
        }
    }

    /// Whether metrics are not known yet.
    fn is_open(&self, metrics: &Metrics) -> bool {
        let may_vary = metrics.varies || metrics.threads > 1;
        let may_show_more = self.runs < MOST && metrics.quiet < QUIET && self.spent < PATIENCE;
        metrics.seen.is_some() && (self.runs < LEAST || may_vary && may_show_more)
    }
}

impl Metrics {
    fn add(&mut self, counts: &Counts) {
        let exact = |value: u64| (clamped(value), clamped(value));
        let (peak, error) = (clamped(counts.peak_space), clamped(counts.peak_error));
        let run = [
            exact(counts.alloc_objects),
            exact(counts.alloc_space),
            (peak.saturating_sub(error), peak.saturating_add(error)),
            (counts.inuse_objects, counts.inuse_objects),
            (counts.inuse_space, counts.inuse_space),
        ];
        self.threads = self.threads.max(counts.threads);
        let Some(seen) = &mut self.seen else {
            self.seen = Some(run);
            self.varies |= self.cut_short > 0;
            self.quiet = 0;
            return;
        };
        let mut new = false;
        for (at, (seen, run)) in seen.iter_mut().zip(run).enumerate() {
            let wider = (seen.0.min(run.0), seen.1.max(run.1));
            // How high a peak of several threads gets depends on who runs when.
            new |= wider != *seen && (at != PEAK || counts.threads <= 1);
            *seen = wider;
        }
        self.varies |= new;
        self.quiet = if new { 0 } else { self.quiet + 1 };
    }

    fn cut_short(&mut self) {
        let is_new = self.cut_short == 0 && self.seen.is_some();
        self.varies |= is_new;
        self.quiet = if is_new { 0 } else { self.quiet + 1 };
        self.cut_short += 1;
    }
}

fn is_ignored(ignored: &Ignored, program: &str) -> bool {
    ignored.iter().any(|pattern| pattern::matches(&pattern.line, &line_of(&pattern.test, program)))
}

/// What the line of a program is called in a baseline that the test starts.
pub fn line_of(test: &str, program: &str) -> String {
    format!("{test}{STARTS}{program}")
}

/// Stands between a test and a program that it starts.
pub const STARTS: &str = " › ";

fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(alloc_objects: u64, threads: u32) -> Counts {
        Counts { alloc_objects, threads, peak_space: 100, peak_error: 10, ..Counts::default() }
    }

    fn run(alloc_objects: u64, threads: u32) -> Option<RunCounts> {
        Some(RunCounts { own: counts(alloc_objects, threads), ..RunCounts::default() })
    }

    /// How often a test runs that starts a program, whose runs have these counts in turn; `None` = it was not started.
    fn times_of_program(rule: Rule, objects: &[Option<u64>]) -> u32 {
        let mut runs = Runs::new(rule, 1);
        let of_run = |runs: &Runs| {
            let program = objects[(runs.count() as usize).min(objects.len() - 1)];
            let programs = program.map(|objects| ("m".to_owned(), Some(counts(objects, 1)))).into_iter().collect();
            Some(RunCounts { own: counts(4, 1), programs })
        };
        while runs.again(of_run(&runs), Duration::ZERO) {}
        runs.count()
    }

    fn settle() -> Rule {
        Rule::Settle(Ignored::new())
    }

    fn of_bounds(own: Bounds) -> Rule {
        Rule::Outside { own, programs: BTreeMap::new(), ignored: Ignored::new() }
    }

    /// How often a test runs whose runs have these counts in turn, the last one for ever.
    fn times(rule: Rule, threads: u32, objects: &[u64]) -> u32 {
        let mut runs = Runs::new(rule, 1);
        let count = |runs: &Runs| objects[(runs.count() as usize).min(objects.len() - 1)];
        while runs.again(run(count(&runs), threads), Duration::ZERO) {}
        runs.count()
    }

    fn outside(least: i64, most: i64) -> Rule {
        let mut bounds = Bounds::default();
        (bounds.least[0], bounds.most[0]) = (Some(least), Some(most));
        of_bounds(bounds)
    }

    #[test]
    fn a_test_runs_until_its_metrics_are_known() {
        assert_eq!(times(Rule::Never, 1, &[5, 6]), 1);
        assert_eq!(times(settle(), 1, &[5]), LEAST);
        assert_eq!(times(settle(), 2, &[5]), 1 + QUIET);
        assert_eq!(times(settle(), 1, &[5, 6, 5]), 2 + QUIET);
        // Within what was seen is nothing new.
        assert_eq!(times(settle(), 2, &[5, 9, 7, 6, 8]), 2 + QUIET);
        let rising: Vec<u64> = (0..100).collect();
        assert_eq!(times(settle(), 1, &rising), MOST);
    }

    #[test]
    fn a_test_that_is_over_runs_until_it_is_not_and_one_that_is_better_until_it_is_known() {
        assert_eq!(times(outside(3, 5), 1, &[4]), 1);
        assert_eq!(times(outside(3, 5), 2, &[5]), 1);
        assert_eq!(times(outside(3, 5), 1, &[6]), MOST);
        assert_eq!(times(outside(3, 5), 1, &[7, 6, 9, 5, 6]), 4);
        assert_eq!(times(outside(3, 5), 1, &[2]), LEAST);
        assert_eq!(times(outside(3, 5), 1, &[2, 2, 3]), 3);
        let mut slow = Runs::new(outside(3, 5), 1);
        while slow.again(run(6, 1), PATIENCE) {}
        assert_eq!(slow.count(), OVER);
    }

    #[test]
    fn peaks_of_several_threads_count_where_they_are_compared() {
        let mut bounds = Bounds::default();
        bounds.most[PEAK] = Some(89);
        let with = |threaded_peaks| of_bounds(Bounds { threaded_peaks, ..bounds.clone() });
        assert_eq!((times(with(false), 1, &[1]), times(with(false), 2, &[1])), (MOST, 1));
        assert_eq!(times(with(true), 2, &[1]), MOST);
        bounds.most[PEAK] = Some(90);
        assert_eq!(times(of_bounds(bounds), 1, &[1]), 1, "what may be within is not over");
    }

    #[test]
    fn a_test_runs_until_what_it_starts_is_known_too() {
        assert_eq!(times_of_program(settle(), &[Some(5)]), LEAST);
        assert_eq!(times_of_program(settle(), &[Some(5), Some(6), Some(5)]), 2 + QUIET);
        // What is started now and then varies.
        assert_eq!(times_of_program(settle(), &[None, Some(6), None]), 2 + QUIET);
        let Rule::Outside { own, .. } = outside(3, 5) else { unreachable!() };
        let rule = |programs: &[&str], ignored: &[&str]| Rule::Outside {
            own: own.clone(),
            programs: programs.iter().map(|program| ((*program).to_owned(), own.clone())).collect(),
            ignored: ignored.iter().map(|line| Pattern { test: "t".into(), line: (*line).to_owned() }).collect(),
        };
        assert_eq!(times_of_program(rule(&["m"], &[]), &[Some(4), Some(9)]), 1);
        assert_eq!(times_of_program(rule(&["m"], &[]), &[Some(6), Some(6), Some(5)]), 3);
        assert_eq!(times_of_program(rule(&["m"], &[]), &[Some(6)]), MOST);
        assert_eq!(times_of_program(rule(&["m"], &["t › m"]), &[Some(6)]), 1);
        assert_eq!(times_of_program(rule(&[], &[]), &[Some(6)]), LEAST);
        assert_eq!(times_of_program(rule(&[], &["* › m"]), &[Some(6)]), 1);
    }

    #[test]
    fn a_run_that_kills_a_program_does_not_count_and_another_may() {
        let of = |rule: &Rule, whole: &[bool]| {
            let mut runs = Runs::new(rule.clone(), 1);
            let next = |runs: &Runs| {
                let is_whole = whole[(runs.count() as usize).min(whole.len() - 1)];
                let programs = [("m".to_owned(), is_whole.then(|| counts(4, 1)))].into();
                Some(RunCounts { own: counts(4, 1), programs })
            };
            while runs.again(next(&runs), Duration::ZERO) {}
            runs.count()
        };
        // What is killed in each run needs no metrics, and what is in some is run until nothing new is seen.
        assert_eq!(of(&settle(), &[false]), LEAST);
        assert_eq!(of(&settle(), &[true, false, true]), 2 + QUIET);
        assert_eq!(of(&settle(), &[false, true]), 2 + QUIET);
        let Rule::Outside { own, .. } = outside(3, 5) else { unreachable!() };
        let rule = |always_started| {
            let bounds = Bounds { always_started, ..own.clone() };
            Rule::Outside { own: own.clone(), programs: [("m".to_owned(), bounds)].into(), ignored: Ignored::new() }
        };
        assert_eq!(of(&rule(true), &[true]), 1);
        assert_eq!(of(&rule(true), &[false, false, true]), 3);
        assert_eq!(of(&rule(true), &[false]), MOST);
        // Nor is one that is not started.
        assert_eq!(times_of_program(rule(true), &[None, None, Some(4)]), 3);
        assert_eq!(times_of_program(rule(true), &[None]), MOST);
        assert_eq!(times_of_program(rule(false), &[None]), 1);
    }

    #[test]
    fn what_the_user_asks_for_is_run_and_a_run_without_counts_is_the_last() {
        let mut runs = Runs::new(Rule::Never, 2);
        assert!(!runs.is_ours() && runs.again(None, Duration::ZERO) && !runs.is_ours());
        assert!(!runs.again(None, Duration::ZERO));
        let mut runs = Runs::new(settle(), 1);
        assert!(!runs.again(None, Duration::ZERO) && runs.is_ours());
    }
}
