//! This package's own sources, so that an installed `cargo-memprof` can compile the harness it injects with the
//! toolchain at hand, without the network. `build.rs`-free: the list is written by hand and checked by a test.

/// Path below `src/`, and text.
pub const FILES: &[(&str, &str)] = &[
    ("lib.rs", include_str!("lib.rs")),
    ("addresses.rs", include_str!("addresses.rs")),
    ("apart.rs", include_str!("apart.rs")),
    ("budget.rs", include_str!("budget.rs")),
    ("environment.rs", include_str!("environment.rs")),
    ("limit.rs", include_str!("limit.rs")),
    ("measure.rs", include_str!("measure.rs")),
    ("modes.rs", include_str!("modes.rs")),
    ("pattern.rs", include_str!("pattern.rs")),
    ("probe.rs", include_str!("probe.rs")),
    ("seeds.rs", include_str!("seeds.rs")),
    ("sources.rs", include_str!("sources.rs")),
    ("terminal.rs", include_str!("terminal.rs")),
    ("ledger/mod.rs", include_str!("ledger/mod.rs")),
    ("ledger/layout.rs", include_str!("ledger/layout.rs")),
    ("ledger/create.rs", include_str!("ledger/create.rs")),
    ("ledger/executable.rs", include_str!("ledger/executable.rs")),
    ("ledger/inventory.rs", include_str!("ledger/inventory.rs")),
    ("ledger/model.rs", include_str!("ledger/model.rs")),
    ("ledger/parts.rs", include_str!("ledger/parts.rs")),
    ("ledger/read.rs", include_str!("ledger/read.rs")),
    ("engine/mod.rs", include_str!("engine/mod.rs")),
    ("engine/arena.rs", include_str!("engine/arena.rs")),
    ("engine/bare.rs", include_str!("engine/bare.rs")),
    ("engine/blocks.rs", include_str!("engine/blocks.rs")),
    ("engine/cells.rs", include_str!("engine/cells.rs")),
    ("engine/counters.rs", include_str!("engine/counters.rs")),
    ("engine/exact.rs", include_str!("engine/exact.rs")),
    ("engine/foreign.rs", include_str!("engine/foreign.rs")),
    ("engine/free_cells.rs", include_str!("engine/free_cells.rs")),
    ("engine/headers.rs", include_str!("engine/headers.rs")),
    ("engine/hook_native.rs", include_str!("engine/hook_native.rs")),
    ("engine/hook_rust.rs", include_str!("engine/hook_rust.rs")),
    ("engine/lane.rs", include_str!("engine/lane.rs")),
    ("engine/links.rs", include_str!("engine/links.rs")),
    ("engine/loader.rs", include_str!("engine/loader.rs")),
    ("engine/maps.rs", include_str!("engine/maps.rs")),
    ("engine/native.rs", include_str!("engine/native.rs")),
    ("engine/objects.rs", include_str!("engine/objects.rs")),
    ("engine/own_allocator.rs", include_str!("engine/own_allocator.rs")),
    ("engine/process.rs", include_str!("engine/process.rs")),
    ("engine/recent.rs", include_str!("engine/recent.rs")),
    ("engine/region.rs", include_str!("engine/region.rs")),
    ("engine/sampled.rs", include_str!("engine/sampled.rs")),
    ("engine/sampler.rs", include_str!("engine/sampler.rs")),
    ("engine/sites.rs", include_str!("engine/sites.rs")),
    ("engine/state.rs", include_str!("engine/state.rs")),
    ("engine/table.rs", include_str!("engine/table.rs")),
    ("engine/thread.rs", include_str!("engine/thread.rs")),
    ("engine/tracked.rs", include_str!("engine/tracked.rs")),
    ("engine/unwind.rs", include_str!("engine/unwind.rs")),
    ("engine/watch.rs", include_str!("engine/watch.rs")),
    ("engine/word.rs", include_str!("engine/word.rs")),
    ("program.rs", include_str!("program.rs")),
    ("libtest/mod.rs", include_str!("libtest/mod.rs")),
    ("libtest/bencher.rs", include_str!("libtest/bencher.rs")),
    ("libtest/face.rs", include_str!("libtest/face.rs")),
    ("libtest/options.rs", include_str!("libtest/options.rs")),
    ("libtest/folder.rs", include_str!("libtest/folder.rs")),
    ("libtest/parent.rs", include_str!("libtest/parent.rs")),
    ("libtest/child.rs", include_str!("libtest/child.rs")),
    ("libtest/process.rs", include_str!("libtest/process.rs")),
    ("libtest/verdict.rs", include_str!("libtest/verdict.rs")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn below(folder: &Path, files: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, files);
            } else {
                let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
                files.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn the_list_names_every_source_file_and_no_other() {
        let mut on_disk = Vec::new();
        below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut on_disk);
        let mut listed: Vec<_> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        on_disk.sort();
        listed.sort();
        assert_eq!(listed, on_disk);
    }
}
