//! C's `free`, `realloc`, `reallocarray` and `malloc_usable_size`, for blocks of Rust's that C
//! gives back or resizes, as programs have it do that rely on Rust's allocator being the C
//! library's. They are defined here, in the executable, where the loader finds them before any
//! other. A block that the engine made is the engine's to take back; every other goes on to whoever
//! is next in the loader's order: an allocator that was preloaded, or the C library.
//!
//! Nothing is noted of what C allocates, so a block that C has resized is C's from then on. How
//! many bytes Rust asked for, `free` is not told: where nothing says so, the fewest are counted
//! that the block may have had, and the ledger says that it was so.
//!
//! The names are weak. A program that defines `free` itself (a sanitizer, an allocator that is
//! linked in, a static C library) keeps its own, and the engine calls that.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::slots::{self, Origin};
use crate::engine::alloc::system::{self, Free, Next, Realloc, UsableSize};
use crate::engine::alloc::{system_tagged, system_untagged};
use crate::engine::life::process;
use crate::engine::life::state::{self, Mode};
use crate::engine::record::{exact, sampled};
use crate::engine::store::errno::Errno;
use crate::engine::store::lock::Lock;
use crate::os::errno;
use crate::os::loader;
use crate::os::weak_symbol::weak_address;
#[cfg(memprof_injected)]
use std::arch::global_asm;
use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::mem::{transmute, MaybeUninit};
use std::ptr;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Acquire, Release};

/// The instruction that goes on to another function.
#[cfg(all(memprof_injected, target_arch = "x86_64"))]
macro_rules! go_on_to {
    ($name:literal) => {
        concat!("jmp {", $name, "}")
    };
}
#[cfg(all(memprof_injected, target_arch = "aarch64"))]
macro_rules! go_on_to {
    ($name:literal) => {
        concat!("b {", $name, "}")
    };
}

/// Defines weak names in the executable, each for one function. What is called `memprof_free` is
/// the same place as `free`, unless something else has that name.
#[cfg(memprof_injected)]
macro_rules! weak_names {
    ($($name:literal = $function:ident as $as:ident),* $(,)?) => {
        global_asm!(
            ".pushsection .text.memprof_free,\"ax\",%progbits",
            ".p2align 4",
            $(
                concat!(".weak memprof_", $name),
                concat!(".hidden memprof_", $name),
                concat!("memprof_", $name, ":"),
                concat!(".weak ", $name),
                concat!(".type ", $name, ",%function"),
                concat!($name, ":"),
                go_on_to!($name),
                concat!(".size ", $name, ", . - ", $name),
            )*
            ".popsection",
            $($as = sym $function),*
        );
    };
}

#[cfg(memprof_injected)]
weak_names!(
    "free" = free as free,
    // C23's two.
    "free_sized" = free as free_sized,
    "free_aligned_sized" = free as free_aligned_sized,
    "realloc" = realloc as realloc,
    "reallocarray" = reallocarray as reallocarray,
    "malloc_usable_size" = malloc_usable_size as malloc_usable_size,
);

/// Whether the function of this name is the one that is defined here.
macro_rules! stands {
    ($name:literal) => {
        weak_address!($name) == weak_address!(concat!("memprof_", $name))
    };
}
/// What of a block is left to do, once what the engine knows of it has been seen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// It is C's, or it is C's again: C's function has to be called.
    ForC,
    /// It was taken back.
    Nothing,
}

/// Takes back a block of anybody's.
///
/// # Safety
/// As C's `free`.
unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: the caller upholds `free`'s contract.
    if block.is_null() || unsafe { take_back(block.cast()) } == Left::Nothing {
        return;
    }
    if let Some(next) = next() {
        // SAFETY: as above, and it is C's.
        unsafe { (next.free)(block) }
    }
}

/// # Safety
/// As C's `realloc`.
unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller upholds `realloc`'s contract.
    if let Some(room) = unsafe { room_of_the_engines(block.cast()) } {
        // SAFETY: as above, and so many bytes may be read.
        return unsafe { move_to_c(block, room, size) };
    }
    let Some(next) = next() else { return ptr::null_mut() };
    if block.is_null() || state::mode() != Some(Mode::Sampled) {
        // SAFETY: as above, and it is C's.
        return unsafe { (next.realloc)(block, size) };
    }
    // Before the call: afterwards another thread may have the old address.
    let known = system_untagged::take_from_outside(block.cast(), usable_size);
    // SAFETY: as above.
    let moved = unsafe { (next.realloc)(block, size) };
    if moved.is_null() && size != 0 {
        known.put_back();
    } else {
        known.count();
    }
    moved
}

/// # Safety
/// As C's `reallocarray`.
unsafe extern "C" fn reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void {
    let Some(size) = count.checked_mul(size) else {
        errno::set(libc::ENOMEM);
        return ptr::null_mut();
    };
    // SAFETY: the caller upholds `realloc`'s contract.
    unsafe { realloc(block, size) }
}

/// # Safety
/// As C's `malloc_usable_size`.
unsafe extern "C" fn malloc_usable_size(block: *mut c_void) -> usize {
    // SAFETY: the caller's block is live.
    match unsafe { room_of_the_engines(block.cast()) } {
        Some(room) => room,
        // SAFETY: as above, and it is C's.
        None => next().map_or(0, |next| unsafe { (next.usable_size)(block) }),
    }
}

/// Whether blocks of the engine's are about. Sees to a fork first: afterwards they are those of
/// this process.
fn are_recorded() -> Option<Mode> {
    let mode = state::mode().filter(|&mode| mode != Mode::Plain)?;
    process::notice_fork();
    Some(mode)
}

/// # Safety
/// `block` is live, and nobody uses it any more.
unsafe fn take_back(block: *mut u8) -> Left {
    let Some(mode) = are_recorded() else { return Left::ForC };
    match (slots::origin(block), mode) {
        // SAFETY: it is a slot of this process, that nobody uses.
        (Origin::Own, Mode::Exact) => unsafe { exact::take_slot_of_unknown_size(block) },
        // SAFETY: as above.
        (Origin::Own, _) => unsafe { sampled::take_slot_of_unknown_size(block) },
        (Origin::Inherited, _) => {}
        (Origin::System, Mode::Exact) => {
            // SAFETY: it is live, nobody uses it, and it is no slot.
            let Some(start) = (unsafe { system_tagged::take_from_outside(block, usable_size) }) else {
                return Left::ForC;
            };
            if let Some(next) = next() {
                // SAFETY: where C's block begins, which nobody knows of but the engine.
                unsafe { (next.free)(start.cast()) };
            }
        }
        (Origin::System, _) => {
            system_untagged::take_from_outside(block, usable_size).count();
            return Left::ForC;
        }
    }
    Left::Nothing
}

/// How many bytes a block has, if it is none that C's own functions could take.
///
/// # Safety
/// `block` is live or null.
unsafe fn room_of_the_engines(block: *mut u8) -> Option<usize> {
    let mode = are_recorded().filter(|_| !block.is_null())?;
    match (slots::origin(block), mode) {
        (Origin::Own | Origin::Inherited, _) => Some(slots::sizes_of(block).1),
        // SAFETY: it is live, and no slot.
        (Origin::System, Mode::Exact) => unsafe { system_tagged::room_of(block, usable_size) },
        (Origin::System, _) => None,
    }
}

/// What C's `realloc` does with a block that is not C's: it becomes one.
///
/// # Safety
/// `block` is the engine's, live, and has `room` bytes.
unsafe fn move_to_c(block: *mut c_void, room: usize, size: usize) -> *mut c_void {
    // As glibc does, for which no bytes mean that the block is given back.
    if size == 0 {
        // SAFETY: by `realloc`'s contract nobody uses it any more.
        unsafe { free(block) };
        return ptr::null_mut();
    }
    // SAFETY: has no preconditions.
    let moved = unsafe { libc::malloc(size) };
    if !moved.is_null() {
        // SAFETY: both have as many bytes, and are not the same.
        unsafe { ptr::copy_nonoverlapping(block.cast::<u8>(), moved.cast::<u8>(), room.min(size)) };
        // SAFETY: as above.
        unsafe { free(block) };
    }
    moved
}

/// # Safety
/// `block` is null or one of the C library's that is in use.
unsafe extern "C" fn usable_size(block: *mut c_void) -> usize {
    // SAFETY: callers pass a block of C's.
    next().map_or(0, |next| unsafe { (next.usable_size)(block) })
}

/// Finds the functions behind these, before any block is recorded.
pub(crate) fn prepare() {
    next();
}

static NEXT: AtomicPtr<Next> = AtomicPtr::new(ptr::null_mut());

/// `None` while the loader is asked: it may free something itself, which then stays.
#[inline(always)]
fn next() -> Option<&'static Next> {
    // SAFETY: null, or what `find` wrote down, which is never changed again.
    let next = unsafe { NEXT.load(Acquire).as_ref() };
    next.or_else(find)
}

#[cold]
#[inline(never)]
fn find() -> Option<&'static Next> {
    thread_local! {
        static ASKING: Cell<bool> = const { Cell::new(false) };
    }
    struct Place(UnsafeCell<MaybeUninit<Next>>);
    // SAFETY: written under the lock, once, and read when that has been published.
    unsafe impl Sync for Place {}
    static PLACE: Place = Place(UnsafeCell::new(MaybeUninit::uninit()));
    static LOCK: Lock = Lock::new();

    if ASKING.replace(true) {
        return None;
    }
    let errno = Errno::save();
    let found = ask_loader();
    errno.restore();
    ASKING.set(false);
    let found = found?;
    LOCK.hold(|| {
        if NEXT.load(Acquire).is_null() {
            // SAFETY: nobody reads it before it is published, and nobody else writes under the
            // lock.
            let next = unsafe { (*PLACE.0.get()).write(found) };
            NEXT.store(next, Release);
        }
    });
    // SAFETY: published just now or before, and never changed again.
    let next = unsafe { NEXT.load(Acquire).as_ref() };
    if let Some(next) = next.filter(|_| stands!("free") && stands!("realloc")) {
        system::go_on_with(next);
    }
    next
}

fn ask_loader() -> Option<Next> {
    /// The function of this name that is not defined here: another's in this executable, or the
    /// next in the loader's order.
    macro_rules! other {
        ($name:literal) => {
            if stands!($name) {
                behind(concat!($name, "\0"))
            } else {
                weak_address!($name)
            }
        };
    }
    let (free, realloc) = (other!("free"), other!("realloc"));
    let usable_size = match weak_address!("__malloc_usable_size") {
        0 => other!("malloc_usable_size"),
        // A C library that was linked in has it by a weak name, as we have.
        address => address,
    };
    if [free, realloc, usable_size].contains(&0) {
        return None;
    }
    Some(Next {
        // SAFETY: the function of that name has this type, by the standard of C.
        free: unsafe { transmute::<usize, Free>(free) },
        // SAFETY: as above.
        realloc: unsafe { transmute::<usize, Realloc>(realloc) },
        // SAFETY: as glibc, which came with it, has it.
        usable_size: unsafe { transmute::<usize, UsableSize>(usable_size) },
        are_glibcs: are_in_one_object([free, realloc, usable_size, behind("gnu_get_libc_version\0")]),
    })
}

/// Whether all of these addresses lie in one object.
fn are_in_one_object(addresses: [usize; 4]) -> bool {
    /// # Safety
    /// `info` and `data` are what `dl_iterate_phdr` passes: a loaded object, and the caller's four addresses.
    unsafe extern "C" fn look(info: *mut loader::Object, _: usize, data: *mut c_void) -> c_int {
        // SAFETY: the loader passes on what `dl_iterate_phdr` was given.
        let addresses = unsafe { &*data.cast::<[usize; 4]>() };
        // SAFETY: the loader's, for the length of this call.
        let info = unsafe { &*info };
        // SAFETY: so many headers are there.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let has = |address: usize| {
            let relative = address.wrapping_sub(info.dlpi_addr as usize);
            headers.iter().any(|header| {
                header.p_type == loader::LOADED
                    && relative.wrapping_sub(header.p_vaddr as usize) < header.p_memsz as usize
            })
        };
        c_int::from(addresses.iter().all(|&address| has(address)))
    }
    let data = ptr::from_ref(&addresses).cast_mut().cast();
    // SAFETY: the function only reads what it is given.
    unsafe { loader::for_each_object(look, data) != 0 }
}

/// The address of the function of this name, which ends with a 0, in the objects behind the
/// executable; 0 = there is none.
fn behind(name: &'static str) -> usize {
    // SAFETY: a C string; the loader looks behind the object that calls, which is the executable.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast()) as usize }
}
