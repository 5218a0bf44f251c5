//! The injection: what is put between cargo, rustc and the tests, and taken away again before a test can see it.

pub mod build_script;
pub mod cargo;
pub mod cargo_config;
pub mod dep_info;
pub mod depot;
pub mod diagnostics;
pub mod doctest;
pub mod env;
pub mod harness;
pub mod invocation;
pub mod libtest;
pub mod nested;
pub mod note;
pub mod plan;
pub mod ran;
pub mod rustc;
pub mod rustdoc;
pub mod stand_in;
