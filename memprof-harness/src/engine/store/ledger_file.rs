//! The file of the ledger: its path, and how it is opened, also where a forked child makes one of its own. No descriptor is kept.
//! What is written into the file is the business of `ledger_map`.

#![allow(unsafe_code)] // open, and a path that is written in place

use crate::os;
use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::io::{self, Write};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

static PATH: PathCell = PathCell(UnsafeCell::new([0; libc::PATH_MAX as usize]));
static DEVICE: AtomicU64 = AtomicU64::new(0);
static INODE: AtomicU64 = AtomicU64::new(0);

/// Opens the file at `path`, which is the ledger's from now on.
pub(super) fn open(path: &[u8]) -> io::Result<Descriptor> {
    if path.contains(&0) || !PATH.set(path) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    Descriptor::open(PATH.get().unwrap_or_default(), 0)
}

/// Takes down by what the file is known, besides its path.
pub(super) fn recognise(stat: &libc::stat) {
    let (device, inode) = os::file::identity(stat);
    DEVICE.store(device, Relaxed);
    INODE.store(inode, Relaxed);
}

/// The file again, if its path still leads to it.
pub(super) fn reopen() -> Option<Descriptor> {
    let file = Descriptor::open(PATH.get()?, 0).ok()?;
    let stat = file.stat().ok()?;
    (os::file::identity(&stat) == (DEVICE.load(Relaxed), INODE.load(Relaxed))).then_some(file)
}

/// In a forked child: makes a file of its own beside its parent's, which is the ledger's from now on.
pub(super) fn create_beside(pid: libc::pid_t) -> Option<Descriptor> {
    create_at(&PATH, pid)
}

/// Takes the file away.
pub(super) fn remove() {
    if let Some(path) = PATH.get() {
        // SAFETY: `path` is a C string for the length of the call.
        unsafe { libc::unlink(path.as_ptr()) };
    }
}

/// The ledger's path as a C string. A fixed place, because a forked child must write it without allocating.
struct PathCell(UnsafeCell<[u8; libc::PATH_MAX as usize]>);
// SAFETY: written while the map is sealed, when nobody reads it, by the only thread there is.
unsafe impl Sync for PathCell {}

impl PathCell {
    /// `false` where it is too long.
    fn set(&self, path: &[u8]) -> bool {
        // SAFETY: nobody reads it meanwhile, see above.
        let place = unsafe { &mut *self.0.get() };
        let Some(room) = place.get_mut(..path.len()) else { return false };
        room.copy_from_slice(path);
        match place.get_mut(path.len()) {
            Some(end) => *end = 0,
            None => return false,
        }
        true
    }

    /// Has it end with `more` from `start` on, in place. `false` where it would be too long.
    fn set_end(&self, start: usize, more: &[u8]) -> bool {
        // SAFETY: nobody reads it meanwhile, see above.
        let place = unsafe { &mut *self.0.get() };
        let Some(room) = place.get_mut(start..=start + more.len()) else { return false };
        room.fill(0);
        room.iter_mut().zip(more).for_each(|(byte, &new)| *byte = new);
        true
    }

    fn get(&self) -> Option<&CStr> {
        // SAFETY: nobody writes it while it is read, see above.
        let place = unsafe { &*self.0.get() };
        CStr::from_bytes_until_nul(place).ok()
    }
}

/// Makes a file whose name begins as that at `path`, and has `path` lead there.
fn create_at(path: &PathCell, pid: libc::pid_t) -> Option<Descriptor> {
    /// How many processes of one number are told apart: each may be the first of its namespace.
    const ALIKE: u32 = 1 << 16;
    let start = path.get()?.to_bytes().len();
    for number in 1..=ALIKE {
        // In place, because the stack we are on may have less room than a path takes.
        let mut ending = [0u8; 32];
        let mut rest = ending.as_mut_slice();
        match number {
            1 => write!(rest, ".fork-{pid}").ok()?,
            _ => write!(rest, ".fork-{pid}-{number}").ok()?,
        }
        let unused = rest.len();
        if !path.set_end(start, ending.get(..ending.len() - unused)?) {
            return None;
        }
        match Descriptor::open(path.get()?, libc::O_CREAT | libc::O_EXCL) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            result => return result.ok(),
        }
    }
    None
}

/// An open file that closes itself, without std's checks (which may allocate or panic).
pub(super) struct Descriptor(libc::c_int);

impl Descriptor {
    /// Opens a ledger. A link in its place is none: whoever can write to the folder would have the recording written to
    /// what the link leads to.
    fn open(path: &CStr, flags: libc::c_int) -> io::Result<Descriptor> {
        const MODE: libc::c_uint = 0o644;
        const ALWAYS: libc::c_int = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOFOLLOW;
        // SAFETY: `path` is a C string for the length of the call.
        let fd = unsafe { libc::open(path.as_ptr(), ALWAYS | flags, MODE) };
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(Descriptor(fd))
        }
    }

    /// The kernel's number of it.
    pub(super) fn number(&self) -> libc::c_int {
        self.0
    }

    pub(super) fn stat(&self) -> io::Result<libc::stat> {
        let mut stat = std::mem::MaybeUninit::uninit();
        // SAFETY: `stat` is a valid place for the answer.
        if unsafe { libc::fstat(self.0, stat.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded and so filled it in.
        Ok(unsafe { stat.assume_init() })
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: opened by us and closed only here.
        unsafe { libc::close(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    #[test]
    fn a_link_in_the_place_of_a_ledger_is_not_followed() {
        let folder = std::env::temp_dir().join(format!("memprof-ledger-map-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, link) = (folder.join("file"), folder.join("link"));
        fs::write(&file, "theirs").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let open = |path: &Path| Descriptor::open(&CString::new(path.as_os_str().as_bytes()).unwrap(), 0);
        assert!(open(&file).is_ok());
        assert_eq!(open(&link).err().and_then(|error| error.raw_os_error()), Some(libc::ELOOP));
        assert_eq!(fs::read(&file).unwrap(), b"theirs");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn forks_with_the_same_number_have_a_file_each() {
        let folder = std::env::temp_dir().join(format!("memprof-ledger-alike-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let parents = folder.join("a.ledger");
        for _ in 0..12 {
            let path = PathCell(UnsafeCell::new([0; libc::PATH_MAX as usize]));
            assert!(path.set(parents.as_os_str().as_bytes()));
            assert!(create_at(&path, 1).is_some());
            // One of its own forks.
            assert!(create_at(&path, 1).is_some());
        }
        let mut names: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".fork-1.fork-1"))
            .collect();
        names.sort_unstable();
        assert_eq!(names.len(), 23, "{names:?}");
        for name in ["a.ledger.fork-1", "a.ledger.fork-1-2", "a.ledger.fork-1-12", "a.ledger.fork-1-12.fork-1"] {
            assert_eq!(names.iter().any(|made| made == name), !name.ends_with(".fork-1.fork-1"), "{name}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
