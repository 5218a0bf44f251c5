//! The outcome as Markdown, for GitHub's job summary or a comment. Pure.

use crate::gate::explain::evidence::{Evidence, Explanation};
use crate::gate::outcome::Severity;
use crate::gate::outcome::{Compared, Finding, Judged, Outcome, Verdict};
use crate::gate::output::lines::Lines;
use crate::gate::output::sites::{site, site_now};
use crate::gate::output::text::{doubt_sentence, improvements, line_sum, sentence};
use memprof_profile::view::amount::plural;
use std::fmt::Write as _;

/// Tests in the table; a summary of more than 1 MiB is dropped as a whole by GitHub.
const ROWS: usize = 200;
/// Tests whose call sites can be seen without a click.
const OPEN: usize = 5;
/// Call sites that are listed for one metric of a test.
const SITES: usize = 5;

/// The Markdown.
pub fn render(outcome: &Outcome, evidence: &Evidence) -> String {
    let over = outcome.over_budget();
    let compared = outcome.compared();
    let share = Compared::count(over.iter().copied(), outcome.of_benchmarks);
    let (mark, verdict) = match outcome.verdict() {
        Verdict::Passed => ("✅", format!("allocations are within budget ({compared} compared)")),
        Verdict::OverBudget => ("❌", format!("{share} over budget ({compared} compared)")),
        Verdict::TestsFailed => {
            let over = if over.is_empty() { "none".to_owned() } else { over.len().to_string() };
            ("❌", format!("tests failed ({compared} compared, {over} over budget)"))
        }
        Verdict::CannotCompare => ("❌", format!("allocations cannot be compared ({compared} compared)")),
    };
    let mut out = format!("### {mark} cargo memprof: {verdict}\n\n");
    for doubt in &outcome.doubts {
        let _ = writeln!(out, "- **{}**{}", plain(&doubt_sentence(doubt)), differences(doubt));
    }
    if !outcome.doubts.is_empty() {
        out.push('\n');
    }
    out.push_str(&lines(&over, evidence));
    out.push_str(&table(&over));
    for (at, test) in over.iter().take(ROWS).enumerate() {
        if let Some(explanation) = evidence.get(&test.id) {
            out.push_str(&details(test, explanation, at < OPEN));
        }
    }
    out.push_str(&others(outcome));
    out.push_str(&better(outcome));
    out
}

/// What needs less than the baseline says.
fn better(outcome: &Outcome) -> String {
    let better = outcome.better();
    if better.is_empty() {
        return String::new();
    }
    let rows =
        better.iter().take(SITES).map(|test| format!("  - {}: {}\n", code(&test.id.label()), improvements(test)));
    let more = better.len().saturating_sub(SITES);
    let more = if more == 0 { String::new() } else { format!("  - … and {more} more\n") };
    format!("- ✨ {} improved:\n{}{more}", plural(better.len(), "test"), rows.collect::<String>())
}

/// What one cause has in many tests.
fn lines(over: &[&Judged], evidence: &Evidence) -> String {
    let lines = Lines::of(over, evidence);
    let shared = lines.iter().any(|(_, grown)| grown.tests() > 1);
    if !shared {
        return String::new();
    }
    let shown = lines.iter().take(SITES).map(|line| format!("- {}\n", code(&line_sum(line))));
    format!("Lines that allocate more:\n\n{}\n", shown.collect::<String>())
}

fn differences(doubt: &crate::gate::outcome::Doubt) -> String {
    let texts: Vec<String> = doubt.details().iter().map(|text| plain(text)).collect();
    if texts.is_empty() { String::new() } else { format!(": {}", texts.join("; ")) }
}

fn table(over: &[&Judged]) -> String {
    if over.is_empty() {
        return String::new();
    }
    let mut out = "| test | metric | before | now | change | limit |\n|---|---|--:|--:|--:|---|\n".to_owned();
    for test in over.iter().take(ROWS) {
        for finding in test.failures() {
            let (metric, before, now, limit) = match finding {
                Finding::Over { metric, before, now, limit, .. } => (metric, *before, *now, limit.as_str()),
                Finding::Improved { metric, before, now } => (metric, Some(*before), *now, "ratchet"),
                _ => continue,
            };
            let change = before.map_or(String::new(), |before| {
                let difference = now.saturating_sub(before);
                format!("{}{}", if difference > 0 { "+" } else { "" }, metric.show(difference))
            });
            let before = before.map_or("new".to_owned(), |before| metric.show(before));
            let _ = writeln!(
                out,
                "| {} | {} | {before} | {} | {change} | {} |",
                code(&test.id.label()),
                metric.name(),
                metric.show(now),
                code(limit)
            );
        }
    }
    if over.len() > ROWS {
        let _ = writeln!(out, "| … and {} more | | | | | |", over.len() - ROWS);
    }
    out.push('\n');
    out
}

fn details(test: &Judged, explanation: &Explanation, open: bool) -> String {
    let mut lines = Vec::new();
    for (metric, changes) in &explanation.changes {
        let grown = changes.iter().filter(|change| change.difference() > 0);
        lines.extend(grown.take(SITES).map(|change| format!("- {}", code(&site(*metric, change)))));
    }
    for (metric, sites) in &explanation.sites {
        lines.extend(sites.iter().take(SITES).map(|change| format!("- {}", code(&site_now(*metric, change)))));
    }
    if let Some(missing) = &explanation.missing {
        lines.push(format!("- what changed is not known: {}; {}", plain(&missing.what), plain(&missing.help)));
    }
    if lines.is_empty() {
        return String::new();
    }
    let open = if open { " open" } else { "" };
    format!("<details{open}><summary>{}</summary>\n\n{}\n\n</details>\n\n", html(&test.id.label()), lines.join("\n"))
}

/// Everything else that is to be said of tests, as a list of kinds.
fn others(outcome: &Outcome) -> String {
    let mut kinds: Vec<(Severity, String, Vec<String>)> = Vec::new();
    for test in &outcome.tests {
        for (severity, finding) in
            test.findings.iter().filter(|(_, finding)| !finding.is_budget() && !finding.is_doubt())
        {
            let what = sentence(finding);
            match kinds.iter_mut().find(|kind| kind.0 == *severity && kind.1 == what) {
                Some(kind) => kind.2.push(code(&test.id.label())),
                None => kinds.push((*severity, what, vec![code(&test.id.label())])),
            }
        }
    }
    kinds.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let mut out = String::new();
    for (severity, what, tests) in kinds {
        let mark = if severity == Severity::Fail { "❌" } else { "⚠️" };
        let more = if tests.len() > SITES { format!(" and {} more", tests.len() - SITES) } else { String::new() };
        let _ = writeln!(out, "- {mark} {}: {}{more}", plain(&what), tests[..tests.len().min(SITES)].join(", "));
    }
    out
}

/// Text in which nothing is Markdown or HTML.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for letter in html(text).chars() {
        match letter {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => out.extend(['\\', letter]),
            '\n' | '\r' => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text in a fixed-width font, also inside a table. HTML's element takes what no number of backticks can quote there.
fn code(text: &str) -> String {
    format!("<code>{}</code>", html(text).replace('|', "&#124;").replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_their_cells() {
        assert_eq!(code("a|b<T>\n`c`"), "<code>a&#124;b&lt;T&gt; `c`</code>");
        assert_eq!(plain("*x* [y](z)\n<b>"), "\\*x\\* \\[y\\](z) &lt;b&gt;");
    }
}
