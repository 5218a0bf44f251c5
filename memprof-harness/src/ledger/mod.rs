//! The ledger: the file that one recorded process leaves. `layout` has its bytes, `create` the parts that are written
//! by ordinary code (who the process is, how it ended), `executable` what it ran, `parts` and `read` take it in again. The
//! hot writing is the engine's.

pub mod executable;
pub mod layout;

mod create;
mod inventory;
mod model;
mod parts;
mod read;

pub(crate) use create::push_pair;
pub use create::{Finish, Hook, Identity, LedgerFile, OutcomeCode};
pub use inventory::{Inventory, Listed};
pub use model::{Counters, End, Ledger, LedgerError, Losses, Module, Site, SiteValues};
pub use read::read;
