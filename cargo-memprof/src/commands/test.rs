//! `cargo memprof test`, and `bench` and `nextest`, which call another command of cargo's. The tests run and are reported on; with
//! `--save-baseline` their metrics go into the baseline.

use super::gate::GateOptions;
use super::recording;
use crate::context::Context;
use crate::gate::baseline::file::Taking;
use crate::gate::baseline::reference::{Reference, nothing_ran};
use crate::gate::compare::again;
use crate::gate::compare::loaded_run::LoadedRun;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;

/// Runs the tests and, if the user wants that, takes their metrics into the baseline.
///
/// # Errors
/// Where something of ours fails.
pub fn test(options: &GateOptions) -> Result<ExitCode, Error> {
    let context = match Context::load(&options.test.cargo)? {
        Ok(context) => context,
        Err(code) => return Ok(code),
    };
    // Before a run that may take long, whether its end can be done.
    let reference = options.flags.save_baseline.then(|| Reference::find(&context, &options.flags)).transpose()?;
    // A benchmark is measured many times over already.
    let of_tests = reference.as_ref().filter(|_| options.flags.bench.is_none());
    let rules = of_tests.map(|reference| again::to_know(&reference.policy));
    let done = recording::record(&options.test, &context, &|_| rules.clone())?;
    let Some(reference) = reference else { return Ok(done.exit_code()) };
    match done.outputs {
        _ if done.not_recorded => {
            context
                .shell
                .warn(&format!("the baseline `{}` was not written: not all of it was recorded", reference.file.path()));
            Ok(done.exit_code())
        }
        Some(folder) if done.code == ExitCode::OK => {
            reference.take(&LoadedRun::read(&folder)?, Taking::Changed, &context)?;
            Ok(ExitCode::OK)
        }
        Some(_) => {
            context
                .shell
                .warn(&format!("the baseline `{}` was not written: the tests did not pass", reference.file.path()));
            Ok(done.code)
        }
        None if done.code == ExitCode::OK => Err(nothing_ran("save a baseline")),
        None => Ok(done.code),
    }
}
