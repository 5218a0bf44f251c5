//! What is allocated between two points of a test, for the test itself to ask: through a symbol of the C kind, because the
//! test knows its own copy of this crate, which is another than the one that is recording.

#![allow(unsafe_code)] // a symbol that the linker is to find, and memory of its caller

#[cfg(memprof_injected)]
use crate::engine::leaks::budget;
use crate::engine::life::process;
use crate::engine::life::state;
use crate::engine::record::lane;
use crate::engine::record::peak;
use crate::engine::store::ledger_map;
pub use crate::measure::{BEGIN, END, LIMIT_LEAKED, NUMBERS};

/// From here on the symbol is part of the program.
pub(crate) fn keep() {
    #[cfg(memprof_injected)]
    // The linker takes an archive's members only where something names them.
    std::hint::black_box(memprof_region_v1 as *const ());
}

/// The calling thread's part is exact to the last event; another's may lag by one. `None` while nothing is recorded.
fn begin() -> Option<[u64; NUMBERS]> {
    if !is_recorded() {
        return None;
    }
    let process = u64::from(lane::generation());
    let watch = peak::begin()?;
    let [objects, space, reallocs, frees, freed] = lane::totals();
    Some([objects, space, reallocs, frees, freed, watch.base as u64, watch.slot as u64, process])
}

/// `None` also where this process is a fork of the one that began: it has books of its own.
fn end(region: [u64; NUMBERS]) -> Option<[u64; NUMBERS]> {
    let [.., base, slot, process] = region;
    if process != u64::from(lane::generation()) {
        return None;
    }
    let after = lane::totals();
    let watch = peak::Watch { slot: slot as usize, base: base as i64 };
    let (rise, error) = watch.end();
    let mut numbers = [0; NUMBERS];
    for ((number, after), before) in numbers.iter_mut().zip(after).zip(region) {
        *number = after.wrapping_sub(before);
    }
    numbers[5] = rise.max(0).unsigned_abs();
    numbers[6] = error;
    is_recorded().then_some(numbers)
}

fn is_recorded() -> bool {
    process::notice_fork();
    state::is_open() && ledger_map::is_attached()
}

/// Begins or ends a region; 0 where nothing is recorded, and then the numbers stay as they are. The name changes with
/// what they mean.
///
/// # Safety
/// `numbers` can be read and written.
#[cfg(memprof_injected)]
#[no_mangle]
#[linkage = "weak"]
unsafe extern "C" fn memprof_region_v1(what: u32, numbers: *mut [u64; NUMBERS]) -> u32 {
    let answer = match what {
        BEGIN => begin(),
        // SAFETY: the caller's promise.
        END => end(unsafe { numbers.read() }),
        LIMIT_LEAKED => {
            // SAFETY: the caller's promise.
            let numbers = unsafe { numbers.read() };
            (is_recorded() && budget::limit(numbers[0])).then_some(numbers)
        }
        _ => None,
    };
    let Some(answer) = answer else { return 0 };
    // SAFETY: the caller's promise.
    unsafe { numbers.write(answer) };
    1
}
