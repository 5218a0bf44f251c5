//! Where things are in this tree.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs};

/// The folder of the workspace's manifest.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a member of the workspace")
}

/// The folder of the fixtures.
pub fn fixtures() -> PathBuf {
    root().join("fixtures")
}

/// The folder that this test executable's own build goes to, such as `target/debug`.
pub fn built_into() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let exe = env::current_exe().expect("a test executable knows where it is");
        // `<folder>/deps/<name>-<hash>`, and since cargo 1.100 `<folder>/build/<package>/<hash>/out/<name>-<hash>`
        let depth = if exe.parent().is_some_and(|folder| folder.ends_with("out")) { 5 } else { 2 };
        exe.ancestors().nth(depth).expect("cargo puts it that deep").to_owned()
    })
}

/// A folder that survives the tests and may be deleted at any time between them.
pub fn scratch() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = built_into().join("memprof-tests");
        fs::create_dir_all(&folder).expect("the target folder can be written to");
        folder
    })
}
