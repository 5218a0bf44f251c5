//! No event is lost and none is counted twice, however many threads make them: the sum over the sites = the counters = the
//! truth. `cargo bench --bench stress` makes a hundred million events; this is the same with fewer.

use memprof_tests::probe::Hook;
use memprof_tests::stress::stress;

const EVENTS: u64 = 2_000_000;

#[test]
fn with_every_allocation_recorded_each_of_hundreds_of_stacks_has_its_metrics() {
    for hook in [Hook::Rust, Hook::Native] {
        let sites = stress(hook, 1, EVENTS).ledger.sites.len();
        // Two hundred and fifty-six ways to three kinds of calls.
        assert_eq!(sites, 768);
    }
}

#[test]
fn the_counters_are_as_true_with_few_stacks_or_none() {
    for (hook, rate) in [(Hook::Rust, 0), (Hook::Rust, 4096), (Hook::Rust, 524_288), (Hook::Native, 524_288)] {
        stress(hook, rate, EVENTS);
    }
}
