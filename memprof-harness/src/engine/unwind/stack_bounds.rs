//! Where the calling thread's stack lies, found out without the C library's help: `pthread_getattr_np` holds a lock of the
//! thread's while it allocates, and below `malloc` we may well be in the middle of that call.
//!
//! Nothing here allocates.

#![allow(unsafe_code)] // system calls

use crate::engine::unwind::frame_pointer::Bounds;
use crate::os;

/// For a first thread whose stack may grow without limit: as far as it is believed to.
const UNLIMITED: usize = 1 << 30;
const PAGE: usize = 4096;

/// `None` where the system does not say.
pub(crate) fn stack_of_this_thread() -> Option<Bounds> {
    if os::thread::is_first() {
        return first_stack();
    }
    // glibc keeps its description of a thread at the upper end of the thread's stack, whoever made that.
    // SAFETY: has no preconditions.
    let description = unsafe { libc::pthread_self() } as usize;
    let (low, high) = mapping_of(description)?;
    (low..high).contains(&description).then_some(Bounds { low, high: description & !15 })
}

/// The first thread's stack grows as it is used, up to the limit.
fn first_stack() -> Option<Bounds> {
    // The kernel puts these bytes above the place where the stack begins to grow. Not the loader's `__libc_stack_end`: the harness is
    // compiled to reach variables directly, and not everywhere can a shared library's be reached so.
    let end = os::loader::above_first_stack();
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    if end == 0 || unsafe { libc::getrlimit(libc::RLIMIT_STACK, &mut limit) } != 0 {
        return None;
    }
    let size = usize::try_from(limit.rlim_cur).unwrap_or(UNLIMITED).min(UNLIMITED);
    let high = end.checked_next_multiple_of(PAGE)?;
    Some(Bounds { low: high.saturating_sub(size), high })
}

/// The mapping that holds `address`, as the kernel lists it.
fn mapping_of(address: usize) -> Option<(usize, usize)> {
    // SAFETY: a C string for the length of the call.
    let file = unsafe { libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if file < 0 {
        return None;
    }
    let mut search = Search { address, ..Search::default() };
    let mut buffer = [0u8; 2048];
    while search.found.is_none() {
        // SAFETY: the buffer is valid for as many bytes.
        let read = unsafe { libc::read(file, buffer.as_mut_ptr().cast(), buffer.len()) };
        let Some(bytes) = usize::try_from(read).ok().filter(|&read| read > 0).and_then(|read| buffer.get(..read))
        else {
            break;
        };
        bytes.iter().for_each(|&byte| search.take(byte));
    }
    // SAFETY: opened above.
    unsafe { libc::close(file) };
    search.found
}

/// Reads lines that start with `LOW-HIGH `, both hexadecimal, byte by byte.
#[derive(Debug, Default)]
struct Search {
    address: usize,
    low: usize,
    number: usize,
    /// Both numbers of the line were read.
    rest: bool,
    found: Option<(usize, usize)>,
}

impl Search {
    fn take(&mut self, byte: u8) {
        match byte {
            b'\n' => (self.number, self.rest) = (0, false),
            _ if self.rest || self.found.is_some() => {}
            b'-' => (self.low, self.number) = (self.number, 0),
            b' ' => {
                self.rest = true;
                if (self.low..self.number).contains(&self.address) {
                    self.found = Some((self.low, self.number));
                }
            }
            _ => self.number = self.number << 4 | char::from(byte).to_digit(16).unwrap_or(0) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::Address;

    #[test]
    fn a_mapping_is_found_by_any_address_in_it() {
        let text = b"1000-3000 r-xp 00000000 08:01 5 /bin/a-b c\n7f00-7fff rw-p 0 00:00 0 \n";
        let found = |address| {
            let mut search = Search { address, ..Search::default() };
            text.iter().for_each(|&byte| search.take(byte));
            search.found
        };
        assert_eq!([found(0x1000), found(0x2fff)], [Some((0x1000, 0x3000)); 2]);
        assert_eq!(found(0x7f10), Some((0x7f00, 0x7fff)));
        assert_eq!([found(0xfff), found(0x3000), found(0x8000)], [None; 3]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri's threads have no stacks")]
    fn a_threads_stack_is_where_its_variables_are() {
        let local = || {
            let variable = 0u8;
            let here = std::ptr::from_ref(std::hint::black_box(&variable)).address();
            let bounds = stack_of_this_thread().expect("the system says");
            assert!((bounds.low..bounds.high).contains(&here), "{here:x} {bounds:x?}");
            bounds
        };
        let mine = local();
        let builder = std::thread::Builder::new().stack_size(300 << 10);
        let other = builder.spawn(local).expect("a thread").join().expect("it ends well");
        assert!(other.high - other.low < 400 << 10 && other != mine);
    }
}
