//! Every environment variable that is read, set or put back, one constant each, and the putting back. The variables
//! through which a test executable is spoken to are the harness's: `memprof_harness::environment`.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::process::Command;

/// Read: the cargo that called us; without it, `cargo` is looked for in PATH. Set for recorded tests, and for the
/// compilation of programs, to what stands in for that cargo: `cargo_shim`.
pub const CARGO: &str = "CARGO";
/// Read, and set for recorded tests: where programs are found. See [`CARGO`].
pub const PATH: &str = "PATH";
/// Set for questions on behalf of a `cargo +toolchain`, as rustup does.
pub const RUSTUP_TOOLCHAIN: &str = "RUSTUP_TOOLCHAIN";
/// Read: the user's rustc, as cargo reads it.
pub const RUSTC: &str = "RUSTC";
/// Read: the same as a configuration value.
pub const CARGO_BUILD_RUSTC: &str = "CARGO_BUILD_RUSTC";
/// Read, set to this program while cargo runs, put back for every test: the user's own wrapper is called by ours.
pub const RUSTC_WRAPPER: &str = "RUSTC_WRAPPER";
/// Read: the same as a configuration value.
pub const CARGO_BUILD_RUSTC_WRAPPER: &str = "CARGO_BUILD_RUSTC_WRAPPER";
/// Set for two processes of our own only: `cargo config get` and the compilation of the harness.
pub const RUSTC_BOOTSTRAP: &str = "RUSTC_BOOTSTRAP";
/// Read: where cargo keeps what it builds, apart from the target folder; overruled, so that our build stays apart.
pub const CARGO_BUILD_BUILD_DIR: &str = "CARGO_BUILD_BUILD_DIR";
/// Read: targets to build for where no `--target` is given.
pub const CARGO_BUILD_TARGET: &str = "CARGO_BUILD_TARGET";
/// Read: where no `--color` and no `--quiet` is given.
pub const CARGO_TERM_COLOR: &str = "CARGO_TERM_COLOR";
/// See [`CARGO_TERM_COLOR`].
pub const CARGO_TERM_QUIET: &str = "CARGO_TERM_QUIET";
/// Read: where caches go.
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Read: where caches go otherwise.
pub const HOME: &str = "HOME";
/// With `--native`, read, set while cargo runs, put back for every test: flags for C code that build scripts compile.
pub const CFLAGS: &str = "CFLAGS";
/// The same for C++.
pub const CXXFLAGS: &str = "CXXFLAGS";
/// Ours. Set while cargo runs, taken away before every test: the path of the plan, by which the calls of this program
/// as wrapper and as runner know of the run they belong to.
pub const PLAN: &str = "CARGO_MEMPROF_PLAN";
/// Ours. Read: how executables with libtest are recorded, see `libtest::Way`.
pub const CARGO_MEMPROF_LIBTEST: &str = "CARGO_MEMPROF_LIBTEST";
/// Ours. Set for the compiler and the runner of doctests: the file their names are in.
pub const DOCTESTS: &str = "CARGO_MEMPROF_DOCTESTS";
/// Ours. Set for a program of several doctests whose processes are to be started by us: the program itself.
pub const DOCTEST_PROGRAM: &str = "CARGO_MEMPROF_DOCTEST_PROGRAM";
/// Read where we start such a process: set by the program, which of its doctests it is.
pub const RUSTDOC_DOCTEST_RUN_NB_TEST: &str = "RUSTDOC_DOCTEST_RUN_NB_TEST";
/// Read: the user's rustdoc, as cargo reads it. Set to this program while cargo runs, put back for every test.
pub const RUSTDOC: &str = "RUSTDOC";
/// Read: the same as a configuration value.
pub const CARGO_BUILD_RUSTDOC: &str = "CARGO_BUILD_RUSTDOC";
/// Set for the program by which rustdoc runs doctests that it compiled as one, as rustdoc itself sets it where it knows
/// of no runner: by this they run in a process each.
pub const RUSTDOC_DOCTEST_BIN_PATH: &str = "RUSTDOC_DOCTEST_BIN_PATH";
/// Read in the wrapper: set by cargo where the package has a build script.
pub const OUT_DIR: &str = "OUT_DIR";
/// Read in the runner: whether the tests' programs capture backtraces, which allocate.
pub const RUST_BACKTRACE: &str = "RUST_BACKTRACE";
/// Read in the runner: the same for `std::backtrace` alone, where it wins.
pub const RUST_LIB_BACKTRACE: &str = "RUST_LIB_BACKTRACE";
/// Read in the wrapper and the runner: the package that cargo compiles or tests.
pub const CARGO_PKG_NAME: &str = "CARGO_PKG_NAME";
/// See [`CARGO_PKG_NAME`].
pub const CARGO_MANIFEST_DIR: &str = "CARGO_MANIFEST_DIR";
/// Read in the wrapper: set by cargo for the compilation of a binary, and only then.
pub const CARGO_BIN_NAME: &str = "CARGO_BIN_NAME";
/// libtest's: set to 1 in a deterministic run, where the user has not set it.
pub const RUST_TEST_THREADS: &str = "RUST_TEST_THREADS";
/// Read by the gate: set to `true` by GitHub's runners, whose log takes annotations.
pub const GITHUB_ACTIONS: &str = "GITHUB_ACTIONS";
/// Read by the gate: the checkout on GitHub's runners, to which names in annotations are relative.
pub const GITHUB_WORKSPACE: &str = "GITHUB_WORKSPACE";
/// Read by the gate: the file on GitHub's runners that Markdown is appended to.
pub const GITHUB_STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// Cargo's variable for the runner of executables of the target `triple`. Set to this program while cargo runs, put
/// back for every test.
pub fn runner_of(triple: &str) -> String {
    let name: String =
        triple.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("CARGO_TARGET_{name}_RUNNER")
}

/// Flags for C code, with the one by which stacks are followed through it as well.
pub fn with_frame_pointers(flags: Option<String>) -> String {
    format!("{} -fno-omit-frame-pointer", flags.unwrap_or_default()).trim_start().to_owned()
}

/// `RUSTC_BOOTSTRAP` for a call of the compiler that makes `krate` and is to take unstable options, where the user has `set` it or
/// not: the crate by its name as rustc is given it, so that the compiler treats no other crate differently.
pub fn bootstrap(set: Option<OsString>, krate: &str) -> OsString {
    match set.as_ref().and_then(|set| set.to_str()) {
        // All crates are allowed already.
        Some("1") => "1".into(),
        // `-1` = the compiler is to take itself for a stable one.
        None | Some("" | "-1") => krate.into(),
        Some(crates) => format!("{crates},{krate}").into(),
    }
}

/// A variable that is set and not empty.
pub fn non_empty(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Variables as the user had them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Name and value; `None` = it was not set, which is another thing than empty.
    variables: Vec<(String, Option<OsString>)>,
}

impl Saved {
    /// Takes down `names` as `look_up` has them.
    pub fn capture(names: impl IntoIterator<Item = String>, look_up: impl Fn(&str) -> Option<OsString>) -> Saved {
        Saved { variables: names.into_iter().map(|name| (name.clone(), look_up(&name))).collect() }
    }

    /// The value of one of them; `None` = it was not set, or is not among them.
    pub fn value(&self, name: &str) -> Option<&OsString> {
        self.variables.iter().find(|(found, _)| found == name).and_then(|(_, value)| value.as_ref())
    }

    /// Puts the variables back for `command`.
    pub fn restore(&self, command: &mut Command) {
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn a_runners_variable_is_spelt_as_cargo_spells_it() {
        assert_eq!(runner_of("x86_64-unknown-linux-gnu"), "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER");
        assert_eq!(runner_of("thumbv8m.main-none-eabi"), "CARGO_TARGET_THUMBV8M_MAIN_NONE_EABI_RUNNER");
    }

    #[test]
    fn one_more_crate_is_allowed_unstable_features_and_no_other() {
        let allowed = |set: Option<&str>| bootstrap(set.map(OsString::from), "p_x");
        assert_eq!([None, Some(""), Some("-1")].map(allowed), ["p_x"; 3]);
        assert_eq!(allowed(Some("1")), "1");
        assert_eq!(allowed(Some("a,b")), "a,b,p_x");
    }

    #[test]
    fn unset_empty_and_set_variables_come_back_as_they_were() {
        let names = ["UNSET", "EMPTY", "SET"].map(String::from);
        let saved = Saved::capture(names, |name| match name {
            "EMPTY" => Some(OsString::new()),
            "SET" => Some("x y".into()),
            _ => None,
        });
        let saved: Saved = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
        let mut command = Command::new("true");
        saved.restore(&mut command);
        let mut set: Vec<(&OsStr, Option<&OsStr>)> = command.get_envs().collect();
        set.sort();
        assert_eq!(
            set,
            [("EMPTY".as_ref(), Some("".as_ref())), ("SET".as_ref(), Some("x y".as_ref())), ("UNSET".as_ref(), None)]
        );
    }
}
