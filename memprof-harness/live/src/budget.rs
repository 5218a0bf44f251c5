//! A budget of a whole function: what the attribute `#[budget]` puts around its body. Public for that alone.

use crate::count::{events, owned};
use crate::limits::{excess, hold, tracking};
use crate::measure::Open;
use crate::require;
use std::future::{poll_fn, Future};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe, Location};
use std::pin::{pin, Pin};
use std::task::{Context, Poll};
use std::thread;

pub use crate::limits::Limit;

/// Limits of a function: those of its region, and the most bytes that the whole test may have leaked at its end.
#[derive(Debug, Clone, Copy)]
pub struct Budget<'a> {
    /// What the function itself may allocate.
    pub limits: &'a [Limit],
    /// `None` = leaks are not limited.
    pub leaked: Option<u64>,
}

impl Budget<'_> {
    /// Has the recording limit the leaks, and begins the region. `None` = there is nothing to count.
    ///
    /// # Panics
    /// Where the budget cannot be checked, and that is not allowed.
    #[track_caller]
    fn begin(&self) -> Option<Open> {
        if let Some(bytes) = self.leaked {
            require::leaks_are_limited(bytes);
        }
        if self.limits.is_empty() {
            return None;
        }
        Open::new(tracking(self.limits))
    }

    /// What is to be said of a region that has ended; `None` = every limit holds.
    #[track_caller]
    fn end(&self, open: Open) -> Option<String> {
        let holds = |counts: &_| hold(self.limits, counts);
        open.end(&holds, |state, counts| excess(self.limits, state, counts)).1
    }

    /// As [`Budget::end`] where a panic is what is wanted: what cannot be checked must not look like it.
    fn end_quietly(&self, open: Open) -> Result<Option<String>, ()> {
        catch_unwind(AssertUnwindSafe(|| self.end(open))).map_err(drop)
    }

    /// Goes on with the panic, unless the budget does not hold: then the test ends without one, which fails it.
    fn settle(&self, open: Option<Open>, ended: thread::Result<()>) {
        let excess = open.map_or(Ok(None), |open| self.end_quietly(open));
        let _uncounted = events::uncounted();
        match (excess, ended) {
            (Err(()), _) => {}
            (Ok(Some(excess)), _) => eprintln!("{excess}"),
            (Ok(None), Err(panic)) => resume_unwind(panic),
            (Ok(None), Ok(())) => {}
        }
    }
}

/// Runs the block of `assert_allocs!`, and panics where a limit does not hold.
#[track_caller]
pub fn assert<T>(limits: &[Limit], work: impl FnOnce() -> T) -> T {
    run(Budget { limits, leaked: None }, work)
}

/// Runs a function's body within its budget.
#[track_caller]
pub fn run<T>(budget: Budget<'_>, body: impl FnOnce() -> T) -> T {
    let Some(open) = budget.begin() else { return body() };
    let value = open.part(body);
    if let Some(excess) = budget.end(open) {
        let _uncounted = events::uncounted();
        panic!("{excess}");
    }
    value
}

/// As [`run`], where a panic is what is wanted.
pub fn run_to_panic(budget: Budget<'_>, body: impl FnOnce()) {
    let Ok(open) = catch_unwind(|| budget.begin()) else { return };
    let body = || {
        let ended = catch_unwind(AssertUnwindSafe(body));
        leave_out_payload(&ended);
        ended
    };
    let ended = match &open {
        Some(open) => open.part(body),
        None => body(),
    };
    budget.settle(open, ended);
}

/// As [`run`], for an async function, on whatever thread it is polled.
#[track_caller]
pub fn run_async<'a, T: 'a>(budget: Budget<'a>, body: impl Future<Output = T> + 'a) -> impl Future<Output = T> + 'a {
    let place = Location::caller();
    async move {
        let Some(open) = budget.begin() else { return body.await };
        let value = {
            let mut body = pin!(body);
            poll_fn(|context| open.carried_part(|| body.as_mut().poll(context))).await
        };
        if let Some(excess) = budget.end(open) {
            let _uncounted = events::uncounted();
            panic!("{excess}\n  at {place}");
        }
        value
    }
}

/// As [`run_to_panic`], for an async function.
pub async fn run_async_to_panic(budget: Budget<'_>, body: impl Future<Output = ()>) {
    let Ok(open) = catch_unwind(|| budget.begin()) else { return };
    let ended = {
        let mut body = pin!(body);
        poll_fn(|context| match &open {
            Some(open) => open.carried_part(|| poll_to_panic(body.as_mut(), context)),
            None => poll_to_panic(body.as_mut(), context),
        })
        .await
    };
    budget.settle(open, ended);
}

fn poll_to_panic(body: Pin<&mut impl Future<Output = ()>>, context: &mut Context<'_>) -> Poll<thread::Result<()>> {
    match catch_unwind(AssertUnwindSafe(|| body.poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Err(panic) => {
            let ended = Err(panic);
            leave_out_payload(&ended);
            Poll::Ready(ended)
        }
    }
}

/// The panic itself is still there when what is in use is counted, and the test did not keep it.
fn leave_out_payload(ended: &thread::Result<()>) {
    let Err(panic) = ended else { return };
    let _inside = events::inside();
    owned::take(std::ptr::from_ref(&**panic).cast::<u8>().cast_mut());
    if let Some(message) = panic.downcast_ref::<String>() {
        owned::take(message.as_ptr().cast_mut());
    }
}
