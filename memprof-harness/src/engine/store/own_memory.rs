//! Private memory of the engine's own: mapped, counted, and given back. Some of it is made ready before a program forbids itself system
//! calls.

#![allow(unsafe_code)] // mmap and what lies in it

use crate::engine::store::calls;
use crate::engine::store::errno::Errno;
use crate::engine::store::limits;
use crate::engine::store::ranges::{Range, Ranges};
use crate::os;
use crate::provenance::Address;
use std::mem::{size_of, size_of_val};
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};

/// Bytes that are kept ready for a program that forbids itself system calls: address space, until they are touched.
const AHEAD: usize = 64 << 20;
const LEAST_AHEAD: usize = 1 << 20;
/// What memory is mapped in.
const PAGE: usize = 4096;

/// Bytes that the engine holds.
static HELD: AtomicU64 = AtomicU64::new(0);
/// Where they are.
static RANGES: Ranges = Ranges::new();
/// Memory that is ready, and how much of it is given out.
static READY: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static READY_LEN: AtomicUsize = AtomicUsize::new(0);
static READY_USED: AtomicUsize = AtomicUsize::new(0);

/// `bytes` of zeroed private memory, page-aligned. `None` where the system has no more.
pub(crate) fn private_bytes(bytes: usize) -> Option<NonNull<u8>> {
    let memory = if calls::allows_calls() { map_private(bytes) } else { ready_bytes(bytes) }?;
    holds(bytes as u64);
    Some(memory)
}

/// As [`private_bytes`], of what is large and can be done without: `None` where the system or the program limits memory.
pub(crate) fn ample_bytes(bytes: usize) -> Option<NonNull<u8>> {
    let is_ample = calls::allows_calls() && limits::address_space().is_none() && !limits::is_data_limited();
    if is_ample {
        private_bytes(bytes)
    } else {
        None
    }
}

fn map_private(bytes: usize) -> Option<NonNull<u8>> {
    let errno = Errno::save();
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | os::memory::UNRESERVED;
    // SAFETY: a fresh anonymous mapping chosen by the kernel overlaps nothing of ours.
    let memory = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    errno.restore();
    if memory == libc::MAP_FAILED {
        return None;
    }
    let start = memory.address();
    RANGES.enter(Range { start, end: start + bytes, kept: [0; 2] });
    NonNull::new(memory.cast())
}

/// Zeroed private memory for `count` values of a type made of atomics. `None` where the system has no more.
///
/// # Safety
/// All-zero bytes must be a valid `T`.
pub(crate) unsafe fn private<T>(count: usize) -> Option<&'static [T]> {
    let memory = private_bytes(count.checked_mul(size_of::<T>())?)?;
    // SAFETY: the mapping is page-aligned, zeroed, long enough and lives until `release`; zeroes are valid by contract.
    Some(unsafe { std::slice::from_raw_parts(memory.cast::<T>().as_ptr(), count) })
}

/// Gives private memory back.
///
/// # Safety
/// `memory` came from [`private`] and nothing refers to it any more.
pub(crate) unsafe fn release<T>(memory: &'static [T]) {
    let Some(start) = NonNull::new(memory.as_ptr().cast_mut()) else { return };
    // SAFETY: by contract.
    unsafe { release_bytes(start.cast(), size_of_val(memory)) };
}

/// Gives private memory back.
///
/// # Safety
/// `memory` is `bytes` bytes long, came from [`private_bytes`], and nothing refers to it any more.
pub(crate) unsafe fn release_bytes(memory: NonNull<u8>, bytes: usize) {
    HELD.fetch_sub(bytes as u64, AcqRel);
    if !calls::allows_calls() {
        return;
    }
    RANGES.leave(memory.as_ptr().address());
    // SAFETY: by contract the whole mapping is ours and unused.
    unsafe { libc::munmap(memory.as_ptr().cast(), bytes) };
}

/// Counts private memory, in bytes, as the engine's.
pub(crate) fn holds(bytes: u64) {
    HELD.fetch_add(bytes, AcqRel);
}

/// Bytes of private memory held now.
pub(crate) fn held() -> u64 {
    HELD.load(Relaxed)
}

/// From what [`take_ahead`] took. It is never given back.
fn ready_bytes(bytes: usize) -> Option<NonNull<u8>> {
    let bytes = bytes.next_multiple_of(PAGE);
    let memory = NonNull::new(READY.load(Acquire))?;
    let take = |used: usize| used.checked_add(bytes).filter(|&end| end <= READY_LEN.load(Relaxed));
    let used = READY_USED.fetch_update(Relaxed, Relaxed, take).ok()?;
    NonNull::new(memory.as_ptr().wrapping_add(used))
}

/// The program is about to forbid itself system calls: takes what may be wanted without any.
pub(crate) fn take_ahead() {
    let most = limits::space_for_the_engine().map_or(AHEAD, |space| AHEAD.min(space as usize));
    let mut len = AHEAD;
    while len >= LEAST_AHEAD && READY.load(Relaxed).is_null() {
        if let Some(memory) = (len <= most).then(|| map_private(len)).flatten() {
            READY_LEN.store(len, Relaxed);
            READY.store(memory.as_ptr(), Release);
        }
        len /= 2;
    }
}

/// Visits where it begins and ends. `false` where not all of it is known.
pub(crate) fn for_each(mut visit: impl FnMut(usize, usize)) -> bool {
    RANGES.for_each(|range| visit(range.start, range.end))
}

/// In a forked child no other thread is left to open the lock.
pub(crate) fn force_open() {
    RANGES.force_open();
}
