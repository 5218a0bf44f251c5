//! This program in the place of rustc and rustdoc while cargo builds.

pub mod doctest;
pub mod rustc;
pub mod rustdoc;

mod dep_info;
mod invocation;
mod settings;
