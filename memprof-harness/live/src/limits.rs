//! The limits of a region, and the message where one does not hold.

use crate::count::owned;
use crate::count::region::{State, Tracking};
use crate::counts::Counts;
use crate::sites::{Line, Most, Sites};
use std::fmt::Write;
use std::sync::Arc;

/// A comparison of one of the [`Counts`] with a number.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    name: &'static str,
    is: &'static str,
    limit: u64,
}

/// Lines that are shown.
const SHOWN: usize = 5;

impl Limit {
    /// By the field's name, the comparison and the number.
    pub const fn new(name: &'static str, is: &'static str, limit: u64) -> Limit {
        Limit { name, is, limit }
    }

    fn holds(&self, counts: &Counts) -> bool {
        let Some(now) = counts.named(self.name) else { return false };
        match self.is {
            "<=" => now <= self.limit,
            "<" => now < self.limit,
            "==" => now == self.limit,
            "!=" => now != self.limit,
            ">=" => now >= self.limit,
            ">" => now > self.limit,
            _ => false,
        }
    }

    /// The most that may be; `None` = there is no such limit.
    fn most(&self) -> Option<u64> {
        match self.is {
            "<=" | "==" => Some(self.limit),
            "<" => Some(self.limit.saturating_sub(1)),
            _ => None,
        }
    }

    fn is_of_live(&self) -> bool {
        self.name.starts_with("inuse_")
    }
}

/// What a region with these limits has to know.
pub(crate) fn tracking(limits: &[Limit]) -> Tracking {
    let most = |name: &str| limits.iter().filter(|limit| limit.name == name).filter_map(Limit::most).min();
    let live = limits.iter().any(Limit::is_of_live);
    let is_peak = limits.iter().any(|limit| limit.name == "peak_space");
    let sites =
        Sites::new(Most { objects: most("alloc_objects"), space: most("alloc_space"), peak: most("peak_space"), live });
    Tracking { live: live || is_peak, sites: Some(sites) }
}

pub(crate) fn hold(limits: &[Limit], counts: &Counts) -> bool {
    limits.iter().all(|limit| limit.holds(counts))
}

/// What is to be said of a region that is over; `None` = all limits hold.
pub(crate) fn excess(limits: &[Limit], state: &Arc<State>, counts: &Counts) -> Option<String> {
    let broken: Vec<&Limit> = limits.iter().filter(|limit| !limit.holds(counts)).collect();
    if broken.is_empty() {
        return None;
    }
    let mut text = "over its limit:".to_owned();
    for limit in &broken {
        let now = counts.named(limit.name).unwrap_or_default();
        let _ = write!(text, " `{} {} {}` does not hold, it is {now};", limit.name, limit.is, limit.limit);
    }
    text.pop();
    // Where no limit is on them, nobody followed the blocks.
    let known = if state.tracks_live { counts.to_string() } else { counts.allocated() };
    let _ = write!(text, "\n  {known}");
    let (lines, unkept, what) = if broken.iter().all(|limit| limit.is_of_live()) {
        let blocks = owned::live_stacks(state);
        let (lines, unkept) = state.own_sites().map(|sites| sites.lock().live(&blocks)).unwrap_or_default();
        (lines, unkept, "left by")
    } else {
        let (lines, unkept) = state.own_sites().map(|sites| sites.lock().allocated()).unwrap_or_default();
        (lines, unkept, "allocated by")
    };
    say_lines(&mut text, what, &lines, unkept);
    Some(text)
}

fn say_lines(text: &mut String, what: &str, lines: &[Line], unkept: u64) {
    for (index, line) in lines.iter().take(SHOWN).enumerate() {
        let head = if index == 0 { what } else { "" };
        let times = if line.times == 1 { "once".to_owned() } else { format!("{} times", line.times) };
        let _ = write!(text, "\n  {head:12} {}, {times}", line.text);
    }
    let others: u64 = lines.iter().skip(SHOWN).map(|line| line.times).sum();
    if others + unkept > 0 {
        let _ = write!(text, "\n  {:12} and {} more", "", others + unkept);
    }
}

/// Runs a block and asserts on what it allocated: any number of comparisons of fields of [`Counts`] with numbers, and then the block,
/// whose value is given. Where one does not hold, the panic says which lines allocated.
///
/// ```
/// memprof::install!();
///
/// # fn main() {
/// let text = memprof::assert_allocs!(alloc_objects <= 1, peak_space <= 16, inuse_objects == 1, {
///     String::from("sixteen letters!")
/// });
/// assert_eq!(text.len(), 16);
/// # }
/// ```
#[macro_export]
macro_rules! assert_allocs {
    ($($name:ident $is:tt $limit:expr),+ , $work:block) => {{
        // A name that is none is the compiler's to tell.
        $( let _ = |counts: &$crate::Counts| $crate::__count!(counts, $name); )+
        $crate::__budget::assert(
            &[$( $crate::__budget::Limit::new(::std::stringify!($name), ::std::stringify!($is), $limit) ),+],
            || $work,
        )
    }};
}

/// Runs a block and asserts that it allocates nothing. Gives its value.
///
/// ```
/// memprof::install!();
///
/// # fn main() {
/// let sum: u32 = memprof::assert_no_alloc!({ [1, 2, 3].iter().sum() });
/// assert_eq!(sum, 6);
/// # }
/// ```
#[macro_export]
macro_rules! assert_no_alloc {
    ($work:block) => {
        $crate::assert_allocs!(alloc_objects == 0, $work)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __count {
    ($counts:ident, leaked) => {
        ::std::compile_error!(
            "`leaked` is known of a whole test alone: write `#[budget(leaked = 0)]` on it; a region knows `inuse_space`"
        )
    };
    ($counts:ident, $name:ident) => {
        $counts.$name
    };
}
