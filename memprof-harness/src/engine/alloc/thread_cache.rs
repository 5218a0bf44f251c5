//! A lane's own free slots, which its thread takes and gives back without a lock.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::mark_free;
use crate::engine::alloc::slots::{self, batch_of, bytes_of, next_of, set_next, size_class, CLASSES};
use std::alloc::Layout;
use std::cell::Cell;
use std::ptr;

/// By class. Zeros are a lane that has none yet.
pub(crate) struct ThreadCache {
    by_class: [Free; CLASSES],
    /// Bytes of the batches that came and went since the lane last gave back what it has: it has no more.
    moved: Cell<usize>,
}

/// A lane whose thread ends keeps what it has if no more than so many bytes of batches have come and gone: most likely another thread takes
/// the lane soon, and does the same.
const KEPT_WITHOUT_THREAD: usize = 256 << 10;

/// Those of one class, linked through the first words of their blocks.
#[repr(align(32))]
struct Free {
    first: Cell<*mut u8>,
    /// A whole batch besides, so that alternating frees and allocations do not reach the central list every time.
    spare: Cell<*mut u8>,
    count: Cell<u32>,
    /// So many are a batch; 0 = not known yet.
    batch: Cell<u32>,
}

impl ThreadCache {
    /// A block of `size` bytes, for which [`slots::are_for`]; `None` where there is no room for it. Its word is the caller's to set.
    #[inline(always)]
    pub(crate) fn take(&self, size: usize) -> Option<*mut u8> {
        let class = size_class(size);
        let free = self.by_class.get(class)?;
        let block = free.first.get();
        if block.is_null() {
            return self.refill(class);
        }
        free.pop(block, free.count.get());
        Some(block)
    }

    /// Takes a block of `size` bytes back.
    ///
    /// # Safety
    /// It is a slot of that class, and nobody uses it any more.
    #[inline(always)]
    pub(crate) unsafe fn put(&self, block: *mut u8, size: usize) {
        let class = size_class(size);
        let Some(free) = self.by_class.get(class) else { return };
        // SAFETY: by contract.
        unsafe { mark_free(block) };
        // SAFETY: by contract.
        unsafe { set_next(block, free.first.get()) };
        free.first.set(block);
        let count = free.count.get() + 1;
        free.count.set(count);
        if count > free.batch.get() {
            self.overflow(class);
        }
    }

    #[cold]
    #[inline(never)]
    fn refill(&self, class: usize) -> Option<*mut u8> {
        let free = self.by_class.get(class)?;
        let spare = free.spare.replace(ptr::null_mut());
        let (block, count) = if spare.is_null() {
            if slots::have_grown() {
                self.give_back();
                slots::release_unused();
            }
            // Many lanes never want more of a class than the first few.
            let at_most = if free.batch.get() == 0 { first_of(class) } else { batch_of(class) };
            match slots::take_batch(class, at_most) {
                Some(batch) => batch,
                None => self.take_after_all(class)?,
            }
        } else {
            (spare, batch_of(class))
        };
        free.batch.set(batch_of(class));
        free.pop(block, count);
        self.add_moved(class, count);
        Some(block)
    }

    /// A batch, where there was none. The lane's own slots are among those that others may have instead.
    #[cold]
    fn take_after_all(&self, class: usize) -> Option<(*mut u8, u32)> {
        if slots::makes_room_again(|| self.give_back()) {
            slots::take_batch(class, batch_of(class))
        } else {
            None
        }
    }

    fn add_moved(&self, class: usize, count: u32) {
        self.moved.set(self.moved.get() + count as usize * bytes_of(class));
    }

    /// The lane's thread has ended.
    pub(crate) fn end(&self) {
        if self.moved.get() > KEPT_WITHOUT_THREAD {
            self.give_back();
        }
    }

    /// Gives all that the lane has to the central lists.
    #[cold]
    fn give_back(&self) {
        self.moved.set(0);
        for (class, free) in self.by_class.iter().enumerate() {
            let (first, count) = (free.first.replace(ptr::null_mut()), free.count.replace(0));
            for (batch, count) in [(free.spare.replace(ptr::null_mut()), batch_of(class)), (first, count)] {
                if !batch.is_null() {
                    // SAFETY: this lane's until now.
                    unsafe { slots::put_batch(class, batch, count) };
                }
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn overflow(&self, class: usize) {
        let Some(free) = self.by_class.get(class) else { return };
        if free.count.get() <= batch_of(class) {
            return free.batch.set(batch_of(class));
        }
        // All but the last one. What is allocated next then leads neither here nor to `refill`.
        let last = free.first.get();
        // SAFETY: it is free, and this lane's.
        let batch = unsafe { next_of(last) };
        // SAFETY: as above.
        unsafe { set_next(last, ptr::null_mut()) };
        free.count.set(1);
        self.add_moved(class, batch_of(class));
        let spare = free.spare.replace(batch);
        if !spare.is_null() {
            // SAFETY: this lane's until now.
            unsafe { slots::put_batch(class, spare, batch_of(class)) };
        }
    }
}

/// Slots of a class that are made for a lane at first: 1 KiB of them.
const fn first_of(class: usize) -> u32 {
    (1 << 10) / bytes_of(if class == 0 { 1 } else { class }) as u32 + 1
}

impl Free {
    /// Goes on with what comes behind `block`, the first of `count`.
    #[inline(always)]
    fn pop(&self, block: *mut u8, count: u32) {
        // SAFETY: it is free, and this lane's.
        self.first.set(unsafe { next_of(block) });
        self.count.set(count.wrapping_sub(1));
    }
}

/// Gives a slot's block room for `size` bytes, and what it holds goes with it: where it is, in another slot, or in what
/// `elsewhere` gives. Null where there is none; the block is then as it was. `cache` is what the calling thread may take a slot
/// from, where the block may be one.
///
/// # Safety
/// `block` is a slot of this process or of one it was forked from, in use, and `layout` its layout, see [`slots::layout_of`]. What `elsewhere` gives has room.
#[inline(always)]
pub(crate) unsafe fn resize(
    cache: Option<&ThreadCache>,
    block: *mut u8,
    layout: Layout,
    size: usize,
    elsewhere: impl FnOnce() -> *mut u8,
) -> *mut u8 {
    let own = slots::have(block);
    let mut moved = None;
    if let Some(cache) = cache {
        if own && size_class(size) == size_class(layout.size()) {
            return block;
        }
        moved = cache.take(size);
    }
    let moved = moved.unwrap_or_else(elsewhere);
    if moved.is_null() {
        return moved;
    }
    // All that the slot has: its program may know better than `layout` how much of it is in use.
    // SAFETY: both have room for as many, and are not the same.
    unsafe { ptr::copy_nonoverlapping(block, moved, slots::sizes_of(block).1.min(size)) };
    match cache {
        // Whoever inherits a slot leaves it: a block there could not be told from an inherited one.
        _ if !own => {}
        // SAFETY: nobody uses it any more.
        Some(cache) => unsafe { cache.put(block, layout.size()) },
        // SAFETY: as above.
        None => unsafe { slots::put_back(block, layout.size()) },
    }
    moved
}

#[cfg(test)]
mod tests;
