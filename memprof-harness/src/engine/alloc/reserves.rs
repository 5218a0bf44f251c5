//! Address space that the engine has set aside for later, or still has for small blocks that were freed. Where address space is limited, the
//! program would have that room without us, so it gets the room back when C's allocator finds no more.
//!
//! glibc reserves 64 MiB of address space for each thread's heap. Where there is no room for another, it has a mapping for every single block
//! of such a thread, until there is no room at all. With small blocks beside the heaps, fewer heaps have room than without us: so the
//! thread is then given one of those that there are.

use crate::engine::alloc::slots;
use crate::engine::store::calls;
use crate::engine::store::errno::Errno;
use crate::engine::store::ledger_map;
use crate::engine::store::limits;
use crate::engine::store::lock::Lock;
use crate::os::memory;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;
use std::time::Duration;

/// Set where address space was limited when the recording began. A program that limits itself later may do so by what it has by then, and
/// expect to have no more.
static ARE_THE_PROGRAMS: AtomicBool = AtomicBool::new(false);

/// Set once threads share heaps.
static ARE_SHARED: AtomicBool = AtomicBool::new(false);

/// Looks whether there is a limit. Called once, when all is set aside.
pub(crate) fn note_limit() {
    ARE_THE_PROGRAMS.store(limits::space_left().is_some(), Relaxed);
}

static LOCK: Lock = Lock::new();

/// How often something went back. A thread that found no memory before another gave some back has to try again as well.
static TIMES_GIVEN: AtomicUsize = AtomicUsize::new(0);

/// How often something went back so far.
pub(crate) fn times_given() -> usize {
    TIMES_GIVEN.load(Acquire)
}

/// The program found no memory for `needed` bytes: gives back what slots do not need, has threads share heaps, and gives back what is set
/// aside, if that is enough for them. Gives whether anything went back. Stacks that the ledger has no room for later are counted.
#[cold]
pub(crate) fn give_back(needed: usize) -> bool {
    // Another thread that gives back is waited for, or this one would find nothing left to give and no sign that there is memory again.
    LOCK.hold(|| {
        let gave =
            slots::make_room() || ARE_THE_PROGRAMS.load(Relaxed) && (share_heaps() || give_back_set_aside(needed));
        if gave {
            TIMES_GIVEN.fetch_add(1, Release);
        }
        gave
    })
}

/// In a forked child no other thread is left to open the lock.
pub(crate) fn force_open() {
    LOCK.force_open();
}

/// Gives whether threads share heaps only from now on.
fn share_heaps() -> bool {
    !ARE_SHARED.swap(true, Relaxed) && memory::share_heaps()
}

/// A block for a thread that shares heaps. glibc passes a heap over that another thread is about to use, and finds no memory if there is no
/// other: so the thread tries until it has the heap, and from then on it waits for it. `None` where heaps are not shared, or have no room.
#[cold]
pub(crate) fn from_shared_heap(size: usize, make: impl Fn() -> *mut u8) -> Option<*mut u8> {
    /// glibc's on processors of 64 bits.
    const HEAP: usize = 64 << 20;
    /// The pauses together are 0.2 s: a thread that has the heap may have lost its processor.
    const MOST_TIMES: u32 = 60;
    const LONGEST_PAUSE: Duration = Duration::from_millis(4);
    /// Where all these were in vain, so many allocations fail at once, and twice as many the next time: those of a program for which there is no
    /// more.
    const LEFT_OUT: usize = 64;
    const MOST_LEFT_OUT: usize = 1 << 20;
    static LEAVE_OUT: AtomicUsize = AtomicUsize::new(0);
    static FAILED: AtomicUsize = AtomicUsize::new(0);
    if !ARE_SHARED.load(Relaxed) || size >= HEAP || !calls::allows_calls() {
        return None;
    }
    let leave_out = LEAVE_OUT.load(Relaxed);
    if leave_out > 0 && FAILED.fetch_add(1, Relaxed) % leave_out != leave_out - 1 {
        return None;
    }
    let mut pause = Duration::from_micros(10);
    for _ in 0..MOST_TIMES {
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
        let block = make();
        if !block.is_null() {
            LEAVE_OUT.store(0, Relaxed);
            return Some(block);
        }
    }
    LEAVE_OUT.store((leave_out * 2).clamp(LEFT_OUT, MOST_LEFT_OUT), Relaxed);
    None
}

fn give_back_set_aside(needed: usize) -> bool {
    let set_aside = ledger_map::set_aside();
    if set_aside == 0 || !calls::allows_calls() {
        return false;
    }
    let errno = Errno::save();
    let left = limits::space_left().and_then(|left| usize::try_from(left).ok()).unwrap_or(0);
    let gave_back = left.saturating_add(set_aside) >= needed && ledger_map::give_back_set_aside();
    errno.restore();
    gave_back
}
