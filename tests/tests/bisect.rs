//! `cargo memprof bisect` finds the commit that added the allocations.

use memprof_tests::fixture::Fixture;
use memprof_tests::repository;

fn lib(boxes: u32, more: &str) -> String {
    format!(
        "#[inline(never)]
pub fn work(number: u32) {{
    for number in 0..number {{
        std::hint::black_box(Box::new(number));
    }}
}}

#[test]
fn works() {{
    work({boxes});
}}

#[test]
fn is_steady() {{
    work(2);
}}
{more}"
    )
}

#[test]
fn the_commit_that_added_allocations_is_named_with_its_line_and_nothing_of_the_users_is_touched() {
    let fixture = Fixture::copy("growing");
    let commits = [
        ("the first", lib(3, "")),
        ("does not compile", lib(3, "let\n")),
        ("a comment", lib(3, "// One.\n")),
        ("work a little harder", lib(5, "// Two.\n")),
        ("another comment", lib(5, "// Three.\n")),
        ("harder still", lib(6, "")),
        ("does not compile either", lib(6, "let\n")),
        ("the last", lib(7, "")),
    ];
    fixture.cargo("generate-lockfile").succeed();
    for (at, (message, text)) in commits.iter().enumerate() {
        fixture.write("src/lib.rs", text);
        if at == 0 { repository::begin(&fixture) } else { repository::commit(&fixture, message) }
    }
    fixture.write("src/lib.rs", &lib(9, "// Not committed.\n"));
    let before = repository::state(&fixture, fixture.root());
    let found = fixture.memprof("bisect --good HEAD~7").succeed();
    let found = found.complains("Bisecting 7 commits for `growing works`").says("first over budget: ");
    let found = found
        .says(" work a little harder\n")
        .says("alloc_objects 3 → 5 (+2)")
        .says("    +2 allocs (3 → 5), src/lib.rs:4 in work ← works\n");
    found.never_says("is_steady").says("over budget: 1 of 1 test compared with ");
    assert_eq!(repository::state(&fixture, fixture.root()), before);
    // What is known is not recorded again.
    let again = fixture.memprof("bisect --good HEAD~7").succeed().says(" work a little harder\n");
    assert!(!again.stderr.contains("Recording"), "{}", again.all());

    // A commit that cannot be recorded hides behind its neighbours.
    let hidden = fixture.memprof("bisect --good HEAD~2").run().ended_with(6);
    hidden.complains("is passed over").complains("no commit between these can be recorded: HEAD~2..");
    let nothing = fixture.memprof("bisect --good HEAD~7 is_steady").run().ended_with(6);
    nothing.complains("no test needs more at `HEAD` than at `HEAD~7`").complains("help: ");
    fixture.memprof("bisect --good HEAD --bad HEAD~1").run().ended_with(6).complains("`HEAD~1` is not behind `HEAD`");
    fixture.memprof("bisect").run().ended_with(2).complains("--good");
    fixture.memprof("bisect --good nowhere").run().ended_with(6).complains("nowhere");
}
