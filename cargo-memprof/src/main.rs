//! Who calls whom: the user calls us through cargo; cargo calls us back as its rustc wrapper and as the runner of
//! every test executable; a recorded test calls us as cargo. The arguments and the name
//! tell these roles apart; for the wrapper, the plan of the run does.

#![forbid(unsafe_code)]

mod cli;
mod collect;
mod commands;
mod context;
#[cfg(test)]
mod direction;
mod files;
mod gate;
mod git;
mod inject;
mod protocol;
mod report;
mod runner;
mod ui;

use cli::Request;
use inject::cargo_shim::nested_cargo;
use protocol::cargo_shim::CargoShim;
use std::ffi::OsString;
use std::process::ExitCode;
use ui::error::Error;
use ui::terminal::Shell;

fn main() -> ExitCode {
    ui::interrupt::outlive_file_limit();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let ended = if let Some((cargo_shim, found)) = CargoShim::called() {
        Err(inject::cargo_shim::run(&cargo_shim, found, &args))
    } else if let Some(name) = inject::build::rustdoc::called_as() {
        match name {
            inject::build::rustdoc::NAME => inject::build::rustdoc::wrap(&args),
            inject::build::rustdoc::COMPILER => inject::build::doctest::compile(&args),
            _ => Err(runner::run_one_of_many(&args)),
        }
    } else if args.first().is_some_and(|first| first == protocol::RUNNER) {
        Err(runner::run(&args[1..]))
    } else if args.first().is_some_and(|first| first == nested_cargo::COMMAND) {
        nested_cargo::answer(&args[1..]).map(|additions| {
            Shell::new().result(&additions.to_json());
            ExitCode::SUCCESS
        })
    } else if inject::build::rustc::is_meant(&args) && !cli::is_command(&args[0]) {
        inject::build::rustc::wrap(&args)
    } else {
        user(args)
    };
    ended.unwrap_or_else(|error| {
        Shell::new().error(&error);
        error.code().into()
    })
}

fn user(args: Vec<OsString>) -> Result<ExitCode, Error> {
    let request = cli::read(args)?;
    // Help can be had anywhere.
    if !matches!(request, Request::Show(_)) {
        context::machine::refuse_this()?;
    }
    let code = match request {
        Request::Test(options) => commands::test::test(&options)?,
        Request::Run(options) => commands::run::run(&options)?,
        Request::Gate(options) => commands::gate::gate(&options)?,
        Request::Bisect(options) => commands::bisect::bisect(&options)?,
        Request::History(options) => commands::history::history(&options)?,
        Request::Accept(options) => commands::accept::accept(&options)?,
        Request::Merge(options) => commands::merge::merge(&options)?,
        Request::Clean(options) => commands::clean::clean(&options)?,
        Request::Show(text) => {
            Shell::new().result(&text);
            ui::exit_code::ExitCode::OK
        }
    };
    Ok(code.into())
}
