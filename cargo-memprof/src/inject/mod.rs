//! The injection: what is put between cargo, rustc and the tests, and taken away again before a test can see it.

pub mod cargo;
pub mod dep_info;
pub mod depot;
pub mod diagnostics;
pub mod doctest;
pub mod harness;
pub mod invocation;
pub mod libtest;
pub mod nested;
pub mod rustc;
pub mod rustdoc;
