//! A program that lists its tests and is asked for none of them, or in words that it refuses, runs nothing, and nothing of before is replaced.

use memprof_tests::fixture::Fixture;

/// A harness of one's own, strict as those with clap: what begins with a dash is a flag, and is refused where it is none.
const PROGRAM: &str = r#"
use std::hint::black_box;

const TESTS: [&str; 3] = ["alpha", "beta", "-gamma"];

fn main() {
    let mut words = std::env::args().skip(1);
    let (mut list, mut exact, mut ignored, mut only_filters) = (false, false, false, false);
    let (mut skips, mut filters): (Vec<String>, Vec<String>) = Default::default();
    while let Some(word) = words.next() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) if !only_filters && flag.starts_with("--") => (flag.to_owned(), Some(value.to_owned())),
            _ => (word.clone(), None),
        };
        let mut value = || {
            let value = value.clone().or_else(|| words.next().filter(|next| !next.starts_with('-')));
            value.unwrap_or_else(|| std::process::exit(2))
        };
        match flag.as_str() {
            _ if only_filters => filters.push(word),
            "--" => only_filters = true,
            "--list" => list = true,
            "--exact" => exact = true,
            "--nocapture" => {}
            "--ignored" => ignored = true,
            "--format" if ["terse", "pretty"].contains(&value().as_str()) => {}
            "--test-threads" if value().parse::<u32>().is_ok() => {}
            "--skip" => skips.push(value()),
            flag if flag.starts_with('-') => std::process::exit(2),
            _ => filters.push(word),
        }
    }
    let fits = |name: &str, pattern: &String| if exact { name == pattern } else { name.contains(pattern.as_str()) };
    for name in TESTS.into_iter().filter(|_| !ignored) {
        let chosen = filters.is_empty() || filters.iter().any(|filter| fits(name, filter));
        if !chosen || skips.iter().any(|skip| fits(name, skip)) {
            continue;
        }
        if list {
            println!("{name}: test");
        } else {
            black_box(Box::new([0_u8; 100]));
            println!("test {name} ... ok");
        }
    }
}
"#;

#[test]
fn a_program_that_is_asked_for_nothing_replaces_nothing() {
    let fixture = Fixture::copy("growing");
    fixture.write("src/lib.rs", "#[test]\nfn unit() { std::hint::black_box(Box::new(1)); }\n");
    fixture.write("tests/m.rs", PROGRAM);
    let manifest = fixture.read("Cargo.toml");
    fixture.write("Cargo.toml", &format!("{manifest}\n[[test]]\nname = \"m\"\nharness = false\n"));
    fixture.memprof("test --save-baseline").succeed().complains("4 tests added");
    let names = || fixture.summary().tests().iter().map(|test| test.name().to_owned()).collect::<Vec<_>>();
    let baseline = fixture.read("memprof.baseline");
    assert!(baseline.contains("test/m -gamma alloc_objects="), "{baseline}");
    fixture.memprof("test --test m").succeed();
    assert_eq!(names(), ["-gamma", "alpha", "beta"]);
    for (line, code) in [
        ("test --test m nosuch", 0),
        ("test --test m -- --bogus", 2),
        ("test --test m -- --test-threads=abc", 2),
        ("test --test m -- --format nosuch", 2),
    ] {
        let ran = fixture.memprof(line).run();
        assert_eq!(ran.status.code() == Some(0), code == 0, "{}", ran.all());
        assert_eq!(names(), ["-gamma", "alpha", "beta"], "{line}");
        assert!(fixture.read("target/memprof/last-command.json").contains("\"produced\":false"), "{line}");
    }
    // Of several targets, those that have none of the tests are not recorded as a whole.
    fixture.memprof("test unit --save-baseline").succeed().complains("1 test unchanged");
    assert_eq!((names(), fixture.read("memprof.baseline")), (vec!["unit".to_owned(); 3], baseline));
    fixture.memprof("gate").succeed().says("within budget: 4 tests compared");
}
