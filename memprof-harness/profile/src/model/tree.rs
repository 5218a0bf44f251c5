//! The call tree: the stacks of a profile with inlined frames as calls of their own, and calls of one function from
//! different lines as one.

use super::Profile;
use super::function::FunctionId;
use super::table::{RowId, row_id};
use super::values::ValueType;
use memprof_harness::ledger::{Callee, Callees};

row_id! {
    /// Stands for a node of one tree.
    NodeId
}

/// One function under its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Node {
    /// `None` at the root of a stack.
    pub caller: Option<NodeId>,
    /// A row of the profile's functions.
    pub function: FunctionId,
}

const _: () = assert!(size_of::<Node>() == 8);

/// The call tree of a profile.
///
/// Encoding: node `i` is the number of its caller plus 1 (0 = it is a root), and the number of its function. Invariant: a caller's id is
/// lower than that of what it calls, and no two nodes have the same caller and function. Sums over what each node calls are therefore one pass
/// from the last node to the first. Example: of the stacks `push < parse < main` and `push < print < main` it has five nodes, as
/// [`Stacks`](super::stack::Stacks) has; where `parse` was inlined into `main` it still has five, and where `main` calls `parse` from two lines
/// it has one `parse`.
#[derive(Debug)]
pub struct Tree<'a> {
    profile: &'a Profile,
    nodes: Vec<Node>,
    /// By stack: the node of its innermost function.
    innermost: Vec<NodeId>,
}

impl Tree<'_> {
    /// The tree of `profile`, tests taken together.
    pub fn of(profile: &Profile) -> Tree<'_> {
        let mut nodes: Vec<Node> = Vec::with_capacity(profile.stacks.len());
        let mut callees = Callees::default();
        let parts = |node: &Node| (node.caller.map(NodeId::index), node.function.index() as u32);
        let mut innermost: Vec<NodeId> = Vec::with_capacity(profile.stacks.len());
        for (_, stack) in profile.stacks.iter() {
            let mut caller = stack.caller.map(|id| innermost[id.index()]);
            for frame in profile.locations.get(stack.location).frames.iter().rev() {
                let node = Node { caller, function: frame.function };
                let (above, key) = parts(&node);
                let entered = callees.enter(above, key, |index| parts(&nodes[index]));
                let (Callee::Known(index) | Callee::New(index)) =
                    entered.expect("callers come first, and no tree has 2^32 nodes");
                if index == nodes.len() {
                    nodes.push(node);
                }
                caller = Some(NodeId::from_index(index));
            }
            innermost.push(caller.expect("a location has at least one frame"));
        }
        Tree { profile, nodes, innermost }
    }

    /// The node that `id` stands for.
    pub fn get(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Every node, callers before what they call.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(index, node)| (NodeId::from_index(index), node))
    }

    /// What was allocated at each node and in everything called from it, in the order of the nodes. A negative metric
    /// counts as nothing: it would be the trace of an estimate, and an area cannot be negative.
    pub fn totals(&self, value: ValueType) -> Vec<u64> {
        let mut totals = vec![0u64; self.nodes.len()];
        for sample in &self.profile.samples {
            let own = u64::try_from(sample.values[value]).unwrap_or(0);
            let total = &mut totals[self.innermost[sample.stack.index()].index()];
            *total = total.saturating_add(own);
        }
        for (id, node) in self.iter().rev() {
            if let Some(caller) = node.caller {
                totals[caller.index()] = totals[caller.index()].saturating_add(totals[id.index()]);
            }
        }
        totals
    }
}
