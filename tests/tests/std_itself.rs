//! What std allocates on its own account, before it calls `main` and as it says that there was no memory, is not the program's.

use memprof_tests::fixture::Fixture;
use memprof_tests::summary::Metrics;

/// A block of 100 bytes, given back, and one of 7 bytes that is not.
const PROGRAM: &str = "fn main() {
    drop(std::hint::black_box(vec![1_u8; 100]));
    std::mem::forget(std::hint::black_box(vec![1_u8; 7]));
}
";

/// 10 bytes, and then more than there are; one goes on after it was refused as much. The others report by themselves that there is no
/// memory: after they were refused some and went on, without having asked for any, and on a thread of their own.
const REFUSED: &str = "use std::alloc::{handle_alloc_error, Layout};
use std::hint::black_box;

fn refused() {
    let mut bytes: Vec<u8> = Vec::new();
    assert!(bytes.try_reserve(black_box(1 << 46)).is_err());
}

fn report() -> ! {
    handle_alloc_error(Layout::new::<[u8; 99]>())
}

#[test]
fn takes_what_there_is_not() {
    drop(black_box(vec![1_u8; 10]));
    drop(black_box(Vec::<u8>::with_capacity(black_box(1 << 46))));
}

#[test]
fn asks_for_what_there_is_not() {
    for _ in 0..10 {
        refused();
        drop(black_box(vec![1_u8; 10]));
    }
}

#[test]
fn goes_on_and_then_reports_what_it_was_refused() {
    refused();
    drop(black_box(vec![1_u8; 10]));
    drop(black_box(vec![1_u8; 10]));
    report();
}

#[test]
fn reports_without_having_asked() {
    drop(black_box(vec![1_u8; 10]));
    report();
}

#[test]
fn reports_on_a_thread() {
    let mut handle = Some(std::thread::spawn(|| {
        drop(black_box(vec![1_u8; 10]));
        report()
    }));
    handle.take().map(|handle| handle.join());
}
";

/// Threads that are alive one at a time, and as many all at once. Each allocates 100 bytes.
const ALIVE: &str = "use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;

fn start(together: &Arc<Barrier>) -> thread::JoinHandle<()> {
    let together = Arc::clone(together);
    thread::spawn(move || {
        drop(black_box(vec![1_u8; 100]));
        together.wait();
    })
}

#[test]
fn one_at_a_time() {
    let mut handles = Vec::with_capacity(100);
    let together = Arc::new(Barrier::new(1));
    for _ in 0..100 {
        start(&together).join().unwrap();
    }
    handles.push(start(&together));
    handles.pop().unwrap().join().unwrap();
}

#[test]
fn all_at_once() {
    let mut handles = Vec::with_capacity(100);
    start(&Arc::new(Barrier::new(1))).join().unwrap();
    let together = Arc::new(Barrier::new(100));
    for _ in 0..100 {
        handles.push(start(&together));
    }
    for handle in handles {
        handle.join().unwrap();
    }
}
";

#[test]
fn how_many_threads_are_alive_at_once_changes_no_count() {
    let fixture = Fixture::copy("known");
    fixture.write("tests/alive.rs", ALIVE);
    for options in ["", " --release"] {
        for rate in [0, 1, 524_288] {
            fixture.memprof(&format!("test --test alive{options} --memprofilerate {rate}")).succeed();
            let summary = fixture.summary();
            let found = |name: &str| {
                let Metrics { alloc_objects, inuse_objects, .. } = summary.test(name).metrics();
                (alloc_objects, inuse_objects)
            };
            let (one, all) = (found("one_at_a_time"), found("all_at_once"));
            // The second has one barrier more.
            assert_eq!((one.0 + 1, one.1), all, "at rate {rate}{options}");
            assert_eq!(one.1, 0, "at rate {rate}{options}");
        }
    }
}

#[test]
fn a_program_has_the_metrics_of_its_main() {
    let fixture = Fixture::copy("known");
    fixture.write("src/bin/two.rs", PROGRAM);
    for options in ["", " --release"] {
        for rate in [0, 1, 524_288] {
            fixture.memprof(&format!("run --bin two{options} --memprofilerate {rate}")).succeed();
            let summary = fixture.summary();
            let [test] = &summary.tests()[..] else { panic!("{:#}", summary.json) };
            let Metrics { alloc_objects, alloc_space, inuse_objects, inuse_space, .. } = test.metrics();
            let found = (alloc_objects, alloc_space, inuse_objects, inuse_space);
            assert_eq!(found, (2, 107, 1, 7), "at rate {rate}{options}");
        }
    }
}

#[test]
fn a_backtrace_for_want_of_memory_is_not_the_tests() {
    let fixture = Fixture::copy("known");
    fixture.write("tests/refused.rs", REFUSED);
    for (options, rate) in [("", 0), ("", 1), ("", 524_288), (" --native", 1)] {
        let found = |backtrace: &str| {
            let call = fixture.memprof(&format!("test --test refused{options} --memprofilerate {rate}"));
            call.env("RUST_BACKTRACE", backtrace).run().ended_with(101).complains("Profiled 5 tests");
            let summary = fixture.summary();
            let names = [
                "takes_what_there_is_not",
                "asks_for_what_there_is_not",
                "goes_on_and_then_reports_what_it_was_refused",
                "reports_without_having_asked",
                "reports_on_a_thread",
            ];
            names.map(|name| {
                let test = summary.test(name);
                let metrics = test.metrics();
                (metrics.alloc_objects, metrics.alloc_space, test.json["failed_allocs"].as_u64())
            })
        };
        let with_backtrace = found("1");
        let [takes, asks, goes_on, reports, on_a_thread] = with_backtrace;
        let shown = format!("at rate {rate}{options}");
        assert_eq!((takes, asks), ((1, 10, Some(1)), (10, 100, Some(10))), "{shown}");
        assert_eq!((goes_on, reports), ((2, 20, Some(1)), (1, 10, Some(0))), "{shown}");
        // Without a backtrace next to nothing is allocated for the message; what starts a thread takes is the same.
        assert_eq!(on_a_thread, found("0")[4], "{shown}");
    }
}
