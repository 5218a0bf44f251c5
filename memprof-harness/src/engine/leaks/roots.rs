//! The roots of the search: all memory of the process but the blocks themselves, unused memory and the engine's own.

use crate::engine::alloc::slots;
use crate::engine::leaks::array::{Array, Plain};
use crate::engine::leaks::blocks::{Block, Blocks};
use crate::engine::leaks::c_heap::{self, Part};
use crate::engine::leaks::mappings::{Guards, Kind, Mapping};
use crate::engine::leaks::memory::Memory;
use crate::engine::leaks::skipped::Skipped;
use crate::engine::leaks::threads::{self, Sleeper};
use crate::engine::store::ledger_map;
use crate::os::weak_symbol::weak_address;
use crate::provenance::Address;

/// Ranges that are not searched. With more, the others are.
const MOST: usize = 1 << 22;

/// A range that is not searched for pointers to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: usize,
    end: usize,
}

// SAFETY: numbers.
#[allow(unsafe_code)]
unsafe impl Plain for Span {}

/// Memory that is not searched for pointers to begin with.
pub(crate) struct Unused(Array<Span>);

impl Unused {
    pub(crate) fn new() -> Option<Unused> {
        Array::new(MOST).map(Unused)
    }

    /// Words that lie only partly in it are searched.
    pub(crate) fn add(&mut self, start: usize, end: usize) {
        let (start, end) = (start.next_multiple_of(8), end / 8 * 8);
        if start < end {
            // What has no place here is searched, which finds too little leaked at worst.
            let _ = self.0.push(Span { start, end });
        }
    }

    /// Everything is there: gaps can be asked for.
    pub(crate) fn complete(&mut self) {
        self.0.sort_unstable_by_key(|span| span.start);
        // So that the ends are in order, too.
        let mut reached = 0;
        for span in self.0.iter_mut() {
            reached = reached.max(span.end);
            span.end = reached;
        }
    }

    /// Visits what of a range is to be searched.
    pub(crate) fn for_each_gap(
        &self,
        start: usize,
        end: usize,
        mut visit: impl FnMut(usize, usize) -> Result<(), Skipped>,
    ) -> Result<(), Skipped> {
        let mut at = start;
        let first = self.0.partition_point(|span| span.end <= start);
        for span in self.0.get(first..).unwrap_or(&[]) {
            if span.start >= end {
                break;
            }
            if span.start > at {
                visit(at, span.start)?;
            }
            at = at.max(span.end);
        }
        if at < end {
            visit(at, end)?;
        }
        Ok(())
    }
}

/// Adds the blocks that the engine has noted somewhere.
#[cfg(memprof_native)]
pub(crate) fn add_known_blocks(blocks: &mut Blocks, unused: &mut Unused, _: &mut Memory) -> Result<(), Skipped> {
    let mut added = Ok(());
    crate::engine::store::blocks::for_each(|start, block| {
        let end = start + block.size as usize;
        let site = block.note.and_then(|note| note.tag.site()).map_or(0, |site| site.get());
        if added.is_ok() {
            unused.add(start, end);
            added = blocks.add(Block { start, end, slack: 0, site });
        }
    });
    added
}

/// Adds the blocks that the engine has noted somewhere.
#[cfg(not(memprof_native))]
pub(crate) fn add_known_blocks(blocks: &mut Blocks, unused: &mut Unused, memory: &mut Memory) -> Result<(), Skipped> {
    use crate::engine::alloc::start_map;
    use crate::engine::life::state::{self, Mode};
    use crate::engine::store::tracked::{self, Tracked};
    if start_map::is_incomplete() {
        return Err(Skipped::BlocksUnknown);
    }
    let is_exact = state::mode() == Some(Mode::Exact);
    let mut added = Ok(());
    start_map::for_each(|start| {
        if added.is_ok() {
            added = if is_exact {
                add_tagged(start, blocks, unused, memory)
            } else {
                add_plain(start, blocks, unused, memory)
            };
        }
    });
    added?;
    if is_exact {
        return Ok(());
    }
    let mut added = Ok(());
    let generation = state::generation();
    tracked::for_each(|start, what| {
        let is_known = slots::holding(start).is_some() || start_map::has(at(start));
        let is_ours = match what {
            Tracked::Sampled(_) => true,
            Tracked::Unsampled { generation: of } => of == generation,
            Tracked::NotTheTests => false,
        };
        if is_ours && !is_known && added.is_ok() {
            added = add_plain(start, blocks, unused, memory);
        }
    });
    added
}

/// Adds a block of the C library's as it is.
#[cfg(not(memprof_native))]
fn add_plain(start: usize, blocks: &mut Blocks, unused: &mut Unused, memory: &mut Memory) -> Result<(), Skipped> {
    let Some(room) = room(start, memory)? else { return Ok(()) };
    unused.add(start, start + room);
    blocks.add(Block { start, end: start + room, slack: slack(room), site: 0 })
}

/// Adds a block that has a header in front, if it is the test's.
#[cfg(not(memprof_native))]
fn add_tagged(start: usize, blocks: &mut Blocks, unused: &mut Unused, memory: &mut Memory) -> Result<(), Skipped> {
    use crate::engine::alloc::system_tagged;
    let Some(words) = memory.words_at::<2>(system_tagged::header_address(start))? else { return Ok(()) };
    let Some((front, Some(note))) = system_tagged::of_header(start, words.map(|word| word as u64)) else {
        return Ok(());
    };
    let Some(room) = room(start - front, memory)?.and_then(|room| room.checked_sub(front)) else { return Ok(()) };
    let site = note.tag.site().map_or(0, |site| site.get());
    unused.add(start - front, start + room);
    blocks.add(Block { start, end: start + room, slack: slack(room + front), site })
}

#[cfg(not(memprof_native))]
fn at(address: usize) -> *mut u8 {
    crate::provenance::without_provenance_mut(address)
}

/// How many bytes a block of the C library's may have.
#[cfg(not(memprof_native))]
#[allow(unsafe_code)]
fn room(start: usize, memory: &mut Memory) -> Result<Option<usize>, Skipped> {
    use crate::engine::alloc::system;
    // Where it is gone after all, as by a thread that woke up or a call that nobody saw, the C library must not be asked.
    let is_there = memory.words_at::<2>(start.wrapping_sub(c_heap::HEADER))?.is_some();
    if !is_there || system::is_glibcs() && !c_heap::is_in_use(memory, start)? {
        return Ok(None);
    }
    // SAFETY: a block of the C library's that was not given back.
    Ok(Some(unsafe { crate::os::memory::usable_size(crate::provenance::without_provenance_mut(start)) }))
}

/// How much more the C library may have given than was asked for: up to a unit of its chunks and what is too little for another chunk, or
/// up to a page where the block has memory of its own.
#[cfg(not(memprof_native))]
fn slack(room: usize) -> u32 {
    const OWN_MEMORY: usize = 128 << 10;
    const REST: u32 = 15 + 32;
    REST + if room >= OWN_MEMORY { 4096 } else { 0 }
}

/// Follows the chunks of the C library's heaps: what is free of them is not searched; and in exact mode small blocks that are no slots are
/// found by their headers.
pub(crate) fn walk_c_heaps(
    mappings: &[Mapping],
    blocks: &mut Blocks,
    unused: &mut Unused,
    memory: &mut Memory,
) -> Result<(), Skipped> {
    let mark = c_heap::mark_of_cached(memory)?;
    for mapping in mappings {
        c_heap::for_each_chunk(memory, *mapping, |memory, part| {
            match part {
                Part::InUse(start, end) if mark.is_some() && second_word(memory, start)? == mark => {
                    unused.add(start, end)
                }
                Part::InUse(start, end) => return add_small_tagged((start, end), blocks, unused, memory),
                Part::Notes(start, end) | Part::Free(start, end) => unused.add(start, end),
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn second_word(memory: &mut Memory, start: usize) -> Result<Option<usize>, Skipped> {
    Ok(memory.words_at::<2>(start)?.map(|[_, second]| second))
}

#[cfg(memprof_native)]
fn add_small_tagged(_: (usize, usize), _: &mut Blocks, _: &mut Unused, _: &mut Memory) -> Result<(), Skipped> {
    Ok(())
}

#[cfg(not(memprof_native))]
fn add_small_tagged(
    (start, end): (usize, usize),
    blocks: &mut Blocks,
    unused: &mut Unused,
    memory: &mut Memory,
) -> Result<(), Skipped> {
    use crate::engine::alloc::{start_map, system_tagged};
    use crate::engine::life::state::{self, Mode};
    if state::mode() != Some(Mode::Exact) {
        return Ok(());
    }
    for front in system_tagged::fronts().take_while(|front| start + front < end) {
        let block = start + front;
        let Some(words) = memory.words_at::<2>(system_tagged::header_address(block))? else { return Ok(()) };
        let Some((found, note)) = system_tagged::of_header(block, words.map(|word| word as u64)) else { continue };
        if found != front || start_map::has(at(block)) {
            continue;
        }
        let Some(note) = note else { return Ok(()) };
        let site = note.tag.site().map_or(0, |site| site.get());
        unused.add(start, end);
        return blocks.add(Block { start: block, end, slack: slack(end - start), site });
    }
    Ok(())
}

/// Whether the C library's own variables are in this mapping.
#[allow(unsafe_code)]
pub(crate) fn is_of_c_library(mapping: Mapping) -> bool {
    // Asked for as a weak symbol, since only the linker knows how the variable of another object is reached.
    let place: usize = weak_address!("stdout");
    if place == 0 {
        return false;
    }
    // SAFETY: it points to one of the C library's variables, is set by the loader, and a program that changes it writes an aligned word.
    let variable = unsafe { (place as *const *const libc::FILE).read_volatile() }.address();
    (mapping.start..mapping.end).contains(&variable)
}

/// Leaves out slots, the engine's own memory, and what is unused of stacks.
pub(crate) fn leave_out_own(
    own: (libc::pid_t, usize),
    sleepers: &[Sleeper],
    (mappings, guards): (&[Mapping], &Guards),
    unused: &mut Unused,
    memory: &mut Memory,
) -> Result<(), Skipped> {
    let slots = slots::reserved();
    unused.add(slots.start, slots.start + slots.len);
    let all_own = ledger_map::for_each_own(|start, end| unused.add(start, end));
    let mut failed = None;
    let still_says = |place: usize, words: [usize; 2]| match memory.words_at(place) {
        Ok(found) => found == Some(words),
        Err(skipped) => {
            failed = Some(skipped);
            false
        }
    };
    // Behind C's own functions a stack's maker is not asked for: one of the C library's is known by its guard. Others are not noted.
    let is_c_librarys = |start| !cfg!(memprof_native) || guards.stand_before(start);
    let all_stacks = threads::for_each_unused(own, sleepers, still_says, |start, end| {
        if is_c_librarys(start) {
            unused.add(start, end);
        }
    });
    if let Some(failed) = failed {
        return Err(failed);
    }
    if !(all_own && all_stacks) {
        return Err(Skipped::NoMemory);
    }
    // The first thread may never have been recorded.
    for mapping in mappings.iter().filter(|mapping| mapping.kind == Kind::Stack) {
        let on = std::iter::once(own.1).chain(sleepers.iter().map(|sleeper| sleeper.stack_pointer));
        let inside = on.filter(|on| (mapping.start..mapping.end).contains(on)).min();
        if let Some(on) = inside {
            unused.add(mapping.start, on.saturating_sub(threads::RED_ZONE));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "arrays are as large as they may become")]
    fn what_is_between_unused_ranges_is_searched() {
        let mut unused = Unused::new().expect("memory");
        for (start, end) in [(50, 100), (200, 304), (208, 240), (300, 400), (1000, 1003), (640, 645)] {
            unused.add(start, end);
        }
        unused.complete();
        let gaps = |start, end| {
            let mut gaps = Vec::new();
            unused
                .for_each_gap(start, end, |start, end| {
                    gaps.push((start, end));
                    Ok(())
                })
                .expect("nothing is skipped");
            gaps
        };
        assert_eq!(gaps(0, 1000), [(0, 56), (96, 200), (400, 1000)]);
        assert_eq!(gaps(56, 96), []);
        assert_eq!(gaps(64, 104), [(96, 104)]);
        assert_eq!(gaps(240, 408), [(400, 408)]);
        assert_eq!(gaps(500, 600), [(500, 600)]);
    }
}
