//! `index.html`: the run as one page that needs no server, no network and no other file to be read. Pure.

use super::saved_test::{Files, SavedTest};
use super::summary::Summary;
use memprof_profile::record::Outcome;
use memprof_profile::view::amount::{bytes, count, plural, round_bytes};
use memprof_profile::view::plain::plain;
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Nothing is fetched from anywhere, and the browser is told to hold us to it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// What can be opened of a test or of the run: its key in `files`, its text, what it shows.
const LINKS: [(&str, &str, &str); 6] = [
    ("alloc_space", "bytes", "flamegraph of the bytes allocated"),
    ("alloc_objects", "allocs", "flamegraph of the allocations"),
    ("peak_space", "peak", "flamegraph of what was live at the peak"),
    ("leaked_space", "leaked", "flamegraph of what was leaked: nothing led to it any more"),
    ("inuse_space", "in use", "flamegraph of what was in use at the end, leaked or not"),
    ("profile", "pprof", "profile for `go tool pprof` and other readers of pprof's format"),
];

/// The page's bytes.
pub fn render(summary: &Summary<'_>) -> Vec<u8> {
    let mut html = String::with_capacity(16 * 1024 + summary.tests.len() * 1024);
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <title>memprof: {command}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        command = escape(&summary.run.command),
    );
    header(&mut html, summary);
    notes(&mut html, summary);
    table(&mut html, summary);
    let _ = write!(html, "<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    html.into_bytes()
}

fn header(html: &mut String, summary: &Summary<'_>) {
    let run = &summary.run;
    let rate = match run.rate {
        0 => "no stacks (rate 0)".to_owned(),
        1 => "every allocation (rate 1)".to_owned(),
        rate => format!("one sample per {} (rate {rate})", round_bytes(rate)),
    };
    let _ = write!(
        html,
        "<header>\n<h1>Heap profile</h1>\n<p><code>{}</code></p>\n<p class=\"facts\">{} · {} · profile {} · \
         <time data-ms=\"{}\"></time></p>\n<dl>\n",
        escape(&run.command),
        escape(&rate),
        escape(&run.rustc),
        escape(&run.profile),
        run.started_ns / 1_000_000,
    );
    let failed = summary.tests.iter().filter(|test| test.outcome != Outcome::Ok).count();
    let mut tile = |name: &str, text: &str| {
        let _ = writeln!(html, "<div><dt>{name}</dt><dd>{text}</dd></div>");
    };
    tile("tests", &count(summary.tests.len() as i128));
    if failed > 0 {
        tile("failed", &format!("<span class=\"bad\">{}</span>", count(failed as i128)));
    }
    tile("allocations", &count(run.alloc_objects));
    tile("bytes allocated", &bytes(run.alloc_space));
    tile("in use at the end", &bytes(run.inuse_space));
    tile("of that leaked", &bytes(run.leaked_space));
    let _ = write!(html, "</dl>\n<p class=\"links\">whole run: {}</p>\n</header>\n", links(&run.files));
}

/// What was not measured, or not wholly.
fn notes(html: &mut String, summary: &Summary<'_>) {
    if summary.run.interrupted {
        html.push_str("<p class=\"note\">The run was interrupted: tests are missing.</p>\n");
    }
    if summary.run.unreadable_ledgers > 0 {
        let _ = writeln!(
            html,
            "<p class=\"note\">{} could not be read: their tests are missing.</p>",
            plural(summary.run.unreadable_ledgers, "ledger")
        );
    }
    if summary.unprofiled.is_empty() {
        return;
    }
    html.push_str("<details class=\"note\" open><summary>Not profiled</summary>\n<ul>\n");
    for one in &*summary.unprofiled {
        let _ = writeln!(
            html,
            "<li>{} {} <code>{}</code>: {}</li>",
            escape(&one.package),
            escape(&one.kind),
            escape(&one.target),
            escape(&one.reason)
        );
    }
    html.push_str("</ul></details>\n");
}

fn table(html: &mut String, summary: &Summary<'_>) {
    html.push_str(
        "<p class=\"filter\"><input id=\"filter\" type=\"search\" placeholder=\"filter tests (press /)\" \
         aria-label=\"filter tests\"> <span id=\"shown\" aria-live=\"polite\"></span></p>\n\
         <div class=\"scroll\"><table id=\"tests\">\n<thead><tr>\
         <th data-sort=\"text\">test</th><th data-sort=\"number\">allocs</th><th data-sort=\"number\">bytes</th>\
         <th data-sort=\"number\">reallocs</th><th data-sort=\"number\">peak</th><th data-sort=\"number\">in use</th>\
         <th class=\"open\">open</th></tr></thead>\n<tbody>\n",
    );
    let mut order: Vec<&SavedTest<'_>> = summary.tests.iter().collect();
    // Stable, so that equals stay in the order of their names.
    order.sort_by_key(|test| std::cmp::Reverse(test.alloc_space));
    let most = order.first().map_or(0, |test| test.alloc_space).max(1);
    for test in order {
        row(html, test, most);
    }
    html.push_str("</tbody></table></div>\n");
}

fn row(html: &mut String, test: &SavedTest<'_>, most: u64) {
    let label = if test.kind == "lib" { test.target.to_string() } else { format!("{}/{}", test.kind, test.target) };
    let label = if test.package == test.target { label } else { format!("{}::{label}", test.package) };
    let share = test.alloc_space as f64 / most as f64 * 100.0;
    // Of a test that is partially recorded these are what there is at least.
    let metric = |text: String| if test.seen == "partial" { format!("≥{text}") } else { text };
    let _ = writeln!(
        html,
        "<tr><td><small>{label}</small> {name}{marks}{children}</td><td data-v=\"{objects}\">{objects_text}</td>\
         <td data-v=\"{space}\" title=\"{space_text} bytes\" class=\"bar\" style=\"--share:{share:.1}%\">{space_short}</td>\
         <td data-v=\"{reallocs}\">{reallocs_text}</td><td data-v=\"{peak}\" title=\"{peak_text} bytes\">{peak_short}</td>\
         <td data-v=\"{in_use}\" title=\"{in_use_title}\">{in_use_short}</td><td>{links}</td></tr>",
        label = escape(&label),
        name = escape(&test.name),
        marks = marks(test),
        children = children(test),
        objects = test.alloc_objects,
        objects_text = metric(count(test.alloc_objects)),
        space = test.alloc_space,
        space_text = count(test.alloc_space),
        space_short = metric(bytes(test.alloc_space)),
        reallocs = test.reallocs,
        reallocs_text = metric(count(test.reallocs)),
        peak = test.peak_space,
        peak_text = count(test.peak_space),
        peak_short = metric(bytes(test.peak_space)),
        in_use = test.inuse_space,
        in_use_title = in_use(test),
        in_use_short = bytes(test.inuse_space),
        links = links(&test.files),
    );
}

/// What is in use at the end, exactly: what of it is leaked, and what can be reached.
fn in_use(test: &SavedTest<'_>) -> String {
    let leaks = &test.leaks;
    let amount = |space: i64, objects: i64| format!("{} bytes in {} blocks", count(space), count(objects));
    let all = amount(test.inuse_space, test.inuse_objects);
    match &*leaks.leak_check {
        "done" if leaks.leaked_objects > 0 => format!(
            "{all}: {} are leaked, {} can be reached",
            amount(leaks.leaked_space, leaks.leaked_objects),
            amount(leaks.reachable_space, leaks.reachable_objects)
        ),
        "done" => format!("{all}, all of which can be reached"),
        skipped => format!("{all}; what of it is leaked is not known ({})", escape(skipped)),
    }
}

/// What is not as it should be, with the reason where there is one.
fn marks(test: &SavedTest<'_>) -> String {
    let outcome = match test.outcome {
        Outcome::Ok => None,
        Outcome::Failed => Some("failed"),
        Outcome::TimedOut => Some("timed out"),
        Outcome::Unknown => Some("no verdict"),
    };
    let losses = &test.losses;
    let lost = losses.unattributed_objects > 0 || losses.unreadable_sites > 0 || losses.unreadable_bytes > 0;
    let broken = losses.truncated_stacks > 0 || losses.unwalkable_stacks > 0;
    let message = test.message.as_deref().map(escape).unwrap_or_default();
    let mut text = String::new();
    let mut mark = |class: &str, title: &str, what: &str| {
        let _ = write!(text, " <span class=\"mark {class}\" title=\"{title}\">{what}</span>");
    };
    if let Some(outcome) = outcome {
        mark("bad", &message, outcome);
    }
    if test.cut_short {
        mark("bad", "the process ended before the test did; the metrics are those until then", "cut short");
    }
    if test.seen == "partial" {
        mark("bad", "its allocator bypasses the C library: the metrics are of what did not", "partially recorded");
    }
    if lost {
        mark("odd", &format!("{} allocations have no stack", count(losses.unattributed_objects)), "stacks lost");
    }
    if broken {
        let title = format!(
            "{} stacks lack frames in the middle, {} could not be followed to the end",
            count(losses.truncated_stacks),
            count(losses.unwalkable_stacks)
        );
        mark("odd", &title, "stacks cut");
    }
    if test.leaks.leaked_objects > 0 {
        let places = test.leaked_at.iter().take(5).map(|place| escape(&memprof_profile::view::leaked::place(place)));
        let places = places.collect::<Vec<_>>().join("\n");
        mark("odd", &places, &format!("{} leaked", bytes(test.leaks.leaked_space)));
    }
    if losses.forks > 0 {
        mark("odd", "what forked processes allocated is not in these metrics", "forked");
    }
    text
}

/// The processes that the test started, whose metrics are not in the row's.
fn children(test: &SavedTest<'_>) -> String {
    if test.children.is_empty() {
        return String::new();
    }
    let started = match test.children.len() {
        1 => "1 process".to_owned(),
        several => format!("{} processes", count(several as i128)),
    };
    let mut text = format!("<details><summary>{started} apart from the test</summary><ul>");
    for child in &test.children {
        let _ = write!(
            text,
            "<li>{}{}{}: {} allocs, {} <span class=\"links\">{}</span></li>",
            escape(&child.program),
            if child.forked { " (forked)" } else { "" },
            if child.seen == "partial" { " (partially recorded)" } else { "" },
            count(child.alloc_objects),
            bytes(child.alloc_space),
            links(&child.files)
        );
    }
    text.push_str("</ul></details>");
    text
}

fn links(files: &Files) -> String {
    let mut text = String::new();
    for (key, name, title) in LINKS {
        if let Some(path) = files.get(key) {
            let separator = if text.is_empty() { "" } else { " " };
            let _ =
                write!(text, "{separator}<a href=\"{}\" title=\"{}\">{name}</a>", url(path.as_str()), escape(title));
        }
    }
    if text.is_empty() { "–".to_owned() } else { text }
}

/// `path` as a relative URL.
fn url(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// `text` so that HTML shows it and takes nothing in it for its own.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(letter),
            letter => escaped.push_str(&plain(letter.encode_utf8(&mut [0; 4]))),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_anything_in_it_is_one_relative_url() {
        assert_eq!(url("a/lib-a/x::y<z> #?%/b.svg"), "a/lib-a/x%3A%3Ay%3Cz%3E%20%23%3F%25/b.svg");
    }

    #[test]
    fn markup_in_a_name_is_only_text() {
        assert_eq!(escape("<img src='x' onerror=\"y\">&"), "&lt;img src=&#39;x&#39; onerror=&quot;y&quot;&gt;&amp;");
    }
}
