//! The allocator under a recorded program: slots for small blocks, the system for large ones, and the tag in front of each.

// Under the native hook blocks are the C library's own, and most of this has no caller.
#![cfg_attr(memprof_native, allow(dead_code))]

pub(crate) mod block_tag;
pub(crate) mod central_list;
pub(crate) mod open_spans;
pub(crate) mod reserves;
pub(crate) mod slots;
pub(crate) mod span_pages;
pub(crate) mod span_pool;
pub(crate) mod spans;
pub(crate) mod start_map;
pub(crate) mod system;
pub(crate) mod system_tagged;
pub(crate) mod system_untagged;
pub(crate) mod thread_cache;
