//! Finds out whether a test has forbidden itself system calls. A forbidden call may end the process, so no search is
//! made then.

#![allow(unsafe_code)] // getppid

use crate::engine::life::ending::{File, Path};

/// What the kernel says of a process or thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Filters {
    /// 0 = none, 1 = next to nothing is allowed, 2 = programs decide.
    mode: u64,
    /// How many such programs; `None` = the kernel is too old to say.
    count: Option<u64>,
}

/// Whether the calling thread has filters that the process that started this one has not: a container's have both.
pub(crate) fn were_added() -> bool {
    // SAFETY: has no preconditions.
    let parent = unsafe { libc::getppid() };
    // Where nothing can be read, as where there is no `/proc`, nothing can be searched either.
    let Some(own) = File::open(c"/proc/thread-self/status", 0).and_then(|file| Filters::read(&file)) else {
        return false;
    };
    if own.mode == 0 {
        return false;
    }
    let parents = Path::of(b"/proc/", parent, b"/status");
    let parents = parents.as_c_str().and_then(|path| File::open(path, 0)).and_then(|file| Filters::read(&file));
    own.differ_from(parents)
}

impl Filters {
    fn read(file: &File) -> Option<Filters> {
        let mut text = [0u8; 4096];
        let read = file.read(&mut text)?;
        Filters::in_text(text.get(..read)?)
    }

    fn in_text(text: &[u8]) -> Option<Filters> {
        let number = |name: &[u8]| {
            let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name))?;
            std::str::from_utf8(line).ok()?.trim().parse().ok()
        };
        // Without a line for it, the kernel has none.
        Some(Filters { mode: number(b"Seccomp:").unwrap_or(0), count: number(b"Seccomp_filters:") })
    }

    fn differ_from(self, parents: Option<Filters>) -> bool {
        parents != Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containers_filters_are_its_parents_and_a_tests_are_not() {
        let text = b"Name:\tx\nNoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\nSpeculation:\tx\n";
        let own = Filters::in_text(text).expect("it is there");
        assert_eq!(own, Filters { mode: 2, count: Some(1) });
        assert!(!own.differ_from(Some(own)));
        for other in [None, Some(Filters { mode: 2, count: Some(0) }), Some(Filters { mode: 0, count: None })] {
            assert!(own.differ_from(other));
        }
        assert_eq!(Filters::in_text(b"Name:\tx\n"), Some(Filters { mode: 0, count: None }));
    }
}
