//! What surrounds a run: where things are, and what they are called.

pub mod build_layout;
pub mod executable;
pub mod machine;
