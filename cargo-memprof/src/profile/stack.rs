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

/// All stacks of a profile. A caller's id is always smaller than that of what it calls.
#[derive(Debug, Clone, Default)]
pub struct Stacks {
    nodes: Vec<StackNode>,
    ids: IdMap<(u32, LocationId), StackId>,
}

/// The caller's part of a root's key in [`Stacks::ids`].
const NO_CALLER: u32 = u32::MAX;

impl Stacks {
    /// The stack that has `location` innermost and is called by `caller`; added if it is new.
    pub fn push(&mut self, caller: Option<StackId>, location: LocationId) -> StackId {
        let key = (caller.map_or(NO_CALLER, |id| id.index() as u32), location);
        let next = StackId::from_index(self.nodes.len());
        let id = *self.ids.entry(key).or_insert(next);
        if id == next {
            self.nodes.push(StackNode { caller, location });
        }
        id
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
