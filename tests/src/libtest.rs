//! The shape of the libtest at hand, for tests that compile the harness themselves.

use crate::command;
use memprof_harness::libtest_shapes::{PROBE_CRATE, SHAPES, Shape};
use std::process::Command;

/// rustc as a user would call it, where the crate called `krate` may use what is unstable.
pub fn rustc(krate: &str) -> Command {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    command::clean(&mut rustc);
    rustc.env("RUSTC_BOOTSTRAP", krate);
    rustc
}

/// Whether the probe of `shape` compiles with these arguments of rustc's.
pub fn fits(shape: &Shape, arguments: &[String]) -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("probe.rs");
    std::fs::write(&source, shape.probe).expect("the folder can be written to");
    let mut rustc = rustc(PROBE_CRATE);
    rustc.args(["--edition=2021", "--crate-type=lib", "--emit=metadata", "--crate-name", PROBE_CRATE]).args(arguments);
    let output = rustc.arg(&source).arg("--out-dir").arg(folder.path()).output().expect("the compiler starts");
    output.status.success()
}

/// What tells the compilation of the harness with which shape of libtest it is to go, where rustc is called with `arguments`.
///
/// # Panics
/// Where there is no such shape.
pub fn flags(arguments: &[String]) -> [String; 2] {
    let shape =
        SHAPES.iter().find(|shape| fits(shape, arguments)).expect("the libtest at hand has a shape that is known");
    ["--cfg".to_owned(), format!("memprof_libtest=\"{}\"", shape.name)]
}
