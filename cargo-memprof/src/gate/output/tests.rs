//! The texts of the gate, word for word, for each way in which it can end.

use super::text;
use crate::context::conditions::Difference;
use crate::gate::baseline::reference::Source;
use crate::gate::explain::evidence::{Evidence, Explanation};
use crate::gate::explain::{Change, Step};
use crate::gate::metrics::{Metric, Metrics, Seen};
use crate::gate::outcome::{Doubt, Finding, Judged, Outcome, Severity};
use memprof_profile::record::TestId;

fn id(name: &str) -> TestId {
    TestId { package: "csv".into(), target: "csv".into(), kind: "lib".into(), name: name.into() }
}

/// A test with so many allocations of 16 bytes then and now.
fn judged(name: &str, before: Option<u64>, now: Option<u64>, findings: Vec<(Severity, Finding)>) -> Judged {
    let seen = |objects: u64| {
        let metrics =
            Metrics { alloc_objects: objects, alloc_space: 16 * objects, peak_space: 16, ..Metrics::default() };
        Seen::once(metrics)
    };
    Judged {
        id: id(name),
        before: before.map(seen),
        now: now.map(seen),
        source_file: "src/reader.rs".into(),
        start_line: 30,
        threads: u32::from(now.is_some()),
        runs: usize::from(now.is_some()),
        findings,
        better: Vec::new(),
    }
}

fn well(name: &str) -> Judged {
    judged(name, Some(12), Some(12), Vec::new())
}

fn over() -> Judged {
    let (metric, before) = (Metric::AllocObjects, Some(12));
    let finding = Finding::Over { metric, before, before_least: before, now: 15, most: 12, limit: "+0".into() };
    judged("reader::tests::rows", before.map(|count| count as u64), Some(15), vec![(Severity::Fail, finding)])
}

fn grown_at_a_line() -> Evidence {
    let below = vec![Step { function: "alloc::fmt::format".into(), file: "src/fmt.rs".into(), line: 7 }];
    let change = Change {
        path: vec!["csv::reader::Reader::read_row".into(), "csv::reader::tests::rows".into()],
        file: "src/reader.rs".into(),
        line: 118,
        own: None,
        below,
        before: 12,
        now: 15,
    };
    let explanation = Explanation { changes: vec![(Metric::AllocObjects, vec![change])], ..Explanation::default() };
    Evidence { regressions: [(over().id, explanation)].into(), ..Evidence::default() }
}

fn one_test(test: Judged) -> Outcome {
    Outcome { tests: vec![test, well("writer::tests::rows")], ..Outcome::default() }
}

fn doubt(doubt: Doubt) -> Outcome {
    Outcome { doubts: vec![doubt], ..Outcome::default() }
}

fn refused(request: &str, cause: &str, help: &str) -> Outcome {
    doubt(Doubt::Refused { request: request.into(), causes: vec![cause.into()], help: Some(help.into()) })
}

#[test]
fn every_end_of_the_gate_reads_as_it_was_read_last() {
    let why = "it was filtered out, or is no more".to_owned();
    let difference = Difference { condition: "rustc", before: "1.94.0".into(), now: "1.95.0".into() };
    let ends = [
        ("all is well", one_test(well("reader::tests::rows"))),
        ("over budget, with the line", one_test(over())),
        ("a new test", one_test(judged("new", None, Some(3), vec![(Severity::Warn, Finding::New)]))),
        ("a test that is gone", one_test(judged("gone", Some(3), None, vec![(Severity::Warn, Finding::Gone)]))),
        ("not run", one_test(judged("left_out", Some(3), None, vec![(Severity::Fail, Finding::NotRun { why })]))),
        (
            "a test that failed",
            one_test(judged("broken", Some(3), Some(1), vec![(Severity::Fail, Finding::TestFailed)])),
        ),
        (
            "no baseline",
            refused(
                "cannot compare with the baseline",
                "there is no `memprof.baseline`",
                "record one with `cargo memprof test --save-baseline`, and commit it",
            ),
        ),
        (
            "a stale run",
            refused(
                "cannot compare with the baseline",
                "`cargo memprof test` ended with 101 and recorded nothing; what is in `target/memprof` is of an earlier run",
                "run the tests again",
            ),
        ),
        ("other conditions", doubt(Doubt::Conditions { severity: Severity::Fail, differences: vec![difference] })),
        ("nothing to compare", doubt(Doubt::NothingCompared)),
        ("interrupted", doubt(Doubt::Interrupted)),
    ];
    let baseline = Source { name: "memprof.baseline".into(), committed: true };
    let shown = ends.iter().map(|(name, outcome)| {
        let evidence = grown_at_a_line();
        let text = text::render(outcome, &evidence, &baseline);
        format!("# {name}: exit code {}\n{}", outcome.exit_code().get(), anstream::adapter::strip_str(&text))
    });
    insta::assert_snapshot!("every_end_of_the_gate", shown.collect::<Vec<_>>().join("\n"));
}
