//! Reads the memory that is searched, through the kernel, which reports what cannot be read instead of ending the
//! program: a thread that wakes up meanwhile may give memory back.

#![allow(unsafe_code)] // a system call

use crate::engine::leaks::array::Array;
use crate::engine::leaks::skipped::Skipped;
use crate::os;
use std::mem::{size_of, size_of_val};

const WORD: usize = size_of::<usize>();
const PAGE: usize = 4096;
/// Bytes that are read at a time.
pub(crate) const PIECE: usize = 1 << 20;
/// Bytes that are read around a single word.
const WINDOW: usize = 64 << 10;

/// A copy of a piece of memory.
pub(crate) struct Memory {
    words: Array<usize>,
    /// Where the piece begins that single words are taken from, and how many bytes of it are here.
    window: (usize, usize),
}

impl Memory {
    pub(crate) fn new() -> Option<Memory> {
        Some(Memory { words: Array::zeros(PIECE / WORD)?, window: (0, 0) })
    }

    /// The words from `start`, a multiple of 8, up to `end` or as many as are read at a time. What cannot be read is zeros.
    pub(crate) fn words(&mut self, start: usize, end: usize) -> Result<&[usize], Skipped> {
        self.window = (0, 0);
        let words = end.saturating_sub(start).min(PIECE) / WORD;
        self.fill(start, words)?;
        Ok(self.words.get(..words).unwrap_or(&[]))
    }

    /// The words at an address, a multiple of 8. `None` where they cannot be read. Cheap where the last ones were near.
    pub(crate) fn words_at<const N: usize>(&mut self, at: usize) -> Result<Option<[usize; N]>, Skipped> {
        let (start, len) = self.window;
        if at < start || at + N * WORD > start + len {
            let start = at / PAGE * PAGE;
            let read = read(start, self.words.get_mut(..WINDOW / WORD).unwrap_or(&mut []))?;
            self.window = (start, read);
        }
        let (start, len) = self.window;
        if at < start || at + N * WORD > start + len {
            return Ok(None);
        }
        let from = (at - start) / WORD;
        Ok(self.words.get(from..from + N).and_then(|words| words.try_into().ok()))
    }

    /// What was read may have changed since.
    pub(crate) fn forget(&mut self) {
        self.window = (0, 0);
    }

    fn fill(&mut self, start: usize, count: usize) -> Result<(), Skipped> {
        let mut done = 0;
        while done < count {
            let rest = self.words.get_mut(done..count).unwrap_or(&mut []);
            let read = read(start + done * WORD, rest)? / WORD;
            done += read;
            if let Some(unreadable) = self.words.get_mut(done..count).filter(|rest| !rest.is_empty()) {
                // To the end of the page.
                let at = start + done * WORD;
                let skipped = ((at / PAGE + 1) * PAGE - at) / WORD;
                let skipped = skipped.min(unreadable.len());
                unreadable.iter_mut().take(skipped).for_each(|word| *word = 0);
                done += skipped;
            }
        }
        Ok(())
    }
}

/// Reads memory of this process; gives how many bytes could be read, from the first on.
fn read(start: usize, into: &mut [usize]) -> Result<usize, Skipped> {
    // SAFETY: `into` has room for as many bytes.
    let read = unsafe { os::memory::copy_if_there(into.as_mut_ptr().cast(), start, size_of_val(into)) };
    if let Ok(read) = usize::try_from(read) {
        return Ok(read);
    }
    match os::errno::get() {
        libc::EFAULT => Ok(0),
        _ => Err(Skipped::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::Address;

    #[test]
    #[cfg_attr(miri, ignore = "Miri does not have the system call")]
    fn what_is_not_there_reads_as_zeros_and_ends_nothing() {
        let mut memory = Memory::new().expect("some pages");
        let data: Vec<usize> = (1..=3 * PAGE / WORD).collect();
        let start = data.as_ptr().address().next_multiple_of(WORD);
        let read = memory.words(start, start + size_of_val(data.as_slice()));
        assert_eq!(read.ok(), Some(data.as_slice()));
        assert_eq!(memory.words_at(start + 8), Ok(Some([2, 3])));
        assert_eq!(memory.words_at::<1>(PAGE), Ok(None));
        // The first page of an address space is nobody's.
        assert_eq!(memory.words(0, 2 * PAGE).map(|words| words.iter().all(|word| *word == 0)), Ok(true));
    }
}
