//! What a run is compared with: the committed file and its profiles, or another revision. How the committed text looks is
//! `committed`'s business.

mod checkout;
mod configuration;

pub mod against;
pub mod file;
pub mod reference;
pub mod release;
pub mod store;
