//! The loaded objects of this process, for whoever turns addresses into names later.

#![allow(unsafe_code)] // what the loader passes

use crate::engine::store::ledger_map;
use crate::ledger::layout::{kind, ChunkHeader, ModuleRecord};
use crate::os::loader;
use std::ffi::CStr;
use std::mem::{size_of, size_of_val};
use std::sync::atomic::Ordering::Release;

/// Writes all loaded objects into a new chunk of the ledger. Gives how many there are.
///
/// Called while the window is shut. It takes nothing from the program's allocator all the same, which may count.
pub(crate) fn note() -> usize {
    let mut list = List { chunk: None, len: 0, room: 0, count: 0 };
    list.go_through();
    let room = list.len;
    if let Some(chunk) = ledger_map::chunk(kind::MODULES, 0, room) {
        list = List { chunk: Some(chunk + size_of::<ChunkHeader>() as u64), len: 0, room, count: 0 };
        list.go_through();
        ledger_map::chunk_header(chunk).used.store(list.len as u64, Release);
    }
    list.count
}

/// The list of the objects as it is measured, and then written.
struct List {
    /// Where it is written to; `None` = it is measured alone.
    chunk: Option<u64>,
    /// Bytes so far.
    len: usize,
    /// Bytes that there are to be written to. What was loaded since they were counted has no place.
    room: usize,
    /// Objects so far, those that are not written included.
    count: usize,
}

impl List {
    fn go_through(&mut self) {
        // SAFETY: `add` has the required signature and takes its data for what is passed here, which outlives the call.
        unsafe { loader::for_each_object(add, std::ptr::from_mut(self).cast()) };
    }

    fn add(&mut self, record: &ModuleRecord, path: &[u8]) {
        self.count += 1;
        let fields = [record.bias, record.start, record.end, record.path_len];
        let len = size_of_val(&fields) + path.len().next_multiple_of(8);
        if let Some(start) = self.chunk {
            if self.len + len > self.room {
                return;
            }
            let mut at = start + self.len as u64;
            for field in fields {
                let bytes = field.to_ne_bytes();
                ledger_map::put(at, &bytes);
                at += bytes.len() as u64;
            }
            // The bytes behind the path are zero, as all of a new chunk.
            ledger_map::put(at, path);
        }
        self.len += len;
    }
}

/// What is added to the addresses in the program's own file to have those in this process.
#[cfg(any(memprof_program, memprof_injected))]
pub(crate) fn bias_of_program() -> u64 {
    extern "C" fn first(info: *mut loader::Object, _: usize, data: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the system passes a valid object description for the length of this call.
        let bias = unsafe { (*info).dlpi_addr };
        // SAFETY: a `u64` is passed below, and not touched meanwhile.
        unsafe { *data.cast::<u64>() = bias };
        // No other object is asked for: the program itself is the first.
        1
    }
    let mut bias = 0u64;
    // SAFETY: `first` has the required signature and takes its data for what is passed here, which outlives the call.
    unsafe { loader::for_each_object(first, std::ptr::from_mut(&mut bias).cast()) };
    bias
}

/// How many objects are loaded now.
pub(crate) fn count() -> usize {
    let mut count = 0usize;
    // SAFETY: as above; `add_one` takes its data for a `usize`.
    unsafe { loader::for_each_object(add_one, std::ptr::from_mut(&mut count).cast()) };
    count
}

extern "C" fn add_one(_: *mut loader::Object, _: usize, data: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `count` passes its own counter.
    unsafe { *data.cast::<usize>() += 1 };
    0
}

extern "C" fn add(info: *mut loader::Object, _: usize, data: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the system passes a valid object description for the length of this call.
    let info = unsafe { &*info };
    // SAFETY: `go_through` passes its own list and does not touch it meanwhile.
    let list = unsafe { &mut *data.cast::<List>() };
    let headers = if info.dlpi_phnum == 0 {
        &[]
    } else {
        // SAFETY: the description says how many headers there are; they live as long as the object is loaded.
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) }
    };
    let loaded = headers.iter().filter(|header| header.p_type == loader::LOADED);
    let bias = info.dlpi_addr;
    let starts = loaded.clone().map(|header| bias.wrapping_add(header.p_vaddr));
    let ends = loaded.map(|header| bias.wrapping_add(header.p_vaddr + header.p_memsz));
    let (Some(start), Some(end)) = (starts.min(), ends.max()) else { return 0 };
    // The first is the program itself, which the ledger names. glibc has no name for it; musl has `/proc/self/exe`, or what the program
    // was called by.
    let path = if list.count == 0 || info.dlpi_name.is_null() {
        &[]
    } else {
        // SAFETY: not null, and the system's names are C strings.
        unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes()
    };
    list.add(&ModuleRecord { bias, start, end, path_len: path.len() as u64 }, path);
    0
}
