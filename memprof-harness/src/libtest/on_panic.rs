//! The consequences of a panic in this executable, and the exit code of a failure.

/// libtest's own exit code for bad arguments and failed tests alike.
pub(super) const FAILURE: i32 = 101;

/// What a panic does in this executable: which of the two entry points rustc chose says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnPanic {
    Unwind,
    Abort,
}
