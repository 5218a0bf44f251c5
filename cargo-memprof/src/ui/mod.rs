//! What the user sees of this program and says to it while it runs: errors, codes, the terminal, Ctrl-C.

pub mod error;
pub mod exit_code;
pub mod interrupt;
pub mod terminal;
