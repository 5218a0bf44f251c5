//! A maintainer compares with the release that users have. The registry is a folder; cargo takes it for crates.io.

use memprof_tests::fixture::Fixture;
use memprof_tests::repository::{begin, commit, git};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Puts the package that was made in `from` into the registry beside `fixture`.
fn publish(fixture: &Fixture, from: &Fixture, version: &str) {
    from.cargo("package --quiet --no-verify --offline").succeed();
    let registry = fixture.outside().join("registry");
    let index = registry.join("index/gr/ow");
    fs::create_dir_all(&index).expect("a temporary folder");
    let file = format!("growing-{version}.crate");
    let package = registry.join(&file);
    fs::copy(from.path("target/package").join(&file), &package).expect("it was just packed");
    let sha256 = sha256(&package);
    let known = fs::read_to_string(index.join("growing")).unwrap_or_default();
    let line = format!(
        r#"{{"name":"growing","vers":"{version}","deps":[],"features":{{}},"yanked":false,"cksum":"{sha256}"}}"#
    );
    fs::write(index.join("growing"), format!("{known}{line}\n")).expect("a temporary folder");
}

fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().expect("there is a `sha256sum`");
    String::from_utf8(output.stdout).expect("letters").split(' ').next().expect("a hash").to_owned()
}

fn set_version(fixture: &Fixture, before: &str, version: &str) {
    fixture.replace("Cargo.toml", &format!("version = \"{before}\""), &format!("version = \"{version}\""));
    fixture.cargo("generate-lockfile --quiet --offline").succeed();
}

#[test]
fn a_release_is_compared_by_the_commit_that_it_was_made_from() {
    let fixture = Fixture::copy("growing");
    fixture.write(
        ".cargo/config.toml",
        "[source.crates-io]\nreplace-with = \"folder\"\n[source.folder]\nlocal-registry = \"../registry\"\n",
    );
    // Its tests are not in the package.
    fixture.replace("Cargo.toml", "edition = \"2021\"\n", "edition = \"2021\"\nexclude = [\"tests\"]\n");
    fixture.write("tests/whole.rs", "#[test]\nfn whole() { assert_eq!(growing::load(\"a\\nb\").len(), 2); }\n");
    set_version(&fixture, "0.1.0", "1.0.0");
    begin(&fixture);
    publish(&fixture, &fixture, "1.0.0");
    let slow = "let mut rows = Vec::with_capacity(text.lines().count());";
    fixture.replace("src/lib.rs", slow, &format!("drop(text.to_owned()); {slow}"));
    set_version(&fixture, "1.0.0", "1.1.0");
    commit(&fixture, "slower");
    publish(&fixture, &fixture, "1.1.0");
    set_version(&fixture, "1.1.0", "2.0.0");
    commit(&fixture, "two");
    let gate = |words: &str| fixture.memprof(&format!("gate --against-version {words}")).run();

    let ran = gate("1.0.0").ended_with(5).says("over budget: 2 of 4 tests compared with `growing 1.0.0`");
    ran.says("growing test/whole whole").says("src/lib.rs:").complains("Recording growing 1.0.0 (");
    // The newest that begins so, and not what was taken before.
    gate("1").ended_with(0).says("within budget: 4 tests compared with `growing 1.1.0`");
    gate("growing@1.0").ended_with(5).says("compared with `growing 1.0.0`").complains("Known growing 1.0.0 (");

    // What there is not, and what cannot be meant.
    let refused = gate("1.9.0").ended_with(6).complains("error: cannot compare with `growing 1.9.0`");
    refused
        .complains("failed to select a version")
        .complains("help: `cargo info growing` tells which versions there are");
    gate("newest").ended_with(2).complains("`newest` is no version").complains("help: write `--against-version 1.2.3`");
    gate("other@1.0").ended_with(2).complains("the workspace has no package `other`");
    gate("1.0.0 --against HEAD").ended_with(2).complains("--against");

    // A package that does not say where it is from, and one that is from a commit which is not here.
    let elsewhere = Fixture::copy_as("growing", "growing");
    elsewhere.replace("Cargo.toml", "version = \"0.1.0\"", "version = \"3.0.0\"");
    publish(&fixture, &elsewhere, "3.0.0");
    let refused = gate("3.0.0").ended_with(6).complains("cannot tell which commit it was made from");
    refused.complains("help: name its commit or its tag: `--against v3.0.0`");
    elsewhere.replace("Cargo.toml", "version = \"3.0.0\"", "version = \"4.0.0\"");
    elsewhere.cargo("generate-lockfile --quiet --offline").succeed();
    begin(&elsewhere);
    publish(&fixture, &elsewhere, "4.0.0");
    gate("4.0.0").ended_with(6).complains("cannot find its commit").complains("help: fetch it: `git fetch origin ");

    // Nothing of the user's was changed by all that.
    assert_eq!(git(&fixture, &["status", "--porcelain"]).stdout, "");
    fixture.replace("Cargo.toml", "edition = \"2021\"\n", "edition = \"2021\"\npublish = false\n");
    gate("1.0.0").ended_with(2).complains("`growing` is not published: its manifest says `publish = false`");
}
