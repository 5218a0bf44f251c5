//! Passes allocations on to the crate `memprof`, which counts regions of a test. That crate is the test's own dependency and this one is
//! injected, so they know one another by one symbol of the C kind, `memprof_observe_v1`, and by nothing else.
//!
//! While anybody observes, [`OBSERVED`] is set: no thread is ready then, each call takes the slow way, and that comes here. The record is
//! the same as without an observer, of whose own allocations it has none.

#![allow(unsafe_code)] // functions of another crate, called by their address

use crate::engine::life::state::{self, OBSERVED};
use crate::engine::life::suspension;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::AtomicPtr;
#[cfg(memprof_injected)]
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Acquire;
#[cfg(memprof_injected)]
use std::sync::atomic::Ordering::SeqCst;

/// What an observer has called, on the thread that allocates.
#[repr(C)]
pub struct Observer {
    /// A block of so many bytes was given out.
    pub allocated: extern "C" fn(block: *mut u8, size: usize),
    /// A block is about to be given back.
    pub freed: extern "C" fn(block: *mut u8, size: usize),
    /// A block is about to be resized; what it gives is passed to `resized`.
    pub resizing: extern "C" fn(block: *mut u8) -> *mut c_void,
    /// It was, or where `moved` is null it was not.
    pub resized: extern "C" fn(taken: *mut c_void, block: *mut u8, old: usize, moved: *mut u8, new: usize),
}

/// Sets the observer, and has it called once more often than it is to be left alone.
#[cfg(memprof_injected)]
pub const WATCH: u32 = 0;
/// Leaves it alone, once it was asked for as often as [`WATCH`] was.
#[cfg(memprof_injected)]
pub const LEAVE: u32 = 1;
/// What the calling thread allocates is not the test's, until [`RESUME`]. May be nested.
#[cfg(memprof_injected)]
pub const SUSPEND: u32 = 2;
/// See [`SUSPEND`].
#[cfg(memprof_injected)]
pub const RESUME: u32 = 3;

static OBSERVER: AtomicPtr<Observer> = AtomicPtr::new(ptr::null_mut());
#[cfg(memprof_injected)]
static WATCHES: AtomicU32 = AtomicU32::new(0);

/// From here on the symbol is part of the program.
pub(crate) fn keep() {
    #[cfg(memprof_injected)]
    // The linker takes an archive's members only where something names them.
    std::hint::black_box(memprof_observe_v1 as *const ());
}

/// Whether anybody observes.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    state::flags() & OBSERVED != 0
}

fn observer() -> Option<&'static Observer> {
    if !is_on() {
        return None;
    }
    // SAFETY: null, or what `watch` was given, which lives for ever.
    unsafe { OBSERVER.load(Acquire).as_ref() }
}

pub(crate) fn allocated(block: *mut u8, size: usize) {
    let Some(observer) = observer().filter(|_| !block.is_null() && !suspension::is_suspended()) else { return };
    let _outside = suspension::suspend();
    (observer.allocated)(block, size);
}

pub(crate) fn freed(block: *mut u8, size: usize) {
    let Some(observer) = observer() else { return };
    let _outside = suspension::suspend();
    (observer.freed)(block, size);
}

/// A block that is about to be resized, as the observer knows it.
pub(crate) struct Resizing(Option<(&'static Observer, *mut c_void)>);

pub(crate) fn resizing(block: *mut u8) -> Resizing {
    Resizing(observer().map(|observer| {
        let _outside = suspension::suspend();
        (observer, (observer.resizing)(block))
    }))
}

impl Resizing {
    pub(crate) fn done(self, block: *mut u8, old: usize, moved: *mut u8, new: usize) {
        let Some((observer, taken)) = self.0 else { return };
        let _outside = suspension::suspend();
        (observer.resized)(taken, block, old, moved, new);
    }
}

/// See [`WATCH`]. `false` = there is another observer.
#[cfg(memprof_injected)]
fn watch(observer: *mut Observer) -> bool {
    let set = OBSERVER.compare_exchange(ptr::null_mut(), observer, SeqCst, SeqCst);
    if set.is_err_and(|other| other != observer) {
        return false;
    }
    if WATCHES.fetch_add(1, SeqCst) == 0 {
        state::set(OBSERVED);
    }
    true
}

#[cfg(memprof_injected)]
fn leave() {
    if WATCHES.fetch_sub(1, SeqCst) == 1 {
        state::clear(OBSERVED);
        // Somebody may have begun to watch between the two.
        if WATCHES.load(SeqCst) > 0 {
            state::set(OBSERVED);
        }
    }
}

/// One of [`WATCH`], [`LEAVE`], [`SUSPEND`], [`RESUME`]; 0 where it cannot be done. The name changes with what they mean.
///
/// # Safety
/// With [`WATCH`], `observer` points at one that lives as long as the process and whose functions may be called on any thread.
#[cfg(memprof_injected)]
#[no_mangle]
#[linkage = "weak"]
unsafe extern "C" fn memprof_observe_v1(what: u32, observer: *mut Observer) -> u32 {
    match what {
        WATCH => u32::from(watch(observer)),
        LEAVE => {
            leave();
            1
        }
        SUSPEND => {
            std::mem::forget(suspension::suspend());
            1
        }
        RESUME => {
            suspension::resume();
            1
        }
        _ => 0,
    }
}
