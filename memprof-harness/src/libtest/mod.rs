//! The harness: what stands where rustc expects its `test` crate.
//!
//! It wraps the toolchain's own libtest and does not replace it: flags, filters, scheduling and every line of output
//! are libtest's. What is ours is that each test runs in a process of its own, recorded. `shape` is what rustc's
//! expansion calls, in the version of libtest's interface at hand, `face` what all its versions lead to, `parent` and `child` are the two processes, `options` our flags, `process` the running of one child,
//! `verdict` the reading of how it ended. The last three know nothing of libtest, so they are compiled and tested in
//! ordinary builds as well.

#[cfg(memprof_injected)]
mod bencher;
#[cfg(memprof_injected)]
mod child;
#[cfg(memprof_injected)]
mod face;
#[cfg(memprof_injected)]
mod folder;
mod options;
#[cfg(memprof_injected)]
mod parent;
mod process;
#[cfg(memprof_injected)]
mod shape;
mod verdict;

#[cfg(memprof_injected)]
pub use bencher::{Bencher, StaticBenchFn};
#[cfg(memprof_injected)]
pub use face::assert_test_result;
#[cfg(memprof_injected)]
pub use shape::*;
