//! The counts of a region.

use std::fmt;

/// What a region allocated.
///
/// Its `Display` is one line that stays as it is between versions, for snapshots: `2 allocs, 48 B, peak 48 B, 0 B in use`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Successful calls of alloc, alloc_zeroed and realloc.
    pub alloc_objects: u64,
    /// Bytes they asked for.
    pub alloc_space: u64,
    /// Those of them that were reallocs.
    pub reallocs: u64,
    /// Blocks given back, the old block of a realloc included.
    pub frees: u64,
    /// Bytes in them.
    pub freed_space: u64,
    /// The most bytes of the region's own blocks that were live at once.
    pub peak_space: u64,
    /// The region's own blocks that are live at its end. A block that is resized stays whose it was.
    pub inuse_objects: u64,
    /// Bytes in them.
    pub inuse_space: u64,
    /// Whether more than one thread took part: the peak then depends on how they ran.
    pub several_threads: bool,
}

impl Counts {
    /// What is known of a region whose blocks were not followed.
    pub(crate) fn allocated(&self) -> String {
        let Counts { alloc_objects, alloc_space, .. } = self;
        let s = if *alloc_objects == 1 { "" } else { "s" };
        format!("{alloc_objects} alloc{s}, {alloc_space} B")
    }

    /// By the name of the field; `None` = there is none of this name.
    pub(crate) fn named(&self, name: &str) -> Option<u64> {
        Some(match name {
            "alloc_objects" => self.alloc_objects,
            "alloc_space" => self.alloc_space,
            "reallocs" => self.reallocs,
            "frees" => self.frees,
            "freed_space" => self.freed_space,
            "peak_space" => self.peak_space,
            "inuse_objects" => self.inuse_objects,
            "inuse_space" => self.inuse_space,
            _ => return None,
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { peak_space, inuse_space, .. } = self;
        write!(f, "{}, peak ", self.allocated())?;
        if self.several_threads {
            f.write_str("?")?;
        } else {
            write!(f, "{peak_space} B")?;
        }
        write!(f, ", {inuse_space} B in use")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_matters() {
        let mut counts = Counts { alloc_objects: 2, alloc_space: 48, peak_space: 48, ..Counts::default() };
        assert_eq!(counts.to_string(), "2 allocs, 48 B, peak 48 B, 0 B in use");
        counts = Counts { alloc_objects: 1, several_threads: true, inuse_space: 7, ..counts };
        assert_eq!(counts.to_string(), "1 alloc, 48 B, peak ?, 7 B in use");
    }
}
