//! Finds moved allocations: a caller that was renamed, or a function that was put between two others or taken out from
//! between them, makes calls that one side lacks, with the same allocations below. They are matched by the allocating
//! function. Pure.

use super::align::{Rest, Side};
use super::tree::{Target, Terms};
use crate::gate::explain::changed_lines::ChangedLines;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;

/// Pairs of one kind beyond which they are taken as they come.
const MOST_COMPARED: usize = 40_000;

/// An allocation that the two sides do not have alike.
#[derive(Debug, Clone)]
pub struct Item {
    pub leaf: u32,
    /// The function that allocates, and that of the standard library which it asks.
    pub function: Option<u32>,
    through: Target,
    /// How much more of it there is than on the other side, as far as nothing there makes up for it.
    pub left: i64,
    /// Nothing on the other side is like it.
    pub is_new: bool,
}

/// What the two sides have more of than each other, and nothing makes up for.
#[derive(Debug, Default)]
pub struct Balance {
    pub losses: Vec<Item>,
    pub gains: Vec<Item>,
}

impl Balance {
    pub fn of(before: &Side<'_>, now: &Side<'_>, rest: &Rest, terms: &Terms, changed: &ChangedLines) -> Balance {
        let mut balance = Balance { losses: items(before, &rest.lost, terms), gains: items(now, &rest.gained, terms) };
        for &(old, new) in &rest.differing {
            let more = now.total(new).saturating_sub(before.total(old));
            let (side, leaf, items) =
                if more > 0 { (now, new, &mut balance.gains) } else { (before, old, &mut balance.losses) };
            items.push(Item { left: more.saturating_abs(), is_new: false, ..item(side, leaf, terms) });
        }
        let sides = (before, now, terms, changed);
        let known = [before, now].map(|side| side.functions(terms));
        // A function that only one side has was taken out of another, or put into it.
        let is_of_both =
            |item: &Item| item.function.is_some_and(|function| known.iter().all(|known| known.contains(&function)));
        let any = |_: &Item, _: &Item| true;
        // What is alike in most comes first.
        balance.pair(sides, |item| (item.function, item.through, item.left), any);
        balance.pair(sides, |item| (item.through, item.left), |a, b| !is_of_both(a) || !is_of_both(b));
        balance.pair(sides, |item| (item.function, item.left), any);
        balance.pair(sides, |item| (item.through, item.left), any);
        balance.pair(sides, |item| (item.function, item.through), any);
        balance.pair(sides, |item| item.function, any);
        balance
    }

    /// Lets losses and gains with the same key make up for each other; of several, those whose callers and callees are most alike.
    fn pair<K: Eq + Hash>(
        &mut self,
        (before, now, terms, changed): (&Side<'_>, &Side<'_>, &Terms, &ChangedLines),
        key: impl Fn(&Item) -> K,
        fits: impl Fn(&Item, &Item) -> bool,
    ) {
        let mut kinds: HashMap<K, (Vec<usize>, Vec<usize>)> = HashMap::new();
        for (number, item) in self.losses.iter().enumerate().filter(|(_, item)| item.left != 0) {
            kinds.entry(key(item)).or_default().0.push(number);
        }
        if kinds.is_empty() {
            return;
        }
        for (number, item) in self.gains.iter().enumerate().filter(|(_, item)| item.left != 0) {
            if let Some(kind) = kinds.get_mut(&key(item)) {
                kind.1.push(number);
            }
        }
        for (losses, gains) in kinds.into_values() {
            let pairs: Vec<(usize, usize)> = if losses.len() * gains.len() > MOST_COMPARED {
                losses.into_iter().zip(gains).collect()
            } else {
                let path = |side: &Side<'_>, leaf: u32| -> Vec<Option<u32>> {
                    side.tree.callers(leaf).skip(1).map(|node| side.tree.function(node, terms)).collect()
                };
                let of_loss: Vec<_> = losses.iter().map(|loss| path(before, self.losses[*loss].leaf)).collect();
                let of_gain: Vec<_> = gains.iter().map(|gain| path(now, self.gains[*gain].leaf)).collect();
                let mut pairs = Vec::with_capacity(losses.len() * gains.len());
                for (loss, a) in losses.iter().zip(&of_loss) {
                    for (gain, b) in gains.iter().zip(&of_gain) {
                        let is_changed = changed.has(now.tree.position(self.gains[*gain].leaf, terms));
                        pairs.push((Reverse(common_ends(a, b)), is_changed, *loss, *gain));
                    }
                }
                pairs.sort_unstable();
                pairs.into_iter().map(|(.., loss, gain)| (loss, gain)).collect()
            };
            for (loss, gain) in pairs {
                let (loss, gain) = (&mut self.losses[loss], &mut self.gains[gain]);
                let common = loss.left.min(gain.left);
                if common > 0 && fits(loss, gain) {
                    loss.left -= common;
                    gain.left -= common;
                    (loss.is_new, gain.is_new) = (false, false);
                }
            }
        }
    }
}

/// How much the two paths have in common from both ends.
fn common_ends<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let inner = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let outer = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    (inner + outer).min(a.len().min(b.len()))
}

/// All allocations below `roots`.
fn items(side: &Side<'_>, roots: &[u32], terms: &Terms) -> Vec<Item> {
    let mut open: Vec<u32> = roots.iter().rev().copied().collect();
    let mut items = Vec::new();
    while let Some(node) = open.pop() {
        match side.tree.target(node, terms) {
            Target::Allocation(_) => items.push(item(side, node, terms)),
            Target::Call(_) => {
                let from = open.len();
                open.extend(side.callees(Some(node)));
                open[from..].reverse();
            }
        }
    }
    items
}

fn item(side: &Side<'_>, leaf: u32, terms: &Terms) -> Item {
    Item {
        leaf,
        function: side.tree.caller(leaf).and_then(|caller| side.tree.function(caller, terms)),
        through: side.tree.target(leaf, terms),
        left: side.total(leaf),
        is_new: true,
    }
}
