//! From metrics to text for a terminal. Pure.

pub mod amount;
pub mod benchmarks;
pub mod leaked;
pub mod plain;
pub mod table;
