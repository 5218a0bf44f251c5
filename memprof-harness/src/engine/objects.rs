//! The loaded objects of this process, for whoever turns addresses into names later.

#![allow(unsafe_code)] // dl_iterate_phdr

use super::arena;
use crate::ledger::layout::{ChunkHeader, ModuleRecord, kind};
use std::ffi::CStr;
use std::sync::atomic::Ordering::Release;

/// Writes all loaded objects into a new chunk of the ledger. Gives how many there are.
///
/// Ordinary code: called while the window is shut.
pub(super) fn note() -> usize {
    let mut modules: Vec<(ModuleRecord, Vec<u8>)> = Vec::new();
    // SAFETY: `collect` has the required signature and takes its data for what is passed here, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut modules).cast()) };
    let mut bytes = Vec::new();
    for (record, path) in &modules {
        for field in [record.bias, record.start, record.end, record.path_len] {
            bytes.extend_from_slice(&field.to_ne_bytes());
        }
        bytes.extend_from_slice(path);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    if let Some(chunk) = arena::chunk(kind::MODULES, 0, bytes.len()) {
        arena::put(chunk + size_of::<ChunkHeader>() as u64, &bytes);
        arena::chunk_header(chunk).used.store(bytes.len() as u64, Release);
    }
    modules.len()
}

/// How many objects are loaded now.
pub(super) fn count() -> usize {
    let mut count = 0usize;
    // SAFETY: as above; `add_one` takes its data for a `usize`.
    unsafe { libc::dl_iterate_phdr(Some(add_one), (&raw mut count).cast()) };
    count
}

extern "C" fn add_one(_: *mut libc::dl_phdr_info, _: usize, data: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `count` passes its own counter.
    unsafe { *data.cast::<usize>() += 1 };
    0
}

extern "C" fn collect(info: *mut libc::dl_phdr_info, _: usize, data: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the system passes a valid object description for the length of this call.
    let info = unsafe { &*info };
    // SAFETY: `note` passes its own vector and does not touch it meanwhile.
    let modules = unsafe { &mut *data.cast::<Vec<(ModuleRecord, Vec<u8>)>>() };
    let headers = if info.dlpi_phnum == 0 {
        &[]
    } else {
        // SAFETY: the description says how many headers there are; they live as long as the object is loaded.
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) }
    };
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let bias = info.dlpi_addr;
    let starts = loaded.clone().map(|header| bias.wrapping_add(header.p_vaddr));
    let ends = loaded.map(|header| bias.wrapping_add(header.p_vaddr + header.p_memsz));
    let (Some(start), Some(end)) = (starts.min(), ends.max()) else { return 0 };
    let path = if info.dlpi_name.is_null() {
        Vec::new()
    } else {
        // SAFETY: not null, and the system's names are C strings.
        unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes().to_vec()
    };
    modules.push((ModuleRecord { bias, start, end, path_len: path.len() as u64 }, path));
    0
}
