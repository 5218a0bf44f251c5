//! Asserts how allocations grow with the input.

use crate::counts::Counts;
use crate::measure::measure;
use std::fmt;

/// What `run` allocates by the size of its input, which `input` makes unmeasured. Sizes in ascending order.
///
/// ```
/// memprof::install!();
///
/// # fn main() {
/// memprof::growth([10, 100, 1000])
///     .input(|n| vec![1_u8; n])
///     .run(|bytes| bytes.iter().map(|byte| byte + 1).collect::<Vec<_>>())
///     .assert_constant();
/// # }
/// ```
pub fn growth(sizes: impl IntoIterator<Item = usize>) -> Growth {
    let mut sizes: Vec<usize> = sizes.into_iter().collect();
    sizes.sort_unstable();
    sizes.dedup();
    Growth { sizes }
}

/// See [`growth`].
#[derive(Debug, Clone)]
pub struct Growth {
    sizes: Vec<usize>,
}

/// See [`Growth::input`].
#[derive(Debug, Clone)]
pub struct WithInput<F> {
    sizes: Vec<usize>,
    make: F,
}

impl Growth {
    /// Makes the input of a size, which is not measured.
    pub fn input<I, F: FnMut(usize) -> I>(self, make: F) -> WithInput<F> {
        WithInput { sizes: self.sizes, make }
    }

    /// Runs `work` with each size; first once with the smallest, unmeasured, so that what is made once is made.
    ///
    /// # Panics
    /// As [`measure`].
    #[track_caller]
    pub fn run<T>(self, work: impl FnMut(usize) -> T) -> Grown {
        self.input(|n| n).run(work)
    }
}

impl<I, F: FnMut(usize) -> I> WithInput<F> {
    /// As [`Growth::run`], with the input of each size.
    ///
    /// # Panics
    /// As [`measure`].
    #[track_caller]
    pub fn run<T>(mut self, mut work: impl FnMut(I) -> T) -> Grown {
        if let Some(smallest) = self.sizes.first() {
            drop(work((self.make)(*smallest)));
        }
        let mut points = Vec::new();
        for n in self.sizes {
            let input = (self.make)(n);
            let measured = measure(|| work(input));
            if let Some(counts) = measured.try_counts() {
                points.push((n, counts));
            }
        }
        Grown { points }
    }
}

/// What was allocated, by the size of the input.
///
/// Assertions are on [`Counts::alloc_objects`]; for others take [`Grown::points`]. Its `Display` is a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grown {
    points: Vec<(usize, Counts)>,
}

impl Grown {
    /// Sizes, in ascending order, and what each allocated.
    pub fn points(&self) -> &[(usize, Counts)] {
        &self.points
    }

    /// As many allocations whatever the size is.
    ///
    /// # Panics
    /// Where that is not so, with the table.
    #[track_caller]
    pub fn assert_constant(&self) -> &Grown {
        self.check("as many allocations for every size", |_, before, _, now| before == now)
    }

    /// At most `most` allocations more for each item more: f(n₂) − f(n₁) ≤ `most` · (n₂ − n₁).
    ///
    /// # Panics
    /// Where that is not so, with the table.
    #[track_caller]
    pub fn assert_at_most_per_item(&self, most: u64) -> &Grown {
        let what = format!("at most {most} allocations more for each item more");
        self.check(&what, |n1, f1, n2, f2| f2.saturating_sub(f1) <= most.saturating_mul((n2 - n1) as u64))
    }

    /// As many allocations as a `Vec` takes that doubles as it grows: f(n₂) − f(n₁) ≤ ⌈log₂(n₂ / n₁)⌉ + 1.
    ///
    /// # Panics
    /// Where that is not so, with the table.
    #[track_caller]
    pub fn assert_amortized(&self) -> &Grown {
        self.assert_amortized_by(1)
    }

    /// As [`Grown::assert_amortized`], for `many` such collections: f(n₂) − f(n₁) ≤ `many` · (⌈log₂(n₂ / n₁)⌉ + 1).
    ///
    /// # Panics
    /// Where that is not so, with the table.
    #[track_caller]
    pub fn assert_amortized_by(&self, many: u64) -> &Grown {
        let what = format!("no more allocations than {many} `Vec` that double");
        self.check(&what, |n1, f1, n2, f2| {
            let doublings = (n2 as f64 / n1.max(1) as f64).log2().ceil() as u64;
            f2.saturating_sub(f1) <= many.saturating_mul(doublings + 1)
        })
    }

    #[track_caller]
    fn check(&self, what: &str, holds: impl Fn(usize, u64, usize, u64) -> bool) -> &Grown {
        for pair in self.points.windows(2) {
            let [(n1, before), (n2, now)] = pair else { continue };
            if !holds(*n1, before.alloc_objects, *n2, now.alloc_objects) {
                panic!("grows faster than expected ({what}): from n = {n1} to n = {n2}\n{self}");
            }
        }
        self
    }
}

impl fmt::Display for Grown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (n, counts)) in self.points.iter().enumerate() {
            let end = if index + 1 == self.points.len() { "" } else { "\n" };
            write!(f, "  n = {n:8}: {counts}{end}")?;
        }
        Ok(())
    }
}
