//! The output of a test run, without the parts that differ between any two runs.

use crate::fixture::Ran;

/// stdout as far as two runs of the same tests on one thread must agree.
pub fn comparable(text: &str) -> String {
    let mut cleaned = String::new();
    for line in text.lines() {
        // Printed by a process's first panic alone, and each profiled test has a process of its own.
        if line.starts_with("note: run with `RUST_BACKTRACE=1`") {
            continue;
        }
        // What libtest says of a slow test, and so of a busy machine.
        if line.starts_with("test ") && line.ends_with(" has been running for over 60 seconds") {
            continue;
        }
        // libtest's help names the executable, which is another one.
        let line = if line.starts_with("Usage: ") { "Usage" } else { line };
        let line = blank(line, "finished in ", |c| c.is_ascii_digit() || c == '.');
        // How long merged doctests took.
        let line = blank(&line, "all doctests ran in ", |c| c.is_ascii_digit() || c == '.');
        let line = blank(&line, "compilation took ", |c| c.is_ascii_digit() || c == '.');
        let line = blank(&line, "TypeId(0x", |c| c.is_ascii_hexdigit());
        // The thread's number behind its name.
        let line = blank(&line, "' (", |c| c.is_ascii_digit());
        cleaned.push_str(&line);
        cleaned.push('\n');
    }
    cleaned
}

/// Takes the run of `varying` characters behind `prefix` out.
fn blank(line: &str, prefix: &str, varying: fn(char) -> bool) -> String {
    match line.split_once(prefix) {
        Some((before, after)) => format!("{before}{prefix}_{}", after.trim_start_matches(varying)),
        None => line.to_owned(),
    }
}

/// The executables that cargo says it runs, without folders and hashes, in order.
pub fn targets(ran: &Ran) -> Vec<String> {
    let lines = ran.stderr.lines().map(str::trim);
    let named = |line: &&str| line.starts_with("Running ") || line.starts_with("Doc-tests ");
    // With `-v` cargo shows the command instead, in which a folder and a runner stand.
    let targets = lines.filter(named).filter(|line| !line.starts_with("Running `"));
    targets.map(|line| line.split(" (").next().unwrap_or(line).to_owned()).collect()
}

/// Checks that `profiled` ran, printed and ended as `plain` did. Our own report may follow what the tests print.
#[track_caller]
pub fn assert_same(plain: &Ran, profiled: &Ran) {
    assert_eq!(plain.status.code(), profiled.status.code(), "{}\n{}", plain.all(), profiled.all());
    assert_eq!(targets(plain), targets(profiled), "{}\n{}", plain.all(), profiled.all());
    let (expected, found) = (comparable(&plain.stdout), comparable(&profiled.stdout));
    if !found.starts_with(&expected) {
        let pairs = expected.lines().zip(found.lines().chain(std::iter::repeat("")));
        let different = pairs.clone().find(|(expected, found)| expected != found);
        panic!("{different:?} are the first lines that differ\n{}\n{}", plain.all(), profiled.all());
    }
}
