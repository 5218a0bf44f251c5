//! What an event changes in the ledger: counters, the running total and its peak, sites and their stacks.

pub(crate) mod counters;
pub(crate) mod exact;
pub(crate) mod lane;
#[cfg(memprof_native)]
pub(crate) mod native;
#[cfg_attr(not(memprof_injected), allow(dead_code))]
pub(crate) mod peak;
// An ordinary build has nothing to ask about.
#[cfg_attr(not(memprof_injected), allow(dead_code))]
pub(crate) mod region;
pub(crate) mod sampled;
pub(crate) mod sampler;
pub(crate) mod site_predictor;
pub(crate) mod sites;
