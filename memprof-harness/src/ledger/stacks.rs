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

use super::callees::{Callee, Callees};
use std::collections::HashMap;
use std::mem::size_of;
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
    callees: Callees,
    /// Of a ledger that somebody made up, the hashes cannot be foreseen.
    address_ids: HashMap<u64, AddressId>,
    /// Addresses and their ids, each at one of so many places, since the same few return addresses come again and again.
    met_lately: Vec<(u64, AddressId)>,
}

/// A power of two.
const MET_LATELY: usize = 1024;

impl StackTable {
    /// The stack that has `address` innermost and is called by `caller`, added if it is new. `None` where there are 2^32 of them.
    pub fn push(&mut self, caller: Option<StackId>, address: u64) -> Option<StackId> {
        let address = self.address_id(address)?;
        let nodes = &self.stacks.nodes;
        let node = |number: usize| {
            nodes.get(number).map_or((None, u32::MAX), |node| (node.caller.map(StackId::index), node.address.0))
        };
        match self.callees.enter(caller.map(StackId::index), address.0, node)? {
            Callee::Known(number) => StackId::from_index(number),
            Callee::New(number) => {
                let id = StackId::from_index(number)?;
                self.stacks.nodes.push(StackNode { caller, address });
                Some(id)
            }
        }
    }

    fn address_id(&mut self, address: u64) -> Option<AddressId> {
        if self.met_lately.is_empty() {
            // No table has so many addresses.
            self.met_lately = vec![(0, AddressId(u32::MAX)); MET_LATELY];
        }
        // Fibonacci hashing: the upper bits are well mixed.
        let place = (address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & (MET_LATELY - 1);
        if let Some((_, id)) = self.met_lately.get(place).filter(|met| met.0 == address && met.1 .0 != u32::MAX) {
            return Some(*id);
        }
        let next = AddressId(u32::try_from(self.stacks.addresses.len()).ok().filter(|next| *next != u32::MAX)?);
        let id = *self.address_ids.entry(address).or_insert(next);
        if id == next {
            self.stacks.addresses.push(address);
        }
        if let Some(met) = self.met_lately.get_mut(place) {
            *met = (address, id);
        }
        Some(id)
    }

    /// The finished stacks.
    #[must_use]
    pub fn finish(mut self) -> Stacks {
        self.stacks.nodes.shrink_to_fit();
        self.stacks
    }
}

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
