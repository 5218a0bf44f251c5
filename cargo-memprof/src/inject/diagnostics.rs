//! Turns rustc's messages about a test that does not compile with the harness into the reason that the report names.
//! Pure.

use crate::inject::flags::PROGRAM_CRATE;
use serde::Deserialize;

/// Whether a path of the user's could mean the crate `test` that we added.
pub fn is_ambiguous_test(stderr: &[u8]) -> bool {
    String::from_utf8_lossy(stderr).contains("`test` is ambiguous")
}

/// Whether the compiler refuses `#[bench]`, or the feature that goes with it, for not being a nightly one.
pub fn is_unstable_bench(stderr: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stderr);
    text.contains("`bench` is a part of custom test frameworks")
        || text.contains("E0554") && text.contains("feature(test)")
}

/// Whether rustc's own expansion names what the harness, which is called `test`, does not have; `reason` is [`reason`]'s.
pub fn lacks_entry(reason: &str) -> bool {
    reason.contains("in crate `test`")
}

/// Whether what stands in the way is a global allocator: there can be one only.
pub fn is_own_allocator(stderr: &[u8]) -> bool {
    String::from_utf8_lossy(stderr).lines().filter_map(error_of).any(|error| allocator_owner(&error).is_some())
}

/// Why the harness could not go under the test, in a few words.
pub fn reason(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let errors: Vec<String> = text.lines().filter_map(error_of).collect();
    for error in &errors {
        if let Some(owner) = allocator_owner(error) {
            return match owner {
                "this crate" => "it has a `#[global_allocator]` of its own".to_owned(),
                krate => format!("the crate `{krate}` it uses has a `#[global_allocator]` of its own"),
            };
        }
    }
    match first_error(stderr) {
        Some(error) => format!("it does not compile with the harness: {}", with_linkers_reason(error, &text)),
        None => "it does not compile with the harness".to_owned(),
    }
}

/// What rustc begins with where the linker failed. That it has is all that its first line says.
const LINKER: &str = "linking with ";
/// What the lines of GNU ld, lld and mold have in them that say why.
const LINKERS_WORDS: [&str; 8] = [
    "error:",
    "undefined reference",
    "undefined symbol",
    "multiple definition",
    "duplicate symbol",
    "cannot find ",
    "relocation ",
    "No space left",
];
/// More lines of a linker's say nothing new.
const LINKERS_LINES: usize = 3;

/// `error`, and where it is of a linker the lines in `text` by which that says why it failed.
fn with_linkers_reason(error: String, text: &str) -> String {
    if !error.starts_with(LINKER) {
        return error;
    }
    let mut lines: Vec<String> = Vec::new();
    for note in text.lines().flat_map(notes_of) {
        // The command has words of all kinds, and is one line.
        let linkers = note.lines().map(str::trim).filter(|line| LINKERS_WORDS.iter().any(|word| line.contains(word)));
        for line in linkers.filter(|line| !line.contains(" \"-Wl,") && !line.starts_with("collect2:")) {
            if lines.len() < LINKERS_LINES && !lines.iter().any(|before| before == line) {
                lines.push(line.to_owned());
            }
        }
    }
    std::iter::once(error).chain(lines).collect::<Vec<_>>().join("; ")
}

/// The first line of the first error in what rustc said.
pub fn first_error(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let error = text.lines().find_map(error_of)?;
    Some(error.lines().next().unwrap_or(&error).to_owned())
}

/// The text of an error, where `line` is one: rustc tells cargo in JSON, and people in lines that start with `error`.
fn error_of(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Diagnostic {
        level: String,
        message: String,
    }
    match serde_json::from_str::<Diagnostic>(line) {
        Ok(diagnostic) => (diagnostic.level == "error").then_some(diagnostic.message),
        Err(_) => line.strip_prefix("error").and_then(|rest| rest.split_once(": ")).map(|(_, text)| text.to_owned()),
    }
}

/// The texts that rustc adds to an error where `line` is one in JSON; where it is for people, the line itself.
fn notes_of(line: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Diagnostic {
        level: String,
        children: Vec<Child>,
    }
    #[derive(Deserialize)]
    struct Child {
        message: String,
    }
    match serde_json::from_str::<Diagnostic>(line) {
        Ok(diagnostic) if diagnostic.level == "error" => {
            diagnostic.children.into_iter().map(|child| child.message).collect()
        }
        Ok(_) => Vec::new(),
        Err(_) if line.starts_with("error") => Vec::new(),
        Err(_) => vec![line.trim_start().trim_start_matches("= note:").to_owned()],
    }
}

/// Whose allocator stands in the way of the harness's, if that is what `error` says.
fn allocator_owner(error: &str) -> Option<&str> {
    let (_, rest) = error.split_once("the `#[global_allocator]` in ")?;
    let (one, other) = rest.split_once(" conflicts with global allocator in: ")?;
    Some(if ["test", "memprof_harness", PROGRAM_CRATE].contains(&one) { other } else { one })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_of_allocators_names_the_other_one() {
        for (message, reason_given) in [
            (
                "the `#[global_allocator]` in this crate conflicts with global allocator in: test",
                "it has a `#[global_allocator]` of its own",
            ),
            (
                "the `#[global_allocator]` in counting conflicts with global allocator in: __memprof_in_program",
                "the crate `counting` it uses has a `#[global_allocator]` of its own",
            ),
            (
                "the `#[global_allocator]` in __memprof_in_program conflicts with global allocator in: counting",
                "the crate `counting` it uses has a `#[global_allocator]` of its own",
            ),
        ] {
            assert!(is_own_allocator(format!("error: {message}\n").as_bytes()));
            let line = serde_json::json!({"$message_type": "diagnostic", "level": "error", "message": message});
            assert_eq!(reason(line.to_string().as_bytes()), reason_given);
            assert_eq!(reason(format!("error: {message}\n").as_bytes()), reason_given);
        }
    }

    #[test]
    fn an_entry_point_that_the_harness_lacks_is_known_by_the_crate_it_is_missed_in() {
        let message = b"error[E0425]: cannot find function `test_main_of_tomorrow` in crate `test`\n";
        assert!(lacks_entry(&reason(message)));
        assert!(!lacks_entry(&reason(b"error[E0425]: cannot find function `f` in this scope\n")));
    }

    #[test]
    fn a_linker_says_itself_why_it_failed() {
        let command = "LC_ALL=\"C\" \"aarch64-linux-gnu-gcc\" \"/t/error: x.o\" \"-Wl,--as-needed\" \"-o\" \"t\"";
        let output = "/usr/bin/ld: a.o: relocation R_X against symbol `s' can not be used; recompile with -fPIC\n\
            /usr/bin/ld: a.o: in function `f':\na.c:(.text+0x8): undefined reference to `g'\n\
            a.c:(.text+0x8): undefined reference to `g'\ncollect2: error: ld returned 1 exit status\n";
        let first = "linking with `aarch64-linux-gnu-gcc` failed: exit status: 1";
        let notes = [command, output].map(|text| serde_json::json!({"level": "note", "message": text}));
        let line = serde_json::json!({"level": "error", "message": first, "children": notes});
        let expected = format!(
            "it does not compile with the harness: {first}; /usr/bin/ld: a.o: relocation R_X against symbol `s' can not be used; \
             recompile with -fPIC; a.c:(.text+0x8): undefined reference to `g'"
        );
        assert_eq!(reason(line.to_string().as_bytes()), expected);
        let for_people = format!("error: {first}\n  |\n  = note:  {command}\n  = note: {output}\nerror: aborting\n");
        assert_eq!(reason(for_people.as_bytes()), expected);
    }

    #[test]
    fn another_error_is_quoted() {
        let stderr =
            b"{\"level\":\"warning\",\"message\":\"unused\"}\n{\"level\":\"error\",\"message\":\"no\\nmore\"}\n";
        assert_eq!(reason(stderr), "it does not compile with the harness: no");
        assert_eq!(reason(b"error[E0001]: bad: worse\n"), "it does not compile with the harness: bad: worse");
        assert_eq!(reason(b"killed"), "it does not compile with the harness");
    }
}
