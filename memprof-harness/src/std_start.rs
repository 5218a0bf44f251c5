//! Where std keeps its own books in this program: what the runtime allocates before it calls `main` is the same in every program, and what
//! it allocates to list the threads that are alive depends on how many are at once. Neither is the program's to mend, so both are left
//! out. Found by the program's own symbols, which the driver has the linker keep.
//!
//! `std::rt::lang_start_internal` sets the runtime up and then has `main` called, through an instance of
//! `__rust_begin_short_backtrace`. Both are never inlined where a symbol of theirs is left. A new thread enters itself in a map, for the
//! handler of stack overflows, in `stack_overflow::thread_info::set_current_info`; std before 1.90 has no such map. Without symbols
//! nothing is left out.

#![allow(unsafe_code)] // a mapping of a file

use crate::own_file;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// Addresses as the executable has them, before it is loaded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StdStart {
    /// `lang_start_internal`.
    pub set_up: Range<u64>,
    /// All instances of `__rust_begin_short_backtrace`: those that begin threads among them, which does no harm.
    pub main: Vec<Range<u64>>,
    /// `set_current_info`.
    pub thread_info: Range<u64>,
}

impl StdStart {
    /// Of the running program. `None` where it has no symbols, or std is another object.
    pub fn of_this_program() -> Option<StdStart> {
        let file = own_file::mapped().map_or_else(|| File::open(own_file::STARTED), File::open).ok()?;
        let mapping = Mapping::of(&file)?;
        find(mapping.bytes())
    }

    /// The set-up and `main` as [`ranges`] takes them, the set-up first; nothing where either is not known.
    pub fn set_up_text(&self) -> String {
        if self.set_up.is_empty() || self.main.is_empty() {
            return String::new();
        }
        text_of([&self.set_up].into_iter().chain(&self.main))
    }

    /// `set_current_info` as [`ranges`] takes it; nothing where it is not known.
    pub fn thread_info_text(&self) -> String {
        text_of(Some(&self.thread_info).filter(|range| !range.is_empty()).into_iter())
    }
}

fn text_of<'a>(ranges: impl Iterator<Item = &'a Range<u64>>) -> String {
    ranges.map(|range| format!("{:x}-{:x}", range.start, range.end)).collect::<Vec<_>>().join(",")
}

/// The ranges of a text by [`StdStart`], pairs of hexadecimal numbers, one after the other. Takes no memory.
pub fn ranges(text: &str) -> impl Iterator<Item = Range<u64>> + '_ {
    text.split(',').filter_map(|range| {
        let (start, end) = range.split_once('-')?;
        Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
    })
}

/// A file's bytes, for as long as this lives.
struct Mapping {
    start: *mut libc::c_void,
    len: usize,
}

impl Mapping {
    fn of(file: &File) -> Option<Mapping> {
        let len = usize::try_from(file.metadata().ok()?.len()).ok().filter(|len| *len > 0)?;
        // SAFETY: a new mapping at a place of the kernel's choice; the descriptor is open.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
        (start != libc::MAP_FAILED).then_some(Mapping { start, len })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for as long as this lives; the kernel keeps the file of a running program from being written to.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped with this length, and whoever borrowed from it is gone.
        unsafe { libc::munmap(self.start, self.len) };
    }
}

/// Number `index` of a table of `size` bytes each.
fn entry(table: &[u8], index: usize, size: usize) -> Option<&[u8]> {
    table.get(index.checked_mul(size)?..)?.get(..size)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// What an executable in ELF's 64-bit form has; the offsets are those of `Elf64_Ehdr`, `Elf64_Shdr` and `Elf64_Sym`.
fn find(file: &[u8]) -> Option<StdStart> {
    const SECTION: usize = 64;
    const SYMBOL: usize = 24;
    const SYMBOLS: u32 = 2;
    const FUNCTION: u8 = 2;
    if !file.starts_with(b"\x7fELF\x02") {
        return None;
    }
    let sections = file.get(usize::try_from(u64_at(file, 40)?).ok()?..)?;
    let count = usize::from(u16_at(file, 60)?);
    let of = |section: &[u8]| {
        let start = usize::try_from(u64_at(section, 24)?).ok()?;
        file.get(start..)?.get(..usize::try_from(u64_at(section, 32)?).ok()?)
    };
    let symbols = (0..count).filter_map(|index| entry(sections, index, SECTION));
    let symbols = symbols.into_iter().find(|section| u32_at(section, 4) == Some(SYMBOLS))?;
    let names = of(entry(sections, u32_at(symbols, 40)? as usize, SECTION)?)?;
    let mut found = StdStart::default();
    for symbol in of(symbols)?.chunks_exact(SYMBOL) {
        if symbol.get(4)? & 0xf != FUNCTION {
            continue;
        }
        let Some(name) = names.get(u32_at(symbol, 0)? as usize..) else { continue };
        let kind = Kind::of(name);
        let start = u64_at(symbol, 8)?;
        let range = start..start.checked_add(u64_at(symbol, 16)?)?;
        match kind {
            Some(_) if range.is_empty() => {}
            Some(Kind::SetUp) => found.set_up = range,
            Some(Kind::Main) => found.main.push(range),
            Some(Kind::ThreadInfo) => found.thread_info = range,
            None => {}
        }
    }
    Some(found)
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    SetUp,
    Main,
    ThreadInfo,
}

impl Kind {
    /// By the beginning of a mangled name, of either kind. A name may be followed by others.
    fn of(name: &[u8]) -> Option<Kind> {
        /// A name of std's says what it is called within so many bytes.
        const ENOUGH: usize = 160;
        let is_old = name.starts_with(b"_ZN3std");
        if !is_old && !name.starts_with(b"_RNvN") && !name.starts_with(b"_RINvN") {
            return None;
        }
        let name = name.get(..ENOUGH).unwrap_or(name);
        let name = name.split(|&byte| byte == 0).next()?;
        let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
        if !is_old && !has(b"_3std") {
            None
        } else if has(b"2rt19lang_start_internal") {
            Some(Kind::SetUp)
        } else if has(b"__rust_begin_short_backtrace") {
            Some(Kind::Main)
        } else if has(b"14stack_overflow11thread_info16set_current_info") {
            Some(Kind::ThreadInfo)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn names_of_both_manglings_are_known() {
        for (name, kind) in [
            ("_ZN3std2rt19lang_start_internal17h0123456789abcdefE\0x", Some(Kind::SetUp)),
            ("_RNvNtCsgEmYZWUPyKy_3std2rt19lang_start_internal\0", Some(Kind::SetUp)),
            ("_ZN3std3sys9backtrace28__rust_begin_short_backtrace17h0123456789abcdefE\0", Some(Kind::Main)),
            ("_ZN3std10sys_common9backtrace28__rust_begin_short_backtrace17h0123456789abcdefE\0", Some(Kind::Main)),
            ("_RINvNtNtCsgEmYZWUPyKy_3std3sys9backtrace28___rust_begin_short_backtraceFEuuECs1_1k\0", Some(Kind::Main)),
            ("_ZN3std2rt10lang_start17h0123456789abcdefE\0_ZN3std2rt19lang_start_internal\0", None),
            (
                "_RNvNtNtNtNtNtCsjrHSEGnQ3l9_3std3sys3pal4unix14stack_overflow11thread_info16set_current_info\0",
                Some(Kind::ThreadInfo),
            ),
            (
                "_ZN3std3sys3pal4unix14stack_overflow11thread_info16set_current_info17h0123456789abcdefE\0",
                Some(Kind::ThreadInfo),
            ),
            ("_RNvNtNtNtNtNtCsjrHSEGnQ3l9_3std3sys3pal4unix14stack_overflow11thread_info11THREAD_INFO\0", None),
            ("_ZN1k2rt19lang_start_internal17h0123456789abcdefE\0", None),
            ("main\0", None),
            ("", None),
        ] {
            assert_eq!(Kind::of(name.as_bytes()), kind, "{name}");
        }
    }

    #[test]
    fn this_program_has_them_and_they_come_back_from_their_text() {
        let found = StdStart::of_this_program().expect("tests have symbols");
        let text = found.set_up_text();
        let back: Vec<_> = ranges(&text).collect();
        assert_eq!(back.first(), Some(&found.set_up));
        assert_eq!(back[1..], found.main[..]);
        let text = found.thread_info_text();
        assert_eq!(ranges(&text).next(), Some(found.thread_info).filter(|range| !range.is_empty()));
    }

    #[test]
    fn what_is_not_known_has_no_text() {
        let found = StdStart { set_up: 1..2, ..StdStart::default() };
        assert_eq!((found.set_up_text(), found.thread_info_text()), (String::new(), String::new()));
        assert_eq!(ranges("").next(), None);
    }

    #[test]
    fn what_is_no_executable_has_none_wherever_it_ends() {
        let file = std::fs::read("/proc/self/exe").expect("this program");
        for len in (0..4096).chain([file.len() / 2, file.len() - 1]) {
            black_box(find(&file[..len]));
        }
        assert_eq!(find(b"\x7fELF\x02"), None);
    }
}
