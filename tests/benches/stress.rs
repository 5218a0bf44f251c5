//! A hundred million events on eight threads, of which none may be lost or counted twice.
//!
//!     cargo bench --profile dev -p memprof-tests --bench stress -- [EVENTS [RATE…]]
//!
//! Without rates: 1, 524288 and 0. The times are no measure of the engine: most of them goes to counting the truth.

use memprof_tests::probe::Hook;
use memprof_tests::stress::stress;
use std::time::Instant;

const EVENTS: u64 = 100_000_000;
const RATES: [u64; 3] = [1, 524_288, 0];

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    // Cargo's own word for it, behind all others.
    words.pop_if(|word| word == "--bench");
    let numbers: Vec<u64> = words.iter().map(|word| word.parse().expect("a number of events, or a rate")).collect();
    let (events, rates) = match numbers.as_slice() {
        [] => (EVENTS, RATES.as_slice()),
        [events] => (*events, RATES.as_slice()),
        [events, rates @ ..] => (*events, rates),
    };
    for hook in [Hook::Rust, Hook::Native] {
        for &rate in rates {
            let start = Instant::now();
            let probed = stress(hook, rate, events);
            let (counters, sites) = (probed.ledger.counters, probed.ledger.sites.len());
            println!(
                "{hook:?} hook, rate {rate}: {} allocations, {} reallocations and {} frees by 8 threads, {sites} sites: \
                 all metrics are true ({:.0} s)",
                counters.alloc_objects - counters.reallocs,
                counters.reallocs,
                counters.frees - counters.reallocs,
                start.elapsed().as_secs_f64()
            );
        }
    }
}
