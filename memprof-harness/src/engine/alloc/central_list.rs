//! The central list of a size class: batches of free slots that go from lane to lane, under a lock.

#![allow(unsafe_code)] // an allocator

use crate::engine::alloc::block_tag::{mark_free, BatchTag};
use crate::engine::alloc::open_spans::OpenSpans;
use crate::engine::alloc::slots::{batch_of, bytes_of, next_of, START};
use crate::engine::alloc::spans::SPAN;
use crate::engine::store::lock::Lock;
use crate::provenance::{self, Address};
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU32};

/// What no lane has of one class: batches of free slots, linked through the first words of their blocks; and spans to take from.
#[repr(align(64))]
pub(super) struct CentralList {
    pub(super) lock: Lock,
    pub(super) first: AtomicPtr<u8>,
    pub(super) batches: AtomicU32,
    pub(super) open: OpenSpans,
}

impl CentralList {
    pub(super) const fn new() -> CentralList {
        CentralList {
            lock: Lock::new(),
            first: AtomicPtr::new(ptr::null_mut()),
            batches: AtomicU32::new(0),
            open: OpenSpans::new(),
        }
    }

    /// # Safety
    /// `batch` is the first of a list of `slots` free slots of `class`, which nobody else has.
    pub(super) unsafe fn put(&self, class: usize, batch: *mut u8, slots: u32) {
        self.lock.hold(|| {
            let batches = self.batches.load(Relaxed);
            if batches < batches_kept(class) {
                let next = self.first.load(Relaxed).address();
                // SAFETY: its slots are free, and were the caller's.
                unsafe { BatchTag { next, slots }.write(batch) };
                self.first.store(batch, Relaxed);
                self.batches.store(batches + 1, Relaxed);
                return;
            }
            // SAFETY: the caller gave the whole batch.
            unsafe { self.put_apart(class, batch) };
        });
    }

    /// Gives each slot of a batch to its span. Called under the lock.
    ///
    /// # Safety
    /// The batch is whole, its slots are free, and nobody has it.
    unsafe fn put_apart(&self, class: usize, batch: *mut u8) {
        let mut block = batch;
        while !block.is_null() {
            // SAFETY: by contract; what `put` does to a slot comes after it is left.
            let next = unsafe { next_of(block) };
            // SAFETY: as above.
            unsafe { self.open.put(class, block, START.load(Relaxed)) };
            block = next;
        }
    }

    pub(super) fn take(&self, class: usize, at_most: u32) -> Option<(*mut u8, u32)> {
        self.lock.hold(|| self.pop().or_else(|| self.open.take(class, at_most, START.load(Relaxed))))
    }

    /// Gives the slots of all batches to their spans.
    pub(super) fn empty(&self, class: usize) {
        self.lock.hold(|| {
            while let Some((batch, _)) = self.pop() {
                // SAFETY: it was in this list, and is nobody's now.
                unsafe { self.put_apart(class, batch) };
            }
        });
    }

    /// Takes a batch: its first slot, and how many it has. Called under the lock.
    fn pop(&self) -> Option<(*mut u8, u32)> {
        let batch = self.first.load(Relaxed);
        if batch.is_null() {
            return None;
        }
        // SAFETY: it is in this list.
        let BatchTag { next, slots } = unsafe { BatchTag::read(batch) };
        let next = if next == 0 { ptr::null_mut() } else { provenance::with_address(START.load(Relaxed), next) };
        self.first.store(next, Relaxed);
        self.batches.store(self.batches.load(Relaxed) - 1, Relaxed);
        // SAFETY: nobody else has it now.
        unsafe { mark_free(batch) };
        Some((batch, slots))
    }
}

/// Whole batches that the central list of a class keeps: as many as have a span's bytes, but 16 at most. What comes besides goes
/// to its span, so that the span can become empty.
const fn batches_kept(class: usize) -> u32 {
    const MOST: usize = 16;
    let fit = SPAN / (batch_of(class) as usize * bytes_of(if class == 0 { 1 } else { class }));
    if fit < MOST {
        fit as u32
    } else {
        MOST as u32
    }
}
