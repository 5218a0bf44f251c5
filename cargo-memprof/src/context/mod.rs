//! The context of a run: cargo, the package, the folders, the toolchain, and their names.

pub mod cargo_env;
pub mod env;

pub mod arguments;
pub mod cargo_args;
pub mod cargo_config;
pub mod cargo_flags;
pub mod options;
pub mod test_filter;

pub mod config;
pub mod toolchain;
pub mod workspace;

pub mod build_layout;
pub mod executable;
pub mod machine;
pub mod symbol_cache;
pub mod target_dir;

pub mod conditions;
pub mod doctest_name;
pub mod features;
pub mod frameworks;
pub mod provenance;
pub mod unit;

use crate::context::cargo_env::{CargoEnv, absolute};
use crate::context::workspace::{NoWorkspace, Workspace};
use crate::git::Git;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use crate::ui::terminal::Shell;
use camino::Utf8PathBuf;
use cargo_args::CargoArgs;
use std::path::Path;

/// Where a command is given.
pub struct Context<'a> {
    pub cargo_env: CargoEnv<'a>,
    pub workspace: Workspace,
    pub shell: Shell,
    /// Where the run is one side of a comparison of revisions: what hides from its tests in which of them they are.
    pub git: Option<Git>,
}

impl<'a> Context<'a> {
    /// Loads the context of a command with the arguments `args`. Where cargo sees no package it says so itself, and what it
    /// ended with is given.
    ///
    /// # Errors
    /// Where cargo cannot be asked.
    pub fn load(args: &'a CargoArgs) -> Result<Result<Context<'a>, ExitCode>, Error> {
        let (cargo_env, workspace) = CargoEnv::load(args);
        let shell = cargo_env.shell();
        match workspace {
            Ok(workspace) => Ok(Ok(Context { cargo_env, workspace, shell, git: None })),
            Err(NoWorkspace::Failed(error)) => Err(error),
            Err(NoWorkspace::Refused { stderr, code }) => {
                shell.pass_on(&stderr);
                Ok(Err(code))
            }
        }
    }

    /// The folder of the outputs, absolute; `folder` is the user's wish.
    ///
    /// # Errors
    /// Where it is not UTF-8.
    pub fn out_dir(&self, folder: Option<&Path>) -> Result<Utf8PathBuf, Error> {
        match folder {
            Some(folder) => absolute(folder, "--memprofile"),
            None => Ok(self.cargo_env.target_dir(&self.workspace)?.join(target_dir::NAME)),
        }
    }
}
