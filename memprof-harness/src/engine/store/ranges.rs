//! Ranges of addresses that are to be known again when memory is searched for pointers: the engine's own memory, which is not the
//! program's, and the stacks that threads have or had.
//!
//! A range is entered and taken out when memory is mapped or a thread begins, so nothing here is in the way of an event.

#![allow(unsafe_code)] // memory of its own

use crate::engine::store::lock::Lock;
use crate::provenance::Address;
use std::mem::size_of;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize};

/// Ranges on a page, so that with the link it has 4096 bytes.
const ON_A_PAGE: usize = 127;

/// A range, and two words that whoever enters it wants to keep with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: usize,
    /// The first address behind it.
    pub(crate) end: usize,
    pub(crate) kept: [usize; 2],
}

/// Ranges in no order. The first `used` places of all pages together hold one each.
pub(crate) struct Ranges {
    lock: Lock,
    first: Page,
    used: AtomicUsize,
    incomplete: AtomicBool,
}

/// Atomics, so that they can be in a static; the lock is what orders them.
struct Page {
    next: AtomicPtr<Page>,
    places: [[AtomicUsize; 4]; ON_A_PAGE],
}

const _: () = assert!(size_of::<Page>() <= 4096);

impl Ranges {
    pub(crate) const fn new() -> Ranges {
        Ranges { lock: Lock::new(), first: Page::new(), used: AtomicUsize::new(0), incomplete: AtomicBool::new(false) }
    }

    /// Enters a range that is not there.
    pub(crate) fn enter(&self, range: Range) {
        self.lock.hold(|| self.push(range));
    }

    /// Enters a range in the place of the one that begins and ends as it does, if there is one.
    pub(crate) fn enter_again(&self, range: Range) {
        self.lock.hold(|| {
            match self.places().find(|place| read(place).start == range.start && read(place).end == range.end) {
                Some(place) => write(place, range),
                None => self.push(range),
            }
        });
    }

    /// Takes out the range that begins there.
    pub(crate) fn leave(&self, start: usize) {
        self.lock.hold(|| {
            let mut last = None;
            let mut found = None;
            for place in self.places() {
                if read(place).start == start {
                    found = Some(place);
                }
                last = Some(place);
            }
            if let (Some(found), Some(last)) = (found, last) {
                write(found, read(last));
                self.used.store(self.used.load(Relaxed) - 1, Relaxed);
            }
        });
    }

    /// All ranges, and the memory in which they are noted. `false` where there was no memory to note one.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Range)) -> bool {
        self.lock.hold(|| {
            self.places().for_each(|place| visit(read(place)));
            for page in self.pages().skip(1) {
                let start = ptr::from_ref(page).address();
                visit(Range { start, end: start + size_of::<Page>(), kept: [0; 2] });
            }
        });
        !self.incomplete.load(Relaxed)
    }

    /// In a forked child, whose only thread this is.
    pub(crate) fn force_open(&self) {
        self.lock.force_open();
    }

    fn push(&self, range: Range) {
        let used = self.used.load(Relaxed);
        let page = match self.pages().nth(used / ON_A_PAGE) {
            Some(page) => Some(page),
            None => self.pages().last().and_then(Page::make_next),
        };
        let Some(place) = page.and_then(|page| page.places.get(used % ON_A_PAGE)) else {
            self.incomplete.store(true, Relaxed);
            return;
        };
        write(place, range);
        self.used.store(used + 1, Relaxed);
    }

    fn pages(&self) -> impl Iterator<Item = &Page> {
        std::iter::successors(Some(&self.first), |page| {
            // SAFETY: null, or a page that was published whole and is never given back.
            unsafe { page.next.load(Acquire).as_ref() }
        })
    }

    fn places(&self) -> impl Iterator<Item = &[AtomicUsize; 4]> {
        self.pages().flat_map(|page| &page.places).take(self.used.load(Relaxed))
    }
}

fn read(place: &[AtomicUsize; 4]) -> Range {
    let [start, end, first, second] = place;
    Range { start: start.load(Relaxed), end: end.load(Relaxed), kept: [first.load(Relaxed), second.load(Relaxed)] }
}

fn write(place: &[AtomicUsize; 4], Range { start, end, kept: [first, second] }: Range) {
    place.iter().zip([start, end, first, second]).for_each(|(place, word)| place.store(word, Relaxed));
}

impl Page {
    const fn new() -> Page {
        Page {
            next: AtomicPtr::new(ptr::null_mut()),
            places: [const { [const { AtomicUsize::new(0) }; 4] }; ON_A_PAGE],
        }
    }

    fn make_next(&self) -> Option<&Page> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping chosen by the kernel overlaps nothing of ours.
        let memory = unsafe { libc::mmap(ptr::null_mut(), size_of::<Page>(), protection, flags, -1, 0) };
        if memory == libc::MAP_FAILED {
            return None;
        }
        self.next.store(memory.cast(), Release);
        // SAFETY: fresh, zeroed, large and aligned enough, and never given back; a page is made of atomics, for which zeros are valid.
        Some(unsafe { &*memory.cast::<Page>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn ranges_are_there_from_when_they_are_entered_until_they_leave() {
        let ranges = Ranges::new();
        let mut truth = BTreeMap::new();
        let mut random = 1u64;
        let mut next = move |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        for round in 0..if cfg!(miri) { 300 } else { 5000 } {
            let start = (next(600) + 1) * 4096;
            let range = Range { start, end: start + 4096, kept: [round, round + 1] };
            match next(3) {
                0 if !truth.contains_key(&start) => {
                    ranges.enter(range);
                    truth.insert(start, range);
                }
                1 => {
                    ranges.enter_again(range);
                    truth.insert(start, range);
                }
                _ => {
                    ranges.leave(start);
                    truth.remove(&start);
                }
            }
        }
        let mut found = BTreeMap::new();
        let pages: Vec<usize> = ranges.pages().skip(1).map(|page| ptr::from_ref(page).address()).collect();
        assert!(ranges.for_each(|range| _ = found.insert(range.start, range)));
        assert!(pages.iter().all(|page| found.remove(page).is_some_and(|range| range.end == page + size_of::<Page>())));
        assert_eq!(found, truth);
    }
}
