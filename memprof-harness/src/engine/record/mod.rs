//! Records events in the ledger: counters, the running total and its peak, sites and their stacks.

pub(crate) mod both_modes;
pub(crate) mod counters;
mod desk;
pub(crate) mod exact;
pub(crate) mod lane;
#[cfg(memprof_native)]
pub(crate) mod native;
pub(crate) mod sampled;
pub(crate) mod sampler;
pub(crate) mod site_index;
pub(crate) mod site_predictor;
pub(crate) mod sites;
mod total;
