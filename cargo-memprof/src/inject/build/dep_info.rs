//! The file in which rustc tells cargo what a compilation depends on. A program that was compiled with the shim of cargo
//! in `CARGO` would be out of date for cargo at once: it compares that variable with its own path.

use crate::context::env;
use crate::files::outlet;
use std::io;
use std::path::{Path, PathBuf};

/// Has the file that belongs to `executable` say that `CARGO` was `real` where it was `cargo_shim`.
///
/// # Errors
/// Whatever the file system says. That there is no such file is no error.
pub fn hide(executable: &Path, cargo_shim: &str, real: &str) -> io::Result<()> {
    let mut path = executable.as_os_str().to_owned();
    path.push(".d");
    let path = PathBuf::from(path);
    let text = match fs_err::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    match hidden(&text, cargo_shim, real) {
        Some(text) => outlet::put(path, text),
        None => Ok(()),
    }
}

/// `text` with the other value of `CARGO`; `None` = it does not have the one.
fn hidden(text: &str, cargo_shim: &str, real: &str) -> Option<String> {
    let line = |value: &str| format!("# env-dep:{}={}\n", env::CARGO, escaped(value));
    let found = line(cargo_shim);
    text.contains(&found).then(|| text.replace(&found, &line(real)))
}

/// As rustc writes values: a line each.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shim_is_hidden() {
        let text = "a: src/main.rs\n\n# env-dep:CARGO=/s/cargo\n# env-dep:HOME=/s/cargo\n";
        let hidden_text = "a: src/main.rs\n\n# env-dep:CARGO=/r\\\\x/cargo\n# env-dep:HOME=/s/cargo\n";
        assert_eq!(hidden(text, "/s/cargo", "/r\\x/cargo").as_deref(), Some(hidden_text));
        assert_eq!(hidden(text, "/s/car", "/r"), None);
        assert_eq!(hidden("a: src/main.rs\n# env-dep:CARGO\n", "/s/cargo", "/r"), None);
    }
}
