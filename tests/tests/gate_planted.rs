//! Regressions of three dozen kinds are planted at known lines, and the gate is to name those lines: in text, annotations and JSON.

use memprof_tests::fixture::Fixture;
use memprof_tests::repository::begin;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

const FILES: [&str; 6] =
    ["src/calls.rs", "src/collections.rs", "src/polymorphism.rs", "src/text.rs", "src/types.rs", "../dep/src/lib.rs"];

/// Does what the marks say; gives the planted line of each test. One line stays one line, so that the numbers stay too.
fn plant(fixture: &Fixture) -> BTreeMap<String, (String, i64)> {
    let mut planted = BTreeMap::new();
    for file in FILES {
        let mut text = String::new();
        for (line, number) in fixture.read(&format!("app/{file}")).lines().zip(1..) {
            let indent = &line[..line.len() - line.trim_start().len()];
            if let Some((test, code)) = line.split_once("// planted in ").and_then(|(_, mark)| mark.split_once(": ")) {
                planted.insert(test.to_owned(), (file.to_owned(), number));
                text.push_str(&format!("{indent}{code}\n"));
            } else if let Some((_, code)) = line.split_once("// edited: ") {
                text.push_str(&format!("{indent}{code}\n"));
            } else {
                text.push_str(&format!("{line}\n"));
            }
        }
        fixture.write(&format!("app/{file}"), &text);
    }
    planted
}

/// The line that the gate names first for each test over budget.
fn named(json: &Value) -> BTreeMap<String, (String, i64)> {
    let over = json["tests"].as_array().expect("the tests").iter().filter(|test| test["changes"].is_object());
    let first = |test: &Value| {
        let name = test["name"].as_str().expect("a name").rsplit("::").next().expect("a part").to_owned();
        let by_metric = test["changes"].as_object().expect("changes by metric");
        // In the order of the findings, as people read them.
        let metric = test["findings"].as_array()?.iter().find_map(|finding| finding["figure"].as_str())?;
        let change = by_metric.get(metric)?.as_array()?.first()?;
        Some((name, (change["file"].as_str()?.to_owned(), change["line"].as_i64()?)))
    };
    over.filter_map(first).collect()
}

/// Tests of which another line than the planted one is named.
fn wrong(planted: &BTreeMap<String, (String, i64)>, named: &BTreeMap<String, (String, i64)>) -> Vec<String> {
    planted.iter().filter(|(test, place)| named.get(*test) != Some(place)).map(|(test, _)| test.clone()).collect()
}

/// What kinds the gate cannot tell by the line: a block that is no longer freed is named where it is allocated.
const ELSEWHERE: [&str; 1] = ["leaked"];
/// Of these, the line is only known by `git diff`: nothing in the profile has changed there.
const BY_THE_CHANGE: [&str; 6] = [
    "deeper_recursion",
    "dependency_called_twice",
    "equal_above",
    "helper_on_the_same_line",
    "lost_capacity",
    "lost_string_capacity",
];

/// The places that annotations of lines are at, relative to the workspace; those of tests are at the tests.
fn annotated(text: &str) -> Vec<(String, i64)> {
    let commands = text.lines().filter_map(|line| line.strip_prefix("::error file=app/"));
    let commands = commands.filter(|command| command.contains("title=allocates more in "));
    let place = |command: &str| {
        let (file, rest) = command.split_once(",line=")?;
        Some((file.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    commands.filter_map(place).collect()
}

/// `by_the_change` are further tests of which the line is known by `git diff` alone.
fn names_the_planted_lines(options: &str, rustflags: &str, by_the_change: &[&str]) {
    let fixture = Fixture::copy("planted");
    let app = fixture.path("app");
    fixture.cargo("generate-lockfile --quiet").in_folder(&app).succeed();
    let memprof = |arguments: &str| fixture.memprof(arguments).in_folder(&app).env("RUSTFLAGS", rustflags);
    memprof(&format!("test --save-baseline --lib {options}")).succeed();
    begin(&fixture);
    let planted = plant(&fixture);
    assert!(planted.len() >= 30, "{planted:?}");

    let gate = memprof(&format!("gate --lib {options}")).env("GITHUB_ACTIONS", "true");
    let ran = gate.env("GITHUB_WORKSPACE", fixture.root()).run().ended_with(5);
    let json =
        || -> Value { serde_json::from_str(&fixture.read("app/target/memprof/gate/gate.json")).expect("it is JSON") };
    assert_eq!(wrong(&planted, &named(&json())), ELSEWHERE, "{}", ran.all());
    // What is said of a test in other forms is the same.
    let places = named(&json());
    let shown: Vec<&(String, i64)> =
        places.values().filter(|(file, line)| ran.stdout.contains(&format!("{file}:{line} in "))).collect();
    assert!(shown.len() >= 10, "{}", ran.stdout);
    let annotated = annotated(&ran.stdout);
    assert!(
        annotated.len() >= 10 && annotated.iter().all(|place| places.values().any(|other| other == place)),
        "{annotated:?}"
    );

    fs::remove_dir_all(fixture.path(".git")).expect("it is a repository");
    memprof("gate --no-run").run().ended_with(5);
    let allowed = |test: &String| ELSEWHERE.iter().chain(&BY_THE_CHANGE).chain(by_the_change).any(|one| one == test);
    let mut unknown = wrong(&planted, &named(&json()));
    unknown.retain(|test| !allowed(test));
    assert_eq!(unknown, [""; 0], "{:#?}", named(&json()));
}

#[test]
fn the_planted_line_is_named() {
    names_the_planted_lines("", "", &[]);
}

#[test]
fn the_planted_line_is_named_in_a_release_build() {
    // Its caller is inlined, and so is the new function between.
    names_the_planted_lines("--release", "", &["put_between"]);
}

#[test]
fn the_planted_line_is_named_where_symbols_are_mangled_as_on_nightly() {
    names_the_planted_lines("", "-Csymbol-mangling-version=v0", &[]);
}
