//! The test of the gate itself: one allocation more is planted into the figures of each test that was compared, and the
//! comparison must see it. Pure.

use crate::gate::committed::Baseline;
use crate::gate::compare::compare;
use crate::gate::compare::loaded_run::LoadedRun;
use crate::gate::figures::Figure;
use crate::gate::outcome::{Finding, Outcome};
use crate::gate::policy::Policy;
use memprof_profile::record::TestId;

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelfTest {
    /// Tests in which one more allocation fails the gate.
    pub guarded: Vec<TestId>,
    /// Tests in which it does not, and how many there may be at present.
    pub loose: Vec<(TestId, Option<i64>)>,
}

impl SelfTest {
    /// Whether the gate is one.
    pub fn trips(&self) -> bool {
        !self.guarded.is_empty()
    }
}

/// Plants an allocation into each test that was compared in `outcome`.
pub fn run(baseline: &Baseline, run: &LoadedRun, policy: &Policy, outcome: &Outcome) -> SelfTest {
    let mut planted = run.clone();
    for test in &mut planted.tests {
        test.figures.alloc_objects = test.figures.alloc_objects.saturating_add(1);
    }
    let again = compare(baseline, &planted, policy);
    let mut result = SelfTest::default();
    for (test, planted) in outcome.tests.iter().zip(&again.tests).filter(|(test, _)| test.was_compared()) {
        let seen =
            planted.failures().any(|finding| matches!(finding, Finding::Over { figure: Figure::AllocObjects, .. }));
        if seen {
            result.guarded.push(test.id.clone());
        } else {
            let before = test.before.map(|before| before.most.get(Figure::AllocObjects));
            result.loose.push((test.id.clone(), policy.limit(&test.id, Figure::AllocObjects).most(before)));
        }
    }
    result
}
