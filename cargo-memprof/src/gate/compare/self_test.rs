//! The test of the gate itself: a growth is planted into one figure of each test that was compared, one figure after the other, and the
//! comparison must see it. Pure.

use crate::gate::committed::Baseline;
use crate::gate::compare::compare;
use crate::gate::compare::loaded_run::{LoadedRun, LoadedTest};
use crate::gate::figures::{Figure, Figures};
use crate::gate::outcome::{Finding, Judged, Outcome};
use crate::gate::policy::Policy;
use memprof_profile::record::TestId;
use std::collections::BTreeMap;

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelfTest {
    /// In the order of [`Figure::ALL`].
    pub figures: Vec<FigureTest>,
}

/// What came of it in one figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FigureTest {
    pub figure: Figure,
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
        self.figures.iter().any(|one| one.figure == Figure::AllocObjects && !one.guarded.is_empty())
    }
}

/// Plants a growth into each test that was compared in `outcome`.
pub fn run(baseline: &Baseline, run: &LoadedRun, policy: &Policy, outcome: &Outcome) -> SelfTest {
    let compared: Vec<&Judged> = outcome.tests.iter().filter(|test| test.was_compared()).collect();
    SelfTest { figures: Figure::ALL.map(|figure| of_figure(figure, baseline, run, policy, &compared)).into() }
}

fn of_figure(
    figure: Figure,
    baseline: &Baseline,
    run: &LoadedRun,
    policy: &Policy,
    compared: &[&Judged],
) -> FigureTest {
    let growths: BTreeMap<&TestId, i64> =
        compared.iter().filter_map(|test| Some((&test.id, growth(figure, policy, test)?))).collect();
    let mut planted = run.clone();
    for test in &mut planted.tests {
        plant(test, figure, growths.get(&test.id()).copied().unwrap_or(1));
    }
    let again = compare(baseline, &planted, policy);
    let is_over = |finding: &Finding| matches!(finding, Finding::Over { figure: over, .. } if *over == figure);
    let over: BTreeMap<&TestId, bool> =
        again.tests.iter().map(|test| (&test.id, test.failures().any(is_over))).collect();
    let mut result = FigureTest { figure, guarded: Vec::new(), loose: Vec::new() };
    for test in compared {
        if over.get(&test.id).copied().unwrap_or(false) {
            result.guarded.push((test.id.clone(), growths.get(&test.id).copied().unwrap_or(1)));
        } else {
            let most = policy.limit(&test.id, figure).most(test.before.map(|before| before.most(figure)));
            let why = match most {
                _ if figure == Figure::PeakSpace && !policy.compares_peak(&test.id, test.threads) => {
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

/// What is planted: one allocation; of the other figures, one more than there is room for. `None` = there is no limit.
fn growth(figure: Figure, policy: &Policy, test: &Judged) -> Option<i64> {
    if figure == Figure::AllocObjects {
        return Some(1);
    }
    let most = policy.limit(&test.id, figure).most(test.before.map(|before| before.most(figure)))?;
    Some(most.saturating_sub(test.now?.least(figure)).saturating_add(1).max(1))
}

fn plant(test: &mut LoadedTest, figure: Figure, growth: i64) {
    let Figures { alloc_objects, alloc_space, peak_space, inuse_objects, inuse_space, .. } = &mut test.figures;
    match figure {
        Figure::AllocObjects => *alloc_objects = alloc_objects.saturating_add_signed(growth),
        Figure::AllocSpace => *alloc_space = alloc_space.saturating_add_signed(growth),
        Figure::PeakSpace => *peak_space = peak_space.saturating_add_signed(growth),
        Figure::InuseObjects => *inuse_objects = inuse_objects.saturating_add(growth),
        Figure::InuseSpace => *inuse_space = inuse_space.saturating_add(growth),
    }
}
