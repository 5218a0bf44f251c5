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
//! central list. Only the first are this file's business: with `free = carved` a span is empty.
//!
//! One live slot keeps a span from becoming empty. So where memory grows, pages of spans that nobody uses go back to the system
//! ([`release_pages`]). The slots of such a page are *away*: free, on no list, and on it again when the page is wanted.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::{mark_free, SlotState, SlotTag};
use crate::engine::alloc::slots::{bytes_of, next_of, set_next, usable_span, ALIGN, ROOM};
use crate::engine::alloc::span_pages::{self, PageSet};
use crate::engine::life::seccomp;
use crate::engine::store::errno::Errno;
use crate::engine::store::lock::Lock;
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
/// Memory has grown when so many bytes came to what there was, at least; or one for so many that there were.
const LEAST_GROWTH: usize = 256 << 10;
const SHARE_OF_GROWTH: usize = 8;

/// A span by its place in the slots' memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanId(u16);

/// What is known of a span. Changed under the lock of its class, or of the pool where it has none.
struct Span {
    /// 0 = it is in the pool, or was never used.
    class: AtomicU16,
    /// Slots that were made, from the start.
    carved: AtomicU16,
    /// Slots on the list, and those that are away.
    free: AtomicU16,
    /// `free` when pages were last looked for, or less: more since then may have made pages free.
    looked_at: AtomicU16,
    /// Pages that went back to the system.
    gone: AtomicU16,
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
            looked_at: AtomicU16::new(0),
            gone: AtomicU16::new(0),
            first: AtomicU16::new(0),
            next: Link::none(),
            previous: Link::none(),
        }
    }

    fn begin(&self, class: usize) {
        self.class.store(class as u16, Relaxed);
        self.carved.store(0, Relaxed);
        self.free.store(0, Relaxed);
        self.looked_at.store(0, Relaxed);
        self.gone.store(0, Relaxed);
        self.first.store(0, Relaxed);
    }

    fn is_empty(&self) -> bool {
        self.free.load(Relaxed) == self.carved.load(Relaxed)
    }

    fn standing(&self, bytes: usize) -> Standing {
        if self.first.load(Relaxed) != 0 || usize::from(self.carved.load(Relaxed)) < slots_in_span(bytes) {
            Standing::Open
        } else if self.gone.load(Relaxed) != 0 {
            Standing::Hollow
        } else {
            Standing::Full
        }
    }

    fn gone(&self) -> PageSet {
        PageSet(self.gone.load(Relaxed))
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
    unsafe fn enlist(&self, block: *mut u8, start: *mut u8) {
        let behind = match self.first.load(Relaxed) {
            0 => ptr::null_mut(),
            first => start.wrapping_add(usize::from(first) * ALIGN),
        };
        // SAFETY: by contract.
        unsafe { set_next(block, behind) };
        self.first.store((block.address().wrapping_sub(start.address()) / ALIGN) as u16, Relaxed);
    }

    /// Whether so many slots became free since pages were last looked for that it is worth while again.
    fn is_worth_a_look(&self, bytes: usize) -> bool {
        /// Of the slots, so many must have become free: then each that does is looked at only so many times.
        const SHARE: usize = 8;
        let since = self.free.load(Relaxed).saturating_sub(self.looked_at.load(Relaxed));
        usize::from(since) >= (span_pages::PAGE / bytes).max(usize::from(self.carved.load(Relaxed)) / SHARE)
    }

    /// Gives pages back to the system of which nobody uses a byte.
    ///
    /// # Safety
    /// Under the lock of its class, whose slots have `bytes` bytes. `start` is the span's.
    unsafe fn release_pages(&self, bytes: usize, start: *mut u8) {
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
        for (first, count) in gone.without(before).runs() {
            give_to_system(start.wrapping_add(first * span_pages::PAGE), count * span_pages::PAGE);
        }
    }

    /// Has slots of a page that was gone on the list again.
    ///
    /// # Safety
    /// As for [`Span::release_pages`].
    unsafe fn restore_page(&self, bytes: usize, start: *mut u8) {
        let Some((page, gone)) = self.gone().pop() else { return };
        self.gone.store(gone.0, Relaxed);
        POOL.grown.fetch_add(span_pages::PAGE, Relaxed);
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
    }
}

/// What can be had from a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Slots that are on its list, or are still to be carved.
    Open,
    /// Only slots that are away.
    Hollow,
    Full,
}

/// The spans of one class from which a slot can be had. Called under the class's lock.
pub(crate) struct OpenSpans {
    open: Link,
    /// They come after the others: their memory has to come from the system.
    hollow: Link,
}

impl OpenSpans {
    pub(crate) const fn new() -> OpenSpans {
        OpenSpans { open: Link::none(), hollow: Link::none() }
    }

    /// In a forked child: all spans so far are the parent's.
    pub(crate) fn forget(&self) {
        self.open.set(None);
        self.hollow.set(None);
    }

    /// Up to `wanted` free slots of the class, linked: the first, and how many they are. `None` where there is no room for more.
    pub(crate) fn take(&self, class: usize, wanted: u32, start: *mut u8) -> Option<(*mut u8, u32)> {
        let bytes = bytes_of(class);
        let id = match self.open.get() {
            Some(id) => id,
            None => self.open_another(class, start)?,
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
        if count == 0 {
            (first, count) = carve(span, start, bytes, wanted);
        } else {
            span.first.store(free, Relaxed);
            let left = span.free.load(Relaxed) - count as u16;
            span.free.store(left, Relaxed);
            span.looked_at.store(span.looked_at.load(Relaxed).min(left), Relaxed);
        }
        if free == 0 {
            self.restand(id, Standing::Open, span.standing(bytes));
        }
        Some((first, count))
    }

    /// Makes a span open where none is.
    #[cold]
    fn open_another(&self, class: usize, start: *mut u8) -> Option<SpanId> {
        if let Some(id) = self.hollow.get() {
            // SAFETY: the class's lock is held.
            unsafe { id.span().restore_page(bytes_of(class), id.start(start)) };
            self.restand(id, Standing::Hollow, Standing::Open);
            return Some(id);
        }
        let id = POOL.take()?;
        id.span().begin(class);
        push_between(&self.open, id);
        Some(id)
    }

    /// Takes one free slot back.
    ///
    /// # Safety
    /// `block` is a free slot's of this class, and was the caller's.
    pub(crate) unsafe fn put(&self, class: usize, block: *mut u8, start: *mut u8) {
        let Some(id) = SpanId::of(block, start) else { return };
        let (span, start) = (id.span(), id.start(start));
        let may_be_full = span.first.load(Relaxed) == 0;
        let standing = if may_be_full { span.standing(bytes_of(class)) } else { Standing::Open };
        // SAFETY: as the caller promises.
        unsafe { span.enlist(block, start) };
        span.free.store(span.free.load(Relaxed) + 1, Relaxed);
        if span.is_empty() {
            self.restand(id, standing, Standing::Full);
            span.class.store(0, Relaxed);
            POOL.put(id, start);
        } else if may_be_full {
            self.restand(id, standing, Standing::Open);
        }
    }

    /// Has a span in the list where it belongs from now on.
    fn restand(&self, id: SpanId, before: Standing, now: Standing) {
        if before == now {
            return;
        }
        if let Some(list) = self.list(before) {
            unlink(list, id);
        }
        if let Some(list) = self.list(now) {
            push_between(list, id);
        }
    }

    fn list(&self, standing: Standing) -> Option<&Link> {
        match standing {
            Standing::Open => Some(&self.open),
            Standing::Hollow => Some(&self.hollow),
            Standing::Full => None,
        }
    }

    /// Gives pages of a span back to the system, if it is still of the class.
    ///
    /// # Safety
    /// Under the lock of the class. `start` is where spans begin.
    unsafe fn release_pages(&self, class: usize, id: SpanId, start: *mut u8) {
        let (span, bytes) = (id.span(), bytes_of(class));
        if usize::from(span.class.load(Relaxed)) == class && span.is_worth_a_look(bytes) {
            let standing = span.standing(bytes);
            // SAFETY: by contract.
            unsafe { span.release_pages(bytes, id.start(start)) };
            self.restand(id, standing, span.standing(bytes));
        }
    }
}

/// Puts a span into a list that is linked both ways.
fn push_between(list: &Link, id: SpanId) {
    let behind = list.get();
    id.span().next.set(behind);
    id.span().previous.set(None);
    if let Some(behind) = behind {
        behind.span().previous.set(Some(id));
    }
    list.set(Some(id));
}

fn unlink(list: &Link, id: SpanId) {
    let (next, previous) = (id.span().next.get(), id.span().previous.get());
    match previous {
        Some(previous) => previous.span().next.set(next),
        None => list.set(next),
    }
    if let Some(next) = next {
        next.span().previous.set(previous);
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
    /// Bytes that came from the system since unused pages were last looked for, and how many it takes until they are again.
    grown: AtomicUsize,
    due: AtomicUsize,
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
    grown: AtomicUsize::new(0),
    due: AtomicUsize::new(LEAST_GROWTH),
    made: AtomicUsize::new(0),
    own: AtomicUsize::new(0),
};

impl Pool {
    fn take(&self) -> Option<SpanId> {
        self.lock.hold(|| {
            let id = if let Some(id) = pop(&self.kept) {
                self.kept_count.store(self.kept_count.load(Relaxed) - 1, Relaxed);
                id
            } else {
                let id = match pop(&self.released) {
                    Some(id) => id,
                    None => self.make()?,
                };
                self.grown.fetch_add(SPAN, Relaxed);
                id
            };
            self.in_use.store(self.in_use.load(Relaxed) + 1, Relaxed);
            Some(id)
        })
    }

    fn make(&self) -> Option<SpanId> {
        let made = self.made.load(Relaxed);
        let id = SpanId::at(made).filter(|_| usable_span(made))?;
        self.made.store(made + 1, Relaxed);
        Some(id)
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
            give_to_system(start, SPAN);
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

/// Whether memory has grown so much since unused pages were last looked for that they are to be again.
#[inline]
pub(crate) fn has_grown() -> bool {
    POOL.grown.load(Relaxed) >= POOL.due.load(Relaxed)
}

/// Gives pages back to the system that lie in spans of some class, and of which nobody uses a byte. `under_lock` does what it is given
/// under the lock of a class. `start` is where spans begin.
pub(crate) fn release_pages(start: *mut u8, under_lock: impl Fn(usize, &dyn Fn(&OpenSpans))) {
    // Threads that are here at once do not all look.
    let grown = POOL.grown.swap(0, Relaxed);
    if grown < POOL.due.load(Relaxed) {
        POOL.grown.fetch_add(grown, Relaxed);
        return;
    }
    let can_be_released = span_pages::can_be_released();
    let mut kept = 0;
    for id in (POOL.own.load(Relaxed)..POOL.made.load(Relaxed)).filter_map(SpanId::at) {
        let span = id.span();
        let class = usize::from(span.class.load(Relaxed));
        if class == 0 {
            continue;
        }
        if can_be_released && span.is_worth_a_look(bytes_of(class)) {
            // SAFETY: the lock of the class is held.
            under_lock(class, &|spans| unsafe { spans.release_pages(class, id, start) });
        }
        kept += SPAN - span.gone().len() * span_pages::PAGE;
    }
    POOL.due.store(LEAST_GROWTH.max(kept / SHARE_OF_GROWTH), Relaxed);
}

/// Memory that nobody uses goes back to the system, and comes again, as zeros, where it is touched.
fn give_to_system(start: *mut u8, len: usize) {
    if cfg!(miri) || !seccomp::allows_calls() {
        return;
    }
    let errno = Errno::save();
    // Where it fails the memory stays.
    // SAFETY: whole pages without a slot in use, which are nobody's while the slots are on no list.
    unsafe { memory::give_back(start.cast(), len) };
    errno.restore();
}

/// In a forked child, whose only thread this is: all spans so far are the parent's. Gives how many they are.
pub(crate) fn forget_all() -> usize {
    POOL.lock.force_open();
    for list in [&POOL.kept, &POOL.released] {
        list.set(None);
    }
    for count in [&POOL.kept_count, &POOL.in_use, &POOL.grown] {
        count.store(0, Relaxed);
    }
    POOL.due.store(LEAST_GROWTH, Relaxed);
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

/// Spans that are of a class.
#[cfg(test)]
pub(crate) fn in_use() -> usize {
    POOL.in_use.load(Relaxed)
}
