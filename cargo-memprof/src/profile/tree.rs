//! The call tree: the stacks of a profile with inlined frames as calls of their own, and calls of one function from
//! different lines as one.

use super::Profile;
use super::function::FunctionId;
use super::hash::IdMap;
use super::table::{RowId, row_id};
use super::values::{Estimated, ValueType};

row_id! {
    /// Stands for a node of one tree.
    NodeId
}

/// One function under its callers.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    /// `None` at the root of a stack.
    pub caller: Option<NodeId>,
    pub function: FunctionId,
}

/// A call tree. A caller's id is always smaller than that of what it calls.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    /// What was allocated at a node and not in what is called from it; a node may be named several times.
    own: Vec<(NodeId, Estimated)>,
}

impl Tree {
    /// The tree of `profile`, tests taken together.
    pub fn of(profile: &Profile) -> Tree {
        let mut tree = Tree::default();
        // Most locations have one frame or two.
        let expected = profile.stacks.len() * 2;
        tree.nodes.reserve(expected);
        let mut ids: IdMap<(u32, FunctionId), NodeId> = IdMap::default();
        ids.reserve(expected);
        let mut innermost: Vec<NodeId> = Vec::with_capacity(profile.stacks.len());
        for (_, node) in profile.stacks.iter() {
            let mut at = node.caller.map(|id| innermost[id.index()]);
            for frame in profile.locations.get(node.location).frames.iter().rev() {
                let next = NodeId::from_index(tree.nodes.len());
                let key = (at.map_or(u32::MAX, |id| id.index() as u32), frame.function);
                let id = *ids.entry(key).or_insert(next);
                if id == next {
                    tree.nodes.push(Node { caller: at, function: frame.function });
                }
                at = Some(id);
            }
            innermost.push(at.expect("a location has at least one frame"));
        }
        tree.own = profile.samples.iter().map(|sample| (innermost[sample.stack.index()], sample.values)).collect();
        tree
    }

    /// The node that `id` stands for.
    pub fn get(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Every node, callers before what they call.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId::from_index(index), node))
    }

    /// What was allocated at each node and in everything called from it, in the order of the nodes. A negative figure
    /// counts as nothing: it would be the trace of an estimate, and an area cannot be negative.
    pub fn totals(&self, value: ValueType) -> Vec<u64> {
        let mut totals = vec![0u64; self.nodes.len()];
        for (id, own) in &self.own {
            let own = u64::try_from(own[value]).unwrap_or(0);
            totals[id.index()] = totals[id.index()].saturating_add(own);
        }
        for (id, node) in self.iter().rev() {
            if let Some(caller) = node.caller {
                totals[caller.index()] = totals[caller.index()].saturating_add(totals[id.index()]);
            }
        }
        totals
    }
}
