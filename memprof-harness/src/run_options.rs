//! The options of a run of tests that libtest does not know: the share of the tests, the number of repeats, and what is
//! fixed. They are one text, which `cargo memprof` gives to a test executable, and the executable to its children.

use crate::ledger::layout::{LEAST_DEPTH, MOST_DEPTH};
use crate::pattern;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// See the head of this file. The default is an ordinary run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// How often each test is run, at least once; each time in a process of its own.
    pub repeat: u32,
    /// The share of the tests that is run; `None` = all.
    pub partition: Option<Partition>,
    /// What random numbers std seeds its hash tables with is fixed, and where the kernel puts things in memory.
    pub deterministic: bool,
    /// How long a test may take before it is killed, in whole milliseconds; `None` = as long as it likes.
    pub timeout: Option<Duration>,
    /// How many frames of a stack are kept; `None` = as many as usual.
    pub depth: Option<StackDepth>,
    /// The file with the [`crate::settle::Rules`] by which tests are run again; `None` = none is.
    pub rules: Option<String>,
    /// Which tests are recorded, see [`pattern::picks`]; empty = all. The others are run as ever.
    pub only: Vec<String>,
}

impl RunOptions {
    /// Whether the test called `name` is to be recorded.
    pub fn records(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| pattern::picks(pattern, name))
    }
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions {
            repeat: 1,
            partition: None,
            deterministic: false,
            timeout: None,
            depth: None,
            rules: None,
            only: Vec::new(),
        }
    }
}

/// How many frames of a stack are kept; of a deeper one the middle is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StackDepth(u32);

impl StackDepth {
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u64> for StackDepth {
    type Error = String;

    fn try_from(frames: u64) -> Result<StackDepth, String> {
        let allowed = LEAST_DEPTH as u64..=MOST_DEPTH as u64;
        let fits = u32::try_from(frames).ok().filter(|_| allowed.contains(&frames));
        fits.map(StackDepth).ok_or_else(|| format!("{frames} is not from {LEAST_DEPTH} to {MOST_DEPTH}"))
    }
}

impl FromStr for StackDepth {
    type Err = String;

    fn from_str(text: &str) -> Result<StackDepth, String> {
        text.parse::<u64>().map_err(|_| "it is not a whole number".to_owned()).and_then(StackDepth::try_from)
    }
}

impl fmt::Display for StackDepth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What of each stack and of which allocations is recorded: the mean bytes between samples, and the depth of stacks. As
/// text, `RATE` or `RATE@DEPTH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detail {
    pub rate: u64,
    pub depth: Option<StackDepth>,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.depth {
            Some(depth) => write!(f, "{}@{depth}", self.rate),
            None => self.rate.fmt(f),
        }
    }
}

impl FromStr for Detail {
    type Err = String;

    fn from_str(text: &str) -> Result<Detail, String> {
        let (rate, depth) = match text.split_once('@') {
            Some((rate, depth)) => (rate, Some(depth.parse()?)),
            None => (text, None),
        };
        Ok(Detail { rate: rate.parse().map_err(|_| format!("`{rate}` is not a whole number"))?, depth })
    }
}

/// One of several shares of each executable's tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    pub scheme: Scheme,
    /// From 1 to `of`.
    pub index: u32,
    pub of: u32,
}

/// How tests are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In turns, by the order of their names: shares of equal size.
    Count,
    /// By the hash of the name alone: a test stays in its share when others come and go.
    Hash,
    /// nextest's, in turns over all executables. It divides its tests itself.
    Slice,
}

impl Partition {
    /// For each of `names`, in their order, whether it is in this share.
    pub fn selects(&self, names: &[&str]) -> Vec<bool> {
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by_key(|&at| names[at]);
        let mut selected = vec![false; names.len()];
        for (turn, at) in order.into_iter().enumerate() {
            let number = match self.scheme {
                Scheme::Count | Scheme::Slice => turn as u64,
                Scheme::Hash => fnv1a(names[at].as_bytes()),
            };
            selected[at] = number % u64::from(self.of) == u64::from(self.index - 1);
        }
        selected
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Count => "count",
            Scheme::Hash => "hash",
            Scheme::Slice => "slice",
        };
        write!(f, "{scheme}:{}/{}", self.index, self.of)
    }
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Partition, String> {
        let (scheme, share) = text.split_once(':').ok_or("it is not of the form `count:M/N` or `hash:M/N`")?;
        let scheme = match scheme {
            "count" => Scheme::Count,
            "hash" => Scheme::Hash,
            "slice" => Scheme::Slice,
            other => return Err(format!("`{other}` is neither `count` nor `hash`")),
        };
        let number = |text: &str| text.parse::<u32>().map_err(|_| format!("`{text}` is not a whole number"));
        let (index, of) = share.split_once('/').ok_or("it has no `/` between two numbers")?;
        let (index, of) = (number(index)?, number(of)?);
        if index == 0 || index > of {
            return Err(format!("{index} is not from 1 to {of}"));
        }
        Ok(Partition { scheme, index, of })
    }
}

const REPEAT: &str = "repeat=";
const PARTITION: &str = "partition=";
const DETERMINISTIC: &str = "deterministic";
const TIMEOUT: &str = "timeout_ms=";
const DEPTH: &str = "depth=";
const RULES: &str = "rules=";
const ONLY: &str = "only=";

impl fmt::Display for RunOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{REPEAT}{}", self.repeat)?;
        if let Some(partition) = self.partition {
            write!(f, " {PARTITION}{partition}")?;
        }
        if self.deterministic {
            write!(f, " {DETERMINISTIC}")?;
        }
        if let Some(timeout) = self.timeout {
            write!(f, " {TIMEOUT}{}", timeout.as_millis())?;
        }
        if let Some(depth) = self.depth {
            write!(f, " {DEPTH}{depth}")?;
        }
        if let Some(rules) = &self.rules {
            write!(f, " {RULES}{}", without_spaces(rules))?;
        }
        for pattern in &self.only {
            write!(f, " {ONLY}{}", without_spaces(pattern))?;
        }
        Ok(())
    }
}

impl FromStr for RunOptions {
    type Err = String;

    /// # Errors
    /// Where a word is not known: a test executable must not do less than it was told.
    fn from_str(text: &str) -> Result<RunOptions, String> {
        let mut run_options = RunOptions::default();
        for word in text.split_whitespace() {
            if let Some(number) = word.strip_prefix(REPEAT) {
                run_options.repeat =
                    number.parse().ok().filter(|times| *times > 0).ok_or(format!("`{number}` times"))?;
            } else if let Some(partition) = word.strip_prefix(PARTITION) {
                run_options.partition = Some(partition.parse()?);
            } else if let Some(time) = word.strip_prefix(TIMEOUT) {
                let time = time.parse().ok().filter(|time| *time > 0).ok_or(format!("`{time}` milliseconds"))?;
                run_options.timeout = Some(Duration::from_millis(time));
            } else if let Some(depth) = word.strip_prefix(DEPTH) {
                run_options.depth = Some(depth.parse()?);
            } else if let Some(file) = word.strip_prefix(RULES) {
                run_options.rules = Some(with_spaces(file).ok_or(format!("`{file}` as a path"))?);
            } else if let Some(pattern) = word.strip_prefix(ONLY) {
                run_options.only.push(with_spaces(pattern).ok_or(format!("`{pattern}` as a pattern"))?);
            } else if word == DETERMINISTIC {
                run_options.deterministic = true;
            } else {
                return Err(format!("`{word}` is not known"));
            }
        }
        Ok(run_options)
    }
}

/// `text` as one word: every white space, and what stands for one, by its number between two `%`.
pub(crate) fn without_spaces(text: &str) -> String {
    text.chars().fold(String::new(), |mut word, letter| {
        match letter {
            '%' | '\0' => word.push_str(&format!("%{}%", u32::from(letter))),
            space if space.is_whitespace() => word.push_str(&format!("%{}%", u32::from(space))),
            other => word.push(other),
        }
        word
    })
}

/// What [`without_spaces`] was given; `None` where this is no word of its.
pub(crate) fn with_spaces(word: &str) -> Option<String> {
    let mut text = String::new();
    for (at, part) in word.split('%').enumerate() {
        match at % 2 {
            0 => text.push_str(part),
            _ => text.push(char::from_u32(part.parse().ok()?)?),
        }
    }
    Some(text)
}

/// FNV-1a, 64 bits: short, and the same in every release.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for text in [
            "repeat=1",
            "repeat=5 partition=count:2/3",
            "repeat=1 partition=hash:1/1 deterministic timeout_ms=1500 depth=64 rules=/a%32%b only=a::* only=50%37%%32%b",
        ] {
            assert_eq!(text.parse::<RunOptions>().map(|run_options| run_options.to_string()).as_deref(), Ok(text));
        }
        for text in [
            "repeat=0",
            "repeat=x",
            "partition=count:4/3",
            "partition=count:0/3",
            "partition=x:1/2",
            "timeout_ms=0",
            "depth=15",
            "depth=1025",
            "depth=deep",
            "often",
        ] {
            assert!(text.parse::<RunOptions>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_recorded_is_read_back_as_it_was_written() {
        for text in ["1", "524288", "1@16", "0@1024"] {
            assert_eq!(text.parse::<Detail>().map(|detail| detail.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "1@", "@64", "1@15", "1@64@64", "x"] {
            assert!(text.parse::<Detail>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_test_is_in_exactly_one_share() {
        let names: Vec<String> = (0..100).map(|number| format!("tests::number_{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for scheme in [Scheme::Count, Scheme::Hash] {
            let shares: Vec<Vec<bool>> =
                (1..=3).map(|index| Partition { scheme, index, of: 3 }.selects(&names)).collect();
            for at in 0..names.len() {
                assert_eq!(shares.iter().filter(|share| share[at]).count(), 1);
            }
            let sizes: Vec<usize> = shares.iter().map(|share| share.iter().filter(|in_it| **in_it).count()).collect();
            let evenly = if scheme == Scheme::Count { 33..=34 } else { 20..=47 };
            assert!(sizes.iter().all(|size| evenly.contains(size)), "{sizes:?}");
        }
    }

    #[test]
    fn a_hash_does_not_depend_on_the_other_tests() {
        let share = Partition { scheme: Scheme::Hash, index: 1, of: 2 };
        let all = share.selects(&["a", "b", "c", "d"]);
        assert_eq!(share.selects(&["d", "b"]), [all[3], all[1]]);
    }
}
