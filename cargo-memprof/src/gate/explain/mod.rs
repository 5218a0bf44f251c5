//! Which call sites grew between two profiles of one test. Call paths are matched by the functions of the user's crates in
//! them, so that lines that moved, and other ways through the standard library, are no change. Pure.

pub mod evidence;
mod picture;
pub mod stacks;
pub mod varying;

use crate::gate::explain::stacks::{Frame, Stacks};
use crate::gate::figures::Figure;
use memprof_harness::ledger::{Callee, Callees};
use memprof_profile::model::function::Origin;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// A call path whose figure is another than before.
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
    pub before: i64,
    pub now: i64,
}

impl Change {
    pub fn difference(&self) -> i64 {
        self.now.saturating_sub(self.before)
    }
}

/// Everything that changed, the largest growth first and the largest decrease last.
pub fn changes(before: &Stacks, now: &Stacks, figure: Figure) -> Vec<Change> {
    let mut paths = Paths::default();
    let (before, now) = (paths.of(before, figure), paths.of(now, figure));
    let nothing = Path::default();
    let all = before.keys().chain(now.keys().filter(|path| !before.contains_key(*path)));
    let mut changes: Vec<Change> = all
        .filter_map(|path| {
            let old = before.get(path).unwrap_or(&nothing);
            let new = now.get(path).unwrap_or(&nothing);
            (old.total() != new.total()).then(|| change(paths.functions(*path), old, new))
        })
        .collect();
    changes.sort_by(|a, b| b.difference().cmp(&a.difference()).then_with(|| a.path.cmp(&b.path)));
    changes
}

/// What is known of one call path.
#[derive(Debug, Default)]
struct Path {
    lines: Vec<Line>,
}

/// One line of the path's innermost function.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    file: Rc<str>,
    line: i64,
    own: Option<(Rc<str>, i64)>,
    /// What the standard library was asked for: tells two lines of one function apart when both have moved.
    through: Rc<str>,
    value: i64,
}

impl Path {
    fn total(&self) -> i64 {
        self.lines.iter().map(|line| line.value).fold(0, i64::saturating_add)
    }

    fn add(&mut self, line: Line) {
        let same = self.lines.iter_mut().find(|other| {
            (&other.file, other.line, &other.through, &other.own) == (&line.file, line.line, &line.through, &line.own)
        });
        match same {
            Some(other) => other.value = other.value.saturating_add(line.value),
            None => self.lines.push(line),
        }
    }
}

/// Call paths of both sides, as a trie of functions: a path is known by the node of its innermost function, and callers have lower
/// numbers than what they call.
#[derive(Debug, Default)]
struct Paths {
    functions: HashMap<Rc<str>, u32>,
    names: Vec<Rc<str>>,
    /// The caller and the function.
    nodes: Vec<(Option<usize>, u32)>,
    callees: Callees,
}

/// A stack's call paths, by its innermost node.
#[derive(Debug, Clone, Copy)]
struct Ways {
    /// Through the frames that are not the standard library's.
    users: Option<usize>,
    /// Through all.
    all: usize,
    /// One of the users' frames is not the C library's, or another's that is not Rust.
    is_rust: bool,
}

impl Paths {
    /// The paths of `stacks` that have anything of `figure`, by node.
    fn of(&mut self, stacks: &Stacks, figure: Figure) -> BTreeMap<usize, Path> {
        let mut ways: Vec<Ways> = Vec::with_capacity(stacks.nodes().len());
        for (caller, frame) in stacks.nodes() {
            let outer = caller.map(|caller| ways[caller]);
            let all = self.node(outer.map(|outer| outer.all), &frame.function);
            let users = outer.and_then(|outer| outer.users);
            let users = if frame.origin == Origin::Std { users } else { Some(self.node(users, &frame.function)) };
            let is_rust =
                outer.is_some_and(|outer| outer.is_rust) || !matches!(frame.origin, Origin::Std | Origin::Native);
            ways.push(Ways { users, all, is_rust });
        }
        let mut paths: BTreeMap<usize, Path> = BTreeMap::new();
        for stack in stacks.stacks.iter().filter(|stack| stack.value(figure) != 0) {
            let Some(Ways { users, all, is_rust }) = stack.node().map(|node| ways[node]) else { continue };
            // Where it is the libraries alone, their frames are what there is to show.
            let (is_shown, path): (fn(&Frame) -> bool, _) = match users.filter(|_| is_rust) {
                Some(users) => (|frame| frame.origin != Origin::Std, users),
                None => (|_| true, all),
            };
            let Some(first) = stacks.frames(stack).find(|frame| is_shown(frame)) else { continue };
            let through = stacks.frames(stack).take_while(|frame| frame.origin == Origin::Std).last();
            let own = || stacks.frames(stack).find(|frame| frame.origin == Origin::Workspace);
            let line = Line {
                file: first.file.clone(),
                line: first.line,
                own: if first.origin == Origin::Workspace { None } else { own() }
                    .map(|frame| (frame.file.clone(), frame.line)),
                through: through.map_or_else(|| "".into(), |frame| frame.function.clone()),
                value: stack.value(figure),
            };
            paths.entry(path).or_default().add(line);
        }
        for path in paths.values_mut() {
            path.lines.sort_by(|a, b| (&a.file, a.line, &a.through).cmp(&(&b.file, b.line, &b.through)));
        }
        paths
    }

    fn node(&mut self, caller: Option<usize>, function: &Rc<str>) -> usize {
        let function = *self.functions.entry(function.clone()).or_insert_with(|| {
            self.names.push(function.clone());
            self.names.len() as u32 - 1
        });
        let entered = self.callees.enter(caller, function, |number| self.nodes[number].1);
        let (Callee::Known(number) | Callee::New(number)) =
            entered.expect("callers come first, and there are fewer than 2^32");
        if number == self.nodes.len() {
            self.nodes.push((caller, function));
        }
        number
    }

    /// The functions of a path, innermost first.
    fn functions(&self, path: usize) -> Vec<Rc<str>> {
        let mut next = Some(path);
        let nodes = std::iter::from_fn(|| {
            let (caller, function) = self.nodes[next?];
            next = caller;
            Some(self.names[function as usize].clone())
        });
        nodes.collect()
    }
}

fn change(path: Vec<Rc<str>>, old: &Path, new: &Path) -> Change {
    // Of a path that is no more, the line it had.
    let line = grown_line(&old.lines, &new.lines).or_else(|| old.lines.first());
    Change {
        path,
        file: line.map_or_else(|| "".into(), |line| line.file.clone()),
        line: line.map_or(0, |line| line.line),
        own: line.and_then(|line| line.own.clone()),
        before: old.total(),
        now: new.total(),
    }
}

/// Lines of one function beyond which they are not aligned with each other.
const ALIGNED: usize = 200;

/// The line of `new` that explains most of the growth: of those that no line of `old` is like, the largest; where all
/// are, the one that grew most. Lines are aligned in their order, since an edit moves all that follow it alike.
fn grown_line<'a>(old: &[Line], new: &'a [Line]) -> Option<&'a Line> {
    if old.len() > ALIGNED || new.len() > ALIGNED {
        return new.iter().max_by_key(|line| line.value);
    }
    let alike = |a: &Line, b: &Line| a.through == b.through && a.value == b.value;
    // The longest common subsequence of the two, by its table of lengths.
    let mut lengths = vec![vec![0_u16; new.len() + 1]; old.len() + 1];
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            lengths[i][j] =
                if alike(a, b) { lengths[i + 1][j + 1] + 1 } else { lengths[i + 1][j].max(lengths[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut unlike: Vec<&Line> = Vec::new();
    let mut lost: Vec<&Line> = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && alike(&old[i], &new[j]) {
            (i, j) = (i + 1, j + 1);
        } else if j < new.len() && (i == old.len() || lengths[i][j + 1] >= lengths[i + 1][j]) {
            unlike.push(&new[j]);
            j += 1;
        } else {
            lost.push(&old[i]);
            i += 1;
        }
    }
    let growth = |line: &&&Line| {
        let was = lost.iter().find(|other| other.through == line.through).map_or(0, |other| other.value);
        line.value.saturating_sub(was)
    };
    unlike.iter().max_by_key(growth).copied().or_else(|| new.iter().max_by_key(|line| line.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Frame {
        // `name@line`; a name with `std::` in front is the library's.
        let (function, line) = text.split_once('@').unwrap();
        let origin = if function.starts_with("std::") { Origin::Std } else { Origin::Workspace };
        Frame { function: function.into(), file: "src/lib.rs".into(), line: line.parse().unwrap(), origin }
    }

    /// Stacks, innermost first, with their allocations.
    fn stacks(list: &[(&str, i64)]) -> Stacks {
        let stack = |(frames, objects): &(&str, i64)| {
            (frames.split(' ').map(frame).collect(), [*objects, objects * 8, 0, 0, 0])
        };
        Stacks::made_up(list.iter().map(stack))
    }

    fn shown(before: &[(&str, i64)], now: &[(&str, i64)]) -> Vec<String> {
        let changes = changes(&stacks(before), &stacks(now), Figure::AllocObjects);
        let line = |change: &Change| {
            format!(
                "{:+} {} ({} -> {}) :{}",
                change.difference(),
                change.path.join("<"),
                change.before,
                change.now,
                change.line
            )
        };
        changes.iter().map(line).collect()
    }

    #[test]
    fn a_new_site_in_a_function_is_named_with_its_line() {
        let before = [("std::push@1 parse@80 load@10", 3)];
        let now = [("std::push@1 parse@81 load@11", 3), ("std::owned@1 parse@88 load@11", 3)];
        assert_eq!(shown(&before, &now), ["+3 parse<load (3 -> 6) :88"]);
    }

    #[test]
    fn lines_that_moved_and_other_ways_through_std_are_no_change() {
        let before = [("std::push@1 parse@80 load@10", 3), ("std::grow@2 std::push@1 parse@80 load@10", 2)];
        let now = [("std::push@7 parse@180 load@99", 5)];
        assert!(shown(&before, &now).is_empty());
    }

    #[test]
    fn of_two_like_lines_the_added_one_is_named() {
        let before = [("std::owned@1 f@10", 1), ("std::owned@1 f@20", 1)];
        let now = [("std::owned@1 f@12", 1), ("std::owned@1 f@15", 4), ("std::owned@1 f@22", 1)];
        assert_eq!(shown(&before, &now), ["+4 f (2 -> 6) :15"]);
    }

    #[test]
    fn a_site_that_grew_keeps_its_line_and_one_that_is_gone_comes_last() {
        let before = [("std::owned@1 f@10", 1), ("std::owned@1 g@20", 9)];
        let now = [("std::owned@1 f@11", 5), ("h@3", 2)];
        assert_eq!(shown(&before, &now), ["+4 f (1 -> 5) :11", "+2 h (0 -> 2) :3", "-9 g (9 -> 0) :20"]);
    }
}
