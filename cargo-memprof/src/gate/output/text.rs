//! The outcome for people, on a terminal. Pure.

use crate::gate::baseline::reference::Source;
use crate::gate::compare::self_test::{Loose, MetricTest, SelfTest};
use crate::gate::explain::evidence::{Evidence, Explanation, Missing};
use crate::gate::explain::varying::Varying;
use crate::gate::metrics::{Metric, show_span};
use crate::gate::outcome::{Compared, Doubt, Finding, Judged, OtherUnit, Outcome, Severity, Verdict};
use crate::gate::output::lines::{FileLine, Grown, Lines};
use crate::gate::output::sites::{SITES, all_sites, signed, sites, varying_site};
use anstyle::{AnsiColor, Style};
use camino::Utf8PathBuf;
use memprof_profile::record::TestId;
use memprof_profile::view::amount::{count, plural};

const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();
const BOLD: Style = Style::new().bold();
/// Tests of one kind of finding that are named; the rest are counted.
const NAMED: usize = 10;

/// The whole outcome, with ANSI styles.
pub fn render(outcome: &Outcome, evidence: &Evidence, baseline: &Source) -> String {
    let mut out = String::from("\n");
    let over = outcome.over_budget();
    for test in over.iter().take(NAMED) {
        out.push_str(&regression(test, evidence.get(&test.id)));
    }
    for test in over.iter().skip(NAMED) {
        out.push_str(&briefly(test));
    }
    out.push_str(&lines(&Lines::of(&over, evidence)));
    out.push_str(&unexplained(&over, evidence));
    for test in outcome.tests.iter().filter(|test| test.findings.iter().any(|(_, finding)| is_unstable(finding))) {
        out.push_str(&unstable(test, evidence.varying(&test.id)));
    }
    for group in groups(outcome, baseline) {
        out.push_str(&group);
    }
    out.push_str(&better(outcome, baseline));
    for doubt in &outcome.doubts {
        out.push_str(&doubtful(doubt, outcome.of_benchmarks, baseline));
    }
    out.push_str(&last_line(outcome, baseline));
    out
}

fn regression(test: &Judged, explanation: Option<&Explanation>) -> String {
    let place = match test.source_file.as_str() {
        "" => String::new(),
        file => format!("  ({file}:{})", test.start_line),
    };
    let mut out = format!("{BAD}over budget{BAD:#} {BOLD}{}{BOLD:#}{place}\n", test.id.label());
    for finding in test.failures().filter(|finding| finding.is_budget()) {
        out.push_str(&format!("  {}\n", sentence(finding)));
        let Finding::Over { metric, .. } = finding else { continue };
        let changes = explanation.and_then(|all| all.changes.iter().find(|(of, _)| of == metric));
        if let Some((_, changes)) = changes {
            out.push_str(&sites(*metric, changes));
        }
        let now = explanation.and_then(|all| all.sites.iter().find(|(of, _)| of == metric));
        if let Some((_, now)) = now {
            out.push_str(&all_sites(*metric, now));
        }
    }
    if test.may_vary() {
        out.push_str(&format!(
            "  {HELP}help:{HELP:#} it ran once, and {} threads allocated in it, which may race: `cargo memprof gate` runs it again before it says so\n",
            test.threads
        ));
    } else if test.runs > 1 {
        out.push_str(&format!("  so in each of its {} runs\n", test.runs));
    }
    let Some(explanation) = explanation else { return out };
    let mut pointer = |what: &str, paths: Vec<&Utf8PathBuf>| {
        if !paths.is_empty() {
            let paths: Vec<String> =
                paths.iter().map(|path| crate::gate::baseline::reference::near(path).into_string()).collect();
            out.push_str(&format!("  {what}: {}\n", paths.join(" ")));
        }
    };
    pointer("difference", explanation.pictures.iter().collect());
    let (before, now) = &explanation.profiles;
    pointer("profiles", before.iter().chain(now).collect());
    out
}

/// One of many tests over budget.
fn briefly(test: &Judged) -> String {
    let sentences: Vec<String> = test.failures().filter(|finding| finding.is_budget()).map(change).collect();
    format!("{BAD}over budget{BAD:#} {BOLD}{}{BOLD:#}: {}\n", test.id.label(), sentences.join(", "))
}

/// What one cause has in many tests.
fn lines(lines: &Lines<'_>) -> String {
    if lines.iter().all(|(_, grown)| grown.tests() < 2) {
        return String::new();
    }
    let mut out = format!("{BOLD}lines that allocate more:{BOLD:#}\n");
    for line in lines.iter().take(NAMED) {
        out.push_str(&format!("  {}\n", line_sum(line)));
    }
    if lines.iter().len() > NAMED {
        out.push_str(&format!("  … and {} more\n", lines.iter().len() - NAMED));
    }
    out
}

/// `+12 allocs in 3 tests, src/parser.rs:88 in parse`.
pub fn line_sum(((file, line), grown): &(FileLine, Grown<'_>)) -> String {
    let sum = grown.sum().map_or(String::new(), |(metric, sum)| signed(metric, sum));
    let function = grown.function().map_or(String::new(), |name| format!(" in {name}"));
    format!("{sum} in {}, {file}:{line}{function}", plural(grown.tests(), "test"))
}

fn is_unstable(finding: &Finding) -> bool {
    matches!(finding, Finding::Unstable { .. })
}

/// A test that is not the same on every run.
fn unstable(test: &Judged, varying: Option<&Varying>) -> String {
    let mut out = format!("{} not the same on every run: {BOLD}{}{BOLD:#}\n", mark(Severity::Warn), test.id.label());
    for (_, finding) in test.findings.iter().filter(|(_, finding)| is_unstable(finding)) {
        out.push_str(&format!("  {}\n", sentence(finding)));
    }
    if let Some(varying) = varying {
        for change in varying.changes.iter().take(SITES) {
            out.push_str(&format!("    {}\n", varying_site(varying.metric, change)));
        }
        out.push_str(&format!("  {HELP}help:{HELP:#} {}\n", varying.cause.advice()));
    }
    let rooms: Vec<String> = test
        .findings
        .iter()
        .filter_map(|(_, finding)| match finding {
            Finding::Unstable { metric, room: Some(room), .. } => Some(format!("    {} = {room:?}\n", metric.name())),
            _ => None,
        })
        .collect();
    if !rooms.is_empty() {
        let id = &test.id;
        out.push_str(&format!(
            "  {HELP}help:{HELP:#} if that cannot be changed, give it room in `.config/memprof.toml`:\n    [[gate.override]]\n"
        ));
        let target = format!("{}/{}", id.kind, id.target);
        out.push_str(&format!("    package = {:?}\n    target = {target:?}\n    test = {:?}\n", id.package, id.name));
        out.extend(rooms);
    }
    out
}

/// Why tests are not explained, each reason once, and what to do.
fn unexplained(over: &[&Judged], evidence: &Evidence) -> String {
    let mut reasons: Vec<(&Missing, usize)> = Vec::new();
    for missing in over.iter().filter_map(|test| evidence.get(&test.id)?.missing.as_ref()) {
        match reasons.iter_mut().find(|(known, _)| *known == missing) {
            Some((_, tests)) => *tests += 1,
            None => reasons.push((missing, 1)),
        }
    }
    let mut out = String::new();
    for (Missing { what, help }, tests) in reasons.iter().take(NAMED) {
        let of = if over.len() > 1 { format!(" in {}", plural(*tests, "test")) } else { String::new() };
        out.push_str(&format!("{BOLD}what changed is not known{of}:{BOLD:#} {what}\n  {HELP}help:{HELP:#} {help}\n"));
    }
    out
}

/// What a finding says, in one sentence without the test's name.
pub fn sentence(finding: &Finding) -> String {
    match finding {
        Finding::Over { metric, most, limit, .. } => {
            format!("{}; at most {} are allowed by `{limit}`", change(finding), metric.show(*most))
        }
        Finding::Improved { .. } => format!("{}: better, and not yet in the baseline", change(finding)),
        Finding::New => "it is not in the baseline".to_owned(),
        Finding::Gone => "it is in the baseline and there is no such test any more".to_owned(),
        Finding::NotStarted => "it is in the baseline and its test does not start it any more".to_owned(),
        Finding::NotRun { why } => format!("it is in the baseline and did not run: {why}"),
        Finding::Unprofiled { reason } => format!("it is in the baseline and was not measured: {reason}"),
        Finding::TestFailed => "the test itself failed, so it was not compared".to_owned(),
        Finding::TestTimedOut => "the test itself timed out, so it was not compared".to_owned(),
        Finding::CutShort => "the process ended before the test returned, so it cannot be compared".to_owned(),
        Finding::Killed { killed, runs } => {
            format!("killed, or became another program, in {killed} of {}", plural(*runs, "run"))
        }
        Finding::Excluded { reason } => format!("it is excluded: {reason}"),
        Finding::OtherConditions => "it was not compared: its line is of other conditions".to_owned(),
        Finding::PeakNotCompared { before, now } => {
            let step = step(Metric::PeakSpace, *before, *before, *now);
            format!("{step}: not compared any more, because several threads allocate now")
        }
        Finding::Unstable { metric, least, most, repeats, .. } => {
            format!("{} {} to {} in {repeats} runs", metric.name(), metric.show(*least), metric.show(*most))
        }
    }
}

/// `alloc_objects 12 → 15 (+3)`; nothing of what is no change of a metric.
fn change(finding: &Finding) -> String {
    match finding {
        Finding::Over { metric, before: Some(before), before_least, now, .. } => {
            step(*metric, before_least.unwrap_or(*before), *before, *now)
        }
        Finding::Over { metric, now, .. } => format!("{} {}", metric.name(), metric.show(*now)),
        Finding::Improved { metric, before, now } => step(*metric, *before, *before, *now),
        _ => String::new(),
    }
}

/// The metric as it was, `least` to `most`, and as it is; what it grew by is more than it ever was.
fn step(metric: Metric, least: i64, most: i64, now: i64) -> String {
    let growth = growth(metric, most, now);
    format!("{} {} → {} ({growth})", metric.name(), show_span(metric, least, most), metric.show(now))
}

/// `alloc_objects 15 → 12 (-3)` for each metric of the test that is better.
pub fn improvements(test: &Judged) -> String {
    let steps = test.better.iter().map(|better| step(better.metric, better.before, better.before, better.now));
    steps.collect::<Vec<_>>().join(", ")
}

/// Tests that are better, which pass: what they no longer need is room for the next regression until it is accepted.
fn better(outcome: &Outcome, baseline: &Source) -> String {
    let better = outcome.better();
    let lines: Vec<String> = better.iter().map(|test| format!("{}: {}", test.id.label(), improvements(test))).collect();
    if lines.is_empty() {
        return String::new();
    }
    let what = match baseline.committed {
        true => "better than the baseline; `cargo memprof accept` takes it in",
        false => "better",
    };
    list(&format!("{GOOD}improved{GOOD:#}{BOLD}:{BOLD:#} {what}"), &lines)
}

/// `+3`, `-5.0 %`: the difference, and its share where that says more.
fn growth(metric: Metric, before: i64, now: i64) -> String {
    let difference = i128::from(now) - i128::from(before);
    let sign = if difference > 0 { "+" } else { "" };
    let exact = format!("{sign}{}", count(difference));
    if !metric.is_space() || before <= 0 {
        return exact;
    }
    format!("{exact}, {sign}{:.1} %", difference as f64 * 100.0 / before as f64)
}

/// The tests of each kind of finding that is no regression, one paragraph a kind.
fn groups(outcome: &Outcome, baseline: &Source) -> Vec<String> {
    let mut groups: Vec<(Severity, String, Vec<String>)> = Vec::new();
    for test in &outcome.tests {
        let has_no_group = |finding: &Finding| finding.is_budget() || is_unstable(finding) || finding.is_doubt();
        for (severity, finding) in test.findings.iter().filter(|(_, finding)| !has_no_group(finding)) {
            let (what, of_test) = heading(finding, baseline);
            let line = match of_test {
                true => format!("{}: {}", test.id.label(), sentence(finding)),
                false => test.id.label(),
            };
            match groups.iter_mut().find(|group| group.0 == *severity && group.1 == what) {
                Some(group) => group.2.push(line),
                None => groups.push((*severity, what, vec![line])),
            }
        }
    }
    groups.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    groups.into_iter().map(|(severity, what, tests)| paragraph(severity, &what, &tests)).collect()
}

/// What a kind of finding is called, and whether each test needs a sentence of its own. `accept` takes nothing from another revision.
fn heading(finding: &Finding, baseline: &Source) -> (String, bool) {
    let (text, of_test) = match finding {
        Finding::New if !baseline.committed => return (format!("not there at `{baseline}`"), false),
        Finding::Gone if !baseline.committed => {
            return (format!("there at `{baseline}`, and there is no such test any more"), false);
        }
        Finding::NotStarted if !baseline.committed => {
            return (format!("started at `{baseline}`, and the test does not start it any more"), false);
        }
        Finding::NotRun { why } if !baseline.committed => {
            return (format!("there at `{baseline}`, but did not run: {why}"), false);
        }
        Finding::Unprofiled { reason } if !baseline.committed => {
            return (format!("there at `{baseline}`, but not measured: {reason}"), false);
        }
        Finding::PeakNotCompared { .. } if !baseline.committed => (
            "peak not compared, because several threads allocate now; `threaded-peaks` compares it all the same",
            false,
        ),
        Finding::Killed { killed, runs } if !baseline.committed && killed < runs => {
            ("compared by the runs in which its test did not kill it", true)
        }
        Finding::Over { .. } | Finding::Improved { .. } => ("over budget", true),
        Finding::New => ("not in the baseline yet; `cargo memprof accept` takes it in", false),
        Finding::Gone => {
            ("in the baseline, but there is no such test any more; `cargo memprof accept` removes it", false)
        }
        Finding::NotStarted => {
            ("in the baseline, but the test does not start it any more; `cargo memprof accept` removes it", false)
        }
        Finding::NotRun { why } => return (format!("in the baseline, but did not run: {why}"), false),
        Finding::Unprofiled { reason } => return (format!("in the baseline, but not measured: {reason}"), false),
        Finding::TestFailed => ("not compared, because the test itself failed", false),
        Finding::TestTimedOut => ("not compared, because the test itself timed out", false),
        Finding::CutShort => ("cannot be compared: the process ended before the test returned", false),
        Finding::Killed { killed, runs } if killed == runs => {
            ("not compared, because its test killed it, as its line says that it may", true)
        }
        Finding::Killed { .. } => {
            ("compared by the runs in which its test did not kill it; `cargo memprof accept` notes that it may", true)
        }
        Finding::Excluded { reason } => return (format!("excluded: {reason}"), false),
        Finding::OtherConditions => ("not compared: its line is of other conditions", false),
        Finding::PeakNotCompared { .. } => (
            "peak not compared any more, because several threads allocate now; `threaded-peaks` compares it all the same, \
             `cargo memprof accept` takes it as it is",
            false,
        ),
        Finding::Unstable { .. } => ("not the same on every run", true),
    };
    (text.to_owned(), of_test)
}

fn paragraph(severity: Severity, what: &str, tests: &[String]) -> String {
    list(&format!("{} {what}", mark(severity)), tests)
}

fn list(head: &str, tests: &[String]) -> String {
    let mut out = match tests {
        [one] => return format!("{head}: {one}\n"),
        _ => format!("{head}:\n"),
    };
    for test in tests.iter().take(NAMED) {
        out.push_str(&format!("  {test}\n"));
    }
    if tests.len() > NAMED {
        out.push_str(&format!("  … and {} more\n", tests.len() - NAMED));
    }
    out
}

fn mark(severity: Severity) -> String {
    match severity {
        Severity::Fail => format!("{BAD}error{BAD:#}{BOLD}:{BOLD:#}"),
        _ => format!("{WARN}warning{WARN:#}{BOLD}:{BOLD:#}"),
    }
}

fn doubtful(doubt: &Doubt, of_benchmarks: bool, baseline: &Source) -> String {
    let mut out = format!("{} {}\n", mark(doubt.severity()), doubt_sentence(doubt));
    let details = doubt.details();
    for detail in details.iter().take(NAMED) {
        out.push_str(&format!("  {BOLD}caused by:{BOLD:#} {detail}\n"));
    }
    if details.len() > NAMED {
        out.push_str(&format!("  … and {} more\n", details.len() - NAMED));
    }
    let help = match doubt {
        Doubt::Conditions { .. } if !baseline.committed => {
            out.push_str(&format!(
                "  {HELP}help:{HELP:#} have both sides built alike, by one toolchain and one configuration, or pass `--allow conditions`\n"
            ));
            return out;
        }
        Doubt::Conditions { .. } => "",
        Doubt::Units { targets, .. } if targets.iter().any(OtherUnit::is_of_other_packages) => {
            "choose the same packages, over which cargo unifies features, or "
        }
        Doubt::Units { .. } => "compile with the same profile and flags, or ",
        _ => return out,
    };
    let task = if of_benchmarks { "bench" } else { "test" };
    out.push_str(&format!(
        "  {HELP}help:{HELP:#} {help}record it anew with `cargo memprof {task} --save-baseline`, or pass `--allow conditions`\n"
    ));
    out
}

/// What a doubt says, in one sentence.
pub fn doubt_sentence(doubt: &Doubt) -> String {
    match doubt {
        Doubt::Conditions { .. } => "the baseline was recorded under other conditions".to_owned(),
        Doubt::Units { targets, .. } => {
            format!("{} compiled otherwise than for the baseline", was(targets.len(), "target"))
        }
        Doubt::NothingCompared => "nothing was compared: no test that ran has a line in the baseline".to_owned(),
        Doubt::UnreadableLedgers { ledgers } => {
            format!("the recordings of {} could not be read", plural(*ledgers, "test"))
        }
        Doubt::NotRecorded { targets, .. } => {
            format!("{} ran and left no recording: {}", plural(targets.len(), "target"), targets.join("; "))
        }
        Doubt::Removed { tests, .. } => {
            let names: Vec<String> = tests.iter().map(TestId::label).collect();
            format!(
                "the recordings of {} were removed while the tests ran: {}",
                plural(tests.len(), "test"),
                names.join(", ")
            )
        }
        Doubt::TestsFailed { cargo_exit } => format!("tests failed, or did not compile: cargo ended with {cargo_exit}"),
        Doubt::Refused { request, causes, help } => {
            let causes = causes.iter().map(|cause| format!(": {cause}")).collect::<String>();
            format!("{request}{causes}{}", help.as_ref().map_or(String::new(), |help| format!(" ({help})")))
        }
        Doubt::Interrupted => "the run was interrupted".to_owned(),
    }
}

/// `3 targets were`.
fn was(number: usize, what: &str) -> String {
    format!("{} {}", plural(number, what), if number == 1 { "was" } else { "were" })
}

/// `3 tests over budget`, and what can be done.
fn last_line(outcome: &Outcome, baseline: &Source) -> String {
    let over = outcome.tests.iter().filter(|test| test.failures().any(Finding::is_budget)).count();
    let compared = outcome.compared();
    match outcome.verdict() {
        Verdict::Passed => {
            format!("{GOOD}within budget{GOOD:#}: {compared} compared with `{baseline}`\n")
        }
        Verdict::OverBudget => {
            let accepted = outcome.over_budget().into_iter().any(Judged::can_be_accepted);
            let help = match baseline.committed && accepted {
                true => format!(
                    "  {HELP}help:{HELP:#} if that is intended, accept the new metrics with `cargo memprof accept`\n"
                ),
                false => String::new(),
            };
            let over = outcome.tests.iter().filter(|test| test.failures().any(Finding::is_budget));
            let share = Compared::count(over, outcome.of_benchmarks).share_of(compared);
            format!("{BAD}over budget{BAD:#}: {share} compared with `{baseline}`\n{help}")
        }
        Verdict::TestsFailed => {
            let over = if over == 0 { "none".to_owned() } else { count(over as i128) };
            format!("{BAD}tests failed{BAD:#}: {compared} compared with `{baseline}`, {over} over budget\n")
        }
        Verdict::CannotCompare => {
            let over = if over == 0 { "none".to_owned() } else { count(over as i128) };
            format!("{BAD}not comparable{BAD:#}: {compared} compared, {over} over budget\n")
        }
    }
}

/// What planting growths showed.
pub fn self_test(result: &SelfTest) -> String {
    let of = |one: &MetricTest| {
        let tests = plural(one.guarded.len() + one.loose.len(), "test");
        format!("in {} of {tests}", count(one.guarded.len() as i128))
    };
    let mut out = String::new();
    for one in &result.metrics {
        match one.metric {
            Metric::AllocObjects if result.trips() => {
                out.push_str(&format!("{GOOD}self-test{GOOD:#}: one more allocation fails the gate {}\n", of(one)));
            }
            Metric::AllocObjects => {
                let tests = plural(one.loose.len(), "test");
                out.push_str(&format!(
                    "{BAD}self-test{BAD:#}: one more allocation would not be noticed in any of {tests}\n"
                ));
            }
            metric => {
                let mut growths: Vec<i64> = one.guarded.iter().map(|(_, growth)| *growth).collect();
                growths.sort_unstable();
                let grown = match (growths.first(), growths.last()) {
                    (Some(least), Some(most)) => format!("{} more", show_span(metric, *least, *most)),
                    _ => "more".to_owned(),
                };
                out.push_str(&format!("  {}: {grown} {}\n", metric.name(), of(one)));
            }
        }
        if !one.loose.is_empty() {
            out.push_str("    not noticed in:\n");
        }
        for (id, why) in one.loose.iter().take(NAMED) {
            let why = match why {
                Loose::Any => "any number is allowed".to_owned(),
                Loose::Allowed(most) => format!("{} are allowed", one.metric.show(*most)),
                Loose::ThreadedPeak => "peaks of several threads are not compared".to_owned(),
            };
            out.push_str(&format!("      {}: {why}\n", id.label()));
        }
        if one.loose.len() > NAMED {
            out.push_str(&format!("      … and {} more\n", one.loose.len() - NAMED));
        }
    }
    out
}
