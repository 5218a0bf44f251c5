//! What `cargo install cargo-memprof` puts on a machine works there: without this tree, and without the network.

use memprof_tests::fixture::Fixture;
use memprof_tests::{command, tool, workspace};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};
use tempfile::TempDir;

/// The packages of all crates, unpacked into `folder` as a registry would give them out.
fn unpacked(folder: &Path) -> [PathBuf; 5] {
    let mut package = Command::new("cargo");
    command::clean(&mut package);
    package.current_dir(workspace::root()).args(["package", "--workspace", "--exclude", "memprof-tests"]);
    // Compiling them is what the rest of the story does.
    package.args(["--no-verify", "--allow-dirty", "--offline", "--quiet", "--target-dir"]).arg(folder);
    succeed(&mut package);
    NAMES.map(|name| {
        let crates = fs::read_dir(folder.join("package")).expect("packages").map(|entry| entry.expect("one").path());
        let prefix = format!("{name}-");
        let named = |path: &PathBuf| {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let version = file.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".crate"));
            version.is_some_and(|version| version.starts_with(|letter: char| letter.is_ascii_digit()))
        };
        let archive = crates.into_iter().find(named).expect("one package for each");
        succeed(Command::new("tar").arg("xzf").arg(&archive).current_dir(folder));
        let unpacked = archive.file_stem().expect("a name").to_owned();
        folder.join(unpacked)
    })
}

const NAMES: [&str; 5] = ["memprof-harness", "memprof-profile", "memprof-macros", "memprof", "cargo-memprof"];
/// Where they are in the workspace.
const FOLDERS: [&str; 5] = [
    "memprof-harness",
    "memprof-harness/profile",
    "memprof-harness/live/macros",
    "memprof-harness/live",
    "cargo-memprof",
];

fn succeed(command: &mut Command) {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Every file below `folder`, relative to it.
fn files(folder: &Path, below: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder.join(below)).expect("it is there") {
        let entry = entry.expect("one");
        let path = Path::new(below).join(entry.file_name()).to_string_lossy().into_owned();
        if entry.path().is_dir() { files(folder, &path, found) } else { found.push(path) }
    }
}

#[test]
fn the_packages_hold_every_source() {
    let temporary = TempDir::new().expect("a temporary folder");
    for (package, name) in unpacked(temporary.path()).into_iter().zip(FOLDERS) {
        let mut sources = Vec::new();
        files(&workspace::root().join(name), "src", &mut sources);
        assert!(!sources.is_empty());
        for source in sources.iter().map(String::as_str).chain(["README.md", "LICENSE-MIT", "LICENSE-APACHE"]) {
            assert!(package.join(source).exists(), "{source} is not in the package {name}");
        }
    }
}

/// Has the package that is unpacked at `package` take `name` from `place`.
fn take_from(package: &Path, name: &str, place: &Path) {
    let manifest = package.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    let dependency = format!("[dependencies.{name}]\n");
    let patched = text.replacen(&dependency, &format!("{dependency}path = {:?}\n", place.display().to_string()), 1);
    assert_ne!(text, patched);
    fs::write(&manifest, patched).expect("it is ours");
}

/// In a lock file, a package without source and checksum is one at a path.
fn forget_registry(lock: &Path, names: &[&str]) {
    let text = fs::read_to_string(lock).expect("programs are packaged with their lock file");
    let packages = text.split("\n\n").map(|package| {
        if !names.iter().any(|name| package.contains(&format!("name = {name:?}\n"))) {
            return package.to_owned();
        }
        let of_registry = |line: &&str| line.starts_with("source = ") || line.starts_with("checksum = ");
        package.lines().filter(|line| !of_registry(line)).collect::<Vec<_>>().join("\n")
    });
    fs::write(lock, packages.collect::<Vec<_>>().join("\n\n")).expect("it is ours");
}

#[test]
fn an_installed_program_profiles_a_crate() {
    let temporary = TempDir::new().expect("a temporary folder");
    let [harness, profile, _, _, program] = unpacked(temporary.path());
    let manifest = program.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    // Under another name, since it shares the target folder, for the sake of its dependencies, with what the other
    // stories are about.
    let renamed = text.replacen("[[bin]]\nname = \"cargo-memprof\"", "[[bin]]\nname = \"packaged-memprof\"", 1);
    assert_ne!(text, renamed);
    fs::write(&manifest, renamed).expect("it is ours");
    // What it depends on of ours is not in any registry yet, and comes from its own package.
    take_from(&program, "memprof-harness", &harness);
    take_from(&program, "memprof-profile", &profile);
    take_from(&profile, "memprof-harness", &harness);
    forget_registry(&program.join("Cargo.lock"), &["memprof-harness", "memprof-profile"]);
    let root = temporary.path().join("root");
    let [path, root_text] = [&program, &root].map(|path| path.to_string_lossy().into_owned());
    tool::cargo(&[
        "install",
        "--quiet",
        "--offline",
        "--path",
        &path,
        "--root",
        &root_text,
        "--locked",
        "--config",
        "profile.dev.debug='line-tables-only'",
    ]);
    let bin = root.join("bin");
    fs::rename(bin.join("packaged-memprof"), bin.join("cargo-memprof")).expect("it was installed");
    // Nothing of where it came from is left.
    fs::remove_dir_all(&program).expect("it is ours");

    let fixture = Fixture::copy("known");
    let before = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([bin].into_iter().chain(env::split_paths(&before))).expect("they came from PATH");
    let cache = temporary.path().join("cache");
    let call = fixture.memprof("test --memprofilerate 1 --offline").env("PATH", path).env("XDG_CACHE_HOME", &cache);
    let _ = call.succeed().complains("Compiling memprof-harness");
    assert_eq!(fixture.summary().test("tests::growing_vec").metrics().alloc_space, 1008);
    assert!(fs::read_dir(cache.join("cargo-memprof")).expect("the harness").count() > 0);
}
