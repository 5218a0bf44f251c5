//! The stacks of a ledger, as a trie that grows from the roots: stacks with the same outer frames share them.
//!
//! A *node* is one return address under its caller. A stack is known by its innermost node, and spelt out by following the
//! callers. The return addresses are a table of their own, each there once, because a million nodes stand for some thousand
//! places in the code.
//!
//! **Encoding**: node `i` is eight bytes: the number of its caller plus 1 (0 = it is a root), and the number of its address.
//!
//! **Invariant**: a caller's number is lower than that of what it calls, and no two nodes have the same caller and address. So
//! what each node derives from its caller is had in one pass over the table, and equal stacks have equal ids.
//!
//! **Why**: a tree of calls with a million ways through it, each 122 frames long, is 976 MB of addresses when they are spelt out, and
//! some two million nodes here.
//!
//! **Example**: `main` calls `parse` and `print`, and both call `push`; as stacks `push < parse < main` and `push < print < main`:
//!
//! | node | caller | address |
//! | --- | --- | --- |
//! | 0 | – | `main` |
//! | 1 | 0 | `parse` |
//! | 2 | 1 | `push` |
//! | 3 | 0 | `print` |
//! | 4 | 3 | `push` |
//!
//! The two stacks are 2 and 4.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;

/// Stands for a stack of one ledger, and for its innermost node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(NonZeroU32);

impl StackId {
    fn from_index(index: usize) -> Option<StackId> {
        let number = u32::try_from(index).ok()?.checked_add(1)?;
        NonZeroU32::new(number).map(StackId)
    }

    /// The number of the node.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Stands for a return address of one ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressId(u32);

impl AddressId {
    /// The address's number in [`Stacks::addresses`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One return address under its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StackNode {
    /// `None`: the outermost frame that is known.
    pub caller: Option<StackId>,
    pub address: AddressId,
}

const _: () = assert!(size_of::<StackNode>() == 8);

/// All stacks of a ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stacks {
    nodes: Vec<StackNode>,
    addresses: Vec<u64>,
}

impl Stacks {
    /// The innermost frame of `id` and its caller.
    ///
    /// # Panics
    /// Where `id` is of another ledger's.
    #[must_use]
    pub fn get(&self, id: StackId) -> StackNode {
        self.nodes[id.index()]
    }

    /// The return addresses of `id`, innermost first. None of `None`, the empty stack.
    pub fn frames(&self, id: Option<StackId>) -> impl Iterator<Item = u64> + '_ {
        let mut next = id;
        std::iter::from_fn(move || {
            let node = self.get(next?);
            next = node.caller;
            self.addresses.get(node.address.index()).copied()
        })
    }

    /// Every node, callers before what they call.
    pub fn nodes(&self) -> &[StackNode] {
        &self.nodes
    }

    /// The distinct return addresses, in the order in which they were met; see [`AddressId::index`].
    #[must_use]
    pub fn addresses(&self) -> &[u64] {
        &self.addresses
    }
}

/// Stacks in the making.
#[derive(Debug, Default)]
pub struct StackTable {
    stacks: Stacks,
    /// Which nodes there are: open addressing with linear probing; an entry is a node's number plus 1, 0 = empty. The length
    /// is a power of two, or 0.
    slots: Vec<u32>,
    address_ids: HashMap<u64, AddressId>,
    /// Of a ledger that somebody made up, the slots cannot be foreseen either.
    hashes: RandomState,
}

impl StackTable {
    /// The stack that has `address` innermost and is called by `caller`, added if it is new. `None` where there are 2^32 of them.
    pub fn push(&mut self, caller: Option<StackId>, address: u64) -> Option<StackId> {
        let next = AddressId(u32::try_from(self.stacks.addresses.len()).ok()?);
        let address_id = *self.address_ids.entry(address).or_insert(next);
        if address_id == next {
            self.stacks.addresses.push(address);
        }
        let node = StackNode { caller, address: address_id };
        // What is called has a higher number than its caller, so the newest node has called nothing so far: most are found without a
        // look, since a stack that is new is so from some frame on.
        let calls_nothing = caller.is_some_and(|caller| caller.index() + 1 == self.stacks.nodes.len());
        if let Some(found) = (!calls_nothing).then(|| self.find(node)).flatten() {
            return Some(found);
        }
        let id = StackId::from_index(self.stacks.nodes.len())?;
        self.stacks.nodes.push(node);
        // Two thirds full at most.
        if self.stacks.nodes.len() * 3 > self.slots.len() * 2 {
            self.grow();
        } else {
            self.enter(node, id);
        }
        Some(id)
    }

    /// The node that is equal to `node`.
    fn find(&self, node: StackNode) -> Option<StackId> {
        let mut ids = self.places(node).map_while(|slot| NonZeroU32::new(*self.slots.get(slot)?)).map(StackId);
        ids.find(|id| self.stacks.get(*id) == node)
    }

    /// Puts a node that is not there into the first free slot from where it belongs.
    fn enter(&mut self, node: StackNode, id: StackId) {
        let free = self.places(node).find(|slot| self.slots.get(*slot) == Some(&0));
        if let Some(slot) = free.and_then(|slot| self.slots.get_mut(slot)) {
            *slot = id.0.get();
        }
    }

    /// The slots in the order in which `node` is looked for in them.
    fn places(&self, node: StackNode) -> impl Iterator<Item = usize> {
        let mask = self.slots.len().wrapping_sub(1);
        let first = self.hashes.hash_one(node) as usize;
        (0..self.slots.len()).map(move |step| first.wrapping_add(step) & mask)
    }

    /// Makes twice as many slots and enters all nodes anew.
    fn grow(&mut self) {
        self.slots = vec![0; (self.slots.len() * 2).max(FIRST_SLOTS)];
        for index in 0..self.stacks.nodes.len() {
            let Some(id) = StackId::from_index(index) else { break };
            self.enter(self.stacks.get(id), id);
        }
    }

    /// The finished stacks.
    #[must_use]
    pub fn finish(mut self) -> Stacks {
        self.stacks.nodes.shrink_to_fit();
        self.stacks
    }
}

/// Slots of a table that has a node.
const FIRST_SLOTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn push(table: &mut StackTable, stack: &[u64]) -> Option<StackId> {
        stack.iter().rev().fold(None, |caller, &address| table.push(caller, address))
    }

    #[test]
    fn stacks_share_their_callers_and_equal_ones_are_one() {
        let mut table = StackTable::default();
        let parse = push(&mut table, &[3, 2, 1]);
        let print = push(&mut table, &[3, 4, 1]);
        let caller = push(&mut table, &[2, 1]);
        assert_ne!(parse, print);
        assert_eq!(push(&mut table, &[3, 2, 1]), parse);
        let stacks = table.finish();
        assert_eq!(stacks.nodes().len(), 5);
        assert_eq!(stacks.addresses(), [1, 2, 3, 4]);
        assert_eq!(stacks.frames(parse).collect::<Vec<_>>(), [3, 2, 1]);
        assert_eq!(stacks.frames(caller).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(stacks.frames(None).count(), 0);
    }

    #[test]
    fn callers_have_lower_numbers_than_what_they_call_however_many_there_are() {
        let mut table = StackTable::default();
        let count = if cfg!(miri) { 200 } else { 20_000 };
        for number in 0..count {
            // Paths of up to 20 frames, two ways on from each.
            let stack: Vec<u64> = (0..number % 20).map(|frame| frame * 2 + (number >> frame & 1)).collect();
            push(&mut table, &stack);
        }
        let stacks = table.finish();
        let mut seen = std::collections::HashSet::new();
        for (index, node) in stacks.nodes().iter().enumerate() {
            assert!(node.caller.map(StackId::index) < Some(index));
            assert!(seen.insert(*node), "{node:?} is there twice");
        }
    }
}
