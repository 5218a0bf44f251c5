//! The events of the allocator: one call for each, on the thread where it happened.

#![allow(unsafe_code)] // the pointer to the thread's innermost part

use crate::count::owned::{self, Taken};
use crate::count::part::Part;
use crate::count::process;
use crate::count::region::State;
use crate::recorded;
use crate::sites::Stack;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

pub(crate) struct Thread {
    /// The part that the thread works for; null = none. It lives as long as it stands here.
    pub(crate) part: Cell<*const Part>,
    /// How many guards say that code of ours runs, whose blocks are nobody's.
    inside: Cell<u32>,
    /// How many say that what it allocates is not to be counted.
    uncounted: Cell<u32>,
}

thread_local! {
    // Without a destructor and an initialiser, so that it is there in every moment of a thread's life.
    pub(crate) static THREAD: Thread =
        const { Thread { part: Cell::new(ptr::null()), inside: Cell::new(0), uncounted: Cell::new(0) } };
}

/// While it lives, the thread runs code of ours alone: its events are looked at by nobody.
#[must_use = "counting goes on as soon as the guard is dropped"]
pub(crate) struct Inside(PhantomData<*const ()>);

pub(crate) fn inside() -> Inside {
    recorded::suspend();
    THREAD.with(|thread| thread.inside.set(thread.inside.get() + 1));
    Inside(PhantomData)
}

impl Drop for Inside {
    fn drop(&mut self) {
        THREAD.with(|thread| thread.inside.set(thread.inside.get() - 1));
        recorded::resume();
    }
}

/// While it lives, what the thread allocates is not counted; that a region's block ends is noticed.
#[must_use = "counting goes on as soon as the guard is dropped"]
pub(crate) struct Uncounted(PhantomData<*const ()>);

pub(crate) fn uncounted() -> Uncounted {
    recorded::suspend();
    THREAD.with(|thread| thread.uncounted.set(thread.uncounted.get() + 1));
    Uncounted(PhantomData)
}

impl Drop for Uncounted {
    fn drop(&mut self) {
        THREAD.with(|thread| thread.uncounted.set(thread.uncounted.get() - 1));
        recorded::resume();
    }
}

/// Tells threads apart that live at once.
pub(crate) fn this_thread() -> usize {
    THREAD.with(|thread| ptr::from_ref(thread) as usize)
}

/// What the calling thread works for.
pub(crate) fn current() -> Option<Arc<State>> {
    part().map(|part| Arc::clone(&part.state))
}

fn part<'a>() -> Option<&'a Part> {
    let part = THREAD.with(|thread| thread.part.get());
    // SAFETY: a part stands there as long as it is entered, which is as long as it lives, and it is this thread's own; nobody who
    // asks keeps it beyond the event.
    unsafe { part.as_ref() }
}

fn is_inside() -> bool {
    THREAD.with(|thread| thread.inside.get() > 0)
}

fn is_uncounted() -> bool {
    THREAD.with(|thread| thread.uncounted.get() > 0)
}

/// A block of so many bytes was given out; null = it was refused.
#[cold]
#[inline(never)]
pub(crate) fn allocated(block: *mut u8, size: usize) {
    if block.is_null() || is_inside() || is_uncounted() {
        return;
    }
    let _inside = inside();
    process::allocated(size, false);
    if let Some(part) = part() {
        count(part, size);
        let stack = note_site(&part.state, size, true);
        if part.state.wants_live() {
            owned::insert(block, size, Some(&part.state), stack);
            return;
        }
    }
    owned::insert(block, size, None, None);
}

/// A block is about to be given back.
#[cold]
#[inline(never)]
pub(crate) fn freed(block: *mut u8, size: usize) {
    if is_inside() {
        return;
    }
    let _inside = inside();
    if !is_uncounted() {
        process::freed(size);
        if let Some(part) = part() {
            add(&part.frees, 1);
            add(&part.freed_space, size as u64);
        }
    }
    owned::take(block);
}

/// A block is about to be resized: what is known of it is taken out.
#[cold]
#[inline(never)]
pub(crate) fn take(block: *mut u8) -> Taken {
    if is_inside() {
        return Taken::default();
    }
    let _inside = inside();
    owned::take_out(block)
}

/// It was resized, or, where `moved` is null, stayed as it was.
#[cold]
#[inline(never)]
pub(crate) fn reallocated(taken: Taken, block: *mut u8, old: usize, moved: *mut u8, new: usize) {
    if is_inside() {
        return;
    }
    let _inside = inside();
    if moved.is_null() {
        owned::put_back(taken, block, old);
        return;
    }
    if !is_uncounted() {
        process::allocated(new, true);
        process::freed(old);
        if let Some(part) = part() {
            count(part, new);
            add(&part.reallocs, 1);
            add(&part.frees, 1);
            add(&part.freed_space, old as u64);
            note_site(&part.state, new, false);
        }
    }
    owned::put_back(taken, moved, new);
}

/// Has the program's allocator allocate, and counts that once: what is below it may tell of the same block again.
#[cold]
#[inline(never)]
pub(crate) fn allocate(size: usize, work: impl FnOnce() -> *mut u8) -> *mut u8 {
    let block = below(work);
    allocated(block, size);
    block
}

/// As [`allocate`], for a block's end. It is told before: afterwards the place may be another's.
#[cold]
#[inline(never)]
pub(crate) fn free(block: *mut u8, size: usize, work: impl FnOnce()) {
    freed(block, size);
    below(work);
}

/// As [`free`], for a block that is resized.
#[cold]
#[inline(never)]
pub(crate) fn resize(block: *mut u8, old: usize, new: usize, work: impl FnOnce() -> *mut u8) -> *mut u8 {
    let taken = take(block);
    let moved = below(work);
    reallocated(taken, block, old, moved, new);
    moved
}

/// Runs the allocator below, whose events are not counted again, and are the recording's as ever.
fn below<T>(work: impl FnOnce() -> T) -> T {
    struct Below;
    impl Drop for Below {
        fn drop(&mut self) {
            THREAD.with(|thread| thread.inside.set(thread.inside.get() - 1));
        }
    }
    THREAD.with(|thread| thread.inside.set(thread.inside.get() + 1));
    let _below = Below;
    work()
}

fn count(part: &Part, size: usize) {
    add(&part.alloc_objects, 1);
    add(&part.alloc_space, size as u64);
}

fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get() + more);
}

/// Tells the regions that want to know where they allocate. Gives the stack's number in the innermost of them, where `is_new`.
fn note_site(state: &Arc<State>, size: usize, is_new: bool) -> Option<u32> {
    let mut stack = None;
    let mut number = None;
    for sites in state.sites() {
        let mut sites = sites.lock();
        if !sites.wants(size, is_new) {
            continue;
        }
        let stack = stack.get_or_insert_with(Stack::here);
        let noted = sites.note(stack);
        number = number.or(noted);
    }
    number.filter(|_| is_new)
}

/// The calling thread takes part in what is another's.
pub(crate) fn meet(state: &Arc<State>) {
    state.met(this_thread());
}
