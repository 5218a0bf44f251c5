//! The order of things in a profile: by what they say. Two profiles with the same contents become equal, table by
//! table, whatever order they were gathered in and whichever thread did it.

use super::location::{Frame, Location, LocationId};
use super::mapping::Mapping;
use super::stack::{StackId, StackNode, Stacks};
use super::string::StringId;
use super::table::RowId;
use super::{About, Profile};
use std::cmp::Ordering;

/// `profile` in order. What is large of it, its stacks and samples, is there twice for no longer than it has to be.
pub(super) fn canonical(mut profile: Profile, about: About) -> Profile {
    let mut out = Profile { about, ..Profile::default() };
    let locations = order_locations(&profile, &mut out);
    let stacks = order_stacks(std::mem::take(&mut profile.stacks), &locations, &mut out);
    let ranks = ranks(&profile);
    let rank = |test: Option<StringId>| test.map(|id| ranks[id.index()]);
    let mut samples = std::mem::take(&mut profile.samples);
    samples.iter_mut().for_each(|sample| sample.stack = stacks[sample.stack.index()]);
    samples.sort_unstable_by_key(|sample| (sample.stack, rank(sample.test), sample.block_size));
    for sample in &mut samples {
        sample.test = sample.test.map(|id| out.strings.intern(profile.strings.get(id)));
    }
    out.samples = samples;
    out
}

/// By string: where it stands among all of them.
fn ranks(profile: &Profile) -> Vec<u32> {
    let texts: Vec<&str> = profile.strings.iter().collect();
    let mut order: Vec<u32> = (0..texts.len() as u32).collect();
    order.sort_unstable_by_key(|index| texts[*index as usize]);
    let mut ranks = vec![0; order.len()];
    for (rank, index) in order.into_iter().enumerate() {
        ranks[index as usize] = rank as u32;
    }
    ranks
}

/// Fills the tables of `out` with the locations of `profile` in order; gives the new id for each old one.
fn order_locations(profile: &Profile, out: &mut Profile) -> Vec<LocationId> {
    let mut order: Vec<(LocationId, &Location)> = profile.locations.iter().collect();
    let executable = out.about.executable.clone();
    order.sort_by(|a, b| compare_locations(profile, &executable, a.1, b.1));
    let mut new_ids = vec![LocationId::from_index(0); order.len()];
    for (old, location) in order {
        let location = copy_location(profile, location, out);
        new_ids[old.index()] = out.locations.intern(location);
    }
    new_ids
}

fn compare_locations(profile: &Profile, executable: &str, a: &Location, b: &Location) -> Ordering {
    let text = |id: StringId| profile.strings.get(id);
    let file = |location: &Location| {
        let file = location.mapping.map(|id| text(profile.mappings.get(id).file));
        // pprof takes the first for the program; of several programs any will do, but no library.
        let is_library = file.is_some_and(|file| file.ends_with(".so") || file.contains(".so."));
        (file != Some(executable), is_library, file)
    };
    let frame = |frame: &Frame| {
        let function = profile.functions.get(frame.function);
        (text(function.name), text(function.file), frame.line, frame.column)
    };
    let by_place = file(a).cmp(&file(b)).then(a.address.cmp(&b.address));
    by_place.then_with(|| a.frames.iter().map(frame).cmp(b.frames.iter().map(frame)))
}

/// `location` of `from` as a row for the tables of `to`, which get what it refers to.
pub(super) fn copy_location(from: &Profile, location: &Location, to: &mut Profile) -> Location {
    let mapping = location.mapping.map(|id| {
        let mapping = *from.mappings.get(id);
        let file = to.strings.intern(from.strings.get(mapping.file));
        let build_id = to.strings.intern(from.strings.get(mapping.build_id));
        to.mappings.intern(Mapping { file, build_id, ..mapping })
    });
    let frames = location.frames.iter().map(|frame| {
        let mut function = *from.functions.get(frame.function);
        function.name = to.strings.intern(from.strings.get(function.name));
        function.file = to.strings.intern(from.strings.get(function.file));
        Frame { function: to.functions.intern(function), ..*frame }
    });
    Location { mapping, address: location.address, frames: frames.collect() }
}

/// Fills the stacks of `out` with `stacks` so that what one caller calls follows it, by location; gives the new id for each old one.
fn order_stacks(stacks: Stacks, locations: &[LocationId], out: &mut Profile) -> Vec<StackId> {
    let children = ChildStacks::new(&stacks, locations);
    let mut new_ids = vec![StackId::from_index(0); stacks.len()];
    drop(stacks);
    out.stacks.reserve(new_ids.len());
    let mut open: Vec<(Option<StackId>, ChildStack)> = Vec::new();
    open.extend(children.of(None).iter().rev().map(|call| (None, *call)));
    while let Some((caller, (location, old))) = open.pop() {
        let new = out.stacks.add(StackNode { caller, location });
        new_ids[old.index()] = new;
        open.extend(children.of(Some(old)).iter().rev().map(|call| (Some(new), *call)));
    }
    new_ids
}

/// The new location and the old id of a node.
type ChildStack = (LocationId, StackId);

/// What each node calls, by location.
struct ChildStacks {
    /// Roots first, then by caller.
    all: Vec<ChildStack>,
    /// By caller's number + 1: where its calls end in `all`; they start where those of the number before end.
    ends: Vec<u32>,
}

impl ChildStacks {
    fn new(stacks: &Stacks, locations: &[LocationId]) -> ChildStacks {
        let slot = |caller: Option<StackId>| caller.map_or(0, |id| id.index() + 1);
        let mut ends = vec![0u32; stacks.len() + 1];
        for (_, node) in stacks.iter() {
            ends[slot(node.caller)] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            // Where the calls start, until they are put in below.
            (*end, sum) = (sum, sum + *end);
        }
        let mut all = vec![(LocationId::from_index(0), StackId::from_index(0)); stacks.len()];
        for (id, node) in stacks.iter() {
            let at = &mut ends[slot(node.caller)];
            all[*at as usize] = (locations[node.location.index()], id);
            *at += 1;
        }
        let mut start = 0;
        for end in &ends {
            all[start..*end as usize].sort_unstable();
            start = *end as usize;
        }
        ChildStacks { all, ends }
    }

    fn of(&self, caller: Option<StackId>) -> &[ChildStack] {
        let slot = caller.map_or(0, |id| id.index() + 1);
        let start = if slot == 0 { 0 } else { self.ends[slot - 1] };
        &self.all[start as usize..self.ends[slot] as usize]
    }
}
