//! The counting: which regions an allocation belongs to, and which of a region's blocks are live.
//!
//! A [`region::Region`] is what is measured. A thread that works for one has a [`part::Part`] of it, on its stack; the thread-local points
//! at the innermost, and an event touches that alone. What a part counted goes to its region, and to all regions around it, when the part
//! ends. Where a region wants to know which of its blocks are live, `owned` has each of them by its address, and any thread's `free` looks
//! there.
//!
//! Nothing here goes through the counting allocator: what is kept is `System`'s, and while code runs that may allocate, the thread is
//! suspended.

pub(crate) mod carry;
pub(crate) mod events;
pub(crate) mod owned;
pub(crate) mod part;
pub(crate) mod process;
pub(crate) mod quiet;
pub(crate) mod region;
pub(crate) mod spin;
