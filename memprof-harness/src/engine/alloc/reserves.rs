//! Address space that the engine has set aside for later, or still has for small blocks that were freed. Where address space is limited, the
//! program would have that room without us, so it gets the room back when C's allocator finds no more.
//!
//! glibc reserves 64 MiB of address space for each thread's heap. Where there is no room for another, it has a mapping for every single block
//! of such a thread, until there is no room at all. With small blocks beside the heaps, fewer heaps have room than without us: so the
//! thread is then given one of those that there are.

use crate::engine::alloc::slots;
use crate::engine::life::seccomp;
use crate::engine::store::errno::Errno;
use crate::engine::store::ledger_map;
use crate::engine::store::limits;
use crate::os::memory;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Set where address space was limited when the recording began. A program that limits itself later may do so by what it has by then, and
/// expect to have no more.
static ARE_THE_PROGRAMS: AtomicBool = AtomicBool::new(false);

/// Set once threads share heaps.
static ARE_SHARED: AtomicBool = AtomicBool::new(false);

/// Looks whether there is a limit. Called once, when all is set aside.
pub(crate) fn note_limit() {
    ARE_THE_PROGRAMS.store(limits::space_left().is_some(), Relaxed);
}

/// The program found no memory for `needed` bytes: gives back what slots do not need, has threads share heaps, and gives back what is set
/// aside, if that is enough for them. Gives whether to try again. Stacks that the ledger has no room for later are counted.
#[cold]
pub(crate) fn give_back(needed: usize) -> bool {
    if slots::make_room() {
        return true;
    }
    if !ARE_THE_PROGRAMS.load(Relaxed) {
        return false;
    }
    if !ARE_SHARED.swap(true, Relaxed) && memory::share_heaps() {
        return true;
    }
    let set_aside = ledger_map::set_aside();
    if set_aside == 0 || !seccomp::allows_calls() {
        return false;
    }
    let errno = Errno::save();
    let left = limits::space_left().and_then(|left| usize::try_from(left).ok()).unwrap_or(0);
    let gave_back = left.saturating_add(set_aside) >= needed && ledger_map::give_back_set_aside();
    errno.restore();
    gave_back
}
