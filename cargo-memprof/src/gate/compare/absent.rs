//! Lines of the baseline whose tests did not run, and why they did not.

use crate::gate::compare::loaded_run::LoadedRun;
use crate::gate::compare::loaded_test::NotRun;
use crate::gate::compare::one_test::of_run;
use crate::gate::metrics::Seen;
use crate::gate::outcome::{Finding, Judged, Severity};
use crate::gate::policy::Policy;
use crate::gate::program;
use crate::protocol::WHOLE;
use memprof_profile::record::TestId;
use std::collections::BTreeMap;

/// Why a test has no metrics whose ledger is gone.
const REMOVED: &str = "its recording was removed while the tests ran";

/// Why a benchmark has no metrics that ran: the table of the run says why, such as that not every stack was recorded.
const NO_ITERATION: &str = "what one iteration allocates is not known, as the run's table says; stacks of all allocations are needed, which `--memprofilerate 1` records";

/// Why tests of the baseline did not run.
pub struct Absent<'a> {
    not_run: BTreeMap<TestId, &'a NotRun>,
    run: &'a LoadedRun,
    policy: &'a Policy,
}

impl<'a> Absent<'a> {
    pub fn new(run: &'a LoadedRun, policy: &'a Policy) -> Absent<'a> {
        Absent { not_run: run.not_run.iter().map(|test| (test.id(), test)).collect(), run, policy }
    }

    pub fn judge(&self, id: &TestId, before: Seen) -> Judged {
        let (severity, finding) = match self.policy.exclusion(id) {
            Some(reason) => (Severity::Warn, Finding::Excluded { reason: reason.to_owned() }),
            None => self.reason(id, &before),
        };
        let findings = if severity == Severity::Ignore { Vec::new() } else { vec![(severity, finding)] };
        Judged { findings, ..of_run(id, &[], Some(&before)) }
    }

    /// Why nothing is there of a program that a test starts.
    fn reason_of_program(&self, test: &TestId, before: &Seen) -> (Severity, Finding) {
        match self.run.by_test().get(test) {
            None => self.reason_of_test(test),
            Some(runs) if !runs.iter().all(|run| run.is_whole()) => {
                let why = "the test that starts it did not come to its end".to_owned();
                (self.policy.not_run.min(Severity::Warn), Finding::NotRun { why })
            }
            // It was not always started then either.
            Some(_) if before.least.alloc_objects == 0 => (Severity::Ignore, Finding::NotStarted),
            Some(_) => (self.policy.gone, Finding::NotStarted),
        }
    }

    pub fn reason(&self, id: &TestId, before: &Seen) -> (Severity, Finding) {
        match program::of_line(id) {
            Some((test, _)) => self.reason_of_program(&test, before),
            None => self.reason_of_test(id),
        }
    }

    fn reason_of_test(&self, id: &TestId) -> (Severity, Finding) {
        let of_target =
            |package: &str, target: &str, kind: &str| package == id.package && target == id.target && kind == id.kind;
        let unprofiled = self.run.unprofiled.iter().find(|one| of_target(&one.package, &one.target, &one.kind));
        if let Some(target) = unprofiled {
            return (self.policy.unprofiled, Finding::Unprofiled { reason: target.reason.clone() });
        }
        if let Some(test) = self.not_run.get(id) {
            if test.lost {
                return (self.policy.unprofiled, Finding::Unprofiled { reason: REMOVED.to_owned() });
            }
            if test.no_iteration {
                return (self.policy.unprofiled, Finding::Unprofiled { reason: NO_ITERATION.to_owned() });
            }
            let why = if test.ignored { "it is ignored" } else { "it was filtered out" };
            return (self.policy.not_run, Finding::NotRun { why: why.to_owned() });
        }
        let target = self.run.targets.iter().find(|one| of_target(&one.package, &one.target, &one.kind));
        let is_gone = target.is_none() && !self.run.targets.is_empty();
        if is_gone {
            return (self.policy.gone, Finding::Gone);
        }
        let target_ran = target.is_some_and(|target| target.ran)
            || self
                .not_run
                .keys()
                .chain(self.run.by_test().keys())
                .any(|other| of_target(&other.package, &other.target, &other.kind));
        if !target_ran && self.run.run.cargo_exit != 0 {
            // Cargo stops at the first target that fails, which is what is to be mended.
            let why = format!("cargo ended with {} before its target `{}`", self.run.run.cargo_exit, id.target_label());
            return (self.policy.not_run.min(Severity::Warn), Finding::NotRun { why });
        }
        if !target_ran {
            let why = format!("its target `{}` did not run", id.target_label());
            return (self.policy.not_run, Finding::NotRun { why });
        }
        if let Some(why) = self.divided_otherwise(id) {
            // What runs another time is another matter: lines of the old division have nothing to be compared with ever again.
            let accept = if self.run.run.filtered { "" } else { "; `cargo memprof accept` takes its lines so" };
            return (self.policy.not_run, Finding::NotRun { why: format!("{why}{accept}") });
        }
        let is_listed = self.not_run.keys().any(|other| of_target(&other.package, &other.target, &other.kind));
        if self.run.run.filtered && !is_listed {
            // Neither rustdoc nor a harness other than libtest has a list of those that a filter left out.
            return (self.policy.not_run, Finding::NotRun { why: "it was filtered out, or is no more".to_owned() });
        }
        (self.policy.gone, Finding::Gone)
    }

    /// Whether a line is of another division of its program than this run, which left nothing out.
    pub fn is_replaced(&self, id: &TestId) -> bool {
        !self.run.run.filtered && self.divided_otherwise(id).is_some()
    }

    /// Why a test has no metrics although its program was recorded: as one and not test by test, or the other way round.
    fn divided_otherwise(&self, id: &TestId) -> Option<&'static str> {
        let of_target = |one: &TestId| one.package == id.package && one.target == id.target && one.kind == id.kind;
        let ran = self.run.by_test();
        let mut others = ran.keys().filter(|one| of_target(one));
        match id.name == WHOLE {
            true => others.next().map(|_| "its program's tests were recorded one by one"),
            false => others.any(|one| one.name == WHOLE).then_some("its program was recorded as one"),
        }
    }
}
