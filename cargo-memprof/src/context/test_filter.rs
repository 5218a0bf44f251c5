//! Whether the arguments of `cargo test` leave some tests out, and by which words. Pure.

use super::arguments::{Argument, Arguments};
use super::cargo_args::CargoArgs;
use super::cargo_flags::{Role, Tool};
use std::ffi::OsString;

/// Those of the arguments that choose what is built and which tests run. The others may differ from machine to machine, or say which
/// share of the tests is run.
pub fn choosing(args: &CargoArgs) -> Vec<String> {
    let words = |argument: &Argument<'_>| argument.words.iter().map(text).collect::<Vec<_>>();
    let chooses = |argument: &Argument<'_>| !argument.all(Role::is_idle);
    let mut chosen: Vec<String> = args.arguments().filter(chooses).flat_map(|argument| words(&argument)).collect();
    let mut harness = Arguments::new(Tool::Libtest, args.behind_dashes());
    let behind: Vec<String> = harness.by_ref().filter(chooses).flat_map(|argument| words(&argument)).collect();
    let behind: Vec<String> = behind.into_iter().chain(harness.rest().iter().map(text)).collect();
    // What stands behind it may all be idle.
    if !behind.is_empty() {
        chosen.push("--".to_owned());
        chosen.extend(behind);
    }
    chosen
}

/// The first word that chooses what is built and run, or how; `None` = they only say where the package is and how
/// cargo talks.
pub fn choice(args: &CargoArgs) -> Option<String> {
    let mut arguments = args.arguments();
    let talks = |role| matches!(role, Role::Talk | Role::Setting);
    let first = arguments.find(|argument| !argument.all(talks));
    first.map(|argument| text(&argument.words[0])).or_else(|| arguments.rest().first().map(text))
}

/// Whether some tests of the targets that run are left out, by their names or by a flag, or may be by one that is not known.
pub fn is_filtered(args: &CargoArgs) -> bool {
    let leaves_out = |argument: Argument<'_>| match argument.value_of("run-ignored") {
        Some(which) => which.to_string_lossy().contains("only"),
        None => argument.leaves_out(),
    };
    let mut harness = Arguments::new(Tool::Libtest, args.behind_dashes());
    let harness_leaves_out = harness.any(|argument| argument.leaves_out()) || harness.rest().len() > 1;
    args.tool != Tool::CargoRun && (args.arguments().any(leaves_out) || harness_leaves_out)
}

fn text(word: &OsString) -> String {
    word.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> CargoArgs {
        CargoArgs::read(Tool::Cargo, text.split_whitespace().map(OsString::from).collect())
    }

    fn nextest(text: &str) -> CargoArgs {
        CargoArgs::read(Tool::Nextest, text.split_whitespace().map(OsString::from).collect())
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
    fn what_is_not_known_may_leave_tests_out() {
        for line in ["--of-tomorrow", "-y", "-- --of-tomorrow", "-- -qx", "-- - ", "-- -- name"] {
            assert!(is_filtered(&words(line)), "{line}");
        }
        for line in ["-- --", "-- -qZ unstable-options --format=json --logfile name --include-ignored --exact"] {
            assert!(!is_filtered(&words(line)), "{line}");
        }
    }

    #[test]
    fn nextests_values_are_no_filters() {
        for line in ["--retries 2", "-P ci -j 2", "--run-ignored all", "--failure-output final", "--test-threads 1"] {
            assert!(!is_filtered(&nextest(line)), "{line}");
        }
        for line in
            ["name", "-E test(a)", "--run-ignored only", "--partition hash:1/2", "-- --skip a", "--rerun latest"]
        {
            assert!(is_filtered(&nextest(line)), "{line}");
        }
    }

    #[test]
    fn a_programs_arguments_leave_no_tests_out() {
        let run = |line: &str| CargoArgs::read(Tool::CargoRun, line.split_whitespace().map(OsString::from).collect());
        assert!(!is_filtered(&run("--bin b -- input --skip x")));
        assert!(!is_filtered(&run("input")));
    }

    #[test]
    fn what_chooses_tests_is_told_from_what_does_not() {
        let idle = "-q --manifest-path /a/Cargo.toml --target-dir=/b -j4 --jobs 3 --color=never -vv -- --nocapture --test-threads 1";
        assert_eq!(choosing(&words(idle)), Vec::<String>::new());
        let idle = "--partition hash:1/2 -j4 --status-level fail -- --no-capture";
        assert_eq!(choosing(&nextest(idle)), Vec::<String>::new());
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
