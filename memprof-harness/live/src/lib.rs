//! Allocation tests that never flake.
//!
//! ```
//! // Once, at the root of the crate (or of a file in `tests/`):
//! memprof::install!();
//!
//! # fn main() {
//! // This path must not allocate:
//! memprof::assert_no_alloc!({ "key = value".split_once('=') });
//! // One allocation a field, and nothing is left:
//! memprof::assert_allocs!(alloc_objects <= 3, inuse_objects == 0, {
//!     let fields: Vec<String> = "a,b".split(',').map(String::from).collect();
//!     drop(fields);
//! });
//! # }
//! ```
//!
//! What is counted is what the region's own thread does, and what is handed on to others with [`carry`] or [`Carry::carried`]: tests that run
//! beside it, and the harness's threads, are not in it, whatever they do and however busy the machine is. Where an assertion does not
//! hold, its panic says which lines allocated.

#![deny(unsafe_code)]
#![warn(missing_docs)]

#[doc(hidden)]
#[path = "limits.rs"]
pub mod __limits;
mod active;
mod allocator;
mod count;
mod counts;
mod growth;
mod measure;
mod panics;
mod recorded;
mod require;
mod sites;

pub use allocator::Allocator;
pub use count::carry::{carry, CarriedFuture, Carry};
pub use counts::Counts;
pub use growth::{growth, Grown, Growth, WithInput};
pub use measure::{measure, measure_process, warmed_up, Measured};
