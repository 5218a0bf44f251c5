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

/// Notes a hash of the text of each doctest whose file `read` reads, by the path in rustdoc's name of it.
pub fn note_texts(tests: &mut [LoadedTest], read: impl Fn(&str) -> Option<String>) {
    let mut files: BTreeMap<String, Option<String>> = BTreeMap::new();
    for test in tests.iter_mut().filter(|test| test.kind == KIND) {
        let Some((item, line)) = item_and_line(&test.name) else { continue };
        let file = item.split(" - ").next().unwrap_or_default();
        let source = files.entry(file.to_owned()).or_insert_with_key(|file| read(file));
        test.text = source.as_deref().and_then(|source| text_at(source, line)).map(|text| hash(&text));
    }
}

/// The lines of the code block that begins at this line of a file, without what makes them documentation.
fn text_at(source: &str, line: u32) -> Option<String> {
    let bare = |line: &str| {
        let line = line.trim();
        let line = ["///", "//!", "*"].iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line);
        line.trim().to_owned()
    };
    let mut lines = source.lines().skip(usize::try_from(line.checked_sub(1)?).ok()?).map(bare);
    let first = lines.next()?;
    let fence: String = first.chars().take_while(|letter| ['`', '~'].contains(letter)).collect();
    if fence.len() < 3 {
        return None;
    }
    let mut text = String::new();
    for line in lines {
        if line.starts_with(&fence) {
            return Some(text);
        }
        text.push_str(&line);
        text.push('\n');
    }
    None
}

/// FNV-1a of 32 bits.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
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
    fn a_doctest_is_known_again_by_its_text() {
        let source = "/// Words.\n///\n/// ```should_panic\n/// f();\n///   g();\n/// ```\nfn f() {}\n\n//! ~~~\n//! f();\n//! g();\n//! ~~~\n/** ```\n * h();\n";
        let text = |line| text_at(source, line);
        assert_eq!(text(3).as_deref(), Some("f();\ng();\n"));
        assert_eq!(text(9), text(3));
        // No code begins there, or none ends.
        for line in [0, 1, 4, 13, 99] {
            assert_eq!(text(line), None, "{line}");
        }
        assert_eq!([hash(""), hash("a")], [0x811c_9dc5, 0xe40c_292c]);
        let test = |line: u32| LoadedTest {
            kind: KIND.into(),
            name: format!("src/lib.rs - f (line {line})"),
            ..LoadedTest::default()
        };
        let mut tests = vec![test(3), test(9), test(1)];
        note_texts(&mut tests, |file| (file == "src/lib.rs").then(|| source.to_owned()));
        assert_eq!((tests[0].text.is_some(), tests[0].text == tests[1].text, tests[2].text), (true, true, None));
    }

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
