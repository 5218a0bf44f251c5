//! The variables through which `cargo memprof`, a test executable and its children talk to one another: one constant
//! each, and nothing else.

/// Set for a test executable by `cargo memprof`: mean bytes between samples, decimal. Also set for its children.
pub const RATE: &str = "MEMPROF_RATE";
/// Set for a test executable by `cargo memprof`: the folder its ledgers go into, absolute. Where it is not set (and
/// no flag says otherwise) the executable behaves as plain libtest.
pub const LEDGERS: &str = "MEMPROF_LEDGERS";
/// Set for a child: the index of the test it runs, in the order of the executable's own list. Its presence is what
/// makes the engine record.
pub const CHILD: &str = "MEMPROF_CHILD";
/// Set for a child: the ledger to record into, absolute.
pub const LEDGER: &str = "MEMPROF_LEDGER";

/// All of them, in the order `RATE`, `LEDGERS`, `CHILD`, `LEDGER`. A test executable takes them out of its environment as soon as it has read them, so that a test and
/// whatever it starts see the environment the user had.
pub const ALL: [&str; 4] = [RATE, LEDGERS, CHILD, LEDGER];
