//! Any number of threads at once, those beyond the thirtieth among them: what they allocate, resize and free for each other
//! keeps its bytes, and is counted as often as it happens; and so it is in processes that are forked meanwhile.

use memprof_tests::fixture::Fixture;
use memprof_tests::output::assert_same;
use memprof_tests::probe::probe;

/// Counters only, everything, often, seldom.
const RATES: [u64; 4] = [0, 1, 4096, 524_288];

#[test]
fn any_number_of_threads_resize_and_free_each_others_blocks_as_a_model_says() {
    for threads in [1, 2, 30, 31, 64, 200] {
        for rate in RATES {
            let scenario = format!("lanes-{threads}");
            let probed = probe(&scenario, rate);
            assert!(probed.status.success(), "{scenario} at rate {rate}: {}", probed.status);
            assert!(probed.ledger.end.whole);
            probed.totals_are_true();
            assert_eq!((probed.ledger.counters.inuse_objects, probed.ledger.counters.inuse_space), (0, 0));
            assert_eq!((probed.ledger.losses.forks, probed.truths_of_forked.len()), (6, 6));
            probed.totals_of_forked_are_true();
            for site in &probed.ledger.sites {
                assert!(site.values.frees <= site.values.alloc_objects, "{scenario} at rate {rate}: {site:?}");
                assert!(site.values.inuse_space() >= 0, "{scenario} at rate {rate}: {site:?}");
            }
        }
    }
}

#[test]
fn a_block_that_a_late_thread_resizes_in_place_is_no_free_one() {
    let fixture = Fixture::copy("lanes");
    let plain = fixture.cargo("test -- --test-threads=1").succeed();
    for rate in RATES {
        let ran = fixture.memprof(&format!("test --memprofilerate {rate} -- --test-threads=1")).succeed();
        assert_same(&plain, &ran);
        let summary = fixture.summary();
        // A box for each of the workers' blocks, and nothing left of it.
        for name in ["tests::late_threads_trim_what_they_are_given", "tests::late_threads_grow_what_they_are_given"] {
            let test = summary.test(name).metrics();
            assert_eq!((test.reallocs, test.inuse_objects, test.inuse_space), (40, 0, 0), "{name} at rate {rate}");
        }
    }
}
