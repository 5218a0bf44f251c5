//! The model: what was allocated where, with names in place of addresses. Pure values; nothing here reads or writes a
//! file, knows DWARF or a ledger, or formats for anybody. One file holds one table.

mod hash;
pub mod iteration;
pub mod leaked;
pub mod table;

pub mod function;
pub mod location;
pub mod mapping;
pub mod sample;
pub mod stack;
pub mod string;

pub mod scale;
pub mod values;

mod builder;
mod canonical;
mod merge;
pub mod tree;

#[cfg(test)]
pub mod test_profiles;

pub use builder::ProfileBuilder;
pub use hash::{IdMap, IdSet};

use function::Functions;
use location::Locations;
use mapping::Mappings;
use sample::Sample;
use scale::SampleRate;
use stack::Stacks;
use string::Strings;

/// One profile: of a test, or of a run.
///
/// Invariants: every id in it is an id of its own tables; every table row is used; no two samples have the same stack,
/// test and block size. The order of everything in it follows from what it says, not from how it was made: equal
/// profiles are written as equal bytes.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// What it is of.
    pub about: About,
    /// Every text that the other tables refer to.
    pub strings: Strings,
    /// By name and file.
    pub functions: Functions,
    /// The program first, then libraries, by path.
    pub mappings: Mappings,
    /// By mapping, address and frames.
    pub locations: Locations,
    /// A trie: each stack is its innermost location and the stack that called it.
    pub stacks: Stacks,
    /// Grouped by stack, in the stacks' order.
    pub samples: Vec<Sample>,
}

/// What a profile is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// How often a stack was recorded.
    pub rate: SampleRate,
    /// Start of what was recorded, in nanoseconds since the Unix epoch; 0 = not known.
    pub started_ns: u64,
    /// Wall time of what was recorded, in nanoseconds.
    pub duration_ns: u64,
    /// Path of the executable; its mapping goes first, which is what pprof takes for the program. Empty where there are
    /// several.
    pub executable: String,
    /// For the reader: the test, the rate, the command.
    pub comments: Vec<String>,
}
