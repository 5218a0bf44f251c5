//! The harness: what stands where rustc expects its `test` crate.
//!
//! It wraps the toolchain's own libtest and does not replace it: flags, filters, scheduling and every line of output
//! are libtest's. What is ours is that each test runs in a process of its own, recorded. `shape` is what rustc's
//! expansion calls, in the version of libtest's interface at hand, and `face` what all its versions lead to. `parent` and `child` are the
//! two processes: in the parent, `session` is what all tests share and `test_in_child` runs one of them. `options` are our flags, `process`
//! runs one child, `verdict` reads how it ended: these three know nothing of libtest, so they are compiled and tested in ordinary builds
//! as well.

#[cfg(memprof_injected)]
mod bencher;
#[cfg(memprof_injected)]
mod child;
#[cfg(memprof_injected)]
mod executable;
#[cfg(memprof_injected)]
mod face;
#[cfg(memprof_injected)]
mod folder;
#[cfg(memprof_injected)]
mod on_panic;
mod options;
#[cfg(memprof_injected)]
mod parent;
mod process;
#[cfg(memprof_injected)]
mod session;
#[cfg(memprof_injected)]
mod shape;
#[cfg(memprof_injected)]
mod test_in_child;
mod verdict;

#[cfg(memprof_injected)]
pub use bencher::{Bencher, StaticBenchFn};
#[cfg(memprof_injected)]
pub use face::assert_test_result;
#[cfg(memprof_injected)]
pub use shape::*;
