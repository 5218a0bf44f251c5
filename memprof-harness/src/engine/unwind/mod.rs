//! The calling stack of an event, as return addresses.
//!
//! | stack | how it is found | where |
//! | --- | --- | --- |
//! | the thread's own, all of it with frame pointers | compared with the one of the event before | `cached`, `chain` |
//! | another one (a coroutine's), or one with code that has none or with a signal handler | compared with what a walk by tables read | `kept_walk`, `kept_room`, `kept_entry` |
//! | what of that is new | by the unwind tables | `table_walk`, `memory`, `tables`, `eh_frame`, `code_at` |
//!
//! Whether a chain of frame pointers is the stack is asked of the tables when it is noted for the first time.

pub(crate) mod cached;
pub(crate) mod chain;
pub(crate) mod code_at;
#[cfg(target_arch = "x86_64")]
pub(crate) mod eh_frame;
pub(crate) mod excerpt;
pub(crate) mod frame_pointer;
mod kept_entry;
pub(crate) mod kept_room;
pub(crate) mod kept_walk;
pub(crate) mod memory;
#[cfg(any(test, memprof_native))]
#[cfg_attr(not(memprof_native), allow(dead_code))]
pub(crate) mod stack_bounds;
pub(crate) mod table_walk;
pub(crate) mod tables;
