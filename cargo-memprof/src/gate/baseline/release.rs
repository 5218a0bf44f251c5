//! A release on the registry as the reference: cargo fetches its package, which names the commit that it was made from.
//! The tests are those of that commit, because a package often comes without them.

use super::against::{self, Revision};
use crate::context::Context;
use crate::context::cargo_args::CargoArgs;
use crate::files::{intake, outlet};
use crate::git::Git;
use crate::ui::error::Error;
use cargo_metadata::semver::Version;
use cargo_metadata::{MetadataCommand, Package};
use memprof_profile::view::plain::plain;
use serde::Deserialize;
use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// Where a package that depends on the release is made, below the folder of revisions.
const FOLDER: &str = "release";
/// What cargo puts into a package that is made in a repository.
const ORIGIN: &str = ".cargo_vcs_info.json";
/// The registry that has no name in a manifest.
const USUAL_REGISTRY: &str = "crates-io";

#[derive(Deserialize)]
struct Origin {
    git: GitOrigin,
}

#[derive(Deserialize)]
struct GitOrigin {
    sha1: String,
    /// Not all that is in the package was committed.
    #[serde(default)]
    dirty: bool,
}

/// The commit of the release `spec`: `1.2.3`, `1.2` (its newest), or either behind `NAME@`.
///
/// # Errors
/// Where there is no such release, it does not say its commit, or the repository has no such commit.
pub fn find(context: &Context<'_>, cargo: &CargoArgs, git: &Git, spec: &str) -> Result<Revision, Error> {
    let release = ReleaseSpec::read(context, cargo, spec)?;
    let failed = |what: &str| against::failed(&release.shown(), what);
    let package = fetch(context, cargo, &release)?;
    let version = &package.version;
    let name = format!("{} {version}", release.package.name);
    let origin = package.manifest_path.with_file_name(ORIGIN);
    let by_hand = format!("name its commit or its tag: `--against v{version}`");
    let origin = intake::read(origin.as_std_path())
        .map_err(|error| failed("tell which commit it was made from").caused_by(error).help(&by_hand))?;
    let origin: Origin = serde_json::from_slice(&origin).map_err(|error| {
        failed("tell which commit it was made from").caused_by(format!("`{ORIGIN}`: {error}")).help(&by_hand)
    })?;
    let sha1 = plain(&origin.git.sha1).into_owned();
    if origin.git.dirty {
        context.shell.warn(&format!("`{name}` was made from more than was committed; it is compared with {sha1}"));
    }
    let folder = release.package.manifest_path.parent().unwrap_or(&context.workspace.root);
    let in_git = |failure: crate::git::Failure| {
        failed("find its commit").caused_by(failure.cause).help(format!("fetch it: `git fetch origin {sha1}`"))
    };
    let commit = git.repository(folder).map_err(in_git)?.commit(&sha1, folder).map_err(in_git)?;
    Ok(Revision { name, commit })
}

/// A release as the user named it.
struct ReleaseSpec<'a> {
    package: &'a Package,
    /// As a manifest writes it.
    requirement: String,
    text: &'a str,
}

impl<'a> ReleaseSpec<'a> {
    fn read(context: &'a Context<'_>, cargo: &CargoArgs, spec: &'a str) -> Result<ReleaseSpec<'a>, Error> {
        let refused = |why: String| {
            Error::usage(format!("cannot compare with the release `{spec}`")).caused_by(why).help(
                "write `--against-version 1.2.3`, or `--against-version NAME@1.2.3` where there are several packages",
            )
        };
        let (named, version) = spec.rsplit_once('@').map_or((None, spec), |(name, version)| (Some(name), version));
        let requirement = requirement(version).ok_or_else(|| refused(format!("`{version}` is no version")))?;
        let package_flag = cargo.value_of("package");
        let name = named.or(package_flag.as_deref()).or(context.workspace.default_package());
        let name = name.ok_or_else(|| refused("there are several packages, each with versions of its own".into()))?;
        let package = context.workspace.packages.iter().find(|package| *package.name == *name);
        let package = package.ok_or_else(|| refused(format!("the workspace has no package `{name}`")))?;
        if package.publish.as_ref().is_some_and(Vec::is_empty) {
            return Err(refused(format!("`{name}` is not published: its manifest says `publish = false`")));
        }
        Ok(ReleaseSpec { package, requirement, text: spec })
    }

    /// For people.
    fn shown(&self) -> String {
        let version = self.text.rsplit_once('@').map_or(self.text, |(_, version)| version);
        format!("{} {version}", self.package.name)
    }

    /// A package that depends on nothing but the release.
    fn manifest(&self) -> String {
        let registry = self.package.publish.as_ref().and_then(|registries| registries.first());
        let registry = registry.filter(|name| *name != USUAL_REGISTRY);
        let registry = registry.map_or(String::new(), |name| format!("registry = {name:?}\n"));
        format!(
            "[package]\nname = \"{FOLDER}\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[lib]\npath = \"lib.rs\"\n\n\
             [dependencies.released]\npackage = {:?}\nversion = {:?}\ndefault-features = false\n{registry}\n[workspace]\n",
            self.package.name.as_str(),
            self.requirement
        )
    }
}

/// What a manifest requires for exactly this version, or for the newest that begins with these numbers. `None` = it is none.
fn requirement(version: &str) -> Option<String> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = version.split('.').collect();
    match Version::parse(version) {
        Ok(version) => Some(format!("={version}")),
        Err(_) if parts.len() < 3 && parts.iter().all(|part| is_number(part)) => Some(format!("~{version}")),
        Err(_) => None,
    }
}

/// Has cargo fetch the release. Gives what it says of it.
fn fetch(context: &Context<'_>, cargo: &CargoArgs, release: &ReleaseSpec<'_>) -> Result<Package, Error> {
    let failed = |what: &str| against::failed(&release.shown(), what);
    let in_folder = |error: std::io::Error| {
        let help = "see that the target folder can be written to, or name the release's tag with `--against`";
        failed("make a package that depends on it").caused_by(error).help(help)
    };
    let by_tag = "name the release's tag with `--against`";
    let revisions = against::folder(context)?;
    let folder = revisions.join(FOLDER);
    against::make(&revisions).and_then(|()| fs_err::create_dir_all(&folder)).map_err(in_folder)?;
    // Else cargo keeps to the version that it took the last time.
    let _ = fs_err::remove_file(folder.join("Cargo.lock"));
    let manifest = folder.join("Cargo.toml");
    outlet::put(folder.join("lib.rs"), "").map_err(in_folder)?;
    outlet::put(&manifest, release.manifest()).map_err(in_folder)?;
    let mut command = Command::new(context.cargo_env.cargo());
    command.args(["metadata", "--format-version", "1", "--manifest-path"]).arg(&manifest);
    command.args(cargo.config.iter().flat_map(|value| [OsStr::new("--config"), value]));
    command.args(cargo.has("offline").then_some("--offline")).stdin(Stdio::null());
    let output = command.output().map_err(in_folder)?;
    if !output.status.success() {
        let why = against::last_lines(&String::from_utf8_lossy(&output.stderr));
        let help = format!("`cargo info {}` tells which versions there are", release.package.name);
        return Err(failed("have cargo fetch it").caused_by(why).help(help));
    }
    let metadata = MetadataCommand::parse(String::from_utf8_lossy(&output.stdout));
    let metadata = metadata.map_err(|error| failed("understand cargo").caused_by(error).help(by_tag))?;
    let is_it = |package: &Package| package.name == release.package.name && package.source.is_some();
    let root = metadata.root_package().map(|package| package.id.clone());
    let resolved =
        metadata.resolve.as_ref().and_then(|graph| graph.nodes.iter().find(|node| Some(&node.id) == root.as_ref()));
    let id = resolved.and_then(|node| node.dependencies.first()).cloned();
    let found = metadata.packages.into_iter().find(|package| Some(&package.id) == id.as_ref() && is_it(package));
    found.ok_or_else(|| failed("find it among what cargo fetched").help(by_tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_version_is_that_one_and_a_part_the_newest_of_it() {
        assert_eq!(requirement("1.2.3").as_deref(), Some("=1.2.3"));
        assert_eq!(requirement("1.0.0-rc.1").as_deref(), Some("=1.0.0-rc.1"));
        assert_eq!(requirement("1.2").as_deref(), Some("~1.2"));
        assert_eq!(requirement("0").as_deref(), Some("~0"));
        for none in ["", "1.", "1.2.x", "v1.2", "1.2\", git = \"x", ">=1", "1.2.3.4"] {
            assert_eq!(requirement(none), None, "{none}");
        }
    }
}
