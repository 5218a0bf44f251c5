//! Tests whose metrics vary from run to run: where the runs differ, and the most likely reason, guessed from the
//! functions that they call. Pure.

use crate::gate::explain::changed_lines::ChangedLines;
use crate::gate::explain::stacks::Stacks;
use crate::gate::explain::{Change, Comparison};
use crate::gate::metrics::Metric;

/// What is known of one such test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Varying {
    pub metric: Metric,
    /// The call paths that differ between the least and the most of the repeats: `before` is the least's.
    pub changes: Vec<Change>,
    pub cause: Cause,
}

/// Why a test varies, most probably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Threads,
    HashSeeds,
    ThreadsOrHashSeeds,
    Time,
    /// What a child wrote arrived in other pieces.
    Pipe,
    /// What something gave that was read to its end.
    Read,
    Unknown,
}

/// Parts of names by which a table with random seeds is known: of functions that only such a table calls.
const HASHED: [&str; 3] = ["hashbrown::", "HashMap<", "HashSet<"];
/// Parts of names that have to do with time.
const TIMED: [&str; 5] = ["Instant", "SystemTime", "chrono::", "time::", "sleep"];

/// Parts of names of what reads a child's output.
const PIPED: [&str; 6] = ["wait_with_output", "Command::output", "ChildStdout", "ChildStderr", "read2", "PipeReader"];
/// Parts of names of what reads anything to its end. Names have no types in them where the mangling has none.
const READ_TO_THE_END: [&str; 2] = ["default_read_to_end", "default_read_to_string"];
/// What is read so and gives the same whenever it is read.
const FILES: [&str; 1] = ["std::fs::"];

/// What differs between the least and the most of a test's repeats, which ran with `threads`.
pub fn varying(least: &Stacks, most: &Stacks, metric: Metric, threads: u32) -> Varying {
    let mut changes = Comparison::new(least, most, &ChangedLines::default()).changes(metric);
    changes.sort_by_key(|change| std::cmp::Reverse(change.difference().unsigned_abs()));
    let cause = match cause(&[least, most], threads) {
        _ if differs_at(&PIPED, &[], least, most, metric) => Cause::Pipe,
        Cause::Unknown | Cause::Time if differs_at(&READ_TO_THE_END, &FILES, least, most, metric) => Cause::Read,
        cause => cause,
    };
    Varying { metric, changes, cause }
}

/// Whether stacks that lead through functions with one of `parts` in their names, and none of `without`, have other metrics in `least` than
/// in `most`.
fn differs_at(parts: &[&str], without: &[&str], least: &Stacks, most: &Stacks, metric: Metric) -> bool {
    let sum = |run: &Stacks| {
        // Of each node, whether one of `parts` and one of `without` is on the way to it.
        let mut leads: Vec<[bool; 2]> = Vec::with_capacity(run.nodes().len());
        for (caller, frame) in run.nodes() {
            let before = caller.map_or([false; 2], |caller| leads[caller]);
            let is_one = |of: &[&str]| of.iter().any(|part| frame.function.contains(part));
            leads.push([before[0] || is_one(parts), before[1] || is_one(without)]);
        }
        let leading = run.stacks.iter().filter(|stack| stack.node().is_some_and(|node| leads[node] == [true, false]));
        leading.map(|stack| stack.value(metric)).sum::<i64>()
    };
    sum(least) != sum(most)
}

/// A guess. Threads that allocate are known, and so are tables that were filled; a clock that was read leaves a trace only
/// where something is allocated for it.
fn cause(runs: &[&Stacks], threads: u32) -> Cause {
    let calls = |parts: &[&str]| {
        let mut frames = runs.iter().flat_map(|run| run.all_frames());
        frames.any(|frame| parts.iter().any(|part| frame.function.contains(part)))
    };
    match (threads > 1, calls(&HASHED)) {
        (true, true) => Cause::ThreadsOrHashSeeds,
        (true, false) => Cause::Threads,
        (false, true) => Cause::HashSeeds,
        (false, false) if calls(&TIMED) => Cause::Time,
        (false, false) => Cause::Unknown,
    }
}

impl Cause {
    /// One sentence, and what to do.
    pub fn advice(self) -> &'static str {
        match self {
            Cause::Threads => "it has several threads: most likely they race",
            Cause::HashSeeds => {
                "it fills hash tables: most likely their seeds; if `--deterministic` makes it the same on every run, they are it"
            }
            Cause::ThreadsOrHashSeeds => {
                "it has several threads and fills hash tables; if `--deterministic` makes it the same on every run, it is the seeds"
            }
            Cause::Time => "it deals with time: most likely the clock",
            Cause::Pipe => {
                "it reads what a child writes, which arrives in other pieces on every run: so its buffers grow"
            }
            Cause::Read => {
                "it reads something to its end: where that is a pipe or a socket, it arrives in other pieces on every run, so its buffers grow"
            }
            Cause::Unknown => "one thread and no hash tables: look for time, random input, paths and process ids",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::explain::stacks::Frame;
    use memprof_profile::model::function::Origin;

    fn stacks(function: &str, objects: i64) -> Stacks {
        let frame = |name: &str, origin| Frame { function: name.into(), file: "src/lib.rs".into(), line: 1, origin };
        let frames = vec![frame(function, Origin::Std), frame("test", Origin::Workspace)];
        Stacks::for_test([(frames, [objects, 0, 0, 0, 0])])
    }

    #[test]
    fn the_cause_is_guessed_from_threads_and_calls() {
        for (function, threads, cause) in [
            ("alloc::vec::Vec<T,A>::push", 1, Cause::Unknown),
            ("alloc::vec::Vec<T,A>::push", 2, Cause::Threads),
            ("hashbrown::raw::RawTable<T,A>::reserve_rehash", 1, Cause::HashSeeds),
            ("hashbrown::raw::RawTable<T,A>::reserve_rehash", 2, Cause::ThreadsOrHashSeeds),
            ("chrono::format::format", 1, Cause::Time),
            ("std::process::Child::wait_with_output", 1, Cause::Pipe),
            ("std::process::Child::wait_with_output", 2, Cause::Pipe),
            ("std::io::default_read_to_end", 1, Cause::Read),
            ("std::io::default_read_to_end", 2, Cause::Threads),
            ("std::io::default_read_to_end::<std::fs::File>", 1, Cause::Unknown),
        ] {
            let varying = varying(&stacks(function, 1), &stacks(function, 3), Metric::AllocObjects, threads);
            assert_eq!(varying.cause, cause, "{function}");
            assert_eq!(varying.changes[0].difference(), 2);
        }
    }
}
