//! The file of the program that this process runs. The kernel may have started another file: a user's runner may be the
//! dynamic loader, which maps the program itself.

use crate::os;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What the kernel has for the file that it started.
pub const STARTED: &str = "/proc/self/exe";

/// Where it is.
///
/// # Errors
/// Where that cannot be found out.
pub fn path() -> io::Result<PathBuf> {
    match mapped() {
        Some(path) => Ok(path),
        None => env::current_exe(),
    }
}

/// Where the program is that the loader maps, as it was told to on its command line; `None` = the kernel has started the program itself.
pub fn mapped() -> Option<PathBuf> {
    // The kernel knows of no loader where it started one, nor of a static program's.
    if os::loader::base_of_loader() != 0 {
        return None;
    }
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let path = file_at(&maps, mapped as fn() -> Option<PathBuf> as usize)?;
    let is_started = env::current_exe().is_ok_and(|started| started == path);
    (!is_started && path.is_file()).then(|| path.to_owned())
}

/// The file that is mapped at `address`.
fn file_at(maps: &str, address: usize) -> Option<&Path> {
    maps.lines().find_map(|line| {
        let (start, end) = line.split_whitespace().next()?.split_once('-')?;
        let bound = |digits: &str| usize::from_str_radix(digits, 16).ok();
        let holds = (bound(start)?..bound(end)?).contains(&address);
        // Behind it are permissions, offset, device and inode, none of which has a slash.
        holds.then(|| line.find('/').map(|at| Path::new(&line[at..])))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_at_an_address_is_the_one_that_is_mapped_there() {
        let maps = "1000-2000 r-xp 00000000 fe:01 12 /usr/lib/ld.so\n2000-3000 rw-p 00000000 00:00 0 \n\
                    3000-4000 r-xp 00001000 fe:01 13                  /a b/exe\n5000-6000 rw-p 00000000 00:00 0 [heap]\n";
        for (address, file) in [(0x1000, Some("/usr/lib/ld.so")), (0x3fff, Some("/a b/exe"))] {
            assert_eq!(file_at(maps, address), file.map(Path::new), "{address:x}");
        }
        for address in [0, 0x2000, 0x4000, 0x5000, 0x6000] {
            assert_eq!(file_at(maps, address), None, "{address:x}");
        }
    }

    #[test]
    fn this_program_is_its_own_file() {
        assert_eq!(path().unwrap(), env::current_exe().unwrap());
        assert_eq!(mapped(), None);
    }
}
