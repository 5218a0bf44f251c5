//! The gate: allocation figures are held against a committed baseline, and what grew is explained. What a command needs is public here;
//! whatever decides anything is in a file of its own and pure.

pub mod against;
pub mod baseline;
pub mod compare;
pub mod evidence;
pub mod figures;
pub mod file;
pub mod flags;
pub mod limit;
pub mod outcome;
pub mod outputs;
pub mod pattern;
pub mod policy;
pub mod recorded;
pub mod reference;
pub mod self_test;
pub mod text;

mod annotate;
mod checkout;
mod configuration;
mod doctest;
mod explain;
mod job_summary;
mod json;
mod junit;
mod lines;
mod names;
mod picture;
mod stacks;
mod store;
mod varying;
