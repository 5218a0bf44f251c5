//! One test: holds its metrics against its line of the baseline and against its limits, and gives the findings.

use crate::gate::compare::loaded_test::{LoadedTest, PARTIAL};
use crate::gate::metrics::{Metric, Seen};
use crate::gate::outcome::{Better, Finding, Judged, Severity};
use crate::gate::policy::Policy;
use crate::gate::policy::limit::Limit;
use crate::gate::program;
use memprof_profile::record::TestId;

/// Why a program has no metrics that a test starts.
const KILLED: &str = "one of its processes was killed, or became another program";

/// `held` = the test's line in the baseline is one to hold it against; ceilings hold in any case.
pub fn judge(id: &TestId, repeats: &[&LoadedTest], line: Option<&Seen>, held: bool, policy: &Policy) -> Judged {
    let before = line.filter(|_| held);
    let mut judged = of_run(id, repeats, line);
    let Some(now) = judged.now else { return judged };
    let runs = judged.runs;
    let mut found = |severity: Severity, finding: Finding| {
        if severity != Severity::Ignore {
            judged.findings.push((severity, finding));
        }
    };
    if let Some(reason) = policy.exclusion(id) {
        found(Severity::Warn, Finding::Excluded { reason: reason.to_owned() });
        return judged;
    }
    if repeats.iter().any(|test| test.outcome != "ok") {
        let late = repeats.iter().any(|test| test.outcome == "timed_out");
        // One without a line fails nothing where cargo passes, as a program's test may that fails alone.
        let severity = if line.is_some() { Severity::Fail } else { Severity::Warn };
        found(severity, if late { Finding::TestTimedOut } else { Finding::TestFailed });
        return judged;
    }
    if repeats.iter().any(|test| test.seen == PARTIAL) {
        let reason = "its allocator bypasses the C library and cannot be seen".to_owned();
        match line {
            // It was seen when the line was written: whoever changed the allocator is not to switch the gate off.
            Some(_) => found(policy.unprofiled, Finding::Unprofiled { reason }),
            None => found(Severity::Warn, Finding::Excluded { reason }),
        }
        return judged;
    }
    if repeats.iter().any(|test| !test.is_whole()) {
        match (program::of_line(id), line) {
            (None, _) => found(Severity::Fail, Finding::CutShort),
            // It may be killed or not, by chance.
            (Some(_), Some(line)) if line.killed > 0 => found(Severity::Warn, Finding::Killed { killed: runs, runs }),
            (Some(_), Some(_)) => found(policy.unprofiled, Finding::Unprofiled { reason: KILLED.to_owned() }),
            // A program that is there until it is killed never had metrics.
            (Some(_), None) => {}
        }
        return judged;
    }
    let peaks = policy.compares_peak(id, judged.threads);
    let mut better = Vec::new();
    for metric in Metric::ALL {
        if metric == Metric::PeakSpace && !peaks {
            let exact = before.filter(|before| before.most.error(metric) == 0);
            if let Some(before) = exact.map(|before| before.most.get(metric)) {
                found(Severity::Warn, Finding::PeakNotCompared { before, now: now.least.get(metric) });
            }
            continue;
        }
        let limit = policy.limit(id, metric);
        unstable(&now, metric, &limit).into_iter().for_each(|finding| found(Severity::Warn, finding));
        // What was seen once may be seen again, so the least of now is held against the most of then; and what may be within the limit,
        // by the bound of a peak on either side, is not over it.
        let most = limit.most(before.map(|before| before.most(metric).saturating_add(unseen(before, runs, metric))));
        if let Some(most) = most.filter(|most| now.least(metric) > *most) {
            let (before_least, before) =
                (before.map(|before| before.least.get(metric)), before.map(|before| before.most.get(metric)));
            let (now, limit) = (now.least.get(metric), limit.to_string());
            found(Severity::Fail, Finding::Over { metric, before, before_least, now, most, limit });
        } else if let Some(before) = before.filter(|before| is_better(&limit, before, &now, metric)) {
            let (before, now) = (before.least.get(metric), now.most.get(metric));
            better.push(Better { metric, before, now });
            if policy.ratchet(id) {
                found(Severity::Fail, Finding::Improved { metric, before, now });
            }
        }
    }
    if now.killed > 0 && line.is_none_or(|line| line.killed == 0) {
        let killed = now.killed as usize;
        found(Severity::Warn, Finding::Killed { killed, runs: runs + killed });
    }
    match line {
        // Whether it has metrics is chance, and that fails nothing.
        None if now.killed > 0 => found(policy.new.min(Severity::Warn), Finding::New),
        None => found(policy.new, Finding::New),
        Some(_) if !held => found(Severity::Warn, Finding::OtherConditions),
        Some(_) => {}
    }
    judged.better = better;
    judged
}

/// A test that ran and is not compared.
pub fn only_found(id: &TestId, repeats: &[&LoadedTest], line: Option<&Seen>, finding: (Severity, Finding)) -> Judged {
    let mut judged = of_run(id, repeats, line);
    judged.findings.extend(Some(finding).filter(|(severity, _)| *severity != Severity::Ignore));
    judged
}

/// A test that ran, of which nothing is found yet.
pub fn of_run(id: &TestId, repeats: &[&LoadedTest], line: Option<&Seen>) -> Judged {
    let first = repeats.first();
    Judged {
        id: id.clone(),
        before: line.copied(),
        now: seen(repeats),
        source_file: first.map(|test| test.source_file.clone()).unwrap_or_default(),
        start_line: first.map_or(0, |test| test.start_line),
        threads: repeats.iter().map(|test| test.threads).max().unwrap_or(0),
        runs: repeats.len(),
        findings: Vec::new(),
        better: Vec::new(),
    }
}

/// What was seen of a test in its repeats.
pub fn seen(repeats: &[&LoadedTest]) -> Option<Seen> {
    let killed = repeats.iter().map(|test| test.killed).sum();
    let text = repeats.iter().find_map(|test| test.text);
    Seen::of(repeats.iter().map(|test| test.metrics)).map(|seen| Seen { killed, text, ..seen })
}

/// What a test that is known to vary may have needed more than was seen: where it was run once, and can be run no more, as much as what was seen
/// differs by. Of several runs the least is what counts.
fn unseen(before: &Seen, runs: usize, metric: Metric) -> i64 {
    let spread = before.most.get(metric).saturating_sub(before.least.get(metric));
    if runs == 1 { spread } else { 0 }
}

/// Whether the metric is better by more than its limit takes for noise: metrics such as `now`, grown to those of `before`, would be over it.
fn is_better(limit: &Limit, before: &Seen, now: &Seen, metric: Metric) -> bool {
    let grown = limit.most(Some(now.most(metric)));
    now.most(metric) < before.least(metric) && grown.is_some_and(|most| before.least(metric) > most)
}

fn unstable(seen: &Seen, metric: Metric, limit: &Limit) -> Option<Finding> {
    let (least, most) = (seen.least.get(metric), seen.most.get(metric));
    let room = limit.with_room(least, most, metric.is_space());
    seen.varies(metric).then_some(Finding::Unstable { metric, least, most, repeats: seen.runs as usize, room })
}
