//! What has been counted so far, for the test itself to ask: through a symbol of the C kind, because the test knows its own
//! copy of this crate, which is another than the one that is recording.

#![allow(unsafe_code)] // a symbol that the linker is to find, and memory of its caller

use super::{arena, lane, state};

/// Numbers that `memprof_totals_v1` gives.
pub const NUMBERS: usize = 5;

/// From here on the symbol is part of the program.
pub(super) fn keep() {
    #[cfg(memprof_injected)]
    // The linker takes an archive's members only where something names them.
    std::hint::black_box(memprof_totals_v1 as *const ());
}

/// Allocations, their bytes, reallocs, frees, and the bytes given back, of all threads; `None` while nothing is recorded.
/// The calling thread's part is exact to the last event; another's may lag by one.
fn totals() -> Option<[u64; NUMBERS]> {
    (state::is_open() && arena::is_attached()).then(lane::totals)
}

/// Fills in the numbers; 0 where nothing is recorded, and then they stay as they are. The name changes with what they mean.
///
/// # Safety
/// `numbers` can be written.
#[cfg(memprof_injected)]
#[unsafe(no_mangle)]
#[linkage = "weak"]
unsafe extern "C" fn memprof_totals_v1(numbers: *mut [u64; NUMBERS]) -> u32 {
    let Some(totals) = totals() else { return 0 };
    // SAFETY: the caller's promise.
    unsafe { numbers.write(totals) };
    1
}
