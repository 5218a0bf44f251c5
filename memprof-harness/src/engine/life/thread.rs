//! The engine's state of each thread: whether it is recorded, its lane, where its stack ends.
//!
//! The thread-local has neither a lazy initialiser nor a destructor, so reading it is one instruction and works at any
//! time in a thread's life, in the destructors of other thread-locals too. That a thread ends is learnt from a pthread
//! key instead, made before the window opens.

#![allow(unsafe_code)] // pthread calls

use crate::engine::leaks::threads::{NOBODY, STACKS};
#[cfg(memprof_program)]
use crate::engine::life::frames::{self, Event, Watch};
use crate::engine::life::process;
use crate::engine::life::seccomp;
use crate::engine::life::state::{self, EXACT, MULTI, NEVER, OBSERVED, OPEN};
#[cfg(any(memprof_program, memprof_injected))]
use crate::engine::life::std_itself;
#[cfg(memprof_program)]
use crate::engine::life::std_itself::Part;
use crate::engine::record::lane::{self, Local};
use crate::engine::store::calls;
use crate::engine::store::errno::Errno;
use crate::engine::store::ledger_map;
use crate::engine::store::ranges::Range;
use crate::engine::unwind::frame_pointer::Bounds;
#[cfg(any(memprof_program, memprof_injected))]
use crate::engine::unwind::frame_pointer::Frame;
use crate::ledger::layout::Lane;
use crate::os;
use crate::provenance::{self, Address};
use std::cell::Cell;
use std::io;
#[cfg(all(memprof_injected, not(memprof_program)))]
use std::marker::PhantomData;
use std::sync::atomic::Ordering::{self, Relaxed};
use std::sync::atomic::{compiler_fence, AtomicU64};

pub(crate) struct Thread {
    /// The state's flags under which this thread may record at once in sampled mode; [`NEVER`] where it must ask first.
    sampled: Cell<u32>,
    /// The same in exact mode. Each mode has its own, so that one comparison is enough.
    exact: Cell<u32>,
    /// How many [`Suspended`](crate::engine::life::suspension::Suspended) guards live on this thread.
    pub(super) suspended: Cell<u32>,
    counted: Cell<bool>,
    /// In the middle of its first event: what the C library allocates for the engine meanwhile is nobody's.
    joining: Cell<bool>,
    /// Events left in which it may still enter itself in std's map of threads.
    #[cfg(any(memprof_program, memprof_injected))]
    early: Cell<u8>,
    /// The main thread of a program whose `main` is not known to have begun.
    #[cfg(memprof_program)]
    setting_up: Cell<bool>,
    /// Which of its process's forks the thread is about to make, counted from 1; 0 = none.
    forks: Cell<u32>,
    local: Cell<Option<&'static Local>>,
    /// The lane's counters: what most events need of it. Once set it stays set, so that it is there whenever the thread is ready, to a
    /// signal handler too.
    record: Cell<Option<&'static Lane>>,
    bounds: Cell<Bounds>,
    /// Whether the program is known to have made that stack.
    on_programs_stack: Cell<bool>,
    /// Whether it is the test's own, where the window is a frame of its stack.
    #[cfg(memprof_program)]
    watch: Cell<Watch>,
}

/// std enters a new thread in its map before the thread does anything else, but for a few allocations of std's own.
#[cfg(any(memprof_program, memprof_injected))]
const EARLY: u8 = 16;

thread_local! {
    pub(super) static THREAD: Thread = const {
        Thread {
            sampled: Cell::new(NEVER),
            exact: Cell::new(NEVER),
            suspended: Cell::new(0),
            counted: Cell::new(false),
            joining: Cell::new(false),
            #[cfg(any(memprof_program, memprof_injected))]
            early: Cell::new(EARLY),
            #[cfg(memprof_program)]
            setting_up: Cell::new(false),
            forks: Cell::new(0),
            local: Cell::new(None),
            record: Cell::new(None),
            bounds: Cell::new(Bounds { low: 0, high: 0 }),
            on_programs_stack: Cell::new(false),
            #[cfg(memprof_program)]
            watch: Cell::new(Watch::Unseen),
        }
    };
}

/// May the calling thread record an event, and where?
pub(crate) enum Access {
    Lane(&'static Local, Bounds),
    /// The window is open, but the ledger has no room for a lane: only totals can be kept.
    Laneless,
    /// The window is shut, or this thread is suspended.
    Shut,
}

/// Asks for the calling thread.
#[inline(always)]
pub(crate) fn access() -> Access {
    THREAD.with(|thread| match thread.ready() {
        Some(local) => Access::Lane(local, thread.bounds.get()),
        None => thread.ask(),
    })
}

/// Whether the calling thread may record at once, in sampled mode, while the state has these flags.
#[inline(always)]
pub(crate) fn is_ready_to_sample(flags: u32) -> bool {
    THREAD.with(|thread| thread.sampled.get() == flags)
}

/// The same in exact mode.
#[inline(always)]
pub(crate) fn is_ready_for_all(flags: u32) -> bool {
    THREAD.with(|thread| thread.exact.get() == flags)
}

/// The counters of the calling thread.
///
/// # Safety
/// In this very call it was found ready.
#[inline(always)]
pub(crate) unsafe fn record() -> &'static Lane {
    let record = THREAD.with(|thread| thread.record.get());
    // SAFETY: no thread is ready before `ask` made it so, and that joins first.
    unsafe { record.unwrap_unchecked() }
}

/// The lane of the calling thread, and its stack.
///
/// # Safety
/// As for [`record`].
#[inline(always)]
pub(crate) unsafe fn local() -> (&'static Local, Bounds) {
    let (local, bounds) = THREAD.with(|thread| (thread.local.get(), thread.bounds.get()));
    // SAFETY: no thread is ready before it has joined, or after it left.
    (unsafe { local.unwrap_unchecked() }, bounds)
}

/// The calling thread's stack, as far as it is known.
pub(crate) fn bounds() -> Bounds {
    THREAD.with(|thread| thread.bounds.get())
}

/// Has the calling thread's lane tell the shared total what changed.
#[cold]
#[inline(never)]
pub(crate) fn flush() {
    THREAD.with(|thread| {
        if let Some(local) = thread.local.get() {
            local.flush();
        }
    });
}

impl Thread {
    #[inline(always)]
    fn ready(&self) -> Option<&'static Local> {
        if self.expected() == state::flags() {
            self.local.get()
        } else {
            None
        }
    }

    /// The state's flags under which this thread may record at once, [`NEVER`] where there are none.
    #[inline(always)]
    fn expected(&self) -> u32 {
        self.sampled.get().min(self.exact.get())
    }

    /// Has this thread record at once while the state has these flags.
    fn expect(&self, flags: u32) {
        // A signal handler that finds them must find what was written before.
        compiler_fence(Ordering::SeqCst);
        let (now, never) = if flags & EXACT != 0 { (&self.exact, &self.sampled) } else { (&self.sampled, &self.exact) };
        never.set(NEVER);
        now.set(flags);
        compiler_fence(Ordering::SeqCst);
    }

    pub(super) fn expect_nothing(&self) {
        self.sampled.set(NEVER);
        self.exact.set(NEVER);
        compiler_fence(Ordering::SeqCst);
    }

    /// The slow way: the window may be shut, the thread new, suspended, or the last to hear that it is not alone.
    #[cold]
    #[inline(never)]
    fn ask(&self) -> Access {
        process::see_to_fork();
        if self.suspended.get() > 0 || self.joining.get() {
            return Access::Shut;
        }
        #[cfg(memprof_program)]
        let watched = frames::is_watching()
            && match self.look() {
                Event::Usual => false,
                Event::OfTest => true,
                Event::OfHarness => return Access::Shut,
            };
        #[cfg(not(memprof_program))]
        let watched = false;
        if !state::is_open() {
            return Access::Shut;
        }
        if self.is_setting_up() {
            return Access::Shut;
        }
        let Some(local) = self.local.get().or_else(|| self.join()) else { return Access::Laneless };
        if self.is_entering_itself() {
            return Access::Shut;
        }
        // Joining may have made this process one of several threads.
        let flags = state::settled_flags();
        if flags & OPEN == 0 {
            // The window was shut meanwhile: expecting these flags would have this thread record for ever.
            return Access::Shut;
        }
        if flags & MULTI != 0 && self.expected() != flags {
            local.flush();
        }
        if !watched && !self.may_set_up() && !self.is_early() && flags & OBSERVED == 0 {
            self.expect(flags);
        }
        Access::Lane(local, self.bounds.get())
    }

    /// Whose the event is, where the window is a frame of the test's stack. The test's first opens it.
    #[cfg(memprof_program)]
    fn look(&self) -> Event {
        let before = self.watch.get();
        let (event, now) = frames::look(before, || self.bounds());
        if now != before {
            self.watch.set(now);
            if event == Event::OfTest {
                process::open();
            }
        }
        event
    }

    /// Where this thread's stack lies.
    #[cfg(memprof_program)]
    fn bounds(&self) -> Bounds {
        if self.bounds.get().high == 0 {
            self.joining.set(true);
            self.find_stack();
            self.joining.set(false);
        }
        self.bounds.get()
    }

    /// Whether std's set-up, which is not recorded, may still be to come on this thread: every event has to ask.
    #[cfg(memprof_program)]
    fn may_set_up(&self) -> bool {
        self.setting_up.get()
    }

    #[cfg(not(memprof_program))]
    fn may_set_up(&self) -> bool {
        false
    }

    /// Whether this event is std's set-up's.
    #[cfg(memprof_program)]
    fn is_setting_up(&self) -> bool {
        if !self.setting_up.get() {
            return false;
        }
        let part = std_itself::part(Frame::here(), self.bounds.get());
        if part == Part::Main {
            self.setting_up.set(false);
        }
        part == Part::SetUp
    }

    #[cfg(not(memprof_program))]
    fn is_setting_up(&self) -> bool {
        false
    }

    /// Whether this event is of std's entering the thread in its map of those that are alive.
    #[cfg(any(memprof_program, memprof_injected))]
    fn is_entering_itself(&self) -> bool {
        if !self.is_early() {
            return false;
        }
        let enters = std_itself::is_in_thread_info(Frame::here(), self.bounds.get());
        if !enters {
            self.early.set(self.early.get() - 1);
        }
        enters
    }

    #[cfg(any(memprof_program, memprof_injected))]
    fn is_early(&self) -> bool {
        self.early.get() > 0 && std_itself::knows_thread_info()
    }

    #[cfg(not(any(memprof_program, memprof_injected)))]
    fn is_entering_itself(&self) -> bool {
        false
    }

    #[cfg(not(any(memprof_program, memprof_injected)))]
    fn is_early(&self) -> bool {
        false
    }

    /// This thread's first event.
    fn join(&self) -> Option<&'static Local> {
        let local = lane::take()?;
        self.joining.set(true);
        if self.bounds.get().high == 0 {
            self.find_stack();
        }
        if !self.counted.replace(true) {
            ledger_map::header().threads.fetch_add(1, Relaxed);
            self.tell_stack();
        }
        self.local.set(Some(local));
        self.record.set(Some(local.record));
        watch_end();
        self.joining.set(false);
        Some(local)
    }

    fn find_stack(&self) {
        let (bounds, is_programs) = own_stack();
        self.bounds.set(bounds);
        self.on_programs_stack.set(is_programs);
    }

    /// Has the stack known as one, by what this very thread-local says. Not one that the program made: once the thread has ended, its memory
    /// may serve something else.
    fn tell_stack(&self) {
        let Bounds { low, high } = self.bounds.get();
        if low < high && !self.on_programs_stack.get() {
            let place = self.bounds.as_ptr().address();
            // Whose it is takes a system call to find out.
            let id = if calls::allows_calls() { os::thread::id() } else { NOBODY };
            STACKS.enter_again(Range { start: low, end: high, kept: [place, id as usize] });
        }
    }

    /// In a forked child: the lane is the parent's.
    fn forget(&self) {
        self.expect_nothing();
        self.local.set(None);
        self.counted.set(false);
    }

    fn leave(&self) {
        // A forked child's lane is its parent's, and so may be who holds a lock.
        process::notice_fork();
        self.expect_nothing();
        if let Some(local) = self.local.take() {
            local.release();
        }
    }
}

/// The calling thread is about to make this fork of its process's, counted from 1; 0 = it has made it.
pub(crate) fn set_fork(number: u32) {
    THREAD.with(|thread| thread.forks.set(number));
}

/// In a forked child: which of the parent's forks it is, counted from 1; 0 = nobody told.
pub(crate) fn take_fork() -> u32 {
    THREAD.with(|thread| thread.forks.replace(0))
}

/// In a forked child, for its only thread.
pub(crate) fn forget() {
    THREAD.with(Thread::forget);
}

/// The calling thread's lane, also while it is suspended: for what concerns the books as such, and for the one event
/// recorded even then, that a block of the test's is freed.
pub(crate) fn own_lane() -> Option<&'static Local> {
    THREAD.with(|thread| thread.local.get().or_else(|| thread.join()))
}

/// std's set-up is still to come on the calling thread, and is to be left out.
#[cfg(memprof_program)]
pub(crate) fn expect_set_up() {
    THREAD.with(|thread| {
        thread.setting_up.set(true);
        thread.expect_nothing();
    });
}

/// Gives the calling thread its lane before it needs one. It has long begun.
pub(crate) fn join() {
    THREAD.with(|thread| {
        #[cfg(any(memprof_program, memprof_injected))]
        thread.early.set(0);
        if thread.local.get().is_none() {
            thread.join();
        }
    });
}

/// Where the calling thread's stack lies, nowhere if the system does not say; and whether the program is known to have made it.
fn own_stack() -> (Bounds, bool) {
    let errno = Errno::save();
    let is_free = calls::allows_calls();
    #[cfg(memprof_native)]
    let stack =
        if is_free { crate::engine::unwind::stack_bounds::stack_of_this_thread() } else { seccomp::known_stack() }
            .map(|bounds| (bounds, false));
    // What this asks the kernel, std asks for each thread that it starts: so it may under a filter, if it started then.
    #[cfg(not(memprof_native))]
    let stack = if is_free { None } else { seccomp::known_stack() }.map(|bounds| (bounds, false)).or_else(|| {
        let stack = os::thread::stack()?;
        Some((Bounds { low: stack.low, high: stack.high }, !stack.is_c_librarys))
    });
    errno.restore();
    stack.unwrap_or((Bounds::NOWHERE, false))
}

/// The pthread key whose destructor tells that a thread ends, plus 1; 0 = none was made.
static KEY: AtomicU64 = AtomicU64::new(0);

/// Makes the key. Called once, while the window is shut.
pub(crate) fn prepare() -> io::Result<()> {
    let mut key = 0;
    // SAFETY: `key` is a valid place; `thread_ends` has the signature of a destructor.
    match unsafe { libc::pthread_key_create(&mut key, Some(thread_ends)) } {
        0 => {
            KEY.store(u64::from(key) + 1, Relaxed);
            Ok(())
        }
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Has `thread_ends` called when the calling thread ends. A lane whose thread ends unseen is lost to later threads,
/// and nothing else.
fn watch_end() {
    if let Some(key) = KEY.load(Relaxed).checked_sub(1) {
        // Any value that is not null.
        let value = provenance::without_provenance(1);
        // SAFETY: the key was made by `prepare` and is never deleted.
        unsafe { libc::pthread_setspecific(key as libc::pthread_key_t, value) };
    }
}

/// Runs after the destructors of Rust's thread-locals. An allocation after it takes a lane again and has it called again.
extern "C" fn thread_ends(_: *mut libc::c_void) {
    THREAD.with(Thread::leave);
}

/// While it lives, the frames from the one of the function that holds it outwards are taken to stay as they are.
#[cfg(all(memprof_injected, not(memprof_program)))]
#[must_use = "frames are looked at again as soon as the guard is dropped"]
pub struct Anchor(Option<&'static Local>, PhantomData<*const ()>);

/// See [`Anchor`]. The calling function must hold it to its end. Does nothing where the thread is not recorded.
#[cfg(all(memprof_injected, not(memprof_program)))]
#[inline(always)]
pub fn anchor() -> Anchor {
    let frame = Frame::here();
    let local = THREAD.with(|thread| thread.local.get());
    if let Some(local) = local {
        local.recent.anchor(frame);
        local.kept_walk.empty();
    }
    Anchor(local, PhantomData)
}

#[cfg(all(memprof_injected, not(memprof_program)))]
impl Drop for Anchor {
    fn drop(&mut self) {
        if let Some(local) = self.0 {
            local.recent.drop_anchor();
            local.kept_walk.empty();
        }
    }
}
