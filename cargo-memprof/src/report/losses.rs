//! The losses of a test's recording, in the form of `summary.json`.

use memprof_harness::ledger::Losses;
use serde::{Deserialize, Serialize};

/// What could not be recorded; see [`Losses`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct TestLosses {
    pub unattributed_objects: u64,
    pub unattributed_space: u64,
    #[serde(default)]
    pub unattributed_frees: u64,
    #[serde(default)]
    pub unattributed_freed_space: u64,
    pub truncated_stacks: u64,
    pub unwalkable_stacks: u64,
    pub untracked_samples: u64,
    pub untracked_foreign: u64,
    #[serde(default)]
    pub outside_frees: u64,
    #[serde(default)]
    pub outside_freed_space: u64,
    #[serde(default)]
    pub lost_peaks: u64,
    pub unreadable_sites: u64,
    pub unreadable_bytes: u64,
    pub forks: u32,
    #[serde(default)]
    pub lost_forks: u64,
    pub own_memory: u64,
}

impl From<&Losses> for TestLosses {
    fn from(losses: &Losses) -> TestLosses {
        TestLosses {
            unattributed_objects: losses.unattributed_objects,
            unattributed_space: losses.unattributed_space,
            unattributed_frees: losses.unattributed_frees,
            unattributed_freed_space: losses.unattributed_freed_space,
            truncated_stacks: losses.truncated_stacks,
            unwalkable_stacks: losses.unwalkable_stacks,
            untracked_samples: losses.untracked_samples,
            untracked_foreign: losses.untracked_foreign,
            outside_frees: losses.outside_frees,
            outside_freed_space: losses.outside_freed_space,
            lost_peaks: losses.lost_peaks,
            unreadable_sites: losses.unreadable_sites,
            unreadable_bytes: losses.unreadable_bytes,
            forks: losses.forks,
            lost_forks: losses.lost_forks,
            own_memory: losses.own_memory,
        }
    }
}
