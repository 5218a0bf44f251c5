//! The engine's knowledge of a site besides its record: the other half of its key, and the site that came after it last time. Programs
//! repeat themselves, so that site mostly comes after it this time too, and need not be searched for.
//!
//! Links are private memory, one for each 64 bytes of the ledger: a site's is found by its offset alone. Only the address space
//! for all of them is taken at once.

#![allow(unsafe_code)] // mmap and what lies in it

use crate::engine::store::ledger_map::{self, LIMIT};
use crate::engine::store::own_memory;
use crate::ledger::layout::Site;
use crate::os::memory;
use crate::provenance::Address;
use std::io;
use std::mem::size_of;
use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};

/// Bytes of the ledger for each link.
const STRIDE: usize = size_of::<Site>();

/// A site by its place: its offset in the ledger, in units of [`STRIDE`]. No site lies at 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number(u32);

/// Numbers have this many bits at most.
pub(crate) const NUMBER_BITS: u32 = (LIMIT / STRIDE).ilog2();

static BASE: AtomicPtr<Link> = AtomicPtr::new(ptr::null_mut());
/// Bytes that may be touched.
static COVERED: AtomicU64 = AtomicU64::new(0);

/// Zeros are a link to nowhere.
#[repr(C)]
pub(crate) struct Link {
    /// Upper half of the key of the site.
    key: AtomicU32,
    /// The number of the site that came after it last time, 0 = none did.
    next: AtomicU32,
}

impl Number {
    /// Of no site. Its link leads nowhere.
    pub(crate) const NONE: Number = Number(0);

    #[inline(always)]
    pub(crate) fn of(offset: u64) -> Number {
        Number((offset / STRIDE as u64) as u32)
    }

    /// The upper bits are not looked at.
    #[inline(always)]
    pub(crate) fn in_lower_bits(word: u32) -> Number {
        Number(word & ((1 << NUMBER_BITS) - 1))
    }

    #[inline(always)]
    pub(crate) fn get(self) -> u32 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn offset(self) -> u64 {
        u64::from(self.0) * STRIDE as u64
    }

    #[inline(always)]
    pub(crate) fn link(self) -> &'static Link {
        // SAFETY: numbers are made from offsets in the ledger, for all of which there is a link.
        let link = unsafe { BASE.load(Relaxed).add(self.0 as usize) };
        // SAFETY: as far as the ledger has grown, links are mapped, for good. They are made of atomics, for which zeros are valid.
        unsafe { &*link }
    }

    /// Whether it is the site with this key.
    #[inline(always)]
    pub(crate) fn has(self, key: u64) -> bool {
        ledger_map::site(self.offset()).key.load(Relaxed) == key as u32 && self.link().upper_key() == (key >> 32) as u32
    }
}

impl Link {
    #[inline(always)]
    pub(crate) fn upper_key(&self) -> u32 {
        self.key.load(Relaxed)
    }

    /// For a new site. In a forked child, the parent may have used the link for one of its own.
    pub(crate) fn begin(&self, key: u64) {
        self.key.store((key >> 32) as u32, Relaxed);
        self.set_next(Number::NONE);
    }

    /// The site that came after this one last time, and may come now.
    #[inline(always)]
    pub(crate) fn next(&self) -> Number {
        Number(self.next.load(Relaxed))
    }

    #[inline(always)]
    pub(crate) fn set_next(&self, next: Number) {
        self.next.store(next.0, Relaxed);
    }
}

/// Bytes of links for a ledger of `len` bytes.
fn bytes(len: usize) -> usize {
    len.div_ceil(STRIDE) * size_of::<Link>()
}

/// Bytes of address space that a ledger of `len` bytes takes with its links.
pub(crate) fn with_links(len: usize) -> u64 {
    (len + bytes(len)) as u64
}

/// Takes address space for the links of a ledger that may become `len` bytes long.
pub(crate) fn reserve(len: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | memory::UNRESERVED;
    // SAFETY: a fresh anonymous mapping chosen by the kernel overlaps nothing of ours.
    let base = unsafe { libc::mmap(ptr::null_mut(), bytes(len), libc::PROT_NONE, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return false;
    }
    BASE.store(base.cast(), Release);
    true
}

/// Gives address space back that links for a ledger of `len` bytes took, but for those of its first `kept` bytes. Gives whether it did.
pub(crate) fn give_back(kept: usize, len: usize) -> bool {
    let start = bytes(kept).next_multiple_of(memory::page_size().max(1));
    let rest = bytes(len).saturating_sub(start);
    let place = BASE.load(Relaxed).cast::<u8>().wrapping_add(start);
    // SAFETY: whole pages of our own mapping, which no link is in that is used.
    rest > 0 && unsafe { libc::munmap(place.cast(), rest) } == 0
}

/// Visits where the links of a ledger of `len` bytes begin and end.
pub(crate) fn for_own(len: usize, visit: &mut impl FnMut(usize, usize)) {
    let base = BASE.load(Relaxed).address();
    visit(base, base + bytes(len));
}

/// Makes the links of the first `len` bytes of the ledger usable.
///
/// # Errors
/// Whatever the system says: it may have no more memory.
pub(crate) fn cover(len: u64) -> io::Result<()> {
    let bytes = bytes(len as usize);
    // SAFETY: the range was reserved for a longer ledger, and is ours.
    if unsafe { libc::mprotect(BASE.load(Relaxed).cast(), bytes, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let before = COVERED.fetch_max(bytes as u64, AcqRel);
    own_memory::holds((bytes as u64).saturating_sub(before));
    Ok(())
}
