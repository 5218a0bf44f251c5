//! From a profile to the bytes of a file format, one file each. Pure: nothing here reads or writes a file, and no
//! exporter changes a number.

pub mod flamegraph;
pub mod pprof;
