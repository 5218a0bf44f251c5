//! The parent: gives real libtest a list of closures in place of the tests, each of which runs its test in a child and
//! reproduces what happened there, so that libtest's own machinery comes to its own verdict.

use super::bencher;
use super::options::{Options, Plan};
use super::session::{Given, Session};
use super::shape::{self, EntryReturn};
use super::test_in_child::{Part, TestInChild};
use crate::ledger::Inventory;
use real::{Bencher, TestDescAndFn, TestFn};
use std::num::NonZeroU32;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// Runs the executable's tests under real libtest, recording each.
pub(super) fn run(tests: &[&TestDescAndFn], options: Options, plan: Plan, given: Given) -> EntryReturn {
    let on_panic = given.on_panic;
    let listed = || shape::run_list(&options.rest, tests.iter().map(|test| untouched(test)).collect());
    if options.list && !plan.by_environment {
        return listed();
    }
    let by_environment = plan.by_environment;
    let session = match Session::prepare(&options, plan, given) {
        Ok(session) => Arc::new(session),
        Err(refusal) if by_environment && refusal.is_of_folder() => return shape::plain(tests, on_panic),
        Err(refusal) => refusal.give_up(),
    };
    match session.leave_inventory(tests) {
        Err(refusal) if by_environment && refusal.is_of_folder() => return shape::plain(tests, on_panic),
        Err(refusal) => refusal.give_up(),
        Ok(()) => {}
    }
    if options.list {
        // Whoever runs tests one by one, as nextest does, may list an executable and run none of its tests.
        return listed();
    }
    let share = session.share(tests);
    let tests = tests.iter().enumerate().filter(|(index, _)| share[*index]);
    let list = tests.map(|(index, test)| match test.testfn {
        TestFn::StaticBenchFn(_) if options.bench && session.leaves_alone(test) => noted(&session, test),
        TestFn::StaticBenchFn(function) if options.bench => measured(&session, index, test, function),
        TestFn::StaticTestFn(_) if session.leaves_alone(test) => noted(&session, test),
        _ => recorded(&session, index, test),
    });
    shape::run_list(&options.rest, list.collect())
}

/// A copy, as libtest makes one for itself.
fn untouched(test: &TestDescAndFn) -> TestDescAndFn {
    let testfn = match test.testfn {
        TestFn::StaticTestFn(function) => TestFn::StaticTestFn(function),
        TestFn::StaticBenchFn(function) => TestFn::StaticBenchFn(function),
        _ => unreachable!("rustc's expansion makes static tests only"),
    };
    TestDescAndFn { desc: test.desc.clone(), testfn }
}

fn recorded(session: &Arc<Session>, index: usize, test: &TestDescAndFn) -> TestDescAndFn {
    let session = Arc::clone(session);
    let test_in_child = TestInChild::new(index, &test.desc);
    TestDescAndFn { desc: test.desc.clone(), testfn: shape::dyn_test(move || test_in_child.run(&session)) }
}

/// A test that is run here, as by libtest itself, and counted.
fn noted(session: &Arc<Session>, test: &TestDescAndFn) -> TestDescAndFn {
    let session = Arc::clone(session);
    let name = test.desc.name.as_slice().to_owned();
    let testfn = match test.testfn {
        TestFn::StaticBenchFn(function) => shape::dyn_bench(move |bencher| {
            session.note(Inventory::UNRECORDED, &name);
            function(bencher)
        }),
        TestFn::StaticTestFn(function) => shape::dyn_test(move || {
            session.note(Inventory::UNRECORDED, &name);
            function()
        }),
        _ => return untouched(test),
    };
    TestDescAndFn { desc: test.desc.clone(), testfn }
}

/// A benchmark: libtest measures it in this process, and one iteration is recorded in a child. Its verdict is libtest's.
fn measured(
    session: &Arc<Session>,
    index: usize,
    test: &TestDescAndFn,
    function: fn(&mut Bencher) -> Result<(), String>,
) -> TestDescAndFn {
    let session = Arc::clone(session);
    let in_child = TestInChild::new(index, &test.desc);
    let call = move |bencher: &mut Bencher| {
        let before = bencher::iterated();
        let ended = catch_unwind(AssertUnwindSafe(|| bencher.bench(function)));
        // libtest's metrics are those of the last call of `iter`.
        let part = match (&ended, NonZeroU32::new(bencher::iterated().wrapping_sub(before))) {
            (Ok(Ok(Some(summary))), Some(call)) => Part::Iteration { call, median_ns: summary.median },
            _ => Part::Benchmark,
        };
        let recorded = in_child.with(part).run(&session);
        match ended {
            Ok(ended) => ended.and(recorded),
            Err(panic) => resume_unwind(panic),
        }
    };
    TestDescAndFn { desc: test.desc.clone(), testfn: shape::dyn_bench(call) }
}
