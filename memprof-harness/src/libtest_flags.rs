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
    /// It changes how much is printed or done at once, and nothing else.
    pub is_idle: bool,
}

const fn plain(name: &'static str) -> Flag {
    Flag { name, takes_value: false, leaves_out: false, is_idle: false }
}

const fn valued(name: &'static str) -> Flag {
    Flag { takes_value: true, ..plain(name) }
}

const fn idle(flag: Flag) -> Flag {
    Flag { is_idle: true, ..flag }
}

const fn filter(flag: Flag) -> Flag {
    Flag { leaves_out: true, ..flag }
}

/// All of them.
pub const FLAGS: [Flag; 26] = [
    plain("include-ignored"),
    filter(plain("ignored")),
    plain("force-run-in-process"),
    filter(plain("exclude-should-panic")),
    plain("test"),
    plain("bench"),
    plain("list"),
    plain("fail-fast"),
    plain("h"),
    plain("help"),
    valued("logfile"),
    idle(plain("no-capture")),
    idle(plain("nocapture")),
    idle(valued("test-threads")),
    filter(valued("skip")),
    idle(plain("q")),
    idle(plain("quiet")),
    plain("exact"),
    idle(valued("color")),
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
}
