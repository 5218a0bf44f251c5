//! `cargo memprof bisect`: finds the commit that added the allocations, between a revision that is within its limits
//! and one that is not.

use crate::context::Context;
use crate::context::options::TestOptions;
use crate::gate::baseline::against::{self, Against, Revision};
use crate::gate::baseline::reference::{Reference, Source, metrics_of};
use crate::gate::baseline::store::{Repeat, Store};
use crate::gate::committed::Baseline;
use crate::gate::compare::compare;
use crate::gate::compare::loaded_run::LoadedRun;
use crate::gate::explain::changed_lines::ChangedLines;
use crate::gate::explain::evidence;
use crate::gate::flags::GateFlags;
use crate::gate::outcome::{Finding, Judged, Outcome};
use crate::gate::output::text;
use crate::gate::policy::Policy;
use crate::git::{Failure, Git};
use crate::inject::harness::fingerprint;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use crate::ui::interrupt;
use memprof_profile::record::TestId;
use memprof_profile::view::amount::plural;
use memprof_profile::view::plain::plain;
use std::collections::BTreeSet;

/// What `cargo memprof bisect` was asked for.
#[derive(Debug)]
pub struct BisectOptions {
    pub test: TestOptions,
    /// A revision at which the tests are within their limits, by definition.
    pub good: String,
    /// A later one.
    pub bad: String,
}

/// Letters of a hash by which commits are named.
const SHOWN: usize = 12;

/// Finds the first commit with which a test is over the limits that it has at the good revision.
///
/// # Errors
/// Where a revision is not there, or the good or the bad one cannot be recorded.
pub fn bisect(options: &BisectOptions) -> Result<ExitCode, Error> {
    let context = match Context::load(&options.test.cargo)? {
        Ok(context) => context,
        Err(code) => return Ok(code),
    };
    let git = against::git(&options.bad)?;
    let bisection = Bisection { options, context: &context, git: &git };
    let commits = bisection.commits()?;
    let reference = Reference::find(&context, &GateFlags::default())?;
    let (reference, good) = reference.against(bisection.at(&options.good))?;
    let run = bisection.at(&options.bad).record()?;
    let over = over_in(&compare(&good, &run, &reference.policy));
    if over.is_empty() {
        let nothing = format!("no test needs more at `{}` than at `{}`", options.bad, options.good);
        return Err(cannot()
            .caused_by(nothing)
            .help("choose revisions between which the gate fails: `cargo memprof gate --against REV`")
            .with_code(ExitCode::CANNOT_COMPARE));
    }
    let tests: Vec<String> = over.iter().take(3).map(|id| format!("`{}`", plain(&id.label()))).collect();
    let more = if over.len() > 3 { ", …" } else { "" };
    context.shell.status("Bisecting", &format!("{} for {}{more}", plural(commits.len(), "commit"), tests.join(", ")));
    let judge = |commit: &String| bisection.judge(commit, &good, &reference.policy, &over);
    let found = search(commits.len(), |at| judge(&commits[at])).map_err(|(found, error)| {
        let before = found.good.map_or(&*options.good, |at| &commits[at]);
        let left = plural(found.bad - found.good.map_or(0, |at| at + 1) + 1, "commit");
        match interrupt::requested() {
            None => error,
            Some(code) => cannot()
                .caused_by(format!(
                    "it was interrupted: it is one of {left}, {}..{}",
                    short(before),
                    short(&commits[found.bad])
                ))
                .help("call it again: what was recorded until then is known, and your checkout is as it was")
                .with_code(code),
        }
    })?;
    let before = found.good.map_or(&options.good, |at| &commits[at]);
    let culprit = &commits[found.bad];
    if found.good.map_or(0, |at| at + 1) < found.bad {
        let range = format!("{}..{}", short(before), short(culprit));
        return Err(cannot()
            .caused_by(format!("no commit between these can be recorded: {range}"))
            .help("see above why; the allocations were added by one of them")
            .with_code(ExitCode::CANNOT_COMPARE));
    }
    bisection.show(before, culprit, &reference, &over)
}

fn cannot() -> Error {
    Error::new("cannot find the commit that added the allocations")
}

fn short(revision: &str) -> &str {
    let is_hash = revision.len() >= 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { &revision[..SHOWN] } else { revision }
}

/// The tests over budget.
fn over_in(outcome: &Outcome) -> BTreeSet<TestId> {
    let over = |test: &&Judged| test.failures().any(|finding| matches!(finding, Finding::Over { .. }));
    outcome.tests.iter().filter(over).map(|test| test.id.clone()).collect()
}

/// What a commit showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Good,
    Bad,
    /// It cannot be recorded, or none of the tests is there.
    Nothing,
}

/// Where the search ended: the last good commit (`None` = the good revision itself), and the first bad one.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    good: Option<usize>,
    bad: usize,
}

/// Searches `number` commits, the oldest first, of which the last is bad. A commit that shows nothing is passed over for its neighbours.
///
/// # Errors
/// That of `judge`, with how far the search has come.
fn search(number: usize, mut judge: impl FnMut(usize) -> Result<Shown, Error>) -> Result<Found, (Found, Error)> {
    let (mut found, mut nothing) = (Found { good: None, bad: number - 1 }, BTreeSet::new());
    loop {
        let begin = found.good.map_or(0, |at| at + 1);
        let middle = (begin + found.bad) / 2;
        let open = (begin..found.bad).filter(|at| !nothing.contains(at));
        let Some(at) = open.min_by_key(|at| at.abs_diff(middle)) else { return Ok(found) };
        let shown = match judge(at) {
            Ok(shown) => shown,
            Err(error) => return Err((found, error)),
        };
        match shown {
            Shown::Good => found.good = Some(at),
            Shown::Bad => found.bad = at,
            Shown::Nothing => {
                nothing.insert(at);
            }
        }
    }
}

struct Bisection<'a> {
    options: &'a BisectOptions,
    context: &'a Context<'a>,
    git: &'a Git,
}

impl Bisection<'_> {
    fn at(&self, revision: &str) -> Against<'_> {
        let harness = fingerprint::fingerprint();
        Against {
            revision: Revision::called(short(revision)),
            options: &self.options.test,
            harness,
            context: self.context,
            git: self.git,
        }
    }

    /// Those behind the good revision up to the bad one, the oldest first. Of what a merge brought in, the merge stands for all.
    fn commits(&self) -> Result<Vec<String>, Error> {
        let because =
            |failure: Failure| cannot().caused_by(failure.cause).help(failure.help).with_code(ExitCode::CANNOT_COMPARE);
        let against = self.at(&self.options.bad);
        let (repository, folder) = against.repository()?;
        let [good, bad] = [&self.options.good, &self.options.bad].map(|revision| repository.commit(revision, &folder));
        let commits = repository.first_parents(&good.map_err(because)?, &bad.map_err(because)?).map_err(because)?;
        if commits.is_empty() {
            return Err(cannot()
                .caused_by(format!("`{}` is not behind `{}`", self.options.bad, self.options.good))
                .help("`--good` names an older revision on the same branch, such as the last release")
                .with_code(ExitCode::CANNOT_COMPARE));
        }
        Ok(commits)
    }

    fn judge(&self, commit: &str, good: &Baseline, policy: &Policy, over: &BTreeSet<TestId>) -> Result<Shown, Error> {
        let run = match self.at(commit).record() {
            Ok(run) => run,
            Err(error) if interrupt::requested().is_some() => return Err(error),
            Err(error) => {
                self.context.shell.warn(&format!("{} is passed over\n{error}", short(commit)));
                return Ok(Shown::Nothing);
            }
        };
        let outcome = compare(good, &run, policy);
        let compared = outcome.tests.iter().any(|test| over.contains(&test.id) && test.was_compared());
        let shown = match over_in(&outcome).intersection(over).count() {
            0 if compared => Shown::Good,
            0 => Shown::Nothing,
            _ => Shown::Bad,
        };
        let verdict = match shown {
            Shown::Good => "within budget",
            Shown::Bad => "over budget",
            Shown::Nothing => "none of these tests could be compared",
        };
        self.context.shell.status("Judged", &format!("{}: {verdict}", short(commit)));
        Ok(shown)
    }

    /// Says which commit it was, and what it changed in the tests.
    fn show(
        &self,
        before: &str,
        culprit: &str,
        reference: &Reference,
        over: &BTreeSet<TestId>,
    ) -> Result<ExitCode, Error> {
        let [before_run, run]: [LoadedRun; 2] = [self.at(before).record()?, self.at(culprit).record()?];
        let baseline =
            Baseline { tests: metrics_of(&before_run), conditions: run.run.conditions.clone(), ..Baseline::default() };
        let mut outcome = compare(&baseline, &run, &reference.policy);
        outcome.tests.retain(|test| over.contains(&test.id));
        let store = Store::of_run(&before_run, Repeat::Most);
        let source_roots = self.at(culprit).source_roots()?;
        let evidence = evidence::gather(&outcome, &run, &[&store], &source_roots, &ChangedLines::default())?;
        let source = Source { name: short(before).to_owned(), committed: false };
        let subject = self.at(culprit).repository().ok().and_then(|(repository, _)| repository.subject(culprit));
        let subject = subject.map_or(String::new(), |subject| format!(" {}", plain(&subject)));
        let rendered = text::render(&outcome, &evidence, &source);
        self.context.shell.result(&format!("\nfirst over budget: {}{subject}\n{rendered}", short(culprit)));
        Ok(ExitCode::OK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found where all commits from `first` on are bad and those of `nothing` cannot be judged, and how many were judged.
    fn found(number: usize, first: usize, nothing: &[usize]) -> (Option<usize>, usize, usize) {
        let mut judged = 0;
        let judge = |at: usize| {
            judged += 1;
            assert!(at < number - 1, "the last one is known");
            Ok(match at {
                at if nothing.contains(&at) => Shown::Nothing,
                at if at >= first => Shown::Bad,
                _ => Shown::Good,
            })
        };
        let Found { good, bad } = search(number, judge).unwrap();
        (good, bad, judged)
    }

    #[test]
    fn a_hash_is_shown_by_its_first_letters_and_a_name_whole() {
        assert_eq!(short(&"0123abcd".repeat(5)), "0123abcd0123");
        let name = "ä".repeat(20);
        assert_eq!((short(&name), short("HEAD~5")), (&*name, "HEAD~5"));
    }

    #[test]
    fn the_first_bad_commit_is_found_in_a_few_steps() {
        for number in 1..40 {
            for first in 0..number {
                let (good, bad, judged) = found(number, first, &[]);
                assert_eq!((good, bad), (first.checked_sub(1), first));
                assert!(judged <= 6, "{judged} of {number}");
            }
        }
    }

    #[test]
    fn commits_that_show_nothing_are_passed_over_and_leave_a_range_where_they_hide_it() {
        assert_eq!(found(9, 6, &[3, 4]).0, Some(5));
        let (good, bad, _) = found(9, 4, &[3, 4, 5]);
        assert_eq!((good, bad), (Some(2), 6));
        let (good, bad, _) = found(5, 2, &[0, 1, 2, 3]);
        assert_eq!((good, bad), (None, 4));
    }
}
