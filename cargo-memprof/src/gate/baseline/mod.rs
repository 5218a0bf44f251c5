//! The sides that a run is compared with: the committed file and its profiles, or another revision. The form of the
//! committed text is `committed`'s business.

mod checkout;
mod configuration;

pub mod against;
pub mod file;
pub mod paths;
pub mod reference;
pub mod release;
pub mod store;
