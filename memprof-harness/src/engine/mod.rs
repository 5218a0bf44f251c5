//! The engine: what runs inside every allocation.

use std::io;
use std::path::Path;

/// The global allocator: the system's, recorded.
pub struct Hook;

#[allow(unsafe_code)]
// SAFETY: every call is passed on to `System` unchanged.
unsafe impl std::alloc::GlobalAlloc for Hook {
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
        // SAFETY: the caller upholds `alloc`'s contract.
        unsafe { std::alloc::System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: std::alloc::Layout) {
        // SAFETY: the caller upholds `dealloc`'s contract.
        unsafe { std::alloc::System.dealloc(block, layout) }
    }
}

/// Maps the ledger at `path`, made by the parent, and notes the loaded objects. The window stays shut.
///
/// # Errors
/// Whatever opening or mapping the file says.
pub fn attach(path: &Path) -> io::Result<()> {
    let _ = path;
    Ok(())
}

/// Opens the window: from here on every thread of the process is recorded.
pub fn open() {}

/// Shuts the window on every thread and closes the ledger. `state` is one of
/// [`crate::ledger::layout::state`]'s final values; `message` is the text of a panic or an error.
pub fn close(state: u32, message: Option<&str>) {
    let _ = (state, message);
}

/// While the guard lives, what the calling thread allocates is not recorded. May be nested.
pub fn suspend() -> Suspended {
    Suspended(std::marker::PhantomData)
}

/// See [`suspend`]. Stays on its thread.
#[must_use]
pub struct Suspended(std::marker::PhantomData<*const ()>);
