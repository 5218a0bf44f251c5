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
    ("libtest/mod.rs", include_str!("libtest/mod.rs")),
];
