//! The loaded objects of a profile.

use super::string::StringId;
use super::table::{Table, row_id};

row_id! {
    /// Stands for a loaded object of one profile.
    MappingId
}

/// One loaded object. Addresses are the object's own (as if it were loaded at its preferred place), so that the same
/// code has the same address in every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// The address after the last.
    pub limit: u64,
    /// Absolute path.
    pub file: StringId,
    /// Hexadecimal; empty where the object has none.
    pub build_id: StringId,
    /// Whether lines and inlined functions were known (DWARF), not only names.
    pub has_lines: bool,
}

/// All loaded objects of a profile.
pub type Mappings = Table<MappingId, Mapping>;
