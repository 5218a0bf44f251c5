//! From a ledger and the names of its addresses to a profile: what is glue is trimmed off both ends of each stack, and
//! stacks that are equal then become one.

use super::modules::{AddressMap, ModuleIndex};
use super::{ObjectSymbols, Symbols, trim};
use crate::model::function::{Function, FunctionId, Origin};
use crate::model::location::{Frame, Location, LocationId};
use crate::model::mapping::{Mapping, MappingId};
use crate::model::scale::{SampleRate, estimate};
use crate::model::stack::StackId;
use crate::model::values::{Observed, ValueType};
use crate::model::{About, IdMap, Profile, ProfileBuilder};
use memprof_harness::ledger::layout::frames_left_out;
use memprof_harness::ledger::{AddressId, Ledger, Losses, Site, StackId as NodeId, Stacks};
use std::ops::Range;

/// Whether glue is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trimming {
    /// What the rules of `trim` name is cut off.
    Glue,
    /// Every frame stays as it was recorded.
    Nothing,
}

/// Stands at the root of a stack whose outer frames could not be walked.
pub const UNWALKABLE: &str = "[unwalkable: the outer frames are missing]";
/// Stands for allocations without a stack.
pub const LOST: &str = "[no stack was recorded]";
/// Stands for addresses in no object: code that a program made while it ran, or no code at all but a word of its data. Such a word has no
/// business in a profile, and one line of C that calls back may leave a hundred thousand of them; so they are one frame.
pub const NOWHERE: &str = "[code in no known object]";

/// The profile of one ledger, which is gone before the profile is put in order: with many stacks it is as large. `map` is what
/// [`Request::add`](super::Request::add) gave for it.
pub fn assemble(ledger: Ledger, map: &AddressMap, symbols: &Symbols, about: About, trimming: Trimming) -> Profile {
    let builder = gathered(&ledger, map, symbols, trimming);
    drop(ledger);
    builder.finish(about)
}

/// The samples of a ledger.
fn gathered(ledger: &Ledger, map: &AddressMap, symbols: &Symbols, trimming: Trimming) -> ProfileBuilder {
    let mut assembly = Assembly {
        symbols,
        map,
        trimming,
        builder: ProfileBuilder::default(),
        stacks: &ledger.stacks,
        depths: depths(&ledger.stacks),
        info: Vec::new(),
        by_address: vec![None; ledger.stacks.addresses().len()],
        nowhere: None,
        functions: vec![IdMap::default(); symbols.objects.len()],
        cut: IdMap::default(),
        walk: Walk::default(),
    };
    let rate = SampleRate(ledger.rate);
    assembly.builder.reserve(ledger.sites.len());
    for (number, site) in ledger.sites.iter().enumerate() {
        let stack = assembly.stack(site);
        // The same on every run, and another for each site and each test.
        let dither = ledger.identity.seed.with(&number.to_le_bytes()).fraction();
        assembly.builder.add(stack, None, site.size, &estimate(&observed(site), rate, site.size, dither));
    }
    if rate.is_exact() {
        assembly.add_lost(&ledger.losses);
    }
    assembly.builder
}

/// By node: how many frames its stack has.
fn depths(stacks: &Stacks) -> Vec<u32> {
    let mut depths: Vec<u32> = Vec::with_capacity(stacks.nodes().len());
    for node in stacks.nodes() {
        depths.push(node.caller.map_or(0, |caller| depths[caller.index()]) + 1);
    }
    depths
}

/// What a ledger says of one site, in the profile's terms.
fn observed(site: &Site) -> Observed {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let values = &site.values;
    let mut observed = Observed::default();
    observed[ValueType::AllocObjects] = signed(values.alloc_objects);
    observed[ValueType::AllocSpace] = signed(values.alloc_space);
    observed[ValueType::InuseObjects] = values.inuse_objects();
    observed[ValueType::InuseSpace] = values.inuse_space();
    observed[ValueType::PeakObjects] = values.peak_objects;
    observed[ValueType::PeakSpace] = values.peak_space;
    observed[ValueType::Reallocs] = signed(values.reallocs);
    observed[ValueType::LifetimeSpace] = signed(values.lifetime_space);
    observed[ValueType::TemporaryObjects] = signed(values.temporary);
    observed[ValueType::ShortLivedObjects] = signed(values.short_lived);
    observed[ValueType::LeakedObjects] = values.leaked_objects;
    observed[ValueType::LeakedSpace] = values.leaked_space;
    observed
}

/// A profile in the making.
struct Assembly<'a> {
    symbols: &'a Symbols,
    map: &'a AddressMap,
    trimming: Trimming,
    builder: ProfileBuilder,
    stacks: &'a Stacks,
    depths: Vec<u32>,
    /// What is known of each distinct address.
    info: Vec<AddressInfo>,
    /// By the ledger's number of the address; `None`: not looked at so far.
    by_address: Vec<Option<u32>>,
    /// The place of all addresses that are in no object, once there is one.
    nowhere: Option<u32>,
    /// By object and the object's number of the function.
    functions: Vec<IdMap<u32, FunctionId>>,
    /// Locations that lack frames, by place, first frame kept and the one after the last kept.
    cut: IdMap<(u32, u32, u32), LocationId>,
    walk: Walk,
}

/// One address.
#[derive(Debug, Clone)]
struct AddressInfo {
    /// `None`: in no known object.
    object: Option<ModuleIndex>,
    /// In the object's address space; 0 where there is no object.
    address: u64,
    /// It is no address: so many frames are left out there.
    left_out: Option<u64>,
    /// Its frames in the object's table; empty where nothing is known: it then has one frame that says so.
    frames: Range<usize>,
    /// How many frames there are.
    len: u32,
    /// How many of them, from the innermost, are glue at a leaf.
    leaf_glue: u32,
    /// One of those is the way into the global allocator.
    gate: bool,
    /// How many of them, from the outermost, are glue at a root.
    root_glue: u32,
    /// With all its frames.
    whole: Option<LocationId>,
}

/// The stack before, root first: what the next one shares with it need not be looked up again.
#[derive(Debug, Default)]
struct Walk {
    /// The ledger's nodes.
    nodes: Vec<NodeId>,
    info: Vec<u32>,
    /// The profile's node that was made of each place that was kept.
    made: Vec<Option<StackId>>,
    /// `first` and `first_cut` of what was kept; `None`: no node can be used again.
    start: Option<(usize, u32)>,
    /// Nodes before this one lack no inner frame.
    whole_end: usize,
}

/// What is left of a stack, root first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    /// The outermost place with a frame left, and how many of its frames go, from the outermost.
    first: usize,
    first_cut: u32,
    /// The innermost place with a frame left, and how many of its frames go, from the innermost.
    last: usize,
    last_cut: u32,
}

impl Assembly<'_> {
    /// The stack of `site` in the profile's tables.
    fn stack(&mut self, site: &Site) -> StackId {
        let Some(innermost) = site.stack else { return self.synthetic(None, LOST) };
        let shared = self.look_up(innermost);
        let is_nowhere = |info: &u32| Some(*info) == self.nowhere;
        let outside = self.walk.info.iter().take_while(|info| is_nowhere(info)).count();
        if outside == self.walk.info.len() {
            return self.synthetic(None, LOST);
        }
        // Where threads begin no frame pointer was saved, and what stands in its place leads anywhere: the stack is whole.
        let outermost = &self.info[self.walk.info[outside] as usize];
        let strayed = outside > 0 && outermost.root_glue < outermost.len;
        let rootless = site.unwalkable || strayed;
        let kept = self.keep(outside, rootless);
        let root = rootless.then(|| self.synthetic(None, UNWALKABLE));
        self.push(kept, root, shared)
    }

    /// Puts the places of a stack's addresses into the walk; gives how many, from the root, are those of the stack before.
    fn look_up(&mut self, innermost: NodeId) -> usize {
        let depth = self.depths[innermost.index()] as usize;
        let mut shared = depth;
        let mut fresh: Vec<(NodeId, AddressId)> = Vec::new();
        let mut next = Some(innermost);
        while let Some(id) = next.filter(|id| self.walk.nodes.get(shared - 1) != Some(id)) {
            let node = self.stacks.get(id);
            fresh.push((id, node.address));
            next = node.caller;
            shared -= 1;
        }
        self.walk.nodes.truncate(shared);
        self.walk.info.truncate(shared);
        for (id, address) in fresh.into_iter().rev() {
            let info = self.info(address);
            self.walk.nodes.push(id);
            self.walk.info.push(info);
        }
        shared
    }

    fn info(&mut self, address: AddressId) -> u32 {
        if let Some(info) = self.by_address[address.index()] {
            return info;
        }
        let recorded = self.stacks.addresses()[address.index()];
        let info = match (frames_left_out(recorded), self.map.locate(recorded), self.nowhere) {
            (None, None, Some(nowhere)) => nowhere,
            (Some(frames), ..) => self.new_place(None, Some(frames)),
            (None, located, _) => self.new_place(located, None),
        };
        self.by_address[address.index()] = Some(info);
        info
    }

    fn new_place(&mut self, located: Option<(ModuleIndex, u64)>, left_out: Option<u64>) -> u32 {
        let (object, address) = located.map_or((None, 0), |(object, address)| (Some(object), address));
        let mut info = AddressInfo {
            object,
            address,
            left_out,
            frames: 0..0,
            len: 1,
            leaf_glue: 0,
            gate: false,
            root_glue: 0,
            whole: None,
        };
        if let Some(index) = object {
            let symbols = &self.symbols.objects[index as usize];
            info.frames = symbols.table.range(address);
            if info.frames.is_empty() {
                info.leaf_glue = u32::from(symbols.unknown.leaf_glue);
                info.root_glue = u32::from(symbols.unknown.root_glue);
            } else {
                let frames = &symbols.table.frames()[info.frames.clone()];
                let role = |frame: &super::symbols::TableFrame| symbols.roles[frame.function as usize];
                info.len = frames.len() as u32;
                // What is inside a gate goes with it.
                let inside = frames.iter().rposition(|frame| role(frame).gate).map_or(0, |gate| gate + 1);
                let outside = frames[inside..].iter().take_while(|frame| role(frame).leaf_glue).count();
                info.leaf_glue = (inside + outside) as u32;
                info.gate = inside > 0;
                info.root_glue = frames.iter().rev().take_while(|frame| role(frame).root_glue).count() as u32;
            }
        }
        let id = self.info.len() as u32;
        self.info.push(info);
        if object.is_none() && left_out.is_none() {
            self.nowhere = Some(id);
        }
        id
    }

    /// What trimming leaves of the walk below its `outside` outermost places. At least one frame always.
    fn keep(&self, outside: usize, rootless: bool) -> Kept {
        let info = |at: usize| &self.info[self.walk.info[at] as usize];
        let innermost = self.walk.info.len() - 1;
        let mut kept = Kept { first: outside, first_cut: 0, last: innermost, last_cut: 0 };
        if self.trimming == Trimming::Nothing {
            return kept;
        }
        let near = innermost.saturating_sub(trim::ALLOCATOR_DEPTH).max(outside)..=innermost;
        kept.last = near.rev().find(|&at| info(at).gate).unwrap_or(innermost);
        while kept.last > outside && info(kept.last).leaf_glue == info(kept.last).len {
            kept.last -= 1;
        }
        let last = info(kept.last);
        kept.last_cut = last.leaf_glue.min(last.len - 1);
        if rootless {
            return kept;
        }
        while kept.first < kept.last && info(kept.first).root_glue == info(kept.first).len {
            kept.first += 1;
        }
        let inner_cut = if kept.first == kept.last { kept.last_cut } else { 0 };
        let first = info(kept.first);
        kept.first_cut = first.root_glue.min(first.len - inner_cut - 1);
        self.without_test_wrapper(kept)
    }

    /// `kept` without the closure that `#[test]` wraps around a test function.
    fn without_test_wrapper(&self, kept: Kept) -> Kept {
        let info = |at: usize| &self.info[self.walk.info[at] as usize];
        let inner_cut = |at: usize| if at == kept.last { kept.last_cut } else { 0 };
        let outer_frame = info(kept.first).len - kept.first_cut - 1;
        let outer = self.name(info(kept.first), outer_frame);
        if outer_frame > inner_cut(kept.first) {
            let inner = self.name(info(kept.first), outer_frame - 1);
            if trim::is_test_wrapper(outer, inner) {
                return Kept { first_cut: kept.first_cut + 1, ..kept };
            }
        } else if kept.first < kept.last {
            let next = kept.first + 1;
            let inner = self.name(info(next), info(next).len - 1);
            if trim::is_test_wrapper(outer, inner) {
                return Kept { first: next, first_cut: 0, ..kept };
            }
        }
        kept
    }

    /// The name of a frame, counted from the innermost; empty where it is not known.
    fn name(&self, info: &AddressInfo, frame: u32) -> &str {
        let Some(symbols) = info.object.map(|index| &self.symbols.objects[index as usize]) else { return "" };
        let frames = &symbols.table.frames()[info.frames.clone()];
        frames.get(frame as usize).map_or("", |frame| &symbols.table.functions()[frame.function as usize].name)
    }

    /// Makes a stack of what is kept of the walk, below `root`. `shared` places are those of the stack before.
    fn push(&mut self, kept: Kept, root: Option<StackId>, shared: usize) -> StackId {
        let start = (kept.first, kept.first_cut);
        let whole_end = if kept.last_cut == 0 { kept.last + 1 } else { kept.last };
        let made = if root.is_none() && self.walk.start == Some(start) {
            self.walk.whole_end.min(shared).min(whole_end)
        } else {
            0
        };
        let from = made.max(kept.first);
        let mut node = if from > kept.first { self.walk.made[from - 1] } else { root };
        self.walk.made.resize(self.walk.info.len(), None);
        for at in from..=kept.last {
            let info = self.walk.info[at];
            // However many of them there are in a row, they are one frame.
            let is_repeated = Some(info) == self.nowhere && at > kept.first && info == self.walk.info[at - 1];
            if !is_repeated {
                let outer_cut = if at == kept.first { kept.first_cut } else { 0 };
                let inner_cut = if at == kept.last { kept.last_cut } else { 0 };
                let location = self.location(info, inner_cut, outer_cut);
                node = Some(self.builder.stack(node, location));
            }
            self.walk.made[at] = node;
        }
        // Below a root of our own making the nodes are others.
        self.walk.start = root.is_none().then_some(start);
        self.walk.whole_end = whole_end;
        node.expect("at least one address is kept")
    }

    fn location(&mut self, id: u32, inner_cut: u32, outer_cut: u32) -> LocationId {
        let whole = inner_cut == 0 && outer_cut == 0;
        let made = if whole { self.info[id as usize].whole } else { None };
        if let Some(location) = made.or_else(|| self.cut.get(&(id, inner_cut, outer_cut)).copied()) {
            return location;
        }
        let info = self.info[id as usize].clone();
        let mapping = info.object.map(|index| self.mapping(index));
        let frames: Box<[Frame]> = if info.frames.is_empty() {
            [self.unknown_frame(&info)].into()
        } else {
            let kept = info.frames.start + inner_cut as usize..info.frames.end - outer_cut as usize;
            kept.map(|frame| self.frame(info.object, frame)).collect()
        };
        let location = self.builder.tables().locations.intern(Location { mapping, address: info.address, frames });
        if whole {
            self.info[id as usize].whole = Some(location);
        } else {
            self.cut.insert((id, inner_cut, outer_cut), location);
        }
        location
    }

    fn mapping(&mut self, index: ModuleIndex) -> MappingId {
        let object = self.symbols.modules.get(index);
        let has_lines = self.symbols.objects[index as usize].table.has_lines();
        let tables = self.builder.tables();
        let file = tables.strings.intern(&object.path.to_string_lossy());
        let build_id = tables.strings.intern(object.build_id.as_deref().unwrap_or_default());
        tables.mappings.intern(Mapping { start: object.start, limit: object.limit, file, build_id, has_lines })
    }

    fn frame(&mut self, object: Option<ModuleIndex>, frame: usize) -> Frame {
        let index = object.expect("what has frames has an object") as usize;
        let symbols: &ObjectSymbols = &self.symbols.objects[index];
        let frame = symbols.table.frames()[frame];
        let function = match self.functions[index].get(&frame.function) {
            Some(&function) => function,
            None => {
                let named = &symbols.table.functions()[frame.function as usize];
                let origin = symbols.origins[frame.function as usize];
                let function = self.function(&named.name, &named.file, origin);
                self.functions[index].insert(frame.function, function);
                function
            }
        };
        Frame { function, line: frame.line, column: frame.column }
    }

    /// Says where an address is that has no name, or how many frames there were.
    fn unknown_frame(&mut self, info: &AddressInfo) -> Frame {
        let name = match (info.object, info.left_out) {
            (_, Some(0)) => "[frames left out]".to_owned(),
            (_, Some(1)) => "[1 frame left out]".to_owned(),
            (_, Some(frames)) => format!("[{frames} frames left out]"),
            (Some(index), None) => format!("{}+{:#x}", self.symbols.modules.get(index).file_name(), info.address),
            (None, None) => NOWHERE.to_owned(),
        };
        Frame { function: self.function(&name, "", Origin::Native), line: 0, column: 0 }
    }

    fn function(&mut self, name: &str, file: &str, origin: Origin) -> FunctionId {
        let tables = self.builder.tables();
        let (name, file) = (tables.strings.intern(name), tables.strings.intern(file));
        tables.functions.intern(Function { name, file, origin })
    }

    /// A stack that no address stands for, such as [`LOST`].
    fn synthetic(&mut self, caller: Option<StackId>, name: &str) -> StackId {
        let frame = Frame { function: self.function(name, "", Origin::Native), line: 0, column: 0 };
        let tables = self.builder.tables();
        let location = tables.locations.intern(Location { mapping: None, address: 0, frames: [frame].into() });
        self.builder.stack(caller, location)
    }

    /// Counts what has no stack, so that the samples of an exact profile add up to its counters.
    fn add_lost(&mut self, losses: &Losses) {
        let [objects, space, frees, freed] = [
            losses.unattributed_objects,
            losses.unattributed_space,
            losses.unattributed_frees,
            losses.unattributed_freed_space,
        ]
        .map(|metric| i64::try_from(metric).unwrap_or(i64::MAX));
        if [objects, space, frees, freed] == [0; 4] {
            return;
        }
        let mut observed = Observed::default();
        observed[ValueType::AllocObjects] = objects;
        observed[ValueType::AllocSpace] = space;
        // Less than nothing where the stack of an allocation is known, and not its free.
        observed[ValueType::InuseObjects] = objects - frees;
        observed[ValueType::InuseSpace] = space - freed;
        let stack = self.synthetic(None, LOST);
        self.builder.add(stack, None, 0, &estimate(&observed, SampleRate(1), 0, 0.0));
    }
}

#[cfg(test)]
mod tests;
