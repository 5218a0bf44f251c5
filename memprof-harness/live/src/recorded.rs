//! Under `cargo memprof` the allocator is the recording's, which passes on what it sees: the counting is the same.
//!
//! The recording crate is injected and this one is the test's own dependency, so they know one another by symbols of the C kind, and by nothing else.

#![allow(unsafe_code)] // a symbol that may not be there, and the call of what is behind it

use crate::count::events;
use crate::count::owned::Taken;
use std::ffi::c_void;

/// The address of a symbol of the recording crate's; 0 where no such crate is linked. Stable Rust has no weak symbols, so the
/// linker's table is read as a compiler of C would have it read.
macro_rules! weak_address {
    ($symbol:literal) => {{
        #[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
        {
            let address: usize;
            // SAFETY: loads a word of the global offset table, which the linker makes: the symbol's address, or 0.
            unsafe {
                std::arch::asm!(
                    concat!(".weak ", $symbol),
                    concat!("mov {}, qword ptr [rip + ", $symbol, "@GOTPCREL]"),
                    out(reg) address,
                    options(nostack, preserves_flags, pure, readonly)
                );
            }
            address
        }
        #[cfg(all(target_os = "linux", target_arch = "aarch64", not(miri)))]
        {
            let address: usize;
            // SAFETY: as above.
            unsafe {
                std::arch::asm!(
                    concat!(".weak ", $symbol),
                    concat!("adrp {0}, :got:", $symbol),
                    concat!("ldr {0}, [{0}, :got_lo12:", $symbol, "]"),
                    out(reg) address,
                    options(nostack, preserves_flags, pure, readonly)
                );
            }
            address
        }
        #[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
        0_usize
    }};
}

/// What the recording calls; the layout is that of `engine::hook::observer::Observer` in memprof-harness.
#[repr(C)]
struct Observer {
    allocated: extern "C" fn(*mut u8, usize),
    freed: extern "C" fn(*mut u8, usize),
    resizing: extern "C" fn(*mut u8) -> *mut c_void,
    resized: extern "C" fn(*mut c_void, *mut u8, usize, *mut u8, usize),
}

static OBSERVER: Observer = Observer { allocated, freed, resizing, resized };

extern "C" fn allocated(block: *mut u8, size: usize) {
    events::allocated(block, size);
}

extern "C" fn freed(block: *mut u8, size: usize) {
    events::freed(block, size);
}

extern "C" fn resizing(block: *mut u8) -> *mut c_void {
    let taken = events::take(block);
    if taken.is_some() {
        let _inside = events::inside();
        Box::into_raw(Box::new(taken)).cast()
    } else {
        std::ptr::null_mut()
    }
}

extern "C" fn resized(taken: *mut c_void, block: *mut u8, old: usize, moved: *mut u8, new: usize) {
    let taken = if taken.is_null() {
        Taken::default()
    } else {
        let _inside = events::inside();
        // SAFETY: made by `resizing`, and given back once.
        let taken = unsafe { Box::from_raw(taken.cast::<Taken>()) };
        *taken
    };
    events::reallocated(taken, block, old, moved, new);
}

const WATCH: u32 = 0;
const LEAVE: u32 = 1;
const SUSPEND: u32 = 2;
const RESUME: u32 = 3;

/// Events are wanted from here on, once more often than they were. `false` = nothing records.
pub(crate) fn watch() -> bool {
    ask(WATCH)
}

/// They are wanted once less often.
pub(crate) fn leave() {
    ask(LEAVE);
}

/// What the calling thread allocates is not the recording's, until [`resume`].
pub(crate) fn suspend() {
    ask(SUSPEND);
}

pub(crate) fn resume() {
    ask(RESUME);
}

/// Whether the recording passes events on to this crate.
pub(crate) fn passes_on() -> bool {
    let passes_on = watch();
    if passes_on {
        leave();
    }
    passes_on
}

/// What became of a limit of leaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeakLimit {
    /// The recording is going to look.
    Set,
    /// This is recorded, and nobody looks: a program ends as it ends, whatever it leaked.
    OtherProgram,
    NotRecorded,
}

/// Limits the bytes that the whole process may have leaked when its test has ended.
pub(crate) fn limit_leaked(bytes: u64) -> LeakLimit {
    type Function = unsafe extern "C" fn(u64) -> u32;
    let address = weak_address!("memprof_limit_leaked_v1");
    if address == 0 {
        return LeakLimit::NotRecorded;
    }
    // SAFETY: the address of a symbol whose name stands for this signature.
    let function = unsafe { std::mem::transmute::<usize, Function>(address) };
    // SAFETY: it takes a number and keeps nothing.
    match unsafe { function(bytes) } {
        1 => LeakLimit::Set,
        2 => LeakLimit::OtherProgram,
        _ => LeakLimit::NotRecorded,
    }
}

/// `false` where nothing records, or another observer is there.
fn ask(what: u32) -> bool {
    type Function = unsafe extern "C" fn(u32, *const Observer) -> u32;
    let address = weak_address!("memprof_observe_v1");
    if address == 0 {
        return false;
    }
    // SAFETY: the address of a symbol whose name stands for this signature.
    let function = unsafe { std::mem::transmute::<usize, Function>(address) };
    // SAFETY: the observer lives as long as the process, and its functions may be called on any thread.
    unsafe { function(what, &OBSERVER) != 0 }
}
