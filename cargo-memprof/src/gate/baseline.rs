//! The baseline: a text file that is committed and reviewed. A header with the conditions, then one line for each test,
//! sorted, so that two branches that change different tests merge.
//!
//! ```text
//! # Heap figures of every test, compared by `cargo memprof gate`. Do not edit: `cargo memprof accept` writes it.
//! @memprof-baseline 1
//! @rustc 1.95.0
//! @target x86_64-unknown-linux-gnu
//! @profile test
//! @features default
//! @seeds random
//! @counting 1
//! csv lib/csv reader::tests::rows alloc_objects=12 alloc_space=3456 peak_space=2048 inuse_space=0
//! csv test/pool works alloc_objects=40 alloc_space=9000 peak_space=8000~4096 inuse_space=0
//! ```
//!
//! `~4096` says how far a peak may be from the truth; where it is not there, the peak is exact. A backslash begins one of
//! Rust's escapes, for what a line cannot hold.

use super::figures::{Figure, Figures};
use crate::context::conditions::Conditions;
use memprof_profile::record::TestId;
use memprof_profile::view::plain::plain;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Version of the file's format.
const VERSION: u32 = 1;
const COMMENT: &str =
    "# Heap figures of every test, compared by `cargo memprof gate`. Do not edit: `cargo memprof accept` writes it.";
const VERSION_KEY: &str = "memprof-baseline";

/// See the head of this file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    pub conditions: Conditions,
    pub tests: BTreeMap<TestId, Figures>,
}

/// Why a text is no baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Counted from 1; `None` = the file as a whole.
    pub line: Option<usize>,
    pub what: String,
    /// What to do; `None` = record it anew.
    pub help: Option<String>,
}

impl Baseline {
    /// The file's text.
    pub fn to_text(&self) -> String {
        let mut text = format!("{COMMENT}\n@{VERSION_KEY} {VERSION}\n");
        let mut put = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        for (name, value) in self.conditions.fields() {
            put(format!("@{name} {}", escaped(&value)));
        }
        let mut lines: Vec<String> = self.tests.iter().map(|(id, figures)| line(id, figures)).collect();
        lines.sort();
        lines.into_iter().for_each(put);
        text
    }

    /// Reads what [`Baseline::to_text`] wrote. Lines may stand in any order: a merge may have mixed them.
    ///
    /// # Errors
    /// The first flaw.
    pub fn parse(text: &str) -> Result<Baseline, Flaw> {
        // Some editors put a mark in front of text.
        let text = text.trim_start_matches('\u{feff}');
        if text.trim().is_empty() {
            return Err(Flaw { line: None, what: "it is empty".into(), help: None });
        }
        let mut header: BTreeMap<&str, String> = BTreeMap::new();
        let mut tests = BTreeMap::new();
        let mut first_lines = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            let flaw = |what: String| Flaw { line: Some(number), what, help: None };
            if ["<<<<<<<", "=======", ">>>>>>>", "|||||||"].iter().any(|marker| line.starts_with(marker)) {
                return Err(Flaw {
                    line: Some(number),
                    what: "it holds a conflict that git could not merge".into(),
                    help: Some("keep either side, then run the tests and `cargo memprof accept`".into()),
                });
            }
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(entry) = line.strip_prefix('@') {
                let (name, value) = entry.split_once(' ').unwrap_or((entry, ""));
                if header.insert(name, shown(value.trim()).map_err(flaw)?).is_some() {
                    return Err(flaw(format!("`@{name}` is there twice")));
                }
                check_version(name, value.trim(), number)?;
                continue;
            }
            if !header.contains_key(VERSION_KEY) {
                return Err(flaw(format!("a test comes before `@{VERSION_KEY} {VERSION}`: is this a baseline?")));
            }
            let (id, figures) = test_of(line).map_err(flaw)?;
            if let Some(first) = first_lines.insert(id.clone(), number) {
                return Err(flaw(format!("`{}` of line {first} is there a second time", id.name)));
            }
            tests.insert(id, figures);
        }
        Ok(Baseline { conditions: conditions(header)?, tests })
    }
}

fn check_version(name: &str, value: &str, line: usize) -> Result<(), Flaw> {
    if name != VERSION_KEY || value == VERSION.to_string() {
        return Ok(());
    }
    let newer = value.parse::<u32>().is_ok_and(|version| version > VERSION);
    Err(Flaw {
        line: Some(line),
        what: format!("its format is version `{value}`; this program reads version {VERSION}"),
        help: newer.then(|| "update cargo-memprof: `cargo install cargo-memprof`".to_owned()),
    })
}

fn conditions(mut header: BTreeMap<&str, String>) -> Result<Conditions, Flaw> {
    let whole = |what: String| Flaw { line: None, what, help: None };
    if header.remove(VERSION_KEY).is_none() {
        return Err(whole(format!("the line `@{VERSION_KEY} {VERSION}` is missing: is this a baseline?")));
    }
    let mut take = |name: &str| header.remove(name).ok_or_else(|| whole(format!("the line `@{name} …` is missing")));
    let (rustc, target, profile) = (take("rustc")?, take("target")?, take("profile")?);
    let (features, seeds, counting) = (take("features")?, take("seeds")?, take("counting")?);
    let counting = counting.parse().map_err(|_| whole(format!("`@counting {counting}` is not a whole number")))?;
    if let Some((name, _)) = header.pop_first() {
        return Err(whole(format!(
            "`@{name}` is not known; a header has @rustc, @target, @profile, @features, @seeds, @counting"
        )));
    }
    Ok(Conditions { rustc, target, profile, features, seeds, counting })
}

/// A test's line.
pub fn line(id: &TestId, figures: &Figures) -> String {
    let mut line = format!("{} {}/{} {}", word(&id.package), word(&id.kind), word(&id.target), escaped(&id.name));
    for figure in Figure::ALL {
        // Writing to a string does not fail.
        let _ = write!(line, " {}={}", figure.name(), figures.get(figure));
        if figures.error(figure) > 0 {
            let _ = write!(line, "~{}", figures.error(figure));
        }
    }
    line
}

fn test_of(line: &str) -> Result<(TestId, Figures), String> {
    // From the right: only the test's name may have spaces in it.
    let mut words: Vec<&str> = line.rsplitn(Figure::ALL.len() + 1, ' ').collect();
    let shape = "a line is `package kind/target test alloc_objects=N alloc_space=N peak_space=N inuse_space=N`";
    let place = words.pop().unwrap_or_default();
    words.reverse();
    if words.len() < Figure::ALL.len() {
        return Err(format!("it is cut short; {shape}"));
    }
    let mut figures = Figures::default();
    for (figure, word) in Figure::ALL.into_iter().zip(words) {
        let wrong = || format!("`{word}` stands where `{}=N` belongs; {shape}", figure.name());
        let value = word.strip_prefix(figure.name()).and_then(|rest| rest.strip_prefix('=')).ok_or_else(wrong)?;
        put(&mut figures, figure, value).ok_or_else(|| format!("`{value}` is no figure: `{word}`"))?;
    }
    let mut parts = place.splitn(3, ' ');
    let (package, target, name) = (parts.next(), parts.next(), parts.next());
    let target = target.and_then(|target| target.split_once('/'));
    let (Some(package), Some((kind, target)), Some(name)) = (package, target, name) else {
        return Err(format!("`{place}` does not name a package, a target and a test; {shape}"));
    };
    if name.is_empty() {
        return Err(format!("it names no test; {shape}"));
    }
    let package = if package == NOTHING { String::new() } else { shown(package)? };
    let id = TestId { package, target: shown(target)?, kind: shown(kind)?, name: unescaped(name)? };
    Ok((id, figures))
}

fn put(figures: &mut Figures, figure: Figure, text: &str) -> Option<()> {
    match figure {
        Figure::AllocObjects => figures.alloc_objects = text.parse().ok()?,
        Figure::AllocSpace => figures.alloc_space = text.parse().ok()?,
        Figure::InuseSpace => figures.inuse_space = text.parse().ok()?,
        Figure::PeakSpace => {
            let (peak, error) = text.split_once('~').unwrap_or((text, "0"));
            (figures.peak_space, figures.peak_error) = (peak.parse().ok()?, error.parse().ok()?);
        }
    }
    Some(())
}

/// Stands for a package that is not known.
const NOTHING: &str = "-";

/// `text` as one word.
fn word(text: &str) -> String {
    if text.is_empty() { NOTHING.to_owned() } else { escaped(text).replace(' ', "\\u{20}") }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        if letter.is_control() || letter == '\\' { out.extend(letter.escape_default()) } else { out.push(letter) }
    }
    out
}

/// The same for what is shown wherever it stands; a summary's come in so, too.
fn shown(text: &str) -> Result<String, String> {
    Ok(plain(&unescaped(text)?).into_owned())
}

fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let (letter, behind) =
            escape(after).ok_or_else(|| format!("`\\{}` is no escape", after.get(..1).unwrap_or("")))?;
        out.push(letter);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// The letter that the escape at the start of `text` stands for, and what follows it.
fn escape(text: &str) -> Option<(char, &str)> {
    let simple = [('n', '\n'), ('r', '\r'), ('t', '\t'), ('\\', '\\'), ('0', '\0')];
    if let Some((name, letter)) = simple.iter().find(|(name, _)| text.starts_with(*name)) {
        return Some((*letter, &text[name.len_utf8()..]));
    }
    let (code, rest) = text.strip_prefix("u{")?.split_once('}')?;
    Some((char::from_u32(u32::from_str_radix(code, 16).ok()?)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(package: &str, kind: &str, target: &str, name: &str) -> TestId {
        TestId { package: package.into(), target: target.into(), kind: kind.into(), name: name.into() }
    }

    fn figures(objects: u64) -> Figures {
        Figures { alloc_objects: objects, alloc_space: 2, peak_space: 3, peak_error: 0, inuse_space: -4 }
    }

    fn baseline() -> Baseline {
        let conditions = Conditions {
            rustc: "1.95.0".into(),
            target: "x86_64-unknown-linux-gnu".into(),
            profile: "test".into(),
            features: "default,a".into(),
            seeds: "random".into(),
            counting: 1,
        };
        let tests = [
            (id("csv", "lib", "csv", "b::two"), figures(1)),
            (id("csv", "test", "csv", "a"), Figures { peak_error: 4096, ..figures(7) }),
            (id("", "doc", "csv", "src/lib.rs - f (line 3)"), figures(0)),
            (id("a b", "lib", "x", "odd\n\\name\u{7}"), figures(i64::MAX as u64)),
        ];
        Baseline { conditions, tests: tests.into() }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = baseline().to_text();
        assert_eq!(Baseline::parse(&text), Ok(baseline()));
        assert!(
            text.contains("\ncsv lib/csv b::two alloc_objects=1 alloc_space=2 peak_space=3 inuse_space=-4\n"),
            "{text}"
        );
        assert!(text.contains("peak_space=3~4096 "), "{text}");
    }

    #[test]
    fn windows_line_ends_blank_lines_and_another_order_do_no_harm() {
        let text = baseline().to_text();
        let mut lines: Vec<&str> = text.lines().collect();
        let last = lines.len() - 1;
        lines.swap(last, last - 1);
        assert_eq!(Baseline::parse(&lines.join("\r\n\r\n")), Ok(baseline()));
    }

    #[test]
    fn lines_are_sorted_as_text() {
        let text = baseline().to_text();
        let lines: Vec<&str> = text.lines().skip_while(|line| line.starts_with(['#', '@'])).collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.is_sorted());
    }

    #[test]
    fn a_broken_file_says_which_line_and_why() {
        let text = baseline().to_text();
        let good = "csv lib/csv b::two alloc_objects=1 alloc_space=2 peak_space=3 inuse_space=-4";
        let with = |new: &str| text.replace(good, new);
        for (broken, line, why) in [
            (String::new(), None, "is empty"),
            ("hello\n".to_owned(), Some(1), "is this a baseline?"),
            (text.replace("@memprof-baseline 1", "@memprof-baseline 2"), Some(2), "version `2`"),
            (text.replace("@rustc 1.95.0\n", ""), None, "`@rustc …` is missing"),
            (text.replace("@counting 1", "@counting one"), None, "not a whole number"),
            (text.replace("@rustc 1.95.0", "@rustc 1.95.0\n@rustc 1.96.0"), Some(4), "is there twice"),
            (text.replace("@rustc 1.95.0", "@rustc 1.95.0\n@rusty 1"), None, "`@rusty` is not known"),
            (with(&format!("<<<<<<< HEAD\n{good}")), Some(11), "a conflict"),
            (with(&format!("{good}\n{good}")), Some(12), "line 11 is there a second time"),
            (with("csv lib/csv b::two alloc_objects=1"), Some(11), "cut short"),
            (with("csv"), Some(11), "cut short"),
            (with(&good.replace("=1 ", "=one ")), Some(11), "`one` is no figure"),
            (with(&good.replace("=1 ", "=-1 ")), Some(11), "`-1` is no figure"),
            (with(&good.replace("peak_space", "peak")), Some(11), "stands where `peak_space=N` belongs"),
            (with(&good.replace("lib/csv", "lib")), Some(11), "does not name a package"),
            (with(&good.replace("two", "\\q")), Some(11), "`\\q` is no escape"),
        ] {
            let flaw = Baseline::parse(&broken).unwrap_err();
            assert_eq!(flaw.line, line, "{broken}\n{flaw:?}");
            assert!(flaw.what.contains(why), "{why}: {flaw:?}");
        }
    }
}
