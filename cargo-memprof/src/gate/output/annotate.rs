//! GitHub's annotations: one for each line that allocates more, one for each test over budget, one for everything else
//! that fails the gate. Pure. The form is that of GitHub's workflow commands
//! (<https://docs.github.com/actions/reference/workflow-commands-for-github-actions>); about ten of a kind are shown for
//! a step, so the worst ten are given.

use crate::gate::explain::evidence::Evidence;
use crate::gate::outcome::Severity;
use crate::gate::outcome::{Finding, Judged, Outcome};
use crate::gate::output::lines::{Grown, Lines};
use crate::gate::output::sites::{SITES, site, site_now};
use crate::gate::output::text::{doubt_sentence, sentence};
use camino::{Utf8Path, Utf8PathBuf};
use memprof_profile::view::amount::plural;
use std::collections::BTreeMap;

/// How many of a kind are given.
const SHOWN: usize = 10;

/// The commands, one a line. `prefix` leads from the root of the repository to the workspace, whose files' names are
/// relative to it.
pub fn render(outcome: &Outcome, evidence: &Evidence, prefix: &Utf8Path) -> String {
    let mut out = String::new();
    let over = outcome.over_budget();
    let lines = Lines::of(&over, evidence);
    for (place, grown) in lines.iter().take(SHOWN) {
        out.push_str(&command("error", Some((prefix.join(&place.0), place.1)), &title(grown), &message(grown)));
    }
    for test in over.iter().take(SHOWN) {
        let mut sentences: Vec<String> = test.failures().filter(|finding| finding.is_budget()).map(sentence).collect();
        for (metric, sites) in evidence.get(&test.id).into_iter().flat_map(|explanation| &explanation.sites) {
            sentences.extend(sites.iter().take(SITES).map(|change| site_now(*metric, change)));
        }
        let place =
            (!test.source_file.is_empty()).then(|| (prefix.join(&test.source_file), i64::from(test.start_line)));
        // Where no line is known the test's own must do.
        let explained = are_of(&lines, test);
        let level = if explained { "notice" } else { "error" };
        out.push_str(&command(level, place, &format!("over budget: {}", test.id.label()), &sentences.join("\n")));
    }
    for (severity, title, message) in others(outcome) {
        let level = if severity == Severity::Fail { "error" } else { "warning" };
        out.push_str(&command(level, None, &title, &message));
    }
    out
}

fn title(grown: &Grown<'_>) -> String {
    let (test, ..) = grown.changes[0];
    match grown.tests() {
        1 => format!("allocates more in {}", test.id.label()),
        tests => format!("allocates more in {}", plural(tests, "test")),
    }
}

fn message(grown: &Grown<'_>) -> String {
    let lines = grown.changes.iter().take(SHOWN);
    let mut lines: Vec<String> =
        lines.map(|(test, metric, change)| format!("{}: {}", test.id.label(), site(*metric, change))).collect();
    if grown.changes.len() > SHOWN {
        lines.push(format!("… and {} more", grown.changes.len() - SHOWN));
    }
    lines.join("\n")
}

/// Whether one of the lines that are shown is of the test.
fn are_of(lines: &Lines<'_>, test: &Judged) -> bool {
    lines.iter().take(SHOWN).any(|(_, grown)| grown.changes.iter().any(|(other, ..)| other.id == test.id))
}

/// What is no regression, one text for each kind.
fn others(outcome: &Outcome) -> Vec<(Severity, String, String)> {
    let mut kinds: BTreeMap<(std::cmp::Reverse<Severity>, String), Vec<String>> = BTreeMap::new();
    for test in &outcome.tests {
        for (severity, finding) in &test.findings {
            let is_elsewhere = finding.is_budget() || finding.is_doubt();
            if !is_elsewhere && !matches!(finding, Finding::Excluded { .. }) {
                kinds.entry((std::cmp::Reverse(*severity), sentence(finding))).or_default().push(test.id.label());
            }
        }
    }
    let of_tests = kinds.into_iter().map(|((severity, sentence), tests)| {
        let mut shown = tests[..tests.len().min(SHOWN)].join("\n");
        if tests.len() > SHOWN {
            shown.push_str(&format!("\n… and {} more", tests.len() - SHOWN));
        }
        (severity.0, format!("{}: {sentence}", plural(tests.len(), "test")), shown)
    });
    let of_all = outcome.doubts.iter().map(|doubt| {
        let details = doubt.details();
        let details = if details.is_empty() { doubt_sentence(doubt) } else { details.join("\n") };
        (doubt.severity(), doubt_sentence(doubt), details)
    });
    of_all.chain(of_tests).collect()
}

fn command(level: &str, place: Option<(Utf8PathBuf, i64)>, title: &str, message: &str) -> String {
    let mut properties = Vec::new();
    if let Some((file, line)) = place {
        properties.push(format!("file={}", property(file.as_str())));
        if line > 0 {
            properties.push(format!("line={line}"));
        }
    }
    properties.push(format!("title={}", property(title)));
    format!("::{level} {}::{}\n", properties.join(","), data(message))
}

/// A message, escaped as GitHub's own toolkit does.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property's value, in which the signs between properties mean something too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_can_end_a_command_or_begin_another() {
        let line = command("error", Some(("a,b:c.rs".into(), 3)), "50%: x,y", "1%\n::error::x");
        assert_eq!(line, "::error file=a%2Cb%3Ac.rs,line=3,title=50%25%3A x%2Cy::1%25%0A::error::x\n");
    }
}
