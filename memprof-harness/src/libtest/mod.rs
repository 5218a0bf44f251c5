//! The face that rustc's expansion of `#[test]` calls.
extern crate test as real;
pub use real::*;
#[global_allocator]
static HOOK: crate::engine::Hook = crate::engine::Hook;
