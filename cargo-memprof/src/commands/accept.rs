//! `cargo memprof accept`: takes metrics of the last run into the baseline.

use crate::context::Context;
use crate::context::cargo_args::CargoArgs;
use crate::gate::baseline::file::Taking;
use crate::gate::baseline::reference::Reference;
use crate::gate::compare::loaded_run::LoadedRun;
use crate::gate::flags::GateFlags;
use crate::gate::policy::pattern::Pattern;
use crate::report::LastCommand;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use std::path::PathBuf;

/// What `cargo memprof accept` was asked for.
#[derive(Debug)]
pub struct AcceptOptions {
    /// Where the package is.
    pub cargo: CargoArgs,
    /// Where the run's outputs are; `None` = `memprof` below cargo's target folder.
    pub folder: Option<PathBuf>,
    pub flags: GateFlags,
    /// Of tests; none = whatever is over, new, gone or better.
    pub patterns: Vec<Pattern>,
}

/// Takes metrics of the last run into the baseline.
///
/// # Errors
/// Where there is no last run, or the baseline cannot be written.
pub fn accept(options: &AcceptOptions) -> Result<ExitCode, Error> {
    let context = match Context::load(&options.cargo)? {
        Ok(context) => context,
        Err(code) => return Ok(code),
    };
    let folder = context.out_dir(options.folder.as_deref())?;
    LastCommand::must_have_produced(&folder, "cannot accept the last run")?;
    let run = LoadedRun::read(&folder).map_err(|error| error.with_code(ExitCode::CANNOT_COMPARE))?;
    run.must_be_of(&context.workspace.root, "cannot accept the last run")?;
    // Benchmarks have a baseline of their own.
    let bench = run.run.is_of_benchmarks().then_some(None);
    let reference = Reference::find(&context, &GateFlags { bench, ..options.flags.clone() })?;
    if run.run.interrupted {
        return Err(Error::new("cannot accept the last run")
            .caused_by("it was interrupted: tests are missing, and others were cut short")
            .help("run the tests again, to their end")
            .with_code(ExitCode::CANNOT_COMPARE));
    }
    let taking = match options.patterns.as_slice() {
        [] => Taking::Needed,
        patterns => Taking::Named(patterns),
    };
    reference.take(&run, taking, &context)?;
    Ok(ExitCode::OK)
}
