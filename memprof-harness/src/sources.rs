//! This package's own sources, so that an installed `cargo-memprof` can compile the harness it injects with the
//! toolchain at hand, without the network. `build.rs`-free: the list is written by hand and checked by a test.

/// The oldest Rust that compiles them.
pub const RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");

/// Path below `src/`, and text.
pub const FILES: &[(&str, &str)] = &[
    ("lib.rs", include_str!("lib.rs")),
    ("aslr.rs", include_str!("aslr.rs")),
    ("in_fork.rs", include_str!("in_fork.rs")),
    ("descendants.rs", include_str!("descendants.rs")),
    ("emulator.rs", include_str!("emulator.rs")),
    ("environment.rs", include_str!("environment.rs")),
    ("file_limit.rs", include_str!("file_limit.rs")),
    ("settle/mod.rs", include_str!("settle/mod.rs")),
    ("settle/rules.rs", include_str!("settle/rules.rs")),
    ("libtest_flags.rs", include_str!("libtest_flags.rs")),
    ("libtest_shapes.rs", include_str!("libtest_shapes.rs")),
    ("timeout.rs", include_str!("timeout.rs")),
    ("link_marker.rs", include_str!("link_marker.rs")),
    ("run_options.rs", include_str!("run_options.rs")),
    ("no_memory.rs", include_str!("no_memory.rs")),
    ("os/mod.rs", include_str!("os/mod.rs")),
    ("os/linux/mod.rs", include_str!("os/linux/mod.rs")),
    ("os/linux/errno.rs", include_str!("os/linux/errno.rs")),
    ("os/linux/file.rs", include_str!("os/linux/file.rs")),
    ("os/linux/loader.rs", include_str!("os/linux/loader.rs")),
    ("os/linux/memory.rs", include_str!("os/linux/memory.rs")),
    ("os/linux/task.rs", include_str!("os/linux/task.rs")),
    ("os/linux/thread.rs", include_str!("os/linux/thread.rs")),
    ("os/unsupported.rs", include_str!("os/unsupported.rs")),
    ("os/weak_symbol.rs", include_str!("os/weak_symbol.rs")),
    ("own_file.rs", include_str!("own_file.rs")),
    ("pattern.rs", include_str!("pattern.rs")),
    ("probe.rs", include_str!("probe.rs")),
    ("program.rs", include_str!("program.rs")),
    ("provenance.rs", include_str!("provenance.rs")),
    ("hash_seeds.rs", include_str!("hash_seeds.rs")),
    ("sources.rs", include_str!("sources.rs")),
    ("std_start.rs", include_str!("std_start.rs")),
    ("terminal.rs", include_str!("terminal.rs")),
    ("engine/mod.rs", include_str!("engine/mod.rs")),
    ("engine/alloc/mod.rs", include_str!("engine/alloc/mod.rs")),
    ("engine/alloc/block_tag.rs", include_str!("engine/alloc/block_tag.rs")),
    ("engine/alloc/central_list.rs", include_str!("engine/alloc/central_list.rs")),
    ("engine/alloc/open_spans.rs", include_str!("engine/alloc/open_spans.rs")),
    ("engine/alloc/reserves.rs", include_str!("engine/alloc/reserves.rs")),
    ("engine/alloc/slots.rs", include_str!("engine/alloc/slots.rs")),
    ("engine/alloc/span_pages.rs", include_str!("engine/alloc/span_pages.rs")),
    ("engine/alloc/span_pool.rs", include_str!("engine/alloc/span_pool.rs")),
    ("engine/alloc/spans.rs", include_str!("engine/alloc/spans.rs")),
    ("engine/alloc/start_map.rs", include_str!("engine/alloc/start_map.rs")),
    ("engine/alloc/system.rs", include_str!("engine/alloc/system.rs")),
    ("engine/alloc/system_tagged.rs", include_str!("engine/alloc/system_tagged.rs")),
    ("engine/alloc/system_untagged.rs", include_str!("engine/alloc/system_untagged.rs")),
    ("engine/alloc/thread_cache.rs", include_str!("engine/alloc/thread_cache.rs")),
    ("engine/hook/mod.rs", include_str!("engine/hook/mod.rs")),
    ("engine/hook/c_library.rs", include_str!("engine/hook/c_library.rs")),
    ("engine/hook/free.rs", include_str!("engine/hook/free.rs")),
    ("engine/hook/observer.rs", include_str!("engine/hook/observer.rs")),
    ("engine/hook/rust.rs", include_str!("engine/hook/rust.rs")),
    ("engine/hook/unload.rs", include_str!("engine/hook/unload.rs")),
    ("engine/leaks/mod.rs", include_str!("engine/leaks/mod.rs")),
    ("engine/leaks/array.rs", include_str!("engine/leaks/array.rs")),
    ("engine/leaks/blocks.rs", include_str!("engine/leaks/blocks.rs")),
    ("engine/leaks/budget.rs", include_str!("engine/leaks/budget.rs")),
    ("engine/leaks/c_heap.rs", include_str!("engine/leaks/c_heap.rs")),
    ("engine/leaks/filters.rs", include_str!("engine/leaks/filters.rs")),
    ("engine/leaks/mappings.rs", include_str!("engine/leaks/mappings.rs")),
    ("engine/leaks/memory.rs", include_str!("engine/leaks/memory.rs")),
    ("engine/leaks/registers.rs", include_str!("engine/leaks/registers.rs")),
    ("engine/leaks/roots.rs", include_str!("engine/leaks/roots.rs")),
    ("engine/leaks/skipped.rs", include_str!("engine/leaks/skipped.rs")),
    ("engine/leaks/tally.rs", include_str!("engine/leaks/tally.rs")),
    ("engine/leaks/threads.rs", include_str!("engine/leaks/threads.rs")),
    ("engine/life/mod.rs", include_str!("engine/life/mod.rs")),
    ("engine/life/ending.rs", include_str!("engine/life/ending.rs")),
    ("engine/life/frames.rs", include_str!("engine/life/frames.rs")),
    ("engine/life/loader.rs", include_str!("engine/life/loader.rs")),
    ("engine/life/modules.rs", include_str!("engine/life/modules.rs")),
    ("engine/life/own_allocator.rs", include_str!("engine/life/own_allocator.rs")),
    ("engine/life/process.rs", include_str!("engine/life/process.rs")),
    ("engine/life/seccomp.rs", include_str!("engine/life/seccomp.rs")),
    ("engine/life/state.rs", include_str!("engine/life/state.rs")),
    ("engine/life/std_itself.rs", include_str!("engine/life/std_itself.rs")),
    ("engine/life/suspension.rs", include_str!("engine/life/suspension.rs")),
    ("engine/life/thread.rs", include_str!("engine/life/thread.rs")),
    ("engine/record/mod.rs", include_str!("engine/record/mod.rs")),
    ("engine/record/both_modes.rs", include_str!("engine/record/both_modes.rs")),
    ("engine/record/counters.rs", include_str!("engine/record/counters.rs")),
    ("engine/record/desk.rs", include_str!("engine/record/desk.rs")),
    ("engine/record/exact.rs", include_str!("engine/record/exact.rs")),
    ("engine/record/lane.rs", include_str!("engine/record/lane.rs")),
    ("engine/record/native.rs", include_str!("engine/record/native.rs")),
    ("engine/record/sampled.rs", include_str!("engine/record/sampled.rs")),
    ("engine/record/sampler.rs", include_str!("engine/record/sampler.rs")),
    ("engine/record/site_index.rs", include_str!("engine/record/site_index.rs")),
    ("engine/record/site_predictor.rs", include_str!("engine/record/site_predictor.rs")),
    ("engine/record/sites.rs", include_str!("engine/record/sites.rs")),
    ("engine/record/total.rs", include_str!("engine/record/total.rs")),
    ("engine/store/mod.rs", include_str!("engine/store/mod.rs")),
    ("engine/store/address_table.rs", include_str!("engine/store/address_table.rs")),
    ("engine/store/blocks.rs", include_str!("engine/store/blocks.rs")),
    ("engine/store/calls.rs", include_str!("engine/store/calls.rs")),
    ("engine/store/errno.rs", include_str!("engine/store/errno.rs")),
    ("engine/store/ledger_file.rs", include_str!("engine/store/ledger_file.rs")),
    ("engine/store/ledger_map.rs", include_str!("engine/store/ledger_map.rs")),
    ("engine/store/limits.rs", include_str!("engine/store/limits.rs")),
    ("engine/store/lock.rs", include_str!("engine/store/lock.rs")),
    ("engine/store/own_memory.rs", include_str!("engine/store/own_memory.rs")),
    ("engine/store/ranges.rs", include_str!("engine/store/ranges.rs")),
    ("engine/store/tracked.rs", include_str!("engine/store/tracked.rs")),
    ("engine/unwind/mod.rs", include_str!("engine/unwind/mod.rs")),
    ("engine/unwind/cached.rs", include_str!("engine/unwind/cached.rs")),
    ("engine/unwind/chain.rs", include_str!("engine/unwind/chain.rs")),
    ("engine/unwind/code_at.rs", include_str!("engine/unwind/code_at.rs")),
    ("engine/unwind/eh_frame.rs", include_str!("engine/unwind/eh_frame.rs")),
    ("engine/unwind/excerpt.rs", include_str!("engine/unwind/excerpt.rs")),
    ("engine/unwind/frame_pointer.rs", include_str!("engine/unwind/frame_pointer.rs")),
    ("engine/unwind/kept_entry.rs", include_str!("engine/unwind/kept_entry.rs")),
    ("engine/unwind/kept_room.rs", include_str!("engine/unwind/kept_room.rs")),
    ("engine/unwind/kept_walk.rs", include_str!("engine/unwind/kept_walk.rs")),
    ("engine/unwind/memory.rs", include_str!("engine/unwind/memory.rs")),
    ("engine/unwind/stack_bounds.rs", include_str!("engine/unwind/stack_bounds.rs")),
    ("engine/unwind/table_walk.rs", include_str!("engine/unwind/table_walk.rs")),
    ("engine/unwind/tables.rs", include_str!("engine/unwind/tables.rs")),
    ("ledger/mod.rs", include_str!("ledger/mod.rs")),
    ("ledger/callees.rs", include_str!("ledger/callees.rs")),
    ("ledger/counts.rs", include_str!("ledger/counts.rs")),
    ("ledger/create.rs", include_str!("ledger/create.rs")),
    ("ledger/executable.rs", include_str!("ledger/executable.rs")),
    ("ledger/inventory.rs", include_str!("ledger/inventory.rs")),
    ("ledger/layout.rs", include_str!("ledger/layout.rs")),
    ("ledger/leaks.rs", include_str!("ledger/leaks.rs")),
    ("ledger/model.rs", include_str!("ledger/model.rs")),
    ("ledger/parts.rs", include_str!("ledger/parts.rs")),
    ("ledger/read.rs", include_str!("ledger/read.rs")),
    ("ledger/seed.rs", include_str!("ledger/seed.rs")),
    ("ledger/view.rs", include_str!("ledger/view.rs")),
    ("ledger/stacks.rs", include_str!("ledger/stacks.rs")),
    ("ledger/started.rs", include_str!("ledger/started.rs")),
    ("libtest/mod.rs", include_str!("libtest/mod.rs")),
    ("libtest/bencher.rs", include_str!("libtest/bencher.rs")),
    ("libtest/child.rs", include_str!("libtest/child.rs")),
    ("libtest/executable.rs", include_str!("libtest/executable.rs")),
    ("libtest/face.rs", include_str!("libtest/face.rs")),
    ("libtest/folder.rs", include_str!("libtest/folder.rs")),
    ("libtest/on_panic.rs", include_str!("libtest/on_panic.rs")),
    ("libtest/options.rs", include_str!("libtest/options.rs")),
    ("libtest/parent.rs", include_str!("libtest/parent.rs")),
    ("libtest/process.rs", include_str!("libtest/process.rs")),
    ("libtest/session.rs", include_str!("libtest/session.rs")),
    ("libtest/shape.rs", include_str!("libtest/shape.rs")),
    ("libtest/shape/env_args.rs", include_str!("libtest/shape/env_args.rs")),
    ("libtest/shape/static_list.rs", include_str!("libtest/shape/static_list.rs")),
    ("libtest/test_in_child.rs", include_str!("libtest/test_in_child.rs")),
    ("libtest/verdict.rs", include_str!("libtest/verdict.rs")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
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
    fn the_list_names_every_source_file_but_tests() {
        let mut on_disk = Vec::new();
        below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut on_disk);
        let mut listed: Vec<_> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        // Tests that have a file of their own are no part of the library.
        on_disk.retain(|path| !path.ends_with("/tests.rs"));
        on_disk.sort();
        listed.sort();
        assert_eq!(listed, on_disk);
    }

    /// Of what came after the oldest Rust, clippy knows functions and not syntax, and it looks at no test and no macro.
    #[test]
    fn nothing_in_them_is_newer_than_the_oldest_rust() {
        // In two pieces, or this file would be one of those that have them.
        let newer = [
            ("unsafe", " extern \"C\" {"),
            ("#[unsafe", "("),
            ("&raw", " const "),
            ("&raw", " mut "),
            ("#[expect", "("),
            ("PanicHook", "Info"),
            (".is_none", "_or("),
            ("Lazy", "Lock"),
        ];
        for (path, text) in FILES {
            for (start, end) in newer {
                assert!(
                    !text.contains(&format!("{start}{end}")),
                    "{path} has `{start}{end}`; Rust {RUST_VERSION} does not"
                );
            }
        }
    }

    /// They are compiled to reach their own variables directly, as those of a shared object cannot be reached on every processor.
    #[test]
    fn no_variable_of_another_object_is_named_in_them() {
        for (path, text) in FILES {
            for line in text.lines().map(str::trim_start) {
                let declared = line.trim_start_matches("pub ").strip_prefix("static ");
                assert!(
                    declared.map_or(true, |rest| rest.contains('=') || !rest.ends_with(';')),
                    "{path} names a variable of another object: `{line}`; ask for it with weak_address!"
                );
            }
        }
    }

    /// Another system needs `os` written anew; what is called elsewhere has to be there, too.
    #[test]
    fn what_only_this_system_has_is_called_in_one_place() {
        let calls = [
            ("dl_", "iterate_phdr"),
            ("getaux", "val("),
            ("process_", "vm_readv("),
            ("libc::", "prctl("),
            ("libc::", "personality("),
            ("pthread_", "getattr_np"),
            ("libc::", "gettid"),
            ("libc::", "syscall("),
            ("posix_", "fallocate("),
            ("libc::__", "errno_location"),
            ("libc::", "mincore"),
            ("libc::", "madvise"),
            ("libc::MAP_", "NORESERVE"),
            ("sig", "timedwait("),
            ("F_SET", "PIPE_SZ"),
            ("libc::malloc_", "usable_size"),
            ("libc::", "pipe2("),
            ("libc::", "PT_"),
            ("libc::dl_", "phdr_info"),
            ("libc::", "Elf64_"),
            ("libc::__", "rlimit_resource_t"),
        ];
        let elsewhere: Vec<_> = FILES.iter().filter(|(path, _)| !path.starts_with("os/")).collect();
        for (path, text) in &elsewhere {
            let code: String =
                text.split("#[cfg(all(test").next().unwrap_or_default().lines().map(uncommented).collect();
            for (start, end) in calls {
                assert!(!code.contains(&format!("{start}{end}")), "{path} calls {start}{end}, which belongs into os");
            }
        }
        // Who reads what the kernel tells in files.
        let readers =
            ["descendants.rs", "engine/leaks/filters.rs", "engine/leaks/mappings.rs", "engine/leaks/threads.rs"];
        let readers = readers.into_iter().chain(["engine/life/ending.rs", "engine/store/limits.rs"]);
        let readers = readers.chain(["engine/unwind/stack_bounds.rs", "own_file.rs", "std_start.rs"]);
        let found = elsewhere
            .iter()
            .filter(|(_, text)| text.lines().any(|line| uncommented(line).contains(concat!("/pr", "oc/"))));
        let found: BTreeSet<_> = found.map(|(path, _)| *path).collect();
        assert_eq!(found, readers.collect());
    }

    /// No compiler reads the other side of `os` where no source of std for its system is at hand.
    #[test]
    fn every_call_of_this_system_has_its_like_for_the_others() {
        let names = |text: &str| -> BTreeSet<String> {
            let declared = text.lines().filter_map(|line| line.trim_start().strip_prefix("pub(crate) "));
            let declared = declared.map(|line| line.trim_start_matches("unsafe ").to_owned());
            let names = declared.filter_map(|line| {
                let rest = ["fn ", "const ", "type ", "struct "].iter().find_map(|kind| line.strip_prefix(kind))?;
                Some(rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()?.to_owned())
            });
            names.collect()
        };
        let text_of = |path: &str| FILES.iter().find(|(found, _)| *found == path).map(|(_, text)| *text).unwrap();
        let unsupported = names(text_of("os/unsupported.rs"));
        let mut seen = 0;
        for (path, text) in FILES.iter().filter(|(path, _)| path.starts_with("os/linux/")) {
            for name in names(text) {
                // What musl does not have is called where it is there only.
                assert!(
                    name == "at_exit" || unsupported.contains(&name),
                    "{path} has `{name}`, os/unsupported.rs does not"
                );
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen}");
    }

    fn uncommented(line: &str) -> &str {
        line.split("//").next().unwrap_or_default()
    }
}
