//! Test programs without libtest that answer as libtest does: which tests they have, and running each of those in a
//! process of its own. Such a program is asked only where it looks as if it understood, and believed only where it
//! proves so; every other one is run once, as cargo would. Programs of benchmarks are in `benches`.

mod answer;
pub mod benches;
mod list;
pub mod printed;

pub use answer::{Answer, Benchmarks, Tests};
pub use list::about_ignored;

use crate::context::arguments::Arguments;
use crate::context::cargo_args::only_asks;
use crate::context::cargo_flags::Tool;
use list::{BENCHMARK, FLAG, NOBODY, output, parse};
use std::collections::HashSet;
use std::ffi::OsString;
use std::num::NonZero;
use std::path::Path;
use std::process::Command;
use std::thread;

/// Crates, as symbols name them, that run tests on threads of their own where they are told to use more than one.
const THREADED: [&[u8]; 2] = [b"13libtest_mimic", b"6tester"];
/// Set by nextest for what it runs.
const NEXTEST_MODE: &str = "NEXTEST_EXECUTION_MODE";

/// Has programs print colours wherever they print to.
const COLOURED: &str = "CLICOLOR_FORCE";

/// Asks the program `exe`, which cargo would run with `args`, and which has libtest or a harness of its own; `command` makes a call of
/// it with other arguments. Where it has more than `limit` tests it is to be run as one.
pub fn ask(
    exe: &Path,
    libtest: bool,
    args: &[OsString],
    limit: usize,
    command: impl Fn(&[OsString]) -> Command,
) -> Answer {
    let has = |flag| Arguments::new(Tool::Libtest, args).has(flag);
    if only_asks(args) {
        return Answer::NoRun;
    }
    let Ok(bytes) = fs_err::read(exe) else { return Answer::Whole(None) };
    let contains = |text: &[u8]| memchr::memmem::find(&bytes, text).is_some();
    if has("bench") {
        return benches::ask(&bytes, args, &command);
    }
    if !contains(FLAG) {
        return Answer::Whole(None);
    }
    let formless = without_format(args);
    let list = |coloured: bool, flags: &[&str]| {
        let words = LIST.iter().chain(flags).map(OsString::from).chain(formless.iter().cloned());
        let words: Vec<OsString> = words.collect();
        let mut command = command(&words);
        if coloured {
            command.env(COLOURED, "1");
        }
        if libtest { of_libtest(command) } else { listed(command) }
    };
    let not_listed = "recorded as one: what it says to `--list` is no list of libtest's";
    let Some(all) = list(false, &[]) else {
        if !libtest && lists_without_arguments(args, &command) {
            // It refuses them, and runs nothing.
            return Answer::NoRun;
        }
        return Answer::Whole(libtest.then(|| not_listed.to_owned()));
    };
    if libtest && all.is_empty() {
        if !says_how_many(command(&[LIST[0].into()])) {
            return Answer::Whole(Some(not_listed.to_owned()));
        }
        let alone = Box::new(only);
        return Answer::Tests(Tests { names: all, on_threads: true, window: None, jobs: 1, alone });
    }
    // A program that does not listen would say the same again.
    let nobody: Vec<OsString> = LIST.iter().chain(&["--exact", NOBODY]).map(OsString::from).collect();
    if !libtest && listed(command(&nobody)).is_none_or(|names| !names.is_empty()) {
        return Answer::Whole(None);
    }
    if all.is_empty() {
        // A filter fits none of its tests, or it has none and there is nothing to tell apart.
        return match lists_without_arguments(args, &command) {
            true => {
                Answer::Tests(Tests { names: all, on_threads: false, window: None, jobs: 1, alone: Box::new(only) })
            }
            false => Answer::Whole(None),
        };
    }
    if !libtest && formless.len() < args.len() && refuses_to_list(args, &command) {
        return Answer::NoRun;
    }
    // Some take letters that colour a terminal out of what they print elsewhere, out of names as well.
    let known = |all: Vec<String>, coloured: bool| {
        let unknown = unknown(&all, |flags| list(coloured, flags)).cloned();
        (coloured, all, unknown)
    };
    let mut found = if libtest { (false, all, None) } else { known(all, false) };
    if found.2.is_some() {
        let coloured = list(true, &[]).map(|all| known(all, true));
        found = coloured.filter(|coloured| coloured.2.is_none()).unwrap_or(found);
    }
    let (coloured, all, unknown) = found;
    if let Some(name) = unknown {
        return Answer::Whole(Some(format!(
            "recorded as one: it lists a test `{}`, and cannot be asked for that alone",
            name.escape_debug()
        )));
    }
    let selected = if has("ignored") || has("include-ignored") {
        all
    } else {
        let ignored: HashSet<String> = list(coloured, &["--ignored"]).unwrap_or_default().into_iter().collect();
        all.into_iter().filter(|name| !ignored.contains(name)).collect()
    };
    if selected.len() > limit {
        return too_many(selected.len(), "tests", limit);
    }
    let jobs = jobs(args);
    let on_threads = THREADED.into_iter().any(contains);
    Answer::Tests(Tests { names: selected, on_threads, window: None, jobs, alone: Box::new(only) })
}

/// Whether a program lists tests where it is not given the user's `args`, which leave none or which it refuses.
fn lists_without_arguments(args: &[OsString], command: impl Fn(&[OsString]) -> Command) -> bool {
    let bare: Vec<OsString> = LIST.iter().map(OsString::from).collect();
    !args.is_empty() && listed(command(&bare)).is_some_and(|names| !names.is_empty())
}

/// Whether a program that lists its tests does not with the user's `args` as they are, such as a format that it does not know.
fn refuses_to_list(args: &[OsString], command: impl Fn(&[OsString]) -> Command) -> bool {
    let words: Vec<OsString> = std::iter::once(LIST[0].into()).chain(args.iter().cloned()).collect();
    output(command(&words)).is_none()
}

/// The one of `names` that the program does not know by that name; `None` = it knows all of them, or leaves none out when asked to.
/// `list` makes it list its tests with more flags.
fn unknown(names: &[String], list: impl Fn(&[&str]) -> Option<Vec<String>>) -> Option<&String> {
    // No argument can hold a zero.
    if let Some(name) = names.iter().find(|name| name.contains('\0')) {
        return Some(name);
    }
    // A value that looks like a flag stands behind an equals sign.
    let skips: Vec<String> = names.iter().map(|name| format!("--skip={name}")).collect();
    let Some(left) = list(&std::iter::once("--exact").chain(skips.iter().map(String::as_str)).collect::<Vec<_>>())
    else {
        // It takes no such words. Names that are more than names are then not believed.
        return names.iter().find(|name| name.starts_with('-') || name.chars().any(char::is_control));
    };
    // One that does not listen lists them all.
    names.iter().find(|name| left.len() < names.len() && left.contains(name))
}

/// A program has more than `limit` of `what`.
fn too_many(count: usize, what: &str, limit: usize) -> Answer {
    Answer::Whole(Some(format!(
        "recorded as one: it has {count} {what}, and at most {limit} of a program without libtest are recorded one by one \
         (`list-limit` in `.config/memprof.toml`); a filter that leaves fewer has each recorded alone",
    )))
}

/// The arguments by which a program that would run `all` with `args` runs those in `share`; `None` = it cannot be told so, which
/// its own list shows. `command` makes a call of it with other arguments.
pub fn skipping(
    all: &[String],
    share: &[&str],
    args: &[OsString],
    command: impl Fn(&[OsString]) -> Command,
) -> Option<Vec<OsString>> {
    let share: HashSet<&str> = share.iter().copied().collect();
    let known: HashSet<&str> = all.iter().map(String::as_str).collect();
    let others = all.iter().filter(|name| !share.contains(name.as_str()));
    let skips: Vec<OsString> = others.flat_map(|name| ["--skip".into(), name.into()]).collect();
    // A name may be part of another; but a filter of the user's may be part of one as well.
    [&["--exact"][..], &[]].into_iter().find_map(|exact| {
        let words = |first: &[&str]| -> Vec<OsString> {
            let first = first.iter().chain(exact).map(OsString::from);
            first.chain(skips.iter().cloned()).chain(args.iter().cloned()).collect()
        };
        let arguments: Vec<OsString> = LIST.iter().map(OsString::from).chain(without_format(&words(&[]))).collect();
        let listed = listed(command(&arguments))?;
        let left: HashSet<&str> = listed.iter().map(String::as_str).filter(|name| known.contains(name)).collect();
        (left == share).then(|| words(&[]))
    })
}

/// The one test that nextest has a program run, with the arguments it does so with.
pub fn of_nextest(args: &[OsString]) -> Option<&str> {
    std::env::var_os(NEXTEST_MODE)?;
    let [exact, name, ..] = args else { return None };
    (exact == "--exact").then(|| name.to_str()).flatten()
}

/// Whether the program `exe` runs its tests on threads of their own, if it may.
pub fn is_threaded(exe: &Path) -> bool {
    fs_err::read(exe).is_ok_and(|bytes| THREADED.iter().any(|name| memchr::memmem::find(&bytes, name).is_some()))
}

/// Has libtest list its tests, a line each.
const LIST: [&str; 3] = ["--list", "--format", "terse"];

/// The arguments without the format that the user chose, which may be given only once.
fn without_format(args: &[OsString]) -> Vec<OsString> {
    let mut arguments = Arguments::new(Tool::Libtest, args);
    let kept = arguments.by_ref().filter(|argument| !argument.has("format"));
    let mut kept: Vec<OsString> = kept.flat_map(|argument| argument.words.iter().cloned()).collect();
    kept.extend_from_slice(arguments.rest());
    kept
}

/// Processes at once: as many as the user allows threads.
fn jobs(args: &[OsString]) -> usize {
    let mut arguments = Arguments::new(Tool::Libtest, args);
    let text = arguments.find_map(|argument| Some(argument.value_of("test-threads")?.to_str()?.to_owned()));
    let text = text.or_else(|| std::env::var("RUST_TEST_THREADS").ok());
    let threads = text.and_then(|text| text.parse::<NonZero<usize>>().ok());
    threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get)
}

/// The arguments by which a program runs one of its tests; `args` are those of the user.
fn only(name: &str, args: &[OsString]) -> Vec<OsString> {
    about_ignored(args).chain(["--exact", "--test-threads=2", "--", name].map(OsString::from)).collect()
}

/// The names that a program lists; `None` where what it says is no list.
fn listed(command: Command) -> Option<Vec<String>> {
    parse(&output(command)?, "test")
}

/// The names that libtest lists: benchmarks too, which it runs among the tests.
pub fn of_libtest(command: Command) -> Option<Vec<String>> {
    let output = output(command)?;
    // Known to be libtest's, so what else the executable prints before is no reason to doubt it.
    let lines = output.split_inclusive('\n').filter(|line| KINDS.iter().any(|kind| line.trim_end().ends_with(kind)));
    let output: String = lines.collect();
    let mut names = parse(&output, "test")?;
    names.extend(parse(&output, BENCHMARK)?);
    Some(names)
}

/// Whether libtest answers to `--list`: at its end it says how many there are, be it none. A runner of the user's may keep the flag to
/// itself, or the executable end before libtest begins.
fn says_how_many(command: Command) -> bool {
    let counts = |line: &str| {
        let [tests, benchmarks] = line.split(", ").collect::<Vec<_>>()[..] else { return false };
        let is_count = |text: &str, what: &str| {
            let number =
                text.strip_suffix('s').unwrap_or(text).strip_suffix(what).and_then(|text| text.strip_suffix(' '));
            number.is_some_and(|number| number.parse::<u64>().is_ok())
        };
        is_count(tests, "test") && is_count(benchmarks, "benchmark")
    };
    output(command).is_some_and(|output| output.lines().any(counts))
}

/// How a line ends that libtest prints of a test or a benchmark.
const KINDS: [&str; 3] = [": test", ": bench", ": benchmark"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn a_name_that_the_program_does_not_know_is_one_that_it_cannot_leave_out() {
        let names = ["a", "b"].map(str::to_owned);
        let left = |left: &[&str]| {
            let left: Vec<String> = left.iter().map(|name| (*name).to_owned()).collect();
            unknown(&names, |_| Some(left.clone())).cloned()
        };
        assert_eq!(left(&[]), None);
        assert_eq!(left(&["b"]).as_deref(), Some("b"));
        assert_eq!(left(&["a", "b"]), None);
        assert_eq!(unknown(&["x\0".to_owned()], |_| None).map(String::as_str), Some("x\0"));
    }

    #[test]
    fn the_users_format_is_left_out_of_a_list() {
        let words = |text: &str| -> Vec<OsString> { text.split(' ').map(OsString::from).collect() };
        let left = without_format(&words("--format json a --format=terse -q --skip b -- --format x"));
        assert_eq!(left, words("a -q --skip b -- --format x"));
    }

    #[test]
    fn one_test_is_asked_for_by_its_whole_name() {
        let args = ["--ignored", "filter", "--nocapture"].map(OsString::from);
        assert_eq!(only("-x y", &args), ["--ignored", "--exact", "--test-threads=2", "--", "-x y"].map(OsStr::new));
    }
}
