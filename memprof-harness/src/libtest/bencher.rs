//! `#[bench]`: the `Bencher` that a benchmark is given. It is libtest's own, but where one iteration is to be recorded it runs
//! the body twice, the second time with the window open.
#![allow(unsafe_code)] // one function pointer is taken for another

use crate::engine;
use real::TestFn;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// libtest's `Bencher` by another name, so that `iter` is ours.
#[repr(transparent)]
#[derive(Clone)]
pub struct Bencher(real::Bencher);

/// What rustc makes of a function with `#[bench]`.
type Benchmark = fn(&mut Bencher) -> Result<(), String>;

/// Calls of `iter` until now.
static ITERATED: AtomicU32 = AtomicU32::new(0);
/// In a process that is there to record one iteration: of which of those calls. 0 in any other.
static RECORDED: AtomicU32 = AtomicU32::new(0);

/// What rustc's expansion of `#[bench]` calls as if it were libtest's enum variant.
#[allow(non_snake_case)]
pub const fn StaticBenchFn(function: Benchmark) -> TestFn {
    // SAFETY: `Bencher` is transparent over `real::Bencher`, so references to the two are passed and returned alike, which
    // makes the two function pointer types compatible.
    TestFn::StaticBenchFn(unsafe {
        std::mem::transmute::<Benchmark, fn(&mut real::Bencher) -> Result<(), String>>(function)
    })
}

impl Deref for Bencher {
    type Target = real::Bencher;

    fn deref(&self) -> &real::Bencher {
        &self.0
    }
}

impl DerefMut for Bencher {
    fn deref_mut(&mut self) -> &mut real::Bencher {
        &mut self.0
    }
}

impl Bencher {
    /// Measures `inner`, or records it once.
    pub fn iter<T, F: FnMut() -> T>(&mut self, mut inner: F) {
        let call = ITERATED.fetch_add(1, Relaxed).wrapping_add(1);
        if call != RECORDED.load(Relaxed) {
            return self.0.iter(inner);
        }
        // What is made on first use is not what an iteration allocates.
        black_box(inner());
        engine::open();
        once(&mut inner);
        engine::shut();
    }
}

/// One iteration, in a frame of its own.
#[inline(never)]
fn once<T>(inner: &mut impl FnMut() -> T) {
    black_box(inner());
}

/// How often `iter` was called in this process until now.
pub(super) fn iterated() -> u32 {
    ITERATED.load(Relaxed)
}

/// Runs a benchmark in a process that is there to record one iteration, of that call of `iter`: the first is 1. What stands around
/// it is not recorded.
pub(super) fn record(function: fn(&mut real::Bencher) -> Result<(), String>, call: NonZeroU32) -> Result<(), String> {
    RECORDED.store(call.get(), Relaxed);
    real::bench::run_once(|bencher| function(bencher))
}
