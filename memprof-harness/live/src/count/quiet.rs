//! A value of ours whose drop does not count for the user's region.

#![allow(unsafe_code)] // a value that is dropped by hand

use crate::count::events;
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// Drops what it holds unseen by the counting.
pub(crate) struct Quiet<T>(ManuallyDrop<T>);

impl<T> Quiet<T> {
    pub(crate) fn new(value: T) -> Quiet<T> {
        Quiet(ManuallyDrop::new(value))
    }
}

impl<T: Clone> Clone for Quiet<T> {
    fn clone(&self) -> Quiet<T> {
        Quiet(self.0.clone())
    }
}

impl<T> Deref for Quiet<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Quiet<T> {
    fn drop(&mut self) {
        let _inside = events::inside();
        // SAFETY: it is not used again: this is its end.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}
