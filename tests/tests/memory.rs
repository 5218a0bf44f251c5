//! How much memory a recorded test takes, next to the same test otherwise: memory that blocks of one size have left serves
//! others.

use memprof_tests::fixture::{Fixture, Ran};

/// Of the recorded process to the plain one, as the most that each had in use.
const MOST: f64 = 1.3;
/// The same where blocks of many sizes lie between each other for long.
const MOST_MIXED: f64 = 2.3;

/// What the one test that ran printed, in KiB.
fn most_memory(ran: &Ran) -> f64 {
    let line = ran.stdout.lines().find_map(|line| line.strip_prefix("most memory: "));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{}", ran.all()))
}

#[test]
fn blocks_that_change_their_sizes_take_no_more_memory_than_otherwise() {
    let fixture = Fixture::copy("memory");
    for (test, most) in [
        ("sizes_one_after_the_other", MOST),
        ("large_small_ones_in_phases", MOST),
        ("growing_maps", MOST),
        ("a_queue_whose_blocks_grow", MOST),
        ("survivors_of_every_size", MOST),
        ("a_cache_whose_blocks_grow", MOST_MIXED),
        ("threads_in_waves", MOST_MIXED),
    ] {
        let plain = most_memory(&fixture.cargo(&format!("test --release {test} -- --nocapture")).succeed());
        for rate in ["524288", "1"] {
            let ran =
                fixture.memprof(&format!("test --release {test} --memprofilerate {rate} -- --nocapture")).succeed();
            let recorded = most_memory(&ran);
            assert!(recorded <= plain * most, "{test} at rate {rate}: {recorded} KiB, {plain} KiB otherwise");
        }
    }
}
