//! The test's own limit of leaked bytes, where it has one.

#![cfg_attr(memprof_program, allow(dead_code))] // a program of its own has no such budget
#![cfg_attr(memprof_injected, allow(unsafe_code))] // a symbol that the linker is to find

#[cfg(memprof_injected)]
use crate::engine::life::{process, state};
use crate::engine::record::lane;
use crate::engine::store::ledger_map;
use crate::ledger::layout::leak_check;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The least that was asked for, in bytes; the highest number = nobody did.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Nothing is recorded.
#[cfg(memprof_injected)]
const NOT_RECORDED: u32 = 0;
/// The limit is set.
#[cfg(memprof_injected)]
const SET: u32 = 1;
/// Nobody is going to look: a program ends as it ends, whatever it leaked.
#[cfg(memprof_injected)]
const OTHER_PROGRAM: u32 = 2;

/// From here on the symbol is part of the program.
#[cfg(memprof_injected)]
pub(crate) fn keep() {
    // The linker takes an archive's members only where something names them.
    std::hint::black_box(memprof_limit_leaked_v1 as *const ());
}

/// Limits the bytes that the whole test may have leaked when its window has ended. For the crate `memprof`, which is the test's own
/// dependency and knows this one by its symbols alone. The name changes with what it gives.
#[cfg(memprof_injected)]
#[no_mangle]
#[linkage = "weak"]
extern "C" fn memprof_limit_leaked_v1(bytes: u64) -> u32 {
    process::notice_fork();
    if !state::is_open() || !ledger_map::is_attached() {
        return NOT_RECORDED;
    }
    if cfg!(memprof_program) {
        return OTHER_PROGRAM;
    }
    LIMIT.fetch_min(bytes, Relaxed);
    SET
}

/// What became of a limit that a test set itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeakBudget {
    /// There is none, or it holds.
    Kept,
    Exceeded {
        limit: u64,
        objects: u64,
        /// Bytes, at least.
        space: u64,
    },
    /// It is not known; the value is the ledger's `leak_check`.
    Unchecked(u32),
}

/// Whether the limit holds, once the ledger is closed.
pub fn leak_budget() -> LeakBudget {
    let limit = LIMIT.load(Relaxed);
    if limit == u64::MAX || !ledger_map::is_attached() {
        return LeakBudget::Kept;
    }
    let header = ledger_map::header();
    match header.leak_check.load(Relaxed) {
        leak_check::DONE => {}
        code => return LeakBudget::Unchecked(code),
    }
    let [room, slack, all_room] =
        [&header.leaked_room, &header.leaked_slack, &header.live_room].map(|number| number.load(Relaxed));
    let objects = header.leaked_objects.load(Relaxed);
    let [_, alloc_space, _, _, freed_space] = lane::totals();
    let least = least(alloc_space.saturating_sub(freed_space), room, slack, all_room);
    // A block has at least one byte, whatever else is known of it.
    if objects == 0 || least.max(objects) <= limit {
        return LeakBudget::Kept;
    }
    LeakBudget::Exceeded { limit, objects, space: least.max(objects) }
}

/// The least that was asked for of what is leaked: no block has more than its room, nor less than that without its slack.
fn least(in_use: u64, room: u64, slack: u64, all_room: u64) -> u64 {
    in_use.saturating_sub(all_room.saturating_sub(room)).max(room.saturating_sub(slack))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_leaked_at_least_is_exact_where_everything_is() {
        assert_eq!(least(25, 40, 15, 40), 25);
        assert_eq!(least(100, 40, 15, 120), 25);
        assert_eq!(least(110, 40, 15, 120), 30);
        assert_eq!(least(0, 0, 0, 0), 0);
    }
}
