//! Fingerprints. The folder of a harness is named after everything on which the harness depends. The folder in which cargo builds the objects
//! that link with it is named after everything on which those objects depend.

use super::compile::{FLAGS, FRAME_POINTERS};
use super::{Form, Hooked, VERSION};
use crate::context::toolchain::Toolchain;
use crate::inject::flags;
use crate::protocol::way::Way;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A hash of everything the harness and the wrapper do to a compilation.
pub fn fingerprint() -> u64 {
    let mut hasher = DefaultHasher::new();
    memprof_harness::sources::FILES.hash(&mut hasher);
    FLAGS.hash(&mut hasher);
    FRAME_POINTERS.hash(&mut hasher);
    (memprof_harness::libtest_shapes::SHAPES, memprof_harness::libtest_shapes::ALLOC_ERROR_HOOK).hash(&mut hasher);
    Form::ALL.map(Form::flags).hash(&mut hasher);
    [Hooked::Rust, Hooked::Native].map(Hooked::flags).hash(&mut hasher);
    flags::flags_in_words().hash(&mut hasher);
    hasher.finish()
}

/// What objects that the harness is linked with must have been built with. A toolchain is not in it: that cargo sees to.
/// Nor is what it leads to that its libtest has no shape that is known.
pub fn build_key(way: Way) -> String {
    // With `auto` they may have been left to the list, which `wrap` forbids.
    let way = match way {
        Way::Auto => "",
        Way::Wrap => " wrap",
        Way::List => " list",
    };
    format!("{VERSION} {:016x}{way}\n", fingerprint())
}

/// The place of the harnesses of `toolchain` for `target` in `cache`: a folder, with those of both forms that were needed so far.
pub fn place(cache: &Path, toolchain: &Toolchain, target: &str, hooked: Hooked) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (fingerprint(), hooked, &toolchain.verbose, &toolchain.sysroot, target, VERSION).hash(&mut hasher);
    // A toolchain built at home may change without changing its version.
    let library = toolchain.sysroot.join("lib/rustlib").join(target).join("lib");
    let changed = fs_err::metadata(library).and_then(|library| library.modified()).ok();
    changed.and_then(|changed| changed.duration_since(UNIX_EPOCH).ok()).hash(&mut hasher);
    cache.join(format!("{}-{:016x}", toolchain.release, hasher.finish()))
}
