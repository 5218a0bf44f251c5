//! The engine keeps exact books, whatever the process does, and survives it. Driven by hand, without cargo: see
//! `fixtures/probe`.
#![allow(clippy::unwrap_used)] // tests throughout

use memprof_harness::ledger::layout::{frames_left_out, state};
use memprof_harness::ledger::{Ledger, Site, SiteValues};
use memprof_tests::probe::{Hook, Probed, probe, probe_at};
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;

/// Counters only, everything, often, seldom.
const RATES: [u64; 4] = [0, 1, 512, 524_288];

/// Runs a scenario that comes to its end, at every rate and with either hook, and checks what always holds.
fn at_every_rate(scenario: &str, check: impl Fn(&Probed)) {
    at_every_rate_of(&[Hook::Rust, Hook::Native], scenario, check);
}

fn at_every_rate_of(hooks: &[Hook], scenario: &str, check: impl Fn(&Probed)) {
    for (&hook, rate) in hooks.iter().flat_map(|hook| RATES.map(|rate| (hook, rate))) {
        let probed = probe_at(hook, scenario, rate);
        assert!(probed.status.success(), "{scenario} at rate {rate}: {}", probed.status);
        assert!(probed.ledger.end.whole);
        let losses = probed.ledger.losses;
        assert_eq!(losses.unreadable_bytes + losses.unreadable_sites, 0, "{scenario} at rate {rate}: {losses:?}");
        probed.totals_are_true();
        check(&probed);
    }
}

fn peak_is_exact(probed: &Probed) {
    assert_eq!(probed.ledger.counters.peak_space, probed.truth.total("peak_space"));
    assert_eq!(probed.ledger.counters.peak_error, 0);
}

#[test]
fn an_empty_window_records_nothing() {
    at_every_rate("nothing", |probed| {
        peak_is_exact(probed);
        assert_eq!(probed.ledger.counters.alloc_objects, 0);
        assert!(probed.ledger.sites.is_empty());
    });
}

#[test]
fn every_metric_of_every_site_agrees_with_a_model_that_counts_the_slow_way() {
    at_every_rate("model", |probed| {
        peak_is_exact(probed);
        if probed.ledger.rate == 1 {
            let mut found: Vec<[u64; 10]> = probed.ledger.sites.iter().map(|site| metrics(&site.values)).collect();
            found.sort_unstable();
            assert_eq!(found, probed.truth.places);
        }
    });
}

/// In the order of the probe's own metrics.
fn metrics(values: &SiteValues) -> [u64; 10] {
    assert_eq!(values.timed_frees, values.frees);
    [
        values.alloc_objects,
        values.alloc_space,
        values.frees,
        values.freed_space,
        u64::try_from(values.peak_objects).unwrap(),
        u64::try_from(values.peak_space).unwrap(),
        values.reallocs,
        values.lifetime_space,
        values.temporary,
        values.short_lived,
    ]
}

#[test]
fn a_sampled_stack_is_scaled_up_to_what_was_really_allocated() {
    let probed = probe("model", 512);
    let (mut objects, mut space, mut variance) = (0.0, 0.0, 0.0);
    for site in &probed.ledger.sites {
        let size = site.size as f64;
        let sampled = 1.0 - (-size / 512.0).exp();
        let seen = site.values.alloc_objects as f64;
        objects += seen / sampled;
        space += seen * size / sampled;
        // Each of `seen / sampled` blocks was seen with that probability.
        variance += seen / sampled * (1.0 - sampled) / sampled * size * size;
    }
    let truth = probed.truth.total("alloc_space") as f64;
    // The seed is fixed, so this holds always or never; five standard deviations are the bound.
    assert!((space - truth).abs() < 5.0 * variance.sqrt(), "{space} for {truth}");
    assert!((objects / probed.truth.total("alloc_objects") as f64 - 1.0).abs() < 0.05, "{objects}");
}

#[test]
fn two_runs_of_one_thread_are_the_same_to_the_last_metric() {
    for rate in RATES {
        let [first, second] = [(), ()].map(|()| probe("model", rate).ledger);
        assert_eq!(first.counters, second.counters);
        let values = |ledger: &memprof_harness::ledger::Ledger| {
            let mut values: Vec<_> = ledger.sites.iter().map(|site| (site.size, metrics(&site.values))).collect();
            values.sort_unstable();
            values
        };
        assert_eq!(values(&first), values(&second));
    }
}

#[test]
fn every_alignment_and_size_is_served_and_what_cannot_be_served_is_counted() {
    at_every_rate("shapes", |probed| {
        peak_is_exact(probed);
        assert_eq!(probed.ledger.counters.failed, 5);
    });
}

#[test]
fn nothing_in_front_of_a_block_is_touched_however_large_its_alignment_is() {
    // Below std, alignments are padded by std's own code.
    at_every_rate("far-aligned", |probed| {
        peak_is_exact(probed);
        assert_eq!(probed.ledger.counters.inuse_objects, 0);
    });
}

#[test]
fn blocks_may_be_given_back_and_resized_with_another_alignment() {
    at_every_rate_of(&[Hook::Rust], "other-alignments", |probed| {
        peak_is_exact(probed);
        assert_eq!((probed.ledger.counters.inuse_objects, probed.ledger.counters.inuse_space), (0, 0));
        assert_eq!(probed.ledger.losses.outside_frees, 0);
    });
}

#[test]
fn small_blocks_given_back_with_another_size_count_as_they_were_asked_for() {
    for rate in RATES {
        let probed = probe("other-sizes", rate);
        assert!(probed.status.success(), "at rate {rate}: {}", probed.status);
        let counters = &probed.ledger.counters;
        assert_eq!(counters.inuse_objects, 0);
        if rate == 1 {
            // Only the room that a block takes is known, which is within 16 bytes.
            let most = i64::try_from(counters.frees * 15).expect("few");
            assert!((-most..=most).contains(&counters.inuse_space), "{}", counters.inuse_space);
        } else {
            probed.totals_are_true();
            peak_is_exact(&probed);
            assert_eq!(probed.ledger.losses.outside_frees, 0);
        }
    }
}

#[test]
fn ten_million_live_blocks_are_no_trouble() {
    let probed = probe("many-live", 1);
    probed.totals_are_true();
    peak_is_exact(&probed);
    assert_eq!(probed.ledger.counters.peak_space, 80_000_000);
}

#[test]
fn a_lifetime_is_told_to_the_byte_however_long_it_is() {
    at_every_rate("long-lived", |probed| {
        peak_is_exact(probed);
        if probed.ledger.rate == 1 {
            // The early block until it was resized, the late ones until the last: those that came after each, and the resized one.
            let early = 40 * (1 << 30) + 100 * 24;
            let late = (0..100).map(|younger| younger * 24 + 25).sum();
            let of_site = |values: &SiteValues| (values.alloc_objects, values.lifetime_space);
            let mut found: Vec<(u64, u64)> = probed.ledger.sites.iter().map(|site| of_site(&site.values)).collect();
            found.sort_unstable();
            assert_eq!(found, [(1, 0), (1, early), (40, 0), (100, late)]);
        }
    });
}

#[test]
fn a_block_given_back_twice_ends_the_process_and_costs_no_metric() {
    for (hook, rate) in [Hook::Rust, Hook::Native].into_iter().flat_map(|hook| RATES.map(|rate| (hook, rate))) {
        let probed = probe_at(hook, "twice", rate);
        assert_eq!(probed.status.signal(), Some(6), "{hook:?} at rate {rate}");
        assert_eq!(probed.ledger.end.state, state::OPEN);
        probed.totals_are_true();
    }
}

#[test]
fn a_stack_deeper_than_the_limit_is_cut_and_marked() {
    let probed = probe("deep", 1);
    probed.totals_are_true();
    let [site] = probed.ledger.sites.as_slice() else { panic!("{:?}", probed.ledger.sites) };
    assert!(site.truncated);
    let stack = probed.ledger.stack(site);
    assert_eq!((stack.len(), probed.ledger.losses.truncated_stacks), (129, 1));
    let left_out: Vec<_> = stack.iter().map(|&word| frames_left_out(word)).collect();
    let at = left_out.iter().position(Option::is_some).expect("it says how many");
    assert_eq!((at, left_out.iter().flatten().count()), (96, 1));
    assert!(left_out[at] > Some(500 - 128), "{left_out:?}");
    // The function calls itself from one place, which is in the inner part only a few times less often than there are frames, and the
    // outer part ends with others.
    let recursion = stack[at - 1];
    assert_eq!(stack[at + 1], recursion);
    assert!(stack[129 - 5..].iter().all(|&address| address != recursion));
}

#[test]
fn blocks_freed_by_other_threads_are_booked_where_they_were_allocated() {
    at_every_rate("exchange", |probed| {
        assert_eq!(probed.ledger.counters.threads, 9);
        for site in &probed.ledger.sites {
            assert!(site.values.frees <= site.values.alloc_objects);
            assert!(site.values.inuse_space() >= 0);
        }
    });
}

#[test]
fn the_peak_of_several_threads_is_within_its_stated_bound() {
    at_every_rate("tide", peak_is_within_its_bound);
}

#[test]
fn the_peak_of_threads_that_work_in_turn_is_within_the_same_bound() {
    at_every_rate("turns", peak_is_within_its_bound);
}

fn peak_is_within_its_bound(probed: &Probed) {
    let counters = &probed.ledger.counters;
    let truth = probed.truth.total("peak_space");
    assert!(counters.peak_error > 0 && counters.peak_error < truth / 10);
    assert!(counters.peak_space.abs_diff(truth) <= counters.peak_error, "{} for {truth}", counters.peak_space);
    if probed.ledger.rate == 1 {
        let at_sites: i64 = probed.ledger.sites.iter().map(|site| site.values.peak_space).sum();
        assert!(at_sites.unsigned_abs().abs_diff(truth) <= 2 * counters.peak_error, "{at_sites} for {truth}");
    }
}

#[test]
fn two_thousand_threads_that_come_and_go_leave_nothing_out_and_little_behind() {
    at_every_rate("many-threads", |probed| {
        assert!((1..=2001).contains(&probed.ledger.counters.threads));
        // A lane of a thread that ended is used again: the ledger grows with the threads alive at once. A lane has some 200 KiB
        // of address space, so two thousand would have 400 MiB.
        assert!(probed.ledger.losses.own_memory < 32 << 20, "{}", probed.ledger.losses.own_memory);
    });
}

#[test]
fn more_threads_at_once_than_have_cells_lose_nothing() {
    at_every_rate("crowd", |probed| {
        assert_eq!(probed.ledger.counters.threads, 61);
        for site in &probed.ledger.sites {
            assert!(site.values.frees <= site.values.alloc_objects && site.values.inuse_space() >= 0);
        }
    });
}

#[test]
fn what_thread_locals_allocate_and_free_as_their_thread_ends_is_counted() {
    // The C library allocates too, for each thread-local that is to be dropped.
    at_every_rate_of(&[Hook::Rust], "destructors", |_| ());
    let probed = probe_at(Hook::Native, "destructors", 1);
    let [found, truth] = [probed.ledger.counters.alloc_objects, probed.truth.total("alloc_objects")];
    assert!(found >= truth && found <= truth + 20, "{found} for {truth}");
    assert_eq!(probed.ledger.counters.inuse_space, 0);
}

#[test]
fn a_thread_that_comes_as_the_window_shuts_is_not_counted_behind_it() {
    for rate in RATES {
        let probed = probe("latecomer", rate);
        assert!(probed.status.success() && probed.ledger.end.whole);
        let counted = probed.ledger.counters.alloc_objects;
        assert!(counted <= probed.truth.total("alloc_objects"), "{counted} at rate {rate}");
    }
}

#[test]
fn a_forked_child_has_a_ledger_of_its_own() {
    at_every_rate("fork", |probed| {
        peak_is_exact(probed);
        assert_eq!(probed.ledger.losses.forks, 1);
        child_is_recorded(probed, 1);
        if probed.ledger.rate == 1 {
            // That it freed a block of its parent's is none of its own metrics.
            assert_eq!(probed.forked[0].counters.frees, 2000 - 64);
        }
    });
}

#[test]
fn parent_and_forked_child_leave_each_others_blocks_alone() {
    at_every_rate("fork-inherits", |probed| {
        peak_is_exact(probed);
        assert_eq!(probed.ledger.counters.inuse_objects, 0);
        let [child] = probed.forked.as_slice() else { panic!("{:?}", probed.forked) };
        assert_eq!(child.counters.alloc_objects, 2003);
        if child.rate == 1 {
            assert_eq!((child.counters.reallocs, child.counters.frees), (3, 2000 - 64));
        }
    });
}

#[test]
fn forks_in_the_middle_of_other_threads_work_neither_hang_nor_mix_the_books() {
    at_every_rate("fork-busy", |probed| {
        assert_eq!(probed.ledger.losses.forks, 20);
        child_is_recorded(probed, 20);
    });
}

/// Each child allocated the same, and ended without closing its ledger.
fn child_is_recorded(probed: &Probed, children: usize) {
    assert_eq!(probed.forked.len(), children);
    for child in &probed.forked {
        let space = (0..2000).map(|round| 8 + round).sum::<u64>();
        assert_eq!((child.counters.alloc_objects, child.counters.alloc_space), (2000, space));
        assert!(child.end.started && !child.end.whole && child.end.outcome.is_none());
        if child.rate == 1 {
            assert_eq!(child.sites.iter().map(|site| site.values.alloc_objects).sum::<u64>(), 2000);
        }
    }
}

#[test]
fn a_process_that_ends_suddenly_leaves_all_it_did_marked_as_cut_short() {
    for (scenario, signal) in [("abort", Some(6)), ("_exit", None), ("kill", Some(9)), ("segv", Some(11))] {
        for rate in RATES {
            let probed = probe(scenario, rate);
            assert_eq!(probed.status.signal(), signal, "{scenario}");
            let end = &probed.ledger.end;
            assert!(end.started && !end.whole && end.state == state::OPEN);
            probed.totals_are_true();
            peak_is_exact(&probed);
        }
    }
}

#[test]
fn the_ledger_grows_after_every_descriptor_was_closed() {
    at_every_rate("closed-descriptors", |probed| {
        peak_is_exact(probed);
        if probed.ledger.rate == 1 {
            assert_eq!(probed.ledger.sites.len(), 4097);
        }
    });
}

#[test]
fn the_ledger_grows_after_the_current_folder_changed() {
    at_every_rate("changed-folder", |probed| {
        if probed.ledger.rate == 1 {
            assert_eq!(probed.ledger.sites.len(), 4097);
        }
    });
}

#[test]
fn a_limit_on_file_sizes_costs_stacks_and_neither_counts_nor_the_process() {
    at_every_rate("file-limit", |probed| {
        peak_is_exact(probed);
        if probed.ledger.rate == 1 {
            assert!(probed.ledger.losses.unattributed_objects > 0);
            assert!(probed.ledger.sites.len() > 50);
        }
    });
}

#[test]
fn a_ledger_that_has_grown_as_far_as_it_may_costs_stacks_and_not_counts() {
    at_every_rate("little-ledger", |probed| {
        peak_is_exact(probed);
        if probed.ledger.rate == 1 {
            assert!(probed.ledger.losses.unattributed_objects > 0 && probed.ledger.losses.own_memory < 1 << 20);
            assert!(probed.ledger.sites.len() > 50);
        }
    });
}

#[test]
fn no_more_memory_is_the_tests_own_affair() {
    at_every_rate("address-limit", |probed| {
        peak_is_exact(probed);
        assert_eq!(probed.ledger.counters.failed, 1);
    });
    at_every_rate("little-address-space", peak_is_exact);
}

#[test]
fn threads_that_find_no_room_for_a_heap_have_blocks_all_the_same() {
    // With the native hook small blocks are the C library's, too, and its heaps as without us.
    at_every_rate_of(&[Hook::Rust], "other-threads-heap", |probed| {
        assert_eq!(probed.ledger.counters.failed, 0);
    });
}

#[test]
fn what_is_allocated_on_a_stack_made_by_hand_is_counted_and_has_its_callers() {
    at_every_rate("contexts", |probed| {
        peak_is_exact(probed);
        if probed.ledger.rate == 1 {
            probed.places_are_true();
            contexts_end_where_they_were_made(&probed.ledger);
        }
    });
}

/// Nothing calls what a context begins with, whatever the frame pointer says that it was made with.
fn contexts_end_where_they_were_made(ledger: &Ledger) {
    assert_eq!(ledger.losses.unwalkable_stacks, 0);
    assert!(ledger.sites.iter().all(|site| !site.unwalkable && ledger.stack(site).len() > 4));
    let (there, here): (Vec<_>, Vec<_>) = ledger.sites.iter().partition(|site| site.values.alloc_space == 200 * 200);
    let roots = |sites: &[&Site]| -> BTreeSet<u64> {
        sites.iter().map(|site| ledger.stack(site).pop().expect("a frame")).collect()
    };
    assert_eq!((there.len(), roots(&there).len(), roots(&here).len()), (1, 1, 1));
    assert_ne!(roots(&there), roots(&here));
}

#[test]
fn what_a_context_claims_to_be_called_by_is_not_believed() {
    at_every_rate("contexts-astray", |probed| {
        peak_is_exact(probed);
        if probed.ledger.rate == 1 {
            probed.places_are_true();
            contexts_end_where_they_were_made(&probed.ledger);
        }
    });
}

#[test]
fn a_signal_handler_may_allocate_on_a_stack_of_its_own() {
    at_every_rate("signals", |probed| {
        assert_eq!(probed.ledger.counters.alloc_objects, 400);
        assert_eq!(probed.ledger.counters.inuse_space, 0);
    });
}

#[test]
fn blocks_from_before_main_are_the_tests_only_once_it_resizes_them() {
    at_every_rate("before-main", |probed| {
        assert_eq!(probed.ledger.counters.inuse_objects, 0);
        peak_is_exact(probed);
    });
}

#[test]
fn what_a_process_does_after_its_window_changes_nothing() {
    at_every_rate("afterwards", |probed| {
        peak_is_exact(probed);
        assert_eq!(probed.ledger.counters.inuse_objects, 100);
    });
}

#[test]
fn blocks_without_a_byte_are_counted_as_blocks() {
    at_every_rate("zero-sized", |probed| {
        assert_eq!(probed.ledger.counters.inuse_objects, 0);
        peak_is_exact(probed);
    });
}

#[test]
fn threads_that_run_on_as_the_process_ends_leave_the_books_in_order() {
    for (hook, rate) in [Hook::Rust, Hook::Native].into_iter().flat_map(|hook| RATES.map(|rate| (hook, rate))) {
        let probed = probe_at(hook, "running", rate);
        assert!(probed.status.success() && probed.ledger.end.whole, "{hook:?} at rate {rate}: {}", probed.status);
        let counters = &probed.ledger.counters;
        // Blocks of 128 bytes. Each thread may have been between one counter and the next, or its site.
        assert!(counters.alloc_objects >= 36, "{counters:?}");
        assert!((counters.alloc_objects * 128).abs_diff(counters.alloc_space) <= 4 * 128, "{counters:?}");
        if rate == 1 {
            let at_sites: u64 = probed.ledger.sites.iter().map(|site| site.values.alloc_objects).sum();
            assert!(counters.alloc_objects.abs_diff(at_sites) <= 4, "{at_sites} of {}", counters.alloc_objects);
        }
    }
}

#[test]
fn programs_started_without_a_fork_leave_the_books_alone() {
    at_every_rate_of(&[Hook::Rust], "spawns", |probed| assert_eq!(probed.ledger.losses.forks, 0));
}

#[test]
fn a_process_forked_on_a_small_stack_has_its_ledger() {
    at_every_rate("fork-on-signal", |probed| {
        peak_is_exact(probed);
        let [child] = probed.forked.as_slice() else { panic!("{:?}", probed.forked) };
        assert_eq!((child.counters.alloc_objects, child.counters.alloc_space), (10, 4000));
    });
}
