//! Suggestions for flags that we do not know. We refuse none of them, because cargo, nextest or a harness may know it. Where they refuse
//! it, the suggestion is shown.

use super::take;
use crate::context::arguments::{Argument, Arguments};
use crate::context::cargo_args::CargoArgs;
use crate::context::cargo_flags::Tool;

/// What can be said of the flags in `args` that are not known, which the command called `verb` leaves to others.
pub fn suggestions(cli: &clap::Command, verb: &str, args: &CargoArgs) -> Vec<String> {
    let Some(command) = cli.find_subcommand(verb) else { return Vec::new() };
    let before = args.arguments().filter_map(|argument| suggestion(cli, command, args.tool, &argument));
    let behind = if args.tool == Tool::CargoRun { &[] } else { args.behind_dashes() };
    let behind = Arguments::new(Tool::Libtest, behind);
    before.chain(behind.filter_map(|argument| suggestion(cli, command, Tool::Libtest, &argument))).collect()
}

fn suggestion(cli: &clap::Command, command: &clap::Command, tool: Tool, argument: &Argument<'_>) -> Option<String> {
    let word = argument.words[0].to_string_lossy();
    let given = word.split('=').next().unwrap_or_default();
    let name = given.trim_start_matches('-');
    let unknown = given.starts_with("--") && argument.flags.iter().any(Option::is_none);
    // As Go writes them: `-memprofilerate`.
    let one_dash = given.starts_with('-') && !given.starts_with("--") && name.len() >= LEAST;
    if !unknown && !one_dash {
        return None;
    }
    let other = |command: &&clap::Command| take::names(command).any(|flag| flag == name);
    if let Some(other) = cli.get_subcommands().find(other).filter(|_| unknown) {
        return Some(format!(
            "`{given}` is a flag of `cargo memprof {}`, and not of `cargo memprof {}`",
            other.get_name(),
            command.get_name()
        ));
    }
    let ours = take::names(command).chain(["help"]).map(|flag| (flag, true));
    let theirs: Vec<String> = tool.flags().map(|flag| flag.name.to_owned()).collect();
    // What is near one of its own, cargo says itself; libtest does not.
    let theirs = theirs.iter().map(|flag| (flag.as_str(), tool == Tool::Libtest));
    let candidates = ours.chain(theirs).filter(|(flag, _)| flag.len() > 1 && (unknown || flag.starts_with(GO)));
    let (steps, _, (near, is_said)) =
        candidates.map(|(flag, is_said)| (strsim::damerau_levenshtein(name, flag), !is_said, (flag, is_said))).min()?;
    let is_near = steps <= (name.len() / LEAST + 1).min(3) || name.starts_with(GO);
    (is_said && is_near && steps > 0 || one_dash && is_near)
        .then(|| format!("nobody knows the flag `{given}`; a flag with a similar name exists: `--{near}`"))
}

/// Letters of a name that may have one wrong without being another word.
const LEAST: usize = 5;
/// With what flags begin that are called as Go's.
const GO: &str = "memprof";

#[cfg(test)]
mod tests {
    use super::super::flags::command_line;
    use super::*;

    fn of(verb: &str, tool: Tool, line: &str) -> Vec<String> {
        let args = CargoArgs::read(tool, line.split_whitespace().map(Into::into).collect());
        suggestions(&command_line(100), verb, &args)
    }

    #[test]
    fn a_misspelt_flag_of_ours_is_named() {
        for (line, near) in [
            ("--memprofilrate 1", "--memprofilerate"),
            ("--memprofilerate1", "--memprofilerate"),
            ("-memprofilerate 1", "--memprofilerate"),
            ("--memprofiles x", "--memprofile"),
            ("--lib -- --memprofilrate=1", "--memprofilerate"),
            ("--keep-ledger", "--keep-ledgers"),
            ("--hlep", "--help"),
            ("--partiton count:1/2", "--partition"),
            ("-- --show-ouput", "--show-output"),
            ("-- --test-thread 1", "--test-threads"),
        ] {
            let suggestions = of("test", Tool::Cargo, line);
            assert!(
                suggestions.len() == 1 && suggestions[0].ends_with(&format!("exists: `{near}`")),
                "{line}: {suggestions:?}"
            );
        }
    }

    #[test]
    fn a_flag_of_another_command_is_told_from_a_misspelt_one() {
        let suggestions = of("bench", Tool::Cargo, "--repeat 2");
        assert_eq!(suggestions, ["`--repeat` is a flag of `cargo memprof test`, and not of `cargo memprof bench`"]);
    }

    #[test]
    fn nothing_is_said_of_flags_that_are_known_or_like_none_of_ours() {
        for line in [
            "--message-format json",
            "--no-fail-fast -- --test-threads 1",
            "memprofiles",
            "-Z unstable",
            "--relaese",
            "-- --sample-size 10",
        ] {
            assert_eq!(of("test", Tool::Cargo, line), Vec::<String>::new(), "{line}");
        }
        assert_eq!(of("run", Tool::CargoRun, "-- --memprofilrate 1"), Vec::<String>::new());
    }
}
