//! How things are said: what a text may hold that is shown.

pub mod plain;
