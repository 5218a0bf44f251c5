//! The calling stack of an event, as return addresses.

pub(crate) mod cached;
pub(crate) mod frame_pointer;
pub(crate) mod other_stack;
#[cfg(any(test, memprof_native))]
#[cfg_attr(not(memprof_native), allow(dead_code))]
pub(crate) mod stack_bounds;
