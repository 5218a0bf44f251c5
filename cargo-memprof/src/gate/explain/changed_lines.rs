//! The lines of the sources that have changed since the baseline, from `git diff`. Of two lines that may be the cause,
//! the changed one is. Pure.

use crate::gate::explain::tree::Position;
use std::collections::HashMap;

/// See the head of this file. Without a repository nothing is known to have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangedLines {
    /// By file, relative to the workspace.
    files: HashMap<String, Vec<Hunk>>,
}

/// Lines that took the place of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hunk {
    before: Range,
    now: Range,
}

/// The first line, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: i64,
    len: i64,
}

impl Range {
    fn has(self, line: i64) -> bool {
        (self.start..self.start.saturating_add(self.len)).contains(&line)
    }

    /// `12,3`, or `12` for one line.
    fn parse(text: &str) -> Option<Range> {
        let (start, len) = text.split_once(',').unwrap_or((text, "1"));
        Some(Range { start: start.parse().ok()?, len: len.parse().ok()? })
    }
}

impl ChangedLines {
    /// Reads what `git diff --unified=0 --no-prefix` prints, whose paths are relative to the root of the repository; `prefix` leads from there to
    /// the workspace, and files outside of it are left out. What cannot be read has not changed.
    pub fn parse(diff: &str, prefix: &str) -> ChangedLines {
        let mut files: HashMap<String, Vec<Hunk>> = HashMap::new();
        let mut file: Option<&str> = None;
        // Lines of a hunk that are still to come: one of these may begin as a header does.
        let mut to_come = 0;
        for line in diff.lines() {
            if to_come > 0 && line.starts_with(['+', '-']) {
                to_come -= 1;
            } else if let Some(path) = line.strip_prefix("+++ ") {
                // Git ends a path with blanks in it by a tab.
                let path = path.trim_end_matches('\t');
                file = match prefix {
                    "" => Some(path),
                    _ => path.strip_prefix(prefix).and_then(|inside| inside.strip_prefix('/')),
                };
            } else if let Some(hunk) = line.strip_prefix("@@ ").and_then(hunk) {
                to_come = hunk.before.len.saturating_add(hunk.now.len);
                if let Some(file) = file {
                    files.entry(file.to_owned()).or_default().push(hunk);
                }
            }
        }
        ChangedLines { files }
    }

    /// The line was changed or is new.
    pub fn has(&self, position: Option<&Position>) -> bool {
        position.is_some_and(|position| self.of(&position.file).any(|hunk| hunk.now.has(position.line)))
    }

    /// The line that took the place of one that was there before.
    pub fn in_place_of(&self, old: &Position) -> Option<i64> {
        self.of(&old.file).find(|hunk| hunk.before.has(old.line)).map(|hunk| hunk.now.start.max(1))
    }

    fn of(&self, file: &str) -> impl Iterator<Item = &Hunk> {
        self.files.get(file).into_iter().flatten()
    }
}

/// `-12,3 +12 @@ fn f() {`
fn hunk(text: &str) -> Option<Hunk> {
    let mut words = text.split(' ');
    let before = Range::parse(words.next()?.strip_prefix('-')?)?;
    let now = Range::parse(words.next()?.strip_prefix('+')?)?;
    Some(Hunk { before, now })
}

#[cfg(test)]
mod tests {
    use super::*;
    use memprof_profile::model::function::Origin;

    const DIFF: &str = "diff --git crates/a/src/lib.rs crates/a/src/lib.rs\n\
        --- crates/a/src/lib.rs\n+++ crates/a/src/lib.rs\n\
        @@ -3,2 +3 @@ fn f() {\n-    a();\n-    b();\n+    c();\n\
        @@ -9,0 +9,2 @@\n+++ x\n+    d();\n\
        --- other/src/lib.rs\n+++ other/src/lib.rs\n@@ -1 +1 @@\n-a\n+b\n";

    fn position(file: &str, line: i64) -> Position {
        Position { file: file.into(), line, origin: Origin::Workspace }
    }

    #[test]
    fn hunks_are_read_and_lines_that_look_like_headers_are_not() {
        let changed = ChangedLines::parse(DIFF, "crates");
        let lines: Vec<i64> = (1..20).filter(|line| changed.has(Some(&position("a/src/lib.rs", *line)))).collect();
        assert_eq!(lines, [3, 9, 10]);
        assert_eq!(changed.in_place_of(&position("a/src/lib.rs", 4)), Some(3));
        assert_eq!(changed.in_place_of(&position("a/src/lib.rs", 5)), None);
        assert!(!changed.has(Some(&position("src/lib.rs", 1))) && !changed.has(None));
        let whole = ChangedLines::parse(DIFF, "");
        assert!(whole.has(Some(&position("other/src/lib.rs", 1))));
    }

    #[test]
    fn what_is_no_diff_changes_nothing() {
        for text in ["", "@@ -x +y @@", "+++ ", "@@ -1,9999999999999999999 +1 @@\n", "@@ -1 +1 @@\n-a\n+b\n"] {
            assert_eq!(ChangedLines::parse(text, ""), ChangedLines::default(), "{text}");
        }
    }
}
