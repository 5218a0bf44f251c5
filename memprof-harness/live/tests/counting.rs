//! What is counted, beside tests that allocate all the while.

use memprof::{assert_allocs, assert_no_alloc, carry, measure, measure_process, Carry};
use std::future::Future;
use std::hint::black_box;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;

memprof::install!();

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

/// What a panic says.
fn panic_text(work: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("a limit that does not hold panics");
    panic.downcast_ref::<String>().cloned().expect("it is formatted")
}

#[test]
fn a_noisy_neighbour_is_not_counted() {
    for _ in 0..200 {
        let noise = thread::spawn(|| (0..500).map(|n| vec![1_u8; n].len()).sum::<usize>());
        assert_no_alloc!({ black_box(1 + 1) });
        let counts = measure(|| vec![1_u8; 100]).counts();
        assert_eq!(counts.to_string(), "1 alloc, 100 B, peak 100 B, 100 B in use");
        noise.join().expect("it counts");
    }
}

#[test]
fn every_kind_of_call_is_counted() {
    let counts = measure(|| {
        let mut bytes: Vec<u8> = Vec::with_capacity(10);
        bytes.extend([0; 10]);
        bytes.reserve_exact(90);
        drop(black_box(vec![0_u8; 50]));
        bytes.shrink_to(10);
        bytes
    });
    let counts = counts.counts();
    assert_eq!((counts.alloc_objects, counts.alloc_space, counts.reallocs), (4, 170, 2));
    assert_eq!((counts.frees, counts.freed_space), (3, 160));
    assert_eq!((counts.inuse_objects, counts.inuse_space, counts.peak_space), (1, 10, 150));
}

#[test]
fn the_free_of_an_older_block_hides_no_leak() {
    let older = Box::new([0_u8; 64]);
    let counts = measure(|| {
        drop(older);
        Box::leak(Box::new([0_u8; 64]));
    });
    let counts = counts.counts();
    assert_eq!((counts.inuse_objects, counts.inuse_space, counts.frees), (1, 64, 1));
}

#[test]
fn a_block_that_is_handed_out_is_in_use_and_one_that_another_thread_frees_is_not() {
    let (sender, receiver) = mpsc::channel::<Box<[u8; 32]>>();
    let (done, wait) = mpsc::channel::<()>();
    let other = thread::spawn(move || {
        drop(receiver.recv());
        done.send(()).expect("the test waits");
    });
    // The channel's own blocks are not the region's.
    let warm = measure(|| Box::new([0_u8; 32])).value;
    sender.send(warm).expect("the thread receives");
    wait.recv().expect("the thread says so");
    other.join().expect("it ends");
    let kept = measure(|| Box::new([0_u8; 32]));
    assert_eq!(kept.counts().inuse_space, 32);
}

#[test]
fn what_is_carried_is_counted_on_any_thread_and_nothing_else() {
    for _ in 0..50 {
        let mut handles = Vec::with_capacity(64);
        let counts = measure(|| {
            for n in 0..64 {
                let work = carry(move || drop(black_box(vec![1_u8; 100 + n])));
                // The thread itself is not the region's to pay for.
                handles.push(thread::Builder::new().spawn(work));
            }
            for handle in handles.drain(..) {
                handle.expect("a thread can be had").join().expect("it ends");
            }
        });
        let counts = counts.counts();
        let carried: u64 = (0..64).map(|n| 100 + n).sum();
        assert!(counts.alloc_space >= carried, "{counts}");
        assert!(counts.several_threads);
    }
    let quiet = measure(|| {
        let work = carry(|| assert_eq!(black_box(vec![1_u8; 100]).len(), 100));
        thread::scope(|scope| scope.spawn(|| ()).join().expect("it ends"));
        work();
    });
    assert!(quiet.counts().alloc_space >= 100);
}

#[test]
fn futures_are_counted_wherever_they_are_polled() {
    let counts = measure(|| {
        let future = pin!(async {
            drop(black_box(vec![1_u8; 10]));
            drop(black_box(vec![1_u8; 20]));
        }
        .carried());
        block_on(future);
    });
    assert_eq!(counts.counts().alloc_space, 30);
}

#[test]
fn a_region_in_a_region_counts_for_both() {
    let mut inner = None;
    let outer = measure(|| {
        drop(black_box(vec![1_u8; 1]));
        inner = Some(measure(|| drop(black_box(vec![1_u8; 10]))).counts());
        drop(black_box(vec![1_u8; 100]));
    });
    let inner = inner.expect("it was set");
    assert_eq!((inner.alloc_objects, inner.alloc_space, inner.peak_space), (1, 10, 10));
    let outer = outer.counts();
    assert_eq!((outer.alloc_objects, outer.alloc_space, outer.peak_space), (3, 111, 100));
}

#[test]
fn a_panic_within_a_region_leaves_nothing_open() {
    let _ = panic_text(|| {
        measure(|| panic!("{}", "on purpose"));
    });
    let counts = measure(|| vec![1_u8; 3]).counts();
    assert_eq!(counts.alloc_objects, 1);
}

#[test]
fn the_line_that_allocated_is_named() {
    fn step() -> Vec<u8> {
        black_box(vec![1_u8; 5])
    }
    let line = line!() - 2;
    let text = panic_text(|| {
        assert_allocs!(alloc_objects <= 1, {
            drop(step());
            drop(step());
            drop(step());
        });
    });
    assert!(
        text.starts_with(
            "over its limit: `alloc_objects <= 1` does not hold, it is 3\n  3 allocs, 15 B\n  allocated by"
        ),
        "{text}"
    );
    assert!(text.contains(&format!("counting.rs:{line} in step ← ")), "{text}");
    assert!(text.contains("3 times"), "{text}");
}

#[test]
fn the_line_whose_block_is_left_is_named() {
    fn keep() -> Box<[u8; 40]> {
        black_box(Box::new([1_u8; 40]))
    }
    let text = panic_text(|| {
        assert_allocs!(inuse_objects == 0, {
            drop(black_box(vec![1_u8; 10]));
            std::mem::forget(keep());
        });
    });
    assert!(text.contains("`inuse_objects == 0` does not hold, it is 1"), "{text}");
    assert!(text.contains("left by") && text.contains("in keep ← ") && text.contains(", once"), "{text}");
    assert!(!text.contains("more"), "{text}");
}

#[test]
fn a_process_region_counts_every_thread() {
    let counts = measure_process(|| {
        thread::spawn(|| drop(black_box(vec![1_u8; 12_345]))).join().expect("it ends");
    });
    let counts = counts.counts();
    assert!(counts.alloc_space >= 12_345 && counts.peak_space >= 12_345, "{counts:?}");
}

#[test]
fn growth_is_told_from_growth() {
    let buffer = memprof::growth([10, 100, 1000]).run(|n| {
        (0..n).fold(Vec::new(), |mut all, item| {
            all.push(item as u64);
            all
        })
    });
    buffer.assert_amortized().assert_at_most_per_item(1);
    assert!(panic_text(|| {
        buffer.assert_constant();
    })
    .contains("n =      100: "));
    let quadratic = memprof::growth([10, 100]).run(|n| {
        for _ in 0..n * n {
            drop(black_box(Box::new(1_u8)));
        }
    });
    assert!(panic_text(|| {
        quadratic.assert_at_most_per_item(9);
    })
    .starts_with(
        "grows faster than expected (at most 9 allocations more for each item more): from n = 10 to n = 100\n"
    ));
    memprof::growth([10, 1000]).input(|n| vec![1_u8; n]).run(|bytes| bytes.len()).assert_constant();
}

#[test]
fn a_region_works_in_the_destructor_of_a_thread_local() {
    struct AtEnd(mpsc::Sender<u64>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            let counts = measure(|| drop(black_box(vec![1_u8; 9]))).counts();
            self.0.send(counts.alloc_space).expect("the test waits");
        }
    }
    thread_local! {
        static AT_END: std::cell::RefCell<Option<AtEnd>> = const { std::cell::RefCell::new(None) };
    }
    let (sender, receiver) = mpsc::channel();
    thread::spawn(|| AT_END.with(|at_end| *at_end.borrow_mut() = Some(AtEnd(sender)))).join().expect("it ends");
    assert_eq!(receiver.recv(), Ok(9));
}

#[test]
fn two_hundred_threads_have_regions_at_once() {
    let threads: Vec<_> = (0..200_usize)
        .map(|n| {
            thread::spawn(move || {
                for _ in 0..20 {
                    let counts = measure(|| {
                        let mut all: Vec<Box<usize>> = Vec::with_capacity(n);
                        all.extend((0..n).map(Box::new));
                    })
                    .counts();
                    let blocks = if n == 0 { 0 } else { n as u64 + 1 };
                    assert_eq!((counts.alloc_objects, counts.inuse_objects), (blocks, 0));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("its counts are right"));
}

#[inline(never)]
fn within(times: usize) {
    for _ in 0..times {
        drop(black_box(vec![1_u8; 8]));
    }
}

#[inline(never)]
fn beyond(times: usize) {
    for _ in 0..times {
        drop(black_box(vec![1_u8; 8]));
    }
}

/// Between the first allocations and the limit nobody is told of any: their sum brings the limit nearer all the same, whoever made them.
#[test]
fn lines_past_a_far_limit_are_named() {
    let alone = || within(200);
    let nested = || {
        within(70);
        assert_eq!(measure(|| within(60)).counts().alloc_objects, 60);
        assert_allocs!(alloc_objects == 70, { within(70) });
    };
    let handed_on = || {
        within(70);
        let work = carry(|| within(60));
        within(70);
        // Without what `thread::spawn` allocates, which is not the same everywhere.
        work();
    };
    for work in [&alone as &dyn Fn(), &nested, &handed_on] {
        for by_bytes in [false, true] {
            let text = panic_text(|| {
                if by_bytes {
                    assert_allocs!(alloc_space <= 1600, {
                        work();
                        beyond(50);
                    });
                } else {
                    assert_allocs!(alloc_objects <= 200, {
                        work();
                        beyond(50);
                    });
                }
            });
            assert!(text.contains("250 allocs, 2000 B\n"), "{text}");
            // 64 of the first, 16 of those beyond, and 250 - 80 unnamed.
            let of = |function: &str| text.lines().find(|line| line.contains(function)).unwrap_or_default().to_owned();
            assert!(of("in beyond").ends_with("16 times"), "{text}");
            assert!(of("in within").ends_with("64 times"), "{text}");
            assert!(text.ends_with("and 170 more"), "{text}");
        }
    }
}

/// However often others allocate before: it is they that pass the limit who are named first.
#[test]
fn lines_past_a_peak_are_named_first() {
    let text = panic_text(|| {
        assert_allocs!(peak_space <= 100, {
            within(90);
            let kept: Vec<u8> = black_box(vec![1_u8; 90]);
            beyond(2);
            let mut grown: Vec<u8> = Vec::with_capacity(10);
            grown.reserve_exact(11);
            drop((kept, grown));
            within(5);
        });
    });
    assert!(
        text.contains("`peak_space <= 100` does not hold, it is 101\n  100 allocs, 887 B, peak 101 B, 0 B in use\n"),
        "{text}"
    );
    let first = text.lines().find(|line| line.contains("allocated by")).unwrap_or_default();
    assert!(first.contains("in lines_past_a_peak_are_named_first") && first.ends_with("once"), "{text}");
    assert!(text.lines().any(|line| line.contains("in within") && line.ends_with("64 times")), "{text}");
    assert!(text.ends_with("and 35 more"), "{text}");
}
