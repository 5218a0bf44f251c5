//! Call sites as text: those that grew, shrank or vary, with their lines.

use crate::gate::explain::names::short;
use crate::gate::explain::{Change, Step};
use crate::gate::metrics::Metric;
use memprof_profile::view::amount::{count, plural};

/// `3 to 7 at src/parser.rs:88 in parse ← load`.
pub fn varying_site(metric: Metric, change: &Change) -> String {
    let (least, most) = (change.before.min(change.now), change.before.max(change.now));
    format!("{} to {} at {}", metric.show(least), metric.show(most), place(change))
}

/// Call sites that are listed for one metric.
pub const SITES: usize = 5;

/// The call sites that grew, and the sum of those that shrank.
pub fn sites(metric: Metric, changes: &[Change]) -> String {
    let mut out = String::new();
    let grown: Vec<&Change> = changes.iter().filter(|change| change.difference() > 0).collect();
    for change in grown.iter().take(SITES) {
        out.push_str(&format!("    {}\n", site(metric, change)));
    }
    if let Some(rest) = grown.get(SITES..).filter(|rest| !rest.is_empty()) {
        let sum: i64 = rest.iter().map(|change| change.difference()).fold(0, i64::saturating_add);
        out.push_str(&format!("    {} at {}\n", signed(metric, sum), plural(rest.len(), "other call site")));
    }
    let shrunk: Vec<&Change> = changes.iter().filter(|change| change.difference() < 0).collect();
    if !shrunk.is_empty() {
        let sum: i64 = shrunk.iter().map(|change| change.difference()).fold(0, i64::saturating_add);
        let first = shrunk
            .last()
            .map(|change| format!(", such as {}", change.path.first().map_or_else(String::new, |name| short(name))))
            .unwrap_or_default();
        out.push_str(&format!("    {} at {}{first}\n", signed(metric, sum), plural(shrunk.len(), "call site")));
    }
    out
}

/// Where all of a metric comes from, where nothing says what changed.
pub fn all_sites(metric: Metric, now: &[Change]) -> String {
    let mut out = String::new();
    for change in now.iter().take(SITES) {
        out.push_str(&format!("    {}\n", site_now(metric, change)));
    }
    if let Some(rest) = now.get(SITES..).filter(|rest| !rest.is_empty()) {
        let sum: i64 = rest.iter().map(|change| change.now).fold(0, i64::saturating_add);
        out.push_str(&format!("    {} at {}\n", unsigned(metric, sum), plural(rest.len(), "other call site")));
    }
    out
}

/// `3 allocs of this run, src/parser.rs:88 in parse ← load`.
pub fn site_now(metric: Metric, change: &Change) -> String {
    format!("{} of this run, {}", unsigned(metric, change.now), place(change))
}

/// `+3 allocs (3 → 6), src/parser.rs:88 in parse ← load`.
pub fn site(metric: Metric, change: &Change) -> String {
    let counts = format!("({} → {})", count(change.before), count(change.now));
    format!("{} {counts}, {}", signed(metric, change.difference()), place(change))
}

/// `src/parser.rs:88 in parse ← load`, and what is called there, if anything is: `src/parser.rs:88 in parse ← load, which calls push
/// (src/table.rs:9)`.
fn place(change: &Change) -> String {
    let first = change.path.first().map_or_else(String::new, |name| short(name));
    let callers: Vec<String> = change.path.iter().skip(1).take(CALLERS).map(|name| short(name)).collect();
    let mut path = [vec![first], callers].concat().join(" ← ");
    if change.path.len() > CALLERS + 1 {
        path.push_str(" ← …");
    }
    let place = match &*change.file {
        "" => path,
        file => format!("{}:{} in {path}", nearer(file), change.line),
    };
    format!("{place}{}", below(&change.below))
}

/// `, which calls push → grow (src/table.rs:9)`.
fn below(steps: &[Step]) -> String {
    let Some(last) = steps.last() else { return String::new() };
    let mut names: Vec<String> = steps.iter().map(|step| short(&step.function)).collect();
    if names.len() > CALLEES {
        // Both ends say most.
        names.splice(CALLEES - 1..names.len() - 1, ["…".to_owned()]);
    }
    let place = if last.file.is_empty() { String::new() } else { format!(" ({}:{})", nearer(&last.file), last.line) };
    format!(", which calls {}{place}", names.join(" → "))
}

/// Functions that are shown of those that a call site calls.
const CALLEES: usize = 3;

/// Callers that are shown of a call site.
const CALLERS: usize = 4;

pub fn signed(metric: Metric, number: i64) -> String {
    let sign = if number > 0 { "+" } else { "" };
    format!("{sign}{}", unsigned(metric, number))
}

fn unsigned(metric: Metric, number: i64) -> String {
    match metric {
        Metric::AllocObjects if number.abs() == 1 => format!("{number} alloc"),
        Metric::AllocObjects => format!("{} allocs", count(number)),
        Metric::InuseObjects if number.abs() == 1 => format!("{number} block in use"),
        Metric::InuseObjects => format!("{} blocks in use", count(number)),
        _ => metric.show(number),
    }
}

/// The end of a path that is long because it leads to a registry or a toolchain.
fn nearer(file: &str) -> &str {
    let inside = ["/registry/src/", "/git/checkouts/"].iter().find_map(|part| file.split_once(part));
    inside.and_then(|(_, rest)| rest.split_once('/')).map_or(file, |(_, rest)| rest)
}
