//! What is still in use when the window has ended: can the program still reach it, or is it leaked? Memory is searched for anything that
//! may be a pointer to a block, from its roots on: all that can be written to, but for the blocks themselves, the engine's own memory,
//! the stacks of threads that have ended, what of stacks lies beyond where their threads are, and what the C library's heap has free.
//!
//! The search is conservative: a number that looks like a pointer is one, to any byte of a block. So what it finds leaked is leaked,
//! unless the program hides its pointers; what it finds reachable may be leaked all the same.
//! Where it cannot be sure that it saw all pointers, it finds nothing leaked and says why.

pub(crate) mod array;
pub(crate) mod blocks;
#[cfg(any(memprof_injected, test))]
#[cfg_attr(not(memprof_injected), allow(dead_code))]
pub(crate) mod budget;
pub(crate) mod c_heap;
pub(crate) mod filters;
pub(crate) mod mappings;
pub(crate) mod memory;
pub(crate) mod registers;
pub(crate) mod roots;
pub(crate) mod skipped;
pub(crate) mod tally;
pub(crate) mod threads;

use crate::engine::alloc::slots;
use crate::engine::leaks::array::Array;
use crate::engine::leaks::blocks::Blocks;
use crate::engine::leaks::mappings::{Guards, Kind, Mapping};
use crate::engine::leaks::memory::Memory;
use crate::engine::leaks::registers::Registers;
use crate::engine::leaks::roots::Unused;
use crate::engine::leaks::skipped::Skipped;
use crate::engine::leaks::tally::Tally;
use crate::engine::leaks::threads::Sleeper;
use crate::engine::life::state;
use crate::engine::record::lane;
use crate::engine::store::calls;
use crate::engine::store::errno::Errno;
use crate::engine::store::ledger_map;
use crate::ledger::layout::leak_check;
use crate::os;
use std::mem::size_of_val;
use std::sync::atomic::Ordering::Relaxed;

/// More memory than this, in bytes, is not searched.
const MOST: usize = 1 << 30;
/// How often it is searched again because a thread woke up meanwhile.
const ATTEMPTS: u32 = 4;

/// Finds out what is leaked, and writes it down; gives whether it did, as the ledger has it. The window was shut, and the ledger is attached.
#[inline(never)]
pub(crate) fn check() -> u32 {
    let errno = Errno::save();
    // What is below on the stack is the search's own. What callers have in registers is searched with the stack.
    let registers = Registers::read();
    let outcome = search(registers.address());
    registers.keep();
    errno.restore();
    outcome.map_or_else(|skipped| skipped as u32, |()| leak_check::DONE)
}

/// `own_stack` is from where on the calling thread's stack is searched.
#[inline(never)]
fn search(own_stack: usize) -> Result<(), Skipped> {
    if state::generation() > 0 {
        return Err(Skipped::Forked);
    }
    if !cfg!(memprof_native) && slots::reserved().len == 0 {
        return Err(Skipped::BlocksUnknown);
    }
    if !is_anything_in_use() {
        return Ok(());
    }
    if !calls::allows_calls_at_the_end() || filters::were_added() {
        return Err(Skipped::Filtered);
    }
    let own = (os::thread::id(), own_stack);
    let mut sleepers = Array::new(threads::MOST).ok_or(Skipped::NoMemory)?;
    let mut mappings = Array::new(mappings::MOST).ok_or(Skipped::NoMemory)?;
    let mut memory = Memory::new().ok_or(Skipped::NoMemory)?;
    for _ in 0..ATTEMPTS {
        threads::find_asleep(&mut sleepers)?;
        let found = find(own, &sleepers, &mut mappings, &mut memory);
        if threads::still_sleep(&sleepers) {
            found?.write();
            return Ok(());
        }
    }
    Err(Skipped::ThreadRunning)
}

fn is_anything_in_use() -> bool {
    let [alloc_objects, _, _, frees, _] = lane::totals();
    let header = ledger_map::header();
    let laneless = header.laneless_objects.load(Relaxed).wrapping_sub(header.laneless_frees.load(Relaxed));
    alloc_objects.wrapping_sub(frees).wrapping_add(laneless) as i64 > 0
}

/// One search.
fn find(
    own: (libc::pid_t, usize),
    sleepers: &[Sleeper],
    mappings: &mut Array<Mapping>,
    memory: &mut Memory,
) -> Result<Tally, Skipped> {
    let mut blocks = Blocks::new().ok_or(Skipped::NoMemory)?;
    let mut unused = Unused::new().ok_or(Skipped::NoMemory)?;
    let mut guards = Guards::new().ok_or(Skipped::NoMemory)?;
    mappings::read(mappings, &mut guards)?;
    roots::add_known_blocks(&mut blocks, &mut unused, memory)?;
    roots::walk_c_heaps(mappings, &mut blocks, &mut unused, memory)?;
    roots::leave_out_own(own, sleepers, (&**mappings, &guards), &mut unused, memory)?;
    blocks.complete()?;
    unused.complete();
    let mut left = MOST;
    let mut read = |bytes: usize| {
        left = left.checked_sub(bytes).ok_or(Skipped::TooMuch)?;
        Ok(())
    };
    for sleeper in sleepers {
        blocks.consider(&sleeper.arguments)?;
    }
    for mapping in mappings.iter() {
        let is_c_librarys = roots::is_of_c_library(*mapping);
        unused.for_each_gap(mapping.start, mapping.end, |mut start, end| {
            while start < end {
                let piece = match mapping.kind {
                    Kind::Shared => os::memory::next_in_memory(start, end),
                    _ => (start, end),
                };
                start = piece.0;
                let words = memory.words(start, piece.1)?;
                if words.is_empty() {
                    break;
                }
                let len = size_of_val(words);
                read(len)?;
                if is_c_librarys {
                    blocks.consider_c_librarys(words)?
                } else {
                    blocks.consider(words)?
                };
                start += len;
            }
            Ok(())
        })?;
    }
    blocks.follow(memory, &mut read)?;
    Tally::of(&blocks)
}
