//! The flamegraphs are well-formed, have the tests' functions in them by readable names, and each lies where
//! summary.json says.

use memprof_tests::fixture::Fixture;
use memprof_tests::summary::Summary;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The titles of all frames of a flamegraph, which must be well-formed XML.
fn frames(svg: &Path) -> Vec<String> {
    let text = fs::read_to_string(svg).expect("the flamegraph is text");
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    let document = roxmltree::Document::parse_with_options(&text, options).expect("the flamegraph is XML");
    let titles = document.descendants().filter(|node| node.has_tag_name("title"));
    titles.map(|node| node.text().unwrap_or_default().to_owned()).collect()
}

/// Each flamegraph of each test, and of the run, with what it shows.
fn all(summary: &Summary) -> Vec<(String, String, std::path::PathBuf)> {
    let mut all = Vec::new();
    for test in summary.tests() {
        for (what, path) in test.files().into_iter().filter(|(what, _)| *what != "profile") {
            all.push((test.name().to_owned(), what.to_owned(), path));
        }
    }
    let run = summary.json["run"]["files"].as_object().expect("an object");
    for (what, path) in run.iter().filter(|(what, _)| *what != "profile") {
        all.push(("the run".to_owned(), what.clone(), summary.folder.join(path.as_str().expect("a path"))));
    }
    all
}

#[test]
fn every_one_is_well_formed_and_there_is_one_for_whatever_there_is_to_show() {
    let fixture = Fixture::copy("known");
    fixture.memprof("test --memprofilerate 1").succeed();
    let summary = fixture.summary();
    for test in summary.tests() {
        let metrics = test.metrics();
        let shown: BTreeSet<&str> = test.files().into_iter().map(|(what, _)| what).collect();
        for (what, metric) in [
            ("alloc_objects", metrics.alloc_objects as i64),
            ("alloc_space", metrics.alloc_space as i64),
            ("peak_space", metrics.peak_space as i64),
            ("inuse_space", metrics.inuse_space),
        ] {
            assert_eq!(shown.contains(what), metric > 0, "{what} of {}", test.name());
        }
    }
    for (test, what, svg) in all(&summary) {
        assert!(svg.ends_with(format!("{what}.svg")));
        assert!(frames(&svg).len() > 1, "{what} of {test}");
        let text = fs::read_to_string(&svg).expect("just read");
        // Searching and zooming are the script's.
        assert!(text.contains("<script") && text.contains("Search"), "{what} of {test}");
    }
}

#[test]
fn frames_carry_functions_and_amounts() {
    let fixture = Fixture::copy("known");
    fixture.memprof("test --memprofilerate 1 three_deep").succeed();
    let summary = fixture.summary();
    let frames = frames(&summary.test("tests::three_deep").file("alloc_space"));
    for (function, bytes) in [("known::middle", "500"), ("known::innermost", "300"), ("known::three_deep", "600")] {
        let has_bytes = |frame: &&String| frame.starts_with(function) && frame.contains(bytes);
        assert!(frames.iter().any(|frame| has_bytes(&frame)), "{function}: {frames:#?}");
    }
    assert!(!frames.iter().any(|frame| frame.contains("memprof_harness") || frame.contains("__rust_begin")));
}

#[test]
fn hard_names_are_shown_whole_and_without_hashes() {
    let fixture = Fixture::copy("names");
    fixture.memprof("test --memprofilerate 1").succeed();
    let summary = fixture.summary();
    let shows = |test: &str, function: &str| {
        let frames = frames(&summary.test(&format!("tests::{test}")).file("alloc_space"));
        // As the older and the newer mangling spell a closure.
        let spelled = |frame: &String| frame.replace("{closure#0}", "{{closure}}").contains(function);
        assert!(frames.iter().any(spelled), "{function}: {frames:#?}");
        for frame in frames {
            let hash = frame
                .split("::h")
                .skip(1)
                .any(|part| part.len() >= 16 && part[..16].bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(!hash, "{frame}");
        }
    };
    // A semicolon would have made two frames of it.
    shows("trait_method_of_an_array", "<[u8; 4] as names::Make>::make");
    shows("generic_over_a_number", "names::of_length");
    shows("closures_in_closures", "closures_in_closures::{{closure}}");
    shows("größe::wird_geschätzt", "names::größe::schätzen");
    shows("r#type::r#match", "names::type::match");
}

#[test]
fn names_that_file_systems_refuse_or_confuse_stay_distinct() {
    let fixture = Fixture::copy("names");
    fixture.memprof("test --memprofilerate 1").succeed();
    let summary = fixture.summary();
    let mut places = BTreeSet::new();
    for test in summary.tests() {
        if test.metrics().alloc_objects == 0 {
            continue;
        }
        let profile = test.file("profile");
        let folder = profile.parent().expect("a folder").to_string_lossy().to_lowercase();
        assert!(places.insert(folder), "two tests share {}", profile.display());
    }
    assert_eq!(places.len(), 13);
    let long = summary.tests().into_iter().filter(|test| test.name().len() > 255).count();
    assert_eq!(long, 2);
}
