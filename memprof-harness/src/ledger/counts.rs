//! The counts of a ledger, without its stacks: they decide whether a test runs once more. Of a large ledger, a few
//! pages are read. The file is untrusted input, as in `read.rs`.

use super::layout::{self, kind, ChunkHeader, Header, Lane};
use super::view::View;
use std::fs::File;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::unix::fs::FileExt;

/// Exact, at every rate; see [`super::Counters`], which has more. All in objects or bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub alloc_objects: u64,
    pub alloc_space: u64,
    pub frees: u64,
    pub peak_space: u64,
    /// How far `peak_space` may be from the truth.
    pub peak_error: u64,
    pub inuse_objects: i64,
    pub inuse_space: i64,
    /// Threads that allocated or freed.
    pub threads: u32,
}

impl Counts {
    /// Those of the ledger in `file`.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read(file: &File) -> io::Result<Counts> {
        const CHUNK: usize = size_of::<ChunkHeader>();
        let mut header = vec![0; layout::HEADER_LEN];
        file.read_exact_at(&mut header, 0)?;
        let header = View(&header);
        let end = header.u64(offset_of!(Header, arena_end)).min(file.metadata()?.len());
        let mut lanes: Vec<Vec<u8>> = Vec::new();
        let mut at = layout::HEADER_LEN as u64;
        let mut chunk = [0; CHUNK];
        while at + CHUNK as u64 <= end {
            file.read_exact_at(&mut chunk, at)?;
            let chunk = View(&chunk);
            let len = chunk.u64(offset_of!(ChunkHeader, len));
            if len < CHUNK as u64 || len % layout::CHUNK_ALIGN as u64 != 0 || len > end - at {
                break;
            }
            let used = chunk.u64(offset_of!(ChunkHeader, used)).min(len - CHUNK as u64);
            if chunk.u32(offset_of!(ChunkHeader, kind)) == kind::LANE && used >= size_of::<Lane>() as u64 {
                let mut lane = vec![0; size_of::<Lane>()];
                file.read_exact_at(&mut lane, at + CHUNK as u64)?;
                lanes.push(lane);
            }
            at += len;
        }
        let lanes: Vec<View<'_>> = lanes.iter().map(|lane| View(lane)).collect();
        Ok(Counts::of(header, &lanes))
    }

    /// With those of another process added; of the peaks, the higher.
    #[must_use]
    pub fn with(self, other: &Counts) -> Counts {
        let (peak_space, peak_error) = (self.peak_space, self.peak_error).max((other.peak_space, other.peak_error));
        Counts {
            alloc_objects: self.alloc_objects.saturating_add(other.alloc_objects),
            alloc_space: self.alloc_space.saturating_add(other.alloc_space),
            frees: self.frees.saturating_add(other.frees),
            peak_space,
            peak_error,
            inuse_objects: self.inuse_objects.saturating_add(other.inuse_objects),
            inuse_space: self.inuse_space.saturating_add(other.inuse_space),
            threads: self.threads.max(other.threads),
        }
    }

    /// Those of a header and its lanes.
    pub(super) fn of(file: View<'_>, lanes: &[View<'_>]) -> Counts {
        let sum = |at: usize| lanes.iter().fold(0u64, |sum, lane| sum.saturating_add(lane.u64(at)));
        let classes = (0..layout::SIZE_CLASSES).map(|class| sum(offset_of!(Lane, classes) + class * 8));
        let objects = classes.fold(0u64, u64::saturating_add);
        let alloc_objects = objects.saturating_add(file.u64(offset_of!(Header, laneless_objects)));
        let laneless_space = file.u64(offset_of!(Header, laneless_space));
        let laneless_freed = file.u64(offset_of!(Header, laneless_freed_space));
        let frees = sum(offset_of!(Lane, frees)).saturating_add(file.u64(offset_of!(Header, laneless_frees)));
        let live = lanes.iter().fold(0i64, |sum, lane| sum.saturating_add(lane.i64(offset_of!(Lane, live))));
        let batch = u64::from(file.u32(offset_of!(Header, batch)));
        Counts {
            alloc_objects,
            alloc_space: sum(offset_of!(Lane, alloc_space)).saturating_add(laneless_space),
            frees,
            peak_space: u64::try_from(peak(file, lanes)).unwrap_or(0),
            peak_error: if is_multi(file) { batch.saturating_mul(lanes.len() as u64) } else { 0 },
            inuse_objects: signed(alloc_objects).saturating_sub(signed(frees)),
            inuse_space: live.saturating_add(signed(laneless_space)).saturating_sub(signed(laneless_freed)),
            threads: file.u32(offset_of!(Header, threads)),
        }
    }
}

/// Whether several threads took part, so that the total is the header's and not the only lane's.
pub(super) fn is_multi(file: View<'_>) -> bool {
    file.u32(offset_of!(Header, multi)) != 0
}

/// With one lane its own mark, unless that was lowered to watch a region: then the header has the peak.
pub(super) fn peak(file: View<'_>, lanes: &[View<'_>]) -> i64 {
    let shared = file.i64(offset_of!(Header, peak));
    match lanes {
        [only] if !is_multi(file) => shared.max(only.i64(offset_of!(Lane, hi))),
        _ => shared,
    }
}

/// Metrics that outgrow an `i64` say so by standing at its end.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
