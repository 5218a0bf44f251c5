//! The metrics that are gated, what was seen of them in several runs of a test, and how they are written for people. All are exact
//! but the peak of a test with several threads, which comes with a bound.

use memprof_profile::view::amount;
use serde::{Deserialize, Serialize};

/// One of the gated metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Successful calls of alloc, alloc_zeroed and realloc.
    AllocObjects,
    /// Bytes they asked for.
    AllocSpace,
    /// Highest number of live bytes.
    PeakSpace,
    /// Blocks live when the test ended.
    InuseObjects,
    /// Their bytes.
    InuseSpace,
}

impl Metric {
    /// All of them, in the order of a line of the baseline.
    pub const ALL: [Metric; 5] =
        [Metric::AllocObjects, Metric::AllocSpace, Metric::PeakSpace, Metric::InuseObjects, Metric::InuseSpace];

    /// Its name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Metric::AllocObjects => "alloc_objects",
            Metric::AllocSpace => "alloc_space",
            Metric::PeakSpace => "peak_space",
            Metric::InuseObjects => "inuse_objects",
            Metric::InuseSpace => "inuse_space",
        }
    }

    /// Whether it counts bytes.
    pub fn is_space(self) -> bool {
        !matches!(self, Metric::AllocObjects | Metric::InuseObjects)
    }

    /// `number` of this metric. Exact: a difference of one must be seen.
    pub fn show(self, number: i64) -> String {
        let number = amount::count(number);
        if self.is_space() { format!("{number} B") } else { number }
    }
}

/// The metrics of one run of a test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    pub alloc_objects: u64,
    pub alloc_space: u64,
    pub peak_space: u64,
    /// How far `peak_space` may be from the truth, in bytes; 0 = it is exact.
    #[serde(default)]
    pub peak_error: u64,
    /// Below zero only where the test gave back blocks that were not its own; so are their bytes.
    #[serde(default)]
    pub inuse_objects: i64,
    pub inuse_space: i64,
}

impl Metrics {
    /// The metric's value. What outgrows an `i64` stands at its end.
    pub fn get(&self, metric: Metric) -> i64 {
        let unsigned = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        match metric {
            Metric::AllocObjects => unsigned(self.alloc_objects),
            Metric::AllocSpace => unsigned(self.alloc_space),
            Metric::PeakSpace => unsigned(self.peak_space),
            Metric::InuseObjects => self.inuse_objects,
            Metric::InuseSpace => self.inuse_space,
        }
    }

    /// Has the metric be that of `other`, with its error.
    fn take(&mut self, metric: Metric, other: &Metrics) {
        match metric {
            Metric::AllocObjects => self.alloc_objects = other.alloc_objects,
            Metric::AllocSpace => self.alloc_space = other.alloc_space,
            Metric::PeakSpace => (self.peak_space, self.peak_error) = (other.peak_space, other.peak_error),
            Metric::InuseObjects => self.inuse_objects = other.inuse_objects,
            Metric::InuseSpace => self.inuse_space = other.inuse_space,
        }
    }

    /// How far the metric may be from the truth.
    pub fn error(&self, metric: Metric) -> i64 {
        if metric == Metric::PeakSpace { i64::try_from(self.peak_error).unwrap_or(i64::MAX) } else { 0 }
    }

    /// With those of another process added; of the peaks, the higher.
    #[must_use]
    pub fn with(&self, other: &Metrics) -> Metrics {
        let (peak_space, peak_error) = (self.peak_space, self.peak_error).max((other.peak_space, other.peak_error));
        Metrics {
            alloc_objects: self.alloc_objects.saturating_add(other.alloc_objects),
            alloc_space: self.alloc_space.saturating_add(other.alloc_space),
            peak_space,
            peak_error,
            inuse_objects: self.inuse_objects.saturating_add(other.inuse_objects),
            inuse_space: self.inuse_space.saturating_add(other.inuse_space),
        }
    }

    /// Metric by metric what `choose` takes of the two. Of two peaks the larger bound is that of both.
    fn each(&self, other: &Metrics, choose: fn(bool) -> bool) -> Metrics {
        fn of<T: PartialOrd>(one: T, other: T, choose: fn(bool) -> bool) -> T {
            if choose(one < other) { one } else { other }
        }
        Metrics {
            alloc_objects: of(self.alloc_objects, other.alloc_objects, choose),
            alloc_space: of(self.alloc_space, other.alloc_space, choose),
            peak_space: of(self.peak_space, other.peak_space, choose),
            peak_error: self.peak_error.max(other.peak_error),
            inuse_objects: of(self.inuse_objects, other.inuse_objects, choose),
            inuse_space: of(self.inuse_space, other.inuse_space, choose),
        }
    }
}

/// What was seen of a test: of each metric the least and the most of its runs. Invariant: no metric of `least` is above that of `most`, and
/// both have one `peak_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Seen {
    #[serde(flatten)]
    pub least: Metrics,
    pub most: Metrics,
    /// How many runs these are of; at least 1.
    pub runs: u32,
    /// Of a program that a test starts: in how many other runs one of its processes was killed, or became another program. How far it came then
    /// is chance.
    #[serde(skip_serializing_if = "is_zero")]
    pub killed: u32,
    /// Of a doctest: a hash of its text, by which it is known again among those of its item.
    #[serde(skip)]
    pub text: Option<u32>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Seen {
    /// What one run has shown.
    pub fn once(metrics: Metrics) -> Seen {
        Seen { least: metrics, most: metrics, runs: 1, killed: 0, text: None }
    }

    /// What several runs have shown; `None` = there was none.
    pub fn of(runs: impl IntoIterator<Item = Metrics>) -> Option<Seen> {
        runs.into_iter().map(Seen::once).reduce(|one, other| one.joined(&other))
    }

    /// What both have shown.
    #[must_use]
    pub fn joined(&self, other: &Seen) -> Seen {
        Seen {
            least: self.least.each(&other.least, |is_less| is_less),
            most: self.most.each(&other.most, |is_less| !is_less),
            runs: self.runs.saturating_add(other.runs),
            killed: self.killed.saturating_add(other.killed),
            text: self.text.or(other.text),
        }
    }

    /// Of two lines of a test, of which nobody knows which holds, what allows less: metric by metric that of which the most is less, and of two
    /// such the one that has been seen to need less.
    #[must_use]
    pub fn lower(&self, other: &Seen) -> Seen {
        let (runs, killed) = (self.runs.max(other.runs), self.killed.max(other.killed));
        let mut lower = Seen { runs, killed, ..*self };
        for metric in Metric::ALL {
            let height = |seen: &Seen| (seen.most(metric), seen.least(metric));
            if height(other) < height(self) {
                lower.least.take(metric, &other.least);
                lower.most.take(metric, &other.most);
            }
        }
        lower
    }

    /// The least the metric may truly have been.
    pub fn least(&self, metric: Metric) -> i64 {
        self.least.get(metric).saturating_sub(self.least.error(metric))
    }

    /// The most the metric may truly have been.
    pub fn most(&self, metric: Metric) -> i64 {
        self.most.get(metric).saturating_add(self.most.error(metric))
    }

    /// Whether the metric was not the same in every run; of a peak, as far as that is certain.
    pub fn varies(&self, metric: Metric) -> bool {
        let (least, most) = (self.least.get(metric), self.most.get(metric));
        most.saturating_sub(least) > self.most.error(metric).saturating_mul(2)
    }

    /// Whether nothing of `other` is certainly outside of this.
    pub fn holds(&self, other: &Seen) -> bool {
        Metric::ALL.iter().all(|&metric| self.holds_metric(other, metric))
    }

    fn holds_metric(&self, other: &Seen, metric: Metric) -> bool {
        let error = self.most.error(metric).saturating_add(other.most.error(metric));
        self.least.get(metric).saturating_sub(error) <= other.least.get(metric)
            && other.most.get(metric) <= self.most.get(metric).saturating_add(error)
    }
}

/// `6`, or `6..8`.
pub fn show_span(metric: Metric, least: i64, most: i64) -> String {
    if least == most { metric.show(most) } else { format!("{}..{}", amount::count(least), metric.show(most)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_whose_bounds_meet_may_be_equal() {
        let one = Metrics { alloc_objects: 3, peak_space: 10_000, peak_error: 100, ..Metrics::default() };
        let holds = |other| Seen::once(one).holds(&Seen::once(other));
        assert!(holds(Metrics { peak_space: 10_200, ..one }));
        assert!(!holds(Metrics { peak_space: 10_201, ..one }));
        assert!(!holds(Metrics { alloc_objects: 4, ..one }));
    }

    #[test]
    fn of_several_runs_the_least_and_the_most_are_kept() {
        let run = |alloc_objects, peak_space, peak_error| Metrics {
            alloc_objects,
            peak_space,
            peak_error,
            inuse_objects: -1,
            ..Metrics::default()
        };
        let seen = Seen::of([run(8, 100, 0), run(6, 120, 50), run(7, 90, 10)]).unwrap();
        assert_eq!((seen.least, seen.most, seen.runs), (run(6, 90, 50), run(8, 120, 50), 3));
        assert_eq!((seen.least(Metric::PeakSpace), seen.most(Metric::PeakSpace)), (40, 170));
        assert!(seen.varies(Metric::AllocObjects) && !seen.varies(Metric::PeakSpace));
        assert!(seen.holds(&Seen::once(run(7, 100, 0))) && !seen.holds(&Seen::once(run(9, 100, 0))));
        assert!(!seen.holds(&Seen::once(run(5, 100, 0))));
        assert_eq!(show_span(Metric::AllocSpace, 6000, 8000), "6,000..8,000 B");
        assert_eq!(show_span(Metric::InuseObjects, -1, -1), "-1");
        assert_eq!(Seen::of([]), None);
    }
}
