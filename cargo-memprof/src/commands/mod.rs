//! The commands, a file each, which read from top to bottom: what they do themselves, and what they call for the rest. `test` is
//! `bench` and `nextest` as well.

pub mod accept;
pub mod clean;
pub mod gate;
pub mod merge;
pub mod run;
pub mod test;

mod recording;
