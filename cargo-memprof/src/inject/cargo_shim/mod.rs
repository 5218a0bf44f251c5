//! This program as cargo, called by a test: a `cargo run` is made one whose program is recorded as the test's child, and
//! everything else becomes the real cargo, in the environment without us.

pub mod nested_cargo;

use crate::context::arguments::{Argument, Arguments};
use crate::context::cargo_flags::Tool;
use crate::context::env;
use crate::protocol::ancestors;
use crate::protocol::cargo_shim::{CargoShim, FoundBy};
use crate::protocol::plan;
use crate::ui::error::Error;
use nested_cargo::Additions;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Becomes cargo; comes back only where that fails.
pub fn run(cargo_shim: &CargoShim, found: FoundBy, args: &[OsString]) -> Error {
    let Some(real) = cargo_shim.real_cargo(found) else {
        return Error::new("cannot find cargo").caused_by("neither `PATH` nor the toolchain has it any more");
    };
    let without = cargo_shim.without();
    let cargo = |args: &[OsString]| {
        let mut command = Command::new(&real);
        command.args(args).envs(without.iter().map(|(name, value)| (name, value)));
        command
    };
    if let Some(call) = RunCall::read(args)
        && let Some(additions) = plan_of_test(cargo_shim).and_then(|plan| ask(cargo_shim, cargo(&[]), &call, &plan))
    {
        let mut command = cargo(&call.with(&additions.flags));
        for (name, value) in &additions.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        // Where this does not work, the other is going to say why.
        let _ = command.exec();
    }
    let mut command = cargo(args);
    let error = command.exec();
    Error::new(format!("cannot start `{}`", real.display())).caused_by(error)
}

/// The plan of the run that records the test which this process was started by; `None` = none does, or it is another
/// run than the one that `cargo_shim` is of.
fn plan_of_test(cargo_shim: &CargoShim) -> Option<PathBuf> {
    let path = ancestors::scratch()?.join(plan::FILE);
    let plan = plan::Plan::read(&path).ok()?;
    (plan.cargo_shim.as_ref() == Some(cargo_shim)).then_some(path)
}

/// Asks what is to be added to a call, in a process of its own: whatever becomes of that, this one goes on. `cargo` is the
/// real one without arguments, in its environment.
fn ask(cargo_shim: &CargoShim, cargo: Command, call: &RunCall, plan: &Path) -> Option<Additions> {
    let mut question = Command::new(cargo_shim.ours().ok()?);
    question.arg(nested_cargo::COMMAND).arg(std::process::id().to_string()).arg(plan).args(call.words_for_cargo());
    question.envs(cargo.get_envs().filter_map(|(name, value)| Some((name, value?))));
    question.env(env::CARGO, cargo.get_program());
    if let Some(toolchain) = &call.toolchain {
        question.env(env::RUSTUP_TOOLCHAIN, toolchain);
    }
    let output = question.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

/// A call of `cargo run`, read.
#[derive(Debug, Default, PartialEq, Eq)]
struct RunCall {
    /// Of `+toolchain`.
    toolchain: Option<OsString>,
    /// Flags in front of the command.
    before: Vec<OsString>,
    /// Flags behind it that are cargo's.
    flags: Vec<OsString>,
    /// What is the program's, with the `--` where there is one.
    program: Vec<OsString>,
}

impl RunCall {
    /// `None` = it is another command, or runs nothing, or works from another folder than this one.
    fn read(args: &[OsString]) -> Option<RunCall> {
        let mut call = RunCall::default();
        let mut args = args;
        if let Some((word, rest)) = args.split_first().filter(|(word, _)| word.as_encoded_bytes().starts_with(b"+")) {
            call.toolchain = Some(word.to_str()?[1..].into());
            args = rest;
        }
        let mut before = Arguments::new(Tool::CargoRun, args);
        let stops_before = before.by_ref().filter(stops).count() > 0;
        let (command, rest) = before.rest().split_first()?;
        if command != "run" && command != "r" {
            return None;
        }
        call.before = args[..args.len() - before.rest().len()].to_vec();
        let mut flags = Arguments::new(Tool::CargoRun, rest);
        let stops_behind = flags.by_ref().filter(stops).count() > 0;
        call.flags = rest[..rest.len() - flags.rest().len()].to_vec();
        call.program = flags.rest().to_vec();
        (!stops_before && !stops_behind).then_some(call)
    }

    /// What cargo itself is told by, apart from the command.
    fn words_for_cargo(&self) -> impl Iterator<Item = &OsString> {
        self.before.iter().chain(&self.flags)
    }

    /// The call with `added` behind the user's flags, where they win over what was given before.
    fn with(&self, added: &[String]) -> Vec<OsString> {
        let toolchain = self.toolchain.iter().map(|toolchain| {
            let mut word = OsString::from("+");
            word.push(toolchain);
            word
        });
        let flags = Arguments::new(Tool::CargoRun, &self.flags).filter(|argument| !argument.has("target-dir"));
        let flags = flags.flat_map(|argument| argument.words.iter().cloned());
        let words = toolchain.chain(self.before.iter().cloned()).chain(["run".into()]).chain(flags);
        words.chain(added.iter().map(OsString::from)).chain(self.program.iter().cloned()).collect()
    }
}

/// Nothing runs with it, or something in another folder.
fn stops(argument: &Argument<'_>) -> bool {
    argument.has("help") || argument.has("C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn read(text: &str) -> Option<RunCall> {
        RunCall::read(&words(text))
    }

    #[test]
    fn a_call_of_run_is_known_whatever_stands_in_front() {
        for line in ["run", "r -q", "+nightly run", "--config a=1 run", "-q --color never run -- -C", "-Z x r"] {
            assert!(read(line).is_some(), "{line}");
        }
        for line in ["build", "", "-q", "test run", "--config run", "run --help", "-C there run", "metadata", "x run"] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_the_programs_stays_the_programs() {
        let program = |line| read(line).unwrap().program;
        assert_eq!(program("run -p a --bin b -qF c,d x --target-dir y"), words("x --target-dir y"));
        assert_eq!(program("run --example -- --bin"), words("-- --bin"));
        assert_eq!(program("run -qpa x"), words("x"));
        assert_eq!(program("run --features=f -j4 x -q"), words("x -q"));
        assert_eq!(program("run --bin b --release"), words(""));
    }

    #[test]
    fn additions_come_last_of_cargos_flags_and_instead_of_the_users_folder() {
        let call = read("+beta -q run --target-dir a --bin b --target-dir=c x --target-dir d").unwrap();
        let with = call.with(&["--target-dir".into(), "ours".into()]);
        assert_eq!(with, words("+beta -q run --bin b --target-dir ours x --target-dir d"));
    }
}
