//! A budget of a whole function: what the attribute `#[budget]` puts around its body. Public for that alone.

use crate::measure::{limit_leaked, or_note, Figures, Measured, Region};
use std::any::Any;
use std::future::{poll_fn, Future};
use std::mem::size_of_val;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe, Location};
use std::pin::pin;
use std::task::Poll;

/// Figures by name, and the most that each may be.
type Limits<'a> = &'a [(&'static str, u64)];

/// Limits what the whole test may have leaked, where that is limited. Only at its end is it known.
///
/// # Panics
/// Where the process is recorded and nobody looks at what it has leaked.
#[track_caller]
fn limit_whole(limits: Limits<'_>, region: &Region) {
    let Some((_, most)) = limits.iter().find(|(name, _)| *name == "leaked") else { return };
    assert!(
        !region.is_recorded() || limit_leaked(*most),
        "the budget of `leaked` cannot be checked here: it is known of a whole test of libtest's alone, and this is another program; \
         limit `inuse_space` instead"
    );
}

/// Runs a function's body within its limits.
#[track_caller]
pub fn run<T>(limits: Limits<'_>, body: impl FnOnce() -> T) -> T {
    let region = Region::begin();
    limit_whole(limits, &region);
    let value = body();
    let measured = Measured { value, figures: region.end() };
    if let Some(excess) = or_note(measured.figures).and_then(|figures| excess(limits, &figures)) {
        panic!("{excess}");
    }
    measured.value
}

/// As [`run`], where a panic is what is wanted. A budget that does not hold must not look like it.
pub fn run_to_panic(limits: Limits<'_>, body: impl FnOnce()) {
    let region = Region::begin();
    limit_whole(limits, &region);
    let ended = catch_unwind(AssertUnwindSafe(body));
    settle(limits, region, ended);
}

/// As [`run`], for an async function.
#[track_caller]
pub fn run_async<'a, T: 'a>(limits: Limits<'a>, body: impl Future<Output = T> + 'a) -> impl Future<Output = T> + 'a {
    let place = Location::caller();
    async move {
        let region = Region::begin();
        limit_whole(limits, &region);
        let value = body.await;
        if let Some(excess) = or_note(region.end()).and_then(|figures| excess(limits, &figures)) {
            panic!("{excess}\n  at {place}");
        }
        value
    }
}

/// As [`run_to_panic`], for an async function.
pub async fn run_async_to_panic(limits: Limits<'_>, body: impl Future<Output = ()>) {
    let region = Region::begin();
    limit_whole(limits, &region);
    let mut body = pin!(body);
    let ended = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    let ended = ended.await;
    settle(limits, region, ended);
}

type Ended = Result<(), Box<dyn Any + Send>>;

/// Goes on with the panic, unless the budget does not hold: then the test ends without one, which fails it.
fn settle(limits: Limits<'_>, region: Region, ended: Ended) {
    let figures = region.end();
    let checked = catch_unwind(|| or_note(figures));
    let Ok(figures) = checked else { return };
    let figures = figures.map(|figures| without_payload(figures, &ended));
    if let Some(excess) = figures.and_then(|figures| excess(limits, &figures)) {
        eprintln!("{excess}");
        return;
    }
    if let Err(panic) = ended {
        resume_unwind(panic);
    }
}

/// The panic itself is still there when what is live is counted, and is no leak.
fn without_payload(mut figures: Figures, ended: &Ended) -> Figures {
    let Err(panic) = ended else { return figures };
    let message = panic.downcast_ref::<String>().map_or(0, String::capacity);
    for size in [size_of_val(&**panic), message].into_iter().filter(|size| *size > 0) {
        figures.inuse_objects -= 1;
        figures.inuse_space -= size as i64;
    }
    figures
}

/// What is to be said; `None` = all limits hold.
fn excess(limits: Limits<'_>, figures: &Figures) -> Option<String> {
    let over = |(name, most): &(&str, u64)| {
        let found = figures.surely(name)?;
        (found > i128::from(*most)).then(|| format!("`{name}` is {found}, and at most {most} may be"))
    };
    let over: Vec<String> = limits.iter().filter_map(over).collect();
    (!over.is_empty()).then(|| format!("over budget: {}\n  {figures:?}", over.join("; ")))
}

impl Figures {
    /// The figure of this name; of a peak that has a bound, what it reached in any case.
    fn surely(&self, name: &str) -> Option<i128> {
        Some(match name {
            "alloc_objects" => self.alloc_objects.into(),
            "alloc_space" => self.alloc_space.into(),
            "reallocs" => self.reallocs.into(),
            "peak_space" => self.peak_space.saturating_sub(self.peak_error).into(),
            "inuse_objects" => self.inuse_objects.into(),
            "inuse_space" => self.inuse_space.into(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::size_of;

    #[test]
    fn all_limits_that_do_not_hold_are_said() {
        let figures =
            Figures { alloc_objects: 3, peak_space: 5000, peak_error: 4096, inuse_space: 8, ..Figures::default() };
        assert_eq!(excess(&[("alloc_objects", 3), ("peak_space", 904), ("inuse_space", 8)], &figures), None);
        let said = excess(&[("alloc_objects", 2), ("peak_space", 903), ("inuse_space", 9)], &figures);
        let expected =
            "over budget: `alloc_objects` is 3, and at most 2 may be; `peak_space` is 904, and at most 903 may be";
        assert!(said.is_some_and(|said| said.starts_with(expected)));
    }

    #[test]
    fn a_panics_own_payload_is_no_leak() {
        let ended = catch_unwind(|| panic!("{}", "formatted"));
        let capacity = match &ended {
            Err(panic) => panic.downcast_ref::<String>().map_or(0, String::capacity),
            Ok(()) => unreachable!("it panics"),
        };
        let size = (size_of::<String>() + capacity) as i64;
        let figures = Figures { inuse_objects: 2, inuse_space: size, ..Figures::default() };
        assert_eq!(without_payload(figures, &ended), Figures::default());
    }
}
