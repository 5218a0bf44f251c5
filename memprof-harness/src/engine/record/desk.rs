//! The parts of a lane with which sites and stacks are written: the ends of its chunks, the stack that it noted last,
//! and room to put one together.

use crate::engine::store::ledger_map;
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
    /// It is a chain of frame pointers, and each of its addresses was found to be one in a function that has one.
    pub(super) is_chain: bool,
    /// How many libraries had been unloaded then.
    pub(super) unloads: u32,
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
    detours: [u64; DETOURS],
}

/// A power of two.
const DETOURS: usize = 256;

impl Desk {
    /// The key, if it was met lately, of a chain of frame pointers that is not the stack. It is one of those that share this place.
    pub(super) fn detour(&mut self, key: u64) -> Option<&mut u64> {
        self.detours.get_mut((key >> 32) as usize & (DETOURS - 1))
    }
}
