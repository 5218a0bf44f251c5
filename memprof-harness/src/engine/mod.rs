//! The engine: what runs inside every allocation of a recorded process.
//!
//! `hook_rust` is called by Rust's allocation functions and passes on to `exact` or `sampled`; `thread` says whether and where the calling thread records;
//! `counters` keeps its totals, `lane` what is shared of them, `sites` its stacks, `tracked` the blocks to recognise when they are
//! freed; `arena` is the mapped ledger they all write to. Nothing here allocates through the hook while the window is
//! open, formats, or panics, and nothing here calls out to the rest of the crate but for the ledger's layout.

mod arena;
mod counters;
mod exact;
mod hook_rust;
mod lane;
mod objects;
mod process;
mod sampled;
mod sampler;
mod sites;
mod state;
mod thread;
mod tracked;
mod unwind;

pub use hook_rust::Hook;
pub use process::{attach, close, open};
pub use thread::{Suspended, suspend};
