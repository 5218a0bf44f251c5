//! Every recipe of docs/ci.md is run as its job would, against all that a job can meet. The target folder stays from case to case, as one
//! that a cache brings back does.

use memprof_tests::fixture::Fixture;
use memprof_tests::{repository, tool, workspace};

const BEFORE: &str = "line.trim().to_owned()";
const AFTER: &str = "let clean = line.trim().to_owned();\n    clean.as_str().to_owned()";

/// What a job of one recipe runs, step after step: the words behind `cargo memprof`.
type Job = Vec<String>;

/// The jobs of the recipes, as the page has them. A step of a matrix is there for each of its values.
fn jobs() -> Vec<Job> {
    let page = std::fs::read_to_string(workspace::root().join("docs/ci.md")).expect("the page is there");
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let jobs = blocks.map(|block| {
        let lines = block.lines().filter_map(|line| line.split_once("cargo memprof ")).map(|(_, words)| words);
        lines.flat_map(steps).collect::<Job>()
    });
    jobs.filter(|job| !job.is_empty()).collect()
}

fn steps(words: &str) -> Vec<String> {
    let words = words.replace("origin/${{ github.base_ref }}", "main");
    let shards = if words.contains("matrix.shard") { 1..=3 } else { 1..=1 };
    shards.map(|shard| words.replace("${{ matrix.shard }}", &shard.to_string())).collect()
}

/// What the job ends with: a step that fails is the last.
fn outcome(fixture: &Fixture, job: &Job) -> (i32, String) {
    let mut output = String::new();
    let mut shards = 0;
    for step in job {
        let ran = fixture.memprof(step).run();
        output.push_str(&ran.all());
        let code = ran.status.code().expect("nothing kills it");
        if code != 0 {
            return (code, output);
        }
        if step.contains("--partition") {
            // Each machine has a folder of this name, and uploads it under another.
            shards += 1;
            std::fs::rename(fixture.path("shard"), fixture.path(&format!("shard-{shards}"))).expect("it was recorded");
        }
    }
    (0, output)
}

fn begin_again(fixture: &Fixture) {
    repository::git(fixture, &["checkout", "--quiet", "--", "."]);
    for shard in ["shard", "shard-1", "shard-2", "shard-3"] {
        let _ = std::fs::remove_dir_all(fixture.path(shard));
    }
}

#[test]
fn no_recipe_passes_wrongly_and_none_fails_wrongly() {
    if !tool::has("git", &["worktree", "list"], "the recipes of the gate") {
        return;
    }
    let jobs = jobs();
    assert_eq!(jobs.len(), 5, "{jobs:?}");
    for job in jobs {
        let against = job.iter().any(|step| step.contains("--against "));
        let fixture = Fixture::copy("growing");
        fixture.memprof("test --save-baseline").succeed();
        repository::begin(&fixture);
        repository::git(&fixture, &["checkout", "--quiet", "-b", "change"]);
        let ends = |code: i32, case: &str| -> String {
            let (ended, output) = outcome(&fixture, &job);
            assert_eq!(ended, code, "{case}: {job:?}\n{output}");
            begin_again(&fixture);
            output
        };
        ends(0, "nothing has changed");

        fixture.replace("src/parser.rs", BEFORE, AFTER);
        let output = ends(5, "over budget");
        let named = "src/parser.rs:11 in clean";
        // The profiles of the baseline are in the target folder here, or recorded anew.
        assert!(output.contains(named) && !output.contains("within budget"), "{job:?}\n{output}");

        fixture.write("src/parser.rs", "syntax error");
        assert!(!ends(101, "does not compile").contains("within budget"));
        if let Some(merge) = job.iter().find(|step| step.starts_with("merge ")) {
            // Whoever merges all the same has no shard to merge, and no other run is taken for theirs.
            fixture.memprof(merge).run().ended_with(6);
        }
        fixture.memprof("gate --no-run").run().ended_with(6).never_says("within budget");

        fixture.replace("src/lib.rs", "load(\"\").is_empty()", "!load(\"\").is_empty()");
        assert!(!ends(101, "a test fails").contains("within budget"));

        fixture.replace("src/lib.rs", "#[test]\n    fn loads_nothing", "#[allow(dead_code)]\n    fn loads_nothing");
        ends(if against { 0 } else { 6 }, "a test is gone");

        repository::git(&fixture, &["rm", "--quiet", "memprof.baseline"]);
        let output = ends(if against { 0 } else { 6 }, "there is no baseline");
        assert!(against || output.contains("--save-baseline"), "{output}");
        repository::git(&fixture, &["reset", "--quiet", "--hard"]);
        ends(0, "all is as it was");
    }
}
