//! This program as cargo's runner: it notes that an executable is run, gives it back the environment the user had, and
//! becomes it, so that signals, exit codes and streams are the program's own.

use crate::error::Error;
use crate::inject::env;
use crate::inject::note::Note;
use crate::inject::plan::Plan;
use crate::inject::ran::Ran;
use memprof_harness::environment;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The word by which cargo calls us for this; the triple and then the executable with its arguments follow.
pub const COMMAND: &str = "__runner";

/// Becomes the executable in `args`; comes back only where that fails.
pub fn run(args: &[OsString]) -> Error {
    let [triple, program @ ..] = args else {
        return Error::usage(format!("cannot use `{COMMAND}`"))
            .caused_by("it is how cargo calls this program back")
            .help("use `cargo memprof test`");
    };
    match prepare(&triple.to_string_lossy(), program) {
        Ok(mut command) => {
            let error = command.exec();
            Error::new(format!("cannot run `{}`", Path::new(command.get_program()).display())).caused_by(error)
        }
        Err(error) => error,
    }
}

fn prepare(triple: &str, program: &[OsString]) -> Result<Command, Error> {
    let plan = Plan::of_this_run()?;
    let exe = PathBuf::from(program.first().cloned().unwrap_or_default());
    let ran = Ran {
        note: Note::read(&exe),
        exe,
        package: env::non_empty(env::CARGO_PKG_NAME).unwrap_or_default().to_string_lossy().into_owned(),
        manifest_dir: env::non_empty(env::CARGO_MANIFEST_DIR).unwrap_or_default().into(),
    };
    ran.append(&plan.ran).map_err(|error| Error::new("cannot note what cargo runs").caused_by(error))?;
    let runner = plan.runners.get(triple).map(Vec::as_slice).unwrap_or_default();
    let mut command = command(&plan, runner, program);
    match &ran.note {
        Some(note) if note.unprofiled.is_none() && note.own_main => record_program(&mut command, &plan, ""),
        Some(note) if note.unprofiled.is_none() => record_tests(&mut command, &plan),
        _ => {}
    }
    Ok(command)
}

/// The program behind the user's own runner, in the user's own environment.
fn command(plan: &Plan, runner: &[OsString], program: &[OsString]) -> Command {
    let mut words = runner.iter().chain(program);
    let mut command = Command::new(words.next().cloned().unwrap_or_default());
    command.args(words);
    plan.saved.restore(&mut command);
    command
}

/// Has a test executable record its tests.
fn record_tests(command: &mut Command, plan: &Plan) {
    clear(command);
    command.env(environment::RATE, plan.rate.to_string());
    command.env(environment::LEDGERS, &plan.ledgers);
}

/// Has a program with a `main` of its own record itself; `name` is the one test it is to run, or empty.
fn record_program(command: &mut Command, plan: &Plan, name: &str) {
    clear(command);
    let mut asked = OsString::from(format!("{} - ", plan.rate));
    asked.push(&plan.ledgers);
    command.env(environment::PROGRAM, asked).env(environment::NAME, name);
}

/// A test that runs `cargo memprof` has these of its own recording.
fn clear(command: &mut Command) {
    let programs = [environment::PROGRAM, environment::NAME, environment::THREADS_ONLY];
    for name in environment::ALL.into_iter().chain(programs) {
        command.env_remove(name);
    }
}
