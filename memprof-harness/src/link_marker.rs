//! The bytes by which `cargo memprof` sees, once an executable is linked, that our entry point is in it. The entry point
//! alone refers to them, and the linker drops what nothing refers to: a target with a test runner of its own
//! (`#![test_runner]`) compiles against our `test` crate and never calls it.
//!
//! Each has a zero byte in its middle, so that this file's own text, which `cargo-memprof` holds, is no marker.

/// In an executable whose `main` is libtest's.
pub const TESTS: &[u8] = b"memprof link marker\0of the tests\0";
/// In a program whose `main` is its own.
pub const PROGRAM: &[u8] = b"memprof link marker\0of a program\0";

/// What stands before the room for a program's name.
pub const NAME: [u8; 32] = *b"memprof link marker\0of the name\0";
/// Bytes of that room. A longer name is not noted.
pub const NAME_ROOM: usize = 96;

/// What a program is called: the name of its target, by which it is known in whatever file it is started. The room is empty as the harness is
/// compiled; once a program is linked, `cargo memprof` writes the name into its file.
///
/// **Format**: [`NAME`], and the name in UTF-8 with zeros behind it.
#[repr(C)]
pub struct NameSlot {
    mark: [u8; NAME.len()],
    name: [u8; NAME_ROOM],
}

impl NameSlot {
    pub const EMPTY: NameSlot = NameSlot { mark: NAME, name: [0; NAME_ROOM] };

    /// The name; empty = none was noted.
    #[must_use]
    pub fn name(&self) -> &str {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(NAME_ROOM);
        std::str::from_utf8(&self.name[..end]).unwrap_or_default()
    }
}
