//! The resource limits of the process. Some of them would have it killed, and the room that others leave belongs to the program first.

#![allow(unsafe_code)] // getrlimit, setrlimit, and a look into `/proc`

use crate::os::errno;

use crate::os;

/// The longest that a file may be. Past it the kernel sends SIGXFSZ, which kills.
pub(crate) fn file_size() -> u64 {
    soft(libc::RLIMIT_FSIZE).unwrap_or(0)
}

/// Whether private memory is limited, touched or not.
pub(crate) fn is_data_limited() -> bool {
    soft(libc::RLIMIT_DATA) != Some(libc::RLIM_INFINITY)
}

/// How much address space the engine may take where it is limited; `None` = it is not. A quarter of what is left: the rest is
/// the program's.
pub(crate) fn space_for_the_engine() -> Option<u64> {
    space_left().map(|left| left / 4)
}

/// How much address space the process may have, in bytes; `None` = it is not limited.
pub(crate) fn address_space() -> Option<u64> {
    match soft(libc::RLIMIT_AS) {
        Some(libc::RLIM_INFINITY) => None,
        _ if cfg!(miri) => None,
        limit => Some(limit.unwrap_or(0)),
    }
}

/// How much of it is left.
pub(crate) fn space_left() -> Option<u64> {
    let limit = address_space()?;
    // Where nobody says how much is taken, as if it were most of it.
    let taken = space_taken().unwrap_or(limit / 4 * 3);
    Some(limit.saturating_sub(taken))
}

/// While it lives, a file can be opened where the process has as many open as it allows itself. Not where others allow it no more.
#[must_use = "there is room until it is dropped"]
pub(crate) struct RoomForFiles(Option<libc::rlimit>);

impl RoomForFiles {
    /// Called by the thread that ends the recording: what else runs may open more files meanwhile than it would.
    pub(crate) fn make() -> RoomForFiles {
        // SAFETY: a C string for the length of the call.
        let file = unsafe { libc::open(c"/proc/self/task".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if file >= 0 {
            // SAFETY: opened above.
            unsafe { libc::close(file) };
            return RoomForFiles(None);
        }
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a valid place for the answer.
        if errno::get() != libc::EMFILE || unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
            return RoomForFiles(None);
        }
        let most = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        // SAFETY: only reads what it is given.
        let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &most) } == 0;
        RoomForFiles(raised.then_some(limit))
    }
}

impl Drop for RoomForFiles {
    fn drop(&mut self) {
        if let Some(limit) = self.0 {
            // SAFETY: as above. Less than is open is allowed.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
        }
    }
}

/// `None` = the system does not say.
fn soft(which: os::task::Limited) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    (unsafe { libc::getrlimit(which, &mut limit) } == 0).then_some(limit.rlim_cur)
}

/// Bytes of address space that the process has. Takes no memory.
fn space_taken() -> Option<u64> {
    // SAFETY: the path is a C string.
    let file = unsafe { libc::open(c"/proc/self/statm".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if file < 0 {
        return None;
    }
    let mut text = [0u8; 128];
    // SAFETY: `text` has room for as many bytes as it is long.
    let read = unsafe { libc::read(file, text.as_mut_ptr().cast(), text.len()) };
    // SAFETY: opened above.
    unsafe { libc::close(file) };
    let pages = first_number(text.get(..usize::try_from(read).ok()?)?)?;
    // SAFETY: has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.checked_mul(u64::try_from(page).ok()?)
}

fn first_number(text: &[u8]) -> Option<u64> {
    let digits = text.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_is_the_size_of_all() {
        assert_eq!(first_number(b"1234 56 7 8 0 9 0\n"), Some(1234));
        assert_eq!(first_number(b"x"), None);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no /proc")]
    fn the_system_says_how_much_is_taken() {
        // Whatever else there is, the program and its libraries take a megabyte.
        assert!(space_taken().expect("there is `/proc`") > 1 << 20);
    }
}
