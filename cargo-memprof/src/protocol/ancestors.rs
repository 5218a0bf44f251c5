//! How a process that a recorded test has started finds its run: by the folder in its environment, and by the numbers of the processes
//! above it.

use memprof_harness::environment;
use std::path::{Path, PathBuf};

/// The folder of the run that records the test or program to which this process belongs; `None` = none does.
pub fn scratch() -> Option<PathBuf> {
    // Rate, seed, ledger and folder.
    let asked = std::env::var(environment::PROGRAM).ok()?;
    let scratch = Path::new(asked.splitn(4, ' ').nth(3)?).parent()?.to_owned();
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
    }
}
