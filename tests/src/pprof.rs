//! Profiles, read by Go's own `pprof`, which knows nothing of us.

use crate::tool;
use std::path::Path;
use std::process::Command;

/// Whether Go is there to read with. Where it is not, says what is skipped.
pub fn can_read() -> bool {
    tool::has("go", &["version"], "reading the profile with `go tool pprof`")
}

/// What `go tool pprof <arguments> <profile>` prints; it must succeed.
pub fn pprof(arguments: &[&str], profile: &Path) -> String {
    let mut command = Command::new("go");
    command.args(["tool", "pprof"]).args(arguments).arg(profile);
    // It would look for the executables to symbolize again what we symbolized.
    command.env("PPROF_BINARY_PATH", "/nonexistent").env("HOME", tool::cache());
    let output = command.output().expect("go starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{stderr}");
    String::from_utf8(output.stdout).expect("pprof prints text")
}

/// `-raw`, taken apart.
#[derive(Debug)]
pub struct Raw {
    /// Such as `alloc_objects/count`, in order; the default is marked `[dflt]`.
    pub sample_types: Vec<String>,
    pub period: String,
    pub comments: Vec<String>,
    pub samples: Vec<Sample>,
}

/// One sample with its stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub values: Vec<i64>,
    /// `key:[value]` as pprof prints them.
    pub labels: Vec<String>,
    /// Function names, innermost first, inlined ones included.
    pub functions: Vec<String>,
    /// `file:line` of each.
    pub lines: Vec<String>,
}

impl Raw {
    pub fn read(profile: &Path) -> Raw {
        parse(&pprof(&["-raw"], profile))
    }

    /// The sum of one value over all samples.
    pub fn total(&self, sample_type: &str) -> i64 {
        let at = self.position(sample_type);
        self.samples.iter().map(|sample| sample.values[at]).sum()
    }

    /// Where a sample type stands.
    pub fn position(&self, sample_type: &str) -> usize {
        let named = |name: &String| name.split('/').next() == Some(sample_type);
        self.sample_types.iter().position(named).unwrap_or_else(|| panic!("{sample_type} in {:?}", self.sample_types))
    }

    /// The samples that have a function whose name ends so.
    pub fn through(&self, function: &str) -> Vec<&Sample> {
        let through = |sample: &&Sample| sample.functions.iter().any(|name| name.ends_with(function));
        self.samples.iter().filter(through).collect()
    }
}

fn parse(text: &str) -> Raw {
    let mut raw = Raw { sample_types: Vec::new(), period: String::new(), comments: Vec::new(), samples: Vec::new() };
    let (head, rest) = text.split_once("Samples:\n").expect("pprof prints samples");
    let (samples, rest) = rest.split_once("Locations\n").expect("pprof prints locations");
    let (locations, _) = rest.split_once("Mappings\n").expect("pprof prints mappings");
    for line in head.lines() {
        match line.split_once(": ") {
            Some(("Comment", comment)) => raw.comments.push(comment.to_owned()),
            Some(("Period", period)) => raw.period = period.to_owned(),
            _ => {}
        }
    }
    let locations = parse_locations(locations);
    let mut lines = samples.lines();
    let types = lines.next().expect("the sample types stand first");
    raw.sample_types = types.split_whitespace().map(str::to_owned).collect();
    for line in lines {
        match line.split_once(':').map(|(values, ids)| (whole_numbers(values), whole_numbers(ids))) {
            Some((Some(values), Some(ids))) => {
                let frames = ids.iter().filter_map(|id| locations.get(&(*id as u64)));
                let (functions, lines) = frames.flatten().cloned().unzip();
                raw.samples.push(Sample { values, labels: Vec::new(), functions, lines });
            }
            // Labels stand below their sample.
            _ => raw.samples.last_mut().expect("a sample").labels.extend(line.split_whitespace().map(str::to_owned)),
        }
    }
    raw
}

fn whole_numbers(text: &str) -> Option<Vec<i64>> {
    text.split_whitespace().map(|word| word.parse().ok()).collect()
}

type Frames = Vec<(String, String)>;

/// By id: the function and `file:line` of each frame, innermost first.
fn parse_locations(text: &str) -> std::collections::HashMap<u64, Frames> {
    let mut locations: std::collections::HashMap<u64, Frames> = std::collections::HashMap::new();
    let mut current = 0;
    for line in text.lines() {
        // `     1: 0x55… M=1 function file:line:column s=start(inl)`, and inlined frames without what is before the
        // function on lines of their own.
        let mut rest = line.trim_start();
        if let Some((id, after)) = rest.split_once(": 0x").and_then(|(id, after)| Some((id.parse().ok()?, after))) {
            current = id;
            rest = after.split_once(' ').map_or("", |(_, after)| after);
            if rest.starts_with("M=") {
                rest = rest.split_once(' ').map_or("", |(_, after)| after);
            }
        }
        let frames = locations.entry(current).or_default();
        if let Some((frame, _)) = rest.trim_end().rsplit_once(" s=") {
            let (function, place) = frame.rsplit_once(' ').unwrap_or((frame, ""));
            frames.push((function.trim().to_owned(), place.to_owned()));
        }
    }
    locations
}
