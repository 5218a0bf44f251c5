//! This package's own sources, so that an installed `cargo-memprof` can compile the harness it injects with the
//! toolchain at hand, without the network. `build.rs`-free: the list is written by hand and checked by a test.

/// Path below `src/`, and text.
pub const FILES: &[(&str, &str)] = &[
    ("lib.rs", include_str!("lib.rs")),
    ("environment.rs", include_str!("environment.rs")),
    ("sources.rs", include_str!("sources.rs")),
    ("ledger/mod.rs", include_str!("ledger/mod.rs")),
    ("ledger/layout.rs", include_str!("ledger/layout.rs")),
    ("ledger/create.rs", include_str!("ledger/create.rs")),
    ("ledger/read.rs", include_str!("ledger/read.rs")),
    ("engine/mod.rs", include_str!("engine/mod.rs")),
    ("engine/arena.rs", include_str!("engine/arena.rs")),
    ("engine/hook_rust.rs", include_str!("engine/hook_rust.rs")),
    ("engine/lane.rs", include_str!("engine/lane.rs")),
    ("engine/objects.rs", include_str!("engine/objects.rs")),
    ("engine/process.rs", include_str!("engine/process.rs")),
    ("engine/sampler.rs", include_str!("engine/sampler.rs")),
    ("engine/sites.rs", include_str!("engine/sites.rs")),
    ("engine/state.rs", include_str!("engine/state.rs")),
    ("engine/thread.rs", include_str!("engine/thread.rs")),
    ("engine/tracked.rs", include_str!("engine/tracked.rs")),
    ("engine/unwind.rs", include_str!("engine/unwind.rs")),
    ("libtest/mod.rs", include_str!("libtest/mod.rs")),
];
