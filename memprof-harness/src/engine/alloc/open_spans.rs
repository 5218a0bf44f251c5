//! The spans of one class from which a slot can be had.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::slots::{bytes_of, next_of, set_next, ALIGN};
use crate::engine::alloc::span_pages;
use crate::engine::alloc::span_pool::POOL;
use crate::engine::alloc::spans::{carve, Link, Need, SpanId, Standing, SPAN};
use crate::provenance::Address;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

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

    /// Up to `at_most` free slots of the class, linked: the first, and how many they are. `None` where there is no room for more.
    pub(crate) fn take(&self, class: usize, at_most: u32, start: *mut u8) -> Option<(*mut u8, u32)> {
        let bytes = bytes_of(class);
        let id = match self.open.get() {
            Some(id) => id,
            None => self.open_another(class, start)?,
        };
        let (span, start) = (id.span(), id.start(start));
        let (mut first, mut count) = (ptr::null_mut(), 0);
        let mut free = span.first.load(Relaxed);
        while count < at_most && free != 0 {
            let block = start.wrapping_add(usize::from(free) * ALIGN);
            // SAFETY: a free slot of this span, whose list only the class's lock gives access to.
            let behind = unsafe { next_of(block) };
            free = if behind.is_null() { 0 } else { (behind.address().wrapping_sub(start.address()) / ALIGN) as u16 };
            // SAFETY: as above.
            unsafe { set_next(block, first) };
            (first, count) = (block, count + 1);
        }
        if count == 0 {
            (first, count) = carve(span, start, bytes, at_most);
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
        // SAFETY: the class's lock is held.
        let comes_back = |id: &SpanId| unsafe { id.span().restore_page(bytes_of(class), id.start(start)) };
        if let Some(id) = self.hollow.get().filter(comes_back) {
            POOL.grow(span_pages::PAGE);
            self.restand(id, Standing::Hollow, Standing::Open);
            return Some(id);
        }
        let id = POOL.take(start)?;
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
    unsafe fn release_pages(&self, class: usize, id: SpanId, start: *mut u8, need: Need) {
        let (span, bytes) = (id.span(), bytes_of(class));
        if usize::from(span.class.load(Relaxed)) == class && span.is_worth_a_look(bytes, need) {
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

/// Gives pages back to the system that lie in spans of some class, and of which nobody uses a byte; where there is need of room, all spans of
/// no class, too. `under_lock` does what it is given under the lock of a class. `start` is where spans begin. Gives whether any went back.
pub(crate) fn release_pages(start: *mut u8, need: Need, under_lock: impl Fn(usize, &dyn Fn(&OpenSpans))) -> bool {
    if !POOL.take_growth() && need == Need::Thrift {
        return false;
    }
    let can_be_released = span_pages::can_be_released();
    let mut kept = 0;
    let mut released = if need == Need::Room { POOL.release_kept(start) } else { 0 };
    for id in POOL.own_spans() {
        let span = id.span();
        let class = usize::from(span.class.load(Relaxed));
        if class == 0 {
            continue;
        }
        let before = span.gone();
        if can_be_released && span.is_worth_a_look(bytes_of(class), need) {
            // SAFETY: the lock of the class is held.
            under_lock(class, &|spans| unsafe { spans.release_pages(class, id, start, need) });
        }
        released += span.gone().without(before).len();
        kept += SPAN - span.gone().len() * span_pages::PAGE;
    }
    POOL.looked(kept);
    released > 0
}
