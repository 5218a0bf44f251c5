//! Address space that the engine has set aside for later, or still has for small blocks that were freed. Where address space is limited, the
//! program would have that room without us, so it gets the room back when C's allocator finds no more.

use crate::engine::alloc::slots;
use crate::engine::life::seccomp;
use crate::engine::store::errno::Errno;
use crate::engine::store::ledger_map;
use crate::engine::store::limits;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Set where address space was limited when the recording began. A program that limits itself later may do so by what it has by then, and
/// expect to have no more.
static ARE_THE_PROGRAMS: AtomicBool = AtomicBool::new(false);

/// Looks whether there is a limit. Called once, when all is set aside.
pub(crate) fn note_limit() {
    ARE_THE_PROGRAMS.store(limits::space_left().is_some(), Relaxed);
}

/// The program found no memory for `needed` bytes: gives back what slots do not need, and then what is set aside, if that is enough for them.
/// Gives whether to try again. Stacks that the ledger has no room for later are counted.
#[cold]
pub(crate) fn give_back(needed: usize) -> bool {
    if slots::make_room() {
        return true;
    }
    let set_aside = ledger_map::set_aside();
    if set_aside == 0 || !ARE_THE_PROGRAMS.load(Relaxed) || !seccomp::allows_calls() {
        return false;
    }
    let errno = Errno::save();
    let left = limits::space_left().and_then(|left| usize::try_from(left).ok()).unwrap_or(0);
    let gave_back = left.saturating_add(set_aside) >= needed && ledger_map::give_back_set_aside();
    errno.restore();
    gave_back
}
