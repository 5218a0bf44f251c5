//! The flags that we add to compilations of the user's crates, and the name by which a program knows its harness.

use crate::context::toolchain::Takes;

/// The name as a crate of the harness for programs, which no crate of the user's has: a program may well depend on
/// `memprof-harness`.
pub const PROGRAM_CRATE: &str = "__memprof_in_program";

/// Flags for everything the user compiles: stacks are walked by frame pointers and named by line tables. They go
/// last, where they win over the profile's and the user's own.
pub const CODEGEN: [&str; 8] =
    ["-C", "force-frame-pointers=yes", "-C", "debuginfo=limited", "-C", "strip=none", "-C", "split-debuginfo=off"];

/// So that a crate can tell, as with `cfg(miri)`.
const CFG: [&str; 2] = ["--cfg", "memprof"];
/// So that it is not warned of it.
const CHECK_CFG: [&str; 2] = ["--check-cfg", "cfg(memprof)"];

/// For a stable compiler that is made to take unstable options: since Rust 1.93 it then names symbols as a nightly one does,
/// and a program that prints a backtrace would print another. To go when stable compilers do so too.
pub const MANGLING: [&str; 2] = ["-C", "symbol-mangling-version=legacy"];

/// What all the flags are, for the fingerprint.
pub fn flags_in_words() -> String {
    CODEGEN.iter().chain(&CFG).chain(&CHECK_CFG).chain(&MANGLING).copied().collect::<Vec<_>>().join(" ")
}

/// What everything the user compiles is given.
pub fn for_all(takes: Takes) -> impl Iterator<Item = &'static str> {
    let check_cfg = CHECK_CFG.into_iter().filter(move |_| takes.check_cfg);
    CODEGEN.into_iter().chain(CFG).chain(check_cfg)
}
