//! A shard is what a job left that ran a stranger's code, and a job with secrets merges it. Whatever the stranger wrote,
//! nothing from outside of the shard's folder gets into the whole, nothing hangs, and nothing is eaten.

use memprof_tests::fixture::Fixture;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const SECRET: &str = "TOKEN-OF-THE-JOB";
const TEST: &str = "loads_three_rows";

/// What is done to the summary of the test, with a path.
type Edit<'a> = &'a dyn Fn(&mut Value, &str);
/// What is put in the place of a file.
type Make<'a> = &'a dyn Fn();

/// A fixture with two shards, the first of which has the test's profile.
fn shards() -> Fixture {
    let fixture = Fixture::copy("growing");
    for (share, folder) in [("hash:1/2", "one"), ("hash:2/2", "two")] {
        let run = fixture.memprof("test --memprofilerate 1 --lib --partition").arg(share);
        run.args(["--memprofile", folder]).succeed();
    }
    if !fixture.read("one/summary.json").contains(&format!("{TEST}/profile.pb.gz")) {
        fs::rename(fixture.path("one"), fixture.path("other")).expect("it was just recorded");
        fs::rename(fixture.path("two"), fixture.path("one")).expect("it was just recorded");
        fs::rename(fixture.path("other"), fixture.path("two")).expect("it was just recorded");
    }
    fs::write(fixture.outside().join("secret"), SECRET).expect("a temporary folder");
    fixture
}

/// Has `edit` change what the first shard says of the test; gives what it said before.
fn with_test(fixture: &Fixture, edit: impl Fn(&mut Value)) -> String {
    let before = fixture.read("one/summary.json");
    let mut summary: Value = serde_json::from_str(&before).expect("a summary is JSON");
    let tests = summary["tests"].as_array_mut().expect("it has tests");
    edit(tests.iter_mut().find(|test| test["name"].as_str().is_some_and(|name| name.ends_with(TEST))).expect("it ran"));
    fixture.write("one/summary.json", &summary.to_string());
    before
}

fn profile(fixture: &Fixture) -> PathBuf {
    let summary: Value = serde_json::from_str(&fixture.read("one/summary.json")).expect("a summary is JSON");
    let tests = summary["tests"].as_array().expect("it has tests").clone();
    let path = tests.iter().find_map(|test| test["files"]["profile"].as_str()).expect("it has a profile");
    fixture.path("one").join(path)
}

/// Every file of the outputs has been looked into.
fn holds_secret(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| {
        entries.map(|entry| entry.expect("the folder can be read").path()).any(|path| match path.is_dir() {
            true => holds_secret(&path),
            false => fs::read(&path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(SECRET)),
        })
    })
}

#[track_caller]
fn refused(fixture: &Fixture, why: &str) {
    let ran = fixture.memprof("merge one two").env("TOKEN", SECRET).run().ended_with(6);
    ran.complains("error: cannot ").complains(why).never_says(SECRET);
    assert!(!fixture.path("target/memprof/summary.json").exists());
    assert!(!holds_secret(&fixture.path("target/memprof")));
}

#[test]
fn a_shard_names_files_below_its_folder_or_is_refused() {
    let fixture = shards();
    let secret = fixture.outside().join("secret");
    let in_test = |test: &mut Value, path: &str| test["files"]["profile"] = json!(path);
    let unknown = |test: &mut Value, path: &str| test["files"]["x"] = json!(path);
    let in_child = |test: &mut Value, path: &str| {
        let mut child = test.clone();
        child["program"] = json!("p");
        child["files"] = json!({ "profile": path });
        test["children"] = json!([child]);
    };
    let ways: [(&str, Edit<'_>); 6] = [
        ("/proc/self/environ", &in_test),
        ("/proc/self/environ", &unknown),
        ("../../secret", &in_child),
        ("growing/../../../secret", &in_test),
        (&secret.to_string_lossy(), &unknown),
        ("a\nb", &in_test),
    ];
    for (path, put) in ways {
        let before = with_test(&fixture, |test| put(test, path));
        refused(&fixture, "is no plain path below its folder");
        fixture.write("one/summary.json", &before);
    }
    fixture.memprof("merge one two").succeed().complains("Merged 3 tests of 2 shards");
}

#[test]
fn a_link_a_pipe_a_device_or_a_folder_is_no_file_of_a_shard() {
    let fixture = shards();
    let secret = fixture.outside().join("secret");
    let (place, summary) = (profile(&fixture), fixture.path("one/summary.json"));
    let folder = place.parent().expect("it is in a folder").to_owned();
    let away = |path: &Path| {
        let away = path.with_extension("away");
        fs::rename(path, &away).expect("it is there");
        away
    };
    for (path, named) in [(&place, "growing"), (&summary, "summary.json")] {
        let kept = away(path);
        let make: [(&str, Make<'_>); 4] = [
            ("it is a link", &|| symlink(&secret, path).expect("nothing is there")),
            ("it is a named pipe", &|| {
                fixture.program("mkfifo").arg(path).succeed();
            }),
            ("it is a socket", &|| {
                drop(std::os::unix::net::UnixListener::bind_addr(&address(path)).expect("nothing is there"))
            }),
            ("it is a folder", &|| fs::create_dir(path).expect("nothing is there")),
        ];
        for (why, make) in make {
            make();
            refused(&fixture, why);
            let removed = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
            removed.unwrap_or_else(|error| panic!("{named}: {error}"));
        }
        fs::rename(kept, path).expect("it was just moved");
    }
    // A folder that leads out, to where a file of that name is.
    let kept = away(&folder);
    fs::create_dir(fixture.outside().join("others")).expect("a temporary folder");
    fs::write(fixture.outside().join("others/profile.pb.gz"), SECRET).expect("a temporary folder");
    symlink(fixture.outside().join("others"), &folder).expect("nothing is there");
    refused(&fixture, "a folder on the way is a link");
    fs::remove_file(&folder).expect("it was just made");
    fs::rename(kept, &folder).expect("it was just moved");
    fixture.memprof("merge one two").succeed();
}

/// A socket's name has few letters; from its folder it is short.
fn address(path: &Path) -> std::os::unix::net::SocketAddr {
    let short = std::env::temp_dir().join(format!("memprof-{}", std::process::id()));
    let _ = fs::remove_file(&short);
    symlink(path.parent().expect("it is in a folder"), &short).expect("a temporary folder");
    let name = short.join(path.file_name().expect("it is a file"));
    std::os::unix::net::SocketAddr::from_pathname(name).expect("it is short")
}

#[test]
fn a_file_that_is_or_unpacks_to_too_much_is_refused_and_what_is_no_profile_is_not_taken_over() {
    let fixture = shards();
    let place = profile(&fixture);
    let good = fs::read(&place).expect("it is there");
    let file = fs::File::create(&place).expect("it can be written");
    file.set_len(3 << 30).expect("a sparse file");
    refused(&fixture, "it holds more than 1024 MiB");
    // A gibibyte and more of fields that no reader knows, packed: the 15th of a profile, with 64 KiB each.
    let script = "{ printf '\\172\\200\\200\\004'; head -c 65536 /dev/zero; } >\"$0.field\"
        for _ in $(seq 256); do cat \"$0.field\"; done >\"$0.fields\"
        for _ in $(seq 70); do cat \"$0.fields\"; done | gzip -1 >\"$0\"
        rm \"$0.field\" \"$0.fields\"";
    fixture.program("sh").args(["-c", script]).arg(&place).succeed();
    refused(&fixture, "it holds more than 1024 MiB");
    // Zeros are no fields, however many there are.
    fixture.program("sh").args(["-c", "head -c 1100M /dev/zero | gzip -1 >\"$0\""]).arg(&place).succeed();
    refused(&fixture, "is damaged");
    fs::write(&place, SECRET).expect("it can be written");
    refused(&fixture, "is damaged");
    fs::write(&place, &good).expect("it can be written");
    // Pictures are drawn anew from the profile; the stranger's own are not taken over.
    let picture = place.with_file_name("alloc_objects.svg");
    fs::write(&picture, format!("<svg><script>{SECRET}</script></svg>")).expect("it can be written");
    with_test(&fixture, |test| test["files"]["page"] = json!("index.html"));
    fixture.memprof("merge one two").succeed();
    assert!(!holds_secret(&fixture.path("target/memprof")));
    let merged = fixture.summary();
    let test = merged.test(&format!("tests::{TEST}"));
    test.file("alloc_objects");
    assert_eq!(test.json["files"]["page"], Value::Null);
    fixture.memprof("test --save-baseline --lib").succeed();
    fixture.memprof("merge one two").succeed();
    fixture.memprof("gate --no-run").succeed().says("within budget: 3 tests compared");
}

#[test]
fn the_gate_reads_no_more_of_a_run_than_its_own_files() {
    let fixture = shards();
    fixture.memprof("test --save-baseline --lib --memprofile one").succeed();
    let secret = fixture.outside().join("secret");
    let before = with_test(&fixture, |test| test["files"]["profile"] = json!(secret.to_string_lossy()));
    for command in ["accept --memprofile one", "gate --no-run --memprofile one"] {
        fixture.memprof(command).run().ended_with(6).complains("is no plain path below its folder");
    }
    fixture.write("one/summary.json", &before);
    // Only what differs is accepted, with its profile; here one run of each test.
    fs::remove_file(fixture.path("memprof.baseline")).expect("it was written");
    fixture.memprof("test --lib --memprofilerate 1 --memprofile one").succeed();
    // A profile that is a link is none: the metrics are accepted, and nothing is copied beside the baseline.
    let place = profile(&fixture);
    fs::remove_file(&place).expect("it is there");
    symlink(&secret, &place).expect("nothing is there");
    let accepted = fixture.memprof("accept --memprofile one --baseline-dir kept").run().ended_with(4);
    accepted.complains("it is a link");
    assert!(!holds_secret(&fixture.path("kept")));
    // A baseline that is no file.
    fs::remove_file(fixture.path("memprof.baseline")).expect("it was written");
    fixture.program("mkfifo").arg(fixture.path("memprof.baseline")).succeed();
    fixture.memprof("gate --no-run").run().ended_with(6).complains("it is a named pipe");
}

/// What a terminal and GitHub's runner would obey.
const COMMAND: &str = "x\n::error::not ours ##[stop-commands]t\u{1b}[31m\u{202e}y";

/// Nothing in `text` is a command to a terminal or to a runner, which looks for one behind spaces too, and for `##[` anywhere.
#[track_caller]
fn commands_nothing(text: &str) {
    assert!(!text.contains(['\u{1b}', '\u{202e}', '\r']) && !text.contains("##["), "{text}");
    assert!(!text.lines().any(|line| line.trim_start().starts_with("::error::not")), "{text}");
}

#[test]
fn what_a_stranger_says_of_a_run_is_shown_and_not_obeyed() {
    let fixture = shards();
    fixture.memprof("test --save-baseline --lib --memprofile one").succeed();
    let honest = fixture.read("one/summary.json");
    let with = |pointer: &str, value: Value| {
        let mut summary: Value = serde_json::from_str(&honest).expect("a summary is JSON");
        summary["unprofiled"] =
            json!([{ "package": "growing", "target": "t", "kind": "test", "reason": "r", "not_recorded": true }]);
        *summary.pointer_mut(pointer).expect("it has the field") = value;
        fixture.write("one/summary.json", &summary.to_string());
    };
    let pointers = [
        "/run/conditions/rustc",
        "/run/conditions/features",
        "/unprofiled/0/target",
        "/unprofiled/0/reason",
        "/tests/0/package",
        "/tests/0/kind",
        "/tests/0/outcome",
        "/tests/0/source_file",
        "/tests/0/name",
    ];
    let judge = |what: &str, shown: bool| {
        let json = fixture.memprof("gate --no-run --memprofile one --output-format json").run().ended_with(6);
        assert!(!json.stdout.contains("##["), "{what}: {}", json.stdout);
        for format in ["text", "github", "markdown", "junit"] {
            let call = fixture.memprof("gate --no-run --memprofile one --output-format").arg(format);
            let ran = call.run().ended_with(6);
            commands_nothing(&ran.stdout);
            commands_nothing(&ran.stderr);
            let is_for_people = ["text", "github"].contains(&format);
            assert!(!is_for_people || ran.all().contains("not ours") == shown, "{what}: {}", ran.all());
            for file in ["summary.md", "junit.xml"] {
                commands_nothing(&fixture.read(&format!("one/gate/{file}")));
            }
        }
    };
    for pointer in pointers {
        with(pointer, json!(COMMAND));
        judge(pointer, !["/tests/0/outcome", "/tests/0/source_file"].contains(&pointer));
    }
    fixture.write("one/summary.json", &honest);
    let kept = fixture.read("memprof.baseline");
    let hostile = COMMAND.replace('\n', "\\n");
    for (old, new) in
        [("@rustc ", "@rustc ".to_owned() + &hostile), ("lib/growing tests", format!("lib/{hostile} tests"))]
    {
        fixture.write("memprof.baseline", &kept.replacen(old, &new, 1));
        judge(old, true);
    }
    fixture.write("memprof.baseline", &kept);
    let last = json!({ "command": COMMAND, "exit": 0, "produced": false, "interrupted": false });
    fixture.write("one/last-command.json", &last.to_string());
    judge("last-command.json", true);
}

#[test]
fn a_summary_that_is_deeper_or_greater_than_any_is_an_error_or_the_same_run() {
    let fixture = shards();
    let honest = fixture.read("one/summary.json");
    let deep = "[".repeat(1_000_000);
    for (old, new) in [
        ("{\"schema\":1", deep.clone()),
        ("\"children\":[]", format!("\"children\":{}", deep.replace('[', "[{\"children\":"))),
        ("\"alloc_objects\":", "\"alloc_objects\":1e400,\"x\":".to_owned()),
        ("\"alloc_objects\":", "\"alloc_objects\":-1,\"x\":".to_owned()),
        ("\"alloc_objects\":", "\"alloc_objects\":18446744073709551616,\"x\":".to_owned()),
        ("\"tests\":", "\"tests\":[],\"tests\":".to_owned()),
        ("\"schema\":1", "\"schema\":4294967296".to_owned()),
    ] {
        assert!(honest.contains(old), "{old}: {honest}");
        fixture.write("one/summary.json", &honest.replace(old, &new));
        refused(&fixture, "summary.json");
    }
    // What is not known is passed over, however deep it is.
    let unknown = format!("\"unknown\":{deep}{},\"tests\":", deep.replace('[', "]"));
    fixture.write("one/summary.json", &honest.replacen("\"tests\":", &unknown, 1));
    fixture.memprof("merge one two").succeed().complains("Merged 3 tests of 2 shards");
}

#[test]
fn a_profile_of_which_a_few_bytes_make_very_much_is_refused() {
    let fixture = shards();
    let place = profile(&fixture);
    // Locations of two million frames each, behind the honest ones. `\042\000` is an empty frame.
    let script = "printf '\\010\\115' >\"$0.lines\"; yes | head -2097152 | tr -d '\\n' | sed 's/y/\\x22\\x00/g' >>\"$0.lines\"
        { gzip -dc \"$0\"; for _ in $(seq 9); do printf '\\042\\202\\200\\200\\002'; cat \"$0.lines\"; done; } | gzip -1 >\"$0.new\"
        mv \"$0.new\" \"$0\"; rm \"$0.lines\"";
    fixture.program("sh").args(["-c", script]).arg(&place).succeed();
    refused(&fixture, "is damaged: its locations have more than 16777216 frames");
}

/// A field of a protobuf message that holds `bytes`.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [varint(u64::from(number) << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 128 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[test]
fn a_deep_stack_of_a_long_name_makes_no_larger_picture_than_any() {
    let fixture = shards();
    let place = profile(&fixture);
    let honest = fs::read(&place).expect("it is there");
    let there = fixture.outside().join("unpacked");
    fixture.program("sh").args(["-c", "gzip -dc \"$0\" >\"$1\""]).arg(&place).arg(&there).succeed();
    let unpacked = fs::read(&there).expect("it was just written");
    let strings = count_of_strings(&unpacked);
    let function = field(5, &[vec![8], varint(900_000), vec![16], varint(strings)].concat());
    let location = field(4, &[vec![8], varint(900_000), field(4, &[vec![8], varint(900_000)].concat())].concat());
    let sample = |depth: usize| {
        field(2, &[field(1, &varint(900_000).repeat(depth)), field(2, &varint(1 << 40).repeat(16))].concat())
    };
    let with = |depth: usize| {
        let all =
            [unpacked.clone(), field(6, &vec![b'x'; 16 << 20]), function.clone(), location.clone(), sample(depth)];
        fs::write(fixture.outside().join("new"), all.concat()).expect("a temporary folder");
        let script = "gzip -1 <\"$1\" >\"$0\"";
        fixture.program("sh").args(["-c", script]).arg(&place).arg(fixture.outside().join("new")).succeed();
    };
    with(32_769);
    refused(&fixture, "is damaged: it has a stack of more than 32768 calls");
    with(32_000);
    assert!(fs::metadata(&place).expect("it is there").len() < 128 << 10);
    fixture.memprof("merge one two").succeed().complains("Merged 3 tests of 2 shards");
    let picture = fixture.summary().test(&format!("tests::{TEST}")).file("alloc_objects");
    let picture = fs::read_to_string(picture).expect("it is drawn");
    assert!(picture.contains("x…x") && picture.len() < 1 << 20, "{}", picture.len());
    fs::write(&place, honest).expect("it can be written");
}

/// How many strings a profile has: its sixth fields.
fn count_of_strings(mut profile: &[u8]) -> u64 {
    let mut strings = 0;
    while !profile.is_empty() {
        let mut number = || {
            let len = 1 + profile.iter().position(|byte| *byte < 128).expect("a number ends");
            let (bytes, rest) = profile.split_at(len);
            profile = rest;
            bytes.iter().rev().fold(0_u64, |number, byte| number << 7 | u64::from(byte & 127))
        };
        let (key, value) = (number(), number());
        strings += u64::from(key >> 3 == 6);
        if key & 7 == 2 {
            profile = &profile[usize::try_from(value).expect("it is in memory")..];
        }
    }
    strings
}

#[test]
fn a_summary_that_is_larger_than_any_is_not_read() {
    let fixture = shards();
    let file = fs::OpenOptions::new().write(true).open(fixture.path("one/summary.json")).expect("it is there");
    file.set_len((256 << 20) + 1).expect("a sparse file");
    refused(&fixture, "it holds more than 256 MiB");
}

#[test]
fn a_test_that_is_there_twice_hides_no_other_metrics_of_it() {
    let fixture = shards();
    let name = format!("tests::{TEST}` ");
    let summary = |folder: &str| -> Value {
        serde_json::from_str(&fixture.read(&format!("{folder}/summary.json"))).expect("a summary is JSON")
    };
    let (one, two) = (summary("one"), summary("two"));
    let tests = one["tests"].as_array().expect("it has tests");
    let mut test = tests
        .iter()
        .find(|test| test["name"].as_str().is_some_and(|name| name.ends_with(TEST)))
        .expect("it ran")
        .clone();
    test["alloc_objects"] = 0.into();
    test["files"] = serde_json::json!({});
    // Of several runs of a test, the gate takes the least.
    for (folder, honest, why) in [("one", &one, "2 times, and ran each 1 times at most"), ("two", &two, "is in ")] {
        let mut forged = honest.clone();
        forged["tests"].as_array_mut().expect("it has tests").push(test.clone());
        fixture.write(&format!("{folder}/summary.json"), &forged.to_string());
        let ran = fixture.memprof("merge one two").run().ended_with(6).complains("error: cannot merge the shards");
        ran.complains(&name).complains(why);
        fixture.write(&format!("{folder}/summary.json"), &honest.to_string());
    }
    fixture.memprof("merge one two").succeed().complains("Merged 3 tests of 2 shards");
}

#[test]
fn summaries_that_are_larger_together_than_any_run_has_are_not_read() {
    let fixture = shards();
    let before = ["one", "two"].map(|folder| fixture.read(&format!("{folder}/summary.json")));
    for (folder, summary) in ["one", "two"].iter().zip(&before) {
        // Each may be as large as this.
        fixture.write(&format!("{folder}/summary.json"), &format!("{summary}{}", "\n".repeat(130 << 20)));
    }
    refused_until(&fixture, &before, "the summaries of all shards together hold more than 256 MiB");
}

/// Gives the test a process for each of `files`, which is its profile.
fn with_children(fixture: &Fixture, files: &[String]) -> String {
    with_test(fixture, |test| {
        let mut child = test.clone();
        let of = |file: &String| {
            child["files"] = json!({ "profile": file });
            child["program"] = json!("p");
            child.clone()
        };
        test["children"] = files.iter().map(of).collect();
    })
}

#[test]
fn a_file_of_many_tests_or_processes_is_none_of_a_run() {
    let fixture = shards();
    let place = profile(&fixture);
    let named = place.strip_prefix(fixture.path("one")).expect("it is below").to_str().expect("it is ours").to_owned();
    let own = format!("{named}.child");
    fs::copy(&place, fixture.path("one").join(&own)).expect("it is there");
    // A few kilobytes, packed, became sixteen thousand files.
    for files in [vec![own.clone(); 4000], vec![named.clone()], vec![own.clone(), own.to_uppercase()]] {
        let before = with_children(&fixture, &files);
        refused(&fixture, &format!("names `{}` twice", files.last().expect("there are some")));
        fixture.write("one/summary.json", &before);
    }
    let before = with_children(&fixture, &[own]);
    fixture.memprof("merge one two").succeed().complains("Merged 3 tests of 2 shards");
    fixture.write("one/summary.json", &before);
}

#[test]
fn profiles_that_unpack_to_too_much_together_are_refused() {
    let fixture = shards();
    let place = profile(&fixture);
    // Nearly a gibibyte of fields that no reader knows, behind the honest ones: the 15th of a profile, with 4 MiB each.
    let script = "{ printf '\\172\\200\\200\\200\\002'; head -c 4194304 /dev/zero; } >\"$0.field\"
        { gzip -dc \"$0\"; for _ in $(seq 250); do cat \"$0.field\"; done; } | gzip -9 >\"$0.child\"
        rm \"$0.field\"";
    fixture.program("sh").args(["-c", script]).arg(&place).succeed();
    let first = place.with_file_name("profile.pb.gz.child");
    let folder = place.parent().and_then(|folder| folder.strip_prefix(fixture.path("one")).ok()).expect("it is below");
    let files: Vec<String> = (0..9).map(|number| format!("{}/{number}.gz", folder.display())).collect();
    for file in &files {
        fs::hard_link(&first, fixture.path("one").join(file)).expect("the first is there");
    }
    let before = with_children(&fixture, &files);
    refused(&fixture, "the profiles of all shards together unpack to more than 8192 MiB");
    fixture.write("one/summary.json", &before);
    with_children(&fixture, &files[..1]);
    fixture.memprof("merge one two").succeed().complains("Merged 3 tests of 2 shards");
}

/// Checks that the shards are refused, and taken with the summaries `before`.
fn refused_until(fixture: &Fixture, before: &[String; 2], why: &str) {
    fixture.memprof("merge one two").run().ended_with(6).complains("error: cannot read `").complains(why);
    assert!(!fixture.path("target/memprof/summary.json").exists());
    for (folder, summary) in ["one", "two"].iter().zip(before) {
        fixture.write(&format!("{folder}/summary.json"), summary);
    }
    fixture.memprof("merge one two").succeed().complains("Merged 3 tests of 2 shards");
}
