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
    part: Cell<*const Part>,
    /// The same where events are counted as they come; null where a guard lives.
    counting: Cell<*const Part>,
    /// Guards that say that code of ours runs, whose blocks are nobody's.
    inside: Cell<u32>,
    /// Guards that say that what it allocates is not to be counted.
    uncounted: Cell<u32>,
}

thread_local! {
    // Without a destructor and an initialiser, so that it is there in every moment of a thread's life.
    static THREAD: Thread = const {
        Thread {
            part: Cell::new(ptr::null()),
            counting: Cell::new(ptr::null()),
            inside: Cell::new(0),
            uncounted: Cell::new(0),
        }
    };
}

impl Thread {
    /// A guard was made or dropped, or the part is another.
    fn changed(&self) {
        let is_guarded = self.inside.get() + self.uncounted.get() > 0;
        self.counting.set(if is_guarded { ptr::null() } else { self.part.get() });
    }

    fn change(by: impl FnOnce(&Thread)) {
        THREAD.with(|thread| {
            by(thread);
            thread.changed();
        });
    }
}

/// While it lives, the thread runs code of ours alone: its events are looked at by nobody.
#[must_use = "counting goes on as soon as the guard is dropped"]
pub(crate) struct Inside(PhantomData<*const ()>);

pub(crate) fn inside() -> Inside {
    recorded::suspend();
    Thread::change(|thread| thread.inside.set(thread.inside.get() + 1));
    Inside(PhantomData)
}

impl Drop for Inside {
    fn drop(&mut self) {
        Thread::change(|thread| thread.inside.set(thread.inside.get() - 1));
        recorded::resume();
    }
}

/// While it lives, the thread runs the allocator below, whose events are not counted again, and are the recording's as ever.
#[must_use = "counting goes on as soon as the guard is dropped"]
pub(crate) struct Below(PhantomData<*const ()>);

pub(crate) fn below() -> Below {
    Thread::change(|thread| thread.inside.set(thread.inside.get() + 1));
    Below(PhantomData)
}

impl Drop for Below {
    fn drop(&mut self) {
        Thread::change(|thread| thread.inside.set(thread.inside.get() - 1));
    }
}

/// While it lives, what the thread allocates is not counted; that a region's block ends is noticed.
#[must_use = "counting goes on as soon as the guard is dropped"]
pub(crate) struct Uncounted(PhantomData<*const ()>);

pub(crate) fn uncounted() -> Uncounted {
    recorded::suspend();
    Thread::change(|thread| thread.uncounted.set(thread.uncounted.get() + 1));
    Uncounted(PhantomData)
}

impl Drop for Uncounted {
    fn drop(&mut self) {
        Thread::change(|thread| thread.uncounted.set(thread.uncounted.get() - 1));
        recorded::resume();
    }
}

/// The thread works for `part`, until [`leave`]. Gives what it worked for before.
pub(crate) fn enter(part: &Part) -> *const Part {
    let mut outer = ptr::null();
    Thread::change(|thread| outer = thread.part.replace(part));
    outer
}

/// It works for `outer` again.
pub(crate) fn leave(outer: *const Part) {
    Thread::change(|thread| thread.part.set(outer));
}

/// An event where parts alone count: what has to be counted for, and while it lives the allocator below runs, whose events
/// are not counted again.
#[must_use = "counting goes on as soon as it is dropped"]
pub(crate) struct Counting(*const Part);

#[inline(always)]
pub(crate) fn counting() -> Counting {
    Counting(THREAD.with(|thread| thread.counting.replace(ptr::null())))
}

impl Counting {
    #[inline(always)]
    fn part(&self) -> Option<&Part> {
        // SAFETY: as in `part`: it stood there when this event began, and stays entered until it is over.
        unsafe { self.0.as_ref() }
    }

    /// A block of so many bytes was given out; null = it was refused.
    #[inline(always)]
    pub(crate) fn allocated(self, block: *mut u8, size: usize) {
        let is_counted = self.part().is_none_or(|part| !block.is_null() && part.count_unnoted(size));
        drop(self);
        if !is_counted {
            allocated(block, size);
        }
    }

    /// A block is about to be given back.
    #[inline(always)]
    pub(crate) fn freed(&self, size: usize) {
        if let Some(part) = self.part() {
            part.count_freed(size);
        }
    }

    /// A block was resized, or, where `moved` is null, stayed as it was.
    #[inline(always)]
    pub(crate) fn reallocated(self, block: *mut u8, old: usize, moved: *mut u8, new: usize) {
        let is_counted = self.part().is_none_or(|part| {
            let is_counted = !moved.is_null() && part.count_unnoted(new);
            if is_counted {
                part.count_resized(old);
            }
            is_counted
        });
        drop(self);
        if !is_counted {
            reallocated(Taken::default(), block, old, moved, new);
        }
    }
}

impl Drop for Counting {
    #[inline(always)]
    fn drop(&mut self) {
        THREAD.with(|thread| thread.counting.set(self.0));
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
        let stack = count(part, size, None);
        if part.state.wants_live() {
            owned::insert(block, size, Some(&part.state), stack);
            return;
        }
    }
    owned::insert(block, size, None, None);
}

/// A block is about to be given back. It is told before: afterwards the place may be another's.
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
            part.count_freed(size);
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
            part.count_resized(old);
            count(part, new, Some(old));
        }
    }
    owned::put_back(taken, moved, new);
}

/// Counts an allocation, and tells the regions that want to know where they allocate. Gives the stack's number in the innermost of
/// them, where a block is new; `resized` = what it was before, of one that is not.
fn count(part: &Part, size: usize, resized: Option<usize>) -> Option<u32> {
    part.tell_sites();
    let is_new = resized.is_none();
    let mut stack = None;
    let mut number = None;
    for (sites, live) in part.state.sites() {
        let mut sites = sites.lock();
        let live = live.saturating_sub(resized.unwrap_or(0) as u64) + size as u64;
        if !sites.wants(size, is_new, live) {
            continue;
        }
        let stack = stack.get_or_insert_with(Stack::here);
        let noted = sites.note(stack);
        number = number.or(noted);
    }
    part.count_noted(size);
    number.filter(|_| is_new)
}

/// Another part of the same region begins, on this thread or another: what the thread has allocated so far is told to its sites.
pub(crate) fn tell_sites() {
    if let Some(part) = part() {
        part.tell_sites();
    }
}

/// The calling thread takes part in what is another's.
pub(crate) fn meet(state: &Arc<State>) {
    state.met(this_thread());
}
