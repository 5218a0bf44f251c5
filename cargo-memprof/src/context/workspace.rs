//! The user's packages as `cargo metadata` tells of them.

use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use camino::Utf8PathBuf;
use cargo_metadata::{Metadata, MetadataCommand, Package};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

/// See the head of this file.
#[derive(Debug)]
pub struct Workspace {
    pub root: Utf8PathBuf,
    /// Cargo's target folder, absolute.
    pub target_dir: Utf8PathBuf,
    /// `[workspace.metadata]` of the root's manifest.
    pub metadata: serde_json::Value,
    cargo: OsString,
    pub packages: Vec<Package>,
    /// Names of the packages whose tests run where none is named, sorted.
    pub default_packages: Vec<String>,
}

/// Why there is no workspace to work on.
#[derive(Debug)]
pub enum NoWorkspace {
    /// Cargo refused, in its own words and with its own code: they are passed on.
    Refused { stderr: Vec<u8>, code: ExitCode },
    /// Cargo could not be asked or understood.
    Failed(Error),
}

impl Workspace {
    /// Asks `cargo metadata` with the user's `flags`.
    ///
    /// # Errors
    /// See [`NoWorkspace`].
    pub fn ask(cargo: &OsStr, flags: &[OsString]) -> Result<Workspace, NoWorkspace> {
        let mut command = Command::new(cargo);
        command.args(["metadata", "--no-deps", "--format-version", "1"]).args(flags);
        let failed = || Error::new("cannot ask cargo about the package");
        let output = command.output().map_err(|error| {
            NoWorkspace::Failed(failed().caused_by(error).help("run it as `cargo memprof`, with cargo in PATH"))
        })?;
        if !output.status.success() {
            let code = ExitCode::of_cargo(output.status.code().unwrap_or(101));
            return Err(NoWorkspace::Refused { stderr: output.stderr, code });
        }
        let metadata = parse(&output.stdout).map_err(|error| NoWorkspace::Failed(failed().caused_by(error)))?;
        let default = metadata.workspace_default_packages();
        let mut default_packages: Vec<String> = default.iter().map(|package| package.name.to_string()).collect();
        default_packages.sort_unstable();
        Ok(Workspace {
            default_packages,
            root: metadata.workspace_root,
            target_dir: metadata.target_directory,
            metadata: metadata.workspace_metadata,
            cargo: cargo.to_owned(),
            packages: metadata.packages,
        })
    }

    /// The package whose tests run where none is named; `None` = there are several.
    pub fn default_package(&self) -> Option<&str> {
        match &*self.default_packages {
            [one] => Some(one),
            _ => None,
        }
    }

    /// The sources of the roots of all crates of its packages.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.packages.iter().flat_map(|package| &package.targets).map(|target| target.src_path.as_std_path())
    }

    /// A package from outside the workspace, as `cargo test -p` of a dependency tests it.
    pub fn stranger(&self, manifest_dir: &Path) -> Option<Package> {
        let mut command = Command::new(&self.cargo);
        command.args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"]);
        let output = command.arg(manifest_dir.join("Cargo.toml")).output().ok()?;
        parse(&output.stdout).ok()?.packages.into_iter().find(|package| is_in(package, manifest_dir))
    }
}

fn parse(stdout: &[u8]) -> Result<Metadata, String> {
    let text = std::str::from_utf8(stdout).map_err(|error| error.to_string())?;
    MetadataCommand::parse(text).map_err(|error| error.to_string())
}

/// Whether the manifest of `package` is in `manifest_dir`.
pub fn is_in(package: &Package, manifest_dir: &Path) -> bool {
    package.manifest_path.parent().is_some_and(|folder| folder == manifest_dir)
}
