//! Every example of docs/assertions.md compiles, and the tests in it pass, with and without `cargo memprof`.

use memprof_tests::patterns;
use memprof_tests::workspace;
use std::fs;

/// What the page's first examples are of, in their order; those of "From another counter" stand alone.
const ABOUT: [&str; 3] = [
    "const LINE: &str = \"a,b,c,d,e,f,g,h,i,j,k\";
fn parse(line: &str) -> Option<(&str, &str)> { line.split_once(\" = \") }
fn fields(line: &str) -> Vec<String> {
    let mut fields = Vec::with_capacity(11);
    fields.extend(line.split(',').map(String::from));
    fields
}
",
    "memprof::install!();
const LINE: &str = \"a,b,c,d,e,f,g,h,i,j,k\";
#[derive(Debug)]
struct Error;
fn parse(line: &str) -> Result<Vec<String>, Error> {
    let mut fields = Vec::with_capacity(11);
    fields.extend(line.split(',').map(String::from));
    if fields.len() == 11 { Ok(fields) } else { Err(Error) }
}
",
    "memprof::install!();
fn checksum(bytes: &[u8]) -> u32 { bytes.iter().map(|byte| u32::from(*byte)).sum() }
#[test]
fn grows() {
",
];

/// The Rust examples of the page, each with the heading that it stands under.
fn examples(page: &str) -> Vec<(String, String)> {
    let mut examples: Vec<(String, String)> = Vec::new();
    let (mut heading, mut inside) = ("", false);
    for line in page.lines() {
        match line {
            "```rust" => {
                inside = true;
                examples.push((heading.to_owned(), String::new()));
            }
            "```" => inside = false,
            _ if inside => {
                let (_, example) = examples.last_mut().expect("it has begun");
                example.push_str(line);
                example.push('\n');
            }
            _ => heading = line.strip_prefix('#').unwrap_or(heading),
        }
    }
    examples
}

#[test]
fn every_example_of_the_page_compiles_and_passes() {
    let page = fs::read_to_string(workspace::root().join("docs/assertions.md")).expect("the page is there");
    let fixture = patterns::fixture();
    let peers = "[dev-dependencies]\nallocation-counter = \"=0.8.1\"\nassert_no_alloc = \"=1.1.2\"\ncap = \"=0.1.2\"\n\
                 dhat = \"0.3\"\nstats_alloc = \"=0.1.10\"\n";
    fixture.replace("Cargo.toml", "[dev-dependencies]\n", peers);
    let (mut old, mut new, mut first) = (0, 0, ABOUT.iter());
    for (heading, example) in examples(&page) {
        if !heading.starts_with("## ") {
            let about = first.next().expect("what the example is of stands above");
            let end = if example.contains("#[test]") { "" } else { "}\n" };
            fixture.write(&format!("tests/first_{}.rs", ABOUT.len() - first.len()), &format!("{about}{example}{end}"));
        } else if old == new {
            old += 1;
            fixture.write(&format!("tests/old_{old}.rs"), &example);
        } else {
            new += 1;
            fixture.write(&format!("tests/new_{new}.rs"), &format!("memprof::install!();\n{example}"));
        }
    }
    assert_eq!((first.len(), old, new), (0, 6, 6), "three examples, and a new one for each old one");
    // The old ones count what runs beside them, so they are not run.
    fixture.cargo("test --tests --no-run").succeed();
    let tests: Vec<String> =
        (1..=ABOUT.len()).map(|n| format!("first_{n}")).chain((1..=new).map(|n| format!("new_{n}"))).collect();
    let of_each = |command: &str| tests.iter().fold(command.to_owned(), |all, test| format!("{all} --test {test}"));
    for command in ["test", "memprof test --memprofilerate 1"] {
        let ran = fixture.cargo(&of_each(command)).succeed();
        let passed = ran.stdout.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
        assert_eq!(passed, 10, "{}", ran.stdout);
    }
}
