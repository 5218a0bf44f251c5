//! Memory of the engine's own: the mapped ledger and its file, private memory, tables of blocks by address, and ranges of addresses;
//! and whether the system may be asked for more.

pub(crate) mod address_table;
#[cfg(any(test, memprof_native))]
#[cfg_attr(not(memprof_native), allow(dead_code))]
pub(crate) mod blocks;
pub(crate) mod calls;
pub(crate) mod errno;
mod ledger_file;
pub(crate) mod ledger_map;
pub(crate) mod limits;
pub(crate) mod lock;
pub(crate) mod own_memory;
pub(crate) mod ranges;
pub(crate) mod tracked;
