//! Some tests do not allocate the same on every run. The gate finds them out, says where they differ and what may be the
//! reason, and can fix some reasons from outside.

use memprof_tests::fixture::Fixture;

/// The line of a test in a baseline.
fn line(baseline: &str, test: &str) -> String {
    baseline.lines().find(|line| line.contains(test)).expect("the test has a line").to_owned()
}

#[test]
fn repeats_name_the_tests_that_vary_and_the_sites_and_gate_on_the_least() {
    let fixture = Fixture::copy("varying");
    let saved = fixture.memprof("test --save-baseline --repeat 5").succeed();
    let saved = saved.complains("warning: not the same on every run: `tests::depends_on_hash_seeds`");
    assert!(!saved.stderr.contains("is_always_the_same`"), "{}", saved.all());
    // The test's own allocation is there in every run: the least is never above it.
    fixture.write(
        ".config/memprof.toml",
        "[[gate.override]]\ntest = '*depends*'\nalloc_objects = 'any'\nalloc_space = 'any'\ninuse_space = 'any'\n",
    );
    let gated = fixture.memprof("gate --repeat 5").succeed();
    let gated = gated.says("warning: not the same on every run: varying tests::depends_on_hash_seeds");
    let gated = gated.says(" at src/lib.rs:16 in depends_on_hash_seeds\n").says("most likely their seeds");
    // It has all the room there is.
    let gated = gated.never_says("give it room");
    assert!(!gated.stdout.contains("on every run: varying tests::is_always_the_same"), "{}", gated.all());
    // Five processes for each of three tests, and libtest counts three tests.
    assert_eq!(fixture.summary().tests().len(), 15, "{}", gated.all());
    gated.says("test result: ok. 3 passed");
    fixture.memprof("gate --repeat 0").run().ended_with(2).complains("`--repeat 5`");
}

#[test]
fn a_deterministic_run_fixes_the_seeds_of_hash_tables() {
    let fixture = Fixture::copy("varying");
    let record = |fixture: &Fixture| {
        fixture.memprof("test --deterministic --save-baseline hash_seeds").succeed();
        line(&fixture.read("memprof.baseline"), "depends_on_hash_seeds")
    };
    let lines: Vec<String> = (0..4).map(|_| record(&fixture)).collect();
    assert!(lines.iter().all(|line| *line == lines[0]), "{lines:?}");
    assert!(fixture.read("memprof.baseline").contains("@seeds fixed"));
    // Metrics of fixed seeds are not compared with those of random ones.
    let other = fixture.memprof("gate hash_seeds").run().ended_with(6);
    // Whether they happen to be above is chance, so it makes no difference.
    let other = other.says("it was recorded with seeds `fixed`; this run used `random`");
    other.says("not comparable: 0 tests compared, none over budget");
    fixture.memprof("gate --deterministic hash_seeds").succeed().says("1 test compared");
}

/// As many allocations as the seeds of hash tables say.
const BY_SEEDS: &str = "use std::hash::BuildHasher;
for _ in 0..1 + std::collections::hash_map::RandomState::new().hash_one(1) % 1000 {
std::hint::black_box(Box::new(1_u32));
}";

#[test]
fn programs_and_doctests_are_repeated_and_their_seeds_are_fixed_too() {
    let fixture = Fixture::copy("varying");
    let manifest = fixture.read("Cargo.toml");
    fixture.write("tests/program.rs", &format!("fn main() {{\n{BY_SEEDS}\n}}\n"));
    let lines = BY_SEEDS.lines().map(|line| format!("//! {line}\n")).collect::<String>();
    fixture.write("src/lib.rs", &format!("//! ```\n{lines}//! ```\n"));
    for edition in ["2021", "2024"] {
        let manifest = manifest.replace("edition = \"2021\"", &format!("edition = \"{edition}\""));
        fixture.write("Cargo.toml", &format!("{manifest}\n[[test]]\nname = \"program\"\nharness = false\n"));
        let saved = fixture.memprof("test --save-baseline --repeat 3").succeed();
        let saved = saved.complains("not the same on every run: `(whole program)`, `src/lib.rs`");
        // Three processes of each of the two at least, and more as they vary.
        assert!((12..=40).contains(&fixture.summary().tests().len()), "{}", saved.all());
        let record = || {
            fixture.memprof("test --deterministic --save-baseline").succeed();
            let baseline = fixture.read("memprof.baseline");
            [line(&baseline, " src/lib.rs"), line(&baseline, "(whole program)")]
        };
        let first = record();
        assert!((0..2).all(|_| record() == first), "{first:?}");
    }
}

/// A test that reads what a child writes, which is more in every other run: the file has a letter for each run so far.
const READS: &str = "use std::io::Read;
use std::process::{Command, Stdio};

fn child() -> Command {
    let mut command = Command::new(\"sh\");
    let script = \"printf x >>\\\"$0\\\"; n=$(wc -c <\\\"$0\\\"); printf '%*s' $((n % 2 * 5000 + 10)) .\";
    command.args([\"-c\", script]);
    command
}

#[test]
fn reads_to_the_end() {
    let mut child = child().arg(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/target/runs\")).stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
}
";

#[test]
fn what_is_read_to_its_end_is_named_where_it_is_the_reason() {
    let fixture = Fixture::copy("varying");
    fixture.write("src/lib.rs", "");
    fixture.write("tests/reads.rs", READS);
    fixture.memprof("test --save-baseline --repeat 2").succeed();
    let gated = fixture.memprof("gate --repeat 2").succeed();
    let gated = gated.says("not the same on every run: varying test/reads reads_to_the_end");
    gated.says("it reads something to its end: where that is a pipe or a socket");
}
