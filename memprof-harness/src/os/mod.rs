//! What only one kernel and its C library can do, as calls that do not say how. `linux` has them for Linux, `unsupported` for every other
//! system: there each call says that it cannot be done, and the engine above them compiles. Another system needs a third of the kind
//! before anything else. What POSIX has is called where it is needed, and each file that reads `/proc` stands for itself (a test of the
//! sources names them).
//!
//! Nothing here allocates, keeps anything, or decides whether a call may be made: that is for whoever calls.

#![allow(unsafe_code)] // system calls
#![allow(dead_code)] // each form of the harness calls some of it

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod unsupported;
pub(crate) mod weak_symbol;

#[cfg(target_os = "linux")]
pub(crate) use linux::{errno, file, loader, memory, task, thread};
#[cfg(not(target_os = "linux"))]
pub(crate) use unsupported::{errno, file, loader, memory, task, thread};
