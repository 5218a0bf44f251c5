//! Which loaded object an address lies in, and where that object's unwind table is.
//!
//! glibc answers since 2.35 without a lock and from any context (`_dl_find_object`). Where it does not, as in older ones and in musl,
//! a list is asked that was made while the window was shut: what `dlopen` loads afterwards is not in it.

#![allow(unsafe_code)] // the loader's functions

use crate::engine::life::weak_symbol::weak_address;
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A loaded object, as addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Object {
    /// First byte and end of what is mapped.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The index of its unwind table (the segment `PT_GNU_EH_FRAME`). `None`: it has none.
    pub(crate) index: Option<usize>,
}

/// glibc's `struct dl_find_object`, as on every processor without a base for the data of tables.
#[repr(C)]
struct Found {
    flags: u64,
    map_start: *mut libc::c_void,
    map_end: *mut libc::c_void,
    link_map: *mut libc::c_void,
    eh_frame: *mut libc::c_void,
    reserved: [u64; 7],
}

/// The object that holds `address`. `None`: no object does, or none that is known.
pub(crate) fn object_at(address: usize) -> Option<Object> {
    match find_object() {
        Some(find) => ask(find, address),
        None => listed(address),
    }
}

/// Whether `address` lies in the object that this function lies in.
pub(crate) fn is_in_own_object(address: usize) -> bool {
    let own = object_at(object_at as *const () as usize);
    own.is_some_and(|own| (own.start..own.end).contains(&address))
}

type FindObject = unsafe extern "C" fn(*mut libc::c_void, *mut Found) -> libc::c_int;

fn ask(find: FindObject, address: usize) -> Option<Object> {
    let mut found = MaybeUninit::<Found>::uninit();
    // SAFETY: `found` has room for the answer; any address may be asked for.
    if unsafe { find(address as *mut libc::c_void, found.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: filled in by the call, which has found the object.
    let found = unsafe { found.assume_init_ref() };
    let index = (!found.eh_frame.is_null()).then_some(found.eh_frame as usize);
    Some(Object { start: found.map_start as usize, end: found.map_end as usize, index })
}

/// glibc's `_dl_find_object`; `None` where there is none.
fn find_object() -> Option<FindObject> {
    let address = weak_address!("_dl_find_object");
    // SAFETY: null, or the address of a function with this signature, for which its name stands.
    unsafe { std::mem::transmute::<usize, Option<FindObject>>(address) }
}

/// Objects that the list has room for; what lies in others is code that nobody knows.
const MOST_LISTED: usize = 256;

/// For each object its start, its end and its index (0 = it has none).
static LIST: [[AtomicUsize; 3]; MOST_LISTED] = [const { [const { AtomicUsize::new(0) }; 3] }; MOST_LISTED];
static LISTED: AtomicUsize = AtomicUsize::new(0);

/// Makes the list where it is needed. Ordinary code: called while the window is shut.
pub(crate) fn prepare() {
    if find_object().is_none() {
        LISTED.store(0, Relaxed);
        // SAFETY: `list` has the required signature and takes no data.
        unsafe { libc::dl_iterate_phdr(Some(list), std::ptr::null_mut()) };
    }
}

extern "C" fn list(info: *mut libc::dl_phdr_info, _: usize, _: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the system passes a valid object description for the length of this call.
    let info = unsafe { &*info };
    if info.dlpi_phnum == 0 {
        return 0;
    }
    // SAFETY: the description says how many headers there are; they live as long as the object is loaded.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let place = |header: &libc::Elf64_Phdr| info.dlpi_addr.wrapping_add(header.p_vaddr) as usize;
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let start = loaded.clone().map(place).min();
    let end = loaded.map(|header| place(header).wrapping_add(header.p_memsz as usize)).max();
    let index = headers.iter().find(|header| header.p_type == libc::PT_GNU_EH_FRAME).map_or(0, place);
    let at = LISTED.load(Relaxed);
    let (Some(start), Some(end), Some(entry)) = (start, end, LIST.get(at)) else { return 0 };
    entry.iter().zip([start, end, index]).for_each(|(place, value)| place.store(value, Relaxed));
    LISTED.store(at + 1, Release);
    0
}

fn listed(address: usize) -> Option<Object> {
    let listed = LIST.iter().take(LISTED.load(Acquire));
    listed.map(|entry| entry.each_ref().map(|word| word.load(Relaxed))).find_map(|[start, end, index]| {
        (start..end).contains(&address).then_some(Object { start, end, index: (index != 0).then_some(index) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no loader")]
    fn the_loader_and_the_list_know_the_same_objects() {
        // SAFETY: as in `prepare`.
        unsafe { libc::dl_iterate_phdr(Some(list), std::ptr::null_mut()) };
        let addresses = [listed as *const () as usize, libc::qsort as *const () as usize];
        for address in addresses {
            let from_list = listed(address).expect("it is loaded");
            assert!(from_list.index.is_some());
            if let Some(find) = find_object() {
                let found = ask(find, address).expect("it is loaded");
                assert_eq!((found.start, found.index), (from_list.start, from_list.index));
            }
        }
        assert!(is_in_own_object(addresses[0]) && !is_in_own_object(addresses[1]));
        let local = 0u8;
        for address in [0, 8, usize::MAX, std::ptr::from_ref(&local).addr()] {
            assert_eq!((object_at(address), listed(address)), (None, None));
        }
    }
}
