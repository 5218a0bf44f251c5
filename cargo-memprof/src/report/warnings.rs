//! The warnings below the table: everything that makes metrics incomplete. Pure: text from facts.

use super::benchmarks::Benchmarks;
use crate::collect::run_facts::{RanExecutable, RunFacts};
use crate::protocol::WHOLE;
use memprof_profile::record::{TestRecord, Unprofiled};
use memprof_profile::view::amount::{bytes, count, plural, round_bytes};
use memprof_profile::view::plain::plain;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// One text for each kind of thing, without the word `warning`. Continuation lines are separated by newlines.
pub fn warnings(
    facts: &RunFacts,
    tests: &[TestRecord],
    unprofiled: &[Unprofiled],
    unreadable: &[(PathBuf, String)],
) -> Vec<String> {
    let mut texts = Vec::new();
    texts.extend(without_profile(unprofiled));
    // Of programs of benchmarks that are recorded as one, their table says why.
    let recorded_as_one = |executable: &RanExecutable| {
        tests
            .iter()
            .any(|test| test.executable == executable.exe.as_path() && test.id.name == WHOLE && test.id.kind == "bench")
    };
    // Of some programs of benchmarks only their run told.
    let benchmarks = Benchmarks::of(facts);
    let remark = |executable: &RanExecutable| {
        let remark = executable.remark.as_deref().or_else(|| benchmarks.remark(&executable.exe))?;
        Some(format!("{} ({}) was {remark}", executable.target_name, executable.target_kind))
    };
    let mut remarks: Vec<String> =
        facts.ran.iter().filter(|executable| !recorded_as_one(executable)).filter_map(remark).collect();
    remarks.dedup();
    texts.extend(remarks);
    texts.extend(partially_recorded(tests));
    texts.extend(without_samples(facts, tests));
    texts.extend(lost(tests));
    texts.extend(cut_short(tests));
    texts.extend(without_memory(tests));
    for (path, error) in unreadable {
        texts.push(format!("no names for the code of `{}`: {error}", path.display()));
    }
    texts
}

fn without_profile(unprofiled: &[Unprofiled]) -> Option<String> {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for one in unprofiled {
        by_reason.entry(&one.reason).or_default().push(format!("{} ({})", one.target, one.kind));
    }
    let lines: Vec<String> =
        by_reason.iter().map(|(reason, targets)| format!("{}: {reason}", targets.join(", "))).collect();
    let targets = plural(unprofiled.len(), "target");
    (!lines.is_empty()).then(|| format!("{targets} ran without being profiled\n{}", lines.join("\n")))
}

fn partially_recorded(tests: &[TestRecord]) -> Option<String> {
    let label = |record: &TestRecord| match &record.child {
        None => record.id.target_label(),
        Some(program) => format!("the program `{program}`"),
    };
    let processes = tests.iter().chain(tests.iter().flat_map(|test| &test.children));
    let named: BTreeSet<String> = processes.filter(|record| record.is_partial()).map(label).collect();
    (!named.is_empty()).then(|| {
        format!(
            "{} {} an allocator that cannot be seen: the metrics are not of all that is allocated\n\
             {}: the `#[global_allocator]` in use does not pass everything on to the C library\n\
             let it step aside under `cargo memprof`: write `#[cfg_attr(not(memprof), global_allocator)]`",
            plural(named.len(), "target"),
            if named.len() == 1 { "has" } else { "have" },
            named.into_iter().collect::<Vec<_>>().join(", ")
        )
    })
}

fn without_samples(facts: &RunFacts, tests: &[TestRecord]) -> Option<String> {
    let allocated = tests.iter().any(|test| test.counters.alloc_objects > 0 && !test.is_partial());
    let sampled = tests.iter().any(|test| test.stacks > 0);
    (facts.rate > 1 && allocated && !sampled).then(|| {
        format!(
            "no samples at this rate (one per {} on average): the counts are exact, but there are no profiles\n\
             try `--memprofilerate 1`",
            round_bytes(facts.rate)
        )
    })
}

fn lost(tests: &[TestRecord]) -> Vec<String> {
    let sum = |metric: fn(&TestRecord) -> u64| tests.iter().map(metric).fold(0u64, u64::saturating_add);
    let affected =
        |metric: fn(&TestRecord) -> u64| plural(tests.iter().filter(|test| metric(test) > 0).count(), "test");
    let mut texts = Vec::new();
    let objects = sum(|test| test.losses.unattributed_objects);
    if objects > 0 {
        texts.push(format!(
            "{} allocations ({}) of {} are counted but have no stack: the ledger could not hold more, or could not grow\n\
             (it ends at 1 GiB; a full disk, a limit on files or descriptors, or a test that moves to another root or user ends it before; \
             and of a process that was cut off, each thread may lack its last)",
            count(objects),
            bytes(sum(|test| test.losses.unattributed_space)),
            affected(|test| test.losses.unattributed_objects)
        ));
    }
    let truncated = sum(|test| test.losses.truncated_stacks);
    if truncated > 0 {
        texts.push(format!(
            "{} of {} {} deeper than is recorded: frames in the middle are left out, see `--stack-depth`",
            plural(truncated as usize, "stack"),
            affected(|test| test.losses.truncated_stacks),
            if truncated == 1 { "is" } else { "are" }
        ));
    }
    let unwalkable = sum(|test| test.losses.unwalkable_stacks);
    if unwalkable > 0 {
        texts.push(format!(
            "{} of {} could not be followed to the end: some code has no unwind table, or is in no object",
            plural(unwalkable as usize, "stack"),
            affected(|test| test.losses.unwalkable_stacks)
        ));
    }
    let outside = sum(|test| test.losses.outside_frees);
    if outside > 0 {
        texts.push(format!(
            "{} of {} {} freed or resized by C, or by a library that the test loads: how large {} is not known exactly, so \
             `inuse_space` and `peak_space` may be too high\n\
             run with `--native` for exact metrics",
            plural(outside as usize, "block"),
            affected(|test| test.losses.outside_frees),
            if outside == 1 { "was" } else { "were" },
            if outside == 1 { "it was" } else { "they were" },
        ));
    }
    let forks = sum(|test| test.losses.lost_forks);
    if forks > 0 {
        texts.push(format!(
            "{} of {} could not make {} of {} own: what {} allocated is counted nowhere\n\
             (a process that moves to another root or user, limits its files or forbids itself system calls before it allocates can make none)",
            if forks == 1 { "1 forked process".to_owned() } else { format!("{} forked processes", count(forks)) },
            affected(|test| test.losses.lost_forks),
            if forks == 1 { "a ledger" } else { "ledgers" },
            if forks == 1 { "its" } else { "their" },
            if forks == 1 { "it" } else { "they" },
        ));
    }
    let damaged = |test: &TestRecord| test.losses.unreadable_bytes + test.losses.unreadable_sites;
    if sum(damaged) > 0 {
        texts.push(format!("parts of the ledgers of {} could not be read: metrics are missing", affected(damaged)));
    }
    texts
}

/// How many tests are named at most.
const NAMED: usize = 5;

/// The first of the names, and how many more there are.
fn first_of(names: &[Cow<'_, str>]) -> String {
    let more = if names.len() > NAMED { format!(" and {} more", names.len() - NAMED) } else { String::new() };
    format!("{}{more}", names[..names.len().min(NAMED)].join(", "))
}

/// Tests that may have ended because they are recorded: that takes memory.
fn without_memory(tests: &[TestRecord]) -> Option<String> {
    let names: Vec<Cow<'_, str>> = tests
        .iter()
        .filter(|test| test.cut_short && test.counters.failed > 0)
        .map(|test| plain(&test.id.name))
        .collect();
    let found = plural(names.len(), "test");
    let text = format!(
        "{found} found no memory for a block before the process ended\n{}\n\
         a recorded test may need more memory than by itself: raise its limit, such as `ulimit -v`",
        first_of(&names)
    );
    (!names.is_empty()).then_some(text)
}

fn cut_short(tests: &[TestRecord]) -> Option<String> {
    let names: Vec<Cow<'_, str>> =
        tests.iter().filter(|test| test.cut_short).map(|test| plain(&test.id.name)).collect();
    let ended = if names.len() == 1 {
        "the process of 1 test ended".to_owned()
    } else {
        format!("the processes of {} tests ended", names.len())
    };
    let text = format!("{ended} before the test function did: the metrics are those until then\n{}", first_of(&names));
    (!names.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{facts, record};
    use super::*;
    use memprof_harness::ledger::{Hook, Losses};

    fn test(name: &str) -> TestRecord {
        let mut test = record(Vec::new());
        (test.id.name, test.counters.alloc_objects) = (name.to_owned(), 1);
        test
    }

    #[test]
    fn everything_that_can_be_wrong_with_the_metrics_is_said() {
        let unprofiled = |target: &str, reason: &str| Unprofiled {
            package: "p".into(),
            target: target.into(),
            kind: "test".into(),
            reason: reason.into(),
            not_recorded: false,
        };
        let mut tests: Vec<TestRecord> = ["a", "b", "c", "d", "e", "f"].map(test).into();
        tests.iter_mut().for_each(|test| test.cut_short = true);
        tests[0].hook = Hook::NativePartial;
        tests[3].counters.failed = 1;
        tests[1].losses = Losses {
            unattributed_objects: 1234,
            unattributed_space: 5000,
            truncated_stacks: 1,
            unwalkable_stacks: 2,
            outside_frees: 1,
            lost_forks: 1,
            unreadable_bytes: 8,
            ..Losses::default()
        };
        tests[2].losses = Losses { outside_frees: 2, lost_forks: 2, ..Losses::default() };
        let unreadable = [(PathBuf::from("/lib/x.so"), "it is no ELF file".to_owned())];
        let unprofiled = [unprofiled("one", "its `main` is its own"), unprofiled("two", "its `main` is its own")];
        let facts = RunFacts { rate: 524_288, ..facts() };
        let texts = warnings(&facts, &tests, &unprofiled, &unreadable);
        insta::assert_snapshot!("every_warning", texts.join("\n\n"));
        assert_eq!(warnings(&facts, &[], &[], &[]), Vec::<String>::new());
    }
}
