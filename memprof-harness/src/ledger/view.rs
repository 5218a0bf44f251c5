//! Reads numbers out of bytes that somebody else wrote; it does not follow them.

/// Bytes by offset. What lies outside reads as 0: offsets are checked where they come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a>(pub(super) &'a [u8]);

impl<'a> View<'a> {
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
    }

    #[cfg_attr(memprof_injected, allow(dead_code))]
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

    #[cfg_attr(memprof_injected, allow(dead_code))]
    pub(super) fn part(self, at: usize, len: usize) -> View<'a> {
        View(at.checked_add(len).and_then(|end| self.0.get(at..end)).unwrap_or(&[]))
    }

    #[cfg_attr(memprof_injected, allow(dead_code))]
    pub(super) fn len(self) -> usize {
        self.0.len()
    }
}
