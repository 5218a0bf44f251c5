//! What only this kernel and its C library can do, as calls that do not say how. Another system needs these files written anew before
//! anything else; what POSIX has is called where it is needed, and each file that reads `/proc` stands for itself (a test of the sources
//! names them).
//!
//! Nothing here allocates, keeps anything, or decides whether a call may be made: that is for whoever calls.

#![allow(unsafe_code)] // system calls
#![allow(dead_code)] // each form of the harness calls some of it

pub(crate) mod errno;
pub(crate) mod file;
pub(crate) mod loader;
pub(crate) mod memory;
pub(crate) mod task;
pub(crate) mod thread;
pub(crate) mod weak_symbol;
