//! The names of doctests in a baseline. rustdoc names a doctest by its line, which every line above it moves; here its
//! item names it, with a number where the item has several. Pure.

use crate::context::doctest_name::{KIND, item_and_line};
use crate::gate::compare::loaded_test::LoadedTest;
use memprof_profile::record::TestId;
use std::collections::{BTreeMap, BTreeSet};

/// Stands between an item and its doctest's number, from the second on.
const NUMBER: &str = " #";

/// Names the doctests among `tests` as a baseline does. The line goes to where it is for other tests.
pub fn without_lines(tests: &mut [LoadedTest]) {
    let mut lines: BTreeMap<TestId, BTreeSet<u32>> = BTreeMap::new();
    let mut named: Vec<(&mut LoadedTest, u32)> = Vec::new();
    for test in tests.iter_mut().filter(|test| test.kind == KIND) {
        let Some((item, line)) = item_and_line(&test.name) else { continue };
        if test.source_file.is_empty() {
            test.source_file = item.split(" - ").next().unwrap_or_default().to_owned();
            test.start_line = line;
        }
        test.name = item;
        lines.entry(test.id()).or_default().insert(line);
        named.push((test, line));
    }
    for (test, line) in named {
        let number = lines.get(&test.id()).map_or(1, |lines| lines.range(..=line).count());
        if number > 1 {
            test.name.push_str(&format!("{NUMBER}{number}"));
        }
    }
}

/// The item that a doctest of a baseline is one of; `None` = it is no doctest.
pub fn item(id: &TestId) -> Option<TestId> {
    if id.kind != KIND {
        return None;
    }
    let numbered = id.name.rsplit_once(NUMBER).filter(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()));
    let name = numbered.map_or(id.name.as_str(), |(item, _)| item).to_owned();
    Some(TestId { name, ..id.clone() })
}

/// The place of a doctest of a baseline among those of its item, from 1 on.
pub fn number(id: &TestId) -> usize {
    id.name.rsplit_once(NUMBER).and_then(|(_, number)| number.parse().ok()).unwrap_or(1)
}

/// The doctest at this place among those of its item.
pub fn with_number(item: &TestId, number: usize) -> TestId {
    let name = if number > 1 { format!("{}{NUMBER}{number}", item.name) } else { item.name.clone() };
    TestId { name, ..item.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doctests_are_named_by_their_item_and_place_among_its_doctests() {
        let test = |name: &str| LoadedTest { kind: KIND.into(), name: name.into(), ..LoadedTest::default() };
        let names =
            ["src/lib.rs - (line 39)", "src/lib.rs - f (line 99)", "src/lib.rs - (line 8)", "src/lib.rs - (line 8)"];
        let mut tests = names.map(test).to_vec();
        tests.push(LoadedTest { name: "tests::a (line 3)".into(), ..LoadedTest::default() });
        without_lines(&mut tests);
        let named: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(named, ["src/lib.rs #2", "src/lib.rs - f", "src/lib.rs", "src/lib.rs", "tests::a (line 3)"]);
        assert_eq!((tests[1].source_file.as_str(), tests[1].start_line), ("src/lib.rs", 99));
        let item_of = |test: &LoadedTest| item(&test.id()).map(|id| id.name);
        assert_eq!(item_of(&tests[0]).as_deref(), Some("src/lib.rs"));
        assert_eq!(item_of(&tests[4]), None);
    }
}
