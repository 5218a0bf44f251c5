//! The test of the gate itself: plants a growth into one metric of each test that was compared, one metric after the
//! other; the comparison must see it. Pure.

use crate::gate::committed::Baseline;
use crate::gate::compare::compare;
use crate::gate::compare::loaded_run::LoadedRun;
use crate::gate::compare::loaded_test::LoadedTest;
use crate::gate::metrics::{Metric, Metrics};
use crate::gate::outcome::{Finding, Judged, Outcome};
use crate::gate::policy::Policy;
use memprof_profile::record::TestId;
use std::collections::BTreeMap;

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelfTest {
    /// In the order of [`Metric::ALL`].
    pub metrics: Vec<MetricTest>,
}

/// What came of it in one metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricTest {
    pub metric: Metric,
    /// Tests in which the planted growth fails the gate, and how much it was: one allocation, or one more than there is room for.
    pub guarded: Vec<(TestId, i64)>,
    /// Tests in which it does not, and why.
    pub loose: Vec<(TestId, Loose)>,
}

/// Why a growth is not noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loose {
    /// So many are allowed.
    Allowed(i64),
    /// The limit is `any`.
    Any,
    /// Several threads allocated, and how high a peak they reach depends on who runs when.
    ThreadedPeak,
}

impl SelfTest {
    /// Whether the gate is one: it notices one more allocation somewhere.
    pub fn trips(&self) -> bool {
        self.metrics.iter().any(|one| one.metric == Metric::AllocObjects && !one.guarded.is_empty())
    }
}

/// Plants a growth into each test that was compared in `outcome`.
pub fn run(baseline: &Baseline, run: &LoadedRun, policy: &Policy, outcome: &Outcome) -> SelfTest {
    let compared: Vec<&Judged> = outcome.tests.iter().filter(|test| test.was_compared()).collect();
    SelfTest { metrics: Metric::ALL.map(|metric| of_metric(metric, baseline, run, policy, &compared)).into() }
}

fn of_metric(
    metric: Metric,
    baseline: &Baseline,
    run: &LoadedRun,
    policy: &Policy,
    compared: &[&Judged],
) -> MetricTest {
    let growths: BTreeMap<&TestId, i64> =
        compared.iter().filter_map(|test| Some((&test.id, growth(metric, policy, test)?))).collect();
    let mut planted = run.clone();
    for test in &mut planted.tests {
        plant(test, metric, growths.get(&test.id()).copied().unwrap_or(1));
    }
    let again = compare(baseline, &planted, policy);
    let is_over = |finding: &Finding| matches!(finding, Finding::Over { metric: over, .. } if *over == metric);
    let over: BTreeMap<&TestId, bool> =
        again.tests.iter().map(|test| (&test.id, test.failures().any(is_over))).collect();
    let mut result = MetricTest { metric, guarded: Vec::new(), loose: Vec::new() };
    for test in compared {
        if over.get(&test.id).copied().unwrap_or(false) {
            result.guarded.push((test.id.clone(), growths.get(&test.id).copied().unwrap_or(1)));
        } else {
            let most = policy.limit(&test.id, metric).most(test.before.map(|before| before.most(metric)));
            let why = match most {
                _ if metric == Metric::PeakSpace && !policy.compares_peak(&test.id, test.threads) => {
                    Loose::ThreadedPeak
                }
                Some(most) => Loose::Allowed(most),
                None => Loose::Any,
            };
            result.loose.push((test.id.clone(), why));
        }
    }
    result
}

/// What is planted: one allocation; of the other metrics, one more than there is room for. `None` = there is no limit.
fn growth(metric: Metric, policy: &Policy, test: &Judged) -> Option<i64> {
    if metric == Metric::AllocObjects {
        return Some(1);
    }
    let most = policy.limit(&test.id, metric).most(test.before.map(|before| before.most(metric)))?;
    Some(most.saturating_sub(test.now?.least(metric)).saturating_add(1).max(1))
}

fn plant(test: &mut LoadedTest, metric: Metric, growth: i64) {
    let Metrics { alloc_objects, alloc_space, peak_space, inuse_objects, inuse_space, .. } = &mut test.metrics;
    match metric {
        Metric::AllocObjects => *alloc_objects = alloc_objects.saturating_add_signed(growth),
        Metric::AllocSpace => *alloc_space = alloc_space.saturating_add_signed(growth),
        Metric::PeakSpace => *peak_space = peak_space.saturating_add_signed(growth),
        Metric::InuseObjects => *inuse_objects = inuse_objects.saturating_add(growth),
        Metric::InuseSpace => *inuse_space = inuse_space.saturating_add(growth),
    }
}
