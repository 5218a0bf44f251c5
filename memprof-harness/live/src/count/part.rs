//! A thread's part of a region: the counts of the thread while it works for the region.

use crate::count::events;
use crate::count::quiet::Quiet;
use crate::count::region::{State, Sums};
use crate::sites::Room;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

/// Lies on the thread's stack, and the thread-local points at it. Of one thread's parts one at a time is touched, the innermost.
pub(crate) struct Part {
    pub(crate) state: Quiet<Arc<State>>,
    alloc_objects: Cell<u64>,
    alloc_space: Cell<u64>,
    reallocs: Cell<u64>,
    frees: Cell<u64>,
    freed_space: Cell<u64>,
    /// So much may be allocated of which nobody wants to know but the sums; what is gone of it is not in the sums above yet.
    room: Cell<Room>,
    left_objects: Cell<u64>,
    left_space: Cell<u64>,
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
            room: Cell::new(Room::NONE),
            left_objects: Cell::new(0),
            left_space: Cell::new(0),
            outer: Cell::new(ptr::null()),
            is_carried,
            _not_send: PhantomData,
        }
    }

    /// Counts an allocation that nobody wants to know more of; `false` = somebody does, and it is not counted yet.
    #[inline]
    pub(crate) fn count_unnoted(&self, size: usize) -> bool {
        let left = self.left_objects.get().checked_sub(1).zip(self.left_space.get().checked_sub(size as u64));
        if let Some((objects, space)) = left {
            self.left_objects.set(objects);
            self.left_space.set(space);
        }
        left.is_some()
    }

    /// Counts an allocation of which the region's sites know, and asks when they want to know of one again.
    pub(crate) fn count_noted(&self, size: usize) {
        add(&self.alloc_objects, 1);
        add(&self.alloc_space, size as u64);
        self.make_room(self.state.room());
    }

    #[inline]
    pub(crate) fn count_freed(&self, size: usize) {
        add(&self.frees, 1);
        add(&self.freed_space, size as u64);
    }

    /// What a realloc is beside an allocation.
    #[inline]
    pub(crate) fn count_resized(&self, old: usize) {
        add(&self.reallocs, 1);
        self.count_freed(old);
    }

    /// Tells the region's sites how many allocations they have not been told of. They are told of the next one.
    pub(crate) fn tell_sites(&self) {
        let room = self.room.get();
        let passed =
            Room { objects: room.objects - self.left_objects.get(), space: room.space - self.left_space.get() };
        self.make_room(Room::NONE);
        if passed.objects > 0 {
            add(&self.alloc_objects, passed.objects);
            add(&self.alloc_space, passed.space);
            for (sites, _) in self.state.sites() {
                sites.lock().pass(passed);
            }
        }
    }

    fn make_room(&self, room: Room) {
        self.room.set(room);
        self.left_objects.set(room.objects);
        self.left_space.set(room.space);
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
        // What follows is the outer part's region's as well.
        events::tell_sites();
        part.outer.set(events::enter(part));
        Entered(part)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let part = self.0;
        events::leave(part.outer.get());
        let _inside = events::inside();
        part.tell_sites();
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

#[inline]
fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get() + more);
}
