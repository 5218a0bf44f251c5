//! What is counted per stack, and the two kinds of metrics: observed ones, of the allocations that were recorded, and
//! estimates, of all there were. `scale` turns one into the other; nothing else may.

use std::ops::{AddAssign, Index, IndexMut};

/// One of the metrics of a sample. The order is that of pprof's sample types: Go's four first, so that a tool that
/// knows only those finds them where it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueType {
    /// Successful calls of alloc, alloc_zeroed and realloc.
    AllocObjects,
    /// Bytes they asked for.
    AllocSpace,
    /// Blocks not given back when the test ended.
    InuseObjects,
    /// Bytes in them.
    InuseSpace,
    /// Blocks that were live when the live bytes of the whole test were at their highest.
    PeakObjects,
    /// Bytes in them.
    PeakSpace,
    /// The calls of realloc among `AllocObjects`.
    Reallocs,
    /// Sum over all blocks given back of the bytes that were allocated during their lives; divided by their number,
    /// the mean lifetime.
    LifetimeSpace,
    /// Blocks given back with nothing allocated since.
    TemporaryObjects,
    /// Blocks given back within 4096 bytes of allocation, the temporary ones included.
    ShortLivedObjects,
    /// Blocks of `InuseObjects` that nothing leads to any more. Known only where every allocation was recorded.
    LeakedObjects,
    /// Bytes in them.
    LeakedSpace,
}

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Events or blocks.
    Count,
    /// Bytes, as the program asked for them.
    Bytes,
}

impl ValueType {
    /// All of them, in order.
    pub const ALL: [ValueType; 12] = [
        ValueType::AllocObjects,
        ValueType::AllocSpace,
        ValueType::InuseObjects,
        ValueType::InuseSpace,
        ValueType::PeakObjects,
        ValueType::PeakSpace,
        ValueType::Reallocs,
        ValueType::LifetimeSpace,
        ValueType::TemporaryObjects,
        ValueType::ShortLivedObjects,
        ValueType::LeakedObjects,
        ValueType::LeakedSpace,
    ];

    /// Its name in pprof files, in JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ValueType::AllocObjects => "alloc_objects",
            ValueType::AllocSpace => "alloc_space",
            ValueType::InuseObjects => "inuse_objects",
            ValueType::InuseSpace => "inuse_space",
            ValueType::PeakObjects => "peak_objects",
            ValueType::PeakSpace => "peak_space",
            ValueType::Reallocs => "reallocs",
            ValueType::LifetimeSpace => "lifetime_space",
            ValueType::TemporaryObjects => "temporary_objects",
            ValueType::ShortLivedObjects => "short_lived_objects",
            ValueType::LeakedObjects => "leaked_objects",
            ValueType::LeakedSpace => "leaked_space",
        }
    }

    /// What it counts.
    pub fn unit(self) -> Unit {
        match self {
            ValueType::AllocSpace
            | ValueType::InuseSpace
            | ValueType::PeakSpace
            | ValueType::LifetimeSpace
            | ValueType::LeakedSpace => Unit::Bytes,
            _ => Unit::Count,
        }
    }
}

impl Unit {
    /// pprof's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Count => "count",
            Unit::Bytes => "bytes",
        }
    }
}

/// Defines a set of metrics, one of each type.
macro_rules! metrics {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name([i64; ValueType::ALL.len()]);

        impl Index<ValueType> for $name {
            type Output = i64;

            fn index(&self, value: ValueType) -> &i64 {
                &self.0[value as usize]
            }
        }

        impl IndexMut<ValueType> for $name {
            fn index_mut(&mut self, value: ValueType) -> &mut i64 {
                &mut self.0[value as usize]
            }
        }
    };
}

metrics! {
    /// What was recorded.
    Observed
}
metrics! {
    /// What there was, as far as it can be told from what was recorded. Exact where every allocation was recorded.
    Estimated
}

impl Estimated {
    /// The metrics in the order of [`ValueType::ALL`].
    pub fn as_array(&self) -> &[i64; ValueType::ALL.len()] {
        &self.0
    }
}

impl AddAssign<&Estimated> for Estimated {
    fn add_assign(&mut self, other: &Estimated) {
        for (sum, value) in self.0.iter_mut().zip(&other.0) {
            *sum = sum.saturating_add(*value);
        }
    }
}
