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

// What the macros' expansions call; nobody else does.
#[doc(hidden)]
#[path = "budget.rs"]
pub mod __budget;
mod active;
mod allocator;
mod count;
mod counts;
mod growth;
mod limits;
mod measure;
mod panics;
mod recorded;
mod require;
mod sites;

pub use allocator::Allocator;
pub use count::carry::{carry, CarriedFuture, Carry};
pub use counts::Counts;
pub use growth::{growth, Grown, Growth, WithInput};
/// A test's own budget: the test fails where it allocates more.
///
/// ```
/// use memprof::budget;
/// memprof::install!();
///
/// // Above or below `#[test]`.
/// #[budget(alloc_objects = 12, peak_space = "64KiB")]
/// fn parses_a_number() -> Result<(), std::num::ParseIntError> {
///     let number: u32 = String::from("12").parse()?;
///     assert_eq!(number, 12);
///     Ok(())
/// }
/// # fn main() {
/// # parses_a_number().unwrap();
/// # }
/// ```
///
/// Each limit is the most that one of the [`Counts`] may be: a number, an expression that gives one, or for bytes also a text with a
/// unit. What is counted is what [`measure`] counts of the function's body. It works on tests that return something, that
/// `#[should_panic]`, and on async functions. Above `#[tokio::test]` the budget is of the test, below it the runtime counts too.
///
/// `leaked` is none of the counts: bytes of the whole test that are in use at its end and that nothing leads to any more. `cargo memprof`
/// alone finds them; elsewhere such a budget fails and says so, unless `MEMPROF_REQUIRE=0` is set.
#[cfg(feature = "macros")]
pub use memprof_macros::budget;

pub use measure::{measure, measure_process, warmed_up, Measured};
