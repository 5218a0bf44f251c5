//! `summary.json`, read as a user's script would read it.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The summary of a run, and the folder it was in.
#[derive(Debug)]
pub struct Summary {
    pub folder: PathBuf,
    pub json: Value,
}

/// The exact metrics of a test, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    pub alloc_objects: u64,
    pub alloc_space: u64,
    pub reallocs: u64,
    pub peak_space: u64,
    pub inuse_objects: i64,
    pub inuse_space: i64,
}

impl Summary {
    pub fn read(folder: &Path) -> Summary {
        let path = folder.join("summary.json");
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let json: Value = serde_json::from_slice(&text).expect("summary.json is JSON");
        assert_eq!(json["schema"], 1);
        Summary { folder: folder.to_owned(), json }
    }

    pub fn tests(&self) -> Vec<Test<'_>> {
        let tests = self.json["tests"].as_array().expect("`tests` is a list");
        tests.iter().map(|json| Test { json, folder: &self.folder }).collect()
    }

    /// The one test of this name.
    pub fn test(&self, name: &str) -> Test<'_> {
        let mut named: Vec<Test<'_>> = self.tests().into_iter().filter(|test| test.name() == name).collect();
        let all: Vec<&str> = self.tests().iter().map(Test::name).collect();
        assert_eq!(named.len(), 1, "tests called `{name}` among {all:#?}");
        named.remove(0)
    }

    /// Everything but what no two runs have in common: times, and what depends on them.
    pub fn without_times(&self) -> Value {
        let mut json = self.json.clone();
        remove_times(&mut json);
        json
    }
}

fn remove_times(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            fields
                .retain(|name, _| !["_ns", "_ms", "seconds", "started", "time"].iter().any(|part| name.contains(part)));
            fields.values_mut().for_each(remove_times);
        }
        Value::Array(values) => values.iter_mut().for_each(remove_times),
        _ => {}
    }
}

/// One test of a summary.
#[derive(Debug, Clone, Copy)]
pub struct Test<'a> {
    pub json: &'a Value,
    folder: &'a Path,
}

impl<'a> Test<'a> {
    pub fn text(&self, field: &str) -> &'a str {
        self.json[field].as_str().unwrap_or_else(|| panic!("`{field}` is no text in {:#}", self.json))
    }

    pub fn name(&self) -> &'a str {
        self.text("name")
    }

    pub fn outcome(&self) -> &'a str {
        self.text("outcome")
    }

    pub fn metrics(&self) -> Metrics {
        let number = |field: &str| {
            self.json[field].as_i64().unwrap_or_else(|| panic!("`{field}` is no whole number in {:#}", self.json))
        };
        let unsigned = |field: &str| u64::try_from(number(field)).expect("not negative");
        Metrics {
            alloc_objects: unsigned("alloc_objects"),
            alloc_space: unsigned("alloc_space"),
            reallocs: unsigned("reallocs"),
            peak_space: unsigned("peak_space"),
            inuse_objects: number("inuse_objects"),
            inuse_space: number("inuse_space"),
        }
    }

    /// The files of the test, by what they are, absolute.
    pub fn files(&self) -> Vec<(&'a str, PathBuf)> {
        let files = self.json["files"].as_object().expect("`files` is an object");
        files.iter().map(|(what, path)| (what.as_str(), self.folder.join(path.as_str().expect("a path")))).collect()
    }

    /// One of them, which must be there.
    pub fn file(&self, what: &str) -> PathBuf {
        let found = self.files().into_iter().find(|(name, _)| *name == what);
        let (_, path) = found.unwrap_or_else(|| panic!("no `{what}` in {:#}", self.json));
        assert!(path.exists(), "{} is missing", path.display());
        path
    }
}
