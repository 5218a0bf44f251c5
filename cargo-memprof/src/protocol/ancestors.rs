//! How a process that a recorded test has started finds its run: by the folder in its environment, and by the numbers of the processes
//! above it.

use memprof_harness::environment;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The folder of the run that records the test or program to which this process belongs; `None` = none does.
pub fn scratch() -> Option<PathBuf> {
    // Rate, seed, ledger and folder.
    let value = std::env::var(environment::PROGRAM).ok()?;
    let scratch = Path::new(value.splitn(4, ' ').nth(3)?).parent()?.to_owned();
    // Where there is a name, a program is to be recorded and has not begun to be.
    std::env::var_os(environment::NAME).is_none().then_some(scratch)
}

/// Where the plan is for the wrapper that the cargo with this number calls.
pub fn plan_path(scratch: &Path, cargo: u32) -> PathBuf {
    scratch.join(format!("nested-{cargo:010}.json"))
}

/// The plan for this process as a wrapper below such a cargo; `None` = it is none.
pub fn plan_of_ancestors() -> Option<PathBuf> {
    let scratch = scratch()?;
    let mut process = std::os::unix::process::parent_id();
    // Whatever stands between is not many.
    for _ in 0..16 {
        let path = plan_path(&scratch, process);
        if path.exists() {
            return Some(path);
        }
        process = parent_of(process)?;
    }
    None
}

/// How a process stands to one that may be above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Descent {
    /// The processes between the two, from the inside.
    Below(Vec<u32>),
    /// The other one is alive and not above: a process between them has ended, or there never was one.
    Apart,
    /// The kernel does not say, or the two do not see the same processes.
    NotKnown,
}

/// How this process stands to `ancestor`, which runs the same program.
pub fn descent_from(ancestor: u32) -> Descent {
    let mut process = std::os::unix::process::parent_id();
    let mut between = Vec::new();
    while process != ancestor {
        if process <= 1 {
            return if runs_this_program(ancestor) { Descent::Apart } else { Descent::NotKnown };
        }
        between.push(process);
        match parent_of(process) {
            Some(parent) => process = parent,
            None => return Descent::NotKnown,
        }
    }
    Descent::Below(between)
}

fn runs_this_program(process: u32) -> bool {
    let exe = |process: &str| std::fs::read_link(format!("/proc/{process}/exe")).ok();
    exe("self").is_some_and(|own| exe(&process.to_string()) == Some(own))
}

/// What the process had in its environment when its program began, whatever it has done to it since; nothing where that cannot be read.
pub fn environment_of(process: u32) -> Vec<(OsString, OsString)> {
    let bytes = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    let entries = bytes.split(|byte| *byte == 0).filter_map(|entry| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        Some((text(&entry[..at]), text(&entry[at + 1..])))
    });
    entries.collect()
}

/// The variable in the environment of the nearest process above this one that has it: what starts a program may take variables from it,
/// but not from those that it was started by.
pub fn variable(name: &str) -> Option<OsString> {
    let mut process = std::os::unix::process::parent_id();
    // Whatever stands between is not many.
    for _ in 0..64 {
        let found = environment_of(process).into_iter().find(|(found, _)| found == name);
        if let Some((_, value)) = found {
            return Some(value);
        }
        process = parent_of(process).filter(|process| *process > 0)?;
    }
    None
}

fn parent_of(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the state and the parent follow.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_finds_its_ancestors() {
        let parent = std::os::unix::process::parent_id();
        assert_eq!(parent_of(std::process::id()), Some(parent));
        assert!(parent_of(parent).is_some_and(|process| process != parent));
        let above = parent_of(parent).unwrap();
        let below = |between: &[u32]| Descent::Below(between.to_vec());
        assert_eq!((descent_from(parent), descent_from(above)), (below(&[]), below(&[parent])));
        // The one is no process above itself; no process has the other number.
        assert_eq!(descent_from(std::process::id()), Descent::Apart);
        assert_eq!(descent_from(u32::MAX), Descent::NotKnown);
    }

    #[test]
    fn a_process_keeps_the_environment_that_it_began_with() {
        let path = environment_of(std::process::id()).into_iter().find(|(name, _)| name == "PATH");
        assert_eq!(path.map(|(_, value)| value), std::env::var_os("PATH"));
        assert!(environment_of(0).is_empty());
    }
}
