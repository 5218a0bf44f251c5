//! A ledger's chunks, taken apart: what is in them, found by its offset in the file. Every number that leads somewhere is
//! checked before it is followed.

use super::layout::{self, kind, site_flag, ChunkHeader, Header, Lane, ModuleRecord, PeakRecord, StackRecord};
use super::model::Module;
use std::collections::HashMap;
use std::ffi::OsString;
use std::mem::offset_of;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Bytes by offset. What lies outside reads as 0: offsets are checked where they come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a>(pub(super) &'a [u8]);

impl<'a> View<'a> {
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
    }

    pub(super) fn u16(self, at: usize) -> u16 {
        u16::from_ne_bytes(self.array(at))
    }

    pub(super) fn u32(self, at: usize) -> u32 {
        u32::from_ne_bytes(self.array(at))
    }

    pub(super) fn u64(self, at: usize) -> u64 {
        u64::from_ne_bytes(self.array(at))
    }

    pub(super) fn i64(self, at: usize) -> i64 {
        i64::from_ne_bytes(self.array(at))
    }

    fn part(self, at: usize, len: usize) -> View<'a> {
        View(at.checked_add(len).and_then(|end| self.0.get(at..end)).unwrap_or(&[]))
    }

    pub(super) fn len(self) -> usize {
        self.0.len()
    }
}

/// The chunks, sorted by what is in them.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub(super) text: HashMap<String, Vec<u8>>,
    pub(super) modules: Vec<Module>,
    pub(super) lanes: Vec<View<'a>>,
    /// Offset in the file, and the record.
    pub(super) sites: Vec<(u64, View<'a>)>,
    stacks: Stacks<'a>,
    /// By offset in the file.
    peaks: HashMap<u64, View<'a>>,
    pub(super) unreadable_bytes: u64,
}

impl<'a> Parts<'a> {
    pub(super) fn collect(&mut self, file: View<'a>) {
        const CHUNK: usize = size_of::<ChunkHeader>();
        let said = usize::try_from(file.u64(offset_of!(Header, arena_end))).unwrap_or(usize::MAX);
        let end = said.min(file.len());
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
                kind::SITES => self.add_sites((at + CHUNK) as u64, payload),
                kind::STACKS => {
                    let lane = chunk.u32(offset_of!(ChunkHeader, lane));
                    self.stacks.add(lane, (at + CHUNK) as u64, payload);
                }
                kind::PEAKS => self.add_peaks((at + CHUNK) as u64, payload),
                _ => self.unreadable_bytes += len as u64,
            }
            at += len;
        }
        self.unreadable_bytes += said.saturating_sub(at) as u64;
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

    fn add_peaks(&mut self, at: u64, payload: View<'a>) {
        const PEAK: usize = size_of::<PeakRecord>();
        self.peaks.extend((0..payload.len() / PEAK).map(|i| (at + (i * PEAK) as u64, payload.part(i * PEAK, PEAK))));
    }

    /// What a site leads to, and its stack's addresses.
    pub(super) fn follow(&self, site: View<'a>) -> Option<(SiteParts<'a>, &[u64])> {
        let origin = site.u32(offset_of!(layout::Site, origin));
        let offset = layout::Site::offset_of_origin(origin);
        if origin & layout::PEAKED == 0 {
            let (stack, addresses) = self.stacks.get(offset)?;
            return Some((SiteParts { site, peak: None, stack }, addresses));
        }
        let peak = *self.peaks.get(&offset)?;
        let origin = u32::try_from(peak.u64(offset_of!(PeakRecord, origin))).ok()?;
        let (stack, addresses) = self.stacks.get(layout::Site::offset_of_origin(origin))?;
        Some((SiteParts { site, peak: Some(peak), stack }, addresses))
    }

    fn add_sites(&mut self, at: u64, payload: View<'a>) {
        const SITE: usize = size_of::<layout::Site>();
        self.sites.extend((0..payload.len() / SITE).map(|i| (at + (i * SITE) as u64, payload.part(i * SITE, SITE))));
    }
}

/// A site and what it leads to.
#[derive(Clone, Copy)]
pub(super) struct SiteParts<'a> {
    pub(super) site: View<'a>,
    pub(super) peak: Option<View<'a>>,
    pub(super) stack: View<'a>,
}

/// The stacks of all lanes, spelt out.
#[derive(Default)]
struct Stacks<'a> {
    addresses: Vec<u64>,
    /// By the record's offset in the file: the record, and where its addresses are.
    found: HashMap<u64, (View<'a>, std::ops::Range<usize>)>,
    /// By lane: the addresses of the lane's stack before.
    previous: HashMap<u32, std::ops::Range<usize>>,
}

impl<'a> Stacks<'a> {
    fn add(&mut self, lane: u32, start: u64, payload: View<'a>) {
        const RECORD: usize = size_of::<StackRecord>();
        let mut at = 0;
        while payload.len().saturating_sub(at) >= RECORD {
            let record = payload.part(at, RECORD);
            let fresh = usize::from(record.u16(offset_of!(StackRecord, fresh)));
            let shared = usize::from(record.u16(offset_of!(StackRecord, shared)));
            let words = payload.part(at + RECORD, fresh * 8);
            let before = self.previous.get(&lane).cloned().unwrap_or(0..0);
            if words.len() != fresh * 8 || shared > before.len() || fresh + shared > layout::MOST_DEPTH + 1 {
                // Every later stack of this lane leans on this one.
                self.previous.remove(&lane);
                return;
            }
            let first = self.addresses.len();
            self.addresses.extend((0..fresh).map(|i| words.u64(i * 8)));
            self.addresses.extend_from_within(before.end - shared..before.end);
            let range = first..self.addresses.len();
            if record.u32(offset_of!(StackRecord, flags)) & site_flag::ALIAS == 0 {
                self.previous.insert(lane, range.clone());
            }
            self.found.insert(start + at as u64, (record, range));
            at += RECORD + fresh * 8;
        }
    }

    /// The record at an offset in the file, and its stack.
    fn get(&self, offset: u64) -> Option<(View<'a>, &[u64])> {
        let (record, range) = self.found.get(&offset)?;
        Some((*record, self.addresses.get(range.clone())?))
    }
}
