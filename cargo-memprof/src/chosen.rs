//! Which tests the arguments of `cargo test` choose: as far as it takes to know that they choose some. Pure.

use memprof_harness::libtest_flags;
use std::borrow::Cow;
use std::ffi::OsString;

/// Cargo's flags that say where the package is and how cargo talks, with a value behind them.
const ABOUT_CARGO: [&str; 4] = ["--manifest-path", "--config", "--color", "-Z"];
/// The other flags of cargo that have their value behind them.
const WITH_VALUE: [&str; 16] = [
    "-p",
    "--package",
    "--exclude",
    "--test",
    "--bin",
    "--example",
    "--bench",
    "-F",
    "--features",
    "-j",
    "--jobs",
    "--profile",
    "--target",
    "--target-dir",
    "--message-format",
    "--lockfile-path",
];

fn has_value_behind(word: &str, flags: &[&str]) -> bool {
    flags.contains(&word)
}

/// Flags that choose nothing, though they are no less cargo's: where the package is and goes, how much is done at once, and what is
/// printed. They may differ from machine to machine, or say which share of the tests is run.
const IDLE_WITH_VALUE: [&str; 8] =
    ["--manifest-path", "--target-dir", "--color", "-j", "--jobs", "--message-format", "--test-threads", "--partition"];
const IDLE: [&str; 10] =
    ["-q", "--quiet", "-v", "-vv", "--verbose", "--offline", "--locked", "--frozen", "--nocapture", "--no-capture"];

/// Those of `given` that choose what is built and which tests run.
pub fn choosing(given: &[OsString]) -> Vec<String> {
    let mut chosen = Vec::new();
    let mut words = given.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        if IDLE_WITH_VALUE.contains(&&*word) {
            words.next();
            continue;
        }
        let with_value = |flag: &str| word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='));
        let jobs = word.strip_prefix("-j").is_some_and(|rest| rest.parse::<u32>().is_ok());
        if !jobs && !IDLE.contains(&&*word) && !IDLE_WITH_VALUE.iter().any(|flag| with_value(flag)) {
            chosen.push(word.into_owned());
        }
    }
    // What stands behind it may all be idle.
    if chosen.last().is_some_and(|word| word == "--") {
        chosen.pop();
    }
    chosen
}

/// The first word that chooses what is built and run, or how; `None` = they only say where the package is and how
/// cargo talks.
pub fn choice(given: &[OsString]) -> Option<String> {
    let mut words = given.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        match &*word {
            _ if has_value_behind(&word, &ABOUT_CARGO) => drop(words.next()),
            "--quiet" | "-q" | "--verbose" | "-v" | "-vv" | "--offline" | "--locked" | "--frozen" => {}
            _ if ABOUT_CARGO.iter().any(|flag| word.starts_with(&format!("{flag}=")) || word.starts_with("-Z")) => {}
            _ => return Some(word.into_owned()),
        }
    }
    None
}

/// Whether some tests of the targets that run are left out by their names.
pub fn is_filtered(given: &[OsString]) -> bool {
    let words: Vec<Cow<'_, str>> = given.iter().map(|word| word.to_string_lossy()).collect();
    let dashes = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let cargos: Vec<&str> = [&ABOUT_CARGO[..], &WITH_VALUE].concat();
    let named = |words: &[Cow<'_, str>], flags: &[&str]| {
        let behind_a_flag = |at: usize| at > 0 && has_value_behind(&words[at - 1], flags);
        (0..words.len()).any(|at| !words[at].starts_with('-') && !behind_a_flag(at))
    };
    let harness = words.get(dashes + 1..).unwrap_or_default();
    named(&words[..dashes], &cargos) || libtest_flags::leave_out(harness.iter().map(|word| &**word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn a_name_filters_and_a_value_does_not() {
        for filtered in
            ["parser", "--lib parser::", "-p a x", "-- x", "-- --test-threads 1 x", "-- --skip=x", "-- --ignored"]
        {
            assert!(is_filtered(&words(filtered)), "{filtered}");
        }
        for whole in ["", "--lib", "-p a --test b -j 2", "--features x -- --test-threads 1", "-- --include-ignored -q"]
        {
            assert!(!is_filtered(&words(whole)), "{whole}");
        }
    }

    #[test]
    fn what_leaves_tests_out_is_seen_on_both_sides_of_the_dashes() {
        for line in ["-- --exclude-should-panic", "-- --skip=a", "-p a -- -x", "name", "-- --test-threads 1 name"] {
            assert!(is_filtered(&words(line)), "{line}");
        }
        for line in ["-p a -- --shuffle-seed 5 -Zunstable-options", "--features x -- -q --test-threads=1"] {
            assert!(!is_filtered(&words(line)), "{line}");
        }
    }

    #[test]
    fn what_chooses_tests_is_told_from_what_does_not() {
        let idle = "-q --manifest-path /a/Cargo.toml --target-dir=/b -j4 --jobs 3 --color=never --partition hash:1/2 -- --nocapture --test-threads 1";
        assert_eq!(choosing(&words(idle)), Vec::<String>::new());
        let given = words("--locked -p a --features=x --jobs=2 name -- --skip b --test-threads=1");
        assert_eq!(choosing(&given), ["-p", "a", "--features=x", "name", "--", "--skip", "b"]);
    }

    #[test]
    fn where_the_package_is_chooses_nothing() {
        assert_eq!(choice(&words("-q --manifest-path a/Cargo.toml --config=x -Zunstable-options --color never")), None);
        for (given, word) in [("-q --lib", "--lib"), ("three", "three"), ("--repeat", "--repeat"), ("-- x", "--")] {
            assert_eq!(choice(&words(given)).as_deref(), Some(word));
        }
    }
}
