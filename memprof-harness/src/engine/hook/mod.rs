//! Where the program's calls come in: Rust's allocation functions, or the C library's.

#[cfg(memprof_native)]
mod c_library;
pub(crate) mod rust;
