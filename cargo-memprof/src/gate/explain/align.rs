//! Aligns the calls of two trees. An edit moves all lines below it, so the calls of one function are matched by their
//! order and not by their line numbers. Pure.

use super::tree::{Target, Terms, Tree};
use crate::gate::explain::changed_lines::ChangedLines;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Calls of one function in another beyond which they are matched by what they do alone.
const MOST_ALIGNED: usize = 200;

/// One side, for one metric.
pub struct Side<'a> {
    pub tree: &'a Tree,
    /// What each node and all that it calls have.
    pub totals: Vec<i64>,
    /// Nodes that do the same have the same.
    signatures: Vec<u64>,
}

impl<'a> Side<'a> {
    pub fn new(tree: &'a Tree, totals: Vec<i64>, terms: &Terms) -> Side<'a> {
        let mut signatures = vec![0; tree.len()];
        for node in (0..tree.len() as u32).rev() {
            let mut hasher = DefaultHasher::new();
            (tree.target(node, terms), totals[node as usize]).hash(&mut hasher);
            for callee in tree.callees(Some(node)).iter().filter(|callee| totals[**callee as usize] != 0) {
                signatures[*callee as usize].hash(&mut hasher);
            }
            signatures[node as usize] = hasher.finish();
        }
        Side { tree, totals, signatures }
    }

    pub fn total(&self, node: u32) -> i64 {
        self.totals[node as usize]
    }

    fn signature(&self, node: u32) -> u64 {
        self.signatures[node as usize]
    }

    /// Those below which anything is allocated.
    pub fn functions(&self, terms: &Terms) -> HashSet<u32> {
        let nodes = (0..self.tree.len() as u32).filter(|node| self.total(*node) != 0);
        nodes.filter_map(|node| self.tree.function(node, terms)).collect()
    }

    /// Those that ask for memory themselves, or through the standard library.
    pub fn allocating(&self, terms: &Terms) -> HashSet<u32> {
        let nodes = (0..self.tree.len() as u32).filter(|node| self.total(*node) != 0);
        let leaves = nodes.filter(|node| matches!(self.tree.target(*node, terms), Target::Allocation(_)));
        leaves.filter_map(|leaf| self.tree.function(self.tree.caller(leaf)?, terms)).collect()
    }

    /// What `node` calls and anything comes of.
    pub fn callees(&self, node: Option<u32>) -> impl Iterator<Item = u32> {
        self.tree.callees(node).iter().copied().filter(|callee| self.total(*callee) != 0)
    }
}

/// What is left when all that is the same has been matched.
#[derive(Debug, Default)]
pub struct Rest {
    /// Calls that the other side does not have, the outermost alone.
    pub lost: Vec<u32>,
    pub gained: Vec<u32>,
    /// Allocations that both have, but not as many of them.
    pub differing: Vec<(u32, u32)>,
}

/// Matches `before` with `now`.
pub fn align(before: &Side<'_>, now: &Side<'_>, terms: &Terms, changed: &ChangedLines) -> Rest {
    let mut rest = Rest::default();
    let mut open = vec![(None, None)];
    while let Some((old, new)) = open.pop() {
        let target = |side: &Side<'_>, node: u32| side.tree.target(node, terms);
        let (old, new): (Vec<u32>, Vec<u32>) = (before.callees(old).collect(), now.callees(new).collect());
        let (mut i, mut j) = (0, 0);
        // Both are in the order of their targets.
        while i < old.len() || j < new.len() {
            let of_old = old.get(i).map(|node| target(before, *node));
            let of_new = new.get(j).map(|node| target(now, *node));
            let group: Target = match (of_old, of_new) {
                (Some(a), Some(b)) => a.min(b),
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => break,
            };
            let olds = old[i..].iter().take_while(|node| target(before, **node) == group).count();
            let news = new[j..].iter().take_while(|node| target(now, **node) == group).count();
            let (olds, news) = (&old[i..i + olds], &new[j..j + news]);
            (i, j) = (i + olds.len(), j + news.len());
            let pairs = match olds.len().max(news.len()) > MOST_ALIGNED {
                true => by_signature(before, now, olds, news),
                false => in_order(before, now, olds, news, &|node| changed.has(now.tree.position(node, terms))),
            };
            let (matched, found): (HashSet<u32>, HashSet<u32>) = pairs.iter().copied().unzip();
            rest.lost.extend(olds.iter().filter(|old| !matched.contains(old)));
            rest.gained.extend(news.iter().filter(|new| !found.contains(new)));
            for (old, new) in pairs {
                if before.signature(old) == now.signature(new) {
                    continue;
                }
                match group {
                    Target::Call(_) => open.push((Some(old), Some(new))),
                    Target::Allocation(_) => rest.differing.push((old, new)),
                }
            }
        }
    }
    rest
}

/// The cost of an alignment, and how many of the calls that it leaves over stand where the source has not changed.
type Cost = (u128, u32);

/// Pairs in the order of both, at the least cost. To leave a call over costs more than to match it with one that does something else, and the more
/// the two differ the more that costs. Among equals, those are left over that stand where the source has changed, then the later.
fn in_order(
    before: &Side<'_>,
    now: &Side<'_>,
    olds: &[u32],
    news: &[u32],
    is_changed: &dyn Fn(u32) -> bool,
) -> Vec<(u32, u32)> {
    if let (&[old], &[new]) = (olds, news) {
        return vec![(old, new)];
    }
    let size = |total: i64| u128::from(total.unsigned_abs());
    let left_over = |total: i64| 2 + size(total);
    let matching = |old: u32, new: u32| match before.signature(old) == now.signature(new) {
        true => 0,
        false => 1 + size(before.total(old).saturating_sub(now.total(new))),
    };
    let add = |(cost, unchanged): Cost, more: u128, one: bool| (cost + more, unchanged + u32::from(one));
    let mut costs: Vec<Vec<Cost>> = vec![vec![(0, 0); news.len() + 1]; olds.len() + 1];
    for i in (0..=olds.len()).rev() {
        for j in (0..=news.len()).rev() {
            let lose = || add(costs[i + 1][j], left_over(before.total(olds[i])), false);
            let gain = || add(costs[i][j + 1], left_over(now.total(news[j])), !is_changed(news[j]));
            costs[i][j] = match (i < olds.len(), j < news.len()) {
                (true, true) => add(costs[i + 1][j + 1], matching(olds[i], news[j]), false).min(lose()).min(gain()),
                (true, false) => lose(),
                (false, true) => gain(),
                (false, false) => (0, 0),
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < olds.len() && j < news.len() {
        let best = costs[i][j];
        if best == add(costs[i + 1][j + 1], matching(olds[i], news[j]), false) {
            pairs.push((olds[i], news[j]));
            (i, j) = (i + 1, j + 1);
        } else if best == add(costs[i + 1][j], left_over(before.total(olds[i])), false) {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

/// Of very many: those that do the same, and then what is left, the largest with the largest.
fn by_signature(before: &Side<'_>, now: &Side<'_>, olds: &[u32], news: &[u32]) -> Vec<(u32, u32)> {
    let mut olds: Vec<u32> = olds.to_vec();
    let mut news: Vec<u32> = news.to_vec();
    olds.sort_by_key(|node| (std::cmp::Reverse(before.total(*node)), before.signature(*node)));
    news.sort_by_key(|node| (std::cmp::Reverse(now.total(*node)), now.signature(*node)));
    let key = |side: &Side<'_>, node: u32| (std::cmp::Reverse(side.total(node)), side.signature(node));
    let (mut pairs, mut lost, mut gained) = (Vec::new(), Vec::new(), Vec::new());
    let (mut i, mut j) = (0, 0);
    while i < olds.len() && j < news.len() {
        match key(before, olds[i]).cmp(&key(now, news[j])) {
            std::cmp::Ordering::Equal => {
                pairs.push((olds[i], news[j]));
                (i, j) = (i + 1, j + 1);
            }
            std::cmp::Ordering::Less => {
                lost.push(olds[i]);
                i += 1;
            }
            std::cmp::Ordering::Greater => {
                gained.push(news[j]);
                j += 1;
            }
        }
    }
    lost.extend(&olds[i..]);
    gained.extend(&news[j..]);
    pairs.extend(lost.into_iter().zip(gained));
    pairs
}
