//! The blocks that are still in use, and which of them something leads to. A pointer to any byte of a block counts.

use crate::engine::alloc::slots;
use crate::engine::leaks::array::{Array, Plain};
use crate::engine::leaks::c_heap;
use crate::engine::leaks::memory::Memory;
use crate::engine::leaks::skipped::Skipped;
use crate::engine::record::site_predictor::Number;
use crate::provenance::Address;
use std::mem::size_of_val;

/// Blocks that are no slots. With more, nothing is searched.
const MOST: usize = 1 << 22;
const BITS: usize = usize::BITS as usize;

/// A block that is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) start: usize,
    /// The first address behind the room that it has.
    pub(crate) end: usize,
    /// Of its room, as many bytes at most are more than was asked for.
    pub(crate) slack: u32,
    /// Where its stack was noted.
    pub(crate) site: u32,
}

// SAFETY: numbers.
#[allow(unsafe_code)]
unsafe impl Plain for Block {}

pub(crate) struct Blocks {
    /// Lowest first, once they are complete.
    others: Array<Block>,
    /// One bit for each of `others`, and one for each 16 bytes of slots.
    marked_others: Array<usize>,
    marked_slots: Array<usize>,
    /// Blocks that something leads to and that were not searched themselves: a slot by its address, others by their place, see
    /// [`Item`].
    work: Array<usize>,
    slots: slots::Extent,
    /// The addresses of `others`, from the first to behind the last.
    low: usize,
    len: usize,
}

/// What is on the list of work.
enum Item {
    Slot(usize),
    Other(usize),
}

impl Item {
    /// Slots are at multiples of 16.
    fn into_word(self) -> usize {
        match self {
            Item::Slot(address) => address,
            Item::Other(place) => place << 1 | 1,
        }
    }

    fn of_word(word: usize) -> Item {
        if word & 1 == 0 {
            Item::Slot(word)
        } else {
            Item::Other(word >> 1)
        }
    }
}

impl Blocks {
    /// Without any but the slots.
    pub(crate) fn new() -> Option<Blocks> {
        let slots = slots::extent();
        Some(Blocks {
            others: Array::new(MOST)?,
            marked_others: Array::new(0)?,
            marked_slots: Array::zeros((slots.len / slots::ALIGN).div_ceil(BITS))?,
            work: Array::new(0)?,
            slots,
            low: 0,
            len: 0,
        })
    }

    pub(crate) fn add(&mut self, block: Block) -> Result<(), Skipped> {
        self.others.push(block).ok_or(Skipped::TooMuch)
    }

    /// All blocks are there: they can be looked for.
    pub(crate) fn complete(&mut self) -> Result<(), Skipped> {
        self.others.sort_unstable_by_key(|block| block.start);
        let mut live_slots = 0;
        slots::for_each_live(|_, _| live_slots += 1);
        // Each block is on it once at most.
        self.work = Array::new(live_slots + self.others.len()).ok_or(Skipped::NoMemory)?;
        self.marked_others = Array::zeros(self.others.len().div_ceil(BITS)).ok_or(Skipped::NoMemory)?;
        self.low = self.others.first().map_or(0, |block| block.start);
        self.len = self.others.last().map_or(0, |block| block.end) - self.low;
        Ok(())
    }

    /// Marks what the words lead to.
    pub(crate) fn consider(&mut self, words: &[usize]) -> Result<(), Skipped> {
        self.consider_if(words, |_, _| true)
    }

    /// The same of words of the C library's own, which may be addresses of chunks.
    pub(crate) fn consider_c_librarys(&mut self, words: &[usize]) -> Result<(), Skipped> {
        self.consider_if(words, |word, end| !c_heap::may_be_next_chunk(word, end))
    }

    /// `is_pointer` is told a word and where the block that it would lead to ends, if that is no slot.
    #[inline(always)]
    fn consider_if(&mut self, words: &[usize], is_pointer: impl Fn(usize, usize) -> bool) -> Result<(), Skipped> {
        for &word in words {
            if word.wrapping_sub(self.slots.start) < self.slots.len {
                if let Some((block, _)) = slots::holding(word) {
                    self.mark_slot(block.address())?;
                }
            } else if word.wrapping_sub(self.low) < self.len {
                self.mark_other(word, &is_pointer)?;
            }
        }
        Ok(())
    }

    fn mark_slot(&mut self, block: usize) -> Result<(), Skipped> {
        let bit = (block - self.slots.start) / slots::ALIGN;
        if set(&mut self.marked_slots, bit) {
            self.work.push(Item::Slot(block).into_word()).ok_or(Skipped::ThreadRunning)?;
        }
        Ok(())
    }

    fn mark_other(&mut self, word: usize, is_pointer: &impl Fn(usize, usize) -> bool) -> Result<(), Skipped> {
        let after = self.others.partition_point(|block| block.start <= word);
        let Some(place) = after.checked_sub(1) else { return Ok(()) };
        let is_inside = self.others.get(place).is_some_and(|block| word < block.end && is_pointer(word, block.end));
        if is_inside && set(&mut self.marked_others, place) {
            self.work.push(Item::Other(place).into_word()).ok_or(Skipped::ThreadRunning)?;
        }
        Ok(())
    }

    /// Searches what is marked, and what that leads to, until nothing new is. `read` is told how many bytes are searched.
    pub(crate) fn follow(
        &mut self,
        memory: &mut Memory,
        mut read: impl FnMut(usize) -> Result<(), Skipped>,
    ) -> Result<(), Skipped> {
        while let Some(word) = self.work.pop() {
            match Item::of_word(word) {
                Item::Slot(block) => {
                    let mut copy = [0; slots::MOST_WORDS];
                    let words = slots::copy_of(block, &mut copy);
                    read(size_of_val(words))?;
                    self.consider(words)?;
                }
                Item::Other(place) => {
                    let Some(&Block { mut start, end, .. }) = self.others.get(place) else { continue };
                    while start < end {
                        let words = memory.words(start, end)?;
                        let len = size_of_val(words);
                        if len == 0 {
                            break;
                        }
                        read(len)?;
                        self.consider(words)?;
                        start += len;
                    }
                }
            }
        }
        Ok(())
    }

    /// Visits all blocks: whether something leads to it, its room, how much of that is more than was asked for at most, and its site.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(bool, usize, u32, Option<Number>)) {
        slots::for_each_live(|block, room| {
            let bit = (block.address() - self.slots.start) / slots::ALIGN;
            visit(is_set(&self.marked_slots, bit), room, slots::ALIGN as u32 - 1, slots::site_of(block));
        });
        for (place, block) in self.others.iter().enumerate() {
            let site = Number::in_lower_bits(block.site);
            let site = Some(site).filter(|site| *site != Number::NONE);
            visit(is_set(&self.marked_others, place), block.end - block.start, block.slack, site);
        }
    }
}

/// Sets a bit; `false` where it was set, or there is none.
fn set(bits: &mut [usize], at: usize) -> bool {
    let Some(word) = bits.get_mut(at / BITS) else { return false };
    let before = *word;
    *word |= 1 << (at % BITS);
    *word != before
}

fn is_set(bits: &[usize], at: usize) -> bool {
    bits.get(at / BITS).is_some_and(|word| word >> (at % BITS) & 1 != 0)
}
