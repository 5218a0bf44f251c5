//! Spans of no class: those whose memory is there, those whose memory went back to the system, and how many were ever used. And by how
//! much memory has grown since unused pages were last looked for.

#![allow(unsafe_code)] // it looks at slots

use crate::engine::alloc::slots::{bytes_of, usable_span, ALIGN};
use crate::engine::alloc::span_pages::PageSet;
use crate::engine::alloc::spans::{is_live, room_of, Link, SpanId, SPAN};
use crate::engine::store::lock::Lock;
use crate::provenance::Address;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of empty spans that are kept as they are, at least: a program that fills and empties them by turns asks nobody.
const KEPT: usize = 16 << 20;
/// Beyond it, one byte is kept for so many in use.
const IN_USE_FOR_EACH_KEPT: usize = 4;
/// Memory has grown when so many bytes came to what there was, at least; or one for so many that there were.
const LEAST_GROWTH: usize = 256 << 10;
const SHARE_OF_GROWTH: usize = 8;

/// Spans of no class. The lock is taken under a class's, never the other way round.
pub(super) struct Pool {
    lock: Lock,
    /// Those whose memory is there, all of it, and those whose memory went back to the system.
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

pub(super) static POOL: Pool = Pool {
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
    /// `start` is where spans begin, as below.
    pub(super) fn take(&self, start: *mut u8) -> Option<SpanId> {
        self.lock.hold(|| {
            let id = if let Some(id) = self.pop_kept() {
                id
            } else {
                let id = match pop(&self.released) {
                    Some(id) if id.span().have_there(id.start(start), PageSet::ALL) => id,
                    Some(id) => {
                        push(&self.released, id);
                        return None;
                    }
                    None => self.make()?,
                };
                self.grow(SPAN);
                id
            };
            self.in_use.store(self.in_use.load(Relaxed) + 1, Relaxed);
            Some(id)
        })
    }

    fn pop_kept(&self) -> Option<SpanId> {
        let id = pop(&self.kept)?;
        self.kept_count.store(self.kept_count.load(Relaxed) - 1, Relaxed);
        Some(id)
    }

    fn make(&self) -> Option<SpanId> {
        let made = self.made.load(Relaxed);
        let id = SpanId::at(made).filter(|_| usable_span(made))?;
        self.made.store(made + 1, Relaxed);
        Some(id)
    }

    /// `start` is the span's own.
    pub(super) fn put(&self, id: SpanId, start: *mut u8) {
        let keep = self.lock.hold(|| {
            let in_use = self.in_use.load(Relaxed) - 1;
            self.in_use.store(in_use, Relaxed);
            let most = (KEPT / SPAN).max(in_use / IN_USE_FOR_EACH_KEPT);
            let keep = self.kept_count.load(Relaxed) < most && id.span().absent() == PageSet::NONE;
            if keep {
                self.kept_count.store(self.kept_count.load(Relaxed) + 1, Relaxed);
                push(&self.kept, id);
            }
            keep
        });
        if !keep {
            self.release(id, start);
        }
    }

    /// A span's memory goes back to the system. It is in no list; `start` is its own.
    fn release(&self, id: SpanId, start: *mut u8) {
        id.span().give_to_system(start, PageSet::ALL);
        self.lock.hold(|| push(&self.released, id));
    }

    /// So does that of all that were kept. Gives how many they were.
    pub(super) fn release_kept(&self, start: *mut u8) -> usize {
        std::iter::from_fn(|| self.lock.hold(|| self.pop_kept())).map(|id| self.release(id, id.start(start))).count()
    }

    /// Counts bytes that came from the system.
    pub(super) fn grow(&self, bytes: usize) {
        self.grown.fetch_add(bytes, Relaxed);
    }

    /// Whether memory has grown so much since unused pages were last looked for that they are to be again. True once for each time, so that
    /// threads that ask at once do not all look.
    pub(super) fn take_growth(&self) -> bool {
        let grown = self.grown.swap(0, Relaxed);
        let is_due = grown >= self.due.load(Relaxed);
        if !is_due {
            self.grow(grown);
        }
        is_due
    }

    /// Unused pages were looked for, and `kept` bytes are left.
    pub(super) fn looked(&self, kept: usize) {
        self.due.store(LEAST_GROWTH.max(kept / SHARE_OF_GROWTH), Relaxed);
    }

    /// The spans that were ever used by this process.
    pub(super) fn own_spans(&self) -> impl Iterator<Item = SpanId> {
        (self.own.load(Relaxed)..self.made.load(Relaxed)).filter_map(SpanId::at)
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

/// Bytes of spans that were ever used, from the start.
pub(crate) fn used_bytes() -> usize {
    POOL.made.load(Relaxed) * SPAN
}

/// See [`crate::engine::alloc::slots::for_each_live`]. `start` is where spans begin.
pub(crate) fn for_each_live(start: *mut u8, mut visit: impl FnMut(*mut u8, usize)) {
    for id in POOL.own_spans() {
        let class = usize::from(id.span().class.load(Relaxed));
        if class == 0 {
            continue;
        }
        let bytes = bytes_of(class);
        for i in 0..usize::from(id.span().carved.load(Relaxed)) {
            let block = id.start(start).wrapping_add(ALIGN + i * bytes);
            // SAFETY: a slot that was carved, and is not away, has a tag.
            if !id.span().is_away(i, bytes) && unsafe { is_live(block) } {
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
    let is_slot = i < usize::from(id.span().carved.load(Relaxed)) && !id.span().is_away(i, bytes);
    if !is_slot || behind_first % bytes >= room_of(bytes) {
        return None;
    }
    let block = id.start(start).wrapping_add(ALIGN + i * bytes);
    // SAFETY: a slot that was carved, and is not away, has a tag.
    unsafe { is_live(block) }.then(|| (block, room_of(bytes)))
}

/// Spans that are of a class.
#[cfg(test)]
pub(crate) fn in_use() -> usize {
    POOL.in_use.load(Relaxed)
}
