//! What the stories share: fixtures to copy, programs to run, outputs to read back. The stories themselves are in
//! `tests/`, one file each.

pub mod command;
pub mod fixture;
pub mod libtest;
pub mod output;
pub mod patterns;
pub mod pprof;
pub mod probe;
pub mod repository;
pub mod small_disk;
pub mod stress;
pub mod summary;
pub mod tool;
pub mod workloads;
pub mod workspace;
