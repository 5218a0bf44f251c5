//! The one way in and the one way out for files that others may have written, or may have put a link in the place of.

pub mod intake;
pub mod outlet;
