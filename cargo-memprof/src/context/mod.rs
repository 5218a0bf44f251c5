//! What surrounds a run: where things are, and what they are called.

pub mod build_layout;
pub mod cargo_args;
pub mod cargo_config;
pub mod cargo_flags;
pub mod executable;
pub mod machine;
pub mod test_filter;
