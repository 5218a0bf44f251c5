//! `cargo memprof bisect` finds the commit that added the allocations.

use memprof_tests::fixture::Fixture;
use memprof_tests::repository;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

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

/// Where there is a pipe, it says who it is, opens the pipe, and stays.
const WAITS: &str = r#"
#[test]
fn is_another() {
    let Ok(pipe) = std::env::var("PIPE") else { return };
    std::io::Write::write_all(&mut std::fs::File::options().write(true).open(pipe).unwrap(), b"here").unwrap();
    loop {
        std::thread::park();
    }
}
"#;

#[test]
fn a_search_that_is_interrupted_says_where_it_stood_and_leaves_the_repository_as_it_was() {
    let fixture = Fixture::copy("growing");
    fixture.cargo("generate-lockfile").succeed();
    for (at, (boxes, more)) in [(3, ""), (3, "// One."), (3, WAITS), (5, "// Two."), (5, "")].into_iter().enumerate() {
        fixture.write("src/lib.rs", &lib(boxes, more));
        if at == 0 { repository::begin(&fixture) } else { repository::commit(&fixture, &format!("change {at}")) }
    }
    let before = repository::state(&fixture, fixture.root());
    let (pipe, stderr) = (fixture.outside().join("pipe"), fixture.outside().join("stderr"));
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is everywhere").success());
    let mut call = fixture.memprof("bisect --good HEAD~4").env("PIPE", &pipe);
    let file = File::create(&stderr).expect("the temporary folder can be written to");
    let mut bisect = call.command().process_group(0).stdout(Stdio::null()).stderr(file).spawn().expect("it starts");
    File::open(&pipe).expect("the pipe is there").read_exact(&mut [0; 4]).expect("the test writes four bytes");
    // As a terminal does.
    let kill = format!("kill -INT -{}", bisect.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh is everywhere").success());
    assert_eq!(bisect.wait().expect("it ends").code(), Some(130));
    let said = std::fs::read_to_string(&stderr).expect("it was written");
    assert!(said.contains("it was interrupted: it is one of 4 commits, HEAD~4.."), "{said}");
    assert!(said.contains("help: call it again"), "{said}");
    assert_eq!(repository::state(&fixture, fixture.root()), before);
    // What is known is not recorded again.
    let again = fixture.memprof("bisect --good HEAD~4").succeed().says(" change 3\n");
    again.complains("Known HEAD~4");
    assert_eq!(repository::state(&fixture, fixture.root()), before);
}
