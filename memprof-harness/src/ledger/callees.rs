//! Which nodes of a trie are called by which: the index with which equal nodes are found while the trie grows.
//!
//! **Encoding**: the first callee of a node is mostly the one that was added right after it, so of each caller that one is looked at first, and what
//! else it calls is in a map, by caller and key. Of the roots it is node 0.
//!
//! **Why**: a trie is filled by stacks that have some of their callers in common with the stack before, and the rest for themselves: each of these calls the
//! next one. So a node takes no memory here but where calls branch, and is found without a look at memory that was not touched just now. A map
//! of all nodes would be touched at random for each of them, millions of times, and lists of callees take as much as the nodes.
//!
//! **Example**: the roots are 0 and 3, and 0 calls 1 and 2: 0 and 1 are found by their numbers, 2 and 3 in the map.

use std::collections::HashMap;

/// See above. Nodes are numbered in the order in which they are added.
#[derive(Debug, Clone, Default)]
pub struct Callees {
    /// How many nodes there are.
    len: usize,
    /// Those that do not come right after their callers: the caller's number + 1 (0 = it is a root) and the node's key, to the node's number. Its hashes
    /// cannot be foreseen.
    others: HashMap<(u32, u32), u32>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callee {
    /// The node with this number.
    Known(usize),
    /// There was none. It has this number now, which is one more than the last one's.
    New(usize),
}

impl Callees {
    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The node that `caller` calls (`None`: a root) and that `key` tells from all others it calls; added if it is new. `node` gives the callers and
    /// keys of nodes that are there. `None` where there are 2^32 of them, or no such caller.
    pub fn enter(
        &mut self,
        caller: Option<usize>,
        key: u32,
        node: impl Fn(usize) -> (Option<usize>, u32),
    ) -> Option<Callee> {
        let beside = caller.map_or(0, |caller| caller + 1);
        if beside > self.len {
            return None;
        }
        let new = u32::try_from(self.len).ok().filter(|new| *new != u32::MAX)?;
        if beside < self.len {
            if node(beside) == (caller, key) {
                return Some(Callee::Known(beside));
            }
            let known = *self.others.entry((u32::try_from(beside).ok()?, key)).or_insert(new);
            if known != new {
                return Some(Callee::Known(known as usize));
            }
        }
        self.len += 1;
        Some(Callee::New(new as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_callee_is_found_again_however_many_a_caller_has() {
        let mut callees = Callees::default();
        let mut nodes: Vec<(Option<usize>, u32)> = Vec::new();
        let mut enter = |caller, key| {
            let entered = callees.enter(caller, key, |number| nodes[number]).expect("the caller is there");
            if let Callee::New(number) = entered {
                assert_eq!(number, nodes.len());
                nodes.push((caller, key));
            }
            entered
        };
        assert_eq!(enter(None, 7), Callee::New(0));
        for round in 0..2 {
            for key in 0..100 {
                for caller in [0, 1, 2] {
                    let entered = enter(Some(caller), key);
                    assert_eq!(matches!(entered, Callee::New(_)), round == 0, "{key} of {caller}");
                }
            }
        }
        assert_eq!(enter(None, 7), Callee::Known(0));
        assert_eq!(enter(Some(300), 7), Callee::New(301));
    }

    #[test]
    fn what_has_one_caller_and_one_callee_takes_no_memory() {
        let mut callees = Callees::default();
        let chain = |number: usize| (number.checked_sub(1), 7);
        for number in 0..1000_usize {
            assert_eq!(callees.enter(number.checked_sub(1), 7, chain), Some(Callee::New(number)));
        }
        for number in 0..1000_usize {
            assert_eq!(callees.enter(number.checked_sub(1), 7, chain), Some(Callee::Known(number)));
        }
        assert!(callees.others.is_empty());
        assert_eq!(callees.enter(Some(500), 8, chain), Some(Callee::New(1000)));
        assert_eq!(callees.others.len(), 1);
    }

    #[test]
    fn what_no_node_calls_is_not_entered() {
        let mut callees = Callees::default();
        assert_eq!(callees.enter(Some(0), 1, |_| (None, 0)), None);
        assert!(callees.is_empty());
    }
}
