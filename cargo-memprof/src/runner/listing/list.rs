//! A list of tests as libtest prints it, and the words in which programs are asked for it.

use crate::context::arguments::{Argument, Arguments};
use crate::context::cargo_flags::Tool;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// What every program that reads libtest's flags has among its strings, and no other.
pub const FLAG: &[u8] = b"test-threads";
/// What a list calls a benchmark.
pub const BENCHMARK: &str = "benchmark";
/// No test has this name.
pub const NOBODY: &str = "no test is called \u{1F980}";
/// A list that takes longer is no list. Long enough for every machine: which tests there are must not depend on its speed.
const PATIENCE: Duration = Duration::from_secs(300);

/// Those of `args` that have tests run which are ignored.
pub fn about_ignored(args: &[OsString]) -> impl Iterator<Item = OsString> + '_ {
    let about = |argument: &Argument<'_>| argument.has("ignored") || argument.has("include-ignored");
    Arguments::new(Tool::Libtest, args).filter(about).flat_map(|argument| argument.words.iter().cloned())
}

/// What a program says and ends well with; `None` where it does not, or is not soon done.
pub fn output(mut command: Command) -> Option<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        let mut output = Vec::new();
        let read = stdout.read_to_end(&mut output).map(|_| output);
        // Nobody waits any more where this fails.
        let _ = done.send(read);
    });
    let output = finished.recv_timeout(PATIENCE).ok().and_then(Result::ok);
    if output.is_none() {
        // It may be gone by itself.
        let _ = child.kill();
    }
    let ended = child.wait().ok()?;
    let output = String::from_utf8(output?).ok()?;
    ended.success().then_some(output)
}

/// Reads a list in libtest's terse form: nothing but lines `name: test` and `name: benchmark`. Gives those of one `kind`.
pub fn parse(output: &str, kind: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    if !output.is_empty() && !output.ends_with('\n') {
        return None;
    }
    // Names may hold other line separators.
    for line in output.split_terminator('\n') {
        match line.rsplit_once(": ")? {
            ("", "test" | "bench" | BENCHMARK) => return None,
            (name, found) if found == kind => names.push(without_kind(name).to_owned()),
            (name, "bench") if kind == BENCHMARK => names.push(name.to_owned()),
            (_, "test" | "bench" | BENCHMARK) => {}
            _ => return None,
        }
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Some(names)
}

/// libtest-mimic writes a test's kind in front of its name, and wants the name alone.
fn without_kind(name: &str) -> &str {
    match name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_nothing_but_names() {
        assert_eq!(parse("a::b: test\nwith: colon: test\nx: benchmark\n", "test").unwrap(), ["a::b", "with: colon"]);
        assert_eq!(parse("[kind] a: test\n[]: test\n", "test").unwrap(), ["a", "[]"]);
        assert_eq!(parse("a\u{2028}b: test\n", "test").unwrap(), ["a\u{2028}b"]);
        assert_eq!(parse("", "test").unwrap(), [""; 0]);
        for no_list in ["a: test", "hello\na: test\n", "a: test\n\n1 test, 0 benchmarks\n", ": test\n", "a: tests\n"] {
            assert_eq!(parse(no_list, "test"), None, "{no_list:?}");
        }
    }
}
