//! The programs that tests start, as the gate sees them: each is like a test of its own. Its metrics are the sum over
//! the processes of a run, but its peak is the highest among them. Forked processes are copies of the test's own, and
//! are not gated. Pure.

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
    let runs = std::mem::take(tests);
    for mut test in runs {
        let processes = std::mem::take(&mut test.children);
        let of = |program| of_program(&test, program, &processes);
        let programs: Vec<LoadedTest> =
            started.get(&test.id()).into_iter().flatten().map(|program| of(program.as_str())).collect();
        tests.push(test);
        tests.extend(programs);
    }
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
}
