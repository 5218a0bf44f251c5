//! What a cell says of its block, in the word in front of it.

#![allow(unsafe_code)] // what lies in front of a block

use crate::engine::record::site_predictor::{Number, NUMBER_BITS};

/// The lane that allocated the block, its birth by that lane's clock, and its site. With no lane the cell is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

/// Bits of a birth. A lane that has allocated more bytes than they can tell takes no more cells.
pub(crate) const BIRTH_BITS: u32 = 35;
const LANE_SHIFT: u32 = NUMBER_BITS + BIRTH_BITS;
/// Lanes above this one take no cells. The highest that fits is [`Word::UNNOTED`]'s.
const MOST_LANES: u32 = (1 << (u64::BITS - LANE_SHIFT)) - 2;

impl Word {
    pub(crate) const FREE: Word = Word(0);
    /// In use, and nothing is noted of it. No lane's word is this one.
    pub(crate) const UNNOTED: Word = Word(u64::MAX);

    /// What the words of a lane's cells begin with; `None` where it is to have no cells.
    pub(crate) fn of_lane(lane: u32) -> Option<Word> {
        (lane <= MOST_LANES).then(|| Word(u64::from(lane) << LANE_SHIFT))
    }

    /// The lane's word of a block that was born at `birth`. With no site there was no room for it.
    #[inline(always)]
    pub(crate) fn with(self, birth: u64, site: Option<Number>) -> Word {
        Word(self.0 | birth << NUMBER_BITS | site.map_or(0, |site| u64::from(site.get())))
    }

    pub(crate) fn lane(self) -> u32 {
        (self.0 >> LANE_SHIFT) as u32
    }

    #[inline(always)]
    pub(crate) fn same_lane(self, other: Word) -> bool {
        (self.0 ^ other.0) >> LANE_SHIFT == 0
    }

    #[inline(always)]
    pub(crate) fn birth(self) -> u64 {
        self.0 >> NUMBER_BITS & ((1 << BIRTH_BITS) - 1)
    }

    #[inline(always)]
    pub(crate) fn site(self) -> Option<Number> {
        let site = Number::in_lower_bits(self.0 as u32);
        (site.get() != 0).then_some(site)
    }

    /// Of a free cell, with which a batch begins: the address of the batch behind it, or 0, and how many cells are in its own.
    pub(crate) fn of_batch(next: usize, cells: u32) -> Word {
        Word(next as u64 | u64::from(cells) << Word::CELLS_SHIFT)
    }

    /// Addresses have no more bits than these on any system we run on.
    const CELLS_SHIFT: u32 = 48;

    pub(crate) fn next(self) -> usize {
        (self.0 & ((1 << Word::CELLS_SHIFT) - 1)) as usize
    }

    pub(crate) fn cells(self) -> u32 {
        (self.0 >> Word::CELLS_SHIFT) as u32
    }

    /// Ends the program where the cell is free, as the C library does where a block is given back twice.
    #[inline(always)]
    pub(crate) fn must_be_in_use(self) {
        if self.0 >> LANE_SHIFT == 0 {
            given_back_twice();
        }
    }
}

#[cold]
#[inline(never)]
fn given_back_twice() -> ! {
    const MESSAGE: &[u8] = b"free(): the block is free already, or something wrote in front of it\n";
    // SAFETY: the bytes are there for the length of the call.
    unsafe { libc::write(libc::STDERR_FILENO, MESSAGE.as_ptr().cast(), MESSAGE.len()) };
    std::process::abort()
}

/// # Safety
/// `block` is a cell's.
#[inline(always)]
pub(crate) unsafe fn word_of(block: *mut u8) -> Word {
    // SAFETY: by contract its word is in front of it, aligned as blocks are.
    Word(unsafe { place(block).read() })
}

/// # Safety
/// `block` is a cell's, and the caller's.
#[inline(always)]
pub(crate) unsafe fn set_word(block: *mut u8, word: Word) {
    // SAFETY: by contract its word is in front of it, aligned as blocks are.
    unsafe { place(block).write(word.0) }
}

#[inline(always)]
fn place(block: *mut u8) -> *mut u64 {
    block.wrapping_sub(size_of::<Word>()).cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_back_what_was_put_into_it() {
        let site = Number::in_lower_bits(0x00ab_cdef);
        for lane in [1, 2, MOST_LANES] {
            let of_lane = Word::of_lane(lane).expect("a low lane");
            for birth in [1, 1 << 20, (1 << BIRTH_BITS) - 1] {
                for site in [None, Some(site), Some(Number::in_lower_bits(u32::MAX))] {
                    let word = of_lane.with(birth, site);
                    assert_eq!((word.lane(), word.birth(), word.site()), (lane, birth, site));
                    assert!(word.same_lane(of_lane) && !word.same_lane(Word::FREE));
                    assert_ne!(word, Word::UNNOTED);
                    word.must_be_in_use();
                }
            }
        }
        assert_eq!(Word::of_lane(MOST_LANES + 1), None);
        Word::UNNOTED.must_be_in_use();
    }

    #[test]
    fn a_batchs_word_is_that_of_a_free_cell() {
        let word = Word::of_batch(0x7fff_1234_5670, 64);
        assert_eq!((word.next(), word.cells(), word.lane()), (0x7fff_1234_5670, 64, 0));
    }
}
