//! The engine: what runs inside every allocation of a recorded process.
//!
//! `hook_rust` is called by Rust's allocation functions and passes on to `exact` or `sampled`. Small blocks are `cells`, which a lane
//! keeps in `free_cells` and in whose `word` it notes what there is to note; what is no cell is the business of `headers` or `bare`. In
//! its stead `hook_native` is called by whoever calls the C library's functions, and passes on to `native` (with `--cfg
//! memprof_native`, where there is no `#[global_allocator]`; `blocks` then has what words and headers have otherwise). `thread` says
//! whether and where the calling thread records; `counters` keeps its totals, `lane` what is shared of them, `sites` its stacks, `links`
//! which site came after which, `tracked` the blocks to recognise when they are freed; `arena` is the mapped ledger they all write to.
//! Nothing here allocates through the hook while the window is open, formats, or panics, and nothing here calls out to the rest of the
//! crate but for the ledger's layout.

mod arena;
mod bare;
#[cfg(any(test, memprof_native))]
#[cfg_attr(not(memprof_native), allow(dead_code))]
mod blocks;
mod cells;
mod counters;
mod exact;
mod foreign;
mod free_cells;
mod headers;
#[cfg(memprof_native)]
mod hook_native;
mod hook_rust;
mod lane;
mod links;
#[cfg(memprof_native)]
mod loader;
#[cfg(any(test, memprof_native))]
#[cfg_attr(not(memprof_native), allow(dead_code))]
mod maps;
#[cfg(memprof_native)]
mod native;
mod objects;
#[cfg(memprof_native)]
mod own_allocator;
mod process;
mod recent;
mod sampled;
mod sampler;
mod sites;
mod state;
mod table;
mod thread;
// An ordinary build has nothing to ask about.
#[cfg_attr(not(memprof_injected), allow(dead_code))]
mod region;
mod tracked;
mod unwind;
#[cfg_attr(not(memprof_injected), allow(dead_code))]
mod watch;
mod word;

pub use hook_rust::Hook;
#[cfg(memprof_native)]
pub use own_allocator::reaches_the_hook;
#[cfg(memprof_program)]
pub use process::end_program;
#[cfg(all(memprof_injected, not(memprof_program)))]
pub use process::shut;
pub use process::{attach, close, open};
pub use region::{BEGIN, END, NUMBERS};
#[cfg(all(memprof_injected, not(memprof_program)))]
pub use thread::anchor;
pub use thread::{Suspended, suspend};
