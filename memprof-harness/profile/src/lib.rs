//! Heap profiles as `cargo memprof` makes them: the model, the way from a recording to names, and files and text made of a profile.
//!
//! The stages, in order:
//!
//! 1. A recorded process leaves a *ledger*: counters, and stacks of addresses with their figures ([`ledger`]).
//! 2. [`symbolize`] gives the addresses names and makes a [`Profile`](model::Profile) of each ledger.
//! 3. [`model`] merges profiles and scales sampled figures.
//! 4. [`export`] writes a profile as pprof or as a flame graph, [`import`] reads pprof back, [`view`] makes text of figures.
//!
//! A figure is an object count or a number of bytes, as its name says: `alloc_objects`, `alloc_space`. Stacks are leaf first, as in pprof.
//!
//! Only [`symbolize`] touches files: it reads the objects that addresses lie in. All else takes values and gives values.

// A ledger can be read where it can be written.
#[cfg(not(all(any(target_os = "linux", target_os = "macos"), target_pointer_width = "64")))]
compile_error!("recordings of allocations are read on 64-bit Linux and macOS only");

pub use memprof_harness::ledger;

pub mod model;
pub mod symbolize;

pub mod export;
pub mod import;
pub mod proto;

pub mod record;
pub mod view;

pub mod parallel;
