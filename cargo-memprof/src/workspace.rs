//! The user's packages as `cargo metadata` tells of them, and which of their targets an executable is.

use crate::context::executable::ExecutablePath;
use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::protocol::build_record::Note;
use crate::protocol::run_log::Ran;
use crate::run::RanExecutable;
use crate::symbolize::Places;
use camino::Utf8PathBuf;
use cargo_metadata::{Metadata, MetadataCommand, Package, Target, TargetKind};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
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
    packages: Vec<Package>,
    /// The package whose tests run where none is named; `None` = there are several.
    default: Option<String>,
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
        let default = match &*metadata.workspace_default_packages() {
            [one] => Some(one.name.to_string()),
            _ => None,
        };
        Ok(Workspace {
            default,
            root: metadata.workspace_root,
            target_dir: metadata.target_directory,
            metadata: metadata.workspace_metadata,
            cargo: cargo.to_owned(),
            packages: metadata.packages,
        })
    }

    /// See the field.
    pub fn default_package(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// Where the user's own code is: the root, and the folders of members that lie beside it.
    pub fn places(&self) -> Places {
        let folders = self.packages.iter().filter_map(|package| package.manifest_path.parent());
        let mut beside: Vec<PathBuf> =
            folders.filter(|folder| !folder.starts_with(&self.root)).map(|folder| folder.into()).collect();
        beside.sort();
        Places { workspace: self.root.clone().into(), beside }
    }

    /// The sources of the roots of all crates of its packages.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.packages.iter().flat_map(|package| &package.targets).map(|target| target.src_path.as_std_path())
    }

    /// Names what was run. Doctests of one package are one entry.
    pub fn identify(&self, ran: Vec<Ran>) -> Vec<RanExecutable> {
        let mut strangers = HashMap::new();
        let mut named: Vec<RanExecutable> = Vec::new();
        for ran in ran {
            let manifest_dir = ran.note.as_ref().map_or(&ran.manifest_dir, |note| &note.manifest_dir);
            let at_once = self.packages.iter().find(|package| is_in(package, manifest_dir));
            // Behind a link, cargo may have told us another path than it tells what it runs.
            let package = at_once.or_else(|| self.packages.iter().find(|package| is_at(package, manifest_dir)));
            let package = match package {
                Some(package) => Some(package),
                None => strangers
                    .entry(manifest_dir.clone())
                    .or_insert_with(|| stranger(&self.cargo, manifest_dir))
                    .as_ref(),
            };
            let executable = name(ran, package, self.root.as_std_path());
            let same = |other: &RanExecutable| {
                other.exe == executable.exe
                    && other.package == executable.package
                    && other.target_kind == executable.target_kind
                    && other.target_name == executable.target_name
            };
            match named.iter().position(same) {
                Some(at) => named[at].leaves = named[at].leaves.max(executable.leaves),
                None => named.push(executable),
            }
        }
        named
    }
}

fn parse(stdout: &[u8]) -> Result<Metadata, String> {
    let text = std::str::from_utf8(stdout).map_err(|error| error.to_string())?;
    MetadataCommand::parse(text).map_err(|error| error.to_string())
}

/// A package from outside the workspace, as `cargo test -p` of a dependency tests it.
fn stranger(cargo: &OsStr, manifest_dir: &Path) -> Option<Package> {
    let mut command = Command::new(cargo);
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"]);
    let output = command.arg(manifest_dir.join("Cargo.toml")).output().ok()?;
    parse(&output.stdout).ok()?.packages.into_iter().find(|package| is_in(package, manifest_dir))
}

fn is_in(package: &Package, manifest_dir: &Path) -> bool {
    package.manifest_path.parent().is_some_and(|folder| folder == manifest_dir)
}

fn is_at(package: &Package, manifest_dir: &Path) -> bool {
    package.manifest_path.parent().is_some_and(|folder| resolved(folder.as_std_path()) == resolved(manifest_dir))
}

fn name(ran: Ran, package: Option<&Package>, root: &Path) -> RanExecutable {
    let doctest = ran.is_doctest();
    let package_name = package.map(|package| package.name.to_string());
    let Some(note) = ran.note else {
        let library = package.and_then(|package| package.targets.iter().find(|target| kind(target) == "lib"));
        let reason = match doctest {
            true => "doctests are run by rustdoc, without the harness",
            false => "it was not compiled in this build folder under `cargo memprof`",
        };
        return RanExecutable {
            target_name: match library {
                Some(library) if doctest => library.name.clone(),
                _ => stem(ran.exe.as_path()),
            },
            exe: if doctest { ExecutablePath::default() } else { ran.exe },
            package: package_name.unwrap_or(ran.package),
            target_kind: if doctest { "doc" } else { "test" }.to_owned(),
            doctests: Vec::new(),
            profiled: false,
            reason: Some(reason.to_owned()),
            remark: ran.remark,
            listed: false,
            kept: ran.kept,
            leaves: ran.leaves,
            runner: ran.runner,
        };
    };
    if let Some(doctest) = &note.doctest {
        let library = package.and_then(|package| package.targets.iter().find(|target| kind(target) == "lib"));
        return RanExecutable {
            target_name: library.map_or_else(|| note.package.clone(), |library| library.name.clone()),
            exe: ran.exe,
            package: package_name.unwrap_or(note.package),
            target_kind: "doc".to_owned(),
            doctests: doctest.names(root),
            profiled: note.unprofiled.is_none(),
            reason: note.unprofiled,
            remark: ran.remark,
            listed: false,
            kept: ran.kept,
            leaves: ran.leaves,
            runner: ran.runner,
        };
    }
    let target = package.and_then(|package| target_of(package, &note));
    RanExecutable {
        doctests: Vec::new(),
        exe: ran.exe,
        package: package_name.unwrap_or(note.package),
        target_kind: target.map_or(if note.bin_name.is_some() { "bin" } else { "test" }, kind).to_owned(),
        target_name: target.map_or(note.crate_name, |target| target.name.clone()),
        profiled: note.unprofiled.is_none(),
        reason: note.unprofiled,
        remark: ran.remark,
        listed: note.listed.is_some(),
        kept: ran.kept,
        leaves: ran.leaves,
        runner: ran.runner,
    }
}

/// The target that was compiled. Several may share a file; the crate's name and whether it is a binary tell them
/// apart.
fn target_of<'a>(package: &'a Package, note: &Note) -> Option<&'a Target> {
    let crate_name = |target: &Target| target.name.replace('-', "_");
    let mut near: Vec<&Target> = package
        .targets
        .iter()
        .filter(|target| crate_name(target) == note.crate_name && !kind(target).is_empty())
        .collect();
    let narrow = |near: &mut Vec<&'a Target>, fits: &dyn Fn(&Target) -> bool| {
        if near.iter().any(|target| fits(target)) {
            near.retain(|target| fits(target));
        }
    };
    // Cargo may have been told one path of the package, and the compiler run behind another.
    let source = resolved(&note.source);
    narrow(&mut near, &|target| resolved(target.src_path.as_std_path()) == source);
    narrow(&mut near, &|target| (kind(target) == "bin") == note.bin_name.is_some());
    near.first().copied()
}

fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// One word for what a target is; empty for build scripts, which are never tested.
fn kind(target: &Target) -> &'static str {
    for kind in &target.kind {
        match kind {
            TargetKind::Bin => return "bin",
            TargetKind::Test => return "test",
            TargetKind::Bench => return "bench",
            TargetKind::Example => return "example",
            TargetKind::CustomBuild => return "",
            _ => {}
        }
    }
    "lib"
}

/// The file's name without cargo's hash.
pub fn stem(exe: &Path) -> String {
    memprof_harness::ledger::target_of(exe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::run_log::Trace;

    /// A package with a library and a binary of one name, in one file, and a test.
    fn package() -> Package {
        let target = |kind: &str, name: &str, source: &str| {
            serde_json::json!({
                "kind": [kind], "crate_types": ["bin"], "name": name, "src_path": source, "edition": "2024",
                "doc": true, "doctest": true, "test": true
            })
        };
        serde_json::from_value(serde_json::json!({
            "name": "my-crate", "version": "1.0.0", "id": "my-crate 1.0.0", "dependencies": [], "features": {},
            "manifest_path": "/w/Cargo.toml", "edition": "2024",
            "targets": [
                target("lib", "my_crate", "/w/src/lib.rs"),
                target("bin", "my-crate", "/w/src/lib.rs"),
                target("test", "my-crate", "/w/tests/my-crate.rs"),
                target("custom-build", "build-script-build", "/w/build.rs"),
            ]
        }))
        .unwrap()
    }

    fn ran(source: &str, bin_name: Option<&str>) -> Ran {
        let note = Note {
            crate_name: "my_crate".into(),
            source: source.into(),
            package: "my-crate".into(),
            manifest_dir: "/w".into(),
            bin_name: bin_name.map(str::to_owned),
            own_main: false,
            listed: None,
            doctest: None,
            unprofiled: None,
        };
        Ran {
            exe: ExecutablePath::resolve("/t/my_crate-1".as_ref()),
            note: Some(note),
            package: "my-crate".into(),
            manifest_dir: "/w".into(),
            remark: None,
            kept: None,
            leaves: Trace::Inventory,
            runner: String::new(),
        }
    }

    fn identified(ran: Ran) -> (String, String) {
        let package = package();
        let executable = name(ran, Some(&package), "/w".as_ref());
        (executable.target_kind, executable.target_name)
    }

    #[test]
    fn targets_of_one_name_are_told_apart() {
        assert_eq!(identified(ran("/w/src/lib.rs", None)), ("lib".into(), "my_crate".into()));
        assert_eq!(identified(ran("/w/src/lib.rs", Some("my-crate"))), ("bin".into(), "my-crate".into()));
        assert_eq!(identified(ran("/w/tests/my-crate.rs", None)), ("test".into(), "my-crate".into()));
    }

    #[test]
    fn a_doctest_is_named_by_its_library() {
        let doctest =
            Ran { exe: ExecutablePath::resolve("/t/rustdoctestX/rust_out".as_ref()), note: None, ..ran("", None) };
        assert!(doctest.is_doctest());
        assert_eq!(identified(doctest), ("doc".into(), "my_crate".into()));
    }

    #[test]
    fn an_executable_nobody_knows_keeps_its_files_name() {
        let stranger =
            Ran { exe: ExecutablePath::resolve("/t/x-0123456789abcdef".as_ref()), note: None, ..ran("", None) };
        assert_eq!(identified(stranger), ("test".into(), "x".into()));
    }
}
