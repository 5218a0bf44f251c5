//! Spans: pieces of 64 KiB of the slots' memory. All slots of a span are of one size class; a span whose slots are all free
//! serves another class, or its memory goes back to the system.
//!
//! A span is carved from its start, slot by slot, as they are wanted. Of each class at any moment
//!
//! ```text
//! free + cached + central + live = carved
//! ```
//!
//! where free slots are on their span's own list or away, cached ones are a lane's, central ones are in a batch of the class's
//! central list. Only the first are this file's business: with `free = carved` a span is empty. `open_spans` has the spans of one class,
//! `span_pool` those of none.
//!
//! One live slot keeps a span from becoming empty. So where memory grows, pages of spans that nobody uses go back to the system
//! ([`Span::release_pages`]). The slots of such a page are *away*: free, on no list, and on it again when the page is wanted. Where address
//! space is limited it goes back with them: such pages are *absent* until they are wanted, and may then not be had.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::{mark_free, SlotState, SlotTag};
use crate::engine::alloc::slots::{is_space_scarce, next_of, set_next, ALIGN, ROOM};
use crate::engine::alloc::span_pages::{self, PageSet};
use crate::engine::store::calls;
use crate::engine::store::errno::Errno;
use crate::os::memory;
use crate::provenance::Address;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU16, AtomicUsize};

/// Bytes of a span, and what it is aligned to.
pub(crate) const SPAN: usize = 64 << 10;
/// How many there can be.
const MOST: usize = ROOM / SPAN;
/// Bytes that are made slots of at a time, unless a single slot has more.
const CARVED_AT_ONCE: usize = 4096;

/// Gaps in the slots' memory, and how many there may be: each may be a mapping more, and the kernel lets a process have 65,530.
static HOLES: AtomicUsize = AtomicUsize::new(0);
const MOST_HOLES: usize = 16 << 10;

/// A span by its place in the slots' memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanId(u16);

/// What is known of a span. Changed under the lock of its class, or of the pool where it has none.
pub(super) struct Span {
    /// 0 = it is in the pool, or was never used.
    pub(super) class: AtomicU16,
    /// Slots that were made, from the start.
    pub(super) carved: AtomicU16,
    /// Slots on the list, and those that are away.
    pub(super) free: AtomicU16,
    /// `free` when pages were last looked for, or less: more since then may have made pages free.
    pub(super) looked_at: AtomicU16,
    /// Pages that went back to the system.
    gone: AtomicU16,
    /// Pages whose address space went back, too. A span in the pool may have some.
    absent: AtomicU16,
    /// Where the first block of the list is, in units of [`ALIGN`] from the span's start; 0 = the list is empty.
    pub(super) first: AtomicU16,
    pub(super) next: Link,
    pub(super) previous: Link,
}

static TABLE: [Span; MOST] = [const { Span::new() }; MOST];

/// A span or none: its place plus 1, or 0.
pub(super) struct Link(AtomicU16);

impl Link {
    pub(super) const fn none() -> Link {
        Link(AtomicU16::new(0))
    }

    pub(super) fn get(&self) -> Option<SpanId> {
        self.0.load(Relaxed).checked_sub(1).map(SpanId)
    }

    pub(super) fn set(&self, span: Option<SpanId>) {
        self.0.store(span.map_or(0, |span| span.0 + 1), Relaxed);
    }
}

impl SpanId {
    pub(super) fn at(place: usize) -> Option<SpanId> {
        (place < MOST).then_some(SpanId(place as u16))
    }

    /// Which one a slot's block lies in.
    #[inline(always)]
    pub(super) fn of(block: *mut u8, start: *mut u8) -> Option<SpanId> {
        SpanId::at(block.address().wrapping_sub(start.address()) / SPAN)
    }

    pub(super) fn start(self, start: *mut u8) -> *mut u8 {
        start.wrapping_add(usize::from(self.0) * SPAN)
    }

    pub(super) fn span(self) -> &'static Span {
        // Ids are made by `at` alone.
        &TABLE[usize::from(self.0) % MOST]
    }
}

/// How many slots of `bytes` bytes a span has. A block lies behind its tag, and so reaches 8 bytes into what comes behind the slot.
pub(super) const fn slots_in_span(bytes: usize) -> usize {
    (SPAN - ALIGN / 2) / bytes
}

impl Span {
    const fn new() -> Span {
        Span {
            class: AtomicU16::new(0),
            carved: AtomicU16::new(0),
            free: AtomicU16::new(0),
            looked_at: AtomicU16::new(0),
            gone: AtomicU16::new(0),
            absent: AtomicU16::new(0),
            first: AtomicU16::new(0),
            next: Link::none(),
            previous: Link::none(),
        }
    }

    pub(super) fn begin(&self, class: usize) {
        self.class.store(class as u16, Relaxed);
        self.carved.store(0, Relaxed);
        self.free.store(0, Relaxed);
        self.looked_at.store(0, Relaxed);
        self.gone.store(0, Relaxed);
        self.first.store(0, Relaxed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.load(Relaxed) == self.carved.load(Relaxed)
    }

    pub(super) fn standing(&self, bytes: usize) -> Standing {
        if self.first.load(Relaxed) != 0 || usize::from(self.carved.load(Relaxed)) < slots_in_span(bytes) {
            Standing::Open
        } else if self.gone.load(Relaxed) != 0 {
            Standing::Hollow
        } else {
            Standing::Full
        }
    }

    pub(super) fn gone(&self) -> PageSet {
        PageSet(self.gone.load(Relaxed))
    }

    /// Whether a slot, of which this is the number, is in a page that is gone.
    pub(super) fn is_away(&self, slot: usize, bytes: usize) -> bool {
        self.gone().meets_slot(ALIGN + slot * bytes, bytes)
    }

    pub(super) fn absent(&self) -> PageSet {
        PageSet(self.absent.load(Relaxed))
    }

    fn set_absent(&self, now: PageSet) {
        let holes = |pages: PageSet| pages.runs().count();
        HOLES.fetch_add(holes(now).wrapping_sub(holes(self.absent())), Relaxed);
        self.absent.store(now.0, Relaxed);
    }

    /// The blocks on the list, `start` being the span's.
    ///
    /// # Safety
    /// Under the lock of its class, which is held until the last is had.
    unsafe fn listed(&self, start: *mut u8) -> impl Iterator<Item = *mut u8> {
        let first = match self.first.load(Relaxed) {
            0 => ptr::null_mut(),
            first => start.wrapping_add(usize::from(first) * ALIGN),
        };
        std::iter::successors(Some(first).filter(|block| !block.is_null()), |block| {
            // SAFETY: a free slot of this span, whose list only the class's lock gives access to.
            Some(unsafe { next_of(*block) }).filter(|block| !block.is_null())
        })
    }

    /// Puts a free slot on the list.
    ///
    /// # Safety
    /// It is one of this span's, on no list, and the caller's; under the lock of its class. `start` is the span's.
    pub(super) unsafe fn enlist(&self, block: *mut u8, start: *mut u8) {
        let behind = match self.first.load(Relaxed) {
            0 => ptr::null_mut(),
            first => start.wrapping_add(usize::from(first) * ALIGN),
        };
        // SAFETY: by contract.
        unsafe { set_next(block, behind) };
        self.first.store((block.address().wrapping_sub(start.address()) / ALIGN) as u16, Relaxed);
    }

    /// Whether so many slots became free since pages were last looked for that it is worth while again.
    pub(super) fn is_worth_a_look(&self, bytes: usize, need: Need) -> bool {
        /// Of the slots, so many must have become free: then each that does is looked at only so many times.
        const SHARE: usize = 8;
        let since = self.free.load(Relaxed).saturating_sub(self.looked_at.load(Relaxed));
        let share = match need {
            Need::Thrift => usize::from(self.carved.load(Relaxed)) / SHARE,
            Need::Room => 1,
        };
        usize::from(since) >= (span_pages::PAGE / bytes).max(share)
    }

    /// Gives pages back to the system of which nobody uses a byte.
    ///
    /// # Safety
    /// Under the lock of its class, whose slots have `bytes` bytes. `start` is the span's.
    pub(super) unsafe fn release_pages(&self, bytes: usize, start: *mut u8) {
        let carved = usize::from(self.carved.load(Relaxed));
        let (before, is_whole) = (self.gone(), carved == slots_in_span(bytes));
        let offset = |block: *mut u8| block.address().wrapping_sub(start.address());
        // SAFETY: by contract.
        let free = unsafe { self.listed(start) }.map(offset);
        let gone = span_pages::unused(bytes, carved, is_whole, before, free);
        self.looked_at.store(self.free.load(Relaxed), Relaxed);
        if gone == before {
            return;
        }
        // SAFETY: by contract. Each is had before it is put on the new list.
        let mut listed = unsafe { self.listed(start) };
        let mut next = listed.next();
        self.first.store(0, Relaxed);
        while let Some(block) = next {
            next = listed.next();
            if !gone.meets_slot(offset(block), bytes) {
                // SAFETY: it was on the list until now.
                unsafe { self.enlist(block, start) };
            }
        }
        self.gone.store(gone.0, Relaxed);
        self.give_to_system(start, gone.without(before));
    }

    /// Has slots of a page that was gone on the list again. Gives whether there was one, and room for it.
    ///
    /// # Safety
    /// As for [`Span::release_pages`].
    pub(super) unsafe fn restore_page(&self, bytes: usize, start: *mut u8) -> bool {
        let Some((page, gone)) = self.gone().pop() else { return false };
        if !self.have_there(start, PageSet::of(page, 1)) {
            return false;
        }
        self.gone.store(gone.0, Relaxed);
        for slot in span_pages::slots_of(page, bytes, usize::from(self.carved.load(Relaxed))) {
            let block = start.wrapping_add(ALIGN + slot * bytes);
            if gone.meets_slot(ALIGN + slot * bytes, bytes) {
                continue;
            }
            // SAFETY: it was away: free, and nobody's.
            unsafe { mark_free(block) };
            // SAFETY: as above, and now on no list.
            unsafe { self.enlist(block, start) };
        }
        true
    }

    /// Has pages that nobody uses go back to the system; they come again as zeros. Under the lock of the span's class, or before it is in the
    /// pool. `start` is the span's, as below.
    pub(super) fn give_to_system(&self, start: *mut u8, pages: PageSet) {
        if cfg!(miri) || !calls::allows_calls() {
            return;
        }
        let errno = Errno::save();
        for (first, count) in pages.runs() {
            let (place, len) = (start.wrapping_add(first * span_pages::PAGE).cast(), count * span_pages::PAGE);
            let unmaps = is_space_scarce() && HOLES.load(Relaxed) < MOST_HOLES;
            // SAFETY: whole pages without a slot in use, which are nobody's while the slots are on no list. Nobody else maps anything there.
            if unmaps && unsafe { libc::munmap(place, len) } == 0 {
                self.set_absent(self.absent().with_all(PageSet::of(first, count)));
            } else {
                // Where it fails the memory stays.
                // SAFETY: as above.
                unsafe { memory::give_back(place, len) };
            }
        }
        errno.restore();
    }

    /// Has pages there of which not even the address space may be. `false` where there is no room for them. Under a lock, as above.
    pub(super) fn have_there(&self, start: *mut u8, pages: PageSet) -> bool {
        let missing = self.absent().both(pages);
        if missing == PageSet::NONE {
            return true;
        }
        if !calls::allows_calls() {
            return false;
        }
        let errno = Errno::save();
        let are_there = missing.runs().all(|(first, count)| {
            let place = start.wrapping_add(first * span_pages::PAGE).cast();
            // SAFETY: whole pages of a span.
            let is_there = unsafe { memory::map_at(place, count * span_pages::PAGE) };
            if is_there {
                self.set_absent(self.absent().without(PageSet::of(first, count)));
            }
            is_there
        });
        errno.restore();
        are_there
    }
}

/// What memory goes back for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It has grown, and some of it may be unused.
    Thrift,
    /// Without it the program has no more.
    Room,
}

/// What can be had from a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Slots that are on its list, or are still to be carved.
    Open,
    /// Only slots that are away.
    Hollow,
    Full,
}

/// Makes slots of memory of the span that has none yet.
pub(super) fn carve(span: &Span, start: *mut u8, bytes: usize, at_most: u32) -> (*mut u8, u32) {
    let carved = usize::from(span.carved.load(Relaxed));
    let most = (CARVED_AT_ONCE / bytes).clamp(1, at_most as usize);
    let count = most.min(slots_in_span(bytes) - carved);
    let block = |i: usize| start.wrapping_add(ALIGN + (carved + i) * bytes);
    for i in 0..count {
        let next = if i + 1 < count { block(i + 1) } else { ptr::null_mut() };
        // SAFETY: usable memory of this span that is no slot yet, and so nobody's. Another class may have used it before.
        unsafe { mark_free(block(i)) };
        // SAFETY: as above.
        unsafe { set_next(block(i), next) };
    }
    span.carved.store((carved + count) as u16, Relaxed);
    (block(0), count as u32)
}

/// Of which class a slot is. `start` is where spans begin.
#[inline(always)]
pub(crate) fn class_of(block: *mut u8, start: *mut u8) -> usize {
    SpanId::of(block, start).map_or(0, |id| usize::from(id.span().class.load(Relaxed)))
}

/// How many bytes a block may have whose slots are so long: up to the next one's tag.
pub(super) const fn room_of(bytes: usize) -> usize {
    bytes - ALIGN / 2
}

/// # Safety
/// `block` is a slot's.
pub(super) unsafe fn is_live(block: *mut u8) -> bool {
    // SAFETY: by contract.
    unsafe { SlotTag::read(block) }.state() != SlotState::Free
}

/// Slots of a class that were carved, and those that are on their spans' lists.
#[cfg(test)]
pub(crate) fn carved_and_free(class: usize) -> (usize, usize) {
    let of_class = TABLE.iter().filter(|span| usize::from(span.class.load(Relaxed)) == class);
    of_class.fold((0, 0), |(carved, free), span| {
        (carved + usize::from(span.carved.load(Relaxed)), free + usize::from(span.free.load(Relaxed)))
    })
}

/// How many spans are of a class.
#[cfg(test)]
pub(crate) fn of_class(class: usize) -> usize {
    TABLE.iter().filter(|span| usize::from(span.class.load(Relaxed)) == class).count()
}

/// Pages of spans of a class that went back to the system.
#[cfg(test)]
pub(crate) fn gone_pages(class: usize) -> usize {
    let of_class = TABLE.iter().filter(|span| usize::from(span.class.load(Relaxed)) == class);
    of_class.map(|span| span.gone().len()).sum()
}
