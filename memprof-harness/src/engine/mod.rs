//! The engine: what runs inside every allocation of a recorded process.
//!
//! | hook | mode | blocks | where |
//! | --- | --- | --- | --- |
//! | `hook::rust`, Rust's global allocator | exact: every stack | slots, or the system's with a header | `record::exact`, `alloc::system_tagged` |
//! | `hook::rust` | sampled | slots, or the system's as they are | `record::sampled`, `alloc::system_untagged` |
//! | `hook::c_library`, `malloc` and its kin (`--cfg memprof_native`) | both | glibc's, each in a table | `record::native`, `store::blocks` |
//!
//! `alloc` has the blocks and what is noted in front of them, `record` what an event changes in the ledger, `unwind` the calling
//! stack, `store` the engine's own memory, `life` the process and its threads, `leaks` the search for what can no longer be reached.
//!
//! Nothing here allocates through the hook while the window is open, formats, or panics, and nothing here calls out to the rest of the
//! crate but for the ledger's layout.

mod alloc;
pub(crate) mod hook;
mod leaks;
mod life;
mod record;
mod store;
mod unwind;

pub use hook::rust::Hook;
#[cfg(all(memprof_injected, not(memprof_program)))]
pub use leaks::budget::{leak_budget, LeakBudget};
#[cfg(all(memprof_program, memprof_native))]
pub use life::ending::threads;
#[cfg(memprof_native)]
pub use life::own_allocator::reaches_the_hook;
#[cfg(any(memprof_program, memprof_injected))]
pub use life::process::leave_out_thread_info;
#[cfg(all(memprof_injected, not(memprof_program)))]
pub use life::process::shut;
pub use life::process::{attach, close, open, report};
#[cfg(memprof_program)]
pub use life::process::{end_program, leave_out_set_up, open_in_frame};
pub use life::suspension::{suspend, Suspended};
#[cfg(all(memprof_injected, not(memprof_program)))]
pub use life::thread::anchor;
