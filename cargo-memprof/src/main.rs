//! Who calls whom.
#![forbid(unsafe_code)]

mod error;
mod exit_code;
mod run;
mod shell;

fn main() {}
