//! Finds the executable that a recording belongs to, among those that cargo ran. The user's own runner may start a copy under another name
//! or on another machine's file system, and the copy may be gone by now. Such a recording belongs to the executable that cargo gave the
//! runner.

use super::run_facts::RanExecutable;
use crate::context::executable::ExecutablePath;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Mutex;

/// What cargo ran.
pub struct Executables<'a> {
    by_path: HashMap<&'a ExecutablePath, &'a RanExecutable>,
    /// What a runner of the user's was to start.
    by_runner: Vec<&'a RanExecutable>,
    /// Of other paths, what they are a copy of.
    copies: Mutex<HashMap<ExecutablePath, &'a RanExecutable>>,
}

impl<'a> Executables<'a> {
    pub fn of(ran: &'a [RanExecutable]) -> Executables<'a> {
        let by_runner = ran.iter().filter(|executable| executable.profiled && !executable.runner.is_empty());
        let mut by_runner: Vec<&RanExecutable> = by_runner.collect();
        by_runner.dedup_by_key(|executable| &executable.exe);
        let by_path = ran.iter().map(|executable| (&executable.exe, executable)).collect();
        Executables { by_path, by_runner, copies: Mutex::default() }
    }

    /// The one at `exe`, or of which that is a copy. `package` is that of a process which cargo or a runner started; `None` where that is
    /// not known, and so only a copy of which it was known before, or which shows it by itself, is found.
    pub fn get(&self, exe: &ExecutablePath, package: Option<&str>) -> Option<&'a RanExecutable> {
        if let Some(executable) = self.by_path.get(exe) {
            return Some(executable);
        }
        if self.by_runner.is_empty() {
            return None;
        }
        let mut copies = self.copies.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(executable) = copies.get(exe) {
            return Some(executable);
        }
        let found = self.original(exe.as_path(), package)?;
        copies.insert(exe.clone(), found);
        Some(found)
    }

    fn original(&self, copy: &Path, package: Option<&str>) -> Option<&'a RanExecutable> {
        let all = || self.by_runner.iter().copied();
        let name = copy.file_name()?.to_string_lossy();
        let has_its_name = |one: &RanExecutable| {
            one.exe.as_path().file_name().is_some_and(|original| name.starts_with(&*original.to_string_lossy()))
        };
        // A doctest's own is gone by now.
        let place = |one: &'a RanExecutable| one.kept.as_deref().unwrap_or(one.exe.as_path());
        let by_content = all().find(|one| holds_the_same(place(one), copy).unwrap_or(false));
        by_content.or_else(|| all().find(|one| has_its_name(one))).or_else(|| {
            // One that was renamed and is gone can be no other if there is no other.
            let mut same = all().filter(|one| Some(&*one.package) == package);
            same.next().filter(|_| same.next().is_none())
        })
    }
}

fn holds_the_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let length = left.len().min(right.len());
        if left[..length] != right[..length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(left.is_empty() && right.is_empty());
        }
        one.consume(length);
        other.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::run_log::Trace;

    #[test]
    fn a_copy_is_known_by_what_it_holds_its_name_or_its_package() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        let path = |name: &str, bytes: &str| {
            fs_err::write(root.join(name), bytes).unwrap();
            ExecutablePath::resolve(&root.join(name))
        };
        let ran = |name: &str, package: &str, runner: &str| RanExecutable {
            exe: path(name, name),
            package: package.into(),
            target_kind: "lib".into(),
            target_name: name.into(),
            doctests: Vec::new(),
            profiled: true,
            reason: None,
            kept: None,
            listed: false,
            remark: None,
            leaves: Trace::Inventory,
            runner: runner.into(),
            unit: None,
        };
        let ran = [ran("a-1", "p", "run"), ran("b-2", "p", "run"), ran("c-3", "q", "run"), ran("d-4", "r", "")];
        let executables = Executables::of(&ran);
        let found = |exe: &ExecutablePath, package| executables.get(exe, package).map(|one| &*one.target_name);
        assert_eq!(found(&ran[3].exe, None), Some("d-4"));
        assert_eq!(found(&path("x", "b-2"), None), Some("b-2"));
        assert_eq!(found(&path("a-1.copy", "stripped"), None), Some("a-1"));
        let gone = |name: &str| ExecutablePath::resolve(&root.join(name));
        // Two are of this package, one of that, and the last had no runner.
        assert_eq!(found(&gone("y"), Some("p")), None);
        assert_eq!(found(&gone("z"), None), None);
        assert_eq!(found(&gone("z"), Some("q")), Some("c-3"));
        assert_eq!(found(&gone("z"), None), Some("c-3"));
        assert_eq!(found(&gone("w"), Some("r")), None);
    }
}
