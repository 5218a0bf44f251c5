//! Measures exactly what a piece of a test allocates.

use crate::count::part::Part;
use crate::count::region::{Region, State, Tracking};
use crate::count::{events, process};
use crate::counts::Counts;
use crate::recorded;
use crate::require;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;

/// What a closure gave and what it allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured<T> {
    /// What the closure gave. It is still there when what is in use is counted.
    pub value: T,
    counts: Option<Counts>,
}

impl<T> Measured<T> {
    /// What was allocated.
    ///
    /// # Panics
    /// Where nothing was counted, which is so only where `MEMPROF_REQUIRE=0` is set.
    #[track_caller]
    pub fn counts(&self) -> Counts {
        self.counts.unwrap_or_else(|| {
            panic!("nothing was counted, and `MEMPROF_REQUIRE=0` lets that pass; ask with `try_counts`")
        })
    }

    /// What was allocated; `None` = nothing was counted, and `MEMPROF_REQUIRE=0` is set.
    pub fn try_counts(&self) -> Option<Counts> {
        self.counts
    }
}

/// Runs `work` and counts what it allocates: on this thread, and on others what is handed on with [`crate::carry`] or
/// [`crate::Carry::carried`]. What other threads do meanwhile is not in it. May be nested.
///
/// ```
/// memprof::install!();
///
/// # fn main() {
/// let measured = memprof::measure(|| vec![1_u8, 2, 3]);
/// assert_eq!(measured.counts().to_string(), "1 alloc, 3 B, peak 3 B, 3 B in use");
/// # }
/// ```
///
/// # Panics
/// Where nothing counts: neither [`crate::install!`] nor `cargo memprof`; or where what was handed on to another thread goes on when
/// `work` is over.
#[track_caller]
pub fn measure<T>(work: impl FnOnce() -> T) -> Measured<T> {
    let (value, counts) = run(Tracking { live: true, sites: None }, &|_| true, work, |_, _| ());
    Measured { value, counts: counts.map(|(counts, ())| counts) }
}

/// Runs `work` and counts what all threads of the process allocate meanwhile, other tests' among them.
///
/// # Panics
/// Where nothing counts.
#[track_caller]
pub fn measure_process<T>(work: impl FnOnce() -> T) -> Measured<T> {
    if !require::counted(is_installed()) {
        return Measured { value: work(), counts: None };
    }
    let region = process::Region::new();
    let value = work();
    Measured { value, counts: Some(region.close()) }
}

/// Runs `work` so many times uncounted, and once more counted: what it allocates once its buffers have grown and its caches are full.
///
/// # Panics
/// As [`measure`].
#[track_caller]
pub fn warmed_up<T>(times: usize, mut work: impl FnMut() -> T) -> Measured<T> {
    for _ in 0..times {
        drop(work());
    }
    measure(work)
}

/// Runs `work` as a region. `holds` says whether the counts are as they should be: where they are not, threads that are ending
/// have a moment to end. `look` sees the region before its blocks are let go.
#[track_caller]
pub(crate) fn run<T, R>(
    tracking: Tracking,
    holds: &dyn Fn(&Counts) -> bool,
    work: impl FnOnce() -> T,
    look: impl FnOnce(&Arc<State>, &Counts) -> R,
) -> (T, Option<(Counts, R)>) {
    let Some(open) = Open::new(tracking) else { return (work(), None) };
    let value = open.part(work);
    let ended = open.end(holds, look);
    (value, Some(ended))
}

/// A region that has begun, in whichever way it is counted.
pub(crate) struct Open(Region);

impl Open {
    /// `None` = nothing counts, and that is allowed.
    #[track_caller]
    pub(crate) fn new(tracking: Tracking) -> Option<Open> {
        if !require::counted(is_installed()) {
            return None;
        }
        crate::panics::leave_out();
        let outer = {
            let _inside = events::inside();
            events::current().map(crate::count::quiet::Quiet::new)
        };
        Some(Open(Region::new(outer.as_deref(), tracking)))
    }

    /// Some of what is measured.
    pub(crate) fn part<T>(&self, work: impl FnOnce() -> T) -> T {
        Part::run(&self.0.state, false, work)
    }

    /// As [`Open::part`], on whatever thread this is.
    pub(crate) fn carried_part<T>(&self, work: impl FnOnce() -> T) -> T {
        Part::run(&self.0.state, true, work)
    }

    #[track_caller]
    pub(crate) fn end<R>(
        self,
        holds: &dyn Fn(&Counts) -> bool,
        look: impl FnOnce(&Arc<State>, &Counts) -> R,
    ) -> (Counts, R) {
        let Some(counts) = self.0.state.settled(holds) else {
            panic!(
                "what was handed on to another thread goes on after the region that it counts for\n  \
                 help: join it within the region"
            )
        };
        let _uncounted = events::uncounted();
        (counts, look(&self.0.state, &counts))
    }
}

/// Whether somebody counts: the program's allocator, or the recording.
fn is_installed() -> bool {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.load(Relaxed) {
        return true;
    }
    let region = Region::new(None, Tracking::default());
    let is_own = {
        // The program's own allocator counts that as well; and to the record it is nothing.
        recorded::suspend();
        Part::run(&region.state, false, || drop(black_box(Box::new(1_u8))));
        recorded::resume();
        region.state.settled(&|_| true).is_some_and(|counts| counts.alloc_objects > 0)
    };
    let found = is_own || recorded::passes_on();
    INSTALLED.store(found, Relaxed);
    found
}
