//! The memory of the process, as the kernel lists it, and which of it may hold pointers to blocks.

use crate::engine::leaks::array::{Array, Plain};
use crate::engine::leaks::skipped::Skipped;
use crate::engine::life::ending::File;

/// As many as the kernel gives a process, where nobody asked it for more.
pub(crate) const MOST: usize = 1 << 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) kind: Kind,
}

/// What it is besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Kind {
    Other = 0,
    /// The first thread's stack.
    Stack,
    /// What the C library got by `brk`.
    Heap,
    /// Shared with other processes, or a file's: most of it may never have been touched, and reading would bring it into memory.
    Shared,
}

// SAFETY: numbers, and an enum with a value of 0 of which no other bits are ever written.
#[allow(unsafe_code)]
unsafe impl Plain for Mapping {}

/// All mappings that may hold pointers, lowest first.
pub(crate) fn read(into: &mut Array<Mapping>, guards: &mut Guards) -> Result<(), Skipped> {
    into.clear();
    guards.0.clear();
    let file = File::open(c"/proc/self/maps", 0).ok_or(Skipped::Unreadable)?;
    let mut line = Line::default();
    let mut buffer = [0u8; 2048];
    loop {
        let read = file.read(&mut buffer).ok_or(Skipped::Unreadable)?;
        if read == 0 {
            return Ok(());
        }
        for byte in buffer.iter().take(read) {
            match line.take(*byte) {
                Some(Found::MayHold(mapping)) => into.push(mapping).ok_or(Skipped::TooMuch)?,
                Some(Found::Guard(end)) => guards.0.push(end).ok_or(Skipped::TooMuch)?,
                None => {}
            }
        }
    }
}

/// Where guards end: a few pages that nobody may touch, as the C library has them in front of each stack that it makes.
pub(crate) struct Guards(Array<usize>);

impl Guards {
    /// More is no guard's: memory that is reserved looks the same.
    const LONGEST: usize = 64 << 10;

    pub(crate) fn new() -> Option<Guards> {
        Array::new(MOST).map(Guards)
    }

    /// Whether memory that begins there has a guard in front.
    pub(crate) fn stand_before(&self, start: usize) -> bool {
        self.0.binary_search(&start).is_ok()
    }
}

/// What a line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    MayHold(Mapping),
    /// It ends there.
    Guard(usize),
}

/// Takes lines `START-END PERMISSIONS OFFSET DEVICE INODE NAME`, byte by byte: a name may be longer than any buffer.
#[derive(Default)]
struct Line {
    field: usize,
    start: usize,
    number: usize,
    end: usize,
    permissions: [u8; 4],
    has_file: bool,
    /// Of the name as much as tells.
    name: [u8; 8],
    /// Bytes of the field so far.
    len: usize,
}

const NAME: usize = 5;

impl Line {
    /// What the line tells, where this was its last byte.
    fn take(&mut self, byte: u8) -> Option<Found> {
        match (byte, self.field) {
            (b'\n', _) => return std::mem::take(self).finish(),
            (b'-', 0) => (self.start, self.number) = (self.number, 0),
            (b' ', 0) => {
                self.end = self.number;
                (self.field, self.len) = (1, 0);
            }
            // Names stand behind several spaces.
            (b' ', NAME) if self.len == 0 => {}
            (b' ', 1..NAME) => (self.field, self.len) = (self.field + 1, 0),
            (digit, 0) => self.number = self.number << 4 | char::from(digit).to_digit(16).unwrap_or(0) as usize,
            (byte, field) => {
                match field {
                    1 => put(&mut self.permissions, self.len, byte),
                    4 => self.has_file |= byte != b'0',
                    NAME => put(&mut self.name, self.len, byte),
                    _ => {}
                }
                self.len += 1;
            }
        }
        None
    }

    fn finish(self) -> Option<Found> {
        let [read, write, _, shared] = self.permissions;
        if &self.permissions == b"---p" && !self.has_file {
            let is_short = self.end.saturating_sub(self.start) <= Guards::LONGEST;
            return is_short.then_some(Found::Guard(self.end));
        }
        // What was made read-only may have been written before; of what is in a file that is improbable.
        let may_hold = read == b'r' && (write == b'w' || shared == b'p' && !self.has_file);
        let kind = match &self.name {
            name if name.starts_with(b"[stack]") => Kind::Stack,
            name if name.starts_with(b"[heap]") => Kind::Heap,
            // The kernel's.
            name if name.starts_with(b"[v") => return None,
            _ if shared == b's' => Kind::Shared,
            _ => Kind::Other,
        };
        may_hold.then_some(Found::MayHold(Mapping { start: self.start, end: self.end, kind }))
    }
}

fn put(bytes: &mut [u8], at: usize, byte: u8) {
    if let Some(place) = bytes.get_mut(at) {
        *place = byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_written_to_may_hold_pointers_and_a_few_pages_that_nobody_may_touch_are_a_guard() {
        let text = "\
1000-3000 r-xp 00000000 08:01 5                  /bin/a-b c [heap]
3000-4000 rw-p 00002000 08:01 5                  /bin/a-b c
5000-6000 r--p 00000000 08:01 5                  /bin/a
6000-7000 r--p 00000000 00:00 0
7000-8000 rw-p 00000000 00:00 0                  [heap]
8000-9000 ---p 00000000 00:00 0
9000-a000 rw-s 00000000 00:01 77                 /dev/zero (deleted)
7f0000000000-7f0004000000 ---p 00000000 00:00 0
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0  [stack]
7ffc00100000-7ffc00104000 r--p 00000000 00:00 0  [vvar]
7ffc00104000-7ffc00106000 r-xp 00000000 00:00 0  [vdso]
";
        let mut line = Line::default();
        let found: Vec<Found> = text.bytes().filter_map(|byte| line.take(byte)).collect();
        let of = |start, end, kind| Found::MayHold(Mapping { start, end, kind });
        let expected = [
            of(0x3000, 0x4000, Kind::Other),
            of(0x6000, 0x7000, Kind::Other),
            of(0x7000, 0x8000, Kind::Heap),
            Found::Guard(0x9000),
            of(0x9000, 0xa000, Kind::Shared),
            of(0x7ffc_0000_0000, 0x7ffc_0002_1000, Kind::Stack),
        ];
        assert_eq!(found, expected);
    }
}
