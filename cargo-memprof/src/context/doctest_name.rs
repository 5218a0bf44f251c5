//! What rustdoc calls a doctest: by its item and its line. Pure.

/// The kind of a target of doctests.
pub const KIND: &str = "doc";

/// `src/lib.rs - f (line 12)` as `src/lib.rs - f` and 12; of a crate's own documentation as `src/lib.rs` and the line.
pub fn item_and_line(name: &str) -> Option<(String, u32)> {
    const LINE: &str = " (line ";
    let (item, rest) = name.rsplit_once(LINE)?;
    let (line, behind) = rest.split_once(')')?;
    let line = line.parse().ok()?;
    Some((format!("{}{behind}", item.trim_end_matches(" -")), line))
}
