//! A team has the gate compare with another revision wherever git calls something: in hooks, in a rebase, in a bisection,
//! in linked worktrees. Git tells those by variables which repository and index it is working on; whatever they say,
//! what the user has stays as it is, and the comparison is a true one.

use memprof_tests::fixture::Fixture;
use memprof_tests::repository::{begin, commit, git, git_in, hook, linked, state};
use std::fs;
use std::path::{Path, PathBuf};

const BEFORE: &str = "line.trim().to_owned()";
const AFTER: &str = "let clean = line.trim().to_owned();\n    clean.as_str().to_owned()";
const SITE: &str = "+3 allocs (0 → 3), src/parser.rs:11 in clean ← parse ← load ← loads_three_rows";

fn repository() -> Fixture {
    let fixture = Fixture::copy("growing");
    fixture.cargo("generate-lockfile --quiet").succeed();
    begin(&fixture);
    fixture
}

/// Where a hook writes what the gate said.
fn log(fixture: &Fixture) -> PathBuf {
    fixture.outside().join("gate.log")
}

/// A line for a hook that runs the gate and lets git go on.
fn gate(fixture: &Fixture, revision: &str) -> String {
    format!("cargo memprof gate --against {revision} >'{0}' 2>&1; echo \"rc $?\" >>'{0}'", log(fixture).display())
}

/// Checks what the gate said in the last hook, and forgets it.
#[track_caller]
fn the_gate_said(fixture: &Fixture, code: i32, text: &str) {
    let log_text = fs::read_to_string(log(fixture)).expect("a hook ran the gate");
    assert!(log_text.ends_with(&format!("rc {code}\n")) && log_text.contains(text), "{log_text}");
    fs::remove_file(log(fixture)).expect("it was just read");
}

fn change(folder: &Path, old: &str, new: &str) {
    let file = folder.join("src/parser.rs");
    let text = fs::read_to_string(&file).expect("the checkout has it");
    assert!(text.contains(old), "{text}");
    fs::write(&file, text.replace(old, new)).expect("the checkout can be written to");
}

/// Files of the last commit, against the one before.
fn committed(fixture: &Fixture, folder: &Path) -> String {
    git_in(fixture, folder, &["show", "--format=", "--name-only", "HEAD"]).succeed().stdout
}

#[test]
fn a_commit_that_is_compared_by_its_hook_has_the_users_change_and_nothing_else() {
    let fixture = repository();
    let other = linked(&fixture, "feature");
    for folder in [fixture.root(), &other] {
        hook(&fixture, "pre-commit", &gate(&fixture, "HEAD"));
        change(folder, BEFORE, AFTER);
        fs::write(folder.join("notes"), "not to be committed").expect("the checkout can be written to");
        git_in(&fixture, folder, &["commit", "--quiet", "--all", "--message", "all"]).succeed();
        the_gate_said(&fixture, 5, SITE);
        assert_eq!(committed(&fixture, folder), "src/parser.rs\n");

        change(folder, AFTER, BEFORE);
        fs::write(folder.join("staged"), "").expect("the checkout can be written to");
        git_in(&fixture, folder, &["add", "staged"]).succeed();
        git_in(&fixture, folder, &["commit", "--quiet", "--message", "one file", "src/parser.rs"]).succeed();
        the_gate_said(&fixture, 0, "within budget: 3 tests compared with `HEAD`");
        assert_eq!(committed(&fixture, folder), "src/parser.rs\n");

        fs::remove_file(fixture.path(".git/hooks/pre-commit")).expect("it was just written");
        hook(&fixture, "commit-msg", &gate(&fixture, "HEAD~1"));
        git_in(&fixture, folder, &["commit", "--quiet", "--message", "what is staged"]).succeed();
        the_gate_said(&fixture, 0, "within budget: 3 tests compared with `HEAD~1`");
        assert_eq!(committed(&fixture, folder), "staged\n");
        assert_eq!(git_in(&fixture, folder, &["status", "--porcelain"]).succeed().stdout, "?? notes\n");
        fs::remove_file(fixture.path(".git/hooks/commit-msg")).expect("it was just written");
    }
    assert_eq!(git_in(&fixture, &other, &["branch", "--show-current"]).succeed().stdout, "feature\n");
    // None but the user's own: the root and the linked one.
    assert_eq!(git(&fixture, &["worktree", "list"]).stdout.lines().count(), 2);
}

#[test]
fn a_push_that_is_compared_by_its_hook_leaves_branch_index_and_files_as_they_are() {
    let fixture = repository();
    git(&fixture, &["init", "--quiet", "--bare", "../up.git"]);
    git(&fixture, &["remote", "add", "origin", "../up.git"]);
    git(&fixture, &["push", "--quiet", "--set-upstream", "origin", "main"]);
    hook(&fixture, "pre-push", &gate(&fixture, "origin/main"));
    let other = linked(&fixture, "feature");
    // From the second on, the clone is there.
    for (folder, old, new, code, text) in [
        (other.as_path(), BEFORE, AFTER, 5, SITE),
        (&other, AFTER, BEFORE, 0, "within budget: 3 tests"),
        (fixture.root(), BEFORE, AFTER, 5, SITE),
    ] {
        change(folder, old, new);
        git_in(&fixture, folder, &["commit", "--quiet", "--all", "--message", "next"]).succeed();
        change(folder, "/// The line", "/// Not committed: the line");
        let before = state(&fixture, folder);
        git_in(&fixture, folder, &["push", "--quiet", "--force", "origin", "HEAD:main"]).succeed();
        the_gate_said(&fixture, code, text);
        // The push itself moves the remote's branch.
        let after = state(&fixture, folder);
        let moved = |state: &str| state.lines().filter(|line| !line.ends_with("refs/remotes/origin/main")).count();
        let kept = |state: String| {
            let lines = state.lines().filter(|line| !line.ends_with("refs/remotes/origin/main"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(moved(&before) > 10);
        assert_eq!(kept(before), kept(after));
        git_in(&fixture, folder, &["checkout", "--quiet", "--", "src/parser.rs"]).succeed();
    }
}

#[test]
fn a_rebase_and_a_bisection_in_a_linked_worktree_compare_each_commit_and_arrive() {
    let fixture = repository();
    let folder = linked(&fixture, "feature");
    for (number, (old, new)) in [("/// The", "/// A"), (BEFORE, AFTER), ("/// A", "/// One")].iter().enumerate() {
        change(&folder, old, new);
        git_in(&fixture, &folder, &["commit", "--quiet", "--all", "--message", &format!("change {number}")]).succeed();
    }
    let before = state(&fixture, &folder);
    let all = log(&fixture);
    let each = format!("cargo memprof gate --against HEAD~1 >>'{0}' 2>&1; echo \"rc $?\" >>'{0}'", all.display());
    git_in(&fixture, &folder, &["rebase", "--quiet", "--force-rebase", "--exec", &each, "HEAD~3"]).succeed();
    let log_text = fs::read_to_string(&all).expect("the rebase ran the gate");
    let codes: Vec<&str> = log_text.lines().filter(|line| line.starts_with("rc ")).collect();
    assert_eq!(codes, ["rc 0", "rc 5", "rc 0"], "{log_text}");
    // The commits are made anew; what they hold, and all else, is as it was.
    assert_eq!(git_in(&fixture, &folder, &["diff", "ORIG_HEAD"]).succeed().stdout, "");
    assert_eq!(before.lines().next(), Some("refs/heads/feature"));
    assert_eq!(state(&fixture, &folder).lines().next(), Some("refs/heads/feature"));

    git_in(&fixture, &folder, &["bisect", "start", "HEAD", "main"]).succeed();
    let run = ["bisect", "run", "cargo", "memprof", "gate", "--against", "main"];
    let found = git_in(&fixture, &folder, &run).succeed();
    let culprit = git_in(&fixture, &folder, &["rev-parse", "feature~1"]).succeed().stdout;
    found.says(&format!("{} is the first bad commit", culprit.trim()));
    git_in(&fixture, &folder, &["bisect", "reset"]).succeed();
    assert_eq!(git_in(&fixture, &folder, &["status", "--porcelain"]).succeed().stdout, "");
}

#[test]
fn a_checkout_of_ours_runs_no_hook_of_the_users() {
    let fixture = repository();
    commit_more(&fixture);
    let ran = fixture.outside().join("ran");
    for name in ["post-checkout", "post-index-change", "reference-transaction", "fsmonitor-watchman"] {
        hook(&fixture, name, &format!("echo {name} >>'{}'; exit 1", ran.display()));
    }
    git(&fixture, &["config", "core.hooksPath", &fixture.path(".git/hooks").to_string_lossy()]);
    git(&fixture, &["config", "core.fsmonitor", ".git/hooks/fsmonitor-watchman"]);
    fixture.memprof("gate --against HEAD~1").run().ended_with(5).says(SITE);
    assert!(!ran.exists(), "{}", fs::read_to_string(&ran).unwrap_or_default());
    // In the hook that runs after every checkout of the user's, it may run itself.
    git(&fixture, &["config", "--unset", "core.hooksPath"]);
    git(&fixture, &["config", "--unset", "core.fsmonitor"]);
    for name in ["post-index-change", "reference-transaction"] {
        fs::remove_file(fixture.path(&format!(".git/hooks/{name}"))).expect("it was just written");
    }
    hook(&fixture, "post-checkout", &gate(&fixture, "main~1"));
    git(&fixture, &["checkout", "--quiet", "-b", "another"]);
    the_gate_said(&fixture, 5, SITE);
    assert_eq!(git(&fixture, &["branch", "--show-current"]).stdout, "another\n");
}

fn commit_more(fixture: &Fixture) {
    change(fixture.root(), BEFORE, AFTER);
    commit(fixture, "two");
}

#[test]
fn variables_that_lead_git_elsewhere_lead_neither_us_nor_the_tests() {
    let fixture = repository();
    let names = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CONFIG_PARAMETERS"];
    let seen: String = names.map(|name| format!("    assert_eq!(std::env::var_os(\"{name}\"), None);\n")).concat();
    fixture.write("tests/sees.rs", &format!("#[test]\nfn no_variable_of_gits() {{\n{seen}}}\n"));
    commit(&fixture, "a test that looks");
    commit_more(&fixture);
    change(fixture.root(), "/// The line", "/// Not committed: the line");
    let before = state(&fixture, fixture.root());
    let led = |call: memprof_tests::fixture::Call| {
        call.env("GIT_DIR", fixture.path(".git"))
            .env("GIT_WORK_TREE", fixture.root())
            .env("GIT_INDEX_FILE", fixture.path(".git/index"))
            .env("GIT_CONFIG_PARAMETERS", "'core.bare=true'")
            .env("GIT_LITERAL_PATHSPECS", "1")
    };
    for revision in ["HEAD~1", "HEAD"] {
        let ran = led(fixture.memprof(&format!("gate --against {revision}"))).run();
        let code = if revision == "HEAD" { 0 } else { 5 };
        ran.ended_with(code).says("4 tests compared");
        assert_eq!(state(&fixture, fixture.root()), before);
    }
    // A clone that is broken is made again; git does not go on from it to the user's repository.
    fs::remove_file(fixture.path("target/memprof/against/tree/.git/HEAD")).expect("it is a repository");
    led(fixture.memprof("gate --against HEAD~2")).run().ended_with(5).says(SITE);
    assert_eq!(state(&fixture, fixture.root()), before);
    // Where nothing is compared, the tests see what they see without us.
    let failed = led(fixture.memprof("test --test sees")).run().ended_with(101);
    failed.says("no_variable_of_gits ... FAILED");
}

#[test]
fn shallow_clones_submodules_and_filters_can_be_compared() {
    let fixture = repository();
    // What is committed is not what is checked out: as of encrypted files, and of large ones.
    fixture.write(".gitattributes", "*.secret filter=rot\n*.large filter=nowhere\n");
    fixture.write("src/three.secret", "a\nb\nc");
    fixture.write("src/none.large", "version 1");
    git(&fixture, &["config", "filter.rot.clean", "tr a-c x-z"]);
    git(&fixture, &["config", "filter.rot.smudge", "tr x-z a-c"]);
    git(&fixture, &["config", "filter.rot.required", "true"]);
    fixture.replace(
        "src/lib.rs",
        "load(\"a\\nb\\nc\").len(), 3",
        "load(include_str!(\"three.secret\")), [\"a\", \"b\", \"c\"]",
    );
    // A library of its own in a submodule, by a path relative to where this is from.
    let part = fixture.outside().join("part");
    fs::create_dir_all(&part).expect("a temporary folder");
    fs::write(part.join("part.rs"), "pub const PART: &str = \"part\";\n").expect("a temporary folder");
    git_in(&fixture, &part, &["init", "--quiet"]).succeed();
    git_in(&fixture, &part, &["add", "--all"]).succeed();
    git_in(&fixture, &part, &["commit", "--quiet", "--message", "part"]).succeed();
    git(&fixture, &["config", "protocol.file.allow", "always"]);
    git(&fixture, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../part", "part"]);
    fixture.replace("src/lib.rs", "pub mod parser;", "pub mod parser;\n#[path = \"../part/part.rs\"]\npub mod part;");
    commit(&fixture, "filters and a submodule");
    assert!(git(&fixture, &["show", "HEAD:src/three.secret"]).stdout.contains('x'));
    commit_more(&fixture);
    let before = state(&fixture, fixture.root());
    fixture.memprof("gate --against HEAD~1").run().ended_with(5).says(SITE);
    assert_eq!(state(&fixture, fixture.root()), before);

    let shallow = fixture.outside().join("shallow");
    let url = format!("file://{}", fixture.root().display());
    let clone = ["clone", "--quiet", "--depth=1", "--no-local", "-c", "filter.rot.smudge=tr x-z a-c", &url];
    git(&fixture, &[clone.as_slice(), &[&*shallow.to_string_lossy()]].concat());
    git_in(&fixture, &shallow, &["config", "protocol.file.allow", "always"]).succeed();
    git_in(&fixture, &shallow, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init"])
        .succeed();
    let missing = fixture.memprof("gate --against origin/other").in_folder(&shallow).run().ended_with(6);
    missing.complains("a shallow clone may need `git fetch origin main`");
    git(&fixture, &["branch", "other", "HEAD~1"]);
    git_in(&fixture, &shallow, &["fetch", "--quiet", "--depth=1", "origin", "other:refs/remotes/origin/other"])
        .succeed();
    fixture.memprof("gate --against origin/other").in_folder(&shallow).run().ended_with(5).says(SITE);
}

#[test]
fn a_repository_of_somebody_else_can_be_compared_by_who_trusts_it() {
    let fixture = repository();
    commit_more(&fixture);
    // Git believes that every folder is somebody else's.
    let gate = || fixture.memprof("gate --against HEAD~1").env("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1");
    gate().run().ended_with(6).complains("cannot ask git about the repository").complains("dubious ownership");
    let trusting = gate().env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory");
    trusting.env("GIT_CONFIG_VALUE_0", "*").run().ended_with(5).says(SITE);
    let trusting = gate().env("GIT_CONFIG_PARAMETERS", "'safe.directory'='*'");
    trusting.run().ended_with(5).says(SITE).complains("Known HEAD~1");
}

#[test]
fn a_hook_that_stashes_what_is_not_staged_gets_all_of_it_back() {
    let fixture = repository();
    // As husky has it: hooks are files of the repository.
    let stash = "git stash push --quiet --keep-index --include-untracked";
    let back = "git reset --quiet --hard && git stash pop --quiet --index";
    hook(&fixture, "pre-commit", &format!("{stash}\n{}\n{back}", gate(&fixture, "HEAD")));
    fs::rename(fixture.path(".git/hooks"), fixture.path(".husky")).expect("both are in the fixture");
    git(&fixture, &["config", "core.hooksPath", ".husky"]);
    change(fixture.root(), BEFORE, AFTER);
    git(&fixture, &["add", "--all"]);
    change(fixture.root(), "/// The line", "/// Not staged: the line");
    fixture.write("notes", "not to be committed");
    git(&fixture, &["commit", "--quiet", "--message", "what is staged"]);
    the_gate_said(&fixture, 5, SITE);
    assert_eq!(git(&fixture, &["status", "--porcelain"]).stdout, " M src/parser.rs\n?? notes\n");
    assert!(committed(&fixture, fixture.root()).contains("src/parser.rs\n"));
    assert_eq!(git(&fixture, &["stash", "list"]).stdout, "");
    // A stash is a revision as any other.
    git(&fixture, &["stash", "--quiet"]);
    fixture.memprof("gate --against stash@{0}").succeed().says("within budget: 3 tests compared");
    assert_eq!(git(&fixture, &["stash", "list"]).stdout.lines().count(), 1);
}

#[test]
fn a_repository_that_only_variables_lead_to_is_refused_and_stays_as_it_is() {
    let fixture = repository();
    let bare = fixture.outside().join("bare.git");
    git(&fixture, &["clone", "--quiet", "--bare", ".", &bare.to_string_lossy()]);
    fs::remove_dir_all(fixture.path(".git")).expect("it was just made");
    let git = |arguments: &[&str]| {
        let call =
            git_in(&fixture, fixture.root(), arguments).env("GIT_DIR", &bare).env("GIT_WORK_TREE", fixture.root());
        call.succeed().stdout
    };
    git(&["reset", "--quiet"]);
    change(fixture.root(), BEFORE, AFTER);
    let state = || [git(&["status", "--porcelain"]), git(&["diff"]), git(&["for-each-ref"])];
    let before = state();
    let call = fixture.memprof("gate --against HEAD").env("GIT_DIR", &bare).env("GIT_WORK_TREE", fixture.root());
    call.run()
        .ended_with(6)
        .complains("not a git repository")
        .complains("variables such as `GIT_DIR` are not looked at");
    assert_eq!(state(), before);
}
