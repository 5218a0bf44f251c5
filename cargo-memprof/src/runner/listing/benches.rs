//! Programs of benchmarks: which they have, and how one of them is run once. How a framework is asked is its dialect; what it
//! answers is believed only where it proves that it listens.

use super::answer::{Alone, Answer, Benchmarks, Tests};
use super::list::{BENCHMARK, FLAG, NOBODY, about_ignored, output, parse};
use super::printed;
use crate::context::frameworks::{Dialect, Framework, Shown};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::process::Command;

/// Benchmarks of one program that have a process each. Beyond it the program is recorded as one.
const MOST: usize = 2000;
/// Names that have to prove that they stand for themselves and nothing else, before all are believed to.
const PROBES: usize = 8;

/// Asks the program `exe` that cargo would run with `args`, `--bench` among them; see `ask` of the module above.
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

    /// There is nothing to record where `listed` without the user's arguments: they leave no benchmark, or the program refuses them, which
    /// `refused` says. Otherwise `None`.
    fn nothing(&self, refused: bool, listed: impl Fn() -> bool) -> Option<Answer> {
        if self.kept.is_empty() || !listed() {
            return None;
        }
        let nobody: Alone = Box::new(|_, _| Vec::new());
        let none = Benchmarks { framework: None, tests: alone_at_a_time(Vec::new(), nobody), remark: None };
        Some(if refused { Answer::NoRun } else { Answer::Benchmarks(none) })
    }

    fn criterion(&self, framework: &'static Framework) -> Answer {
        let listed = LISTS.iter().find_map(|list| {
            let names = list.names(&self.says(list.flags)?);
            (!names.is_empty()).then_some((list, names))
        });
        let Some((list, names)) = listed else {
            let bare =
                |list: &List| self.says_alone(&words(list.flags)).is_some_and(|text| !list.names(&text).is_empty());
            let refused = LISTS.iter().all(|list| self.says(list.flags).is_none());
            if let Some(answer) = self.nothing(refused, || LISTS.iter().any(bare)) {
                return answer;
            }
            return as_one(&format!("it did not list its benchmarks, as {} does", framework.name));
        };
        let (names, mut of_several) = apart(names);
        let (numbered, mut names) = numbered(names);
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
            // One may be called so, and no other than it runs by that name.
            let is_alone = |name: &String| listed_by(choice, name).is_some_and(|found| found == [name.clone()]);
            let (alone, several): (Vec<String>, Vec<String>) = numbered.into_iter().partition(is_alone);
            names.extend(alone);
            of_several.extend(several);
            return benchmarks(framework, names, &Missing { of_several, ..Missing::default() }, test_of(*choice));
        }
        // The oldest versions run whatever has the name in its own.
        let by_part: Choice = by_part;
        if listed_by(&by_part, NOBODY).is_none_or(|names| !names.is_empty()) {
            return as_one("it runs other benchmarks than it is told to");
        }
        of_several.extend(numbered);
        let all: Vec<String> = names.iter().chain(&of_several).cloned().collect();
        let is_part = |name: &String| all.iter().any(|other| other != name && other.contains(name.as_str()));
        let (not_alone, names): (Vec<String>, Vec<String>) = names.into_iter().partition(is_part);
        let missing = Missing { of_several, not_alone, ..Missing::default() };
        benchmarks(framework, names, &missing, test_of(by_part))
    }

    fn divan(&self, framework: &'static Framework) -> Answer {
        // Where a benchmark runs on several threads, one iteration is one of each.
        let tests: [&[&str]; 2] = [&["--test", "--threads", "1"], &["--test"]];
        let printed_texts = tests.map(|test| self.says(test));
        let drawn =
            tests.iter().zip(&printed_texts).find_map(|(test, text)| Some((*test, printed::tree(text.as_ref()?)?)));
        let Some((test, leaves)) = drawn else {
            // Of what a filter leaves nothing of, it draws nothing. Without the filter it would run all of them.
            let refused = printed_texts.iter().all(Option::is_none);
            let silent = printed_texts.iter().flatten().all(|text| text.trim().is_empty());
            if let Some(answer) = self.nothing(refused, || silent) {
                return answer;
            }
            return as_one(&format!("it did not draw its benchmarks, as {} does", framework.name));
        };
        if leaves.iter().any(|leaf| leaf.metric.is_some()) {
            return as_one("it measures its benchmarks when it is to test them");
        }
        let mut names: Vec<String> = Vec::new();
        let mut missing = Missing::default();
        for leaf in leaves.into_iter().filter(|leaf| !leaf.ignored) {
            match leaf.on_threads() {
                Some(name) => missing.not_alone.push(name.to_owned()),
                None => names.push(leaf.path),
            }
        }
        missing.not_alone.dedup();
        let (names, several) = apart(names);
        missing.of_several = several;
        let ignored = about_ignored(&self.kept).map(|flag| flag.to_string_lossy().into_owned());
        let flags: Vec<String> = test.iter().map(|flag| (*flag).to_owned()).chain(ignored).collect();
        // All by their names: what is missing then has another name than it seems, and would not run alone.
        let exact = |names: &[String]| -> Vec<String> {
            let ends = ["--exact", "--"].map(str::to_owned);
            flags.iter().cloned().chain(ends).chain(names.iter().cloned()).collect()
        };
        let again = self.says_alone(&exact(&names)).and_then(|text| printed::tree(&text)).unwrap_or_default();
        let again: HashSet<String> = again.into_iter().map(|leaf| leaf.path).collect();
        let (names, lost): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| again.contains(name));
        missing.of_another_name = lost;
        let alone = move |name: &str| {
            let words = flags.iter().cloned().chain(["--exact".to_owned(), "--".to_owned(), name.to_owned()]);
            words.map(OsString::from).collect()
        };
        benchmarks(framework, names, &missing, Box::new(move |name, _| alone(name)))
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
        let (names, of_several) = apart(names);
        let nobody = flags.map(str::to_owned).into_iter().chain(["--exact".to_owned(), NOBODY.to_owned()]);
        let nobody = self.says_alone(&nobody.collect::<Vec<_>>()).and_then(|text| parse(&text, BENCHMARK));
        let listens = nobody.is_some_and(|names| names.is_empty());
        if names.is_empty() && of_several.is_empty() && listens {
            let bare = || self.says_alone(&words(&flags)).and_then(|text| parse(&text, BENCHMARK));
            let refused = self.says(&flags).is_none();
            if let Some(answer) = self.nothing(refused, || bare().is_some_and(|names| !names.is_empty())) {
                return answer;
            }
        }
        if names.is_empty() || names.len() > MOST || !listens {
            return as_one("of its framework nothing is known");
        }
        Answer::Benchmarks(Benchmarks {
            framework: None,
            tests: alone_at_a_time(names, test_of(exactly)),
            remark: Missing { of_several, ..Missing::default() }.remark("its framework"),
        })
    }
}

/// `flags` as arguments.
fn words(flags: &[&str]) -> Vec<String> {
    flags.iter().map(|flag| (*flag).to_owned()).collect()
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
    /// The names in what was said, one that several have as often. Warnings and empty lines may stand between them.
    fn names(&self, text: &str) -> Vec<String> {
        let name = |line: &str| -> Option<String> {
            let line = line.strip_prefix(self.start)?;
            self.ends.iter().find_map(|end| line.strip_suffix(end)).map(str::to_owned)
        };
        text.lines().filter_map(name).filter(|name| !name.is_empty()).collect()
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

/// Of `names` those that one benchmark has, and those that several have, each of the latter once.
pub fn apart(names: Vec<String>) -> (Vec<String>, Vec<String>) {
    let mut times: HashMap<String, usize> = HashMap::new();
    names.iter().for_each(|name| *times.entry(name.clone()).or_default() += 1);
    let (once, mut several): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| times[name] == 1);
    several.retain(|name| times.remove(name).is_some());
    (once, several)
}

/// Parts `names` into those that look as if criterion had numbered benchmarks of one name, the first of which it leaves as it is, and
/// the others. Such a number is in no name that a benchmark is chosen by.
fn numbered(names: Vec<String>) -> (Vec<String>, Vec<String>) {
    let first = |name: &str| -> Option<String> {
        let (first, number) = name.rsplit_once(" #")?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && names.iter().any(|name| name == first)).then(|| first.to_owned())
    };
    let firsts: HashSet<String> = names.iter().filter_map(|name| first(name)).collect();
    let is_one: Vec<bool> = names.iter().map(|name| firsts.contains(name) || first(name).is_some()).collect();
    let (ones, others): (Vec<_>, Vec<_>) = names.into_iter().zip(is_one).partition(|(_, is_one)| *is_one);
    let names = |pairs: Vec<(String, bool)>| pairs.into_iter().map(|(name, _)| name).collect();
    (names(ones), names(others))
}

/// The benchmarks of a program that are not recorded, by the reason.
#[derive(Default)]
pub struct Missing {
    /// Nobody can tell whose metrics a run of that name would have.
    pub of_several: Vec<String>,
    /// They cannot be run without others.
    pub not_alone: Vec<String>,
    /// Nothing runs by the name that is shown for them.
    pub of_another_name: Vec<String>,
}

impl Missing {
    /// What the user should know of them; `framework` = what has no way to run them.
    pub fn remark(&self, framework: &str) -> Option<String> {
        let reasons = [
            (
                &self.of_several,
                "several of its benchmarks have that name, so that their metrics cannot be told apart".to_owned(),
            ),
            (&self.not_alone, format!("this version of {framework} has no way to run one iteration of it alone")),
            (
                &self.of_another_name,
                format!(
                    "{framework} finds no benchmark by the name that it shows; blanks at an end, or several in a row, are lost there"
                ),
            ),
        ];
        let of_reason = |(names, why): &(&Vec<String>, String)| {
            let named: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("{}: {why}", named.join(", "))
        };
        let texts: Vec<String> = reasons.iter().filter(|(names, _)| !names.is_empty()).map(of_reason).collect();
        (!texts.is_empty()).then(|| format!("recorded without {}", texts.join("; and without ")))
    }
}

fn benchmarks(framework: &'static Framework, names: Vec<String>, missing: &Missing, alone: Alone) -> Answer {
    if names.len() > MOST {
        return as_one(&format!(
            "its {} benchmarks are more than have a process each ({MOST}); a filter that leaves fewer has each recorded alone",
            names.len()
        ));
    }
    let remark = missing.remark(framework.name);
    Answer::Benchmarks(Benchmarks { framework: Some(framework), tests: alone_at_a_time(names, alone), remark })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_between_warnings() {
        let output = "WARNING: one: of many\n\na: b: bench\n\nc/d: benchmark\nGnuplot not found\na: b: bench\n";
        assert_eq!(LISTS[1].names(output), ["a: b", "c/d", "a: b"]);
        assert_eq!(LISTS[2].names("Testing a b\nSuccess\nTesting c\n"), ["a b", "c"]);
    }

    #[test]
    fn names_that_several_have_are_named_once_with_the_reason() {
        let names = ["two", "one", "three", "two", "three", "two"].map(str::to_owned).into();
        let (once, of_several) = apart(names);
        assert_eq!(once, ["one"]);
        let missing = Missing { of_several, of_another_name: vec!["has".to_owned()], ..Missing::default() };
        let remark = missing.remark("divan").unwrap();
        assert!(remark.starts_with("recorded without `two`, `three`: several of its benchmarks"), "{remark}");
        assert!(remark.contains("; and without `has`: divan finds no benchmark by the name that it shows"), "{remark}");
        assert_eq!(Missing::default().remark("divan"), None);
    }

    #[test]
    fn what_criterion_numbers_is_told_by_the_first() {
        let names = ["one", "one #2", "one #3", "two #2", "three #", "three"].map(str::to_owned).into();
        let (ones, others) = numbered(names);
        assert_eq!((ones, others.len()), (["one", "one #2", "one #3"].map(str::to_owned).into(), 3));
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
