//! A region: the code that is measured, and its counts so far.

use crate::active::Listening;
use crate::count::quiet::Quiet;
use crate::count::spin::Spin;
use crate::count::{events, owned};
use crate::counts::Counts;
use crate::sites::{Room, Sites};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// What a region is to know, beyond how much was allocated.
#[derive(Debug, Default)]
pub(crate) struct Tracking {
    /// Which of its blocks are live, and how many at once.
    pub live: bool,
    /// Where it allocated, as far as a limit needs to be explained.
    pub sites: Option<Sites>,
}

/// A sum of events, that grows.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub alloc_objects: u64,
    pub alloc_space: u64,
    pub reallocs: u64,
    pub frees: u64,
    pub freed_space: u64,
}

#[derive(Debug, Default)]
struct AtomicSums {
    alloc_objects: AtomicU64,
    alloc_space: AtomicU64,
    reallocs: AtomicU64,
    frees: AtomicU64,
    freed_space: AtomicU64,
}

/// A region, shared by the threads that work for it.
pub(crate) struct State {
    pub(crate) tracks_live: bool,
    /// Until its metrics were taken.
    open: AtomicBool,
    /// The regions that it is in, each once.
    around: Vec<Arc<State>>,
    sums: AtomicSums,
    live_objects: AtomicU64,
    live_space: AtomicU64,
    peak_space: AtomicU64,
    several_threads: AtomicBool,
    /// Whether other threads were or are to work for it.
    is_carried: AtomicBool,
    /// The thread that began it.
    home: usize,
    /// Parts on threads that work for it just now, its own thread's aside.
    running: AtomicU32,
    sites: Option<Spin<Sites>>,
}

impl State {
    /// A region in `outer`, if there is one.
    pub(crate) fn new(outer: Option<&Arc<State>>, tracking: Tracking) -> Arc<State> {
        State::within(outer.map(|outer| outer.all().cloned().collect()).unwrap_or_default(), tracking)
    }

    fn within(around: Vec<Arc<State>>, tracking: Tracking) -> Arc<State> {
        Arc::new(State {
            tracks_live: tracking.live,
            open: AtomicBool::new(true),
            around,
            sums: AtomicSums::default(),
            live_objects: AtomicU64::new(0),
            live_space: AtomicU64::new(0),
            peak_space: AtomicU64::new(0),
            several_threads: AtomicBool::new(false),
            is_carried: AtomicBool::new(false),
            home: events::this_thread(),
            running: AtomicU32::new(0),
            sites: tracking.sites.map(Spin::new),
        })
    }

    /// For a part of `inner` on a thread that works for `outer` as well.
    pub(crate) fn joint(inner: &Arc<State>, outer: &Arc<State>) -> Arc<State> {
        if inner.all().any(|state| Arc::ptr_eq(state, outer)) {
            return Arc::clone(inner);
        }
        if outer.all().any(|state| Arc::ptr_eq(state, inner)) {
            return Arc::clone(outer);
        }
        let mut around: Vec<Arc<State>> = inner.all().cloned().collect();
        for state in outer.all() {
            if !around.iter().any(|other| Arc::ptr_eq(other, state)) {
                around.push(Arc::clone(state));
            }
        }
        State::within(around, Tracking::default())
    }

    /// The region itself, and those that it is in.
    pub(crate) fn all(self: &Arc<State>) -> impl Iterator<Item = &Arc<State>> {
        std::iter::once(self).chain(&self.around)
    }

    /// Whether any of them is to know which of its blocks are live.
    pub(crate) fn wants_live(self: &Arc<State>) -> bool {
        self.all().any(|state| state.tracks_live)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Acquire)
    }

    pub(crate) fn add(self: &Arc<State>, sums: &Sums) {
        for state in self.all() {
            state.sums.alloc_objects.fetch_add(sums.alloc_objects, Relaxed);
            state.sums.alloc_space.fetch_add(sums.alloc_space, Relaxed);
            state.sums.reallocs.fetch_add(sums.reallocs, Relaxed);
            state.sums.frees.fetch_add(sums.frees, Relaxed);
            state.sums.freed_space.fetch_add(sums.freed_space, Relaxed);
        }
    }

    /// A block of so many bytes is live; of all regions that want to know.
    pub(crate) fn born(self: &Arc<State>, size: u64) {
        for state in self.all().filter(|state| state.tracks_live) {
            state.live_objects.fetch_add(1, Relaxed);
            let live = state.live_space.fetch_add(size, Relaxed) + size;
            state.peak_space.fetch_max(live, Relaxed);
        }
    }

    /// One is no longer.
    pub(crate) fn gone(self: &Arc<State>, size: u64) {
        for state in self.all().filter(|state| state.tracks_live) {
            state.live_objects.fetch_sub(1, Relaxed);
            state.live_space.fetch_sub(size, Relaxed);
        }
    }

    /// One has another size now.
    pub(crate) fn resized(self: &Arc<State>, old: u64, new: u64) {
        for state in self.all().filter(|state| state.tracks_live) {
            let live = state.live_space.fetch_add(new.wrapping_sub(old), Relaxed).wrapping_add(new).wrapping_sub(old);
            state.peak_space.fetch_max(live, Relaxed);
        }
    }

    /// A thread took part, or gave back what is the region's.
    pub(crate) fn met(self: &Arc<State>, thread: usize) {
        for state in self.all().filter(|state| state.home != thread) {
            state.several_threads.store(true, Relaxed);
        }
    }

    /// How much a part may allocate until somebody wants to know of it.
    pub(crate) fn room(self: &Arc<State>) -> Room {
        if self.wants_live() {
            return Room::NONE;
        }
        let mut room = Room::ANY;
        for state in self.all() {
            let Some(sites) = &state.sites else { continue };
            let own = sites.lock().room();
            // What others allocate meanwhile brings the limit nearer.
            room = room.least(if state.is_carried.load(Relaxed) && own != Room::ANY { Room::NONE } else { own });
        }
        room
    }

    /// Other threads are going to work for it.
    pub(crate) fn carry(self: &Arc<State>) {
        for state in self.all() {
            state.is_carried.store(true, Relaxed);
        }
    }

    /// What has sites, of the regions that this is of; with each the bytes of its blocks that are live, where it follows them.
    pub(crate) fn sites(self: &Arc<State>) -> impl Iterator<Item = (&Spin<Sites>, u64)> {
        self.all().filter_map(|state| Some((state.sites.as_ref()?, state.live_space.load(Relaxed))))
    }

    pub(crate) fn own_sites(&self) -> Option<&Spin<Sites>> {
        self.sites.as_ref()
    }

    pub(crate) fn start_running(self: &Arc<State>) {
        for state in self.all() {
            state.running.fetch_add(1, AcqRel);
        }
    }

    pub(crate) fn stop_running(self: &Arc<State>) {
        for state in self.all() {
            state.running.fetch_sub(1, Release);
        }
    }

    /// Waits until what was carried to other threads has ended, and `holds` is fulfilled, and gives whether both came to be. A
    /// thread that was joined has ended; one whose scope is over may still give back what std keeps for it.
    fn settle(&self, holds: &dyn Fn(&Counts) -> bool) -> bool {
        const LONGEST: Duration = Duration::from_millis(100);
        let begun = Instant::now();
        loop {
            let ended = self.running.load(Acquire) == 0;
            if ended && (!self.several_threads.load(Relaxed) || holds(&self.counts())) {
                return true;
            }
            if begun.elapsed() > LONGEST {
                return ended;
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    fn counts(&self) -> Counts {
        let sums = &self.sums;
        Counts {
            alloc_objects: sums.alloc_objects.load(Relaxed),
            alloc_space: sums.alloc_space.load(Relaxed),
            reallocs: sums.reallocs.load(Relaxed),
            frees: sums.frees.load(Relaxed),
            freed_space: sums.freed_space.load(Relaxed),
            peak_space: self.peak_space.load(Relaxed),
            inuse_objects: self.live_objects.load(Relaxed),
            inuse_space: self.live_space.load(Relaxed),
            several_threads: self.several_threads.load(Relaxed),
        }
    }

    /// What was counted, once what was carried to other threads has ended. `None` = it has not.
    pub(crate) fn settled(self: &Arc<State>, holds: &dyn Fn(&Counts) -> bool) -> Option<Counts> {
        let _inside = events::inside();
        self.settle(holds).then(|| self.counts())
    }

    /// Lets go of the blocks that are live.
    fn close(self: &Arc<State>) {
        let _inside = events::inside();
        self.open.store(false, Release);
        if self.live_objects.load(Relaxed) > 0 && !self.around.iter().any(|state| state.is_open()) {
            owned::forget_closed();
        }
        if self.tracks_live {
            owned::rest();
        }
    }
}

/// A region that a thread began, and is yet to end.
pub(crate) struct Region {
    pub(crate) state: Quiet<Arc<State>>,
    _listening: Listening,
}

impl Region {
    pub(crate) fn new(outer: Option<&Arc<State>>, tracking: Tracking) -> Region {
        let _inside = events::inside();
        Region { state: Quiet::new(State::new(outer, tracking)), _listening: Listening::to_region() }
    }
}

/// Also where what is measured panics, or is never finished.
impl Drop for Region {
    fn drop(&mut self) {
        self.state.close();
    }
}
