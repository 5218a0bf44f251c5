//! The leaks in words: the tests that leak, and the lines that allocated it.

use super::amount::{bytes, count};
use crate::model::leaked::LeakedAt;
use crate::record::TestRecord;
use anstyle::Style;
use std::fmt::Write;
use std::path::Path;

const HEAD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// How many tests are named, and how many places of each.
const TESTS: usize = 10;
const PLACES: usize = 3;

/// Which blocks are leaked, and how many are in use and can be reached; nothing where none is leaked. With ANSI styles.
pub fn render(tests: &[TestRecord]) -> String {
    let mut leaking: Vec<&TestRecord> = tests.iter().filter(|test| test.counters.leaks.leaked_objects > 0).collect();
    if leaking.is_empty() {
        return String::new();
    }
    leaking.sort_by(|a, b| {
        let key = |test: &TestRecord| (test.counters.leaks.leaked_space, test.counters.leaks.leaked_objects);
        key(b).cmp(&key(a)).then_with(|| a.id.cmp(&b.id))
    });
    let sum = |of: fn(&TestRecord) -> (i64, i64)| {
        tests
            .iter()
            .map(of)
            .fold((0, 0), |sum: (i64, i64), one| (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1)))
    };
    let leaked = sum(|test| (test.counters.leaks.leaked_objects, test.counters.leaks.leaked_space));
    let reachable = sum(|test| test.counters.reachable());
    let mut out =
        format!("{HEAD}leaked: {}{HEAD:#}; in use and still reachable: {}\n", amount(leaked), amount(reachable));
    for test in leaking.iter().take(TESTS) {
        let leaks = &test.counters.leaks;
        let _ = writeln!(out, "  {}  {}", test.id.name, amount((leaks.leaked_objects, leaks.leaked_space)));
        for place in test.leaked_at.iter().take(PLACES) {
            let metrics = amount((place.leaked_objects, place.leaked_space));
            let _ = writeln!(out, "      {DIM}{metrics} at {}{DIM:#}", self::place(place));
        }
        if test.leaked_at.len() > PLACES {
            let _ =
                writeln!(out, "      {DIM}and {} more places{DIM:#}", count((test.leaked_at.len() - PLACES) as i128));
        }
    }
    if leaking.len() > TESTS {
        let _ = writeln!(out, "  {DIM}and {} more tests{DIM:#}", count((leaking.len() - TESTS) as i128));
    }
    if leaking.iter().any(|test| test.leaked_at.is_empty()) {
        let _ = writeln!(out, "  {DIM}where: run with `--memprofilerate 1`{DIM:#}");
    }
    out
}

fn amount((objects, space): (i64, i64)) -> String {
    let blocks = if objects == 1 { "1 block".to_owned() } else { format!("{} blocks", count(objects)) };
    format!("{blocks} ({})", bytes(space))
}

/// A place as people write it.
pub fn place(place: &LeakedAt) -> String {
    let file = Path::new(&place.file);
    // The last parts of a path tell enough, and the function says the rest.
    let parts: Vec<_> = file.components().rev().take(3).map(|part| part.as_os_str().to_string_lossy()).collect();
    let file = parts.into_iter().rev().collect::<Vec<_>>().join("/");
    match (file.is_empty(), place.line) {
        (true, _) => place.function.clone(),
        (false, 0) => format!("{} ({file})", place.function),
        (false, line) => format!("{} ({file}:{line})", place.function),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::table::tests::test;

    #[test]
    fn leaks_are_named_by_test_and_place_and_what_is_reachable_is_a_sum() {
        let mut tests = [test("lib", "a", 3, 30), test("lib", "b", 5, 500)];
        assert_eq!(render(&tests), "");
        for test in &mut tests {
            (test.counters.inuse_objects, test.counters.inuse_space) = (3, 90);
        }
        let place = LeakedAt {
            function: "work".to_owned(),
            file: "/home/me/app/src/lib.rs".to_owned(),
            line: 7,
            leaked_objects: 2,
            leaked_space: 48,
        };
        (tests[1].counters.leaks.leaked_objects, tests[1].counters.leaks.leaked_space) = (2, 48);
        let plain = |tests: &[TestRecord]| anstream::adapter::strip_str(&render(tests)).to_string();
        insta::assert_snapshot!("a_leak_without_stacks", plain(&tests));
        tests[1].leaked_at.push(place);
        insta::assert_snapshot!("a_leak_with_its_place", plain(&tests));
    }
}
