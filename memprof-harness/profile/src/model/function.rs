//! The functions of a profile.

use super::string::StringId;
use super::table::{Table, row_id};

row_id! {
    /// Stands for a function of one profile.
    FunctionId
}

/// Whose code a function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// The workspace under test.
    Workspace,
    /// Another crate: from a registry, a git checkout, a path outside the workspace.
    Dependency,
    /// `core`, `alloc`, `std` and what they are built from.
    Std,
    /// Code without Rust source: C libraries, the loader, what could not be resolved.
    Native,
}

/// One function, as a reader knows it. Two instances of a generic function that demangle alike are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Function {
    /// Demangled, without hashes.
    pub name: StringId,
    /// Absolute where it is known; empty where it is not.
    pub file: StringId,
    /// Whose code it is.
    pub origin: Origin,
}

/// All functions of a profile.
pub type Functions = Table<FunctionId, Function>;
