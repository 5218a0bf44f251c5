//! Finds the shape of the toolchain's libtest by compiling a probe for each shape. The version of rustc is not consulted.

use super::compiler::Compiler;
use crate::context::env;
use crate::files::outlet;
use memprof_harness::libtest_shapes::{ALLOC_ERROR_HOOK, PROBE_CRATE, SHAPES, Shape};
use std::path::Path;
use std::process::{Command, Stdio};

/// The newest shape that the libtest of `compiler` for `target` has; where it has none of them, what the compiler said to the newest.
/// `scratch` is a folder for what compiles.
///
/// # Errors
/// See above.
pub fn shape(compiler: &Compiler, target: &str, scratch: &Path) -> Result<Shape, String> {
    // The compiler starts in the time in which it checks one of them, so all are tried at once.
    let answers: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let tries: Vec<_> =
            SHAPES.iter().map(|shape| scope.spawn(|| try_probe(compiler, target, shape, scratch))).collect();
        tries.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let fits = SHAPES.iter().zip(&answers).find(|(_, answer)| answer.is_ok());
    fits.map(|(shape, _)| *shape).ok_or_else(|| answers.into_iter().find_map(Result::err).unwrap_or_default())
}

/// Whether `compiler` compiles for `target` what asks for nothing: a std that is not installed says nothing of libtest.
pub fn compiles_at_all(compiler: &Compiler, target: &str, scratch: &Path) -> bool {
    try_crate(compiler, target, "nothing", "#![feature(test)]\nextern crate test;\n", scratch).is_ok()
}

/// Whether the std of `compiler` for `target` lets a program say what happens when there is no memory.
pub fn has_alloc_error_hook(compiler: &Compiler, target: &str, scratch: &Path) -> bool {
    try_crate(compiler, target, "alloc_error_hook", ALLOC_ERROR_HOOK, scratch).is_ok()
}

fn try_probe(compiler: &Compiler, target: &str, shape: &Shape, scratch: &Path) -> Result<(), String> {
    try_crate(compiler, target, shape.name, shape.probe, scratch)
}

fn try_crate(compiler: &Compiler, target: &str, name: &str, text: &str, scratch: &Path) -> Result<(), String> {
    let source = scratch.join(format!("{name}.rs"));
    outlet::put(&source, text).map_err(|error| error.to_string())?;
    let mut command = Command::new(&compiler.rustc);
    command.args(["--crate-name", PROBE_CRATE, "--crate-type", "lib", "--edition", "2021", "--emit=metadata"]);
    command.args(["--cap-lints", "allow", "--color=never", "-o"]).arg(source.with_extension("rmeta"));
    if target != compiler.host {
        command.args(["--target", target]);
    }
    command.arg(&source).env(env::RUSTC_BOOTSTRAP, PROBE_CRATE).stdin(Stdio::null());
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
