//! `cargo memprof clean`: removes what this program made below the target folder.

use crate::context::cargo_args::CargoArgs;
use crate::context::cargo_env::CargoEnv;
use crate::context::target_dir;
use crate::context::workspace::NoWorkspace;
use crate::gate::baseline::store::Store;
use crate::report::{self, layout};
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use camino::{Utf8Path, Utf8PathBuf};
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
    if !folder.exists() {
        shell.status("Removed", "nothing: it is clean");
        return Ok(ExitCode::OK);
    }
    match remove_ours(&folder) {
        Err(error) => {
            return Err(Error::new(format!("cannot remove `{folder}`"))
                .caused_by(error)
                .help("see that you may write to it, or remove it by hand"));
        }
        Ok(left) if left.is_empty() => shell.status("Removed", folder.as_str()),
        Ok(left) => {
            shell.status("Removed", &format!("{folder}, but for what `cargo memprof` did not write"));
            let left: Vec<String> = left.iter().map(|path| format!("`{path}`")).collect();
            shell.warn(&format!("left in it: {}", left.join(", ")));
        }
    }
    Ok(ExitCode::OK)
}

/// Removes from `folder` what this program made there, and the folder if that was all. A folder of this name below a target folder such as
/// the workspace's root may be a package of the user's. What is left is given.
fn remove_ours(folder: &Utf8Path) -> io::Result<Vec<Utf8PathBuf>> {
    target_dir::remove_builds(folder)?;
    report::remove_all(folder)?;
    for (name, mark) in [(layout::GATE, layout::GATE_MARK), (layout::AGAINST, layout::AGAINST_MARK)] {
        let marked = folder.join(name);
        if !marked.is_symlink() && marked.join(mark).is_file() {
            fs_err::remove_dir_all(marked)?;
        }
    }
    let baseline = folder.join(layout::BASELINE);
    if baseline.is_dir() && !baseline.is_symlink() {
        for profile in Store::files_in(&baseline)? {
            fs_err::remove_file(profile)?;
        }
        // Refused where something is left in it.
        let _ = std::fs::remove_dir(baseline);
    }
    let mut left: Vec<Utf8PathBuf> =
        folder.read_dir_utf8()?.map(|entry| entry.map(|entry| entry.into_path())).collect::<io::Result<_>>()?;
    left.sort();
    if left.is_empty() {
        fs_err::remove_dir(folder)?;
    }
    Ok(left)
}
