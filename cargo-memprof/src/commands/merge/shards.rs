//! Checks that shards make up one run, and makes the summary of the whole. Pure.

use crate::collect::run_facts::KnownTarget;
use crate::gate::compare::loaded_run::LoadedRun;
use crate::report::{Files, SavedNotRun, SavedTest, Summary};
use crate::ui::error::Error;
use crate::ui::exit_code::ExitCode;
use camino::Utf8Path;
use memprof_harness::run_options::Partition;
use memprof_harness::settle;
use memprof_profile::record::TestId;
use std::collections::{BTreeMap, BTreeSet};

/// Whether these are all shards of one run, each once.
///
/// # Errors
/// Where they are not: a shard that is missing would be tests that are missing.
pub fn check(shards: &[(&Utf8Path, &LoadedRun)]) -> Result<(), Error> {
    let failed = || Error::new("cannot merge the shards").with_code(ExitCode::CANNOT_COMPARE);
    let mut found: BTreeMap<u32, &Utf8Path> = BTreeMap::new();
    let mut first: Option<(&Utf8Path, &LoadedRun, Partition)> = None;
    for (folder, run) in shards {
        let partition = run.run.partition.as_deref().and_then(|text| text.parse::<Partition>().ok());
        let Some(partition) = partition else {
            return Err(failed()
                .caused_by(format!("`{folder}` is no shard: it was recorded without `--partition`"))
                .help("record each with `cargo memprof test --partition count:M/N --memprofile DIR`"));
        };
        let (other, whole, like) = *first.get_or_insert((folder, run, partition));
        if (partition.scheme, partition.of) != (like.scheme, like.of) {
            return Err(failed()
                .caused_by(format!("`{folder}` is {partition}, and `{other}` is {like}"))
                .help("name the shards of one division alone"));
        }
        if let Some(difference) = whole.run.conditions.differences(&run.run.conditions).first() {
            let (before, now) = (&difference.before, &difference.now);
            let cause =
                format!("`{other}` was recorded with {} `{before}`, `{folder}` with `{now}`", difference.condition);
            return Err(failed().caused_by(cause).help("record all shards under the same conditions"));
        }
        let of = |run: &LoadedRun| run.run.provenance.clone().unwrap_or_default();
        if let Some((what, before, now)) = of(whole).difference(&of(run)) {
            let named = |value: String| if value.is_empty() { "none".to_owned() } else { format!("`{value}`") };
            let cause = format!("their {what} differ: `{other}` has {}, `{folder}` has {}", named(before), named(now));
            let help =
                "record all shards of one commit, with one `Cargo.lock` and the same arguments but for `--partition`";
            return Err(failed().caused_by(cause).help(help));
        }
        let how_often = |run: &LoadedRun| (run.run.rate, run.run.repeat);
        let (before, now) = (how_often(whole), how_often(run));
        if before != now {
            let cause = format!(
                "`{other}` was recorded at a rate of {}, each test {} times; `{folder}` at {}, {} times",
                before.0, before.1, now.0, now.1
            );
            return Err(failed()
                .caused_by(cause)
                .help("record all shards with the same `--memprofilerate` and `--repeat`"));
        }
        if let Some(twice) = found.insert(partition.index, folder) {
            return Err(failed()
                .caused_by(format!("`{twice}` and `{folder}` are both {partition}"))
                .help("name each shard once"));
        }
    }
    let Some((.., like)) = first else {
        return Err(Error::usage("cannot merge the shards").caused_by("there are none").help("name their folders"));
    };
    let missing: Vec<String> = (1..=like.of)
        .filter(|index| !found.contains_key(index))
        .map(|index| Partition { index, ..like }.to_string())
        .collect();
    if !missing.is_empty() {
        let help = "a shard whose run failed to start leaves nothing; see its job";
        return Err(failed().caused_by(format!("missing: {}", missing.join(", "))).help(help));
    }
    Ok(())
}

/// Whether each test is in one shard, and there as often as it was run: of several runs of one test the least counts, and one that was slipped in
/// would hide what the others allocated.
///
/// # Errors
/// Where a test is there more often; names it.
pub fn each_once(shards: &[(&Utf8Path, &Summary<'_>)]) -> Result<(), Error> {
    let failed = || Error::new("cannot merge the shards").with_code(ExitCode::CANNOT_COMPARE);
    let mut seen: BTreeMap<TestId, &Utf8Path> = BTreeMap::new();
    for (folder, summary) in shards {
        let mut times: BTreeMap<TestId, usize> = BTreeMap::new();
        summary.tests.iter().for_each(|test| *times.entry(test.id()).or_default() += 1);
        // A test that is compiled for two targets runs for each.
        let targets = summary.run.conditions.target.split(',').count();
        let again = if summary.run.settled { settle::MOST } else { 1 };
        let most = targets.saturating_mul(usize::try_from(summary.run.repeat.max(again)).unwrap_or(usize::MAX));
        for (id, times) in times {
            let name = format!("{} {}/{} {}", id.package, id.kind, id.target, id.name.escape_debug());
            if times > most {
                return Err(failed()
                    .caused_by(format!(
                        "`{folder}` has the test `{name}` {times} times, and ran each {most} times at most"
                    ))
                    .help("record the shard again"));
            }
            if let Some(other) = seen.insert(id, folder) {
                return Err(failed()
                    .caused_by(format!("the test `{name}` is in `{other}` and in `{folder}`"))
                    .help("record all shards again, of one division; each test is in one of them"));
            }
        }
    }
    Ok(())
}

/// Whether each file of a shard is one test's, or one process's that it started: one small file could else become thousands of the whole.
///
/// # Errors
/// Where a summary names a file twice; names it.
pub fn each_file_once(shards: &[(&Utf8Path, &Summary<'_>)]) -> Result<(), Error> {
    for (folder, summary) in shards {
        let mut seen = BTreeSet::new();
        let processes = summary
            .tests
            .iter()
            .flat_map(|test| std::iter::once(&test.files).chain(test.children.iter().map(|child| &child.files)));
        for path in processes.flat_map(Files::values) {
            // A file system may not tell `A` from `a`.
            if !seen.insert(path.as_str().to_lowercase()) {
                let path = path.as_str().escape_debug();
                return Err(Error::new("cannot merge the shards")
                    .caused_by(format!("the summary in `{folder}` names `{path}` twice, and a file is of one test"))
                    .help("record the shard again")
                    .with_code(ExitCode::CANNOT_COMPARE));
            }
        }
    }
    Ok(())
}

/// The summary of the whole, of whose own files there are none yet. There is at least one shard.
pub fn merged(mut shards: Vec<Summary<'static>>) -> Summary<'static> {
    let mut whole = shards.remove(0);
    for shard in shards {
        let (run, other) = (&mut whole.run, &shard.run);
        for (sum, number) in [
            (&mut run.alloc_objects, other.alloc_objects),
            (&mut run.alloc_space, other.alloc_space),
            (&mut run.reallocs, other.reallocs),
            (&mut run.frees, other.frees),
            (&mut run.children_alloc_objects, other.children_alloc_objects),
            (&mut run.children_alloc_space, other.children_alloc_space),
        ] {
            *sum = sum.saturating_add(number);
        }
        run.inuse_objects = run.inuse_objects.saturating_add(other.inuse_objects);
        run.inuse_space = run.inuse_space.saturating_add(other.inuse_space);
        run.leaked_objects = run.leaked_objects.saturating_add(other.leaked_objects);
        run.leaked_space = run.leaked_space.saturating_add(other.leaked_space);
        run.reachable_objects = run.reachable_objects.saturating_add(other.reachable_objects);
        run.reachable_space = run.reachable_space.saturating_add(other.reachable_space);
        run.unreadable_ledgers += other.unreadable_ledgers;
        // A share without tests has no start.
        run.started_ns = [run.started_ns, other.started_ns].into_iter().filter(|ns| *ns > 0).min().unwrap_or(0);
        run.cargo_exit = if run.cargo_exit == 0 { other.cargo_exit } else { run.cargo_exit };
        run.interrupted |= other.interrupted;
        run.filtered |= other.filtered;
        whole.tests.extend(shard.tests);
        whole.not_run.extend(shard.not_run);
        for target in shard.targets.iter() {
            let same = |other: &&mut KnownTarget| {
                (&other.package, &other.target, &other.kind) == (&target.package, &target.target, &target.kind)
            };
            match whole.targets.to_mut().iter_mut().find(same) {
                Some(other) => other.ran |= target.ran,
                None => whole.targets.to_mut().push(target.clone()),
            }
        }
        for target in
            shard.unprofiled.iter().filter(|target| !whole.unprofiled.contains(target)).cloned().collect::<Vec<_>>()
        {
            whole.unprofiled.to_mut().push(target);
        }
    }
    whole.tests.sort_by_cached_key(SavedTest::id);
    // What did not run in one shard because it is in another has run.
    let ran: BTreeSet<TestId> = whole.tests.iter().map(SavedTest::id).collect();
    // Of what several shards say of a test, the last is kept.
    whole.not_run.sort_by_key(|test| (test.ran, test.lost));
    let mut idle: BTreeMap<TestId, SavedNotRun<'static>> =
        whole.not_run.drain(..).map(|test| (test.id(), test)).collect();
    idle.retain(|id, _| !ran.contains(id));
    whole.not_run = idle.into_values().collect();
    whole.run.partition = None;
    whole.run.provenance = None;
    whole.run.files = Files::new();
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::intake::PlainPath;

    fn shard(partition: Option<&str>, rustc: &str) -> LoadedRun {
        let mut run = LoadedRun::default();
        run.run.partition = partition.map(str::to_owned);
        run.run.conditions.rustc = rustc.to_owned();
        run
    }

    #[test]
    fn only_all_shards_of_one_run_make_up_a_run() {
        let of = |shards: &[(Option<&str>, &str)]| {
            let runs: Vec<LoadedRun> = shards.iter().map(|(partition, rustc)| shard(*partition, rustc)).collect();
            let runs: Vec<(&Utf8Path, &LoadedRun)> = runs.iter().map(|run| (Utf8Path::new("d"), run)).collect();
            check(&runs).map_err(|error| error.causes().join(" "))
        };
        let (one, two, three) = (Some("count:1/3"), Some("count:2/3"), Some("count:3/3"));
        assert_eq!(of(&[(two, "1"), (one, "1"), (three, "1")]), Ok(()));
        for (shards, why) in [
            (vec![(one, "1"), (three, "1")], "missing: count:2/3"),
            (vec![(one, "1"), (one, "1"), (three, "1")], "both count:1/3"),
            (vec![(one, "1"), (two, "2"), (three, "1")], "with rustc `1`, `d` with `2`"),
            (vec![(one, "1"), (Some("hash:2/3"), "1"), (three, "1")], "is hash:2/3, and `d` is count:1/3"),
            (vec![(None, "1")], "is no shard"),
            (vec![], "there are none"),
        ] {
            let error = of(&shards).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    /// A shard in which the one test ran and the others did not.
    fn summary(ran: &str, idle: &[&str], exit: i32) -> Summary<'static> {
        let id = |name: &str| TestId { package: "p".into(), target: "p".into(), kind: "lib".into(), name: name.into() };
        let mut summary = Summary::for_test(&[id(ran)], &idle.iter().map(|name| id(name)).collect::<Vec<_>>());
        summary.run.cargo_exit = exit;
        summary
    }

    #[test]
    fn a_test_is_in_one_shard_and_there_as_often_as_it_was_run() {
        let of = |shards: &[Summary<'static>]| {
            let folders = ["one", "two"].map(Utf8Path::new);
            let shards: Vec<(&Utf8Path, &Summary<'_>)> = folders.into_iter().zip(shards).collect();
            each_once(&shards).map_err(|error| error.causes().join(" "))
        };
        let repeated = |repeat: u32, times: usize| {
            let mut summary = summary("a", &[], 0);
            summary.run.repeat = repeat;
            summary.tests = vec![summary.tests[0].clone(); times];
            summary
        };
        assert_eq!(of(&[summary("a", &["b"], 0), summary("b", &["a"], 0)]), Ok(()));
        assert_eq!(of(&[repeated(3, 3), summary("b", &[], 0)]), Ok(()));
        // Until its metrics were known.
        let settled = |times: usize| {
            let mut summary = repeated(1, times);
            summary.run.settled = true;
            summary
        };
        assert_eq!(of(&[settled(20), summary("b", &[], 0)]), Ok(()));
        assert!(of(&[settled(21), summary("b", &[], 0)]).is_err());
        let error = of(&[repeated(3, 4), summary("b", &[], 0)]).unwrap_err();
        assert_eq!(error, "`one` has the test `p lib/p a` 4 times, and ran each 3 times at most");
        let error = of(&[summary("a", &[], 0), summary("a", &["b"], 0)]).unwrap_err();
        assert_eq!(error, "the test `p lib/p a` is in `one` and in `two`");
    }

    #[test]
    fn a_file_is_of_one_test_or_of_one_process_that_it_started() {
        let of = |files: [&[(&'static str, &str)]; 2]| {
            let mut summary = summary("a", &[], 0);
            summary.tests = vec![summary.tests[0].clone(); 2];
            for (test, named) in summary.tests.iter_mut().zip(files) {
                let file = |(key, path): &(&'static str, &str)| ((*key).into(), PlainPath::ours((*path).into()));
                test.files = named.iter().map(file).collect();
            }
            each_file_once(&[(Utf8Path::new("one"), &summary)]).map_err(|error| error.causes().join(" "))
        };
        assert_eq!(of([&[("profile", "a/x"), ("peak_space", "a/y")], &[("profile", "b/x")]]), Ok(()));
        for second in ["a/x", "A/x"] {
            for files in [[&[("profile", "a/x"), ("y", second)][..], &[]], [&[("profile", "a/x")], &[("y", second)]]] {
                let error = of(files).unwrap_err();
                assert_eq!(error, format!("the summary in `one` names `{second}` twice, and a file is of one test"));
            }
        }
    }

    #[test]
    fn what_ran_in_one_shard_is_not_idle_in_the_whole() {
        let whole = merged(vec![summary("b", &["a", "c"], 0), summary("a", &["b", "c"], 101)]);
        let names = |ids: Vec<TestId>| ids.into_iter().map(|id| id.name).collect::<Vec<_>>();
        assert_eq!(names(whole.tests.iter().map(SavedTest::id).collect()), ["a", "b"]);
        assert_eq!(names(whole.not_run.iter().map(SavedNotRun::id).collect()), ["c"]);
        assert_eq!(whole.unprofiled.len(), 1);
        assert_eq!((whole.run.cargo_exit, whole.run.alloc_objects), (101, 2));
        assert_eq!(whole.run.partition, None);
    }
}
