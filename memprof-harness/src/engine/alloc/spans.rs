//! Spans: pieces of 64 KiB of the slots' memory. All slots of a span are of one size class; a span whose slots are all free
//! serves another class, or its memory goes back to the system.
//!
//! A span is carved from its start, slot by slot, as they are wanted. Of each class at any moment
//!
//! ```text
//! free + cached + central + live = carved
//! ```
//!
//! where free slots are on their span's own list, cached ones are a lane's, central ones are in a batch of the class's central
//! list. Only the first are this file's business: with `free = carved` a span is empty.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::{mark_free, SlotState, SlotTag};
use crate::engine::alloc::slots::{bytes_of, next_of, set_next, usable_span, ALIGN, ROOM};
use crate::engine::life::seccomp;
use crate::engine::store::ledger_map::{Errno, Lock};
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
/// Bytes of empty spans that are kept as they are, at least: a program that fills and empties them by turns asks nobody.
const KEPT: usize = 16 << 20;
/// Beyond it, one byte is kept for so many in use.
const IN_USE_FOR_EACH_KEPT: usize = 4;

/// A span by its place in the slots' memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanId(u16);

/// What is known of a span. Changed under the lock of its class, or of the pool where it has none.
struct Span {
    /// 0 = it is in the pool, or was never used.
    class: AtomicU16,
    /// Slots that were made, from the start.
    carved: AtomicU16,
    /// Slots on the list.
    free: AtomicU16,
    /// Where the first block of the list is, in units of [`ALIGN`] from the span's start; 0 = the list is empty.
    first: AtomicU16,
    next: Link,
    previous: Link,
}

static TABLE: [Span; MOST] = [const { Span::new() }; MOST];

/// A span or none: its place plus 1, or 0.
struct Link(AtomicU16);

impl Link {
    const fn none() -> Link {
        Link(AtomicU16::new(0))
    }

    fn get(&self) -> Option<SpanId> {
        self.0.load(Relaxed).checked_sub(1).map(SpanId)
    }

    fn set(&self, span: Option<SpanId>) {
        self.0.store(span.map_or(0, |span| span.0 + 1), Relaxed);
    }
}

impl SpanId {
    fn at(place: usize) -> Option<SpanId> {
        (place < MOST).then_some(SpanId(place as u16))
    }

    /// Which one a slot's block lies in.
    #[inline(always)]
    fn of(block: *mut u8, start: *mut u8) -> Option<SpanId> {
        SpanId::at(block.address().wrapping_sub(start.address()) / SPAN)
    }

    fn start(self, start: *mut u8) -> *mut u8 {
        start.wrapping_add(usize::from(self.0) * SPAN)
    }

    fn span(self) -> &'static Span {
        // Ids are made by `at` alone.
        &TABLE[usize::from(self.0) % MOST]
    }
}

/// How many slots of `bytes` bytes a span has. A block lies behind its tag, and so reaches 8 bytes into what comes behind the slot.
const fn slots_in_span(bytes: usize) -> usize {
    (SPAN - ALIGN / 2) / bytes
}

impl Span {
    const fn new() -> Span {
        Span {
            class: AtomicU16::new(0),
            carved: AtomicU16::new(0),
            free: AtomicU16::new(0),
            first: AtomicU16::new(0),
            next: Link::none(),
            previous: Link::none(),
        }
    }

    fn begin(&self, class: usize) {
        self.class.store(class as u16, Relaxed);
        self.carved.store(0, Relaxed);
        self.free.store(0, Relaxed);
        self.first.store(0, Relaxed);
    }

    fn is_empty(&self) -> bool {
        self.free.load(Relaxed) == self.carved.load(Relaxed)
    }

    /// Whether a slot can be had from it.
    fn has_room(&self, bytes: usize) -> bool {
        self.free.load(Relaxed) > 0 || usize::from(self.carved.load(Relaxed)) < slots_in_span(bytes)
    }
}

/// The spans of one class from which a slot can be had. Called under the class's lock.
pub(crate) struct OpenSpans {
    first: Link,
}

impl OpenSpans {
    pub(crate) const fn new() -> OpenSpans {
        OpenSpans { first: Link::none() }
    }

    /// In a forked child: all spans so far are the parent's.
    pub(crate) fn forget(&self) {
        self.first.set(None);
    }

    /// Up to `wanted` free slots of the class, linked: the first, and how many they are. `None` where there is no room for more.
    pub(crate) fn take(&self, class: usize, wanted: u32, start: *mut u8) -> Option<(*mut u8, u32)> {
        let bytes = bytes_of(class);
        let id = match self.first.get() {
            Some(id) => id,
            None => {
                let id = POOL.take()?;
                id.span().begin(class);
                self.push(id);
                id
            }
        };
        let (span, start) = (id.span(), id.start(start));
        let (mut first, mut count) = (ptr::null_mut(), 0);
        let mut free = span.first.load(Relaxed);
        while count < wanted && free != 0 {
            let block = start.wrapping_add(usize::from(free) * ALIGN);
            // SAFETY: a free slot of this span, whose list only the class's lock gives access to.
            let behind = unsafe { next_of(block) };
            free = if behind.is_null() { 0 } else { (behind.address().wrapping_sub(start.address()) / ALIGN) as u16 };
            // SAFETY: as above.
            unsafe { set_next(block, first) };
            (first, count) = (block, count + 1);
        }
        span.first.store(free, Relaxed);
        span.free.store(span.free.load(Relaxed) - count as u16, Relaxed);
        if count == 0 {
            (first, count) = carve(span, start, bytes, wanted);
        }
        if !span.has_room(bytes) {
            self.unlink(id);
        }
        Some((first, count))
    }

    /// Takes one free slot back.
    ///
    /// # Safety
    /// `block` is a free slot's of this class, and was the caller's.
    pub(crate) unsafe fn put(&self, class: usize, block: *mut u8, start: *mut u8) {
        let Some(id) = SpanId::of(block, start) else { return };
        let (span, start) = (id.span(), id.start(start));
        let had_room = span.has_room(bytes_of(class));
        let behind = match span.first.load(Relaxed) {
            0 => ptr::null_mut(),
            first => start.wrapping_add(usize::from(first) * ALIGN),
        };
        // SAFETY: as the caller promises.
        unsafe { set_next(block, behind) };
        span.first.store((block.address().wrapping_sub(start.address()) / ALIGN) as u16, Relaxed);
        span.free.store(span.free.load(Relaxed) + 1, Relaxed);
        if span.is_empty() {
            if had_room {
                self.unlink(id);
            }
            span.class.store(0, Relaxed);
            POOL.put(id, start);
        } else if !had_room {
            self.push(id);
        }
    }

    fn push(&self, id: SpanId) {
        let behind = self.first.get();
        id.span().next.set(behind);
        id.span().previous.set(None);
        if let Some(behind) = behind {
            behind.span().previous.set(Some(id));
        }
        self.first.set(Some(id));
    }

    fn unlink(&self, id: SpanId) {
        let (next, previous) = (id.span().next.get(), id.span().previous.get());
        match previous {
            Some(previous) => previous.span().next.set(next),
            None => self.first.set(next),
        }
        if let Some(next) = next {
            next.span().previous.set(previous);
        }
    }
}

/// Makes slots of memory of the span that has none yet.
fn carve(span: &Span, start: *mut u8, bytes: usize, wanted: u32) -> (*mut u8, u32) {
    let carved = usize::from(span.carved.load(Relaxed));
    let most = (CARVED_AT_ONCE / bytes).clamp(1, wanted as usize);
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

/// Spans of no class. The lock is taken under a class's, never the other way round.
struct Pool {
    lock: Lock,
    /// Those whose memory is there, and those whose memory went back to the system.
    kept: Link,
    released: Link,
    kept_count: AtomicUsize,
    in_use: AtomicUsize,
    /// Spans that were ever used, from the start; and the first that is this process's and not one's that it was forked from.
    made: AtomicUsize,
    own: AtomicUsize,
}

static POOL: Pool = Pool {
    lock: Lock::new(),
    kept: Link::none(),
    released: Link::none(),
    kept_count: AtomicUsize::new(0),
    in_use: AtomicUsize::new(0),
    made: AtomicUsize::new(0),
    own: AtomicUsize::new(0),
};

impl Pool {
    fn take(&self) -> Option<SpanId> {
        self.lock.hold(|| {
            let id = if let Some(id) = pop(&self.kept) {
                self.kept_count.store(self.kept_count.load(Relaxed) - 1, Relaxed);
                id
            } else if let Some(id) = pop(&self.released) {
                id
            } else {
                let made = self.made.load(Relaxed);
                let id = SpanId::at(made).filter(|_| usable_span(made))?;
                self.made.store(made + 1, Relaxed);
                id
            };
            self.in_use.store(self.in_use.load(Relaxed) + 1, Relaxed);
            Some(id)
        })
    }

    fn put(&self, id: SpanId, start: *mut u8) {
        let keep = self.lock.hold(|| {
            let in_use = self.in_use.load(Relaxed) - 1;
            self.in_use.store(in_use, Relaxed);
            let keep = self.kept_count.load(Relaxed) < (KEPT / SPAN).max(in_use / IN_USE_FOR_EACH_KEPT);
            if keep {
                self.kept_count.store(self.kept_count.load(Relaxed) + 1, Relaxed);
                push(&self.kept, id);
            }
            keep
        });
        if !keep {
            give_to_system(start);
            self.lock.hold(|| push(&self.released, id));
        }
    }
}

fn push(list: &Link, id: SpanId) {
    id.span().next.set(list.get());
    list.set(Some(id));
}

fn pop(list: &Link) -> Option<SpanId> {
    let id = list.get()?;
    list.set(id.span().next.get());
    Some(id)
}

/// The memory of a span goes back to the system, and comes again, as zeros, where it is touched.
fn give_to_system(start: *mut u8) {
    if cfg!(miri) || !seccomp::allows_calls() {
        return;
    }
    let errno = Errno::save();
    // Where it fails the memory stays.
    // SAFETY: a span without a slot in use, which is nobody's while it is on no list.
    unsafe { memory::give_back(start.cast(), SPAN) };
    errno.restore();
}

/// In a forked child, whose only thread this is: all spans so far are the parent's. Gives how many they are.
pub(crate) fn forget_all() -> usize {
    POOL.lock.force_open();
    for list in [&POOL.kept, &POOL.released] {
        list.set(None);
    }
    for count in [&POOL.kept_count, &POOL.in_use] {
        count.store(0, Relaxed);
    }
    let made = POOL.made.load(Relaxed);
    POOL.own.store(made, Relaxed);
    made
}

/// Of which class a slot is. `start` is where spans begin.
#[inline(always)]
pub(crate) fn class_of(block: *mut u8, start: *mut u8) -> usize {
    SpanId::of(block, start).map_or(0, |id| usize::from(id.span().class.load(Relaxed)))
}

/// Bytes of spans that were ever used, from the start.
pub(crate) fn used_bytes() -> usize {
    POOL.made.load(Relaxed) * SPAN
}

/// See [`crate::engine::alloc::slots::for_each_live`]. `start` is where spans begin.
pub(crate) fn for_each_live(start: *mut u8, mut visit: impl FnMut(*mut u8, usize)) {
    for id in (POOL.own.load(Relaxed)..POOL.made.load(Relaxed)).filter_map(SpanId::at) {
        let class = usize::from(id.span().class.load(Relaxed));
        if class == 0 {
            continue;
        }
        let bytes = bytes_of(class);
        for i in 0..usize::from(id.span().carved.load(Relaxed)) {
            let block = id.start(start).wrapping_add(ALIGN + i * bytes);
            // SAFETY: a slot that was carved has a tag.
            if unsafe { is_live(block) } {
                visit(block, room_of(bytes));
            }
        }
    }
}

/// See [`crate::engine::alloc::slots::holding`].
pub(crate) fn holding(start: *mut u8, address: usize) -> Option<(*mut u8, usize)> {
    let offset = address.checked_sub(start.address()).filter(|offset| *offset < used_bytes())?;
    let id = SpanId::at(offset / SPAN)?;
    let bytes = bytes_of(usize::from(id.span().class.load(Relaxed)));
    let behind_first = (offset % SPAN).checked_sub(ALIGN)?;
    let i = behind_first.checked_div(bytes)?;
    if i >= usize::from(id.span().carved.load(Relaxed)) || behind_first % bytes >= room_of(bytes) {
        return None;
    }
    let block = id.start(start).wrapping_add(ALIGN + i * bytes);
    // SAFETY: a slot that was carved has a tag.
    unsafe { is_live(block) }.then(|| (block, room_of(bytes)))
}

/// How many bytes a block may have whose slots are so long: up to the next one's tag.
const fn room_of(bytes: usize) -> usize {
    bytes - ALIGN / 2
}

/// # Safety
/// `block` is a slot's.
unsafe fn is_live(block: *mut u8) -> bool {
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

/// Spans that are of a class.
#[cfg(test)]
pub(crate) fn in_use() -> usize {
    POOL.in_use.load(Relaxed)
}
