//! Reads the output of benchmark frameworks: the tree that divan draws, and the time of an iteration that each of them
//! measured. Pure; lines that it does not understand are left out.

use crate::context::frameworks::Dialect;
use anstream::adapter::strip_str;
use std::collections::BTreeMap;

/// Nanoseconds of an iteration by the benchmark's name, as `text` has them, which the program wrote while it measured.
pub fn times(dialect: Dialect, text: &str) -> BTreeMap<String, f64> {
    let plain = strip_str(text).to_string();
    let mut times = Times::default();
    match dialect {
        Dialect::Criterion => {
            criterion(&plain, &mut times);
            like_libtest(&plain, &mut times);
        }
        Dialect::Divan => {
            let leaves = tree(&plain).unwrap_or_default();
            leaves
                .iter()
                .filter_map(|leaf| Some((leaf.one_thread(), leaf.metric?)))
                .for_each(|(name, time)| times.add(name, time));
        }
        Dialect::Bencher => like_libtest(&plain, &mut times),
    }
    times.known()
}

/// Of `times` those of the benchmarks called `names`. What is printed of a name lacks the blanks at its ends; where several names are
/// printed alike it is not known whose time it is.
pub fn of_names(times: BTreeMap<String, f64>, names: &[String]) -> BTreeMap<String, f64> {
    let mut printed: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    names.iter().for_each(|name| printed.entry(name.trim()).or_default().push(name));
    let of_one = |(shown, time): (String, f64)| match printed.get(&*shown).map(Vec::as_slice) {
        Some([name]) => Some(((*name).clone(), time)),
        _ => None,
    };
    times.into_iter().filter_map(of_one).collect()
}

/// The names of the benchmarks in what `text` says of their run, where lines are libtest's, in order. Fails with the reason where
/// the benchmarks' own code printed lines like those.
pub fn names(text: &str) -> Result<Vec<String>, String> {
    let plain = strip_str(text).to_string();
    let announced: Vec<usize> = plain.lines().filter_map(announced).collect();
    let names: Vec<String> = plain.lines().filter_map(|line| Some(started(line)?.0.to_owned())).collect();
    match announced[..] {
        [count] if count == names.len() => Ok(names),
        [] if names.is_empty() => Ok(names),
        _ => Err(format!(
            "it announced {} and named {}: its code prints lines like those of the framework",
            announced.iter().map(usize::to_string).collect::<Vec<_>>().join(" and "),
            names.len()
        )),
    }
}

/// `running 3 tests`: how many.
fn announced(line: &str) -> Option<usize> {
    let count = line.strip_prefix("running ")?;
    count.strip_suffix(" tests").or_else(|| count.strip_suffix(" test"))?.parse().ok()
}

/// What is `None` under a name was printed more than once, so that nobody knows which of them was measured.
#[derive(Default)]
struct Times(BTreeMap<String, Option<f64>>);

impl Times {
    fn add(&mut self, name: &str, time: f64) {
        let known = self.0.entry(name.to_owned()).or_insert(Some(time));
        if *known != Some(time) {
            *known = None;
        }
    }

    fn known(self) -> BTreeMap<String, f64> {
        self.0.into_iter().filter_map(|(name, time)| Some((name, time?))).collect()
    }
}

/// `name    time:   [1.2 ns 1.3 ns 1.4 ns]`, where a long name has a line of its own before; the second is the estimate.
fn criterion(text: &str, times: &mut Times) {
    let mut before = "";
    for line in text.lines() {
        // What was written over is not there any more.
        let line = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or(line);
        if let Some((name, values)) = line.split_once("time:   [") {
            let name = if name.trim().is_empty() { before } else { name.trim() };
            let words: Vec<&str> = values.split_once(']').map_or("", |(values, _)| values).split_whitespace().collect();
            if let [_, _, estimate, unit, _, _] = words[..]
                && let Some(time) = nanoseconds(estimate, unit)
            {
                times.add(name, time);
            }
        }
        if !line.trim().is_empty() {
            before = line.trim();
        }
    }
}

/// `test name ... bench:   1,234 ns/iter (+/- 12)`, where the benchmark's own code may have printed between the one half and the other.
/// Of two second halves it is not known which is the framework's.
fn like_libtest(text: &str, times: &mut Times) {
    let mut open: Option<(&str, Vec<f64>)> = None;
    let mut end = |open: Option<(&str, Vec<f64>)>| {
        let (name, found) = open.unwrap_or_default();
        found.into_iter().for_each(|time| times.add(name, time));
    };
    for line in text.lines() {
        let rest = match started(line) {
            Some((name, rest)) => {
                end(open.replace((name, Vec::new())));
                rest
            }
            None => line,
        };
        if let Some((_, found)) = &mut open {
            found.extend(rest.split("bench:").skip(1).filter_map(measured));
        }
    }
    end(open);
}

/// What stands behind `bench:`, in nanoseconds.
fn measured(text: &str) -> Option<f64> {
    text.split_once(" ns/iter")?.0.trim().replace(',', "").parse().ok()
}

/// Of a line that libtest begins before it runs a benchmark, its name and what follows.
fn started(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name.trim_end(), rest))
}

fn nanoseconds(value: &str, unit: &str) -> Option<f64> {
    let factor = match unit {
        "ps" => 1e-3,
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        // Not time is what was measured.
        _ => return None,
    };
    let value: f64 = value.replace(',', "").parse().ok()?;
    Some(value * factor)
}

/// A benchmark in a tree as divan draws it.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// The names from the program's to its own, joined by `::`.
    pub path: String,
    pub ignored: bool,
    /// Nanoseconds, the median; `None` where nothing was measured.
    pub metric: Option<f64>,
}

impl Leaf {
    /// Of a branch for a number of threads, which has no name of its own, the benchmark.
    pub fn on_threads(&self) -> Option<&str> {
        let (path, last) = self.path.rsplit_once("::")?;
        let count = last.strip_prefix("t=")?;
        (!count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit())).then_some(path)
    }

    /// The path, without the branch for one thread.
    fn one_thread(&self) -> &str {
        self.path.strip_suffix("::t=1").unwrap_or(&self.path)
    }
}

/// Of a tree as divan draws it, the leaves; `None` where it is none.
///
/// ```text
/// div              fastest       │ slowest       │ median        │ mean          │ samples │ iters
/// ├─ many                        │               │               │               │         │
/// │  ├─ 1          11.52 ns      │ 156.9 ns      │ 12.53 ns      │ 15.09 ns      │ 100     │ 3200
/// │  │             86.9 MB/s     │ …
/// ╰─ two           (ignored)     │               │               │               │         │
/// ```
pub fn tree(text: &str) -> Option<Vec<Leaf>> {
    /// Columns of a level.
    const STEP: usize = 3;
    let mut path: Vec<&str> = Vec::new();
    let mut leaves: Vec<Leaf> = Vec::new();
    // The depth of the line before, whose path is no leaf if this one is deeper.
    let mut before = None;
    let mut median = None;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let row = line.trim_start_matches(['│', '├', '╰', '─', ' ']);
        let drawn = &line[..line.len() - row.len()];
        let (indent, is_named) = (drawn.chars().count(), drawn.is_empty() || drawn.trim_end().ends_with('─'));
        if !is_named && (median.is_some() || drawn.contains('│')) {
            // More metrics of the benchmark above.
            continue;
        }
        // Columns follow the name, which stands two blanks before the first.
        let (name, first) = row.split_once("  ").map_or((row, ""), |(name, rest)| (name, rest));
        let (name, depth) = (name.trim(), indent / STEP);
        if !indent.is_multiple_of(STEP) || name.is_empty() || depth > path.len() {
            return None;
        }
        let cells: Vec<&str> = first.split('│').map(str::trim).collect();
        if depth == 0 {
            median = cells.iter().position(|cell| *cell == "median");
        }
        if before.is_some_and(|before| depth > before) {
            leaves.pop();
        }
        path.truncate(depth);
        path.push(name);
        let metric = median.and_then(|at| cells.get(at)?.split_once(' '));
        leaves.push(Leaf {
            path: path.join("::"),
            ignored: cells[0] == "(ignored)",
            metric: metric.and_then(|(value, unit)| nanoseconds(value, unit)),
        });
        before = Some(depth);
    }
    // The program itself, without a benchmark.
    leaves.retain(|leaf| leaf.path.contains("::"));
    Some(leaves).filter(|leaves| !leaves.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Option<Vec<String>> {
        Some(tree(text)?.into_iter().map(|leaf| leaf.path).collect())
    }

    #[test]
    fn the_leaves_of_a_tree_are_named_by_their_paths() {
        let text = "div\n├─ many\n│  ├─ 1\n│  ╰─ 2\n├─ two  (ignored)\n╰─ z\n   ├─ a b\n   ╰─ t=12\n\n";
        assert_eq!(paths(text).unwrap(), ["div::many::1", "div::many::2", "div::two", "div::z::a b", "div::z::t=12"]);
        let leaves = tree(text).unwrap();
        assert_eq!(leaves.iter().map(|leaf| leaf.ignored).collect::<Vec<_>>(), [false, false, true, false, false]);
        assert_eq!(leaves[4].on_threads(), Some("div::z"));
        assert!(leaves.iter().all(|leaf| leaf.metric.is_none()));
        assert_eq!(paths("hello\n  world\n"), None);
        assert_eq!(paths("div\n"), None);
    }

    #[test]
    fn the_median_of_a_tree_is_the_time_of_an_iteration() {
        let text = "div            fastest       │ slowest       │ median        │ mean          │ samples │ iters\n\
                    ├─ one         11.52 ns      │ 156.9 ns      │ 1.253 µs      │ 15.09 ns      │ 100     │ 3200\n\
                    │              86.9 MB/s     │ 6.3 MB/s      │ 79.8 MB/s     │ 66.2 MB/s     │         │\n\
                    │              alloc:        │               │               │               │         │\n\
                    ├─ threads                   │               │               │               │         │\n\
                    │  ├─ t=1      1 ns          │ 2 ns          │ 1.5 ns        │ 1.5 ns        │ 100     │ 100\n\
                    │  ╰─ t=2      1 ns          │ 2 ns          │ 1.7 ns        │ 1.5 ns        │ 100     │ 100\n\
                    ├─ two         (ignored)     │               │               │               │         │\n\
                    ╰─ z           2 ms          │ 3 ms          │ 2.5 ms        │ 2.6 ms        │ 100     │ 100\n\
                    \u{20}              1 item/s      │ 1 item/s      │ 1 item/s      │ 1 item/s      │         │\n";
        let times = times(Dialect::Divan, text);
        let expected = [("div::one", 1253.0), ("div::threads", 1.5), ("div::threads::t=2", 1.7), ("div::z", 2.5e6)];
        assert_eq!(times, expected.map(|(name, time)| (name.to_owned(), time)).into());
    }

    #[test]
    fn criterion_prints_the_estimate_between_its_bounds() {
        let text = "Benchmarking short: Warming up\u{1b}[K\rBenchmarking short: Analyzing\r\u{1b}[K\
                    \u{1b}[32mshort\u{1b}[0m                   time:   [1.1 ns \u{1b}[1m1.25 ns\u{1b}[0m 1.3 ns]\n\
                    a name that is longer than the column\n                        time:   [1 ms 2.5 ms 3 ms]\n\
                    \u{20}                       change: [-1% +2% +3%]\n\
                    cycles                  time:   [10 cycles 12 cycles 13 cycles]\n\
                    test of the other form ... bench:       1,234 ns/iter (+/- 56)\n";
        let expected =
            [("short", 1.25), ("a name that is longer than the column", 2.5e6), ("of the other form", 1234.0)];
        assert_eq!(times(Dialect::Criterion, text), expected.map(|(name, time)| (name.to_owned(), time)).into());
    }

    #[test]
    fn a_time_is_of_the_name_that_is_printed_without_its_blanks() {
        let names = ["one ", "two", "two ", "three  boxes"].map(str::to_owned);
        let times = ["one", "two", "three  boxes", "nobody"].map(|name| (name.to_owned(), 1.5));
        let expected = ["one ", "three  boxes"].map(|name| (name.to_owned(), 1.5));
        assert_eq!(of_names(times.into(), &names), expected.into());
    }

    const BENCHER: &str = "\nrunning 3 tests\ntest a::one      ... bench:          14 ns/iter (+/- 48) = 3 MB/s\n\
                           test says        ... loading\nloading\nbench:          24 ns/iter (+/- 41)\n\
                           test two         ... bench:       1,075 ns/iter (+/- 59)\n\n\
                           test result: ok. 0 passed; 3 measured\n";

    fn of_bencher(text: &str) -> Vec<(String, f64)> {
        times(Dialect::Bencher, text).into_iter().collect()
    }

    #[test]
    fn the_names_of_bencher_are_in_what_it_prints_and_what_its_code_prints_hides_none() {
        assert_eq!(names(BENCHER).unwrap(), ["a::one", "says", "two"]);
        let expected = [("a::one", 14.0), ("says", 24.0), ("two", 1075.0)];
        assert_eq!(of_bencher(BENCHER), expected.map(|(name, time)| (name.to_owned(), time)));
        assert_eq!(names("no list at all\n").unwrap(), [""; 0]);
    }

    #[test]
    fn a_line_that_a_benchmark_forges_is_no_metric() {
        for forged in ["bench:  1 ns/iter (+/- 0)", "test says ... bench:  1 ns/iter (+/- 0)"] {
            let text = BENCHER.replacen("loading", forged, 1);
            assert_eq!(
                of_bencher(&text).iter().map(|(name, _)| &**name).collect::<Vec<_>>(),
                ["a::one", "two"],
                "{text}"
            );
            assert_eq!(names(&text).unwrap(), ["a::one", "says", "two"]);
        }
        // On a line of its own it looks as if there were another benchmark.
        for forged in ["\ntest more ... bench:  1 ns/iter (+/- 0)", "\nrunning 4 tests"] {
            let text = BENCHER.replacen("loading", forged, 1);
            assert!(names(&text).unwrap_err().contains("its code prints lines"), "{text}");
        }
        let criterion = "x                       time:   [1 ns 2 ns 3 ns]\nx                       time:   [1 ns 4 ns 5 ns]\n\
                         y                       time:   [1 ns 2 ns 3 ns]\n                        change:\n\
                         \u{20}                       time:   [-1.0% +2.0% +3.0%] (p = 0.5 > 0.05)\n";
        assert_eq!(times(Dialect::Criterion, criterion), [("y".to_owned(), 2.0)].into());
    }
}
