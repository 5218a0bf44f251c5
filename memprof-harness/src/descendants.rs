//! Finds the descendants of a process among all processes, by two facts that the kernel reports of each: its parent's
//! number, and the environment that it began with. A test is ended with all that it started, processes that left its
//! process group included. A process that lost its parent and was started with another environment is not found.

use crate::environment;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

/// The number of a process, as `kill` takes it.
pub type ProcessId = i32;

/// The children of `ancestor`, theirs, and so on, as of now. Empty where there is no `/proc`.
pub fn of(ancestor: ProcessId) -> Vec<ProcessId> {
    let all: Vec<(ProcessId, ProcessId)> =
        processes().filter_map(|process| Some((process, parent(process)?))).collect();
    let mut found = vec![ancestor];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        let children = all.iter().filter(|(_, its_parent)| *its_parent == parent).map(|(process, _)| *process);
        let new: Vec<ProcessId> = children.filter(|child| !found.contains(child)).collect();
        found.extend(new);
        at += 1;
    }
    found.remove(0);
    found
}

/// By which the processes of one test, or of one program, are known: [`environment::PROGRAM`] names its ledger, and all
/// that it starts inherits that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Stem of the ledger, or what it begins with.
    root: Vec<u8>,
    /// A program that is recorded for its own sake puts more behind its name.
    is_prefix: bool,
    folder: Vec<u8>,
}

impl Mark {
    /// The mark that `command` gives its process; `None` = none.
    pub fn of(command: &Command) -> Option<Mark> {
        let set = |name: &str| {
            let mut variables = command.get_envs();
            variables.find(|(variable, _)| *variable == OsStr::new(name)).and_then(|(_, value)| value)
        };
        let (root, folder) = parts(set(environment::PROGRAM)?.as_bytes())?;
        let is_prefix = set(environment::NAME).is_some();
        Some(Mark { root: root.to_owned(), is_prefix, folder: folder.to_owned() })
    }

    /// The processes that have it. Those that have ended have no environment any more.
    pub fn processes(&self) -> Vec<ProcessId> {
        let has_it = |process: &ProcessId| {
            let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            let mut variables = environment.split(|byte| *byte == 0);
            variables.any(|variable| self.is_in(variable))
        };
        let own = ProcessId::try_from(std::process::id()).unwrap_or(0);
        processes().filter(|process| *process != own).filter(has_it).collect()
    }

    /// Whether `variable`, as `NAME=VALUE`, names it.
    fn is_in(&self, variable: &[u8]) -> bool {
        let value = variable.strip_prefix(environment::PROGRAM.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        let Some((root, folder)) = value.and_then(parts) else { return false };
        let rest = root.strip_prefix(self.root.as_slice());
        let is_root = rest.is_some_and(|rest| rest.is_empty() || self.is_prefix && rest[0] == b'-');
        is_root && folder == self.folder
    }
}

/// ROOT and FOLDER of what [`environment::PROGRAM`] says.
fn parts(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut words = value.splitn(4, |byte| *byte == b' ');
    let (_detail, _seed, root, folder) = (words.next()?, words.next()?, words.next()?, words.next()?);
    Some((root, folder))
}

fn processes() -> impl Iterator<Item = ProcessId> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// `None` = it is gone.
fn parent(process: ProcessId) -> Option<ProcessId> {
    let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(stat.get(end + 1..)?).ok()?.split_whitespace();
    fields.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_one_ledgers_and_no_other() {
        let mark = |root: &str, named: bool| {
            let mut command = Command::new("true");
            command.env(environment::PROGRAM, format!("512 5eed {root} /a b/ledgers"));
            if named {
                command.env(environment::NAME, "");
            }
            Mark::of(&command).unwrap()
        };
        let has = |mark: &Mark, text: &str| mark.is_in(text.as_bytes());
        let test = mark("0123-1", false);
        assert!(has(&test, "MEMPROF_PROGRAM=512 5eed 0123-1 /a b/ledgers"));
        for other in [
            "512 5eed 0123-1-2 /a b/ledgers",
            "512 5eed 0123-10 /a b/ledgers",
            "512 5eed 0123-1 /a",
            "512 5eed 0123-1",
            "",
        ] {
            assert!(!has(&test, &format!("MEMPROF_PROGRAM={other}")), "{other}");
        }
        assert!(!has(&test, "PROGRAM=512 5eed 0123-1 /a b/ledgers"));
        let program = mark("program-7-000001", true);
        assert!(has(&program, "MEMPROF_PROGRAM=1 5eed program-7-000001-0000000009-1 /a b/ledgers"));
        assert!(!has(&program, "MEMPROF_PROGRAM=1 5eed program-7-000002-0000000009-1 /a b/ledgers"));
        assert_eq!(Mark::of(&Command::new("true")), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn who_was_started_is_found_by_its_parents_number() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let own = ProcessId::try_from(std::process::id()).unwrap();
        let id = ProcessId::try_from(child.id()).unwrap();
        assert!(of(own).contains(&id) && !of(id).contains(&own));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
