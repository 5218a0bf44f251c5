//! The C library's heap, chunk by chunk: what of it nobody uses. Freed memory keeps what was in it, pointers as well, and would make
//! blocks seem reachable that only a freed list led to.
//!
//! glibc has told its users nothing of this, and keeps it for the debuggers that read it since decades: a chunk begins with two words,
//! of which the second is its length and three bits; the next one follows right behind; the lowest bit of the next one's length says
//! whether the chunk is in use; the last chunk is what is left. Nothing is believed before the whole chain was followed from its first
//! chunk to the very end of the heap's memory. A heap of which that fails is taken to be in use throughout, and is searched as it is.

use crate::engine::leaks::mappings::{Kind, Mapping};
use crate::engine::leaks::memory::Memory;
use crate::engine::leaks::skipped::Skipped;
use crate::provenance::Address;

/// The two words in front of what a chunk gives its user.
pub(crate) const HEADER: usize = 16;
/// Chunks are multiples of it.
const ALIGN: usize = 16;
/// The shortest chunk; a shorter one marks the end of memory that could not be made larger.
const SHORTEST: usize = 32;
/// Bytes of such marks, at most.
const MARKS: usize = 64;
/// The heaps of threads other than the first begin at multiples of this.
const THREADS_HEAP: usize = 64 << 20;
/// The first chunk begins within so many bytes: behind what glibc notes of the heap.
const FIRST_CHUNK: usize = 8192;

const IN_USE: usize = 1;
const MAPPED: usize = 2;

/// A part of a heap, from one address up to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// What glibc notes of the heap in front of the first chunk: addresses of chunks, which look like pointers to the ends of the blocks
    /// before them.
    Notes(usize, usize),
    /// What the user of a chunk has: up to the second word of the next one.
    InUse(usize, usize),
    /// The same of a chunk that has none.
    Free(usize, usize),
}

/// Whether a word of the C library's own may be the address of the chunk behind a block that ends there, and not a pointer into it.
pub(crate) fn may_be_next_chunk(word: usize, end_of_block: usize) -> bool {
    word % ALIGN == 0 && word + HEADER / 2 >= end_of_block
}

/// The word that glibc puts into chunks which a thread gave back and keeps for itself: by their lengths those are in use. It is the second
/// word that the chunk's user had. `None` where there is no such word.
#[allow(unsafe_code)]
pub(crate) fn mark_of_cached(memory: &mut Memory) -> Result<Option<usize>, Skipped> {
    let mut marks = [None; 2];
    for (mark, len) in marks.iter_mut().zip([24, 56]) {
        // SAFETY: has no preconditions.
        let block = unsafe { libc::malloc(len) };
        let start = block.address();
        // SAFETY: made above, and not used any more: what is in it is read by its number.
        unsafe { libc::free(block) };
        memory.forget();
        *mark = memory.words_at::<2>(start)?.map(|[_, mark]| mark);
    }
    let [one, other] = marks;
    Ok(one.filter(|mark| *mark != 0 && other == one))
}

/// Whether a block that glibc gave is one still, as far as its chunk and the next one tell: freed unseen it may have become part of what is
/// left, behind which there may be nothing.
#[cfg(not(memprof_native))]
pub(crate) fn is_in_use(memory: &mut Memory, block: usize) -> Result<bool, Skipped> {
    let start = block.wrapping_sub(HEADER);
    let Some([head]) = memory.words_at(start.wrapping_add(8))? else { return Ok(false) };
    if head & MAPPED != 0 {
        return Ok(true);
    }
    let next = start.wrapping_add(head / ALIGN * ALIGN);
    Ok(memory.words_at(next.wrapping_add(8))?.is_some_and(|[head]: [usize; 1]| head & IN_USE != 0))
}

/// Visits the chunks of the heaps in a mapping, lowest first; none of what is no heap, or one that is not understood. The kernel makes one
/// mapping of those that adjoin.
pub(crate) fn for_each_chunk(
    memory: &mut Memory,
    mapping: Mapping,
    mut visit: impl FnMut(&mut Memory, Part) -> Result<(), Skipped>,
) -> Result<(), Skipped> {
    match mapping.kind {
        Kind::Heap => walk(memory, mapping.start, mapping.end, &mut visit),
        Kind::Stack | Kind::Shared => Ok(()),
        Kind::Other => {
            let first = mapping.start.next_multiple_of(THREADS_HEAP);
            for start in (first..mapping.end).step_by(THREADS_HEAP) {
                if let Some(end) = end_of_heap(memory, start, mapping.end)? {
                    walk(memory, start, end, &mut visit)?;
                }
            }
            Ok(())
        }
    }
}

fn walk(
    memory: &mut Memory,
    start: usize,
    end: usize,
    visit: &mut impl FnMut(&mut Memory, Part) -> Result<(), Skipped>,
) -> Result<(), Skipped> {
    for first in (start..(start + FIRST_CHUNK).min(end)).step_by(ALIGN) {
        if follow(memory, first, end, |_, _| Ok(()))? {
            visit(memory, Part::Notes(start, first))?;
            follow(memory, first, end, visit)?;
            break;
        }
    }
    Ok(())
}

/// Where a heap ends that begins at `start`, if one does.
fn end_of_heap(memory: &mut Memory, start: usize, limit: usize) -> Result<Option<usize>, Skipped> {
    // Its arena, the heap before, its length, and how much of that may be touched.
    let Some([arena, _, len, usable]) = memory.words_at(start)? else { return Ok(None) };
    let is_one = arena != 0
        && arena % ALIGN == 0
        && (SHORTEST..=usable).contains(&len)
        && usable <= (limit - start).min(THREADS_HEAP);
    Ok(is_one.then(|| start + len))
}

/// Follows the chain of chunks that begins at `first`. `false` where it does not lead to the end.
fn follow(
    memory: &mut Memory,
    first: usize,
    end: usize,
    mut visit: impl FnMut(&mut Memory, Part) -> Result<(), Skipped>,
) -> Result<bool, Skipped> {
    let mut start = first;
    let Some([mut head]) = memory.words_at(start + 8)? else { return Ok(false) };
    loop {
        let len = head / ALIGN * ALIGN;
        if len < SHORTEST {
            return Ok(end - start <= MARKS && start != first);
        }
        if head & (ALIGN - 1) & !7 != 0 || head & MAPPED != 0 || len > end - start {
            return Ok(false);
        }
        let next = start + len;
        if next == end {
            visit(memory, Part::Free(start + HEADER, next))?;
            return Ok(true);
        }
        if next + HEADER > end {
            return Ok(false);
        }
        let Some([next_head]) = memory.words_at(next + 8)? else { return Ok(false) };
        let of = if next_head & IN_USE == 0 { Part::Free } else { Part::InUse };
        visit(memory, of(start + HEADER, next + HEADER / 2))?;
        (start, head) = (next, next_head);
    }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;
    use std::mem::size_of_val;

    /// A heap as glibc makes it: lengths, and whether the chunk is in use. The last is what is left.
    fn heap(chunks: &[(usize, bool)]) -> Vec<u64> {
        let mut words = Vec::new();
        let mut before_in_use = true;
        for &(len, in_use) in chunks {
            words.push(0);
            words.push((len | usize::from(before_in_use)) as u64);
            words.resize(words.len() + (len - HEADER) / 8, 0x4141);
            before_in_use = in_use;
        }
        words
    }

    fn found(words: &[u64]) -> Vec<Part> {
        let start = words.as_ptr().address();
        let mapping = Mapping { start, end: start + size_of_val(words), kind: Kind::Heap };
        let mut memory = Memory::new().expect("some pages");
        let mut parts = Vec::new();
        for_each_chunk(&mut memory, mapping, |_, part| {
            parts.push(match part {
                Part::Notes(from, to) => Part::Notes(from - start, to - start),
                Part::InUse(from, to) => Part::InUse(from - start, to - start),
                Part::Free(from, to) => Part::Free(from - start, to - start),
            });
            Ok(())
        })
        .expect("it can be read");
        parts
    }

    #[test]
    fn a_chain_is_believed_where_it_leads_to_the_end() {
        use Part::{Free, InUse, Notes};
        let whole = heap(&[(64, true), (32, false), (48, true), (4000, false)]);
        assert_eq!(found(&whole), [Notes(0, 0), InUse(16, 72), Free(80, 104), InUse(112, 152), Free(160, 4144)]);
        // Whatever stands in front, and the marks at the end of a heap that was left for another.
        let mut marked = [vec![7; 6], heap(&[(64, true), (4000, true)])].concat();
        marked.extend([0, 16 | 1, 0, 1]);
        assert_eq!(found(&marked), [Notes(0, 48), InUse(64, 120), InUse(128, 4120)]);
    }

    #[test]
    fn nothing_is_believed_where_the_chain_breaks() {
        let mut broken = heap(&[(64, true), (64, true), (4000, false)]);
        broken[9] = 56 | 1;
        broken[17] = 4016 | 1;
        assert_eq!(found(&broken), []);
        assert_eq!(found(&vec![u64::MAX; 512]), []);
        assert_eq!(found(&vec![0; 512]), []);
    }
}
