//! The stacks of a profile file, as the explanation needs them: names, places and the gated metrics. Takes in what
//! `export::pprof` wrote.

use crate::gate::metrics::Metric;
use memprof_harness::ledger::{Callee, Callees};
use memprof_profile::import::{
    FileTables, ImportError, MOST_NODES, MOST_SAMPLES, each_sample, readable_name, within_depth,
};
use memprof_profile::model::function::Origin;
use memprof_profile::symbolize::SourceRoots;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

/// Metrics by stack.
///
/// Encoding: the stacks are a trie. A node is its caller's number and that of a frame, and a stack is its innermost node. Invariant: callers have
/// lower numbers than what they call, and no two nodes have the same caller and frame; so what a stack derives from its callers is had in one
/// pass over [`Stacks::nodes`]. Why: a million stacks of 122 frames each are some gigabytes when they are spelt out.
#[derive(Debug, Clone, Default)]
pub struct Stacks {
    /// Mean bytes between samples; 1 = every allocation is here.
    pub rate: i64,
    pub stacks: Vec<Stack>,
    /// Each is in some stack.
    frames: Vec<Frame>,
    nodes: Vec<Node>,
    callees: Callees,
}

/// A frame under its callers.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// The caller's number plus 1; 0 = it is a root.
    caller: u32,
    frame: u32,
}

impl Node {
    fn caller(self) -> Option<usize> {
        (self.caller as usize).checked_sub(1)
    }
}

/// One stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    /// `None`: it has no frames.
    innermost: Option<usize>,
    /// In the order of [`Metric::ALL`].
    values: [i64; Metric::ALL.len()],
}

/// One function in a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub function: Rc<str>,
    /// Relative to the workspace where it is inside; empty where it is not known.
    pub file: Rc<str>,
    /// 0 = not known.
    pub line: i64,
    pub origin: Origin,
}

impl Stack {
    pub fn value(&self, metric: Metric) -> i64 {
        self.values[metric as usize]
    }

    /// The number of its innermost node.
    pub fn node(&self) -> Option<usize> {
        self.innermost
    }
}

impl Stacks {
    /// Those of a test that allocates nothing.
    pub fn none() -> Stacks {
        Stacks { rate: 1, ..Stacks::default() }
    }

    /// Stacks that nobody recorded: each as its frames, innermost first, and its metrics.
    #[cfg(test)]
    pub fn for_test(list: impl IntoIterator<Item = (Vec<Frame>, [i64; Metric::ALL.len()])>) -> Stacks {
        let mut made = Stacks::none();
        for (frames, values) in list {
            let mut innermost = None;
            for frame in frames.into_iter().rev() {
                let known = made.frames.iter().position(|known| *known == frame);
                let number = known.unwrap_or(made.frames.len());
                made.frames.extend(known.is_none().then_some(frame));
                innermost = made.node_of(innermost, number as u32);
            }
            made.stacks.push(Stack { innermost, values });
        }
        made
    }

    /// The sum over all stacks.
    pub fn total(&self, metric: Metric) -> i64 {
        self.stacks.iter().map(|stack| stack.value(metric)).fold(0, i64::saturating_add)
    }

    /// Every node, callers before what they call: the caller's number, and the frame.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (Option<usize>, &Frame)> {
        self.nodes.iter().map(|node| (node.caller(), &self.frames[node.frame as usize]))
    }

    /// Every frame that is in some stack, once or more.
    pub fn all_frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The frames of a stack, innermost first, inlined ones included.
    pub fn frames(&self, stack: &Stack) -> impl Iterator<Item = &Frame> {
        let mut next = stack.innermost;
        std::iter::from_fn(move || {
            let node = self.nodes[next?];
            next = node.caller();
            Some(&self.frames[node.frame as usize])
        })
    }

    /// The node that has `frame` innermost and is called by `caller`; added if it is new. `None` where there are too many.
    fn node_of(&mut self, caller: Option<usize>, frame: u32) -> Option<usize> {
        let node = |number: usize| (self.nodes[number].caller(), self.nodes[number].frame);
        match self.callees.enter(caller, frame, node)? {
            Callee::Known(number) => Some(number),
            Callee::New(number) => {
                let caller = caller.map_or(0, |caller| caller as u32 + 1);
                self.nodes.push(Node { caller, frame });
                Some(number)
            }
        }
    }

    /// Reads a gzipped profile of a test in the workspace at `places`.
    ///
    /// # Errors
    /// Where it is none of ours.
    pub fn parse(bytes: &[u8], source_roots: &SourceRoots) -> Result<Stacks, ImportError> {
        let profile = FileTables::read(bytes)?;
        let text = |index: i64| profile.texts.get(index);
        let mut columns = [0; Metric::ALL.len()];
        for metric in Metric::ALL {
            let mut names = profile.sample_types.iter().map(|kind| text(kind.r#type));
            let column = names.position(|name| name == Ok(metric.name()));
            columns[metric as usize] = column.ok_or_else(|| format!("it has no `{}`", metric.name()))?;
        }
        let mut stacks = Stacks { rate: profile.period, ..Stacks::default() };
        let locations = locations(&profile, source_roots, &text, &mut stacks.frames)?;
        drop(profile);
        // The stack before, root first, with the node of each location and how many calls lead there: most of it is that of the next one.
        let mut path: Vec<(u64, usize, usize)> = Vec::new();
        each_sample(bytes, |sample| {
            let ids = sample.location_id.iter().rev();
            let shared = path.iter().zip(ids.clone()).take_while(|((known, ..), id)| known == *id).count();
            path.truncate(shared);
            for id in ids.skip(shared) {
                let mut node = path.last().map(|(_, node, _)| *node);
                let frames = locations.get(id).ok_or_else(|| format!("there is no location {id}"))?;
                let depth = path.last().map_or(0, |(.., depth)| *depth) + frames.len();
                within_depth(depth)?;
                for frame in frames.clone().rev() {
                    node = Some(stacks.node_of(node, frame).ok_or("it has too many stacks")?);
                    if stacks.nodes.len() > MOST_NODES {
                        return Err("it has too many stacks".into());
                    }
                }
                path.push((*id, node.ok_or_else(|| format!("location {id} has no frame"))?, depth));
            }
            if stacks.stacks.len() == MOST_SAMPLES {
                return Err(format!("it has more than {MOST_SAMPLES} samples").into());
            }
            let values = columns.map(|column| sample.value.get(column).copied().unwrap_or(0));
            stacks.stacks.push(Stack { innermost: path.last().map(|(_, node, _)| *node), values });
            Ok(())
        })?;
        // It is needed no more, and as large as the nodes.
        stacks.callees = Callees::default();
        Ok(stacks)
    }
}

/// The frames of every location, innermost first, by their numbers in `all`, which they are put into.
fn locations<'a>(
    profile: &FileTables,
    source_roots: &SourceRoots,
    text: &impl Fn(i64) -> Result<&'a str, ImportError>,
    all: &mut Vec<Frame>,
) -> Result<HashMap<u64, Range<u32>>, ImportError> {
    let mut functions: HashMap<u64, Frame> = HashMap::new();
    for function in &profile.functions {
        let (name, file) = (readable_name(text(function.name)?), text(function.filename)?);
        let origin = source_roots.origin(&name, file);
        let near =
            file.strip_prefix(&*source_roots.workspace.to_string_lossy()).map(|file| file.trim_start_matches('/'));
        let frame = Frame { function: name.as_ref().into(), file: near.unwrap_or(file).into(), line: 0, origin };
        functions.insert(function.id, frame);
    }
    let mut locations = HashMap::new();
    for location in &profile.locations {
        let start = all.len() as u32;
        for line in &location.line {
            let function =
                functions.get(&line.function_id).ok_or_else(|| format!("there is no function {}", line.function_id))?;
            all.push(Frame { line: line.line, ..function.clone() });
        }
        locations.insert(location.id, start..all.len() as u32);
    }
    Ok(locations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_profile_is_an_error() {
        let source_roots = SourceRoots { workspace: "/w".into(), beside: Vec::new() };
        assert!(Stacks::parse(b"hello", &source_roots).is_err());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, b"hello").unwrap();
        assert!(Stacks::parse(&gzip.finish().unwrap(), &source_roots).is_err());
    }
}
