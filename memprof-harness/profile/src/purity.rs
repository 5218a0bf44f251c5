//! Holds that the package takes values and gives values: what touches the world is in the files that are named here.

use std::path::{Path, PathBuf};

/// Files that read objects, or ask the system how many cores it has.
const IMPURE: [&str; 3] = ["symbolize/cache.rs", "symbolize/module.rs", "parallel.rs"];
const WORLD: [&str; 9] = [
    "fs::",
    "File::",
    "std::env",
    "std::process",
    "std::net",
    "std::thread",
    "println!",
    "SystemTime::now",
    "Instant::now",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { sources(&path, found) } else { found.push(path) }
    }
}

#[test]
fn only_symbolize_reads_files_and_nothing_else_touches_the_world() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 30, "{}", files.len());
    let mut impure = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        // Rules of symbolize name functions of std in strings.
        let code: String = code.split('"').step_by(2).collect();
        if !name.ends_with("tests.rs") && name != "purity.rs" && WORLD.iter().any(|word| code.contains(word)) {
            impure.push(name);
        }
    }
    impure.sort();
    let mut named = IMPURE.map(str::to_owned);
    named.sort();
    assert_eq!(impure, named);
}
