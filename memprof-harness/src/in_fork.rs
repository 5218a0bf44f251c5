//! Does work in a forked copy of this process, of which only a short answer comes back: the program's own allocator
//! then knows nothing of the work. This is for the time before `main`, when there is one thread.
#![allow(unsafe_code)] // fork, and memory that two processes share

use std::mem::size_of;
use std::ptr::{self, NonNull};

/// Bytes that can be said: some paths, which are shorter than a page each.
const ROOM: usize = 64 * 1024;

/// What the copy said. Lies in no allocator's memory.
pub struct Answer {
    /// The number of bytes, and then these.
    place: NonNull<[u8; ROOM]>,
}

impl Answer {
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the place is mapped for as long as this lives, and nobody writes to it any more.
        let place = unsafe { self.place.as_ref() };
        let (len, rest) = place.split_at(size_of::<usize>());
        let len = len.try_into().map_or(0, usize::from_ne_bytes);
        rest.get(..len).unwrap_or_default()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and whoever borrowed from it is gone.
        unsafe { libc::munmap(self.place.as_ptr().cast(), ROOM) };
    }
}

/// Has a copy of this process do `work` and end; gives what that said, which is nothing where it failed. `None` where no copy
/// can be had, or one would hold what other threads have locked.
pub fn ask(work: impl FnOnce() -> Option<Vec<u8>>) -> Option<Answer> {
    if crate::engine::threads() != Some(1) {
        return None;
    }
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at a place of the kernel's choice.
    let place = unsafe { libc::mmap(ptr::null_mut(), ROOM, access, kind, -1, 0) };
    if place == libc::MAP_FAILED {
        return None;
    }
    // The kernel's fresh pages are zero: nothing is said.
    let answer = Answer { place: NonNull::new(place.cast())? };
    // SAFETY: there is one thread, so nothing is half done in the copy.
    match unsafe { libc::fork() } {
        -1 => None,
        0 => {
            let result =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok().flatten().unwrap_or_default();
            if result.len() <= ROOM - size_of::<usize>() {
                let start = place.cast::<u8>();
                let len = result.len().to_ne_bytes();
                // SAFETY: the mapping is as long as both together, and only this process writes to it.
                unsafe { ptr::copy_nonoverlapping(len.as_ptr(), start, len.len()) };
                // SAFETY: as above.
                unsafe { ptr::copy_nonoverlapping(result.as_ptr(), start.wrapping_add(len.len()), result.len()) };
            }
            // SAFETY: has no preconditions. What the program has registered for its end is not for this process.
            unsafe { libc::_exit(0) }
        }
        copy => {
            wait_for(copy);
            Some(answer)
        }
    }
}

fn wait_for(process: libc::pid_t) {
    loop {
        // SAFETY: no status is asked for.
        let result = unsafe { libc::waitpid(process, ptr::null_mut(), 0) };
        // Where the program was started with its children's ends ignored, it is gone without having been waited for.
        if result != -1 || std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
            return;
        }
    }
}
