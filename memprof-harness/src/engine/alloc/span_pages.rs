//! Which pages of a span nobody uses a byte of: pure, and in offsets from the span's start.
//!
//! The tag of the first slot lies at `ALIGN / 2`, and the slots follow one another. A slot has no more bytes than a page, so it lies
//! in one page or in two that are neighbours.

use crate::engine::alloc::slots::ALIGN;
use crate::engine::alloc::spans::SPAN;
use crate::engine::store::calls;
use crate::os::memory;
use std::ops::Range;

/// Bytes of a page, on systems of which pages go back one by one.
pub(crate) const PAGE: usize = 4096;
const PAGES: usize = SPAN / PAGE;
/// Where the first slot begins.
const FIRST: usize = ALIGN / 2;

/// Whether single pages can go back to the system.
pub(crate) fn can_be_released() -> bool {
    calls::allows_calls() && memory::page_size() == PAGE
}

/// Pages of a span: a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageSet(pub(crate) u16);

impl PageSet {
    pub(crate) const NONE: PageSet = PageSet(0);
    pub(crate) const ALL: PageSet = PageSet(u16::MAX);

    /// `count` pages from the `first` on.
    pub(crate) fn of(first: usize, count: usize) -> PageSet {
        PageSet(PageSet::ALL.0 >> (PAGES - count.min(PAGES)) << first)
    }

    fn has(self, page: usize) -> bool {
        self.0 >> page & 1 != 0
    }

    fn with(self, page: usize) -> PageSet {
        PageSet(self.0 | 1 << page)
    }

    pub(crate) fn with_all(self, others: PageSet) -> PageSet {
        PageSet(self.0 | others.0)
    }

    pub(crate) fn both(self, others: PageSet) -> PageSet {
        PageSet(self.0 & others.0)
    }

    pub(crate) fn without(self, others: PageSet) -> PageSet {
        PageSet(self.0 & !others.0)
    }

    pub(crate) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The first page, and the others.
    pub(crate) fn pop(self) -> Option<(usize, PageSet)> {
        (self.0 != 0).then(|| (self.0.trailing_zeros() as usize, PageSet(self.0 & (self.0 - 1))))
    }

    /// Pages side by side: the first, and how many they are.
    pub(crate) fn runs(self) -> impl Iterator<Item = (usize, usize)> {
        let is_in = move |page: usize| page < PAGES && self.has(page);
        let begins = move |page: &usize| is_in(*page) && (*page == 0 || !is_in(*page - 1));
        (0..PAGES).filter(begins).map(move |first| (first, (first..PAGES).take_while(|page| is_in(*page)).count()))
    }

    /// Whether any byte of a slot is in one of the pages. Its block is at `offset`, and it has `bytes` bytes.
    #[inline(always)]
    pub(crate) fn meets_slot(self, offset: usize, bytes: usize) -> bool {
        let (first, last) = pages_of(offset, bytes);
        self.has(first) || self.has(last)
    }
}

/// The first and the last page of a slot.
#[inline(always)]
fn pages_of(offset: usize, bytes: usize) -> (usize, usize) {
    let start = offset - (ALIGN - FIRST);
    (start / PAGE % PAGES, (start + bytes - 1) / PAGE % PAGES)
}

/// The slots that have a byte in a page, `carved` being those that the span has.
pub(crate) fn slots_of(page: usize, bytes: usize, carved: usize) -> Range<usize> {
    let (start, end) = (page * PAGE, (page + 1) * PAGE);
    start.saturating_sub(FIRST) / bytes..(end - FIRST).div_ceil(bytes).min(carved)
}

/// The pages of which no byte is in use: those that are `gone`, and more. Of the span `carved` slots of `bytes` bytes were made, and no
/// more can be if it `is_whole`; `free` are the offsets of blocks on its list. Slots in pages that are gone are free, too.
pub(crate) fn unused(
    bytes: usize,
    carved: usize,
    is_whole: bool,
    gone: PageSet,
    free: impl Iterator<Item = usize>,
) -> PageSet {
    let mut free_in = [0u16; PAGES];
    for offset in free {
        let (first, last) = pages_of(offset, bytes);
        free_in[first] += 1;
        if last != first {
            free_in[last] += 1;
        }
    }
    let end = FIRST + carved * bytes;
    let mut unused = gone;
    for (page, &listed) in free_in.iter().enumerate().filter(|(page, _)| !gone.has(*page)) {
        if (page + 1) * PAGE > end && !is_whole {
            break;
        }
        let slots = slots_of(page, bytes, carved);
        // At most the first and the last of them reach into another page.
        let is_away = |slot: usize| gone.meets_slot(ALIGN + slot * bytes, bytes);
        let ends = [slots.start, slots.end.saturating_sub(1)];
        let away = ends.iter().filter(|slot| is_away(**slot)).count();
        if usize::from(listed) + away == slots.len() {
            unused = unused.with(page);
        }
    }
    unused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::alloc::slots::{bytes_of, CLASSES};

    /// As [`unused`], byte by byte. `is_free` are the slots that were carved, those that are away among them.
    fn unused_bytes(bytes: usize, is_free: &[bool], is_whole: bool) -> PageSet {
        let mut used = vec![true; SPAN];
        for (slot, is_free) in is_free.iter().enumerate() {
            used[FIRST + slot * bytes..][..bytes].fill(!is_free);
        }
        used[..FIRST].fill(false);
        if is_whole {
            used[FIRST + is_free.len() * bytes..].fill(false);
        }
        let is_unused = |page: &usize| used[page * PAGE..][..PAGE].iter().all(|used| !used);
        (0..PAGES).filter(is_unused).fold(PageSet(0), PageSet::with)
    }

    #[test]
    fn a_page_is_unused_if_no_byte_of_it_is_used() {
        let mut random = 1u64;
        let mut next = move |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        for class in (1..CLASSES).step_by(if cfg!(miri) { 13 } else { 1 }) {
            let bytes = bytes_of(class);
            let most = (SPAN - FIRST) / bytes;
            for round in 0..if cfg!(miri) { 3 } else { 30 } {
                let carved = if round % 2 == 0 { most } else { next(most + 1) };
                let mut is_free = vec![true; carved];
                for _ in 0..next(12) * usize::from(carved > 0) {
                    is_free[next(carved)] = false;
                }
                let expected = unused_bytes(bytes, &is_free, carved == most);
                // Some of them are gone already.
                let gone = PageSet(expected.0 & next(1 << 16) as u16);
                let offset = |slot: usize| ALIGN + slot * bytes;
                let listed = (0..carved).filter(|&slot| is_free[slot] && !gone.meets_slot(offset(slot), bytes));
                assert_eq!(
                    unused(bytes, carved, carved == most, gone, listed.map(offset)),
                    expected,
                    "{bytes}, {carved}"
                );
                for (page, slots) in (0..PAGES).map(|page| (page, slots_of(page, bytes, carved))) {
                    let meets = |&slot: &usize| PageSet(1 << page).meets_slot(offset(slot), bytes);
                    assert_eq!(slots.collect::<Vec<_>>(), (0..carved).filter(meets).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn runs_are_pages_side_by_side() {
        let runs = |set: u16| PageSet(set).runs().collect::<Vec<_>>();
        assert_eq!(runs(0), []);
        assert_eq!(runs(0b1100_0000_0110_1001), [(0, 1), (3, 1), (5, 2), (14, 2)]);
        assert_eq!(runs(u16::MAX), [(0, PAGES)]);
        for set in [0b1100_0000_0110_1001, 1, 1 << 15, u16::MAX] {
            let together = runs(set).into_iter().map(|(first, count)| PageSet::of(first, count));
            assert_eq!(together.fold(PageSet::NONE, PageSet::with_all), PageSet(set));
        }
    }
}
