//! Whether the user's own global allocator passes on to the C library what it is asked for. Only then are the hook's
//! metrics those of the program: an allocator that maps memory itself goes past it.
//!
//! Found out by trying, in a process that does nothing else, since a counting allocator would count the tries.

#![allow(unsafe_code)] // calls an allocator by hand

use crate::engine::life::state::{self, PROBED};
use crate::provenance::Address;
use std::alloc::{alloc, dealloc, Layout};
use std::hint::black_box;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// Small, middling and large, as allocators tell them apart.
const SIZES: [usize; 5] = [24, 200, 3000, 100_000, 3 << 20];
/// Blocks that may be kept and given out again without asking the C library would be seen the first time only.
const ROUNDS: usize = 2;

/// The block being tried for.
static WANTED: AtomicUsize = AtomicUsize::new(0);
/// Start of the last block that the hook saw on the trying thread and that is large enough; 0 = there was none.
static SEEN: AtomicUsize = AtomicUsize::new(0);
static SEEN_SIZE: AtomicUsize = AtomicUsize::new(0);
/// The thread that tries.
static TRYING: AtomicUsize = AtomicUsize::new(0);

/// Tries the global allocator; `false` where one of the blocks it gave did not lie in one that it had just got from the C
/// library. For a process that is not recorded.
pub fn reaches_the_hook() -> bool {
    TRYING.store(this_thread(), Relaxed);
    state::set(PROBED);
    let all = (0..ROUNDS).all(|_| SIZES.into_iter().all(block_is_seen));
    state::clear(PROBED);
    all
}

fn block_is_seen(size: usize) -> bool {
    let Ok(layout) = Layout::from_size_align(size, 8) else { return false };
    SEEN.store(0, Relaxed);
    WANTED.store(size, Relaxed);
    // SAFETY: the layout is not of size zero.
    let block = black_box(unsafe { alloc(layout) });
    let (start, seen) = (SEEN.load(Relaxed), SEEN_SIZE.load(Relaxed));
    WANTED.store(usize::MAX, Relaxed);
    if block.is_null() {
        return false;
    }
    let address = block.address();
    // SAFETY: just allocated, with this layout.
    unsafe { dealloc(block, layout) };
    // An allocator may put something in front of the block, and the block may then begin anywhere.
    start != 0 && address >= start && address + size <= start + seen
}

/// The hook saw a block.
#[cold]
#[inline(never)]
pub(crate) fn saw(address: usize, size: usize) {
    if address != 0 && size >= WANTED.load(Relaxed) && this_thread() == TRYING.load(Relaxed) {
        SEEN.store(address, Relaxed);
        SEEN_SIZE.store(size, Relaxed);
    }
}

fn this_thread() -> usize {
    // SAFETY: has no preconditions.
    unsafe { libc::pthread_self() as usize }
}
