//! The outcome as JUnit's XML, one suite for each target, as CI servers read it. Pure.

use crate::gate::explain::evidence::Evidence;
use crate::gate::outcome::Severity;
use crate::gate::outcome::{Finding, Judged, Outcome, Verdict};
use crate::gate::output::sites::{SITES, site, site_now};
use crate::gate::output::text::{doubt_sentence, sentence};
use memprof_profile::view::plain::plain;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::collections::BTreeMap;

/// The file's text.
pub fn render(outcome: &Outcome, evidence: &Evidence) -> String {
    let mut report = Report::new("cargo memprof gate");
    let mut suites: BTreeMap<String, TestSuite> = BTreeMap::new();
    for test in &outcome.tests {
        let name = format!("{}::{}", test.id.package, test.id.target_label());
        let suite = suites.entry(name.clone()).or_insert_with(|| TestSuite::new(name.clone()));
        let mut case = TestCase::new(plain(&test.id.name).into_owned(), status(test, evidence));
        case.set_classname(name);
        suite.add_test_case(case);
    }
    let failing: Vec<String> =
        outcome.doubts.iter().filter(|doubt| doubt.severity() == Severity::Fail).map(doubt_sentence).collect();
    if !failing.is_empty() {
        let mut suite = TestSuite::new("cargo memprof gate");
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        let failed = outcome.verdict() == Verdict::TestsFailed;
        status.set_type(if failed { "tests-failed" } else { "cannot-compare" }).set_message(failing.join("; "));
        let mut case = TestCase::new("comparison", status);
        case.set_classname("cargo memprof gate");
        suite.add_test_case(case);
        suites.insert(String::new(), suite);
    }
    report.add_test_suites(suites.into_values());
    report.to_string().map(|text| schema_names(&text)).unwrap_or_default()
}

/// quick-junit counts the skipped tests of a suite under `disabled`, as Ant did. The schema that CI servers publish
/// (Jenkins' `junit-10.xsd`) calls them `skipped` and allows no other attribute.
fn schema_names(text: &str) -> String {
    // A line of text cannot begin with a tag: its `<` is escaped.
    let is_suite = |line: &str| line.trim_start().starts_with("<testsuite ");
    let lines = text.lines().map(|line| match is_suite(line) {
        true => line.replace(" disabled=\"", " skipped=\""),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

fn status(test: &Judged, evidence: &Evidence) -> TestCaseStatus {
    let failures: Vec<&Finding> = test.failures().collect();
    if failures.is_empty() {
        let skipped = test.findings.iter().find(|_| !test.was_compared());
        return match skipped {
            Some((_, finding)) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(sentence(finding));
                status
            }
            None => TestCaseStatus::success(),
        };
    }
    let failed = |finding: &&Finding| matches!(finding, Finding::TestFailed | Finding::TestTimedOut);
    let (kind, name) = if failures.iter().any(failed) {
        (NonSuccessKind::Failure, "test-failed")
    } else if failures.iter().any(|finding| finding.is_budget()) {
        (NonSuccessKind::Failure, "over-budget")
    } else {
        (NonSuccessKind::Error, "cannot-compare")
    };
    let sentences: Vec<String> = failures.into_iter().map(sentence).collect();
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(name).set_message(sentences.join("; "));
    // GitLab shows the text and not the message.
    let mut lines = sentences;
    if let Some(explanation) = evidence.get(&test.id) {
        for (metric, changes) in &explanation.changes {
            let grown = changes.iter().filter(|change| change.difference() > 0);
            lines.extend(grown.map(|change| site(*metric, change)));
        }
        for (metric, sites) in &explanation.sites {
            lines.extend(sites.iter().take(SITES).map(|change| site_now(*metric, change)));
        }
        lines.extend(explanation.missing.iter().map(|missing| format!("what changed is not known: {}", missing.what)));
    }
    status.set_description(lines.join("\n"));
    status
}
