//! The baseline: a text file that is committed and reviewed. A header with the conditions, then one line for each target and each test,
//! sorted, and an empty line after each: so two branches that change tests which stand side by side merge. What a merge puts there twice,
//! as `merge=union` of git's attributes does, is taken as `merged` has it.
//!
//! ```text
//! # Heap metrics of every test, compared by `cargo memprof gate`. Do not edit: `cargo memprof accept` writes it.
//! @memprof-baseline 2
//! @rustc 1.95.0
//! @target x86_64-unknown-linux-gnu
//! @profile test
//! @features default
//! @seeds random
//! @backtrace off
//! @counting 2
//!
//! @unit csv lib/csv features=default opt-level=0 debug-assertions=on flags=… dependencies=… packages=workspace
//!
//! csv lib/csv reader::tests::rows alloc_objects=12 alloc_space=3456 peak_space=2048 inuse_objects=0 inuse_space=0
//!
//! csv test/pool works alloc_objects=40..42 alloc_space=9000 peak_space=8000~4096 inuse_objects=0 inuse_space=0 runs=5
//!
//! ```
//!
//! A unit is a target as cargo had it compiled: its features as unified over the packages that were chosen, and hashes of the flags and of
//! the features of all that it links. `40..42` is what was seen in several runs, of which `runs` says how many; in as many more as `killed` says a program
//! that the test starts was killed, so that they do not count. `text=1f03a9bc` is a hash of a doctest's text. `~4096` says how far a peak may be from the truth; where it
//! is not there, the peak is exact. A backslash begins one of Rust's escapes, for what a line cannot hold. A line is read from its right
//! end, because only the test's name may have spaces in it.

use crate::context::conditions::Conditions;
use crate::context::unit::Unit;
use crate::gate::escapes::{NOTHING, escaped, name, shown, unescaped, word};
use crate::gate::metrics::{Metric, Metrics, Seen};
use memprof_profile::record::TestId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

/// Version of the file's format.
const VERSION: u32 = 2;
const COMMENT: &str =
    "# Heap metrics of every test, compared by `cargo memprof gate`. Do not edit: `cargo memprof accept` writes it.";
const VERSION_KEY: &str = "memprof-baseline";

/// See the head of this file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    pub conditions: Conditions,
    pub units: BTreeMap<TargetId, Built>,
    pub tests: BTreeMap<TestId, Seen>,
    /// Tests of which a text had lines that differ; `tests` has of each metric the lowest. Not written.
    pub merged: BTreeSet<TestId>,
}

/// A target of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetId {
    pub package: String,
    pub kind: String,
    pub target: String,
}

impl TargetId {
    /// That of the test.
    pub fn of(id: &TestId) -> TargetId {
        TargetId { package: id.package.clone(), kind: id.kind.clone(), target: id.target.clone() }
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", word(&self.package), word(&self.kind), word(&self.target))
    }
}

/// How a target was compiled, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    pub unit: Unit,
    /// The packages that were chosen; see [`crate::context::conditions::packages`].
    pub packages: String,
}

/// Why a text is no baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Counted from 1; `None` = the file as a whole.
    pub line: Option<usize>,
    pub what: String,
    /// What to do; `None` = record it anew.
    pub help: Option<String>,
    /// It is a baseline of an older version, whose metrics mean nothing to this one.
    pub is_older: bool,
}

impl Flaw {
    /// A flaw of `line`; `None` = of the file as a whole.
    pub fn new(line: Option<usize>, what: impl Into<String>) -> Flaw {
        Flaw { line, what: what.into(), help: None, is_older: false }
    }
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
        for (target, Built { unit, packages }) in &self.units {
            let fields = unit.fields().into_iter().chain([(PACKAGES, packages.clone())]);
            let fields: Vec<String> = fields.map(|(name, value)| format!("{name}={}", word(&value))).collect();
            put(format!("\n@{UNIT} {target} {}", fields.join(" ")));
        }
        put(String::new());
        let mut lines: Vec<String> = self.tests.iter().map(|(id, seen)| line(id, seen)).collect();
        lines.sort();
        lines.into_iter().for_each(|line| put(line + "\n"));
        text
    }

    /// Reads what [`Baseline::to_text`] wrote. Lines may stand in any order, and of two branches there may be two: a merge may have mixed them.
    ///
    /// # Errors
    /// The first flaw.
    pub fn parse(text: &str) -> Result<Baseline, Flaw> {
        // Some editors put a mark in front of text.
        let text = text.trim_start_matches('\u{feff}');
        if text.trim().is_empty() {
            return Err(Flaw::new(None, "it is empty"));
        }
        let mut header: BTreeMap<&str, String> = BTreeMap::new();
        let mut tests = BTreeMap::new();
        let mut units = BTreeMap::new();
        let mut merged = BTreeSet::new();
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            let flaw = |what: String| Flaw::new(Some(number), what);
            if ["<<<<<<<", "=======", ">>>>>>>", "|||||||"].iter().any(|marker| line.starts_with(marker)) {
                return Err(Flaw {
                    help: Some(AFTER_A_CONFLICT.to_owned()),
                    ..flaw("it holds a conflict that git could not merge".into())
                });
            }
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(entry) = line.strip_prefix('@') {
                let (name, value) = entry.split_once(' ').unwrap_or((entry, ""));
                if name == UNIT {
                    let (target, built) = unit_of(value.trim()).map_err(flaw)?;
                    if units.get(&target).is_some_and(|before| !is_same_code(before, &built)) {
                        return Err(twice(&format!("{UNIT} {target}"), number));
                    }
                    units.insert(target, built);
                    continue;
                }
                let value_shown = shown(value.trim()).map_err(flaw)?;
                if header.insert(name, value_shown.clone()).is_some_and(|before| before != value_shown) {
                    return Err(twice(name, number));
                }
                check_version(name, value.trim(), number)?;
                continue;
            }
            if !header.contains_key(VERSION_KEY) {
                return Err(flaw(format!("a test comes before `@{VERSION_KEY} {VERSION}`: is this a baseline?")));
            }
            let (id, seen) = test_of(line).map_err(flaw)?;
            let other = tests.insert(id.clone(), seen).filter(|other| *other != seen);
            if let Some(other) = other {
                tests.insert(id.clone(), seen.lower(&other));
                merged.insert(id);
            }
        }
        Ok(Baseline { conditions: conditions(header)?, units, tests, merged })
    }
}

const AFTER_A_CONFLICT: &str = "remove the markers and keep the lines of both sides: of a test that has two, the lower counts until \
                                `cargo memprof accept`. With `memprof.baseline merge=union` in `.gitattributes`, git does so itself";

/// Whether two lines of a unit, of two branches, have one meaning: features follow from the manifests then, as [`super::compare::units`] says.
fn is_same_code(one: &Built, other: &Built) -> bool {
    let code = |built: &Built| {
        let Unit { opt_level, debug_assertions, flags, .. } = built.unit.clone();
        (opt_level, debug_assertions, flags, built.packages.clone())
    };
    code(one) == code(other)
}

/// Nobody knows which of two conditions a merge's lines are of.
fn twice(name: &str, line: usize) -> Flaw {
    let help = "two branches changed it: keep the line that holds for the merged code, then run `cargo memprof test --save-baseline`";
    Flaw { help: Some(help.to_owned()), ..Flaw::new(Some(line), format!("`@{name}` is there twice, and differs")) }
}

fn check_version(name: &str, value: &str, line: usize) -> Result<(), Flaw> {
    if name != VERSION_KEY || value == VERSION.to_string() {
        return Ok(());
    }
    let number = value.parse::<u32>().ok();
    let is_older = number.is_some_and(|version| version < VERSION);
    let help = match number {
        Some(_) if is_older => "record it anew, in the place of this one: `cargo memprof test --save-baseline`",
        Some(_) => "update cargo-memprof: `cargo install cargo-memprof`",
        None => return Err(Flaw::new(Some(line), format!("`{value}` is no version of its format"))),
    };
    Err(Flaw {
        help: Some(help.to_owned()),
        is_older,
        ..Flaw::new(
            Some(line),
            format!("its format is version {value}; this cargo-memprof reads and writes version {VERSION}"),
        )
    })
}

fn conditions(mut header: BTreeMap<&str, String>) -> Result<Conditions, Flaw> {
    let whole = |what: String| Flaw::new(None, what);
    if header.remove(VERSION_KEY).is_none() {
        return Err(whole(format!("the line `@{VERSION_KEY} {VERSION}` is missing: is this a baseline?")));
    }
    let mut take = |name: &str| header.remove(name).ok_or_else(|| whole(format!("the line `@{name} …` is missing")));
    let (rustc, target, profile) = (take("rustc")?, take("target")?, take("profile")?);
    let (features, seeds, counting) = (take("features")?, take("seeds")?, take("counting")?);
    let backtrace = take("backtrace")?;
    let counting = counting.parse().map_err(|_| whole(format!("`@counting {counting}` is not a whole number")))?;
    if let Some((name, _)) = header.pop_first() {
        return Err(whole(format!(
            "`@{name}` is not known; a header has @rustc, @target, @profile, @features, @seeds, @backtrace, @counting and @{UNIT}s"
        )));
    }
    Ok(Conditions { rustc, target, profile, features, seeds, backtrace, counting })
}

/// The key of a unit's line, and in it of the packages that were chosen.
const UNIT: &str = "unit";
const PACKAGES: &str = "packages";

/// Reads what stands behind [`UNIT`].
fn unit_of(text: &str) -> Result<(TargetId, Built), String> {
    let names = Unit::default().fields().map(|(name, _)| name);
    let shape = || {
        let fields: Vec<String> = names.iter().chain([&PACKAGES]).map(|name| format!("{name}=…")).collect();
        format!("a unit is `package kind/target {}`", fields.join(" "))
    };
    let mut words = text.split(' ');
    let (package, target) = (words.next(), words.next().and_then(|target| target.split_once('/')));
    let (Some(package), Some((kind, target))) = (package, target) else { return Err(shape()) };
    let package = if package == NOTHING { String::new() } else { shown(package)? };
    let mut take = |name: &str| match words.next().and_then(|word| word.strip_prefix(name)?.strip_prefix('=')) {
        Some(value) => shown(value),
        None => Err(format!("`{name}=…` is missing; {}", shape())),
    };
    let [features, opt_level, debug_assertions, flags, dependencies] = names;
    let fields = [take(features)?, take(opt_level)?, take(debug_assertions)?, take(flags)?, take(dependencies)?];
    let packages = take(PACKAGES)?;
    match (Unit::from_fields(fields), words.next()) {
        (Some(unit), None) => {
            Ok((TargetId { package, kind: shown(kind)?, target: shown(target)? }, Built { unit, packages }))
        }
        _ => Err(shape()),
    }
}

/// A test's line.
pub fn line(id: &TestId, seen: &Seen) -> String {
    let mut line = format!("{} {}/{} {}", word(&id.package), word(&id.kind), word(&id.target), name(&id.name));
    // Writing to a string does not fail.
    for metric in Metric::ALL {
        let (least, most) = (seen.least.get(metric), seen.most.get(metric));
        let _ = write!(line, " {}={least}", metric.name());
        if least != most {
            let _ = write!(line, "..{most}");
        }
        if seen.most.error(metric) > 0 {
            let _ = write!(line, "~{}", seen.most.error(metric));
        }
    }
    if seen.least != seen.most || seen.killed > 0 {
        let _ = write!(line, " {RUNS}={}", seen.runs);
    }
    if seen.killed > 0 {
        let _ = write!(line, " {KILLED}={}", seen.killed);
    }
    if let Some(text) = seen.text {
        let _ = write!(line, " {TEXT}={text:08x}");
    }
    line
}

/// How many runs a line is of that says what varied in them.
const RUNS: &str = "runs";
/// In how many others the program was killed.
const KILLED: &str = "killed";
/// A hash of a doctest's text.
const TEXT: &str = "text";
const SHAPE: &str =
    "a line is `package kind/target test alloc_objects=N alloc_space=N peak_space=N inuse_objects=N inuse_space=N`";

/// Reads what [`line()`] wrote.
///
/// # Errors
/// The flaw.
pub fn test_of(line: &str) -> Result<(TestId, Seen), String> {
    let mut place = line.trim_end();
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    while let Some((before, last)) = place.rsplit_once(' ')
        && let Some((key, value)) = last.split_once('=')
    {
        let known = [RUNS, KILLED, TEXT].contains(&key) || Metric::ALL.iter().any(|metric| metric.name() == key);
        if !known {
            return Err(format!("`{last}` stands where a metric belongs; {SHAPE}"));
        }
        if values.insert(key, value).is_some() {
            return Err(format!("`{key}` is there twice; {SHAPE}"));
        }
        place = before;
    }
    let mut seen = Seen::once(Metrics::default());
    for metric in Metric::ALL {
        let name = metric.name();
        let value = values.get(name).ok_or_else(|| format!("it is cut short: `{name}=N` is missing; {SHAPE}"))?;
        put(&mut seen, metric, value).ok_or_else(|| format!("`{value}` is not a valid value: `{name}={value}`"))?;
    }
    if let Some(runs) = values.get(RUNS) {
        seen.runs =
            runs.parse().ok().filter(|runs| *runs > 0).ok_or_else(|| format!("`{runs}` is no number of runs"))?;
    }
    if let Some(killed) = values.get(KILLED) {
        seen.killed = killed.parse().map_err(|_| format!("`{killed}` is no number of runs"))?;
    }
    if let Some(text) = values.get(TEXT) {
        let hash = u32::from_str_radix(text, 16).map_err(|_| format!("`{text}` is no hash of a doctest's text"))?;
        seen.text = Some(hash);
    }
    let mut parts = place.splitn(3, ' ');
    let (package, target, name) = (parts.next(), parts.next(), parts.next());
    let target = target.and_then(|target| target.split_once('/'));
    let (Some(package), Some((kind, target)), Some(name)) = (package, target, name) else {
        return Err(format!("`{place}` does not name a package, a target and a test; {SHAPE}"));
    };
    if name.is_empty() {
        return Err(format!("it names no test; {SHAPE}"));
    }
    let package = if package == NOTHING { String::new() } else { shown(package)? };
    let id = TestId { package, target: shown(target)?, kind: shown(kind)?, name: unescaped(name)? };
    Ok((id, seen))
}

/// Reads `6`, `6..8`, and of a peak `6~2` and `6..8~2`.
fn put(seen: &mut Seen, metric: Metric, text: &str) -> Option<()> {
    let (span, error) = match text.split_once('~') {
        Some((span, error)) if metric == Metric::PeakSpace => (span, error.parse().ok()?),
        Some(_) => return None,
        None => (text, 0),
    };
    let (least, most) = span.split_once("..").unwrap_or((span, span));
    for (side, text) in [(&mut seen.least, least), (&mut seen.most, most)] {
        match metric {
            Metric::AllocObjects => side.alloc_objects = text.parse().ok()?,
            Metric::AllocSpace => side.alloc_space = text.parse().ok()?,
            Metric::PeakSpace => (side.peak_space, side.peak_error) = (text.parse().ok()?, error),
            Metric::InuseObjects => side.inuse_objects = text.parse().ok()?,
            Metric::InuseSpace => side.inuse_space = text.parse().ok()?,
        }
    }
    (seen.least.get(metric) <= seen.most.get(metric)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(package: &str, kind: &str, target: &str, name: &str) -> TestId {
        TestId { package: package.into(), target: target.into(), kind: kind.into(), name: name.into() }
    }

    fn metrics(objects: u64) -> Metrics {
        let (alloc_space, peak_space, inuse_objects, inuse_space) = (2, 3, -1, -4);
        Metrics { alloc_objects: objects, alloc_space, peak_space, peak_error: 0, inuse_objects, inuse_space }
    }

    fn once(objects: u64) -> Seen {
        Seen::once(metrics(objects))
    }

    fn baseline() -> Baseline {
        let conditions = Conditions {
            rustc: "1.95.0".into(),
            target: "x86_64-unknown-linux-gnu".into(),
            profile: "test".into(),
            features: "default,a".into(),
            seeds: "random".into(),
            backtrace: "off".into(),
            counting: 1,
        };
        let unit = Unit {
            features: "a,b".into(),
            opt_level: "0".into(),
            debug_assertions: true,
            flags: "12ab".into(),
            dependencies: "-".into(),
        };
        let built = Built { unit, packages: "workspace,-x".into() };
        let units = [
            (TargetId::of(&id("a b", "lib", "x", "")), built.clone()),
            (TargetId::of(&id("", "doc", "csv", "")), built),
        ];
        let tests = [
            (id("csv", "lib", "csv", "b::two"), once(1)),
            (id("csv", "test", "csv", "a"), Seen::once(Metrics { peak_error: 4096, ..metrics(7) })),
            (
                id("csv", "test", "csv", "b"),
                Seen { least: metrics(6), most: metrics(8), runs: 5, killed: 0, text: None },
            ),
            (id("csv", "test", "csv", "b › m"), Seen { killed: 2, ..once(3) }),
            (id("csv", "doc", "csv", "src/lib.rs - f #2"), Seen { text: Some(0xab), ..once(3) }),
            (id("", "doc", "csv", "src/lib.rs - f (line 3)"), once(0)),
            (id("a b", "lib", "x", "odd\n\\name\u{7}"), once(i64::MAX as u64)),
            (id("mimic", "test", "x", "data x=1 runs=3"), once(2)),
            (id("mimic", "test", "x", "a=1"), once(2)),
        ];
        Baseline { conditions, units: units.into(), tests: tests.into(), ..Baseline::default() }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = baseline().to_text();
        assert_eq!(Baseline::parse(&text), Ok(baseline()));
        assert!(
            text.contains(
                "\n\ncsv lib/csv b::two alloc_objects=1 alloc_space=2 peak_space=3 inuse_objects=-1 inuse_space=-4\n\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("\ncsv test/csv b alloc_objects=6..8 alloc_space=2 peak_space=3 inuse_objects=-1 inuse_space=-4 runs=5\n"),
            "{text}"
        );
        assert!(text.contains("peak_space=3~4096 "), "{text}");
        assert!(text.contains("inuse_space=-4 runs=1 killed=2\n"), "{text}");
    }

    #[test]
    fn windows_line_ends_blank_lines_and_another_order_do_no_harm() {
        let text = baseline().to_text();
        let mut lines: Vec<&str> = text.lines().collect();
        let last = lines.len() - 2;
        lines.swap(last, last - 2);
        assert_eq!(Baseline::parse(&lines.join("\r\n\r\n")), Ok(baseline()));
    }

    #[test]
    fn of_two_lines_that_a_merge_left_the_lower_counts() {
        let mut lines: Vec<String> = baseline().to_text().lines().map(str::to_owned).collect();
        let of_both = |objects: &str, space: &str| {
            format!(
                "csv lib/csv b::two alloc_objects={objects} alloc_space={space} peak_space=3 inuse_objects=-1 inuse_space=-4"
            )
        };
        let unit =
            lines.iter().find(|line| line.starts_with("@unit")).unwrap().replace("features=a,b", "features=a,b,c");
        lines.extend([of_both("0..1", "9") + " runs=5", "@rustc 1.95.0".to_owned(), unit.clone()]);
        lines.extend([of_both("1", "2"), of_both("0..9", "1") + " runs=7"]);
        let read = Baseline::parse(&lines.join("\n")).unwrap();
        let two = id("csv", "lib", "csv", "b::two");
        assert_eq!(read.merged, [two.clone()].into());
        let least = Metrics { alloc_objects: 0, alloc_space: 1, ..metrics(0) };
        let seen = Seen { least, most: Metrics { alloc_objects: 1, ..least }, runs: 7, killed: 0, text: None };
        assert_eq!(read.tests[&two], seen);
        let text = Baseline { merged: BTreeSet::new(), ..read.clone() }.to_text();
        assert!(text.contains(&unit), "the last unit holds: {text}");
        assert!(Baseline::parse(&text).unwrap().merged.is_empty());
        let equal = Baseline { tests: [(two, seen)].into(), units: read.units, merged: read.merged, ..baseline() };
        assert_eq!(Baseline::parse(&format!("{0}{0}", equal.to_text())).unwrap().merged, BTreeSet::new());
    }

    #[test]
    fn lines_are_sorted_as_text() {
        let text = baseline().to_text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '@'])).collect();
        assert_eq!(lines.len(), baseline().tests.len());
        assert!(lines.is_sorted());
    }

    #[test]
    fn a_broken_file_says_which_line_and_why() {
        let text = baseline().to_text();
        let good = "csv lib/csv b::two alloc_objects=1 alloc_space=2 peak_space=3 inuse_objects=-1 inuse_space=-4";
        let at = 1 + text.lines().position(|line| line == good).unwrap();
        let with = |new: &str| text.replace(good, new);
        for (broken, line, why) in [
            (String::new(), None, "is empty"),
            ("hello\n".to_owned(), Some(1), "is this a baseline?"),
            (text.replace("@memprof-baseline 2", "@memprof-baseline 1"), Some(2), "version 1; this"),
            (text.replace("@memprof-baseline 2", "@memprof-baseline 3"), Some(2), "version 3; this"),
            (text.replace("@memprof-baseline 2", "@memprof-baseline x"), Some(2), "`x` is no version"),
            (text.replace("@rustc 1.95.0\n", ""), None, "`@rustc …` is missing"),
            (text.replace("@counting 1", "@counting one"), None, "not a whole number"),
            (text.replace("@rustc 1.95.0", "@rustc 1.95.0\n@rustc 1.96.0"), Some(4), "is there twice"),
            (text.replace("@backtrace off\n", ""), None, "`@backtrace …` is missing"),
            (text.replace("@rustc 1.95.0", "@rustc 1.95.0\n@unit"), Some(4), "a unit is `package"),
            (text.replace(" opt-level=0", ""), Some(11), "`opt-level=…` is missing; a unit is"),
            (text.replace("debug-assertions=on", "debug-assertions=1"), Some(11), "a unit is"),
            (text.replace("=workspace,-x", "=a b=c"), Some(11), "a unit is"),
            (
                text.replace(
                    "@unit - doc/csv features=a,b opt-level=0",
                    "@unit a\\u{20}b lib/x features=a,b opt-level=1",
                ),
                Some(13),
                "is there twice",
            ),
            (text.replace("@rustc 1.95.0", "@rustc 1.95.0\n@rusty 1"), None, "`@rusty` is not known"),
            (with(&format!("<<<<<<< HEAD\n{good}")), Some(at), "a conflict"),
            (with("csv lib/csv b::two alloc_objects=1"), Some(at), "`alloc_space=N` is missing"),
            (with("csv"), Some(at), "cut short"),
            (with(&good.replace("alloc_objects=1 ", "")), Some(at), "`alloc_objects=N` is missing"),
            (with(&good.replace("=1 ", "=one ")), Some(at), "`one` is not a valid value"),
            (with(&good.replace("=1 ", "=-1 ")), Some(at), "`-1` is not a valid value"),
            (with(&good.replace("=1 ", "=8..6 ")), Some(at), "`8..6` is not a valid value"),
            (with(&good.replace("=1 ", "=1~6 ")), Some(at), "`1~6` is not a valid value"),
            (with(&good.replace("peak_space", "peak")), Some(at), "`peak=3` stands where a metric belongs"),
            (with(&format!("{good} alloc_space=3")), Some(at), "`alloc_space` is there twice"),
            (with(&format!("{good} runs=0")), Some(at), "`0` is no number of runs"),
            (with(&format!("{good} killed=x")), Some(at), "`x` is no number of runs"),
            (with(&good.replace("lib/csv", "lib")), Some(at), "does not name a package"),
            (with(&good.replace("two", "\\q")), Some(at), "`\\q` is no escape"),
        ] {
            let flaw = Baseline::parse(&broken).unwrap_err();
            assert_eq!(flaw.line, line, "{broken}\n{flaw:?}");
            assert!(flaw.what.contains(why), "{why}: {flaw:?}");
            assert_eq!(flaw.is_older, why.starts_with("version 1"), "{flaw:?}");
        }
    }
}
