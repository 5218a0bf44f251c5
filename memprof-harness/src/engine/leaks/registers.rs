//! The registers that a function must leave as it found them: a caller may have a pointer in one of them and nowhere else.

#![allow(unsafe_code)] // reads registers

use crate::provenance::Address;
use std::hint::black_box;

#[cfg(target_arch = "x86_64")]
const COUNT: usize = 6;
#[cfg(target_arch = "aarch64")]
const COUNT: usize = 11;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const COUNT: usize = 1;

pub(crate) struct Registers([usize; COUNT]);

impl Registers {
    /// As they are where this is inlined into.
    #[inline(always)]
    pub(crate) fn read() -> Registers {
        let mut words = [0usize; COUNT];
        let place = words.as_mut_ptr();
        #[cfg(target_arch = "x86_64")]
        // SAFETY: stores six registers into as many words.
        unsafe {
            std::arch::asm!(
                "mov [{0}], rbx",
                "mov [{0} + 8], rbp",
                "mov [{0} + 16], r12",
                "mov [{0} + 24], r13",
                "mov [{0} + 32], r14",
                "mov [{0} + 40], r15",
                in(reg) place,
                options(nostack, preserves_flags)
            );
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: stores eleven registers into as many words.
        unsafe {
            std::arch::asm!(
                "stp x19, x20, [{0}]",
                "stp x21, x22, [{0}, #16]",
                "stp x23, x24, [{0}, #32]",
                "stp x25, x26, [{0}, #48]",
                "stp x27, x28, [{0}, #64]",
                "str x29, [{0}, #80]",
                in(reg) place,
                options(nostack, preserves_flags)
            );
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = place;
        Registers(words)
    }

    /// Where they are on the stack. What its callers have lies behind.
    #[inline(always)]
    pub(crate) fn address(&self) -> usize {
        black_box(&self.0).as_ptr().address()
    }

    /// They are on the stack until now.
    #[inline(always)]
    pub(crate) fn keep(&self) {
        black_box(&self.0);
    }
}
