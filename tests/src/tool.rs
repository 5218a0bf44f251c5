//! The program under test, and the other tools on this machine.

use crate::{command, workspace};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

/// The folder with a freshly built `cargo-memprof`, for PATH.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Cargo gives a test the programs of its own package only, so this one is asked for.
        let built_into = workspace::built_into();
        cargo(&["build", "--quiet", "--package", "cargo-memprof"]);
        let program = built_into.join("cargo-memprof");
        assert!(program.exists(), "cargo did not put `{}` there", program.display());
        built_into.to_owned()
    })
}

/// Runs a cargo command on this workspace, in the profile and the target folder of the tests themselves, so that what is
/// compiled already is used. It must succeed.
pub fn cargo(arguments: &[&str]) {
    let built_into = workspace::built_into();
    let profile = match built_into.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    command::clean(&mut cargo);
    cargo.current_dir(workspace::root()).args(arguments);
    cargo.args(["--profile", profile, "--target-dir"]).arg(built_into.parent().unwrap_or(built_into));
    let output = cargo.output().expect("cargo starts");
    assert!(output.status.success(), "{cargo:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// PATH with the program under test in front.
pub fn path() -> OsString {
    let before = env::var_os("PATH").unwrap_or_default();
    let folders = [folder().to_owned()].into_iter().chain(env::split_paths(&before));
    env::join_paths(folders).expect("a path that came from PATH can go back")
}

/// Where the harness is cached: one for all stories, apart from the user's.
pub fn cache() -> PathBuf {
    let cache = workspace::scratch().join("cache");
    fs::create_dir_all(&cache).expect("the target folder can be written to");
    cache
}

/// Whether `program` can be run. Where it cannot, says on the terminal what is skipped.
pub fn has(program: &str, arguments: &[&str], skipped: &str) -> bool {
    let mut command = Command::new(program);
    command::clean(&mut command);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let there = command.status().is_ok_and(|status| status.success());
    if !there {
        eprintln!("skipped: {skipped}, because `{program} {}` does not work here", arguments.join(" "));
    }
    there
}

/// The triple of this machine.
pub fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}
