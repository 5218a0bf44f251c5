//! The window shuts when the test is over, and not when its function returns: threads that are ending or that have not begun yet
//! are waited for, destructors of the test's thread-locals are the test's, and no event is cut in two.

use memprof_harness::ledger::{Ledger, SiteValues};
use memprof_tests::fixture::Fixture;
use memprof_tests::summary::{Metrics, Summary};
use std::collections::BTreeSet;

fn metrics_of(summary: &Summary, name: &str) -> BTreeSet<(u64, u64, i64, i64)> {
    let tests = summary.tests();
    let metrics = tests.iter().filter(|test| test.name() == name).map(|test| {
        let Metrics { alloc_objects, alloc_space, inuse_objects, inuse_space, .. } = test.metrics();
        (alloc_objects, alloc_space, inuse_objects, inuse_space)
    });
    metrics.collect()
}

const TESTS: [&str; 4] =
    ["one_scoped", "eight_scoped", "four_that_begin_late_and_sleep", "thirty_that_begin_late_one_after_the_other"];

#[test]
fn threads_that_end_late_or_begin_late_are_the_same_on_a_thousand_runs() {
    let fixture = Fixture::copy("threads");
    let mut seen = BTreeSet::new();
    for rate in [0, 1, 4096, 524_288, 524_288] {
        let call = fixture.memprof("test --repeat 200").arg(format!("--memprofilerate={rate}"));
        call.args(["--", "scoped", "begin_late"]).succeed();
        let summary = fixture.summary();
        assert_eq!(summary.tests().len(), TESTS.len() * 200);
        for name in TESTS {
            seen.extend(metrics_of(&summary, name).into_iter().map(|metrics| (name, metrics)));
        }
    }
    let of = |name: &str| {
        let found: Vec<_> = seen.iter().filter(|(of, _)| *of == name).map(|(_, metrics)| *metrics).collect();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        found[0]
    };
    let (.., objects, space) = of("one_scoped");
    assert_eq!((objects, space), (0, 0));
    let (objects, _, left, space) = of("eight_scoped");
    // A block of the test's own in each thread, and what std keeps of it.
    assert!(objects > 8 && (left, space) == (0, 0));
    let (_, _, objects, space) = of("four_that_begin_late_and_sleep");
    let (chain, ..) = of("thirty_that_begin_late_one_after_the_other");
    assert!(chain >= 31);
    // What they hold, and what std keeps of a thread that goes on.
    assert!(objects >= 4 && space >= 4 * 100);
}

#[test]
fn destructors_of_the_tests_thread_locals_are_recorded() {
    let fixture = Fixture::copy("threads");
    for rate in [0, 1, 4096, 524_288] {
        fixture.memprof("test thread_local").arg(format!("--memprofilerate={rate}")).succeed();
        let summary = fixture.summary();
        let test = summary.test("a_thread_local_of_its_own");
        let Metrics { alloc_objects, alloc_space, inuse_objects, inuse_space, .. } = test.metrics();
        assert_eq!((alloc_objects, alloc_space, inuse_objects, inuse_space), (3, 157, 1, 7), "at rate {rate}");
        assert_eq!(test.json["cut_short"], false);
        let after_panic = summary.test("a_thread_local_of_its_own_after_a_panic");
        assert_eq!((after_panic.outcome(), &after_panic.json["message"]), ("ok", &"after all".into()));
        assert!(after_panic.metrics().alloc_objects >= 3);
    }
}

#[test]
fn stacks_add_up_to_the_counters_where_threads_go_on() {
    let fixture = Fixture::copy("threads");
    fixture.memprof("test --repeat 50 --memprofilerate 1 --keep-ledgers go_on").succeed();
    let ledgers = fixture.all_ledgers();
    assert_eq!(ledgers.len(), 50);
    for Ledger { counters, losses, sites, .. } in ledgers {
        let sum = |value: fn(&SiteValues) -> u64| sites.iter().map(|site| value(&site.values)).sum::<u64>();
        assert_eq!(losses.unattributed_objects, 0);
        assert_eq!(sum(|values| values.alloc_objects), counters.alloc_objects);
        assert_eq!(sum(|values| values.alloc_space), counters.alloc_space);
        assert_eq!(sum(|values| values.frees), counters.frees);
        assert_eq!(sum(|values| values.freed_space), counters.freed_space);
    }
}

/// Threads that do nothing but allocate, on many stacks, and then the process's end.
const CUT_OFF: &str = "use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[inline(never)]
fn keeps(depth: usize) {
    if depth > 0 {
        return keeps(black_box(depth - 1));
    }
    let mut bytes = black_box(vec![1_u8; 100]);
    bytes.reserve(5000);
    std::mem::forget(black_box(bytes));
    drop(black_box(vec![1_u8; 40]));
}

fn cut_off(end: impl FnOnce()) {
    for thread in 0..THREADS {
        std::thread::spawn(move || {
            (0..).for_each(|round| {
                keeps((round + thread) % 50);
                ROUNDS.fetch_add(1, Relaxed);
            });
        });
    }
    // However busy the processors are, each stack was there.
    while ROUNDS.load(Relaxed) < 50 * THREADS {
        std::thread::yield_now();
    }
    end();
}
const THREADS: usize = 4;
static ROUNDS: AtomicUsize = AtomicUsize::new(0);

extern \"C\" {
    fn _exit(status: i32) -> !;
    fn kill(process: i32, signal: i32) -> i32;
}

#[test]
fn by_exit() {
    cut_off(|| std::process::exit(0));
}

#[test]
fn at_once() {
    cut_off(|| unsafe { _exit(0) });
}

#[test]
fn by_an_abort() {
    cut_off(|| std::process::abort());
}

#[test]
fn by_a_signal() {
    cut_off(|| assert_eq!(unsafe { kill(std::process::id() as i32, 9) }, 0));
}

#[test]
fn by_the_time_limit() {
    cut_off(|| loop {
        std::thread::park();
    });
}
";

#[test]
fn what_a_process_that_is_cut_off_has_counted_has_its_stack_or_is_named() {
    const THREADS: u64 = 4;
    let fixture = Fixture::copy("known");
    fixture.write("tests/cut_off.rs", CUT_OFF);
    // A test that failed is not repeated.
    let runs = (0..5).flat_map(|_| {
        let call = fixture.memprof("test --test cut_off --memprofilerate 1 --keep-ledgers --test-timeout 1");
        call.run().ended_with(101);
        let ledgers = fixture.all_ledgers();
        assert_eq!(ledgers.len(), 5);
        ledgers
    });
    for Ledger { identity, counters, losses, sites, .. } in runs {
        let sum = |value: fn(&SiteValues) -> u64| sites.iter().map(|site| value(&site.values)).sum::<u64>();
        assert!(counters.alloc_objects > 100 && sites.len() > 50, "{}: {counters:?}", identity.name);
        assert_eq!(sum(|values| values.alloc_objects) + losses.unattributed_objects, counters.alloc_objects);
        assert_eq!(sum(|values| values.alloc_space) + losses.unattributed_space, counters.alloc_space);
        assert_eq!(sum(|values| values.frees) + losses.unattributed_frees, counters.frees);
        assert_eq!(sum(|values| values.freed_space) + losses.unattributed_freed_space, counters.freed_space);
        assert!(losses.unattributed_objects.max(losses.unattributed_frees) <= THREADS, "{}: {losses:?}", identity.name);
    }
}

#[test]
fn a_test_may_forbid_its_thread_what_the_ledger_takes() {
    let fixture = Fixture::copy("threads");
    for rate in [0, 1, 524_288] {
        fixture.memprof("test forbids").arg(format!("--memprofilerate={rate}")).succeed();
        let summary = fixture.summary();
        let metrics = summary.test("forbids::itself_what_it_does_not_need").metrics();
        // The filter's vector besides: it is made for one, and grows.
        assert!(metrics.alloc_objects >= 201 && metrics.inuse_objects == 0, "{metrics:?}");
    }
}
