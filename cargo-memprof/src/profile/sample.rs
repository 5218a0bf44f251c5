//! The samples of a profile.

use super::stack::StackId;
use super::string::StringId;
use super::values::Estimated;

/// What happened at one stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub stack: StackId,
    /// The test it happened in; `None` in the profile of a single test.
    pub test: Option<StringId>,
    /// Size of every block counted here, in bytes; 0 = they differ.
    pub block_size: u64,
    pub values: Estimated,
}
