//! Carries a region to other threads: a closure that runs there, or a future that is polled there, counts for it too.

#![allow(unsafe_code)] // a pinned field

use crate::active::Listening;
use crate::count::events;
use crate::count::part::Part;
use crate::count::quiet::Quiet;
use crate::count::region::State;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The region that the calling thread works for, to be worked for elsewhere.
struct Carried(Option<(Quiet<Arc<State>>, Listening)>);

impl Carried {
    fn here() -> Carried {
        let _inside = events::inside();
        let state = events::current();
        if let Some(state) = &state {
            state.carry();
            events::tell_sites();
        }
        Carried(state.map(|state| (Quiet::new(state), Listening::to_region())))
    }

    fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some((state, _)) if state.is_open() => Part::run(state, true, work),
            _ => work(),
        }
    }
}

/// A closure that counts for the region in which this was called, whatever thread it runs on: for `thread::spawn`, `scope`, a pool.
///
/// ```
/// use std::thread;
/// memprof::install!();
///
/// # fn main() {
/// let measured = memprof::measure(|| {
///     thread::scope(|scope| {
///         scope.spawn(memprof::carry(|| drop(vec![0_u8; 1000]))).join().unwrap();
///     });
/// });
/// assert!(measured.counts().alloc_space >= 1000);
/// # }
/// ```
pub fn carry<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let carried = Carried::here();
    move || carried.run(work)
}

/// A future that counts for the region in which [`Carry::carried`] was called, whatever thread polls it.
pub struct CarriedFuture<F> {
    carried: Carried,
    future: F,
}

/// What every future has, where this trait is in scope.
pub trait Carry: Future + Sized {
    /// A future that counts for the region in which this was called, whatever thread polls it.
    fn carried(self) -> CarriedFuture<Self> {
        CarriedFuture { carried: Carried::here(), future: self }
    }
}

impl<F: Future> Carry for F {}

impl<F: Future> Future for CarriedFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the future is never moved out of `self`, which is pinned; the rest is not.
        let CarriedFuture { carried, future } = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above: it is pinned because `self` is.
        let future = unsafe { Pin::new_unchecked(future) };
        carried.run(|| future.poll(context))
    }
}
