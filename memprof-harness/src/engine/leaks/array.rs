//! Lists of plain values in memory of the engine's own: nothing that searches for leaks may allocate where it searches.

#![allow(unsafe_code)] // memory of its own

use crate::engine::store::own_memory;
use std::mem::size_of;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A type of which zeros are a value, and any bits that were written as one are one again.
///
/// # Safety
/// It is made of numbers, and has no destructor.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: a number.
unsafe impl Plain for usize {}

/// At most as many values as it was made for. Memory is taken as they come.
pub(crate) struct Array<T: Plain> {
    start: NonNull<T>,
    capacity: usize,
    len: usize,
}

impl<T: Plain> Array<T> {
    /// An empty one; `None` where there is no memory.
    pub(crate) fn new(capacity: usize) -> Option<Array<T>> {
        let start = own_memory::private_bytes(bytes::<T>(capacity)?)?.cast();
        Some(Array { start, capacity, len: 0 })
    }

    /// One of so many zeros.
    pub(crate) fn zeros(len: usize) -> Option<Array<T>> {
        let mut array = Array::new(len)?;
        array.len = len;
        Some(array)
    }

    /// `None` where it is full.
    pub(crate) fn push(&mut self, value: T) -> Option<()> {
        if self.len == self.capacity {
            return None;
        }
        // SAFETY: `len` is below the capacity, so it is inside of the memory.
        let place = unsafe { self.start.as_ptr().add(self.len) };
        // SAFETY: as above; page-aligned memory is aligned for whatever is small.
        unsafe { place.write(value) };
        self.len += 1;
        Some(())
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let last = self.last().copied()?;
        self.len -= 1;
        Some(last)
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}

/// `None` where no memory is as large. An array of nothing has some memory, too.
fn bytes<T>(capacity: usize) -> Option<usize> {
    capacity.max(1).checked_mul(size_of::<T>())
}

impl<T: Plain> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the first `len` values were written, or are zeros, of which `T` has a value.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and nobody else has the memory.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> Drop for Array<T> {
    fn drop(&mut self) {
        if let Some(bytes) = bytes::<T>(self.capacity) {
            // SAFETY: mapped by `new` with as many bytes, and nothing refers to it any more.
            unsafe { own_memory::release_bytes(self.start.cast(), bytes) };
        }
    }
}
