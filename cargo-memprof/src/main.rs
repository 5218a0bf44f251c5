//! Who calls whom.
#![forbid(unsafe_code)]
fn main() {}
