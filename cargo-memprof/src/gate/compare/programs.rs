//! The programs that tests start, as the gate sees them: each is like a test of its own. Its metrics are the sum over
//! the processes of a run, but its peak is the highest among them. Forked processes are copies of the test's own, and
//! are not gated. Of a run in which one of its processes was killed, or became another program, nothing is known of the program: how far it came is
//! chance. Such runs are left out where it came to its end in another. Pure.

use crate::gate::compare::loaded_test::{LoadedProcess, LoadedTest, PARTIAL};
use crate::gate::metrics::Metrics;
use crate::gate::program;
use crate::report::layout;
use memprof_profile::record::TestId;
use std::collections::{BTreeMap, BTreeSet};

/// Adds to `tests` what there is of each program in each run of the test that starts it. In a run that did not start it, it needed nothing.
pub fn add_to(tests: &mut Vec<LoadedTest>) {
    for test in tests.iter_mut() {
        test.name = program::own(&test.name);
    }
    let mut started: BTreeMap<TestId, BTreeSet<String>> = BTreeMap::new();
    for test in tests.iter() {
        let programs = test.children.iter().filter(|process| !process.forked);
        started.entry(test.id()).or_default().extend(programs.map(|process| process.program.clone()));
    }
    // Those that came to their end in some run; that it was not started in another is no end.
    let mut ended: BTreeSet<TestId> = BTreeSet::new();
    let runs = std::mem::take(tests);
    for mut test in runs {
        let processes = std::mem::take(&mut test.children);
        let of = |program| of_program(&test, program, &processes);
        let programs: Vec<LoadedTest> =
            started.get(&test.id()).into_iter().flatten().map(|program| of(program.as_str())).collect();
        let was_started = |program: &&LoadedTest| {
            let name = |process: &&LoadedProcess| program::line_name(&test.name, &process.program) == program.name;
            processes.iter().filter(|process| !process.forked).any(|process| name(&process))
        };
        let whole = programs.iter().filter(|program| !program.cut_short).filter(was_started);
        ended.extend(whole.map(LoadedTest::id));
        tests.push(test);
        tests.extend(programs);
    }
    leave_out_killed(tests, &ended);
}

fn leave_out_killed(tests: &mut Vec<LoadedTest>, ended: &BTreeSet<TestId>) {
    let mut killed: BTreeMap<TestId, u32> = BTreeMap::new();
    for test in tests.iter().filter(|test| test.cut_short && ended.contains(&test.id())) {
        *killed.entry(test.id()).or_default() += 1;
    }
    tests.retain_mut(|test| match killed.get_mut(&test.id()) {
        Some(_) if test.cut_short => false,
        Some(killed) => {
            test.killed = std::mem::take(killed);
            true
        }
        None => true,
    });
}

fn of_program(test: &LoadedTest, program: &str, processes: &[LoadedProcess]) -> LoadedTest {
    let mut sum = LoadedTest {
        name: program::line_name(&test.name, program),
        seen: String::new(),
        threads: 0,
        metrics: Metrics::default(),
        files: BTreeMap::new(),
        more_profiles: Vec::new(),
        children: Vec::new(),
        ..test.clone()
    };
    for process in processes.iter().filter(|process| process.program == program && !process.forked) {
        sum.metrics = sum.metrics.with(&process.metrics);
        sum.cut_short |= process.cut_short;
        sum.threads = sum.threads.max(process.threads);
        if process.seen == PARTIAL {
            sum.seen = process.seen.clone();
        }
        match process.files.get(layout::PROFILE_KEY) {
            // One that allocated nothing has no profile.
            None => {}
            Some(_) if sum.files.is_empty() => sum.files = process.files.clone(),
            Some(profile) => sum.more_profiles.push(profile.clone()),
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::intake::PlainPath;

    fn process(program: &str, objects: u64, peak_space: u64) -> LoadedProcess {
        let metrics = Metrics { alloc_objects: objects, peak_space, ..Metrics::default() };
        let files = [("profile".to_owned(), PlainPath::ours(format!("{objects}.pb.gz").into()))].into();
        LoadedProcess { program: program.into(), threads: 1, metrics, files, ..LoadedProcess::default() }
    }

    #[test]
    fn each_program_has_the_sum_of_its_processes_in_each_run() {
        let of = |children| LoadedTest { name: "t".into(), outcome: "ok".into(), children, ..LoadedTest::default() };
        let fork = LoadedProcess { forked: true, ..process("f", 1, 1) };
        let killed = LoadedProcess { cut_short: true, ..process("k", 1, 1) };
        let mut tests =
            vec![of(vec![process("m", 3, 70), fork, process("m", 5, 60), killed]), of(vec![process("m", 8, 70)])];
        add_to(&mut tests);
        let lines: Vec<_> = tests
            .iter()
            .map(|test| (&*test.name, test.metrics.alloc_objects, test.metrics.peak_space, test.cut_short))
            .collect();
        let first = [("t", 0, 0, false), ("t › k", 1, 1, true), ("t › m", 8, 70, false)];
        let second = [("t", 0, 0, false), ("t › k", 0, 0, false), ("t › m", 8, 70, false)];
        assert_eq!(lines, [first, second].concat());
        let profiles = (&tests[2].files["profile"], &*tests[2].more_profiles);
        assert_eq!(profiles, (&PlainPath::ours("3.pb.gz".into()), &[PlainPath::ours("5.pb.gz".into())][..]));
    }

    #[test]
    fn a_run_that_killed_the_program_is_left_out_where_another_did_not() {
        let of = |children| LoadedTest { name: "t".into(), outcome: "ok".into(), children, ..LoadedTest::default() };
        let killed = || LoadedProcess { cut_short: true, ..process("m", 1, 1) };
        let lines = |runs: Vec<Vec<LoadedProcess>>| {
            let mut tests: Vec<_> = runs.into_iter().map(of).collect();
            add_to(&mut tests);
            tests.retain(|test| test.name == "t › m");
            let line = |test: &LoadedTest| (test.metrics.alloc_objects, test.cut_short, test.killed);
            tests.iter().map(line).collect::<Vec<_>>()
        };
        let whole = || process("m", 8, 1);
        assert_eq!(lines(vec![vec![killed()], vec![whole()], vec![whole(), killed()]]), [(8, false, 2)]);
        assert_eq!(lines(vec![vec![whole()], vec![killed()], vec![whole()]]), [(8, false, 1), (8, false, 0)]);
        assert_eq!(lines(vec![vec![killed()], vec![], vec![killed()]]), [(1, true, 0), (0, false, 0), (1, true, 0)]);
    }
}
