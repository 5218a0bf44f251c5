//! The flags of libtest, for all that looks through a command line for what is a flag, a flag's value, or a filter. It may have more than
//! the libtest at hand: versions differ, and a flag that is not known is taken to leave tests out.

/// One flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Without dashes; one letter stands behind one dash.
    pub name: &'static str,
    /// It has a value, behind `=` or in the next word, which may look like anything.
    pub takes_value: bool,
    /// Tests that would run do not run with it.
    pub leaves_out: bool,
}

const fn plain(name: &'static str) -> Flag {
    Flag { name, takes_value: false, leaves_out: false }
}

const fn valued(name: &'static str) -> Flag {
    Flag { name, takes_value: true, leaves_out: false }
}

/// All of them.
pub const FLAGS: [Flag; 26] = [
    plain("include-ignored"),
    Flag { name: "ignored", takes_value: false, leaves_out: true },
    plain("force-run-in-process"),
    Flag { name: "exclude-should-panic", takes_value: false, leaves_out: true },
    plain("test"),
    plain("bench"),
    plain("list"),
    plain("fail-fast"),
    plain("h"),
    plain("help"),
    valued("logfile"),
    plain("no-capture"),
    plain("nocapture"),
    valued("test-threads"),
    Flag { name: "skip", takes_value: true, leaves_out: true },
    plain("q"),
    plain("quiet"),
    plain("exact"),
    valued("color"),
    valued("format"),
    plain("show-output"),
    valued("Z"),
    // Of nightly libtests, and of past ones.
    plain("report-time"),
    plain("ensure-time"),
    plain("shuffle"),
    valued("shuffle-seed"),
];

/// The flag called `name`, without dashes; `None` = it is none that is known.
pub fn named(name: &str) -> Option<Flag> {
    FLAGS.iter().copied().find(|flag| flag.name == name)
}

/// Whether words of a test executable's command line leave out tests: filters, flags that do, and flags that are not known.
pub fn leave_out<'a>(words: impl IntoIterator<Item = &'a str>) -> bool {
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            return words.next().is_some();
        }
        let (flags, has_value) = match (word.strip_prefix("--"), word.strip_prefix('-')) {
            (Some(long), _) => {
                let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
                (vec![named(name)], value.is_some())
            }
            (None, Some(short)) if !short.is_empty() => {
                // What follows a valued flag in the same word is its value.
                let end = short.char_indices().find(|(_, letter)| is_valued(*letter));
                let end = end.map_or(short.len(), |(at, letter)| at + letter.len_utf8());
                let flags = short[..end].chars().map(|letter| named(letter.encode_utf8(&mut [0; 4]))).collect();
                (flags, end < short.len())
            }
            _ => return true,
        };
        match flags.iter().copied().collect::<Option<Vec<Flag>>>() {
            Some(flags) if !flags.iter().any(|flag| flag.leaves_out) => {
                if !has_value && flags.iter().any(|flag| flag.takes_value) {
                    words.next();
                }
            }
            _ => return true,
        }
    }
    false
}

fn is_valued(letter: char) -> bool {
    named(letter.encode_utf8(&mut [0; 4])).is_some_and(|flag| flag.takes_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "starts this executable")]
    fn every_flag_of_the_libtest_at_hand_is_known_for_what_it_is() {
        let exe = std::env::current_exe().expect("this executable has a path");
        let help = std::process::Command::new(exe).arg("--help").output().expect("it starts");
        let help = String::from_utf8(help.stdout).expect("libtest writes text");
        let mut seen = 0;
        // Options are indented; sentences about them may begin with a flag, too.
        let options = help.lines().filter(|line| line.starts_with("    ")).map(str::trim_start);
        for line in options.filter(|line| line.starts_with('-')) {
            // `-q, --quiet         Text`, `--logfile PATH  Text`, `-Z unstable-options Text`.
            let joined = line.replace(", -", ",-");
            let (names, rest) = joined.split_once(' ').unwrap_or((&joined, ""));
            let takes_value = !rest.is_empty() && !rest.starts_with(' ');
            for name in names.split(',') {
                let flag =
                    named(name.trim_start_matches('-')).unwrap_or_else(|| panic!("`{name}` is not in the table"));
                assert_eq!(flag.takes_value, takes_value, "{line}");
                seen += 1;
            }
        }
        assert!(seen >= 18, "{help}");
    }

    #[test]
    fn filters_and_what_is_not_known_leave_tests_out() {
        for line in [
            "name",
            "--skip a",
            "--skip=a",
            "--ignored",
            "-q --exclude-should-panic",
            "--test-threads 1 name",
            "-Zunstable-options name",
            "--of-tomorrow",
            "-x",
            "-- -q",
            "-",
        ] {
            assert!(leave_out(line.split(' ')), "{line}");
        }
    }

    #[test]
    fn values_are_no_filters() {
        for line in [
            "-q",
            "--test-threads 1 --nocapture",
            "--shuffle-seed 5 -Z unstable-options",
            "-qZ unstable-options --format=json --color never --logfile name",
            "--include-ignored --show-output --exact",
            "--",
        ] {
            assert!(!leave_out(line.split(' ')), "{line}");
        }
        assert!(!leave_out([]));
    }
}
