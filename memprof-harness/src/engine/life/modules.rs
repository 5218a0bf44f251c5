//! The loaded objects of this process, for whoever turns addresses into names later.

#![allow(unsafe_code)] // what the loader passes

use crate::engine::store::calls;
use crate::engine::store::errno::Errno;
use crate::engine::store::{ledger_map, limits};
use crate::ledger::layout::{kind, ChunkHeader, ModuleRecord};
use crate::os::{self, loader};
use crate::provenance::without_provenance_mut;
use std::ffi::CStr;
use std::mem::{size_of, size_of_val};
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};

/// Hashes of the lists that this process's ledger has, the first and the last of them: a program may load and unload one library a
/// million times.
static NOTED: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
static NEXT_NOTED: AtomicUsize = AtomicUsize::new(0);

/// Writes all loaded objects into a new chunk of the ledger, unless just these were written lately.
///
/// It takes nothing from the program's allocator, which may count.
pub(crate) fn note() {
    let mut list = List { chunk: None, len: 0, room: 0, hash: 0xcbf2_9ce4_8422_2325, count: 0 };
    list.go_through();
    if NOTED.iter().any(|noted| noted.load(Relaxed) == list.hash) {
        return;
    }
    let (room, hash) = (list.len, list.hash);
    if let Some(chunk) = ledger_map::chunk(kind::MODULES, 0, room) {
        list = List { chunk: Some(chunk + size_of::<ChunkHeader>() as u64), len: 0, room, ..list };
        list.count = 0;
        list.go_through();
        ledger_map::chunk_header(chunk).used.store(list.len as u64, Release);
        let number = NEXT_NOTED.fetch_add(1, Relaxed);
        NOTED[if number == 0 { 0 } else { 1 + number % (NOTED.len() - 1) }].store(hash, Relaxed);
    }
}

/// In a forked child: what was noted is in its parent's ledger, and only the first in its own.
pub(crate) fn forget_noted() {
    NOTED.iter().skip(1).for_each(|noted| noted.store(0, Relaxed));
}

/// Calls what unloads a library, and what was loaded along with it. Their names are noted before, and nothing is loaded to their addresses
/// afterwards: a stack is addresses alone, and those of two libraries at one place would be one stack. Where the place cannot be
/// kept, whoever turns addresses into names sees that two were there.
#[cfg_attr(not(memprof_injected), allow(dead_code))]
pub(crate) fn unload<T>(unload: impl FnOnce() -> T) -> T {
    if !ledger_map::is_attached() || !calls::allows_calls() {
        return unload();
    }
    note();
    let mut places = Places::of_all();
    let result = unload();
    places.keep_those_left(os::memory::page_size().max(1));
    result
}

/// Objects whose places are known at once, the last that were loaded: 2 KiB of the caller's stack.
const MOST_PLACES: usize = 128;
/// How often a place is kept, and how many bytes of address space in all.
const MOST_KEPT: usize = 256;
const MOST_KEPT_SPACE: usize = 4 << 30;
static KEPT: AtomicUsize = AtomicUsize::new(0);
static KEPT_SPACE: AtomicUsize = AtomicUsize::new(0);

/// Where objects are: first address and end, 0 = nothing.
struct Places {
    all: [(usize, usize); MOST_PLACES],
    count: usize,
}

impl Places {
    fn of_all() -> Places {
        let mut places = Places { all: [(0, 0); MOST_PLACES], count: 0 };
        // SAFETY: `enter` has the required signature and takes its data for what is passed here, which outlives the call.
        unsafe { loader::for_each_object(enter, std::ptr::from_mut(&mut places).cast()) };
        places
    }

    /// Has the kernel give the places of the objects that are gone to nobody else.
    fn keep_those_left(&mut self, page: usize) {
        // SAFETY: as above.
        unsafe { loader::for_each_object(leave_out, std::ptr::from_mut(self).cast()) };
        let errno = Errno::save();
        for &(start, end) in self.all.iter().filter(|place| place.1 > 0) {
            let (start, end) = (start / page * page, end.next_multiple_of(page));
            let is_enough = KEPT.fetch_add(1, Relaxed) >= MOST_KEPT
                || KEPT_SPACE.fetch_add(end - start, Relaxed) >= MOST_KEPT_SPACE - (end - start).min(MOST_KEPT_SPACE);
            // Where address space is limited, it is the program's.
            if is_enough || limits::address_space().is_some() {
                break;
            }
            os::memory::keep_empty(without_provenance_mut(start), end - start);
        }
        errno.restore();
    }
}

extern "C" fn enter(info: *mut loader::Object, _: usize, data: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `of_all` passes its own places and does not touch them meanwhile.
    let places = unsafe { &mut *data.cast::<Places>() };
    // SAFETY: the system passes a valid object description for the length of this call.
    let info = unsafe { &*info };
    // SAFETY: it is what the system passed.
    if let Some((start, end)) = unsafe { place(info) } {
        places.all[places.count % MOST_PLACES] = (start as usize, end as usize);
        places.count += 1;
    }
    0
}

extern "C" fn leave_out(info: *mut loader::Object, _: usize, data: *mut libc::c_void) -> libc::c_int {
    // SAFETY: as above, from `keep_those_left`.
    let places = unsafe { &mut *data.cast::<Places>() };
    // SAFETY: the system passes a valid object description for the length of this call.
    let info = unsafe { &*info };
    // SAFETY: it is what the system passed.
    if let Some((start, end)) = unsafe { place(info) } {
        let there = places.all.iter_mut().find(|place| **place == (start as usize, end as usize));
        if let Some(place) = there {
            *place = (0, 0);
        }
    }
    0
}

/// First address and end of the object's segments.
///
/// # Safety
/// The description is the system's, for the length of this call.
unsafe fn place(info: &loader::Object) -> Option<(u64, u64)> {
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
    starts.min().zip(ends.max())
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
    /// Of what was met so far.
    hash: u64,
}

impl List {
    fn go_through(&mut self) {
        // SAFETY: `add` has the required signature and takes its data for what is passed here, which outlives the call.
        unsafe { loader::for_each_object(add, std::ptr::from_mut(self).cast()) };
    }

    fn add(&mut self, record: &ModuleRecord, path: &[u8]) {
        self.count += 1;
        let fields = [record.bias, record.start, record.end, record.path_len];
        let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3);
        self.hash = path.iter().map(|byte| u64::from(*byte)).chain(fields).fold(self.hash, mix);
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

extern "C" fn add(info: *mut loader::Object, _: usize, data: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the system passes a valid object description for the length of this call.
    let info = unsafe { &*info };
    // SAFETY: `go_through` passes its own list and does not touch it meanwhile.
    let list = unsafe { &mut *data.cast::<List>() };
    // SAFETY: it is what the system passed.
    let Some((start, end)) = (unsafe { place(info) }) else { return 0 };
    // The first is the program itself, which the ledger names. glibc has no name for it; musl has `/proc/self/exe`, or what the program
    // was called by.
    let path = if list.count == 0 || info.dlpi_name.is_null() {
        &[]
    } else {
        // SAFETY: not null, and the system's names are C strings.
        unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes()
    };
    list.add(&ModuleRecord { bias: info.dlpi_addr, start, end, path_len: path.len() as u64 }, path);
    0
}
