//! `cargo memprof run`: builds and runs a program, and reports on it.

use super::recording;
use crate::context::Context;
use crate::context::options::TestOptions;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;

/// Runs a program and reports on it.
///
/// # Errors
/// Where something of ours fails; what the program or cargo end with is passed on.
pub fn run(options: &TestOptions) -> Result<ExitCode, Error> {
    match Context::load(&options.cargo)? {
        Ok(context) => Ok(recording::record(options, &context, &|_| None)?.exit_code()),
        Err(code) => Ok(code),
    }
}
