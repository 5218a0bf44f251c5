//! The commands, a file each. A file reads from top to bottom and calls the stages below. `test` serves `bench` and `nextest` as well.

pub mod accept;
pub mod bisect;
pub mod clean;
pub mod gate;
pub mod history;
pub mod merge;
pub mod run;
pub mod test;

mod recording;
