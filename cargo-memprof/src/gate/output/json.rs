//! The outcome for programs, as docs/gate.md describes it. Pure.

use crate::gate::explain::Change;
use crate::gate::explain::evidence::{Evidence, Explanation};
use crate::gate::explain::varying::Varying;
use crate::gate::outcome::{Judged, Outcome};
use serde_json::{Value, json};

/// Raised when a field changes its meaning or goes; a new field does not raise it.
const SCHEMA: u32 = 1;

/// The file's text.
pub fn render(outcome: &Outcome, evidence: &Evidence) -> String {
    let tests: Vec<Value> =
        outcome.tests.iter().map(|test| of_test(test, evidence.get(&test.id), evidence.varying(&test.id))).collect();
    let value = json!({
        "schema": SCHEMA,
        "verdict": outcome.verdict(),
        "compared": outcome.compared().tests,
        "compared_programs": outcome.compared().programs,
        "doubts": outcome.doubts,
        "tests": tests,
    });
    // The same to who reads JSON, and no command to a CI's runner, which looks for one in all that is printed.
    format!("{value:#}\n").replace("##[", "##\\u005b")
}

fn of_test(test: &Judged, explanation: Option<&Explanation>, varying: Option<&Varying>) -> Value {
    let findings: Vec<Value> = test
        .findings
        .iter()
        .map(|(severity, finding)| {
            let mut value = json!(finding);
            value["severity"] = json!(severity);
            value
        })
        .collect();
    let mut value = json!({
        "package": test.id.package,
        "target": test.id.target,
        "kind": test.id.kind,
        "name": test.id.name,
        "source_file": test.source_file,
        "start_line": test.start_line,
        "threads": test.threads,
        "before": test.before,
        "now": test.now,
        "findings": findings,
        "better": test.better,
    });
    if let Some(varying) = varying {
        value["varying"] = json!({
            "figure": varying.metric,
            "cause": varying.cause.advice(),
            "sites": varying.changes.iter().map(of_change).collect::<Value>(),
        });
    }
    if let Some(explanation) = explanation {
        let changes = explanation
            .changes
            .iter()
            .map(|(metric, changes)| (metric.name().to_owned(), changes.iter().map(of_change).collect::<Value>()));
        value["changes"] = Value::Object(changes.collect());
        let sites = explanation.sites.iter();
        let sites =
            sites.map(|(metric, sites)| (metric.name().to_owned(), sites.iter().map(of_change).collect::<Value>()));
        value["sites"] = Value::Object(sites.collect());
        value["not_explained"] = json!(explanation.missing.as_ref().map(|missing| &missing.what));
        value["flamegraphs"] = json!(explanation.pictures);
        let (before, now) = &explanation.profiles;
        // Each process of a program has one.
        let others: Vec<_> = before.iter().skip(1).chain(now.iter().skip(1)).collect();
        value["profiles"] = json!({ "before": before.first(), "now": now.first(), "others": others });
    }
    value
}

fn of_change(change: &Change) -> Value {
    let path: Vec<&str> = change.path.iter().map(|name| &**name).collect();
    let below = change.below.iter();
    let below: Value =
        below.map(|step| json!({ "function": &*step.function, "file": &*step.file, "line": step.line })).collect();
    json!({
        "file": &*change.file,
        "line": change.line,
        "path": path,
        "below": below,
        "before": change.before,
        "now": change.now,
    })
}
