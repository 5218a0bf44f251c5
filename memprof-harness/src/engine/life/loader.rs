//! The loader's own allocations do not count as the test's: the thread-local storage of a new thread, and its records of a library that it
//! loads. Their number depends on when earlier threads ended, so metrics with them would differ from run to run.

#![allow(unsafe_code)] // what the loader passes

use crate::engine::unwind::frame_pointer::Frame;
use crate::os;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// The loader's code: first byte and end. Nothing where it is not known.
static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);

/// Finds the loader among the loaded objects. Ordinary code: called while the window is shut.
pub(crate) fn find() {
    // SAFETY: `look` has the required signature and takes no data.
    unsafe { os::loader::for_each_object(look, std::ptr::null_mut()) };
}

/// Whether the function that `frame` returns to is the loader's.
#[inline(always)]
pub(crate) fn calls(frame: Frame) -> bool {
    let caller = frame.caller();
    caller >= START.load(Relaxed) && caller < END.load(Relaxed)
}

extern "C" fn look(info: *mut os::loader::Object, _: usize, _: *mut libc::c_void) -> libc::c_int {
    let loader = os::loader::base_of_loader();
    // SAFETY: the system passes a valid object description for the length of this call.
    let info = unsafe { &*info };
    if loader == 0 || info.dlpi_addr != loader || info.dlpi_phnum == 0 {
        return 0;
    }
    // SAFETY: the description says how many headers there are; they live as long as the object is loaded.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let loaded = headers.iter().filter(|header| header.p_type == os::loader::LOADED);
    let end = loaded.map(|header| loader.wrapping_add(header.p_vaddr + header.p_memsz)).max().unwrap_or(loader);
    START.store(loader as usize, Relaxed);
    END.store(end as usize, Relaxed);
    1
}
