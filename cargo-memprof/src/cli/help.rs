//! The help of each command beyond its flags: usage, examples, exit codes. The texts have no line breaks; this file wraps them, once, at
//! the width of the terminal.

/// What a command's help has around its flags.
struct Lesson {
    command: &'static str,
    /// Behind `cargo memprof`.
    usage: &'static str,
    /// A paragraph each.
    text: &'static [&'static str],
    /// A command and what it does.
    examples: &'static [(&'static str, &'static str)],
    /// Exit codes, or nothing.
    codes: &'static str,
}

/// What the help of `cargo memprof` itself has.
const FIRST: Lesson = Lesson {
    command: "",
    usage: "<COMMAND>",
    text: &["No edit to your crate is needed. Profiles, flamegraphs and summary.json go to target/memprof."],
    examples: &[
        ("cargo memprof test", "sample all tests, a stack per 512 KiB"),
        ("cargo memprof test --memprofilerate 1", "record every allocation"),
        ("cargo memprof test -p mycrate parse::", "all of `cargo test` works"),
        ("cargo memprof run --release -- input.txt", "profile a program"),
        ("go tool pprof -top target/memprof/profile.pb.gz", "read a profile"),
    ],
    codes: "",
};

const LESSONS: [Lesson; 10] = [
    Lesson {
        command: "test",
        usage: "test [OPTIONS] [CARGO TEST OPTIONS] [TESTNAME] [-- HARNESS OPTIONS]",
        text: &[
            "Our options may stand before or after the `--`; every other argument goes to `cargo test` untouched. \
                 Each test runs in a process of its own, so its counts are its own and the same in every run.",
        ],
        examples: &[
            ("cargo memprof test", "sample; a table names the largest tests"),
            ("cargo memprof test --memprofilerate 1 --lib", "every allocation of unit tests"),
            ("cargo memprof test --release -- parser --skip slow", "some tests, optimized"),
            ("go tool pprof -http=: target/memprof/profile.pb.gz", "the profile in a browser"),
        ],
        codes: "cargo's own; 2 wrong use; 3 nothing could be run; 4 profiles not written; 7 not recorded; 130 Ctrl-C",
    },
    Lesson {
        command: "bench",
        usage: "bench [OPTIONS] [CARGO BENCH OPTIONS] [BENCHNAME] [-- HARNESS OPTIONS]",
        text: &[
            "The benchmarks run and measure as usual. Then one iteration of each is recorded in a process of its own: of \
                 `#[bench]` (nightly), criterion, divan, bencher and CodSpeed's copies; any other program is recorded as one.",
        ],
        examples: &[
            ("cargo memprof bench", "a table of ns/iter, B/iter and allocs/iter"),
            ("cargo memprof bench --bench parse -- rows", "those with `rows` in their name"),
            ("cargo memprof bench --save-baseline", "record memprof.bench.baseline; commit it"),
        ],
        codes: "cargo's own; 2 wrong use; 3 nothing could be run; 4 profiles not written; 130 Ctrl-C",
    },
    Lesson {
        command: "nextest",
        usage: "nextest run [OPTIONS] [NEXTEST RUN OPTIONS] [FILTERS] [-- HARNESS OPTIONS]",
        text: &[
            "Scheduling, filters, retries, partitions, reports and the exit code are nextest's (https://nexte.st). Of a \
                 test that was retried, the last attempt is kept. Doctests are not run.",
        ],
        examples: &[
            ("cargo memprof nextest run -E 'test(parser)'", "profile some tests"),
            ("cargo memprof nextest run --partition slice:1/2", "a share, see `merge`"),
        ],
        codes: "nextest's own (100: tests failed); 2 wrong use; 3 nothing could be run; 4 profiles not written",
    },
    Lesson {
        command: "run",
        usage: "run [OPTIONS] [CARGO RUN OPTIONS] [-- ARGUMENTS OF THE PROGRAM]",
        text: &[
            "Our options stand before the `--`; what follows it is the program's. The program has the terminal, stdin and \
                 stdout to itself, and its exit code is ours. What it starts of the same package has profiles below its own.",
        ],
        examples: &[
            ("cargo memprof run --release -- input.txt", "sample it, a stack per 512 KiB"),
            ("cargo memprof run --memprofilerate 1 --example x", "every allocation"),
            ("go tool pprof -top target/memprof/profile.pb.gz", "read the profile"),
        ],
        codes: "the program's own; 2 wrong use; 3 nothing could be run; 4 profiles not written",
    },
    Lesson {
        command: "gate",
        usage: "gate [OPTIONS] [CARGO TEST OPTIONS] [TESTNAME] [-- HARNESS OPTIONS]",
        text: &["Limits are in .config/memprof.toml; without one, no test may make one allocation more than before."],
        examples: &[
            ("cargo memprof test --save-baseline", "record memprof.baseline; commit it"),
            ("cargo memprof gate", "compare; names the lines that allocate more"),
            ("cargo memprof gate --against origin/main", "needs no committed file"),
            ("cargo memprof accept", "accept the new metrics, if the change is intended"),
        ],
        codes: "cargo's own if tests fail; 2 wrong use; 3 nothing could be run; 4 outputs not written; 5 over budget; \
                6 cannot compare (no baseline, other conditions, tests missing)",
    },
    Lesson {
        command: "bisect",
        usage: "bisect --good REV [OPTIONS] [CARGO TEST OPTIONS] [TESTNAME] [-- HARNESS OPTIONS]",
        text: &[
            "Revisions are recorded in a clone of our own, as by `gate --against`, and what is known of them is kept. \
                 Of a merge, what it brought in counts as one commit. Limits are those of .config/memprof.toml.",
        ],
        examples: &[
            ("cargo memprof bisect --good v1.2.0", "any test that is over budget since then"),
            ("cargo memprof bisect --good main~50 parser::rows", "the tests with this in their names"),
        ],
        codes: "2 wrong use; 3 nothing could be run; 6 no such commit, or it cannot be told",
    },
    Lesson {
        command: "history",
        usage: "history [OPTIONS] [PATTERN]...",
        text: &[
            "What is shown is what the committed baseline said at each commit that changed it, or what a file says.",
        ],
        examples: &[
            ("cargo memprof history", "all tests that ever changed"),
            ("cargo memprof history 'parser::*'", "these alone: `*` is any text, `?` any letter"),
            ("cargo memprof gate --history ci/memprof.jsonl", "a file to be kept from one run to the next"),
        ],
        codes: "2 wrong use; 6 there is no history, or it cannot be read",
    },
    Lesson {
        command: "accept",
        usage: "accept [OPTIONS] [PATTERN]...",
        text: &[],
        examples: &[
            ("cargo memprof accept", "all tests of the last run; lines of deleted tests are removed"),
            ("cargo memprof accept 'parser::*'", "these alone: `*` is any text, `?` any letter"),
        ],
        codes: "",
    },
    Lesson {
        command: "merge",
        usage: "merge [OPTIONS] <DIR>...",
        text: &[
            "The shards are made by `--partition` and `--memprofile`, each on a machine of its own; `merge` needs all of them.",
        ],
        examples: &[
            ("cargo memprof test --partition count:1/2", "one shard; then copy target/memprof"),
            ("cargo memprof merge shard1 shard2", "the whole, in target/memprof"),
            ("cargo memprof gate --no-run", "one verdict"),
        ],
        codes: "",
    },
    Lesson {
        command: "clean",
        usage: "clean [OPTIONS]",
        text: &["Outputs in a folder that you named with `--memprofile` are yours, and stay."],
        examples: &[],
        codes: "",
    },
];

/// `cli` with the usage and the lesson of each command.
pub fn teach(mut cli: clap::Command, columns: usize) -> clap::Command {
    for lesson in &LESSONS {
        cli = cli.mut_subcommand(lesson.command, |command| lesson.put(command, columns));
    }
    FIRST.put(cli, columns)
}

/// The help of the command called `name` of `cli`, or of all where that is none.
pub fn of(mut cli: clap::Command, name: Option<&str>) -> String {
    // Building first gives the subcommand its full name.
    cli.build();
    let command = match name {
        Some(name) => cli.find_subcommand_mut(name),
        None => Some(&mut cli),
    };
    command.map(|command| command.render_help().ansi().to_string()).unwrap_or_default()
}

impl Lesson {
    fn put(&self, command: clap::Command, columns: usize) -> clap::Command {
        let command = command.override_usage(self.usage(columns));
        let text = self.text(columns);
        if text.is_empty() { command } else { command.after_help(text) }
    }

    /// How it is called; what does not fit goes below, a little further in. What is in brackets stays in one line.
    fn usage(&self, columns: usize) -> String {
        let whole = self.usage.replace(' ', "\u{a0}").replace("]\u{a0}", "] ").replace("\u{a0}[", " [");
        let lines = wrap(&format!("cargo\u{a0}memprof\u{a0}{whole}"), columns.saturating_sub("Usage:     ".len()));
        lines.join("\n           ").replace('\u{a0}', " ")
    }

    fn text(&self, columns: usize) -> String {
        let mut parts: Vec<String> = self.text.iter().map(|text| wrap(text, columns).join("\n")).collect();
        if !self.examples.is_empty() {
            parts.push(format!("Examples:\n{}", examples(self.examples, columns)));
        }
        if !self.codes.is_empty() {
            // A code stays with what it means.
            let codes = self.codes.split("; ").map(|code| match code.split_once(' ') {
                Some((number, what)) if number.parse::<u8>().is_ok() => format!("{number}\u{a0}{what}"),
                _ => code.to_owned(),
            });
            let codes = codes.collect::<Vec<_>>().join("; ");
            let lines = wrap(&format!("Exit codes: {codes}."), columns);
            parts.push(lines.join("\n").replace('\u{a0}', " "));
        }
        parts.join("\n\n")
    }
}

/// Commands with what they do behind them, in a column of their own; below them where some would not fit.
fn examples(examples: &[(&str, &str)], columns: usize) -> String {
    let width = |text: &str| text.chars().count();
    let column = examples.iter().map(|(command, _)| width(command)).max().unwrap_or(0) + 2;
    let fits = examples.iter().all(|(_, what)| 2 + column + width(what) <= columns);
    let lines = examples.iter().map(|(command, what)| {
        if fits {
            return format!("  {command:column$}{what}");
        }
        let below = wrap(what, columns.saturating_sub(6));
        format!("  {command}\n      {}", below.join("\n      "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `text` in lines of at most `columns` where its words allow it.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::flags;
    use super::*;

    /// The help of every command, and of all, without its styles.
    fn helps(columns: usize) -> Vec<(&'static str, String)> {
        let names = LESSONS.iter().map(|lesson| lesson.command);
        let plain = |name| anstream::adapter::strip_str(&of(flags::command_line(columns), name)).to_string();
        names.map(|name| (name, plain(Some(name)))).chain([("", plain(None))]).collect()
    }

    #[test]
    fn every_command_has_a_lesson() {
        let cli = flags::command_line(100);
        let commands: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
        let lessons: Vec<&str> = LESSONS.iter().map(|lesson| lesson.command).collect();
        for command in commands {
            assert!(lessons.contains(&command), "{command}");
        }
    }

    #[test]
    fn the_help_reads_as_it_was_read_last() {
        for columns in [60, 80, 120] {
            let texts = helps(columns).into_iter().map(|(name, help)| match name {
                "" => format!("$ cargo memprof --help\n{help}"),
                name => format!("$ cargo memprof {name} --help\n{help}"),
            });
            insta::assert_snapshot!(format!("help_at_{columns}_columns"), texts.collect::<Vec<_>>().join("\n"));
        }
    }

    #[test]
    fn no_line_is_longer_than_the_terminal() {
        for columns in [60, 80, 120] {
            for (name, help) in helps(columns) {
                for line in help.lines() {
                    assert!(line.chars().count() <= columns, "`{name}` at {columns}: {line}");
                }
            }
        }
    }

    #[test]
    fn no_line_ends_before_the_next_word_would_not_fit() {
        for columns in [60, 80, 120] {
            for (name, help) in helps(columns) {
                let lines: Vec<&str> = help.lines().collect();
                for pair in lines.windows(2) {
                    let indent = |line: &str| line.len() - line.trim_start().len();
                    let (line, next) = (pair[0], pair[1].split_whitespace().next().unwrap_or_default());
                    // Prose goes on in the next line with a small letter and the same indent; flags and commands do not.
                    let goes_on = indent(line) == indent(pair[1])
                        && next.starts_with(|letter: char| letter.is_lowercase())
                        && !next.starts_with("cargo")
                        && !next.starts_with("go")
                        && indent(line) != 2;
                    let would_fit = line.chars().count() + 1 + next.chars().count() <= columns;
                    assert!(!(goes_on && would_fit), "`{name}` at {columns}: `{line}` could hold `{next}`");
                }
            }
        }
    }

    #[test]
    fn the_help_fits_one_screen_each() {
        for (name, help) in helps(100) {
            let lines = help.lines().count();
            assert!((10..=45).contains(&lines), "`{name}` has {lines} lines");
        }
    }

    #[test]
    fn what_a_gate_allows_is_named_in_its_help() {
        use clap::ValueEnum;
        let help = of(flags::command_line(120), Some("gate"));
        for allowed in crate::gate::flags::Allowed::value_variants() {
            let name = allowed.to_possible_value().expect("none is hidden").get_name().to_owned();
            assert!(help.contains(&name), "{name}");
        }
    }
}
