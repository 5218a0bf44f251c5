//! The parts of a lane with which sites and stacks are written: the ends of its chunks, the stack that it noted last,
//! and room to put one together.

use crate::engine::store::ledger_map;
use crate::engine::unwind::cached::MOST_FRAMES;
use crate::engine::unwind::excerpt::Excerpt;
use crate::ledger::layout::{kind, ChunkHeader, MOST_DEPTH};
use std::cell::Cell;
use std::mem::size_of;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// Payload of a lane's first chunk of sites or stacks; each further one is twice as long.
pub(crate) const FIRST_ROOM: usize = 4096 - size_of::<ChunkHeader>();
/// The same of peaks, which few sites have.
pub(crate) const FIRST_PEAKS: usize = 512 - size_of::<ChunkHeader>();
const LARGEST_ROOM: usize = (256 << 10) - size_of::<ChunkHeader>();

/// The end of a lane's newest chunk of one kind.
pub(crate) struct Room {
    kind: u32,
    /// Payload of the first chunk.
    first: usize,
    chunk: Cell<u64>,
    at: Cell<u64>,
    end: Cell<u64>,
}

impl Room {
    pub(crate) const fn new(kind: u32, first: usize) -> Room {
        Room { kind, first, chunk: Cell::new(0), at: Cell::new(0), end: Cell::new(0) }
    }

    /// `len` bytes, a multiple of 8, in one piece.
    pub(super) fn take(&self, lane: u32, len: usize) -> Option<u64> {
        if self.end.get() - self.at.get() < len as u64 {
            let last = (self.end.get() - self.chunk.get()) as usize;
            if last != 0 && self.kind == kind::STACKS {
                // Next to no event will touch it again: it need not take the process's memory, only the file's.
                ledger_map::page_out(self.chunk.get(), self.end.get());
            }
            let payload = if last == 0 { self.first } else { (last * 2).min(LARGEST_ROOM) };
            // A deep stack may be longer than a whole first chunk.
            let chunk = ledger_map::chunk(self.kind, lane, payload.max(len))?;
            self.chunk.set(chunk);
            self.at.set(chunk + size_of::<ChunkHeader>() as u64);
            self.end.set(chunk + ledger_map::chunk_header(chunk).len.load(Relaxed));
        }
        let at = self.at.get();
        self.at.set(at + len as u64);
        Some(at)
    }

    /// What was taken is written: a reader may have it.
    pub(super) fn publish(&self) {
        let used = self.at.get() - self.chunk.get() - size_of::<ChunkHeader>() as u64;
        ledger_map::chunk_header(self.chunk.get()).used.store(used, Release);
    }
}

/// Words of the largest stack: addresses, and how many frames are left out.
const MOST_WORDS: usize = MOST_DEPTH + 1;

/// The stack noted last: words of it, innermost first. They stand at the end of the array, so that what is outer keeps its place.
pub(crate) struct Stack {
    words: [u64; MOST_WORDS],
    len: usize,
}

impl Stack {
    pub(super) fn words(&self) -> &[u64] {
        self.words.get(MOST_WORDS - self.len..).unwrap_or(&[])
    }

    /// How many of the outermost words it has in common with another stack.
    pub(super) fn shared_with<'a>(&self, outermost_first: impl Iterator<Item = &'a u64>) -> usize {
        self.words().iter().rev().zip(outermost_first).take_while(|(a, b)| a == b).count()
    }

    /// Becomes the stack that has `fresh` inside of the `shared` outermost words. `None` where that is too deep.
    pub(super) fn change(&mut self, fresh: &[u64], shared: usize) -> Option<()> {
        let len = shared + fresh.len();
        self.words.get_mut(MOST_WORDS.checked_sub(len)?..MOST_WORDS - shared)?.copy_from_slice(fresh);
        self.len = len;
        Some(())
    }
}

/// Where stacks are put together before they are noted. Zeros are room for none.
pub(crate) struct Desk {
    pub(super) previous: Stack,
    pub(super) excerpt: Excerpt,
    pub(super) checked: Checked,
    detours: [u64; DETOURS],
}

/// Frames of the chain that was checked last, at 1, 2, 4, ... from its innermost one: how many lie outwards of each, itself counted, and
/// the hash of these. So what a chain has in common with it is found without a look at it, but for as many frames as are new at most.
pub(crate) struct Checked {
    frames: [(usize, u64); MOST_FRAMES.ilog2() as usize + 1],
    /// How many libraries had been unloaded then.
    unloads: u32,
}

impl Checked {
    /// How many of the innermost frames are not known, of a chain of which the hash of each frame and all outwards of it is given.
    pub(super) fn fresh(&self, hashes: &[Cell<u64>], unloads: u32) -> usize {
        if self.unloads != unloads {
            return hashes.len();
        }
        let places = self.frames.iter().filter_map(|(outwards, hash)| {
            let place = hashes.len().checked_sub(*outwards)?;
            hashes.get(place).is_some_and(|here| here.get() == *hash).then_some(place)
        });
        places.min().unwrap_or(hashes.len())
    }

    /// All of this chain was checked.
    pub(super) fn note(&mut self, hashes: &[Cell<u64>], unloads: u32) {
        for (i, frame) in self.frames.iter_mut().enumerate() {
            let place = (1_usize << i) - 1;
            *frame = hashes.get(place).map_or((0, 0), |hash| (hashes.len() - place, hash.get()));
        }
        self.unloads = unloads;
    }
}

/// A power of two.
const DETOURS: usize = 256;

impl Desk {
    /// The key, if it was met lately, of a chain of frame pointers that is not the stack. It is one of those that share this place.
    pub(super) fn detour(&mut self, key: u64) -> Option<&mut u64> {
        self.detours.get_mut((key >> 32) as usize & (DETOURS - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::unwind::frame_pointer::mix;

    /// The hashes of a chain that is given outermost first, the innermost one's first.
    fn hashes(chain: &[u64]) -> Vec<Cell<u64>> {
        let mut hash = 0;
        let mut hashes: Vec<_> = chain
            .iter()
            .map(|&address| {
                hash = mix(hash, address);
                Cell::new(hash)
            })
            .collect();
        hashes.reverse();
        hashes
    }

    fn nothing() -> Checked {
        Checked { frames: [(0, 0); MOST_FRAMES.ilog2() as usize + 1], unloads: 0 }
    }

    #[test]
    fn no_frame_is_taken_for_checked_that_was_not_and_few_that_were_are_taken_for_new() {
        let deep: Vec<u64> = (1..=5000).collect();
        let mut checked = nothing();
        assert_eq!(checked.fresh(&hashes(&deep), 0), 5000);
        for shared in [0, 1, 2, 4000, 4990, 4998, 4999, 5000] {
            for new in [0, 1, 3, 2000] {
                checked.note(&hashes(&deep), 7);
                let chain: Vec<u64> = deep[..shared].iter().copied().chain(9000..9000 + new).collect();
                let fresh = checked.fresh(&hashes(&chain), 7);
                let [gone, new] = [deep.len() - shared, new as usize];
                assert!(fresh >= new && fresh <= new + gone.min(shared), "{shared} {new}: {fresh}");
                // A library has gone, so its place may have another.
                assert_eq!(checked.fresh(&hashes(&chain), 8), chain.len());
            }
        }
    }

    #[test]
    fn a_recursion_that_is_checked_at_each_level_is_looked_at_once() {
        let mut checked = nothing();
        // At each level another function allocates.
        let mut chain = vec![];
        let mut looked_at = 0;
        for level in 0..3000 {
            chain.extend([level + 10, level + 1_000_000]);
            let hashes = hashes(&chain);
            looked_at += checked.fresh(&hashes, 0);
            checked.note(&hashes, 0);
            chain.pop();
        }
        assert!(looked_at < 3 * 3000, "{looked_at}");
    }
}
