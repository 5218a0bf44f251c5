//! Addresses of pointers, and pointers that are nothing but an address. std has the same since Rust 1.84; the harness is compiled by older
//! compilers, too.

#![allow(unsafe_code)]

use std::ptr::{self, NonNull};

/// `ptr.addr()`, by a name that is not in the way of std's.
pub(crate) trait Address: Copy {
    /// The address alone: no pointer can be made of it again that may be read.
    fn address(self) -> usize;
}

impl<T> Address for *const T {
    #[inline(always)]
    #[allow(clippy::transmutes_expressible_as_ptr_casts)]
    fn address(self) -> usize {
        // SAFETY: a thin pointer has the size of `usize`, and each of its values is one of `usize`. As with std's `addr`, what memory it
        // may reach is not told to anybody, as it would be by `as`.
        unsafe { std::mem::transmute::<*const T, usize>(self) }
    }
}

impl<T> Address for *mut T {
    #[inline(always)]
    fn address(self) -> usize {
        self.cast_const().address()
    }
}

impl<T> Address for NonNull<T> {
    #[inline(always)]
    fn address(self) -> usize {
        self.as_ptr().address()
    }
}

/// `ptr` moved to `address`: it may reach what it could before.
#[inline(always)]
pub(crate) fn with_address<T>(pointer: *mut T, address: usize) -> *mut T {
    pointer.wrapping_byte_add(address.wrapping_sub(pointer.address()))
}

/// A pointer of this address that must never be read through by us.
#[inline(always)]
pub(crate) const fn without_provenance<T>(address: usize) -> *const T {
    ptr::null::<T>().wrapping_byte_add(address)
}

/// A pointer of this address that must never be read or written through by us.
#[inline(always)]
pub(crate) const fn without_provenance_mut<T>(address: usize) -> *mut T {
    ptr::null_mut::<T>().wrapping_byte_add(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_std() {
        let words = [1_u64, 2, 3];
        let pointer = words.as_ptr();
        assert_eq!(pointer.address(), pointer.addr());
        assert_eq!(pointer.cast_mut().address(), pointer.addr());
        assert_eq!(NonNull::from(&words).address(), pointer.addr());
        assert_eq!(without_provenance::<u64>(0x1234), ptr::without_provenance::<u64>(0x1234));
        assert_eq!(without_provenance_mut::<u64>(usize::MAX), ptr::without_provenance_mut::<u64>(usize::MAX));
    }

    #[test]
    fn a_moved_pointer_still_reads() {
        let mut words = [1_u64, 2, 3];
        let first = words.as_mut_ptr();
        let last = with_address(first, first.address() + 16);
        // SAFETY: it points at the third word.
        assert_eq!(unsafe { last.read() }, 3);
        // SAFETY: as above.
        assert_eq!(unsafe { with_address(last, first.address()).read() }, 1);
    }
}
