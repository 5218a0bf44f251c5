//! The stacks of a profile as a trie that grows from the roots: stacks with the same callers share them, and a stack is known by
//! its innermost node.
//!
//! **Encoding**: node `i` is eight bytes: the number of its caller plus 1 (0 = it is a root), and the number of its location.
//!
//! **Invariant**: a caller's number is lower than that of what it calls, and no two nodes have the same caller and location. So
//! what each node derives from its caller is had in one pass over the table, and equal stacks have equal ids. In a finished
//! profile the nodes are besides in the order of a walk through the tree: each is followed by all that it calls, by location.
//!
//! **Why**: a million stacks of 122 locations would be half a gigabyte spelt out, and merging two profiles, summing up over callers and
//! ordering would compare them as texts. As a trie they are some two million nodes, and all three are one pass.
//!
//! **Example**: `main` calls `parse` and `print`, and both call `push`:
//!
//! | node | caller | location |
//! | --- | --- | --- |
//! | 0 | – | `main` |
//! | 1 | 0 | `parse` |
//! | 2 | 1 | `push` |
//! | 3 | 0 | `print` |
//! | 4 | 3 | `push` |
//!
//! Node 2 is the stack `push < parse < main`, node 4 `push < print < main`.

use super::location::LocationId;
use super::table::{RowId, row_id};
use memprof_harness::ledger::{Callee, Callees};

row_id! {
    /// Stands for a stack of one profile: its innermost location and, through it, all callers.
    StackId
}

/// One location under its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StackNode {
    /// The caller; `None` at a root.
    pub caller: Option<StackId>,
    /// The innermost location.
    pub location: LocationId,
}

const _: () = assert!(size_of::<StackNode>() == 8);

/// All stacks of a profile.
#[derive(Debug, Clone, Default)]
pub struct Stacks {
    nodes: Vec<StackNode>,
}

impl Stacks {
    /// Adds a node, which must be a new one.
    pub(super) fn add(&mut self, node: StackNode) -> StackId {
        let id = StackId::from_index(self.nodes.len());
        debug_assert!(node.caller.is_none_or(|caller| caller < id), "callers come first");
        self.nodes.push(node);
        id
    }

    /// Makes room for `more` nodes.
    pub(super) fn reserve(&mut self, more: usize) {
        self.nodes.reserve_exact(more);
    }

    /// The innermost location of `id` and its caller.
    pub fn get(&self, id: StackId) -> StackNode {
        self.nodes[id.index()]
    }

    /// The locations of `id`, innermost first.
    pub fn locations(&self, id: StackId) -> impl Iterator<Item = LocationId> {
        let mut next = Some(id);
        std::iter::from_fn(move || {
            let node = self.get(next?);
            next = node.caller;
            Some(node.location)
        })
    }

    /// Every node, callers before what they call.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (StackId, StackNode)> {
        self.nodes.iter().enumerate().map(|(index, node)| (StackId::from_index(index), *node))
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// Which nodes there are, while stacks are being gathered.
#[derive(Debug, Default)]
pub(super) struct StackIndex {
    /// The first so many nodes; the rest is put in when it is needed.
    callees: Callees,
}

impl StackIndex {
    /// The stack in `stacks` that has `location` innermost and is called by `caller`; added if it is new.
    pub(super) fn push(&mut self, stacks: &mut Stacks, caller: Option<StackId>, location: LocationId) -> StackId {
        for index in self.callees.len()..stacks.len() {
            self.enter(stacks, stacks.nodes[index]);
        }
        let node = StackNode { caller, location };
        match self.enter(stacks, node) {
            Callee::Known(index) => StackId::from_index(index),
            Callee::New(_) => stacks.add(node),
        }
    }

    fn enter(&mut self, stacks: &Stacks, node: StackNode) -> Callee {
        let parts = |node: StackNode| (node.caller.map(StackId::index), node.location.index() as u32);
        let (caller, key) = parts(node);
        let entered = self.callees.enter(caller, key, |index| parts(stacks.nodes[index]));
        entered.expect("callers come first, and no profile has 2^32 nodes")
    }
}
