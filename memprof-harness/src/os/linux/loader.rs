//! The objects that are loaded, and what the kernel told the program when it started.

use libc::{c_int, c_void};
pub(crate) use libc::{dl_phdr_info as Object, Elf64_Ehdr as FileHeader, Elf64_Phdr as Segment};

/// The kind of a segment that is loaded.
pub(crate) const LOADED: u32 = libc::PT_LOAD;
/// The kind of a segment with the index of the unwind tables.
pub(crate) const UNWIND_INDEX: u32 = libc::PT_GNU_EH_FRAME;

/// What is called for an object; what it returns ends the visit unless it is 0.
pub(crate) type Visit = unsafe extern "C" fn(*mut Object, usize, *mut c_void) -> c_int;

/// Visits each loaded object, the program itself first. Gives what the last visit returned.
///
/// # Safety
/// `visit` takes `data` for what it is.
pub(crate) unsafe fn for_each_object(visit: Visit, data: *mut c_void) -> c_int {
    // SAFETY: of the type that is wanted; the rest is the caller's promise.
    unsafe { libc::dl_iterate_phdr(Some(visit), data) }
}

/// Where the loader itself is; 0 = there is none.
pub(crate) fn base_of_loader() -> u64 {
    // SAFETY: has no preconditions.
    unsafe { libc::getauxval(libc::AT_BASE) }
}

/// Bytes that the kernel put above the place where the first thread's stack begins to grow; 0 = it put none.
pub(crate) fn above_first_stack() -> usize {
    // SAFETY: has no preconditions.
    let bytes = unsafe { libc::getauxval(libc::AT_RANDOM) };
    bytes as usize
}
