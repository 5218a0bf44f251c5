//! Finds the target that an executable was built from, and the folders with the user's own code. Both follow from `cargo metadata` and from
//! what the wrapper and the runner wrote down.

use crate::collect::run_facts::{KnownTarget, RanExecutable};
use crate::context::executable::ExecutablePath;
use crate::context::workspace::{Workspace, is_in};
use crate::protocol::build_record::BuildRecord;
use crate::protocol::library::Library;
use crate::protocol::run_log::RunLogEntry;
use cargo_metadata::{Package, Target, TargetKind};
use memprof_harness::ledger;
use memprof_profile::symbolize::SourceRoots;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Names what was run. Doctests of one package are one entry.
pub fn identify(workspace: &Workspace, run_log: Vec<RunLogEntry>) -> Vec<RanExecutable> {
    let mut strangers = HashMap::new();
    let mut named: Vec<RanExecutable> = Vec::new();
    for entry in run_log {
        let manifest_dir =
            entry.build_record.as_ref().map_or(&entry.manifest_dir, |build_record| &build_record.manifest_dir);
        let at_once = workspace.packages.iter().find(|package| is_in(package, manifest_dir));
        // Behind a link, cargo may have told us another path than it tells what it runs.
        let package = at_once.or_else(|| workspace.packages.iter().find(|package| is_at(package, manifest_dir)));
        let package = match package {
            Some(package) => Some(package),
            None => strangers.entry(manifest_dir.clone()).or_insert_with(|| workspace.stranger(manifest_dir)).as_ref(),
        };
        let executable = name(entry, package, workspace.root.as_std_path());
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

/// All targets, sorted. `everything` = the arguments chose nothing, and cargo came to its end: then a library that ran no doctests has none.
pub fn known(workspace: &Workspace, ran: &[RanExecutable], everything: bool) -> Vec<KnownTarget> {
    let mut known = BTreeMap::new();
    for package in &workspace.packages {
        for target in package.targets.iter().filter(|target| !kind(target).is_empty()) {
            let key = |kind: &str| (package.name.to_string(), target.name.clone(), kind.to_owned());
            known.insert(key(kind(target)), (false, None));
            if kind(target) == "lib" {
                known.insert(key("doc"), (everything && target.doctest, None));
            }
        }
    }
    for one in ran {
        let key = (one.package.clone(), one.target_name.clone(), one.target_kind.clone());
        let (ran, unit) = known.entry(key).or_default();
        *ran = true;
        if let (None, Some(one)) = (&unit, &one.unit) {
            *unit = Some(one.clone());
        }
    }
    let named = |((package, target, kind), (ran, unit))| KnownTarget { package, target, kind, ran, unit };
    known.into_iter().map(named).collect()
}

/// Where the user's own code is: the root, and the folders of members that lie beside it.
pub fn source_roots(workspace: &Workspace) -> SourceRoots {
    let folders = workspace.packages.iter().filter_map(|package| package.manifest_path.parent());
    let mut beside: Vec<PathBuf> =
        folders.filter(|folder| !folder.starts_with(&workspace.root)).map(|folder| folder.into()).collect();
    beside.sort();
    SourceRoots { workspace: workspace.root.clone().into(), beside }
}

fn is_at(package: &Package, manifest_dir: &Path) -> bool {
    package.manifest_path.parent().is_some_and(|folder| resolved(folder.as_std_path()) == resolved(manifest_dir))
}

fn name(entry: RunLogEntry, package: Option<&Package>, root: &Path) -> RanExecutable {
    let doctest = entry.is_doctest();
    let package_name = package.map(|package| package.name.to_string());
    let Some(build_record) = entry.build_record else {
        let library = package.and_then(|package| package.targets.iter().find(|target| kind(target) == "lib"));
        let reason = match doctest {
            true => "doctests are run by rustdoc, without the harness",
            false => "it was not compiled in this build folder under `cargo memprof`",
        };
        return RanExecutable {
            target_name: match library {
                Some(library) if doctest => library.name.clone(),
                _ => ledger::target_of(entry.exe.as_path()),
            },
            exe: if doctest { ExecutablePath::default() } else { entry.exe },
            package: package_name.unwrap_or(entry.package),
            target_kind: if doctest { "doc" } else { "test" }.to_owned(),
            doctests: Vec::new(),
            profiled: false,
            reason: Some(reason.to_owned()),
            remark: entry.remark,
            listed: false,
            kept: entry.kept,
            leaves: entry.leaves,
            runner: entry.runner,
            unit: None,
        };
    };
    if let Some(doctest) = &build_record.doctest {
        let library = package.and_then(|package| package.targets.iter().find(|target| kind(target) == "lib"));
        return RanExecutable {
            target_name: library.map_or_else(|| build_record.package.clone(), |library| library.name.clone()),
            exe: entry.exe,
            package: package_name.unwrap_or(build_record.package),
            target_kind: "doc".to_owned(),
            doctests: doctest.names(root),
            profiled: build_record.unprofiled.is_none(),
            reason: build_record.unprofiled,
            remark: entry.remark,
            listed: false,
            kept: entry.kept,
            leaves: entry.leaves,
            runner: entry.runner,
            unit: Library::read(&doctest.list).map(|library| library.unit),
        };
    }
    let target = package.and_then(|package| target_of(package, &build_record));
    RanExecutable {
        doctests: Vec::new(),
        exe: entry.exe,
        package: package_name.unwrap_or(build_record.package),
        target_kind: target.map_or(if build_record.bin_name.is_some() { "bin" } else { "test" }, kind).to_owned(),
        target_name: target.map_or(build_record.crate_name, |target| target.name.clone()),
        profiled: build_record.unprofiled.is_none(),
        reason: build_record.unprofiled,
        remark: entry.remark,
        listed: build_record.listed.is_some(),
        kept: entry.kept,
        leaves: entry.leaves,
        runner: entry.runner,
        unit: build_record.unit,
    }
}

/// The target that was compiled. Several may share a file; the crate's name and whether it is a binary tell them
/// apart.
fn target_of<'a>(package: &'a Package, build_record: &BuildRecord) -> Option<&'a Target> {
    let crate_name = |target: &Target| target.name.replace('-', "_");
    let mut near: Vec<&Target> = package
        .targets
        .iter()
        .filter(|target| crate_name(target) == build_record.crate_name && !kind(target).is_empty())
        .collect();
    let narrow = |near: &mut Vec<&'a Target>, fits: &dyn Fn(&Target) -> bool| {
        if near.iter().any(|target| fits(target)) {
            near.retain(|target| fits(target));
        }
    };
    // Cargo may have been told one path of the package, and the compiler run behind another.
    let source = resolved(&build_record.source);
    narrow(&mut near, &|target| resolved(target.src_path.as_std_path()) == source);
    narrow(&mut near, &|target| (kind(target) == "bin") == build_record.bin_name.is_some());
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

    fn entry(source: &str, bin_name: Option<&str>) -> RunLogEntry {
        let build_record = BuildRecord {
            crate_name: "my_crate".into(),
            source: source.into(),
            package: "my-crate".into(),
            manifest_dir: "/w".into(),
            bin_name: bin_name.map(str::to_owned),
            own_main: false,
            listed: None,
            doctest: None,
            unprofiled: None,
            unit: None,
        };
        RunLogEntry {
            exe: ExecutablePath::resolve("/t/my_crate-1".as_ref()),
            build_record: Some(build_record),
            package: "my-crate".into(),
            manifest_dir: "/w".into(),
            remark: None,
            kept: None,
            leaves: Trace::Inventory,
            runner: String::new(),
            backtraces: false,
        }
    }

    fn identified(entry: RunLogEntry) -> (String, String) {
        let package = package();
        let executable = name(entry, Some(&package), "/w".as_ref());
        (executable.target_kind, executable.target_name)
    }

    #[test]
    fn targets_of_one_name_are_told_apart() {
        assert_eq!(identified(entry("/w/src/lib.rs", None)), ("lib".into(), "my_crate".into()));
        assert_eq!(identified(entry("/w/src/lib.rs", Some("my-crate"))), ("bin".into(), "my-crate".into()));
        assert_eq!(identified(entry("/w/tests/my-crate.rs", None)), ("test".into(), "my-crate".into()));
    }

    #[test]
    fn a_doctest_is_named_by_its_library() {
        let doctest = RunLogEntry {
            exe: ExecutablePath::resolve("/t/rustdoctestX/rust_out".as_ref()),
            build_record: None,
            ..entry("", None)
        };
        assert!(doctest.is_doctest());
        assert_eq!(identified(doctest), ("doc".into(), "my_crate".into()));
    }

    #[test]
    fn an_executable_nobody_knows_keeps_its_files_name() {
        let stranger = RunLogEntry {
            exe: ExecutablePath::resolve("/t/x-0123456789abcdef".as_ref()),
            build_record: None,
            ..entry("", None)
        };
        assert_eq!(identified(stranger), ("test".into(), "x".into()));
    }
}
