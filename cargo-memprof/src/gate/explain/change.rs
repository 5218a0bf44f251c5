//! A line whose metric has changed, and the list of all such lines: each has one change. Pure.

use std::collections::HashMap;
use std::rc::Rc;

/// A line whose metric is another than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Innermost first; the first is where it happens.
    pub path: Vec<Rc<str>>,
    /// The file of the first, relative to the workspace where it is inside; empty = not known.
    pub file: Rc<str>,
    /// The line that most of it comes from; 0 = not known.
    pub line: i64,
    /// The innermost line of the workspace's own code, where the first is somebody else's: file and line.
    pub own: Option<(Rc<str>, i64)>,
    /// What is called there, down to the function that allocates; empty where the line itself does.
    pub below: Vec<Step>,
    pub before: i64,
    pub now: i64,
}

/// A function that a changed line calls, and the line in it that leads on to the allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub function: Rc<str>,
    pub file: Rc<str>,
    pub line: i64,
}

impl Change {
    pub fn difference(&self) -> i64 {
        self.now.saturating_sub(self.before)
    }
}

/// File, line, function, what is called there, and whether it grew.
type Line = (Rc<str>, i64, Rc<str>, Option<Rc<str>>, bool);

/// What is added up: one line has one change, whichever way leads to it.
#[derive(Default)]
pub struct Changes {
    all: Vec<Change>,
    /// Where in `all`, and the largest difference of one way there.
    by_line: HashMap<Line, (usize, i64)>,
}

impl Changes {
    pub fn add(&mut self, change: Change) {
        if change.file.is_empty() {
            self.all.push(change);
            return;
        }
        let first = change.path.first().cloned().unwrap_or_else(|| "".into());
        let below = change.below.first().map(|step| step.function.clone());
        let key = (change.file.clone(), change.line, first, below, change.difference() > 0);
        let size = change.difference().abs();
        match self.by_line.get_mut(&key) {
            Some((at, largest)) => {
                let known = &mut self.all[*at];
                let (before, now) = (known.before.saturating_add(change.before), known.now.saturating_add(change.now));
                // The largest shows the way.
                if size > *largest {
                    (*known, *largest) = (change, size);
                }
                (known.before, known.now) = (before, now);
            }
            None => {
                self.by_line.insert(key, (self.all.len(), size));
                self.all.push(change);
            }
        }
    }

    pub fn in_order(mut self) -> Vec<Change> {
        let key = |change: &Change| std::cmp::Reverse(change.difference());
        self.all.sort_by(|a, b| {
            key(a).cmp(&key(b)).then_with(|| (&a.path, &a.file, a.line).cmp(&(&b.path, &b.file, b.line)))
        });
        self.all
    }
}
