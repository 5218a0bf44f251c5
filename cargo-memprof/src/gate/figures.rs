//! The figures that are gated, and how they are written for people. All are exact but the peak of a test with several
//! threads, which comes with a bound.

use memprof_profile::view::amount;
use serde::{Deserialize, Serialize};

/// One of the gated figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Successful calls of alloc, alloc_zeroed and realloc.
    AllocObjects,
    /// Bytes they asked for.
    AllocSpace,
    /// Highest number of live bytes.
    PeakSpace,
    /// Bytes live when the test ended.
    InuseSpace,
}

impl Figure {
    /// All of them, in the order of a line of the baseline.
    pub const ALL: [Figure; 4] = [Figure::AllocObjects, Figure::AllocSpace, Figure::PeakSpace, Figure::InuseSpace];

    /// Its name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Figure::AllocObjects => "alloc_objects",
            Figure::AllocSpace => "alloc_space",
            Figure::PeakSpace => "peak_space",
            Figure::InuseSpace => "inuse_space",
        }
    }

    /// Whether it counts bytes.
    pub fn is_space(self) -> bool {
        self != Figure::AllocObjects
    }

    /// `number` of this figure. Exact: a difference of one must be seen.
    pub fn show(self, number: i64) -> String {
        let number = amount::count(number);
        if self.is_space() { format!("{number} B") } else { number }
    }
}

/// The figures of one test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    pub alloc_objects: u64,
    pub alloc_space: u64,
    pub peak_space: u64,
    /// How far `peak_space` may be from the truth, in bytes; 0 = it is exact.
    #[serde(default)]
    pub peak_error: u64,
    /// Below zero only where the test gave back blocks that were not its own.
    pub inuse_space: i64,
}

impl Figures {
    /// The figure's value. What outgrows an `i64` stands at its end.
    pub fn get(&self, figure: Figure) -> i64 {
        let unsigned = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        match figure {
            Figure::AllocObjects => unsigned(self.alloc_objects),
            Figure::AllocSpace => unsigned(self.alloc_space),
            Figure::PeakSpace => unsigned(self.peak_space),
            Figure::InuseSpace => self.inuse_space,
        }
    }

    /// How far the figure may be from the truth.
    pub fn error(&self, figure: Figure) -> i64 {
        if figure == Figure::PeakSpace { i64::try_from(self.peak_error).unwrap_or(i64::MAX) } else { 0 }
    }

    /// The least the figure may truly be.
    pub fn least(&self, figure: Figure) -> i64 {
        self.get(figure).saturating_sub(self.error(figure))
    }

    /// The most the figure may truly be.
    pub fn most(&self, figure: Figure) -> i64 {
        self.get(figure).saturating_add(self.error(figure))
    }

    /// Whether `other` may be the same figures: equal, or with peaks whose bounds meet.
    pub fn may_equal(&self, other: &Figures) -> bool {
        Figure::ALL
            .iter()
            .all(|&figure| self.least(figure) <= other.most(figure) && other.least(figure) <= self.most(figure))
    }

    /// Figure by figure the lower of the two: what a test needs when nothing unusual happens.
    #[must_use]
    pub fn lower(&self, other: &Figures) -> Figures {
        let peak = if other.peak_space < self.peak_space { other } else { self };
        Figures {
            alloc_objects: self.alloc_objects.min(other.alloc_objects),
            alloc_space: self.alloc_space.min(other.alloc_space),
            peak_space: peak.peak_space,
            peak_error: peak.peak_error,
            inuse_space: self.inuse_space.min(other.inuse_space),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_whose_bounds_meet_may_be_equal() {
        let one = Figures { alloc_objects: 3, peak_space: 10_000, peak_error: 100, ..Figures::default() };
        assert!(one.may_equal(&Figures { peak_space: 10_200, ..one }));
        assert!(!one.may_equal(&Figures { peak_space: 10_201, ..one }));
        assert!(!one.may_equal(&Figures { alloc_objects: 4, ..one }));
    }
}
