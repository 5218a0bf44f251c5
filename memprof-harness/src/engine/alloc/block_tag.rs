//! The tag of a block: one word in front of a slot, two words in front of a system block, or an entry in a table.
//!
//! | | of whose blocks | its bits, from the highest |
//! | --- | --- | --- |
//! | [`SlotTag`] | slots of this process | lane 5, birth 35, site 24; a lane of 0 is a free slot, 31 one in use without a note, and then the lowest bits are its size |
//! | [`Tag`] | all others | ours 1, generation 7, lane 16, unused 16, site 24; 0 where the block is not the test's |
//!
//! That a slot is free, that a lane has no slots of its own and that a block is not the test's are values of three types, so
//! that none can be taken for another: what a lane writes in front of a slot is made from a [`LaneTag`], which a lane
//! without slots does not have.

#![allow(unsafe_code)] // what lies in front of a block

use crate::engine::life::state;
use crate::engine::record::site_predictor::{Number, NUMBER_BITS};
use crate::engine::store::ledger_map;
use std::mem::size_of;
use std::num::NonZeroU64;

/// What is noted of a block that is the test's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) tag: Tag,
    /// Its lane's `alloc_space` right after it was allocated.
    pub(crate) birth: u64,
}

impl Note {
    /// The two words by which it is kept. The first is not 0, nor any other number below 2^63.
    #[inline(always)]
    pub(crate) fn words(self) -> [u64; 2] {
        [self.tag.0.get(), self.birth]
    }

    /// How many bytes the block was asked for, where its site tells: where stacks are sampled. It
    /// must be of this process.
    pub(crate) fn size(self) -> Option<usize> {
        self.tag.site().filter(|_| self.is_of_this_process()).and_then(|site| ledger_map::size_of_blocks(site.offset()))
    }

    /// Whether this process allocated the block, and none that it was forked from.
    pub(crate) fn is_of_this_process(self) -> bool {
        Tag::of_lane(0).same_process(self.tag)
    }

    /// `None` where the first word is no note's.
    #[inline(always)]
    pub(crate) fn of_words([tag, birth]: [u64; 2]) -> Option<Note> {
        let tag = NonZeroU64::new(tag).filter(|tag| tag.get() & Tag::OURS.get() != 0)?;
        Some(Note { tag: Tag(tag), birth })
    }
}

/// Which site a block of the test's belongs to, and which process of a line of forks allocated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag(NonZeroU64);

impl Tag {
    const OURS: NonZeroU64 = NonZeroU64::MIN.saturating_add((1 << 63) - 1);
    /// Which of a line of forked processes allocated the block, modulo 128.
    const GENERATION_SHIFT: u32 = 56;
    const LANE_SHIFT: u32 = 40;

    pub(crate) fn of_lane(lane: u32) -> Tag {
        let generation = u64::from(state::generation()) % 128;
        Tag(Tag::OURS | generation << Tag::GENERATION_SHIFT | u64::from(lane) << Tag::LANE_SHIFT)
    }

    /// `None` = there was no room for its site.
    #[inline(always)]
    pub(crate) fn with_site(self, site: Option<Number>) -> Tag {
        Tag(self.0 | u64::from(site.map_or(0, Number::get)))
    }

    #[inline(always)]
    pub(crate) fn site(self) -> Option<Number> {
        site_in(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn same_lane(self, other: Tag) -> bool {
        (self.0.get() ^ other.0.get()) >> Tag::LANE_SHIFT == 0
    }

    #[inline(always)]
    pub(crate) fn same_process(self, other: Tag) -> bool {
        (self.0.get() ^ other.0.get()) >> Tag::GENERATION_SHIFT == 0
    }
}

#[inline(always)]
fn site_in(bits: u64) -> Option<Number> {
    let site = Number::in_lower_bits(bits as u32);
    (site.get() != 0).then_some(site)
}

/// Bits of a birth in front of a slot. A block that is born later, on its lane's clock, has its note elsewhere.
pub(crate) const BIRTH_BITS: u32 = 35;
const LANE_SHIFT: u32 = NUMBER_BITS + BIRTH_BITS;
/// The lane of a slot whose block is in use, and has no note in front.
const NO_LANE: u64 = (1 << (u64::BITS - LANE_SHIFT)) - 1;

/// What a lane's notes in front of slots begin with. Only the first thirty lanes have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LaneTag(NonZeroU64);

impl LaneTag {
    /// `None` where the lane's number does not fit.
    pub(crate) fn of(lane: u32) -> Option<LaneTag> {
        let lane = NonZeroU64::new(u64::from(lane)).filter(|lane| lane.get() < NO_LANE)?;
        NonZeroU64::new(lane.get() << LANE_SHIFT).map(LaneTag)
    }
}

/// The word in front of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotTag(u64);

/// What the word in front of a slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotState {
    Free,
    /// In use, and its stack was not noted. So many bytes were asked for.
    Unsampled(usize),
    /// In use, and its note is in the table of tracked blocks.
    Tracked,
    /// In use, and this is its note.
    Noted(Note),
}

impl SlotTag {
    const FREE: SlotTag = SlotTag(0);
    pub(crate) const TRACKED: SlotTag = SlotTag(NO_LANE << LANE_SHIFT);

    /// Of a block of so many bytes without a note: one word tells a free whether there is anything to look up, and whether the block is as
    /// long as the program says.
    #[inline(always)]
    pub(crate) fn unsampled(size: usize) -> SlotTag {
        SlotTag(!(size as u64))
    }

    /// Of a block of that lane's. With no site there was no room for it. `birth` has [`BIRTH_BITS`] at most.
    #[inline(always)]
    pub(crate) fn noted(lane: LaneTag, birth: u64, site: Option<Number>) -> SlotTag {
        SlotTag(lane.0.get() | birth << NUMBER_BITS | site.map_or(0, |site| u64::from(site.get())))
    }

    /// # Safety
    /// `block` is a slot's.
    #[inline(always)]
    pub(crate) unsafe fn read(block: *mut u8) -> SlotTag {
        // SAFETY: by the caller's promise a slot's word is in front of the block, aligned as blocks are.
        SlotTag(unsafe { word_of(block).read() })
    }

    /// # Safety
    /// `block` is a slot's, and the caller's.
    #[inline(always)]
    pub(crate) unsafe fn write(self, block: *mut u8) {
        // SAFETY: by the caller's promise a slot's word is in front of the block, and nobody else reads or writes it.
        unsafe { word_of(block).write(self.0) }
    }

    pub(crate) fn state(self) -> SlotState {
        match self.0 >> LANE_SHIFT {
            0 => SlotState::Free,
            NO_LANE if self == SlotTag::TRACKED => SlotState::Tracked,
            NO_LANE => SlotState::Unsampled(!self.0 as usize),
            lane => {
                let tag = Tag::of_lane(lane as u32).with_site(self.site());
                SlotState::Noted(Note { tag, birth: self.birth() })
            }
        }
    }

    /// Whether the block is in use, and that lane's.
    #[inline(always)]
    pub(crate) fn is_of(self, lane: LaneTag) -> bool {
        (self.0 ^ lane.0.get()) >> LANE_SHIFT == 0
    }

    #[inline(always)]
    pub(crate) fn birth(self) -> u64 {
        self.0 >> NUMBER_BITS & ((1 << BIRTH_BITS) - 1)
    }

    #[inline(always)]
    pub(crate) fn site(self) -> Option<Number> {
        site_in(self.0)
    }

    /// Ends the program where the slot is free, as the C library does where a block is given back twice.
    #[inline(always)]
    pub(crate) fn must_be_in_use(self) {
        if self.0 >> LANE_SHIFT == 0 {
            given_back_twice();
        }
    }
}

/// Says that the slot is free.
///
/// # Safety
/// `block` is a slot's, and the caller's.
#[inline(always)]
pub(crate) unsafe fn mark_free(block: *mut u8) {
    // SAFETY: as the caller promises.
    unsafe { SlotTag::FREE.write(block) }
}

/// In front of the first slot of a batch, all of which are free: the batch behind it, and how many slots are in its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchTag {
    /// The address of the next batch's first block; 0 = there is none.
    pub(crate) next: usize,
    pub(crate) slots: u32,
}

impl BatchTag {
    /// Addresses have no more bits than these on any system we run on.
    const SLOTS_SHIFT: u32 = 48;

    /// # Safety
    /// `block` is a free slot's, and the caller's.
    pub(crate) unsafe fn write(self, block: *mut u8) {
        let word = self.next as u64 | u64::from(self.slots) << BatchTag::SLOTS_SHIFT;
        // SAFETY: as the caller promises.
        unsafe { SlotTag(word).write(block) }
    }

    /// # Safety
    /// `block` is a slot's, in front of which there is a batch's tag.
    pub(crate) unsafe fn read(block: *mut u8) -> BatchTag {
        // SAFETY: as the caller promises.
        let SlotTag(word) = unsafe { SlotTag::read(block) };
        let next = (word & ((1 << BatchTag::SLOTS_SHIFT) - 1)) as usize;
        BatchTag { next, slots: (word >> BatchTag::SLOTS_SHIFT) as u32 }
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

#[inline(always)]
fn word_of(block: *mut u8) -> *mut u64 {
    block.wrapping_sub(size_of::<SlotTag>()).cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST_LANES: u32 = NO_LANE as u32 - 1;

    #[test]
    fn a_slots_tag_gives_back_what_was_put_into_it() {
        let site = Number::in_lower_bits(0x00ab_cdef);
        for lane in [1, 2, MOST_LANES] {
            let lane_tag = LaneTag::of(lane).expect("a low lane");
            for birth in [0, 1, 1 << 20, (1 << BIRTH_BITS) - 1] {
                for site in [None, Some(site), Some(Number::in_lower_bits(u32::MAX))] {
                    let tag = SlotTag::noted(lane_tag, birth, site);
                    let note = Note { tag: Tag::of_lane(lane).with_site(site), birth };
                    assert_eq!(tag.state(), SlotState::Noted(note));
                    assert_eq!((tag.birth(), tag.site(), note.tag.site()), (birth, site, site));
                    assert!(tag.is_of(lane_tag));
                    tag.must_be_in_use();
                }
            }
        }
    }

    #[test]
    fn a_lane_whose_number_does_not_fit_has_nothing_to_write_in_front_of_a_slot() {
        assert_eq!([0, MOST_LANES + 1, MOST_LANES + 2, u32::MAX].map(LaneTag::of), [None; 4]);
    }

    #[test]
    fn what_has_no_note_in_front_is_in_use_and_no_lanes() {
        let unsampled = [0, 1, 7, 1023].map(|size| (SlotTag::unsampled(size), SlotState::Unsampled(size)));
        for (tag, state) in unsampled.into_iter().chain([(SlotTag::TRACKED, SlotState::Tracked)]) {
            assert_eq!(tag.state(), state);
            tag.must_be_in_use();
            assert!((1..=MOST_LANES).filter_map(LaneTag::of).all(|lane| !tag.is_of(lane)));
        }
        assert!((1..=MOST_LANES).filter_map(LaneTag::of).all(|lane| !SlotTag::FREE.is_of(lane)));
    }

    #[test]
    fn a_batchs_first_slot_is_free() {
        let mut slot = [0u64; 4];
        let block = slot.as_mut_ptr().wrapping_add(2).cast();
        let batch = BatchTag { next: 0x7fff_1234_5670, slots: 64 };
        // SAFETY: the word in front of the block is part of the array.
        unsafe { batch.write(block) };
        // SAFETY: as above.
        assert_eq!(unsafe { BatchTag::read(block) }, batch);
        // SAFETY: as above.
        let tag = unsafe { SlotTag::read(block) };
        assert_eq!(tag.state(), SlotState::Free);
    }

    #[test]
    fn a_note_comes_back_from_its_words_and_from_no_others() {
        let note = Note { tag: Tag::of_lane(65_535).with_site(Some(Number::in_lower_bits(7))), birth: u64::MAX };
        assert_eq!(Note::of_words(note.words()), Some(note));
        assert_eq!([0, 1, 1 << 62, (1 << 63) - 1].map(|word| Note::of_words([word, 5])), [None; 4]);
    }
}
