//! The compiler that cargo will use: its version, its host and its sysroot, as it prints them.

use crate::context::env;
use crate::context::options;
use crate::ui::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// See the head of this file.
#[derive(Debug, Clone)]
pub struct Toolchain {
    /// What to call; a bare name is looked for in PATH, as cargo does.
    pub rustc: OsString,
    /// All of `rustc -vV`.
    pub verbose: String,
    /// `rustc 1.95.0 (59807616e 2026-04-14)`.
    pub version: String,
    /// `1.95.0`, or `1.97.0-nightly`.
    pub release: String,
    /// The triple of this machine.
    pub host: String,
    pub sysroot: PathBuf,
}

impl Toolchain {
    /// Asks `rustc`, in the folder the user stands in, where a toolchain file or an override counts.
    ///
    /// # Errors
    /// Where it cannot be run, or is too old for the harness.
    pub fn ask(rustc: OsString) -> Result<Toolchain, Error> {
        let (verbose, sysroot) = std::thread::scope(|scope| {
            let sysroot = scope.spawn(|| output_of(&rustc, &["--print", "sysroot"]));
            let verbose = output_of(&rustc, &["-vV"]);
            (verbose, sysroot.join())
        });
        let verbose = verbose?;
        let sysroot = sysroot.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let field = |name: &str| {
            let value = verbose.lines().find_map(|line| line.strip_prefix(name));
            value.map(|value| value.trim().to_owned()).ok_or_else(|| {
                Error::new(format!("cannot use the compiler `{}`", options::shown([rustc.as_os_str()])))
                    .caused_by(format!("`rustc -vV` has no line `{name}`"))
            })
        };
        let (release, host) = (field("release:")?, field("host:")?);
        let version = verbose.lines().next().unwrap_or_default().to_owned();
        let toolchain = Toolchain { release, host, version, sysroot: sysroot.trim().into(), verbose, rustc };
        toolchain.refuse_if_too_old()?;
        Ok(toolchain)
    }

    /// The release; of one that changes under its name, as nightlies do, with the date of its last commit.
    pub fn named(&self) -> String {
        let date = self.verbose.lines().find_map(|line| line.strip_prefix("commit-date:")).unwrap_or_default().trim();
        if self.release.contains('-') { format!("{} {date}", self.release) } else { self.release.clone() }
    }

    /// It takes unstable options by itself.
    pub fn is_nightly(&self) -> bool {
        ["nightly", "dev"].iter().any(|channel| self.release.contains(channel))
    }

    fn refuse_if_too_old(&self) -> Result<(), Error> {
        let least = memprof_harness::sources::RUST_VERSION;
        if minor_version(&self.release) >= minor_version(least) {
            return Ok(());
        }
        Err(Error::new("cannot profile with this compiler")
            .caused_by(format!("it is {}; the harness needs rustc {least} or newer", self.version))
            .help("choose a newer one: `cargo +stable memprof test`"))
    }
}

/// Flags that are newer than the oldest Rust whose crates are profiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takes {
    /// `--check-cfg`, since 1.80. Before, no compiler warned of conditions it was not told of.
    pub check_cfg: bool,
    /// `-Cforce-frame-pointers=non-leaf`, which came some releases after the yes and no.
    pub non_leaf: bool,
}

impl Takes {
    /// What a compiler takes that says `rustc 1.95.0 (59807616e 2026-04-14)` of itself; all of it, where that has no number.
    pub fn of(version: &str) -> Takes {
        let release = version.split_whitespace().nth(1).and_then(minor_version);
        let since = |least| release.is_none_or(|release| release >= least);
        Takes { check_cfg: since((1, 80)), non_leaf: since((1, 82)) }
    }
}

/// Major and minor number of a release; `None` where the text has none.
fn minor_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn output_of(rustc: &OsString, args: &[&str]) -> Result<String, Error> {
    let mut command = Command::new(rustc);
    command.args(args);
    let shown = options::shown(std::iter::once(command.get_program()).chain(command.get_args()));
    let failed = || Error::new(format!("cannot ask the compiler `{shown}`"));
    let output = command.output().map_err(|error| {
        failed().caused_by(error).help(format!("install Rust, or set `{}` to a compiler", env::RUSTC))
    })?;
    if !output.status.success() {
        return Err(failed().caused_by(String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        assert!(minor_version("1.100.0-nightly") > minor_version("1.88"));
        assert!(minor_version("1.87.0") < minor_version("1.88"));
        assert_eq!(minor_version("dev"), None);
    }

    #[test]
    fn an_old_compiler_is_given_no_flag_that_it_does_not_know() {
        let takes = |version| {
            let Takes { check_cfg, non_leaf } = Takes::of(version);
            [check_cfg, non_leaf]
        };
        assert_eq!(takes("rustc 1.79.0 (129f3b996 2024-06-10)"), [false, false]);
        assert_eq!(takes("rustc 1.80.1 (3f5fd8dd4 2024-08-06)"), [true, false]);
        assert_eq!(takes("rustc 1.100.0-nightly (0a1b2c3d4 2026-09-01)"), [true, true]);
        assert_eq!(takes("rustc at home"), [true, true]);
    }
}
