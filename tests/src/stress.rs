//! Very many events on eight threads, of which none may be lost or counted twice: one run of it, held against what the
//! threads counted themselves.

use crate::probe::{Hook, Probed, probe_at};

/// Records so many allocations, reallocations and frees.
///
/// # Panics
/// Where a metric of the ledger is not the truth: the counters at every rate, and at rate 1 those of every stack.
pub fn stress(hook: Hook, rate: u64, events: u64) -> Probed {
    let probed = probe_at(hook, &format!("stress-{events}"), rate);
    assert!(probed.status.success() && probed.ledger.end.whole, "{}", probed.status);
    let losses = probed.ledger.losses;
    let lost =
        [losses.unattributed_objects, losses.untracked_samples, losses.unreadable_sites, losses.unreadable_bytes];
    assert_eq!(lost, [0; 4], "{losses:?}");
    // Whoever opens the window counts too.
    assert_eq!(probed.ledger.counters.threads, 9);
    let truth = &probed.truth;
    let counted = truth.total("alloc_objects") + truth.total("frees") - truth.total("reallocs");
    assert!(counted >= events, "the probe made {counted} events of {events}");
    if rate == 1 {
        probed.places_are_true()
    } else {
        probed.totals_are_true()
    }
    probed
}
