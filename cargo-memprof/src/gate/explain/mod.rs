//! Which lines allocate more than before. The calls of both profiles are matched along their paths ([`align`]), what was moved is found
//! again ([`balance`]), and for what is left the line is named at which the paths part: for a helper that is called once more that is the
//! new call, and not the line in the helper. Pure.

mod align;
mod balance;
mod change;
pub mod changed_lines;
pub mod evidence;
pub mod names;
mod picture;
pub mod stacks;
mod tree;
pub mod varying;

pub use change::{Change, Step};
pub use tree::Position;

use crate::gate::explain::changed_lines::ChangedLines;
use crate::gate::explain::stacks::Stacks;
use crate::gate::metrics::Metric;
use align::Side;
use balance::{Balance, Item};
use change::Changes;
use memprof_profile::model::function::Origin;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use tree::{Terms, Tree};

/// Two profiles of one test.
pub struct Comparison<'a> {
    stacks: [&'a Stacks; 2],
    trees: [Tree; 2],
    terms: Terms,
    changed: &'a ChangedLines,
}

impl<'a> Comparison<'a> {
    pub fn new(before: &'a Stacks, now: &'a Stacks, changed: &'a ChangedLines) -> Comparison<'a> {
        let mut terms = Terms::default();
        let trees = [before, now].map(|stacks| Tree::of(stacks, &mut terms));
        Comparison { stacks: [before, now], trees, terms, changed }
    }

    /// Everything that changed, the largest growth first and the largest decrease last. The differences add up to that of the two profiles.
    pub fn changes(&self, metric: Metric) -> Vec<Change> {
        let side = |at: usize| Side::new(&self.trees[at], self.trees[at].totals(self.stacks[at], metric), &self.terms);
        let (before, now) = (side(0), side(1));
        let rest = align::align(&before, &now, &self.terms, self.changed);
        let balance = Balance::of(&before, &now, &rest, &self.terms, self.changed);
        // By function: the line that took the place of one at which it allocated.
        let mut replaced: HashMap<u32, (Rc<str>, i64)> = HashMap::new();
        for loss in &balance.losses {
            let position = before.tree.position(loss.leaf, &self.terms);
            let line = position.and_then(|position| Some((position.file.clone(), self.changed.in_place_of(position)?)));
            if let (Some(function), Some(line)) = (loss.function, line) {
                replaced.entry(function).or_insert(line);
            }
        }
        let mut changes = Changes::default();
        for (side, other, roots, items, sign) in
            [(&before, &now, &rest.lost, &balance.losses, -1), (&now, &before, &rest.gained, &balance.gains, 1)]
        {
            let by_leaf: HashMap<u32, &Item> = items.iter().map(|item| (item.leaf, item)).collect();
            let named = named(side, other, roots, &by_leaf, &self.terms);
            let named = if sign > 0 { self.followed(side, named) } else { named };
            for (node, left) in named {
                let replaced = by_leaf.get(&node).filter(|_| sign > 0).and_then(|item| replaced.get(&item.function?));
                let (least, most) = (side.total(node).saturating_sub(left), side.total(node));
                let (was, is) = if sign < 0 { (most, least) } else { (least, most) };
                changes.add(Change { before: was, now: is, ..self.change(side, node, sign > 0, replaced) });
            }
        }
        changes.in_order()
    }

    /// Of what is `named`, a call all of which is new is followed to the lines below it that have changed, where its own has not: it is a call
    /// of a function that has allocated nothing until now when it was called there, as one whose buffer was large enough.
    fn followed(&self, side: &Side<'_>, named: Vec<(u32, i64)>) -> Vec<(u32, i64)> {
        // What is named below a call that both sides have is no new call, so it is none elsewhere.
        let known: HashSet<u32> = named.iter().map(|(node, _)| side.tree.step(*node)).collect();
        let is_changed = |node: u32| {
            let position = side.tree.position(node, &self.terms);
            self.changed.has(position.filter(|position| position.origin == Origin::Workspace))
        };
        let mut followed = Vec::new();
        for (node, left) in named {
            let mut rest = left;
            if left == side.total(node) && !is_changed(node) {
                let mut open: Vec<u32> = side.callees(Some(node)).collect();
                while let Some(below) = open.pop() {
                    if is_changed(below) || known.contains(&side.tree.step(below)) {
                        rest -= side.total(below);
                        followed.push((below, side.total(below)));
                    } else {
                        open.extend(side.callees(Some(below)));
                    }
                }
            }
            if rest != 0 {
                followed.push((node, rest));
            }
        }
        followed
    }

    /// Where `node` of one side is, without its metrics. `replaced` is the line at which its function allocates no more.
    fn change(&self, side: &Side<'_>, node: u32, grew: bool, replaced: Option<&(Rc<str>, i64)>) -> Change {
        let (tree, terms) = (side.tree, &self.terms);
        let position = |node: u32| tree.position(node, terms);
        let is_own = |position: &Position| position.origin == Origin::Workspace;
        let is_own_line = |node: u32| position(node).is_some_and(is_own);
        let is_changed = |node: u32| self.changed.has(position(node));
        // Of the workspace's lines that lead to it, the innermost that was changed. A dependency may have been changed as well, and nobody
        // knows, so its caller must have been.
        let is_steady = grew && !is_changed(node);
        let replaced = replaced.filter(|_| is_steady);
        let own = |from: u32| tree.callers(from).filter(|at| is_own_line(*at));
        let among = if is_own_line(node) { usize::MAX } else { 1 };
        let at = match replaced {
            None if is_steady => own(node).take(among).find(|at| is_changed(*at)).unwrap_or(node),
            _ => node,
        };
        let name = |node: u32| tree.function(node, terms).map(|function| terms.name(function).clone());
        let found = position(at);
        let own = own(at).next().and_then(position);
        let (file, line) = match (replaced, found) {
            (Some(line), _) => line.clone(),
            (None, Some(position)) => (position.file.clone(), position.line),
            (None, None) => ("".into(), 0),
        };
        Change {
            path: tree.callers(at).skip(1).filter_map(name).collect(),
            file,
            line,
            own: if found.is_some_and(is_own) {
                None
            } else {
                own.map(|position| (position.file.clone(), position.line))
            },
            below: self.below(side, at, node),
            before: 0,
            now: 0,
        }
    }

    /// The functions from the call `at` through `node` to where most of it is allocated.
    fn below(&self, side: &Side<'_>, at: u32, node: u32) -> Vec<Step> {
        let (tree, terms) = (side.tree, &self.terms);
        let mut way: Vec<u32> = tree.callers(node).take_while(|caller| *caller != at).collect();
        way.push(at);
        way.reverse();
        while let Some(next) =
            way.last().and_then(|last| side.callees(Some(*last)).max_by_key(|callee| side.total(*callee).abs()))
        {
            way.push(next);
        }
        let step = |pair: &[u32]| {
            let (function, position) = (tree.function(pair[0], terms)?, tree.position(pair[1], terms)?);
            Some(Step { function: terms.name(function).clone(), file: position.file.clone(), line: position.line })
        };
        way.windows(2).filter_map(step).collect()
    }
}

/// The calls and allocations below `roots` that are to be named, each with how much. Where all that a call leads to is new, the call is,
/// if the other side knows the function that is called and one of those that allocate below, which are so called once more, or if it is the
/// workspace's call of a dependency. A function that allocates nothing there may have been called as often, and is followed to what it allocates.
fn named(
    side: &Side<'_>,
    other: &Side<'_>,
    roots: &[u32],
    by_leaf: &HashMap<u32, &Item>,
    terms: &Terms,
) -> Vec<(u32, i64)> {
    let mut nodes = Vec::new();
    let mut open: Vec<u32> = roots.iter().rev().copied().collect();
    while let Some(node) = open.pop() {
        nodes.push(node);
        open.extend(side.callees(Some(node)));
    }
    let known = other.functions(terms);
    let allocating = other.allocating(terms);
    let is_own =
        |node: u32| side.tree.position(node, terms).is_some_and(|position| position.origin == Origin::Workspace);
    // By node: all that it leads to is new; it leads to a function which allocates on the other side as well; to a line of the workspace.
    let [mut is_new, mut once_more, mut comes_back] = [(); 3].map(|()| vec![false; side.tree.len()]);
    for node in nodes.into_iter().rev() {
        let at = node as usize;
        comes_back[at] = side.callees(Some(node)).any(|callee| is_own(callee) || comes_back[callee as usize]);
        match by_leaf.get(&node) {
            Some(item) => {
                is_new[at] = item.is_new;
                once_more[at] = item.function.is_none_or(|function| allocating.contains(&function));
            }
            None => {
                is_new[at] = side.callees(Some(node)).all(|callee| is_new[callee as usize]);
                once_more[at] = side.callees(Some(node)).any(|callee| once_more[callee as usize]);
            }
        }
    }
    // What a dependency does within is its own affair: the line that calls it is the user's.
    let leaves = |node: u32| is_own(node) && !comes_back[node as usize];
    let is_named = |node: u32| {
        let is_known = |function| {
            known.contains(&function) && once_more[node as usize]
                || names::is_clone(terms.name(function))
                || leaves(node)
        };
        side.tree.function(node, terms).is_none_or(is_known)
    };
    let mut named = Vec::new();
    let mut inside: HashSet<u32> = HashSet::new();
    let mut open: Vec<u32> = roots.iter().rev().copied().collect();
    while let Some(node) = open.pop() {
        // A root is called nowhere.
        if is_new[node as usize] && side.tree.position(node, terms).is_some() && is_named(node) {
            named.push((node, side.total(node)));
        } else if let Some(item) = by_leaf.get(&node) {
            inside.insert(node);
            named.extend((item.left != 0).then_some((node, item.left)));
        } else {
            open.extend(side.callees(Some(node)));
        }
    }
    let mut elsewhere: Vec<&&Item> =
        by_leaf.values().filter(|item| !item.is_new && item.left != 0 && !inside.contains(&item.leaf)).collect();
    elsewhere.sort_by_key(|item| item.leaf);
    named.extend(elsewhere.into_iter().map(|item| (item.leaf, item.left)));
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::explain::stacks::Frame;

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
        Stacks::for_test(list.iter().map(stack))
    }

    fn shown_with(before: &[(&str, i64)], now: &[(&str, i64)], diff: &str) -> Vec<String> {
        let (before, now, changed) = (stacks(before), stacks(now), ChangedLines::parse(diff, ""));
        let changes = Comparison::new(&before, &now, &changed).changes(Metric::AllocObjects);
        let sum: i64 = changes.iter().map(Change::difference).sum();
        assert_eq!(sum, now.total(Metric::AllocObjects) - before.total(Metric::AllocObjects));
        let line = |change: &Change| {
            let below: Vec<String> =
                change.below.iter().map(|step| format!(">{}:{}", step.function, step.line)).collect();
            format!(
                "{:+} {}{} ({} -> {}) :{}",
                change.difference(),
                change.path.join("<"),
                below.concat(),
                change.before,
                change.now,
                change.line
            )
        };
        changes.iter().map(line).collect()
    }

    fn shown(before: &[(&str, i64)], now: &[(&str, i64)]) -> Vec<String> {
        shown_with(before, now, "")
    }

    #[test]
    fn a_new_site_in_a_function_is_named_with_its_line() {
        let before = [("std::push@1 parse@80 load@10", 3)];
        let now = [("std::push@1 parse@81 load@11", 3), ("std::owned@1 parse@88 load@11", 3)];
        assert_eq!(shown(&before, &now), ["+3 parse<load (0 -> 3) :88"]);
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
        assert_eq!(shown(&before, &now), ["+4 f (0 -> 4) :15"]);
    }

    #[test]
    fn a_site_that_grew_keeps_its_line_and_one_that_is_gone_comes_last() {
        let before = [("std::owned@1 f@10", 1), ("std::owned@1 g@20", 9)];
        let now = [("std::owned@1 f@11", 5), ("h@3", 2)];
        assert_eq!(shown(&before, &now), ["+4 f (1 -> 5) :11", "+2 h (0 -> 2) :3", "-9 g (9 -> 0) :20"]);
    }

    #[test]
    fn the_new_call_of_a_helper_is_named_and_the_helper_below_it() {
        let before = [("std::collect@1 f@1 g@3 two@9", 2)];
        let now = [("std::collect@1 f@1 g@3 two@9", 2), ("std::collect@1 f@1 g@4 two@9", 1)];
        assert_eq!(shown(&before, &now), ["+1 g<two>f:1 (0 -> 1) :4"]);
    }

    #[test]
    fn a_line_that_allocates_in_calls_which_did_not_is_named_and_not_the_calls() {
        let other = ("std::clone@1 clone@7 u@3", 1);
        let before = [("std::grow@1 fill@5 read@10 t@20", 1), other];
        let now = [
            other,
            ("std::grow@1 fill@5 read@11 t@20", 1),
            ("std::clone@1 clone@7 read@10 t@20", 1),
            ("std::clone@1 clone@7 read@10 t@24", 3),
            ("std::clone@1 clone@8 read@10 t@28", 2),
        ];
        let culprit = ["+6 read<t>clone:7 (0 -> 6) :10"];
        assert_eq!(shown(&before, &now), culprit);
        let diff = "--- src/lib.rs\n+++ src/lib.rs\n@@ -9,0 +10 @@\n+    self.clone();\n";
        assert_eq!(shown_with(&before, &now, diff), culprit);
        // A changed line is named also where no call of the function allocated before.
        let now = [other, ("std::grow@1 fill@5 read@11 t@20", 1), ("std::clone@1 clone@7 read@10 t@24", 3)];
        assert_eq!(shown_with(&before, &now, diff), ["+3 read<t>clone:7 (0 -> 3) :10"]);
    }

    #[test]
    fn a_new_clone_is_named_where_it_is_called() {
        let before = [("std::grow@1 read@5 t@20", 1)];
        let clone = |at: &str| format!("std::v@1 <a::S_as_Clone>::clone@7 <a::R_as_Clone>::clone@3 {at}");
        let now = [clone("read@6 t@20"), clone("read@6 t@24")];
        let now = [("std::grow@1 read@5 t@20", 1), (now[0].as_str(), 1), (now[1].as_str(), 3)];
        let named = ["+4 read<t><a::R_as_Clone>::clone:3><a::S_as_Clone>::clone:7 (0 -> 4) :6"];
        assert_eq!(shown(&before, &now), named);
    }

    #[test]
    fn a_function_that_now_allocates_itself_is_named_and_not_its_call() {
        let before = [("std::grow@1 write@5 put@10 t@20", 1)];
        let now = [("std::grow@1 write@5 put@11 t@20", 1), ("std::owned@1 put@10 t@24", 2)];
        assert_eq!(shown(&before, &now), ["+2 put<t (0 -> 2) :10"]);
    }

    #[test]
    fn a_caller_that_was_renamed_hides_no_culprit() {
        let of = |middle: &str, last: i64| -> Vec<(String, i64)> {
            let sizes = [50, 40, 30, 20, 10, 9, last, 8];
            let stack = |at: usize| format!("std::v@1 s{at}@6 {middle}@{} top@2 wide@1", at + 10);
            (0..sizes.len()).map(|at| (stack(at), sizes[at])).collect()
        };
        let (before, now) = (of("mid", 1), of("middle", 2));
        let before: Vec<(&str, i64)> = before.iter().map(|(text, size)| (text.as_str(), *size)).collect();
        let now: Vec<(&str, i64)> = now.iter().map(|(text, size)| (text.as_str(), *size)).collect();
        assert_eq!(shown(&before, &now), ["+1 s6<middle<top<wide (1 -> 2) :6"]);
    }

    #[test]
    fn a_function_between_two_others_or_taken_out_of_one_costs_nothing() {
        let before = [("std::push@1 parse@80 load@10", 3), ("std::owned@1 parse@85 load@10", 1)];
        let between = [("std::push@1 parse@80 retry@4 load@10", 3), ("std::owned@1 parse@85 retry@4 load@10", 1)];
        assert!(shown(&before, &between).is_empty());
        let taken_out = [("std::push@1 rows@70 parse@80 load@10", 3), ("std::owned@1 parse@85 load@10", 1)];
        assert!(shown(&before, &taken_out).is_empty());
        let and_more = [("std::push@1 rows@70 parse@80 load@10", 3), ("std::owned@1 parse@85 load@10", 2)];
        assert_eq!(shown(&before, &and_more), ["+1 parse<load (1 -> 2) :85"]);
    }

    #[test]
    fn a_recursion_is_one_function() {
        let deep = |depth: usize| format!("std::box@1 mk@1 {}g@9 t@2", "mk@3 ".repeat(depth));
        let texts: Vec<String> = (0..6).map(deep).collect();
        let before: Vec<(&str, i64)> = texts[..5].iter().map(|text| (text.as_str(), 1)).collect();
        let now: Vec<(&str, i64)> = texts.iter().map(|text| (text.as_str(), 1)).collect();
        assert_eq!(shown(&before, &now), ["+1 mk<g<t (5 -> 6) :1"]);
    }

    #[test]
    fn instances_of_a_generic_and_numbers_of_closures_are_no_difference() {
        let before = [
            ("std::v@1 a::one::<u8>@3 t@9", 1),
            ("std::v@1 a::one::<i32>@3 t@10", 1),
            ("a::t::{closure#0}@5 t@12", 40),
        ];
        let now = [
            ("std::v@1 a::one::<u8>@3 t@9", 2),
            ("std::v@1 a::one::<i32>@3 t@10", 2),
            ("a::t::{closure#1}@5 t@13", 40),
        ];
        assert_eq!(shown(&before, &now), ["+2 a::one<t (2 -> 4) :3"]);
    }

    #[test]
    fn of_equal_lines_the_one_that_was_changed_is_named() {
        let before = [("std::new@1 f@10", 1)];
        let now = [("std::new@1 f@10", 1), ("std::new@1 f@11", 1)];
        let diff =
            |line: u32| format!("--- src/lib.rs\n+++ src/lib.rs\n@@ -9,0 +{line} @@\n+    let w = Box::new(n);\n");
        assert_eq!(shown_with(&before, &now, &diff(10)), ["+1 f (0 -> 1) :10"]);
        assert_eq!(shown_with(&before, &now, &diff(11)), ["+1 f (0 -> 1) :11"]);
        assert_eq!(shown(&before, &now), ["+1 f (0 -> 1) :11"]);
    }

    #[test]
    fn a_changed_line_that_leads_to_more_is_named_though_the_helper_allocates() {
        let before = [("std::collect@1 f@1 g@3 two@9", 2)];
        let now = [("std::collect@1 f@1 g@3 two@9", 3)];
        let diff = "--- src/lib.rs\n+++ src/lib.rs\n@@ -3 +3 @@\n-    f(f(n));\n+    f(f(f(n)));\n";
        assert_eq!(shown_with(&before, &now, diff), ["+1 g<two>f:1 (2 -> 3) :3"]);
        assert_eq!(shown(&before, &now), ["+1 f<g<two (2 -> 3) :1"]);
    }

    #[test]
    fn what_took_the_place_of_an_allocation_is_named() {
        // `Vec::with_capacity(n)` became `Vec::new()`, and the line that pushes is the old one.
        let before = [("std::with_capacity@1 f@6 t@9", 1)];
        let now = [("std::push@1 f@8 t@9", 5)];
        let diff = "--- src/lib.rs\n+++ src/lib.rs\n@@ -6 +6 @@\n-    Vec::with_capacity(n);\n+    Vec::new();\n";
        assert_eq!(shown_with(&before, &now, diff), ["+4 f<t (1 -> 5) :6"]);
        assert_eq!(shown(&before, &now), ["+4 f<t (1 -> 5) :8"]);
    }

    #[test]
    fn very_many_calls_of_one_function_are_matched_by_what_they_do() {
        let texts: Vec<String> = (0..1000).map(|line| format!("std::v@1 f@1 g@{line}")).collect();
        let of = |more: usize| -> Vec<(&str, i64)> {
            let size = |at: usize| at as i64 + 1 + i64::from(at == more);
            texts.iter().enumerate().map(|(at, text)| (text.as_str(), size(at))).collect()
        };
        assert_eq!(shown(&of(5000), &of(999)), ["+1 f<g (1000 -> 1001) :1"]);
    }

    #[test]
    fn nothing_and_all_are_compared_too() {
        let some = [("std::push@1 parse@80 load@10", 3)];
        assert_eq!(shown(&[], &some), ["+3 parse<load (0 -> 3) :80"]);
        assert_eq!(shown(&some, &[]), ["-3 parse<load (3 -> 0) :80"]);
        assert!(shown(&[], &[]).is_empty());
    }

    #[test]
    fn a_function_that_begins_to_allocate_is_named_and_not_its_call() {
        let before = [("std::push@1 parse@80 load@10", 3)];
        let now = [("std::push@1 parse@80 load@10", 3), ("std::owned@1 check@41 rule@30 parse@81 load@10", 2)];
        assert_eq!(shown(&before, &now), ["+2 check<rule<parse<load (0 -> 2) :41"]);
    }
}
