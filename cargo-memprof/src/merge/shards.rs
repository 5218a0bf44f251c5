//! Which shards make up one run, and the summary of the whole. Pure.

use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::gate::recorded::RecordedRun;
use camino::Utf8Path;
use memprof_harness::modes::Partition;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Whether these are all shards of one run, each once.
///
/// # Errors
/// Where they are not: a shard that is missing would be tests that are missing.
pub fn check(shards: &[(&Utf8Path, &RecordedRun)]) -> Result<(), Error> {
    let failed = || Error::new("cannot merge the shards").with_code(ExitCode::CANNOT_COMPARE);
    let mut found: BTreeMap<u32, &Utf8Path> = BTreeMap::new();
    let mut first: Option<(&Utf8Path, &RecordedRun, Partition)> = None;
    for (folder, run) in shards {
        let partition = run.run.partition.as_deref().and_then(|text| text.parse::<Partition>().ok());
        let Some(partition) = partition else {
            return Err(failed()
                .caused_by(format!("`{folder}` is no shard: it was recorded without `--partition`"))
                .help("record each with `cargo memprof test --partition count:M/N --memprofile DIR`"));
        };
        let (other, whole, like) = *first.get_or_insert((folder, run, partition));
        if (partition.scheme, partition.of) != (like.scheme, like.of) {
            return Err(failed().caused_by(format!("`{folder}` is {partition}, and `{other}` is {like}")));
        }
        if let Some(difference) = whole.run.conditions.differences(&run.run.conditions).first() {
            let (before, now) = (&difference.before, &difference.now);
            let cause =
                format!("`{other}` was recorded with {} `{before}`, `{folder}` with `{now}`", difference.condition);
            return Err(failed().caused_by(cause).help("record all shards under the same conditions"));
        }
        if (whole.run.rate, whole.run.repeat) != (run.run.rate, run.run.repeat) {
            return Err(failed()
                .caused_by(format!("`{other}` and `{folder}` were not recorded at the same rate, or not as often")));
        }
        if let Some(twice) = found.insert(partition.index, folder) {
            return Err(failed().caused_by(format!("`{twice}` and `{folder}` are both {partition}")));
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

/// What adds up.
const SUMS: [&str; 7] =
    ["alloc_objects", "alloc_space", "reallocs", "frees", "inuse_objects", "inuse_space", "unreadable_ledgers"];

/// The summary of the whole. There is at least one.
pub fn merged(summaries: Vec<Value>) -> Value {
    let mut whole = summaries.first().cloned().unwrap_or_default();
    let list = |summary: &Value, name: &str| summary[name].as_array().cloned().unwrap_or_default();
    let all = |name: &str| summaries.iter().flat_map(|summary| list(summary, name)).collect::<Vec<Value>>();
    let id = |test: &Value| {
        ["package", "target", "kind", "name"].map(|part| test[part].as_str().unwrap_or_default().to_owned())
    };
    let mut tests = all("tests");
    tests.sort_by_cached_key(id);
    let ran: BTreeSet<[String; 4]> = tests.iter().map(id).collect();
    // What did not run in one shard because it is in another has run.
    let idle: BTreeMap<[String; 4], Value> =
        all("not_run").into_iter().map(|test| (id(&test), test)).filter(|(id, _)| !ran.contains(id)).collect();
    let mut unprofiled: Vec<Value> = Vec::new();
    for target in all("unprofiled") {
        if !unprofiled.contains(&target) {
            unprofiled.push(target);
        }
    }
    let runs = || summaries.iter().map(|summary| &summary["run"]);
    for name in SUMS {
        whole["run"][name] = json!(runs().filter_map(|run| run[name].as_i64()).fold(0, i64::saturating_add));
    }
    whole["run"]["started_ns"] = json!(runs().filter_map(|run| run["started_ns"].as_u64()).filter(|ns| *ns > 0).min());
    whole["run"]["cargo_exit"] =
        json!(runs().filter_map(|run| run["cargo_exit"].as_i64()).find(|code| *code != 0).unwrap_or(0));
    whole["run"]["interrupted"] = json!(runs().any(|run| run["interrupted"] == json!(true)));
    whole["run"]["partition"] = Value::Null;
    whole["run"]["files"] = json!({});
    whole["tests"] = Value::Array(tests);
    whole["not_run"] = idle.into_values().collect();
    whole["unprofiled"] = Value::Array(unprofiled);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(partition: Option<&str>, rustc: &str) -> RecordedRun {
        let mut run = RecordedRun::default();
        run.run.partition = partition.map(str::to_owned);
        run.run.conditions.rustc = rustc.to_owned();
        run
    }

    #[test]
    fn only_all_shards_of_one_run_make_up_a_run() {
        let of = |shards: &[(Option<&str>, &str)]| {
            let runs: Vec<RecordedRun> = shards.iter().map(|(partition, rustc)| shard(*partition, rustc)).collect();
            let runs: Vec<(&Utf8Path, &RecordedRun)> = runs.iter().map(|run| (Utf8Path::new("d"), run)).collect();
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

    #[test]
    fn what_ran_in_one_shard_is_not_idle_in_the_whole() {
        let test = |name: &str| json!({ "package": "p", "target": "p", "kind": "lib", "name": name });
        let summary = |tests: &[&str], idle: &[&str], exit: i64| {
            json!({
                "schema": 1,
                "run": { "alloc_objects": 2, "cargo_exit": exit, "interrupted": false, "started_ns": 5 },
                "tests": tests.iter().map(|name| test(name)).collect::<Value>(),
                "not_run": idle.iter().map(|name| test(name)).collect::<Value>(),
                "unprofiled": [{ "package": "p" }],
            })
        };
        let whole = merged(vec![summary(&["b"], &["a", "c"], 0), summary(&["a"], &["b", "c"], 101)]);
        let names =
            |name: &str| whole[name].as_array().unwrap().iter().map(|test| test["name"].clone()).collect::<Vec<_>>();
        assert_eq!(names("tests"), ["a", "b"]);
        assert_eq!(names("not_run"), ["c"]);
        assert_eq!(whole["unprofiled"].as_array().unwrap().len(), 1);
        assert_eq!((&whole["run"]["cargo_exit"], &whole["run"]["alloc_objects"]), (&json!(101), &json!(4)));
    }
}
