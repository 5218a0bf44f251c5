//! A lane's own index of the sites that it has met.

use crate::engine::record::site_predictor::{Number, NUMBER_BITS};
use crate::engine::store::own_memory;
use std::cell::Cell;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// Entries of a new index: one page.
const FIRST_INDEX: usize = 1024;

/// Finds a site by its key. Open addressing with linear probing; an entry is a site's number, with the highest bits of the key above
/// it, 0 = empty; the whole key is in the site and its link. Small entries, because with many stacks it is the cache that is
/// short.
pub(crate) struct Index {
    entries: Cell<&'static [AtomicU32]>,
    used: Cell<usize>,
}

impl Index {
    #[allow(unsafe_code)]
    pub(crate) fn new() -> Option<Index> {
        // SAFETY: zero is a valid `AtomicU32`.
        let entries = unsafe { own_memory::private::<AtomicU32>(FIRST_INDEX)? };
        Some(Index { entries: Cell::new(entries), used: Cell::new(0) })
    }

    /// The site with `key`.
    #[inline(always)]
    pub(super) fn find(&self, key: u64) -> Option<Number> {
        let entries = self.entries.get();
        let mask = entries.len() - 1;
        let mut at = (key >> 32) as usize;
        loop {
            let entry = entries.get(at & mask)?.load(Relaxed);
            if entry == 0 {
                return None;
            }
            if (entry ^ (key >> 32) as u32) >> NUMBER_BITS == 0 {
                let number = Number::in_lower_bits(entry);
                if number.has(key) {
                    return Some(number);
                }
            }
            at += 1;
        }
    }

    /// Enters a site that is not there. `None` where the index is full and cannot grow.
    pub(super) fn enter(&self, key: u64, number: Number) -> Option<()> {
        // Three quarters: with many stacks, memory counts for more than a probe in the same cache line.
        if (self.used.get() + 1) * 4 > self.entries.get().len() * 3 {
            self.grow()?;
        }
        put(self.entries.get(), (key >> 32) as u32, number);
        self.used.set(self.used.get() + 1);
        Some(())
    }

    #[allow(unsafe_code)]
    fn grow(&self) -> Option<()> {
        let old = self.entries.get();
        // SAFETY: zero is a valid `AtomicU32`.
        let new = unsafe { own_memory::private::<AtomicU32>(old.len() * 2)? };
        for entry in old.iter().map(|entry| entry.load(Relaxed)).filter(|&entry| entry != 0) {
            let number = Number::in_lower_bits(entry);
            put(new, number.link().upper_key(), number);
        }
        self.entries.set(new);
        // SAFETY: `old` came from `private`, and the cell held its only lasting reference.
        unsafe { own_memory::release(old) };
        Some(())
    }
}

/// Puts an entry into the first free place from where it belongs.
fn put(entries: &[AtomicU32], upper_key: u32, number: Number) {
    let start = upper_key as usize;
    let places = (0..entries.len()).map(|i| &entries[(start + i) & (entries.len() - 1)]);
    if let Some(place) = places.into_iter().find(|place| place.load(Relaxed) == 0) {
        place.store((upper_key >> NUMBER_BITS << NUMBER_BITS) | number.get(), Relaxed);
    }
}
