//! The lines of programs that tests start: `TEST › PROGRAM`, in the target of the test.

use memprof_harness::settle::{STARTS, line_of};
use memprof_profile::record::TestId;

/// Stands for the arrow in a name that has one of its own.
const ARROW: (char, &str) = ('›', "\\u{203a}");

/// The test that starts the program whose line `id` is, and the program; `None` = it is a test's own line.
pub fn of_line(id: &TestId) -> Option<(TestId, String)> {
    let (test, program) = id.name.split_once(STARTS)?;
    Some((TestId { name: test.to_owned(), ..id.clone() }, program.to_owned()))
}

/// The name of the line of a program that the test with this (own) name starts.
pub fn line_name(test: &str, program: &str) -> String {
    line_of(test, &own(program))
}

/// A name of a test or a program as it stands in a line: with no arrow that is not ours.
pub fn own(name: &str) -> String {
    if name.contains(STARTS) { name.replace(ARROW.0, ARROW.1) } else { name.to_owned() }
}

/// The name that [`own`] was given.
pub fn original(name: &str) -> String {
    let back = name.replace(ARROW.1, &ARROW.0.to_string());
    if own(&back) == name { back } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_program_is_told_from_a_test_with_an_arrow_in_its_name() {
        let id = |name: String| TestId { package: "p".into(), target: "t".into(), kind: "lib".into(), name };
        for (test, program) in [("a::b", "m"), ("a › b", "m › n"), ("data \\u{203a}", "›")] {
            assert_eq!(of_line(&id(own(test))), None, "{test}");
            assert_eq!(original(&own(test)), test);
            let (of, found) = of_line(&id(line_name(&own(test), program))).unwrap();
            assert_eq!((original(&of.name), original(&found)), (test.to_owned(), program.to_owned()));
        }
    }
}
