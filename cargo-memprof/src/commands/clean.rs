//! `cargo memprof clean`: removes what this program made below the target folder.

use crate::context::cargo_args::CargoArgs;
use crate::context::cargo_env::CargoEnv;
use crate::context::target_dir;
use crate::context::workspace::NoWorkspace;
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use std::io;

/// What `cargo memprof clean` was asked for.
#[derive(Debug)]
pub struct CleanOptions {
    /// Where the package is.
    pub cargo: CargoArgs,
}

/// Removes the profiles and the separate build. Outputs in a folder of the user's choice are the user's.
///
/// # Errors
/// Where that fails.
pub fn clean(options: &CleanOptions) -> Result<ExitCode, Error> {
    let (cargo_env, workspace) = CargoEnv::load(&options.cargo);
    let shell = cargo_env.shell();
    let workspace = match workspace {
        Ok(workspace) => workspace,
        Err(NoWorkspace::Failed(error)) => return Err(error),
        Err(NoWorkspace::Refused { stderr, code }) => {
            shell.pass_on(&stderr);
            return Ok(code);
        }
    };
    let folder = cargo_env.target_dir(&workspace)?.join(target_dir::NAME);
    if let Ok(behind) = fs_err::read_link(&folder) {
        // Whoever put it there may have more behind it than this program made.
        fs_err::remove_file(&folder)
            .map_err(|error| Error::new(format!("cannot remove the link `{folder}`")).caused_by(error))?;
        shell.status("Removed", &format!("{folder}, a link"));
        shell.warn(&format!("what it leads to was not removed: `{}`", behind.display()));
        return Ok(ExitCode::OK);
    }
    match fs_err::remove_dir_all(&folder) {
        Ok(()) => shell.status("Removed", folder.as_str()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => shell.status("Removed", "nothing: it is clean"),
        Err(error) => return Err(Error::new(format!("cannot remove `{folder}`")).caused_by(error)),
    }
    Ok(ExitCode::OK)
}
