//! Which nodes of a trie are called by which: the index with which equal nodes are found while the trie grows.
//!
//! **Encoding**: for each caller its newest callee, and for each node the callee of the same caller before it. The first of these lists that
//! belongs to no node is that of the roots.
//!
//! **Why**: a trie is filled by stacks that have most of their callers in common with the stack before, so what is looked for
//! is nearly always new, or the newest. A hash table would touch memory at random for each node, millions of times; here a new node
//! goes beside its caller, which was touched just now. Callers with more than [`MOST_LOOKED_AT`] callees have these in a map besides, so
//! that none takes more than so many steps.
//!
//! **Example**: the roots are 0 and 3, and 0 calls 1 and 2: the newest root is 3, the one before it 0; the newest callee of 0 is 2, the one
//! before it 1.

use std::collections::{HashMap, HashSet};

/// Callees that are looked at one by one.
const MOST_LOOKED_AT: usize = 16;

/// See above. Nodes are numbered in the order in which they are added.
#[derive(Debug, Clone)]
pub struct Callees {
    /// The first is the roots', the others are the nodes'.
    links: Vec<Link>,
    /// Callers with many callees, as places in `links`.
    crowded: HashSet<u32>,
    /// What these call: the caller's place and the callee's key to the callee's number. Its hashes cannot be foreseen.
    of_crowded: HashMap<(u32, u32), u32>,
}

/// Places in `links`, 0 = none.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    newest: u32,
    before: u32,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callee {
    /// The node with this number.
    Known(usize),
    /// There was none. It has this number now, which is one more than the last one's.
    New(usize),
}

impl Default for Callees {
    fn default() -> Callees {
        Callees { links: vec![Link::default()], crowded: HashSet::new(), of_crowded: HashMap::new() }
    }
}

impl Callees {
    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.links.len() - 1
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes room for so many nodes more.
    pub fn reserve(&mut self, more: usize) {
        self.links.reserve_exact(more);
    }

    /// The node that `caller` calls (`None`: a root) and that `key` tells from all others it calls; added if it is new. `key_of` gives the keys of nodes
    /// that are there. `None` where there are 2^32 of them, or no such caller.
    pub fn enter(&mut self, caller: Option<usize>, key: u32, key_of: impl Fn(usize) -> u32) -> Option<Callee> {
        let slot = u32::try_from(caller.map_or(0, |caller| caller + 1)).ok()?;
        let newest = self.links.get(slot as usize)?.newest;
        let (mut at, mut looked_at) = (newest, 0);
        while at != 0 && looked_at < MOST_LOOKED_AT {
            let number = at as usize - 1;
            if key_of(number) == key {
                return Some(Callee::Known(number));
            }
            at = self.links.get(at as usize)?.before;
            looked_at += 1;
        }
        let new = u32::try_from(self.links.len()).ok()?;
        let number = new as usize - 1;
        if looked_at == MOST_LOOKED_AT {
            if self.crowded.insert(slot) {
                let mut at = newest;
                while at != 0 {
                    self.of_crowded.insert((slot, key_of(at as usize - 1)), at - 1);
                    at = self.links.get(at as usize)?.before;
                }
            }
            if let Some(known) = self.of_crowded.get(&(slot, key)) {
                return Some(Callee::Known(*known as usize));
            }
            self.of_crowded.insert((slot, key), new - 1);
        }
        self.links.push(Link { newest: 0, before: newest });
        self.links.get_mut(slot as usize)?.newest = new;
        Some(Callee::New(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_callee_is_found_again_however_many_a_caller_has() {
        let mut callees = Callees::default();
        let mut keys: Vec<u32> = Vec::new();
        let mut enter = |caller, key| {
            let entered = callees.enter(caller, key, |number| keys[number]).expect("the caller is there");
            if let Callee::New(number) = entered {
                assert_eq!(number, keys.len());
                keys.push(key);
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
    fn what_no_node_calls_is_not_entered() {
        let mut callees = Callees::default();
        assert_eq!(callees.enter(Some(0), 1, |_| 0), None);
        assert!(callees.is_empty());
    }
}
