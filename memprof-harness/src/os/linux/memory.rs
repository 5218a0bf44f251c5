//! Memory: what is promised, given back, forgotten in forks, and read although it may not be there.

use libc::{c_int, c_void};

/// For a mapping of which most is never touched: it needs no promise of memory. Miri knows no such thing.
pub(crate) const UNRESERVED: c_int = if cfg!(miri) { 0 } else { libc::MAP_NORESERVE };

/// Gives pages back; they come again where they are touched, as zeros or from their file. Gives whether that was done.
///
/// # Safety
/// Whole pages of one mapping, of which nobody minds.
pub(crate) unsafe fn give_back(start: *mut c_void, len: usize) -> bool {
    // SAFETY: by contract.
    unsafe { libc::madvise(start, len, libc::MADV_DONTNEED) == 0 }
}

/// Has pages be zero in every process that is forked from now on. Gives whether the kernel does so.
///
/// # Safety
/// Whole pages of private memory, in which zeros are valid.
pub(crate) unsafe fn wipe_in_forks(start: *mut c_void, len: usize) -> bool {
    // SAFETY: by contract.
    let result = unsafe { libc::madvise(start, len, libc::MADV_WIPEONFORK) };
    // A kernel refuses advice that it does not know. An emulator may take any and heed none (qemu-user before version 8).
    // SAFETY: as above; no advice has this number.
    let is_heeded = unsafe { libc::madvise(start, len, c_int::MAX) } != 0;
    result == 0 && is_heeded
}

/// Maps private memory at this place. Gives whether that was done: not where anything is there already.
///
/// # Safety
/// Whole pages.
pub(crate) unsafe fn map_at(place: *mut c_void, len: usize) -> bool {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE | UNRESERVED;
    // SAFETY: nothing that is mapped is replaced.
    let mapped = unsafe { libc::mmap(place, len, access, flags, -1, 0) };
    if mapped != libc::MAP_FAILED && mapped != place {
        // A kernel before 4.17 takes the place for no more than a wish.
        // SAFETY: just mapped, and nobody knows of it.
        unsafe { libc::munmap(mapped, len) };
    }
    mapped == place
}

/// Keeps a place that nothing is mapped to as it is: nothing is put there unless it is asked for by its address. What is there stays.
pub(crate) fn keep_empty(place: *mut c_void, len: usize) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE | UNRESERVED;
    // SAFETY: nothing that is mapped is replaced.
    let mapped = unsafe { libc::mmap(place, len, libc::PROT_NONE, flags, -1, 0) };
    if mapped != libc::MAP_FAILED && mapped != place {
        // As above.
        // SAFETY: just mapped, and nobody knows of it.
        unsafe { libc::munmap(mapped, len) };
    }
}

/// Bytes of a page.
pub(crate) fn page_size() -> usize {
    // SAFETY: has no preconditions. The C library knows it from the start of the process, and asks nobody.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0)
}

/// Whether there is a page.
pub(crate) fn is_mapped(page: *mut c_void) -> bool {
    let mut state = 0u8;
    // SAFETY: one page is asked for, and there is room for the answer.
    unsafe { libc::mincore(page, 1, &mut state) == 0 }
}

/// The next pages from `start` on that are in memory, up to `end`, and no more than are asked for at a time. Where the kernel does not say,
/// all are. `start` is returned as `end` where there are none.
pub(crate) fn next_in_memory(start: usize, end: usize) -> (usize, usize) {
    let page = page_size();
    let mut at = start;
    while at < end {
        let mut states = [0u8; 256];
        let first = at / page * page;
        let pages = (end - first).div_ceil(page).min(states.len());
        let place = crate::provenance::without_provenance_mut(first);
        // SAFETY: there is room for the answer on so many pages.
        if unsafe { libc::mincore(place, pages * page, states.as_mut_ptr()) } != 0 {
            return (at, end);
        }
        let states = states.get(..pages).unwrap_or(&[]);
        let is_in = |state: &u8| state & 1 != 0;
        if let Some(found) = states.iter().position(is_in) {
            let many = states.get(found..).unwrap_or(&[]).iter().take_while(|state| is_in(state)).count();
            let from = at.max(first + found * page);
            return (from, (first + (found + many) * page).min(end));
        }
        at = first + pages * page;
    }
    (end, end)
}

/// Copies `len` bytes of this process that may not be there; gives how many there were, from the first on, and otherwise less than 0
/// with `errno` set.
///
/// # Safety
/// `to` has room for them.
pub(crate) unsafe fn copy_if_there(to: *mut c_void, from: usize, len: usize) -> isize {
    let here = libc::iovec { iov_base: to, iov_len: len };
    let there = libc::iovec { iov_base: crate::provenance::without_provenance_mut(from), iov_len: len };
    // SAFETY: has no preconditions.
    let process = unsafe { libc::getpid() };
    // SAFETY: `to` has room by contract; whatever the address is that is copied from, nothing happens but an error.
    unsafe { libc::process_vm_readv(process, &here, 1, &there, 1, 0) }
}

/// Has threads that have no heap of the C library's share those that there are, instead of reserving address space for another. Gives whether the
/// C library does so from now on.
#[cfg(target_env = "gnu")]
pub(crate) fn share_heaps() -> bool {
    // SAFETY: sets a number, under the C library's own lock.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) != 0 }
}

/// As above: other C libraries have one heap.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn share_heaps() -> bool {
    false
}

/// How many bytes of a block of the C library's may be used.
///
/// # Safety
/// It is one, and was not given back.
pub(crate) unsafe fn usable_size(block: *mut c_void) -> usize {
    // SAFETY: by contract.
    unsafe { libc::malloc_usable_size(block) }
}

#[cfg(all(test, target_env = "gnu", not(miri)))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::process::Command;
    use std::sync::Barrier;
    use std::{env, ptr, thread};

    /// What a heap of the C library's begins at a multiple of.
    const HEAP: usize = 64 << 20;
    const THREADS: usize = 6;
    const IS_CHILD: &str = "SHARES_HEAPS";

    /// In how many heaps blocks of as many threads lie, which all have theirs at the same time.
    fn heaps() -> usize {
        let barrier = Barrier::new(THREADS);
        let heaps: BTreeSet<usize> = thread::scope(|scope| {
            let block = || {
                // SAFETY: has no preconditions.
                let block = unsafe { libc::malloc(5000) };
                assert_ne!(block, ptr::null_mut());
                barrier.wait();
                block as usize / HEAP
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(block)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        heaps.len()
    }

    #[test]
    fn pages_that_nobody_touched_are_not_in_memory_and_are_not_brought_there() {
        let page = page_size();
        let len = 1000 * page;
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: new memory.
        let memory = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, -1, 0) };
        assert_ne!(memory, libc::MAP_FAILED);
        for touched in [3, 4, 255, 256, 700, 999] {
            // SAFETY: in the mapping.
            unsafe { memory.cast::<u8>().wrapping_add(touched * page).write(1) };
        }
        let start = memory as usize;
        let end = start + len;
        let (mut at, mut found) = (start, Vec::new());
        while at < end {
            let (from, to) = next_in_memory(at, end);
            if from < to {
                found.push(((from - start) / page, (to - start) / page));
            }
            at = to;
        }
        assert_eq!(found, [(3, 5), (255, 257), (700, 701), (999, 1000)]);
        // From within a page, and to within one.
        assert_eq!(
            next_in_memory(start + 4 * page + 8, start + 4 * page + 16),
            (start + 4 * page + 8, start + 4 * page + 16)
        );
        // SAFETY: mapped above, and not used any more.
        unsafe { libc::munmap(memory, len) };
        // What is not mapped is asked for as it is.
        assert_eq!(next_in_memory(page, 2 * page), (page, 2 * page));
    }

    /// In a process of its own: what the C library was once told holds for good.
    #[test]
    fn threads_share_heaps_from_then_on() {
        match env::var(IS_CHILD) {
            Ok(shares) => {
                assert!(shares == "no" || share_heaps());
                // The test's own thread has one perhaps, besides the first of all.
                assert_eq!(heaps() < THREADS, shares == "yes", "{shares}");
            }
            Err(_) => {
                for shares in ["yes", "no"] {
                    let name = "os::linux::memory::tests::threads_share_heaps_from_then_on";
                    let mut child = Command::new(env::current_exe().expect("it runs"));
                    let child = child.args(["--exact", name, "--test-threads=1"]).env(IS_CHILD, shares);
                    let output = child.env_remove("MALLOC_ARENA_MAX").output().expect("it starts");
                    let stdout = String::from_utf8_lossy(&output.stdout);
                    assert!(output.status.success() && stdout.contains("1 passed"), "{shares}: {stdout}");
                }
            }
        }
    }
}
