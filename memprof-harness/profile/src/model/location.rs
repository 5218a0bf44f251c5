//! The locations of a profile: addresses and the functions they stand in.

use super::function::FunctionId;
use super::mapping::MappingId;
use super::table::{Table, row_id};

row_id! {
    /// Stands for a location of one profile.
    LocationId
}

/// One address and the frames at it. Where frames were trimmed off a stack's ends, one address can have several
/// locations, which differ in their frames.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// `None`: a frame of our own making, such as `[truncated]`.
    pub mapping: Option<MappingId>,
    /// Address of the call, in the mapping's own address space; 0 where there is no mapping.
    pub address: u64,
    /// Innermost first: what was inlined, then what it was inlined into. Never empty.
    pub frames: Box<[Frame]>,
}

/// One function at a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame {
    /// A row of the same profile's functions.
    pub function: FunctionId,
    /// 1-based; 0 = not known.
    pub line: u32,
    /// 1-based; 0 = not known.
    pub column: u32,
}

/// All locations of a profile.
pub type Locations = Table<LocationId, Location>;
