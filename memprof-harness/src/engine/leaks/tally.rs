//! The findings of the search, summed up in the form of the ledger.
//!
//! Of most blocks only the room is known and not how much of it was asked for. The reader knows how much that is of all blocks of a
//! site together, and so gets the exact metric where all of a site's blocks are leaked or are equally large.

use crate::engine::leaks::array::{Array, Plain};
use crate::engine::leaks::blocks::Blocks;
use crate::engine::leaks::skipped::Skipped;
use crate::engine::life::state::{self, Mode};
use crate::engine::record::site_predictor::Number;
use crate::engine::store::ledger_map;
use crate::ledger::layout::{kind, ChunkHeader, LeakRecord};
use std::mem::size_of;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// Of a site, or of all: see [`LeakRecord`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    objects: u64,
    room: u64,
    slack: u64,
    all_room: u64,
    all_slack: u64,
}

// SAFETY: numbers.
#[allow(unsafe_code)]
unsafe impl Plain for Sums {}

impl Sums {
    fn add(&mut self, is_leaked: bool, room: usize, slack: u32) {
        let (room, slack) = (room as u64, u64::from(slack));
        self.all_room += room;
        self.all_slack += slack;
        if is_leaked {
            self.objects += 1;
            self.room += room;
            self.slack += slack;
        }
    }
}

pub(crate) struct Tally {
    all: Sums,
    /// By the site's number; in sampled mode there are none.
    sites: Array<Sums>,
}

impl Tally {
    pub(crate) fn of(blocks: &Blocks) -> Result<Tally, Skipped> {
        let is_exact = state::mode() == Some(Mode::Exact);
        let sites = if is_exact { Number::of(ledger_map::used()).get() as usize } else { 0 };
        let mut tally = Tally { all: Sums::default(), sites: Array::zeros(sites).ok_or(Skipped::NoMemory)? };
        blocks.for_each(|is_reachable, room, slack, site| {
            tally.all.add(!is_reachable, room, slack);
            if let Some(sums) = site.and_then(|site| tally.sites.get_mut(site.get() as usize)) {
                sums.add(!is_reachable, room, slack);
            }
        });
        Ok(tally)
    }

    /// Writes it into the ledger. Where that has no room, it has the sums.
    pub(crate) fn write(&self) {
        let header = ledger_map::header();
        for (place, number) in [
            (&header.leaked_objects, self.all.objects),
            (&header.leaked_room, self.all.room),
            (&header.leaked_slack, self.all.slack),
            (&header.live_room, self.all.all_room),
            (&header.live_slack, self.all.all_slack),
        ] {
            place.store(number, Relaxed);
        }
        if self.all.objects == 0 {
            return;
        }
        // What another lane has of the same stack belongs to it, leaked or not.
        let live = || self.sites.iter().enumerate().filter(|(_, sums)| sums.all_room > 0);
        let len = live().count() * size_of::<LeakRecord>();
        let chunk = if len == 0 { None } else { ledger_map::chunk(kind::LEAKS, 0, len) };
        let Some(chunk) = chunk else { return };
        let words = ledger_map::words(chunk + size_of::<ChunkHeader>() as u64, len / 8);
        for (record, (number, sums)) in words.chunks(size_of::<LeakRecord>() / 8).zip(live()) {
            let site = Number::in_lower_bits(number as u32).offset();
            let numbers = [site, sums.objects, sums.room, sums.slack, sums.all_room, sums.all_slack];
            record.iter().zip(numbers).for_each(|(place, number)| place.store(number, Relaxed));
        }
        ledger_map::chunk_header(chunk).used.store(len as u64, Release);
    }
}
