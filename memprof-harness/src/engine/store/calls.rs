//! Whether the engine may make system calls of its own: a program may have forbidden itself some. `life::seccomp` notices
//! that, and takes beforehand what is going to be needed.

use std::cell::Cell;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Some thread has a filter.
static SOMEWHERE: AtomicBool = AtomicBool::new(false);
/// Every thread has.
static EVERYWHERE: AtomicBool = AtomicBool::new(false);

/// What is known of the calling thread. A thread's filters are those of the thread that started it, too, so that of most nothing is.
struct Own {
    /// It was there before there was any filter.
    is_first: Cell<bool>,
    has_filter: Cell<bool>,
    /// It ends the recording, and may make system calls for that.
    ends: Cell<bool>,
}

thread_local! {
    static OWN: Own =
        const { Own { is_first: Cell::new(false), has_filter: Cell::new(false), ends: Cell::new(false) } };
}

/// The calling thread is the process's first. No filter was set yet.
pub(crate) fn notice_first_thread() {
    OWN.with(|own| own.is_first.set(true));
}

/// Whether the engine may make system calls that the program would not make.
#[inline]
pub(crate) fn allows_calls() -> bool {
    !SOMEWHERE.load(Relaxed) || OWN.with(|own| own.ends.get())
}

/// Whether the calling thread may make them as it ends the recording, which no event comes after that counts.
pub(crate) fn allows_calls_at_the_end() -> bool {
    let is_free = |own: &Own| own.is_first.get() && !own.has_filter.get();
    !EVERYWHERE.load(Relaxed) && (!SOMEWHERE.load(Relaxed) || OWN.with(is_free))
}

/// The calling thread ends the recording. Gives whether it may make system calls for that.
pub(crate) fn begin_the_end() -> bool {
    let may = allows_calls_at_the_end();
    OWN.with(|own| own.ends.set(may));
    may
}

/// What is known of filters on the calling thread, and of those of others; as it was before a call that may set one.
#[cfg(memprof_injected)]
pub(crate) struct Filters {
    somewhere: bool,
    everywhere: bool,
    has_own: bool,
}

#[cfg(memprof_injected)]
impl Filters {
    pub(crate) fn known() -> Filters {
        let [somewhere, everywhere] = [&SOMEWHERE, &EVERYWHERE].map(|place| place.load(Relaxed));
        Filters { somewhere, everywhere, has_own: OWN.with(|own| own.has_filter.get()) }
    }

    /// The call has set none.
    pub(crate) fn restore(self) {
        SOMEWHERE.store(self.somewhere, Relaxed);
        EVERYWHERE.store(self.everywhere, Relaxed);
        OWN.with(|own| own.has_filter.set(self.has_own));
    }
}

/// The calling thread is about to set a filter for itself, or for `everywhere`: all threads.
#[cfg_attr(not(memprof_injected), allow(dead_code))]
pub(crate) fn notice_filter(everywhere: bool) {
    if everywhere {
        EVERYWHERE.store(true, Relaxed);
    }
    OWN.with(|own| own.has_filter.set(true));
    SOMEWHERE.store(true, Relaxed);
}

/// Whether the calling thread is the process's first.
pub(crate) fn is_first_thread() -> bool {
    OWN.with(|own| own.is_first.get())
}
