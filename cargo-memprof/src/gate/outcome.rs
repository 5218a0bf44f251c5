//! The outcome of the gate, as plain values: every test that was compared or should have been, and every reason not to
//! trust the comparison. `output` shows it.

use crate::context::conditions::Difference;
use crate::gate::committed::TargetId;
use crate::gate::metrics::{Metric, Seen};
use crate::gate::program;
use crate::ui::exit_code::ExitCode;
use memprof_profile::record::TestId;
use memprof_profile::view::amount::{count, plural};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Ignore,
    Warn,
    Fail,
}

/// The whole comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// By test: every test of the run and every line of the baseline.
    pub tests: Vec<Judged>,
    /// What is wrong with the comparison as a whole.
    pub doubts: Vec<Doubt>,
    /// The tests are benchmarks.
    pub of_benchmarks: bool,
}

/// How much was compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compared {
    pub tests: usize,
    /// Programs that tests start, once for each test that does.
    pub programs: usize,
    /// The tests are benchmarks.
    pub of_benchmarks: bool,
}

impl Compared {
    /// As many tests and programs as there are of `judged`.
    pub fn count<'a>(judged: impl IntoIterator<Item = &'a Judged>, of_benchmarks: bool) -> Compared {
        let (programs, tests): (Vec<&Judged>, Vec<&Judged>) =
            judged.into_iter().partition(|test| program::of_line(&test.id).is_some());
        Compared { tests: tests.len(), programs: programs.len(), of_benchmarks }
    }

    /// `3 of 8 tests`, `1 program of 8 tests and 2 programs that they start`: these, among `all`.
    pub fn share_of(self, all: Compared) -> String {
        let what = if self.of_benchmarks { "benchmark" } else { "test" };
        let mut some = match (self.tests, all.programs + self.programs) {
            (tests, 0) if tests <= all.tests => return format!("{} of {all}", count(tests as i128)),
            (0, _) => Vec::new(),
            (tests, _) => vec![plural(tests, what)],
        };
        some.extend((self.programs > 0).then(|| plural(self.programs, "program")));
        let some = some.join(" and ");
        // What has a ceiling and no line is over it, and not compared.
        let are_among = self.tests <= all.tests && self.programs <= all.programs;
        format!("{some}{} {all}", if are_among { " of" } else { ";" })
    }

    pub fn is_nothing(self) -> bool {
        self.tests + self.programs == 0
    }
}

impl fmt::Display for Compared {
    /// `8 tests and 2 programs that they start`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plural(self.tests, if self.of_benchmarks { "benchmark" } else { "test" }))?;
        match self.programs {
            0 => Ok(()),
            programs => write!(f, " and {} that they start", plural(programs, "program")),
        }
    }
}

/// One test, or a program that one starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub id: TestId,
    /// Of the baseline; `None` = it has no line.
    pub before: Option<Seen>,
    /// Of the run; `None` = it did not run, or was not measured.
    pub now: Option<Seen>,
    /// Where the test function stands; empty and 0 = not known.
    pub source_file: String,
    pub start_line: u32,
    /// The most threads that allocated in one of its runs; 0 = it did not run.
    pub threads: u32,
    /// How often it ran.
    pub runs: usize,
    /// Empty = all is well.
    pub findings: Vec<(Severity, Finding)>,
    /// Metrics that are better by more than the noise that their limits allow.
    pub better: Vec<Better>,
}

/// A metric that is better than the baseline's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Better {
    #[serde(rename = "figure")]
    pub metric: Metric,
    /// The least that was seen then.
    pub before: i64,
    /// The most that was seen now.
    pub now: i64,
}

/// What is to be said of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Finding {
    /// The metric is above its limit.
    Over {
        #[serde(rename = "figure")]
        metric: Metric,
        /// The most that was seen then. `None` = the limit is a ceiling and there is no line in the baseline.
        before: Option<i64>,
        /// The least that was seen then.
        before_least: Option<i64>,
        /// The least that was seen now: whatever varies in the test, it needs as much.
        now: i64,
        /// The highest allowed number.
        most: i64,
        /// The limit as it was written.
        limit: String,
    },
    /// The metric is better, see [`Judged::better`], and the policy has a ratchet.
    Improved {
        #[serde(rename = "figure")]
        metric: Metric,
        before: i64,
        now: i64,
    },
    /// Not in the baseline.
    New,
    /// In the baseline, and no longer a test.
    Gone,
    /// A program that is in the baseline, and that its test no longer starts.
    NotStarted,
    /// In the baseline, and filtered out or ignored.
    NotRun { why: String },
    /// In the baseline, and its target was not measured.
    Unprofiled { reason: String },
    /// The test itself failed: what it allocated until then is compared with nothing.
    TestFailed,
    /// Its time was up (`--test-timeout`); likewise.
    TestTimedOut,
    /// The process ended before the test returned, so the metrics are those of a part.
    CutShort,
    /// In so many of the runs of the test that starts it, a process of the program was killed, or became another program. Those runs are not
    /// compared.
    Killed { killed: usize, runs: usize },
    /// Not compared, by the policy.
    Excluded { reason: String },
    /// Not held against its line, which is of other conditions.
    OtherConditions,
    /// Its line has an exact peak. Several threads allocate now, and how high a peak they reach depends on who runs when.
    PeakNotCompared { before: i64, now: i64 },
    /// Repeats of the test differ.
    Unstable {
        #[serde(rename = "figure")]
        metric: Metric,
        least: i64,
        most: i64,
        repeats: usize,
        /// A limit with room for it; `None` = it has room enough, or can have none.
        room: Option<String>,
    },
}

/// A reason not to trust the comparison as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Doubt {
    /// The baseline is of other conditions.
    Conditions { severity: Severity, differences: Vec<Difference> },
    /// Targets were compiled otherwise than for the baseline, and not because the code has changed: their lines are of other conditions.
    Units { severity: Severity, targets: Vec<OtherUnit> },
    /// No test was compared with a line of the baseline.
    NothingCompared,
    /// Ledgers that could not be read: their tests are missing.
    UnreadableLedgers { ledgers: usize },
    /// Targets that carry the harness ran and left no recording: whatever their tests allocate, nobody knows.
    NotRecorded { severity: Severity, targets: Vec<String> },
    /// Tests ran, and something removed their recordings before they could be read.
    Removed { severity: Severity, tests: Vec<TestId> },
    /// The run was stopped by the user.
    Interrupted,
    /// Cargo failed: tests did, or did not compile.
    TestsFailed { cargo_exit: i32 },
    /// It did not come to a comparison.
    Refused {
        #[serde(rename = "asked")]
        request: String,
        causes: Vec<String>,
        help: Option<String>,
    },
}

/// A target that was compiled otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherUnit {
    pub package: String,
    pub kind: String,
    pub target: String,
    pub differences: Vec<Difference>,
}

impl OtherUnit {
    pub fn new(target: &TargetId, differences: Vec<Difference>) -> OtherUnit {
        let TargetId { package, kind, target } = target.clone();
        OtherUnit { package, kind, target, differences }
    }
}

impl OtherUnit {
    /// Because the user chose other packages, and not by a setting.
    pub fn is_of_other_packages(&self) -> bool {
        self.differences.iter().any(|difference| difference.condition == "packages")
    }
}

impl fmt::Display for OtherUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OtherUnit { package, kind, target, differences } = self;
        let differences: Vec<String> = differences.iter().map(Difference::change).collect();
        write!(f, "{package} {kind}/{target}: {}", differences.join(", "))
    }
}

/// The last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Passed,
    OverBudget,
    CannotCompare,
    /// Whatever the metrics are: the job has failed, and nothing about it is to look as if it had passed.
    TestsFailed,
}

impl Finding {
    /// Whether it means a number above what is allowed (or, with a ratchet, not yet accepted), as opposed to a
    /// comparison that could not be made.
    pub fn is_budget(&self) -> bool {
        matches!(self, Finding::Over { .. } | Finding::Improved { .. })
    }

    /// Whether it only repeats for one test what a [`Doubt`] says of all of them.
    pub fn is_doubt(&self) -> bool {
        matches!(self, Finding::OtherConditions)
    }
}

impl Doubt {
    pub fn severity(&self) -> Severity {
        match self {
            Doubt::Conditions { severity, .. }
            | Doubt::Units { severity, .. }
            | Doubt::NotRecorded { severity, .. }
            | Doubt::Removed { severity, .. } => *severity,
            _ => Severity::Fail,
        }
    }

    /// Whether the metrics of this run say nothing about the code: a baseline of other conditions would have others, and
    /// which tests an interrupted run reached is chance. A lost ledger takes nothing from what the others say.
    pub fn is_fatal(&self) -> bool {
        match self {
            Doubt::Conditions { severity, .. } => *severity == Severity::Fail,
            Doubt::Interrupted | Doubt::Refused { .. } => true,
            Doubt::NothingCompared
            | Doubt::TestsFailed { .. }
            | Doubt::UnreadableLedgers { .. }
            | Doubt::Units { .. }
            | Doubt::NotRecorded { .. }
            | Doubt::Removed { .. } => false,
        }
    }

    /// What it is about, one by one, where the sentence for all of it does not say so.
    pub fn details(&self) -> Vec<String> {
        match self {
            Doubt::Conditions { differences, .. } => differences.iter().map(ToString::to_string).collect(),
            Doubt::Units { targets, .. } => targets.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        }
    }
}

impl Judged {
    /// The findings that fail the gate.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|(severity, _)| *severity == Severity::Fail).map(|(_, finding)| finding)
    }

    /// Whether its runs have shown that it varies by itself.
    pub fn varies(&self) -> bool {
        self.findings.iter().any(|(_, finding)| matches!(finding, Finding::Unstable { .. }))
    }

    /// Whether it is over a line that other metrics would be within, as opposed to a ceiling, and its metrics are what it needs.
    pub fn can_be_accepted(&self) -> bool {
        let grown = |finding: &Finding| match finding {
            Finding::Over { before, now, .. } => before.is_some_and(|before| *now > before),
            Finding::Improved { .. } => true,
            _ => false,
        };
        !self.varies() && self.failures().any(grown)
    }

    /// Whether it is over a line of the baseline that may be as far from the next run's: threads race, and one run cannot tell.
    pub fn may_vary(&self) -> bool {
        let over = |finding: &Finding| matches!(finding, Finding::Over { before: Some(_), .. });
        self.threads > 1 && self.runs == 1 && self.failures().any(over)
    }

    /// Share by which the metric that grew most has grown, in thousandths.
    fn growth(&self) -> i128 {
        let share = |finding: &Finding| match finding {
            Finding::Over { before, now, .. } => {
                let before = i128::from(before.unwrap_or(0));
                (i128::from(*now) - before) * 1000 / before.max(1)
            }
            _ => 0,
        };
        self.failures().map(share).max().unwrap_or(0)
    }

    /// Whether its metrics were held against a line of the baseline.
    pub fn was_compared(&self) -> bool {
        let kept_out = |finding: &Finding| {
            use Finding::*;
            matches!(
                finding,
                TestFailed
                    | TestTimedOut
                    | CutShort
                    | Excluded { .. }
                    | OtherConditions
                    | NotRun { .. }
                    | Unprofiled { .. }
            )
        };
        let always_killed =
            |(_, finding): &(_, Finding)| matches!(finding, Finding::Killed { killed, runs } if killed == runs);
        if self.findings.iter().any(always_killed) {
            return false;
        }
        self.before.is_some() && self.now.is_some() && !self.findings.iter().any(|(_, finding)| kept_out(finding))
    }
}

impl Outcome {
    /// An outcome without a comparison.
    pub fn refused(doubt: Doubt) -> Outcome {
        Outcome { doubts: vec![doubt], ..Outcome::default() }
    }

    /// What cargo failed with; `None` = it did not.
    fn failure(&self) -> Option<ExitCode> {
        self.doubts.iter().find_map(|doubt| match doubt {
            Doubt::TestsFailed { cargo_exit } => Some(ExitCode::of_cargo(*cargo_exit)),
            _ => None,
        })
    }

    /// A job whose tests failed has failed, and a comparison that means nothing has no other verdict, whatever its metrics happen to
    /// be. Otherwise over budget wins over a comparison that is incomplete: what was measured was measured.
    pub fn verdict(&self) -> Verdict {
        if self.failure().is_some() {
            return Verdict::TestsFailed;
        }
        if self.doubts.iter().any(Doubt::is_fatal) {
            return Verdict::CannotCompare;
        }
        if self.tests.iter().flat_map(Judged::failures).any(Finding::is_budget) {
            return Verdict::OverBudget;
        }
        let doubtful = self.doubts.iter().any(|doubt| doubt.severity() == Severity::Fail);
        if doubtful || self.tests.iter().any(|test| test.failures().next().is_some()) {
            return Verdict::CannotCompare;
        }
        Verdict::Passed
    }

    /// What the gate ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self.verdict() {
            Verdict::Passed => ExitCode::OK,
            Verdict::OverBudget => ExitCode::OVER_BUDGET,
            Verdict::CannotCompare => ExitCode::CANNOT_COMPARE,
            Verdict::TestsFailed => self.failure().unwrap_or(ExitCode::CANNOT_COMPARE),
        }
    }

    /// The tests over budget, the worst first.
    pub fn over_budget(&self) -> Vec<&Judged> {
        let mut over: Vec<&Judged> = self.tests.iter().filter(|test| test.failures().any(Finding::is_budget)).collect();
        over.sort_by(|a, b| b.growth().cmp(&a.growth()).then_with(|| a.id.cmp(&b.id)));
        over
    }

    /// The tests that need less than the baseline says and are over by nothing.
    pub fn better(&self) -> Vec<&Judged> {
        let over = |test: &Judged| test.failures().any(Finding::is_budget);
        self.tests.iter().filter(|test| !test.better.is_empty() && !over(test)).collect()
    }

    /// How many lines of the baseline were compared with: those of tests, and those of programs that they start.
    pub fn compared(&self) -> Compared {
        Compared::count(self.tests.iter().filter(|test| test.was_compared()), self.of_benchmarks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_counted_as_what_was_compared_is() {
        let of = |tests, programs| Compared { tests, programs, of_benchmarks: false };
        for (over, all, text) in [
            (of(1, 0), of(3, 0), "1 of 3 tests"),
            (of(1, 0), of(2, 1), "1 test of 2 tests and 1 program that they start"),
            (of(2, 1), of(2, 1), "2 tests and 1 program of 2 tests and 1 program that they start"),
            (of(0, 1), of(2, 1), "1 program of 2 tests and 1 program that they start"),
            (of(2, 0), of(1, 0), "2 tests; 1 test"),
        ] {
            assert_eq!(over.share_of(all), text);
        }
    }

    #[test]
    fn json_keeps_the_keys_that_its_readers_know() {
        let metric = Metric::AllocObjects;
        let over = Finding::Over { metric, before: None, before_least: None, now: 2, most: 1, limit: "1".into() };
        let unstable = Finding::Unstable { metric, least: 1, most: 2, repeats: 3, room: None };
        for finding in [over, Finding::Improved { metric, before: 2, now: 1 }, unstable] {
            assert_eq!(serde_json::json!(finding)["figure"], "alloc_objects", "{finding:?}");
        }
        assert_eq!(serde_json::json!(Better { metric, before: 2, now: 1 })["figure"], "alloc_objects");
        let refused = Doubt::Refused { request: "r".into(), causes: Vec::new(), help: None };
        assert_eq!(serde_json::json!(refused)["asked"], "r");
    }
}
