//! Starting programs as a user would: without what the cargo that runs the tests has put into the environment.

use std::env;
use std::process::Command;

/// What must not leak into the programs under test: all that cargo, rustup's proxies and the user of the test suite set
/// for their own purposes.
const PREFIXES: &[&str] =
    &["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUST_", "MEMPROF", "__CARGO", "NEXTEST", "GITHUB", "GIT_"];
const NAMES: &[&str] = &["LD_LIBRARY_PATH", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "MAKEFLAGS", "MFLAGS", "TARGET"];
/// Where registry and toolchains are. The toolchain of the test run is kept too: `RUSTUP_TOOLCHAIN` has no such prefix.
const KEPT: &[&str] = &["CARGO_HOME"];

/// Takes everything out of the command's environment that a user's shell would not have.
pub fn clean(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let leaks = PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&&*name);
        if leaks && !KEPT.contains(&&*name) {
            command.env_remove(&*name);
        }
    }
}
