//! What std allocates on its own account, before it calls `main` and as it says that there was no memory, is not the program's.

use memprof_tests::fixture::Fixture;
use memprof_tests::summary::Figures;

/// A block of 100 bytes, given back, and one of 7 bytes that is not.
const PROGRAM: &str = "fn main() {
    drop(std::hint::black_box(vec![1_u8; 100]));
    std::mem::forget(std::hint::black_box(vec![1_u8; 7]));
}
";

/// 10 bytes, and then more than there are; the other goes on after it was refused as much.
const REFUSED: &str = "use std::hint::black_box;

#[test]
fn takes_what_there_is_not() {
    drop(black_box(vec![1_u8; 10]));
    drop(black_box(Vec::<u8>::with_capacity(black_box(1 << 46))));
}

#[test]
fn asks_for_what_there_is_not() {
    let mut bytes: Vec<u8> = Vec::new();
    for _ in 0..10 {
        assert!(bytes.try_reserve(black_box(1 << 46)).is_err());
        drop(black_box(vec![1_u8; 10]));
    }
    black_box(bytes);
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
                let Figures { alloc_objects, inuse_objects, .. } = summary.test(name).figures();
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
fn a_program_has_the_figures_of_its_main() {
    let fixture = Fixture::copy("known");
    fixture.write("src/bin/two.rs", PROGRAM);
    for options in ["", " --release"] {
        for rate in [0, 1, 524_288] {
            fixture.memprof(&format!("run --bin two{options} --memprofilerate {rate}")).succeed();
            let summary = fixture.summary();
            let [test] = &summary.tests()[..] else { panic!("{:#}", summary.json) };
            let Figures { alloc_objects, alloc_space, inuse_objects, inuse_space, .. } = test.figures();
            let found = (alloc_objects, alloc_space, inuse_objects, inuse_space);
            assert_eq!(found, (2, 107, 1, 7), "at rate {rate}{options}");
        }
    }
}

#[test]
fn a_backtrace_for_want_of_memory_is_not_the_tests() {
    let fixture = Fixture::copy("known");
    fixture.write("tests/refused.rs", REFUSED);
    for rate in [0, 1, 524_288] {
        let call = fixture.memprof(&format!("test --test refused --memprofilerate {rate}"));
        call.env("RUST_BACKTRACE", "1").run().ended_with(101).complains("Profiled 2 tests");
        let summary = fixture.summary();
        let refused = |name: &str| {
            let test = summary.test(name);
            (test.figures().alloc_objects, test.json["failed_allocs"].as_u64())
        };
        assert_eq!(refused("takes_what_there_is_not"), (1, Some(1)), "at rate {rate}");
        assert_eq!(refused("asks_for_what_there_is_not"), (10, Some(10)), "at rate {rate}");
    }
}
