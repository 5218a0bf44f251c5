//! A thread's part of a region: the counts of the thread while it works for the region.

use crate::count::events::{self, THREAD};
use crate::count::quiet::Quiet;
use crate::count::region::{State, Sums};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

/// Lies on the thread's stack, and the thread-local points at it. Of one thread's parts one at a time is touched, the innermost.
pub(crate) struct Part {
    pub(crate) state: Quiet<Arc<State>>,
    pub(crate) alloc_objects: Cell<u64>,
    pub(crate) alloc_space: Cell<u64>,
    pub(crate) reallocs: Cell<u64>,
    pub(crate) frees: Cell<u64>,
    pub(crate) freed_space: Cell<u64>,
    outer: Cell<*const Part>,
    /// Of the region's own thread, or carried to this one.
    is_carried: bool,
    _not_send: PhantomData<*const ()>,
}

impl Part {
    fn new(state: Arc<State>, is_carried: bool) -> Part {
        Part {
            state: Quiet::new(state),
            alloc_objects: Cell::new(0),
            alloc_space: Cell::new(0),
            reallocs: Cell::new(0),
            frees: Cell::new(0),
            freed_space: Cell::new(0),
            outer: Cell::new(ptr::null()),
            is_carried,
            _not_send: PhantomData,
        }
    }

    /// Runs `work` on the calling thread as a part of `state`, and of whatever the thread works for already.
    pub(crate) fn run<T>(state: &Arc<State>, is_carried: bool, work: impl FnOnce() -> T) -> T {
        let part = {
            let _inside = events::inside();
            let joint = events::current().map_or_else(|| Arc::clone(state), |outer| State::joint(state, &outer));
            joint.met(events::this_thread());
            if is_carried {
                joint.start_running();
            }
            Part::new(joint, is_carried)
        };
        let _entered = Entered::new(&part);
        work()
    }
}

/// While it lives, the part is the calling thread's innermost.
struct Entered<'a>(&'a Part);

impl<'a> Entered<'a> {
    fn new(part: &'a Part) -> Entered<'a> {
        THREAD.with(|thread| part.outer.set(thread.part.replace(part)));
        Entered(part)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let part = self.0;
        THREAD.with(|thread| thread.part.set(part.outer.get()));
        let _inside = events::inside();
        part.state.add(&Sums {
            alloc_objects: part.alloc_objects.get(),
            alloc_space: part.alloc_space.get(),
            reallocs: part.reallocs.get(),
            frees: part.frees.get(),
            freed_space: part.freed_space.get(),
        });
        if part.is_carried {
            part.state.stop_running();
        }
    }
}
