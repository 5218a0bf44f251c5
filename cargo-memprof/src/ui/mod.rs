//! The user's side of the program: errors, exit codes, the terminal, Ctrl-C.

pub mod error;
pub mod exit_code;
pub mod interrupt;
pub mod terminal;
