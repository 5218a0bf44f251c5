//! Programs of benchmarks: which they have, and how one of them is run once. How a framework is asked is its dialect; what it
//! answers is believed only where it proves that it listens.

use super::{Alone, Answer, BENCHMARK, FLAG, NOBODY, Tests, output, parse, printed};
use crate::context::frameworks::{Dialect, Framework, Shown};
use std::collections::HashSet;
use std::ffi::OsString;
use std::process::Command;

/// Benchmarks of one program that have a process each. Beyond it the program is recorded as one.
const MOST: usize = 2000;
/// Names that have to prove that they stand for themselves and nothing else, before all are believed to.
const PROBES: usize = 8;

/// A program's benchmarks.
pub struct Benchmarks {
    /// `None`: it lists them as libtest does, and nothing is known of what it does around them.
    pub framework: Option<&'static Framework>,
    /// Without names where only a run tells them.
    pub tests: Tests,
    /// What the user should know of those that are missing.
    pub remark: Option<String>,
}

/// Asks the program `exe` that cargo would run with `args`, `--bench` among them; see [`super::ask`].
pub fn ask(exe: &[u8], args: &[OsString], command: &impl Fn(&[OsString]) -> Command) -> Answer {
    // With flags of its own the program may do anything; a filter or a wish for a short run keeps its meaning.
    let own = ["--bench", "--test", "--noplot"];
    let kept: Vec<OsString> = args.iter().filter(|arg| own.iter().all(|own| arg != own)).cloned().collect();
    let program = Program { kept, command };
    match Framework::shown_by(exe) {
        Shown::Known(framework) => match framework.dialect {
            Dialect::Criterion => program.criterion(framework),
            Dialect::Divan => program.divan(framework),
            Dialect::Bencher => program.bencher(framework),
        },
        Shown::Unreadable(framework) => as_one(&format!(
            "it has {}, in a version or a build whose functions have other names than are known",
            framework.name
        )),
        Shown::Nothing if memchr::memmem::find(exe, FLAG).is_some() => program.like_libtest(),
        Shown::Nothing => as_one("of its framework nothing is known"),
    }
}

fn as_one(why: &str) -> Answer {
    Answer::Whole(Some(format!("recorded as one: {why}")))
}

/// What is asked.
struct Program<'a, C: Fn(&[OsString]) -> Command> {
    /// The user's own arguments.
    kept: Vec<OsString>,
    /// Makes a call of the program with other arguments.
    command: &'a C,
}

impl<C: Fn(&[OsString]) -> Command> Program<'_, C> {
    /// What it says with `flags` and the user's own arguments.
    fn says(&self, flags: &[&str]) -> Option<String> {
        let words: Vec<OsString> = flags.iter().map(OsString::from).chain(self.kept.iter().cloned()).collect();
        output((self.command)(&words))
    }

    /// What it says with `words` alone.
    fn says_alone(&self, words: &[String]) -> Option<String> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        output((self.command)(&words))
    }

    fn criterion(&self, framework: &'static Framework) -> Answer {
        let listed = LISTS.iter().find_map(|list| {
            let names = list.names(&self.says(list.flags)?);
            (!names.is_empty()).then_some((list, names))
        });
        let Some((list, names)) = listed else {
            return as_one(&format!("it did not list its benchmarks, as {} does", framework.name));
        };
        let listed_by = |choice: &Choice, name: &str| -> Option<Vec<String>> {
            let words: Vec<String> = list.flags.iter().map(|flag| (*flag).to_owned()).chain(choice(name)).collect();
            Some(list.names(&self.says_alone(&words)?))
        };
        let chooses = |choice: &&Choice| {
            // A program that does not listen would say the same again.
            listed_by(choice, NOBODY).is_some_and(|names| names.is_empty())
                && probes(&names).all(|name| listed_by(choice, name).is_some_and(|found| found == [name.to_owned()]))
        };
        if let Some(choice) = CHOICES.iter().find(chooses) {
            return benchmarks(framework, names, Vec::new(), test_of(*choice));
        }
        // The oldest versions run whatever has the name in its own.
        let by_part: Choice = by_part;
        if listed_by(&by_part, NOBODY).is_none_or(|names| !names.is_empty()) {
            return as_one("it runs other benchmarks than it is told to");
        }
        let (shared, names): (Vec<String>, Vec<String>) =
            names.iter().cloned().partition(|name| names.iter().any(|other| other != name && other.contains(name)));
        benchmarks(framework, names, shared, test_of(by_part))
    }

    fn divan(&self, framework: &'static Framework) -> Answer {
        // Where a benchmark runs on several threads, one iteration is one of each.
        let tests: [&[&str]; 2] = [&["--test", "--threads", "1"], &["--test"]];
        let drawn = tests.iter().find_map(|test| Some((*test, printed::tree(&self.says(test)?)?)));
        let Some((test, leaves)) = drawn else {
            return as_one(&format!("it did not draw its benchmarks, as {} does", framework.name));
        };
        if leaves.iter().any(|leaf| leaf.figure.is_some()) {
            return as_one("it measures its benchmarks when it is to test them");
        }
        let mut names: Vec<String> = Vec::new();
        let mut shared: Vec<String> = Vec::new();
        for leaf in leaves.into_iter().filter(|leaf| !leaf.ignored) {
            match leaf.on_threads() {
                Some(name) => shared.push(name.to_owned()),
                None => names.push(leaf.path),
            }
        }
        shared.dedup();
        let ignored = super::about_ignored(&self.kept).map(|flag| flag.to_string_lossy().into_owned());
        let flags: Vec<String> = test.iter().map(|flag| (*flag).to_owned()).chain(ignored).collect();
        // All by their names: what is missing then has another name than it seems, and would not run alone.
        let exact = |names: &[String]| -> Vec<String> {
            let ends = ["--exact", "--"].map(str::to_owned);
            flags.iter().cloned().chain(ends).chain(names.iter().cloned()).collect()
        };
        let again = self.says_alone(&exact(&names)).and_then(|text| printed::tree(&text)).unwrap_or_default();
        let again: HashSet<String> = again.into_iter().map(|leaf| leaf.path).collect();
        let (names, lost): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| again.contains(name));
        shared.extend(lost);
        let alone = move |name: &str| {
            let words = flags.iter().cloned().chain(["--exact".to_owned(), "--".to_owned(), name.to_owned()]);
            words.map(OsString::from).collect()
        };
        benchmarks(framework, names, shared, Box::new(move |name, _| alone(name)))
    }

    /// It has names for its benchmarks only while it measures them, and no flags.
    fn bencher(&self, framework: &'static Framework) -> Answer {
        let alone: Alone = Box::new(|name, _| vec![OsString::from(name)]);
        Answer::Benchmarks(Benchmarks {
            framework: Some(framework),
            tests: alone_at_a_time(Vec::new(), alone),
            remark: None,
        })
    }

    fn like_libtest(&self) -> Answer {
        let flags = ["--list", "--format", "terse"];
        let names = self.says(&flags).and_then(|text| parse(&text, BENCHMARK)).unwrap_or_default();
        let nobody = flags.map(str::to_owned).into_iter().chain(["--exact".to_owned(), NOBODY.to_owned()]);
        let nobody = self.says_alone(&nobody.collect::<Vec<_>>()).and_then(|text| parse(&text, BENCHMARK));
        if names.is_empty() || names.len() > MOST || nobody.is_none_or(|names| !names.is_empty()) {
            return as_one("of its framework nothing is known");
        }
        Answer::Benchmarks(Benchmarks {
            framework: None,
            tests: alone_at_a_time(names, test_of(exactly)),
            remark: None,
        })
    }
}

/// A way to have the names of benchmarks.
struct List {
    flags: &'static [&'static str],
    /// What stands around a name on its line.
    start: &'static str,
    ends: &'static [&'static str],
}

/// criterion's, by age. The last runs each once, and is how 0.3.0 shows them.
const LISTS: &[List] = &[
    List { flags: &["--list", "--format", "terse"], start: "", ends: &[": benchmark", ": bench"] },
    List { flags: &["--bench", "--list"], start: "", ends: &[": benchmark", ": bench"] },
    List { flags: &["--test"], start: "Testing ", ends: &[""] },
];

impl List {
    /// The names in what was said. Warnings and empty lines may stand between them.
    fn names(&self, text: &str) -> Vec<String> {
        let name = |line: &str| -> Option<String> {
            let line = line.strip_prefix(self.start)?;
            self.ends.iter().find_map(|end| line.strip_suffix(end)).map(str::to_owned)
        };
        let mut seen = HashSet::new();
        text.lines().filter_map(name).filter(|name| !name.is_empty() && seen.insert(name.clone())).collect()
    }
}

/// The arguments by which the benchmark of a name is chosen.
type Choice = fn(&str) -> Vec<String>;

/// Those that can choose any one.
const CHOICES: [Choice; 2] = [exactly, by_pattern];

fn exactly(name: &str) -> Vec<String> {
    ["--exact", "--", name].map(str::to_owned).into()
}

/// A filter is a regular expression.
fn by_pattern(name: &str) -> Vec<String> {
    let mut pattern = String::from("^");
    for letter in name.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('$');
    vec!["--".to_owned(), pattern]
}

/// A filter is a part of the name.
fn by_part(name: &str) -> Vec<String> {
    vec!["--".to_owned(), name.to_owned()]
}

/// One iteration of the benchmark that is chosen.
fn test_of(choice: Choice) -> Alone {
    let test = |words: Vec<String>| std::iter::once("--test".to_owned()).chain(words).map(OsString::from).collect();
    Box::new(move |name, _| test(choice(name)))
}

/// Of `names` those that are most likely to choose another one too, or none.
fn probes(names: &[String]) -> impl Iterator<Item = &str> {
    let is_plain = |name: &str| name.chars().all(|letter| letter.is_alphanumeric() || "_ /:".contains(letter));
    let shared = names.iter().filter(|name| names.iter().any(|other| other != *name && other.contains(name.as_str())));
    let odd = names.iter().filter(move |name| !is_plain(name));
    let mut seen = HashSet::new();
    let all = names.iter().take(1).chain(shared.take(PROBES / 2)).chain(odd).map(String::as_str);
    all.filter(move |name| seen.insert(*name)).take(PROBES)
}

/// One at a time: what they measure is over, but they may be large.
fn alone_at_a_time(names: Vec<String>, alone: Alone) -> Tests {
    Tests { names, on_threads: false, window: None, jobs: 1, alone }
}

/// `shared` cannot be run without others.
fn benchmarks(framework: &'static Framework, names: Vec<String>, shared: Vec<String>, alone: Alone) -> Answer {
    if names.len() > MOST {
        return as_one(&format!(
            "its {} benchmarks are more than have a process each ({MOST}); a filter that leaves fewer has each recorded alone",
            names.len()
        ));
    }
    let remark = (!shared.is_empty()).then(|| {
        let named: Vec<String> = shared.iter().map(|name| format!("`{name}`")).collect();
        format!(
            "recorded without {}: this version of {} has no way to run one iteration of it alone",
            named.join(", "),
            framework.name
        )
    });
    Answer::Benchmarks(Benchmarks { framework: Some(framework), tests: alone_at_a_time(names, alone), remark })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_between_warnings() {
        let output = "WARNING: one: of many\n\na: b: bench\n\nc/d: benchmark\nGnuplot not found\na: b: bench\n";
        assert_eq!(LISTS[1].names(output), ["a: b", "c/d"]);
        assert_eq!(LISTS[2].names("Testing a b\nSuccess\nTesting c\n"), ["a b", "c"]);
    }

    #[test]
    fn a_pattern_stands_for_one_name() {
        assert_eq!(by_pattern("a+(b)?/1"), ["--", r"^a\+\(b\)\?/1$"]);
    }

    #[test]
    fn names_that_are_parts_of_others_are_probed() {
        let names = ["z", "one", "one more", "a+b"].map(str::to_owned);
        assert_eq!(probes(&names).collect::<Vec<_>>(), ["z", "one", "a+b"]);
    }
}
