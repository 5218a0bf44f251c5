//! The harness: the calls that it hooks, and the compilations that get it. Its sources are compiled once for a toolchain and a target
//! (`compile`), into a folder that is named after both (`fingerprint`), where the next run finds it (`built`, `cache`).

pub mod built;
pub mod cache;
pub mod compile;
pub mod compiler;
pub mod fingerprint;
mod libtest;
pub mod running;

use crate::inject::flags::PROGRAM_CRATE;
use memprof_harness::link_marker;
use std::path::{Path, PathBuf};

/// The version of the harness, which is this program's.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a harness is put under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Tests, by the name `test`.
    Test,
    /// Programs with a `main` of their own, and doctests.
    Program,
}

impl Form {
    pub const ALL: [Form; 2] = [Form::Test, Form::Program];

    pub(super) fn file_name(self) -> &'static str {
        match self {
            Form::Test => "libmemprof_harness.rlib",
            Form::Program => "lib__memprof_in_program.rlib",
        }
    }

    /// Its file in a [`place`](fingerprint::place). It is there, whole, or not at all.
    pub fn rlib(self, place: &Path) -> PathBuf {
        place.join(self.file_name())
    }

    /// What is in every executable in which it can be reached.
    pub fn link_marker(self) -> &'static [u8] {
        match self {
            Form::Test => link_marker::TESTS,
            Form::Program => link_marker::PROGRAM,
        }
    }

    /// Its name as a crate, for which alone unstable features are allowed.
    pub(super) fn crate_name(self) -> &'static str {
        match self {
            Form::Test => "memprof_harness",
            Form::Program => PROGRAM_CRATE,
        }
    }

    pub(super) fn flags(self) -> &'static [&'static str] {
        match self {
            Form::Test => &[],
            Form::Program => &["--cfg", "memprof_program"],
        }
    }
}

/// Why the C library's allocation functions cannot be hooked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unhookable {
    /// The C library is to be linked in.
    StaticLibc,
    /// A sanitizer, of this name, hooks them itself.
    Sanitizer(String),
}

/// Which calls the harness hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hooked {
    /// Those of Rust's global allocator, which the harness then is.
    Rust,
    /// Those of the C library's allocation functions, whatever the global allocator is.
    Native,
}

impl Hooked {
    /// What makes a harness of it. That all of it is one object has the linker take the native one's `malloc` along with what it
    /// is asked for.
    pub(super) fn flags(self) -> &'static [&'static str] {
        match self {
            Hooked::Rust => &[],
            Hooked::Native => &["--cfg", "memprof_native"],
        }
    }

    /// Why it cannot be had for `target`; `None` = it can.
    pub fn refusal(self, target: &str, unhookable: Option<&Unhookable>) -> Option<String> {
        match self {
            Hooked::Rust => None,
            // Other C libraries have no second name for their functions, and neither has glibc when it is linked in.
            Hooked::Native if !target.contains("-linux-gnu") => {
                Some(format!("the C library of `{target}` cannot be hooked, only glibc can"))
            }
            Hooked::Native => unhookable.map(|why| match why {
                Unhookable::StaticLibc => "a C library that is linked in (`crt-static`) cannot be hooked".into(),
                Unhookable::Sanitizer(name) => format!(
                    "the C library's functions are hooked by a sanitizer (`-Zsanitizer={name}`): `--native` is not for its programs"
                ),
            }),
        }
    }
}

/// What a source says that has a global allocator.
const ATTRIBUTE: &str = "global_allocator";

/// Whether the source of a crate's root seems to have a global allocator. The compiler alone knows.
pub fn names_an_allocator(source: &Path) -> bool {
    fs_err::read_to_string(source).is_ok_and(|text| text.contains(ATTRIBUTE))
}
