//! A ledger's chunks, taken apart: what is in them, found by its offset in the file. Every number that leads somewhere is
//! checked before it is followed.

use super::layout::{
    self, kind, site_flag, ChunkHeader, Header, Lane, LeakRecord, ModuleRecord, PeakRecord, StackRecord,
};
use super::leaks::LeakSums;
use super::model::Module;
use super::stacks::{StackId, StackTable, Stacks};
use super::view::View;
use std::collections::HashMap;
use std::ffi::OsString;
use std::mem::offset_of;
use std::mem::size_of;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The chunks, sorted by what is in them.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub(super) text: HashMap<String, Vec<u8>>,
    pub(super) modules: Vec<Module>,
    pub(super) lanes: Vec<View<'a>>,
    sites: Records<'a>,
    records: StackRecords<'a>,
    peaks: Records<'a>,
    /// By the site's offset in the file.
    pub(super) leaks: HashMap<u64, LeakSums>,
    pub(super) unreadable_bytes: u64,
}

impl<'a> Parts<'a> {
    pub(super) fn collect(&mut self, file: View<'a>) {
        const CHUNK: usize = size_of::<ChunkHeader>();
        let stated = usize::try_from(file.u64(offset_of!(Header, arena_end))).unwrap_or(usize::MAX);
        let end = stated.min(file.len());
        let mut at = layout::HEADER_LEN;
        while at < end {
            let chunk = file.part(at, CHUNK);
            let len = usize::try_from(chunk.u64(offset_of!(ChunkHeader, len))).unwrap_or(0);
            if len < CHUNK || len % layout::CHUNK_ALIGN != 0 || len > end - at {
                break;
            }
            let used = usize::try_from(chunk.u64(offset_of!(ChunkHeader, used))).unwrap_or(usize::MAX);
            let payload = file.part(at + CHUNK, used.min(len - CHUNK));
            match chunk.u32(offset_of!(ChunkHeader, kind)) {
                kind::TEXT => self.add_text(payload),
                kind::MODULES => self.add_modules(payload),
                kind::LANE => {
                    if payload.len() >= size_of::<Lane>() {
                        self.lanes.push(payload);
                    }
                }
                kind::SITES => self.sites.add((at + CHUNK) as u64, payload),
                kind::STACKS => {
                    let lane = chunk.u32(offset_of!(ChunkHeader, lane));
                    self.records.add(lane, (at + CHUNK) as u64, payload);
                }
                kind::PEAKS => self.peaks.add((at + CHUNK) as u64, payload),
                kind::LEAKS => self.add_leaks(payload),
                _ => self.unreadable_bytes += len as u64,
            }
            at += len;
        }
        self.unreadable_bytes += stated.saturating_sub(at) as u64;
    }

    fn add_text(&mut self, payload: View<'a>) {
        let mut rest = payload;
        let mut next = || {
            let len = rest.u32(0) as usize;
            let found = rest.part(4, len);
            let whole = rest.len() >= 4 && found.len() == len;
            rest = rest.part(4 + len, rest.len().saturating_sub(4 + len));
            whole.then_some(found.0)
        };
        while let (Some(key), Some(value)) = (next(), next()) {
            self.text.insert(String::from_utf8_lossy(key).into_owned(), value.to_vec());
        }
    }

    fn add_leaks(&mut self, payload: View<'a>) {
        for at in (0..payload.len() / LEAK).map(|i| i * LEAK) {
            let record = payload.part(at, LEAK);
            let site = record.u64(offset_of!(LeakRecord, site));
            self.leaks.entry(site).or_default().add(LeakSums::of_record(record));
        }
    }

    fn add_modules(&mut self, payload: View<'a>) {
        const RECORD: usize = size_of::<ModuleRecord>();
        let mut at = 0;
        while payload.len().saturating_sub(at) >= RECORD {
            let record = payload.part(at, RECORD);
            let Ok(len) = usize::try_from(record.u64(offset_of!(ModuleRecord, path_len))) else { return };
            let path = payload.part(at + RECORD, len);
            if path.len() != len {
                return;
            }
            self.modules.push(Module {
                bias: record.u64(offset_of!(ModuleRecord, bias)),
                start: record.u64(offset_of!(ModuleRecord, start)),
                end: record.u64(offset_of!(ModuleRecord, end)),
                path: PathBuf::from(OsString::from_vec(path.0.to_vec())),
            });
            at += RECORD + len.next_multiple_of(8);
        }
    }

    /// How many sites there are.
    pub(super) fn site_count(&self) -> usize {
        self.sites.chunks.iter().map(|(_, payload)| payload.len() / SITE).sum()
    }

    /// Every site with its offset in the file, in the order of the file.
    pub(super) fn sites(&self) -> impl Iterator<Item = (u64, View<'a>)> + '_ {
        let of_chunk = |start: u64, payload: View<'a>| {
            (0..payload.len() / SITE).map(move |i| (start + (i * SITE) as u64, payload.part(i * SITE, SITE)))
        };
        self.sites.chunks.iter().flat_map(move |(start, payload)| of_chunk(*start, *payload))
    }

    /// The site at an offset in the file.
    pub(super) fn site_at(&self, offset: u64) -> Option<View<'a>> {
        self.sites.get(offset, SITE)
    }

    /// What a site leads to.
    pub(super) fn follow(&self, site: View<'a>) -> Option<SiteParts<'a>> {
        let origin = site.u32(offset_of!(layout::Site, origin));
        if origin & layout::PEAKED == 0 {
            let (stack_record, stack) = self.records.get(origin)?;
            return Some(SiteParts { site, peak: None, stack_record, stack });
        }
        let peak = self.peaks.get(layout::Site::offset_of_origin(origin), size_of::<PeakRecord>())?;
        let origin = u32::try_from(peak.u64(offset_of!(PeakRecord, origin))).ok()?;
        let (stack_record, stack) = self.records.get(origin & !layout::PEAKED)?;
        Some(SiteParts { site, peak: Some(peak), stack_record, stack })
    }

    /// The stacks, which nothing is added to any more.
    pub(super) fn take_stacks(&mut self) -> Stacks {
        std::mem::take(&mut self.records.table).finish()
    }
}

const SITE: usize = size_of::<layout::Site>();
const LEAK: usize = size_of::<LeakRecord>();

/// A site and what it leads to.
#[derive(Clone, Copy)]
pub(super) struct SiteParts<'a> {
    pub(super) site: View<'a>,
    pub(super) peak: Option<View<'a>>,
    pub(super) stack_record: View<'a>,
    pub(super) stack: Option<StackId>,
}

/// Chunks of records that are all of one length.
#[derive(Default)]
struct Records<'a> {
    /// Where each payload begins in the file, in that order.
    chunks: Vec<(u64, View<'a>)>,
}

impl<'a> Records<'a> {
    fn add(&mut self, start: u64, payload: View<'a>) {
        self.chunks.push((start, payload));
    }

    /// The record of `len` bytes that begins at an offset in the file; `None` where none does.
    fn get(&self, offset: u64, len: usize) -> Option<View<'a>> {
        let (at, payload) = self.place(offset)?;
        (at % len == 0).then(|| payload.part(at, len)).filter(|record| record.len() == len)
    }

    /// `len` bytes at an offset in the file where a record is known to begin.
    fn record(&self, offset: u64, len: usize) -> Option<View<'a>> {
        let (at, payload) = self.place(offset)?;
        Some(payload.part(at, len)).filter(|record| record.len() == len)
    }

    fn place(&self, offset: u64) -> Option<(usize, View<'a>)> {
        let after = self.chunks.partition_point(|(start, _)| *start <= offset);
        let (start, payload) = self.chunks.get(after.checked_sub(1)?)?;
        Some((usize::try_from(offset - start).ok()?, *payload))
    }
}

/// The stacks of all lanes, as nodes of one trie.
#[derive(Default)]
struct StackRecords<'a> {
    table: StackTable,
    /// Where each record begins in the file, in units of 8 bytes as [`layout::Site::origin`] has it, in that order; and its stack.
    found: Vec<(u32, Option<StackId>)>,
    payloads: Records<'a>,
    /// By lane: the nodes of the lane's stack before, outermost first.
    previous: HashMap<u32, Vec<StackId>>,
}

impl<'a> StackRecords<'a> {
    fn add(&mut self, lane: u32, start: u64, payload: View<'a>) {
        self.payloads.add(start, payload);
        let previous = self.previous.entry(lane).or_default();
        let mut before = std::mem::take(previous);
        let mut at = 0;
        while payload.len().saturating_sub(at) >= RECORD {
            let record = payload.part(at, RECORD);
            let fresh = usize::from(record.u16(offset_of!(StackRecord, fresh)));
            let shared = usize::from(record.u16(offset_of!(StackRecord, shared)));
            let words = payload.part(at + RECORD, fresh * 8);
            let origin = u32::try_from((start + at as u64) / 8).ok();
            let is_alias = record.u32(offset_of!(StackRecord, flags)) & site_flag::ALIAS != 0;
            let (Some(origin), true) = (origin, words.len() == fresh * 8 && shared + fresh <= DEEPEST) else { return };
            let Some(stack) = before.get(..shared) else { return };
            let mut stack = stack.last().copied();
            if !is_alias {
                before.truncate(shared);
                for frame in (0..fresh).rev() {
                    stack = self.table.push(stack, words.u64(frame * 8));
                    // Every later stack of this lane leans on this one.
                    let Some(node) = stack else { return };
                    before.push(node);
                }
            }
            self.found.push((origin, stack));
            at += RECORD + fresh * 8;
        }
        *previous = before;
    }

    /// The record that an origin leads to, and its stack.
    fn get(&self, origin: u32) -> Option<(View<'a>, Option<StackId>)> {
        let at = self.found.binary_search_by_key(&origin, |(origin, _)| *origin).ok()?;
        let (_, stack) = self.found.get(at)?;
        let offset = layout::Site::offset_of_origin(origin);
        Some((self.payloads.record(offset, RECORD)?, *stack))
    }
}

const RECORD: usize = size_of::<StackRecord>();

/// Words beyond which no stack goes, whatever a damaged ledger says: with the one that tells how many frames are left out.
const DEEPEST: usize = layout::MOST_DEPTH + 1;
