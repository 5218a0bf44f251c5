//! The calls of one profile as a trie from the root. What leads from a caller to what it calls is the line of the call.
//!
//! **Encoding**: a node is its caller's number and a step, which is the place of the call and the function that is called, or the
//! standard library's way to the allocator: such a node is a leaf. Roots have no place. **Invariant**: callers have lower numbers than what they
//! call, no two nodes have the same caller and step, and no function is called, directly or not, from itself: where one recurs, the path
//! leads back to the node it had. **Why**: what one function does at one line is one edge, so that two trees are compared edge by
//! edge; and a recursion that went one deeper is no other tree.
//!
//! Frames of the standard library are left out where the stack has others: another way through it is no change.

use crate::gate::explain::names::normalised;
use crate::gate::explain::stacks::{Frame, Stack, Stacks};
use crate::gate::metrics::Metric;
use memprof_harness::ledger::{Callee, Callees};
use memprof_profile::model::function::Origin;
use std::collections::HashMap;
use std::rc::Rc;

/// Where a call is, or an allocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// Relative to the workspace where it is inside; empty where it is not known.
    pub file: Rc<str>,
    /// 0 = not known.
    pub line: i64,
    pub origin: Origin,
}

/// What is done at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A function is called.
    Call(u32),
    /// The standard library is asked for memory through this function of it; through the empty name where there is none.
    Allocation(u32),
}

/// Functions, places and steps by their numbers, which the trees of both sides share.
#[derive(Debug, Default)]
pub struct Terms {
    /// As they are shown.
    functions: Vec<Rc<str>>,
    /// By name in the profile.
    by_name: HashMap<Rc<str>, u32>,
    by_normalised: HashMap<String, u32>,
    positions: Vec<Position>,
    position_numbers: HashMap<Position, u32>,
    steps: Vec<(Option<u32>, Target)>,
    step_numbers: HashMap<(Option<u32>, Target), u32>,
}

impl Terms {
    fn function(&mut self, name: &Rc<str>) -> u32 {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        let normalised = normalised(name);
        let number = match self.by_normalised.get(&normalised) {
            Some(number) => {
                // Two instances of one function: what they have in common is shown.
                self.functions[*number as usize] = normalised.into();
                *number
            }
            None => {
                self.functions.push(name.clone());
                let number = self.functions.len() as u32 - 1;
                self.by_normalised.insert(normalised, number);
                number
            }
        };
        self.by_name.insert(name.clone(), number);
        number
    }

    fn position(&mut self, frame: &Frame) -> u32 {
        let position = Position { file: frame.file.clone(), line: frame.line, origin: frame.origin };
        *self.position_numbers.entry(position).or_insert_with_key(|position| {
            self.positions.push(position.clone());
            self.positions.len() as u32 - 1
        })
    }

    fn step(&mut self, position: Option<u32>, target: Target) -> u32 {
        *self.step_numbers.entry((position, target)).or_insert_with_key(|step| {
            self.steps.push(*step);
            self.steps.len() as u32 - 1
        })
    }

    pub fn name(&self, function: u32) -> &Rc<str> {
        &self.functions[function as usize]
    }
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// The caller's number plus 1; 0 = it is a root.
    caller: u32,
    step: u32,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    callees: Callees,
    /// By stack: its leaf; `None` for one without frames.
    leaves: Vec<Option<u32>>,
    /// All nodes by caller, what is done, and place: what a node calls is one run of these.
    order: Vec<u32>,
    /// By caller's number plus 1, where its run ends in `order`; it starts where that of the number before ends.
    ends: Vec<u32>,
}

/// What a stack's frames have led to so far.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    /// The node of the innermost frame that is not the standard library's, and the place where it calls on.
    at: Option<(u32, u32)>,
    /// The outermost function of the library below it.
    through: Option<u32>,
    /// A frame is not the C library's, or another's that is not Rust.
    is_rust: bool,
}

impl Tree {
    /// The calls of `stacks`.
    pub fn of(stacks: &Stacks, terms: &mut Terms) -> Tree {
        let mut tree = Tree::default();
        let mut ways: Vec<Way> = Vec::with_capacity(stacks.nodes().len());
        for (caller, frame) in stacks.nodes() {
            let way = caller.map_or_else(Way::default, |caller| ways[caller]);
            ways.push(match frame.origin {
                Origin::Std => Way { through: way.through.or_else(|| Some(terms.function(&frame.function))), ..way },
                origin => Way {
                    at: Some(tree.call(way.at, frame, terms)),
                    through: None,
                    is_rust: way.is_rust || origin != Origin::Native,
                },
            });
        }
        let nothing = terms.function(&"".into());
        for stack in &stacks.stacks {
            let way = stack.node().map(|node| ways[node]);
            let leaf = match way {
                Some(Way { at: Some((node, position)), through, is_rust: true }) => {
                    Some(tree.leaf(node, position, through.unwrap_or(nothing), terms))
                }
                // Where it is the libraries alone, their frames are what there is to show.
                Some(_) => tree.spelt_out(stacks, stack, nothing, terms),
                None => None,
            };
            tree.leaves.push(leaf);
        }
        tree.callees = Callees::default();
        tree.put_in_order(terms);
        tree
    }

    /// The node of `frame`, which is called at `at`, and the place where it calls on.
    fn call(&mut self, at: Option<(u32, u32)>, frame: &Frame, terms: &mut Terms) -> (u32, u32) {
        let (function, position) = (terms.function(&frame.function), terms.position(frame));
        let known =
            at.and_then(|(node, _)| self.callers(node).find(|node| self.function(*node, terms) == Some(function)));
        let node = known.unwrap_or_else(|| {
            let step = terms.step(at.map(|(_, position)| position), Target::Call(function));
            self.enter(at.map(|(node, _)| node), step)
        });
        (node, position)
    }

    fn leaf(&mut self, node: u32, position: u32, through: u32, terms: &mut Terms) -> u32 {
        let step = terms.step(Some(position), Target::Allocation(through));
        self.enter(Some(node), step)
    }

    fn spelt_out(&mut self, stacks: &Stacks, stack: &Stack, nothing: u32, terms: &mut Terms) -> Option<u32> {
        let frames: Vec<&Frame> = stacks.frames(stack).collect();
        let mut at = None;
        for frame in frames.into_iter().rev() {
            at = Some(self.call(at, frame, terms));
        }
        at.map(|(node, position)| self.leaf(node, position, nothing, terms))
    }

    fn enter(&mut self, caller: Option<u32>, step: u32) -> u32 {
        let node = |number: usize| {
            let Node { caller, step } = self.nodes[number];
            (caller.checked_sub(1).map(|caller| caller as usize), step)
        };
        let entered = self.callees.enter(caller.map(|caller| caller as usize), step, node);
        let (Callee::Known(number) | Callee::New(number)) =
            entered.expect("callers come first, and there are fewer than 2^32");
        if number == self.nodes.len() {
            self.nodes.push(Node { caller: caller.map_or(0, |caller| caller + 1), step });
        }
        number as u32
    }

    fn put_in_order(&mut self, terms: &Terms) {
        let key = |number: &u32| {
            let Node { caller, step } = self.nodes[*number as usize];
            let (position, target) = terms.steps[step as usize];
            let position = position.map(|position| &terms.positions[position as usize]);
            (caller, target, position.map(|position| (&position.file, position.line)))
        };
        let mut order: Vec<u32> = (0..self.nodes.len() as u32).collect();
        order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        self.ends = vec![0; self.nodes.len() + 1];
        for node in &self.nodes {
            self.ends[node.caller as usize] += 1;
        }
        let mut sum = 0;
        for end in &mut self.ends {
            sum += *end;
            *end = sum;
        }
        self.order = order;
    }

    /// What `node` calls, the same function side by side and by place; `None`: the roots.
    pub fn callees(&self, node: Option<u32>) -> &[u32] {
        let slot = node.map_or(0, |node| node as usize + 1);
        let start = if slot == 0 { 0 } else { self.ends[slot - 1] };
        &self.order[start as usize..self.ends[slot] as usize]
    }

    pub fn caller(&self, node: u32) -> Option<u32> {
        self.nodes[node as usize].caller.checked_sub(1)
    }

    /// The node and its callers, innermost first.
    pub fn callers(&self, node: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(node), |node| self.caller(*node))
    }

    pub fn target(&self, node: u32, terms: &Terms) -> Target {
        terms.steps[self.nodes[node as usize].step as usize].1
    }

    /// What is done there and where, by a number that the trees of both sides share.
    pub fn step(&self, node: u32) -> u32 {
        self.nodes[node as usize].step
    }

    /// The function that the node is a call of.
    pub fn function(&self, node: u32, terms: &Terms) -> Option<u32> {
        match self.target(node, terms) {
            Target::Call(function) => Some(function),
            Target::Allocation(_) => None,
        }
    }

    /// Where the node is called; `None` for a root.
    pub fn position<'a>(&self, node: u32, terms: &'a Terms) -> Option<&'a Position> {
        let (position, _) = terms.steps[self.nodes[node as usize].step as usize];
        position.map(|position| &terms.positions[position as usize])
    }

    /// What each node and all that it calls have of `metric`.
    pub fn totals(&self, stacks: &Stacks, metric: Metric) -> Vec<i64> {
        let mut totals = vec![0_i64; self.nodes.len()];
        for (leaf, stack) in self.leaves.iter().zip(&stacks.stacks) {
            if let Some(leaf) = leaf {
                let total = &mut totals[*leaf as usize];
                *total = total.saturating_add(stack.value(metric));
            }
        }
        for node in (0..self.nodes.len()).rev() {
            if let Some(caller) = self.caller(node as u32) {
                totals[caller as usize] = totals[caller as usize].saturating_add(totals[node]);
            }
        }
        totals
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }
}
