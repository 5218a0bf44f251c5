//! The stacks of a profile, kept as a tree that grows from the roots: stacks with the same callers share them, and a
//! stack is known by its innermost node.

use super::hash::IdMap;
use super::location::LocationId;
use super::table::{RowId, row_id};

row_id! {
    /// Stands for a stack of one profile: its innermost location and, through it, all callers.
    StackId
}

/// One location under its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackNode {
    /// The caller; `None` at a root.
    pub caller: Option<StackId>,
    pub location: LocationId,
}

/// All stacks of a profile. A caller's id is always smaller than that of what it calls, and no two nodes are equal.
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
        self.nodes.reserve(more);
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
}

/// Which nodes there are, while stacks are being gathered.
#[derive(Debug, Default)]
pub(super) struct StackIndex {
    /// By caller and location.
    ids: IdMap<(u32, LocationId), StackId>,
}

/// The caller's part of a root's key in [`StackIndex::ids`].
const NO_CALLER: u32 = u32::MAX;

impl StackIndex {
    /// The stack in `stacks` that has `location` innermost and is called by `caller`; added if it is new.
    pub(super) fn push(&mut self, stacks: &mut Stacks, caller: Option<StackId>, location: LocationId) -> StackId {
        let key = (caller.map_or(NO_CALLER, |id| id.index() as u32), location);
        *self.ids.entry(key).or_insert_with(|| stacks.add(StackNode { caller, location }))
    }
}
