//! Which loaded object an address lies in, and where that object's unwind table is.
//!
//! glibc answers since 2.35 without a lock and from any context (`_dl_find_object`). Where it does not, a list is asked. It is made while
//! the window is shut, and again when an address lies in none of its objects and the loader has others now.

#![allow(unsafe_code)] // the loader's functions

use crate::engine::unwind::memory::peek;
use crate::engine::unwind::tables;
use crate::os::loader;
use crate::os::weak_symbol::weak_address;
use std::mem::size_of;
use std::mem::{offset_of, MaybeUninit};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{fence, AtomicU32, AtomicUsize};

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

/// For each object its start, its end and its index (0 = it has none). The program itself is the first.
static LIST: [[AtomicUsize; 3]; MOST_LISTED] = [const { [const { AtomicUsize::new(0) }; 3] }; MOST_LISTED];
static LISTED: AtomicUsize = AtomicUsize::new(0);
/// Odd while the list is written. A reader takes nothing from a list that changed meanwhile.
static VERSION: AtomicUsize = AtomicUsize::new(0);
/// The loader's first and last description when the list was made; 0 = it is to be made again.
static ENDS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
/// How often a library was unloaded. What was learned of addresses before may hold no longer.
static UNLOADS: AtomicU32 = AtomicU32::new(0);

/// How often a library was unloaded.
#[inline(always)]
pub(crate) fn unloads() -> u32 {
    UNLOADS.load(Relaxed)
}

/// How many threads unload a library now.
static UNLOADING: AtomicU32 = AtomicU32::new(0);

/// Whether a library is being unloaded. Another one may lie in its place before `dlclose` returns, so nothing that is looked up meanwhile
/// may be kept.
pub(crate) fn is_unloading() -> bool {
    UNLOADING.load(Acquire) > 0
}

/// Calls what unloads a library. Something else may lie where it was, during the call and after it.
#[cfg_attr(not(memprof_injected), allow(dead_code))]
pub(crate) fn unload<T>(unload: impl FnOnce() -> T) -> T {
    UNLOADING.fetch_add(1, AcqRel);
    forget_unloaded();
    let result = unload();
    forget_unloaded();
    UNLOADING.fetch_sub(1, AcqRel);
    result
}

fn forget_unloaded() {
    ENDS.iter().for_each(|end| end.store(0, Relaxed));
    UNLOADS.fetch_add(1, Relaxed);
    tables::forget();
}

/// Makes the list where it is needed. Ordinary code: called while the window is shut.
pub(crate) fn prepare() {
    if find_object().is_none() {
        VERSION.fetch_add(1, AcqRel);
        LISTED.store(0, Relaxed);
        // SAFETY: `list` has the required signature and takes no data.
        unsafe { loader::for_each_object(list, std::ptr::null_mut()) };
        VERSION.fetch_add(1, Release);
    }
}

extern "C" fn list(info: *mut loader::Object, _: usize, _: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the system passes a valid object description for the length of this call.
    let info = unsafe { &*info };
    if info.dlpi_phnum == 0 {
        return 0;
    }
    // SAFETY: the description says how many headers there are; they live as long as the object is loaded.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let headers = headers.iter().map(|header| {
        let [place, len] = [header.p_vaddr, header.p_memsz].map(|word| word as usize);
        Header { kind: header.p_type, place: (info.dlpi_addr as usize).wrapping_add(place), len }
    });
    put(headers);
    0
}

/// What is needed of a program header.
#[derive(Debug, Clone, Copy)]
struct Header {
    kind: u32,
    place: usize,
    len: usize,
}

/// Puts an object at the end of the list.
fn put(headers: impl Iterator<Item = Header>) {
    let (mut start, mut end, mut index) = (usize::MAX, 0, 0);
    for Header { kind, place, len } in headers {
        match kind {
            loader::LOADED => (start, end) = (start.min(place), end.max(place.wrapping_add(len))),
            loader::UNWIND_INDEX => index = place,
            _ => {}
        }
    }
    let at = LISTED.load(Relaxed);
    let Some(entry) = LIST.get(at).filter(|_| start < end) else { return };
    entry.iter().zip([start, end, index]).for_each(|(place, value)| place.store(value, Relaxed));
    LISTED.store(at + 1, Relaxed);
}

fn listed(address: usize) -> Option<Object> {
    look_up(address).or_else(|| if renew() { look_up(address) } else { None })
}

fn look_up(address: usize) -> Option<Object> {
    let version = VERSION.load(Acquire);
    let listed = LIST.iter().take(LISTED.load(Relaxed));
    let mut listed = listed.map(|entry| entry.each_ref().map(|word| word.load(Relaxed)));
    let [start, end, index] = listed.find(|[start, end, _]| (*start..*end).contains(&address))?;
    fence(Acquire);
    let is_whole = version % 2 == 0 && VERSION.load(Relaxed) == version;
    is_whole.then_some(Object { start, end, index: (index != 0).then_some(index) })
}

/// Brings the list up to date, if the loader has loaded or unloaded something since: by the loader's own descriptions as it keeps them
/// for debuggers, of which the kernel is asked word by word. So no lock is taken, and what another thread unloads meanwhile is an
/// end of the list and not a fault. `false`: it was up to date, or is being written.
fn renew() -> bool {
    let debug = weak_address!("_r_debug");
    let Some(first) = (debug != 0).then(|| peek(debug + 8)).flatten() else { return false };
    let [known_first, last] = ENDS.each_ref().map(|end| end.load(Relaxed));
    let next = |description: usize| peek(description.wrapping_add(24));
    if known_first == first && next(last) == Some(0) {
        return false;
    }
    let version = VERSION.load(Relaxed);
    if version % 2 != 0 || VERSION.compare_exchange(version, version + 1, AcqRel, Relaxed).is_err() {
        return false;
    }
    // The program stays where it is, and may lie elsewhere than its description says.
    LISTED.store(1, Relaxed);
    let mut last = first;
    for _ in 0..MOST_LISTED {
        let Some(description) = next(last).filter(|next| *next != 0) else { break };
        if let Some(bias) = peek(description) {
            put_loaded(bias);
        }
        last = description;
    }
    ENDS.iter().zip([first, last]).for_each(|(end, value)| end.store(value, Relaxed));
    VERSION.fetch_add(1, Release);
    true
}

/// Puts the object whose file begins at an address in memory, as all libraries' do.
fn put_loaded(file: usize) -> Option<()> {
    const MAGIC: u32 = u32::from_le_bytes(*b"\x7fELF");
    const HEADER: usize = size_of::<loader::Segment>();
    let word = |at: usize| peek(file.checked_add(at)?);
    let headers = word(offset_of!(loader::FileHeader, e_phoff))?;
    let count = word(offset_of!(loader::FileHeader, e_phnum))? & 0xffff;
    if word(0)? as u32 != MAGIC {
        return None;
    }
    let header = |number: usize| -> Option<Header> {
        let at = headers.checked_add(number * HEADER)?;
        let word = |field: usize| word(at.checked_add(field)?);
        let kind = word(offset_of!(loader::Segment, p_type))? as u32;
        let place = file.wrapping_add(word(offset_of!(loader::Segment, p_vaddr))?);
        Some(Header { kind, place, len: word(offset_of!(loader::Segment, p_memsz))? })
    };
    put((0..count).map_while(header));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::Address;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no loader")]
    fn the_loader_and_the_list_know_the_same_objects() {
        // SAFETY: as in `prepare`.
        unsafe { loader::for_each_object(list, std::ptr::null_mut()) };
        let addresses = [listed as *const () as usize, libc::qsort as *const () as usize];
        for address in addresses {
            let from_list = listed(address).expect("it is loaded");
            assert!(from_list.index.is_some());
            if let Some(find) = find_object() {
                let found = ask(find, address).expect("it is loaded");
                assert_eq!(found.index, from_list.index);
                // Where there is a gap between segments, the loader says which of them it is.
                assert!(found.start >= from_list.start && (found.start..found.end).contains(&address), "{found:?}");
            }
        }
        assert!(is_in_own_object(addresses[0]) && !is_in_own_object(addresses[1]));
        let local = 0u8;
        for address in [0, 8, usize::MAX, std::ptr::from_ref(&local).address()] {
            assert_eq!((object_at(address), listed(address)), (None, None));
        }
        // As the loader keeps it for debuggers, whatever was known before.
        ENDS.iter().for_each(|end| end.store(0, Relaxed));
        let before = addresses.map(listed);
        assert!(renew() && !renew());
        assert_eq!(addresses.map(listed), before);
    }
}
