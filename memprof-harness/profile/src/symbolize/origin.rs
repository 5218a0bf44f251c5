//! The origin of a source file: the workspace, a dependency, std, or code that is not Rust.

use crate::model::function::Origin;
use std::path::{Path, PathBuf};

/// Where the user's own code is.
#[derive(Debug, Clone)]
pub struct SourceRoots {
    /// Root of the workspace under test, absolute.
    pub workspace: PathBuf,
    /// Folders of members that lie beside it, absolute.
    pub beside: Vec<PathBuf>,
}

/// Parts of a path that only sources of the standard library have: as shipped, from the `rust-src` component, and
/// the crates that std itself is built from.
const STD: &[&str] = &["/rustc/", "/lib/rustlib/src/rust/library/", "/rust/deps/"];
/// Parts of a path that only dependencies have.
const DEPENDENCIES: &[&str] = &["/registry/src/", "/git/checkouts/"];
/// Folders of a workspace that hold other people's code.
const VENDORED: &[&str] = &["vendor", "third_party"];

impl SourceRoots {
    /// Whose code `function` of `file` is; `file` is empty where it is not known.
    pub fn origin(&self, function: &str, file: &str) -> Origin {
        if file.is_empty() {
            return from_name(function);
        }
        if is_of_std(file) {
            return Origin::Std;
        }
        if !file.ends_with(".rs") {
            return Origin::Native;
        }
        let path = Path::new(file);
        if path.is_relative() {
            return Origin::Workspace;
        }
        let roots = std::iter::once(&self.workspace).chain(&self.beside);
        if let Some(inside) = roots.filter_map(|root| path.strip_prefix(root).ok()).next() {
            let first = inside.components().next().map(|part| part.as_os_str());
            let vendored = VENDORED.iter().any(|folder| first == Some(folder.as_ref()));
            // A target folder or a cargo home inside the workspace holds downloaded sources like any other.
            let downloaded = DEPENDENCIES.iter().any(|part| inside.to_string_lossy().contains(part));
            return if vendored || downloaded { Origin::Dependency } else { Origin::Workspace };
        }
        Origin::Dependency
    }
}

/// Whether the file is one of the standard library, or of the crates that it is built from.
fn is_of_std(file: &str) -> bool {
    // Whoever builds a toolchain from its release has the sources in a folder named after it: `rustc-1.96.0`, `rustc-1.96.0-src`.
    let of_a_release = |part: &str| {
        part.strip_prefix("rustc-").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    let mut parts = file.split('/');
    STD.iter().any(|part| file.contains(part))
        || parts.any(of_a_release) && parts.next().is_some_and(|folder| ["library", "vendor"].contains(&folder))
}

/// All there is to go by where no file is known.
fn from_name(function: &str) -> Origin {
    let path = function.trim_start_matches(['<', '&']);
    let std = ["std::", "core::", "alloc::", "__rustc::", "__rust_"].iter().any(|start| path.starts_with(start));
    if std { Origin::Std } else { Origin::Native }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_belongs_to_whoever_owns_its_file() {
        let source_roots = SourceRoots { workspace: "/home/me/app".into(), beside: vec!["/home/me/member".into()] };
        let of = |file| source_roots.origin("f", file);
        assert_eq!(of("/home/me/app/src/lib.rs"), Origin::Workspace);
        assert_eq!(of("src/lib.rs"), Origin::Workspace);
        assert_eq!(of("/home/me/member/src/lib.rs"), Origin::Workspace);
        assert_eq!(of("/home/me/member/vendor/serde/src/lib.rs"), Origin::Dependency);
        assert_eq!(of("/home/me/app/vendor/serde/src/lib.rs"), Origin::Dependency);
        assert_eq!(of("/home/me/.cargo/registry/src/index.crates.io-1/serde-1.0.0/src/lib.rs"), Origin::Dependency);
        assert_eq!(of("/home/me/other/src/lib.rs"), Origin::Dependency);
        assert_eq!(of("/rustc/0123/library/alloc/src/vec/mod.rs"), Origin::Std);
        assert_eq!(of("/usr/src/rustc-1.96.0/library/alloc/src/vec/mod.rs"), Origin::Std);
        assert_eq!(of("/usr/src/debug/rust-1.96.0/rustc-1.96.0-src/vendor/hashbrown-0.16.0/src/lib.rs"), Origin::Std);
        assert_eq!(of("/home/me/.cargo/registry/src/i/rustc-hash-2.1.0/src/lib.rs"), Origin::Dependency);
        assert_eq!(of("/home/me/app/zlib/inflate.c"), Origin::Native);
        assert_eq!(source_roots.origin("<alloc::vec::Vec<T> as Drop>::drop", ""), Origin::Std);
        assert_eq!(source_roots.origin("start_thread", ""), Origin::Native);
    }
}
