//! The ledger: the file that one recorded process leaves. `layout` has its bytes, `create` the parts that are written
//! by ordinary code (who the process is, how it ended), `executable` what it ran, `started` what its test started, `seed` what its samplers begin with, `parts`,
//! `stacks`, `leaks` and `read` take it in again. The hot writing is the engine's.

pub mod executable;
pub mod layout;

mod callees;
#[cfg(not(memprof_program))]
mod counts;
mod create;
mod inventory;
// What is slipped under a test writes ledgers and reads none.
#[cfg(not(memprof_injected))]
mod leaks;
#[cfg(not(memprof_injected))]
mod model;
#[cfg(not(memprof_injected))]
mod parts;
#[cfg(not(memprof_injected))]
mod read;
mod seed;
#[cfg(not(memprof_injected))]
mod stacks;
mod started;
#[cfg(not(memprof_program))]
mod view;

pub use callees::{Callee, Callees};
#[cfg(not(memprof_program))]
pub use counts::Counts;
pub(crate) use create::push_pair;
pub use create::{Benchmark, Finish, Hook, Identity, LedgerFile, OutcomeCode};
pub use inventory::{Inventory, Listed};
#[cfg(not(memprof_injected))]
pub use leaks::{LeakCheck, Leaks};
#[cfg(not(memprof_injected))]
pub use model::{Counters, End, Ledger, LedgerError, Losses, Module, Site, SiteValues};
#[cfg(not(memprof_injected))]
pub use read::read;
pub use seed::{fnv1a, source_in_every_checkout, target_of, Seed};
#[cfg(not(memprof_injected))]
pub use stacks::{AddressId, StackId, StackNode, StackTable, Stacks};
#[cfg(memprof_program)]
pub(crate) use started::note as note_started;
#[cfg(not(memprof_program))]
pub use started::{remove_run, RunCounts};
