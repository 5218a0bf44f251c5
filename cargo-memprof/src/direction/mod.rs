//! Which room of this program may know which, and that no files go round in a circle but for five knots that are named here. The tests read every path that begins with `crate::`,
//! `self::`, `super::` or the name of a module below, in `use` lines and elsewhere, outside of strings and comments.

mod paths;

use paths::{paths, without_text};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Modules that belong together.
struct Room {
    name: &'static str,
    /// Folders and files below `src`. What is in a folder of a folder that has a room of its own is of that.
    modules: &'static [&'static str],
    /// The rooms whose modules it may name, besides its own. All of them are further down.
    knows: &'static [&'static str],
}

/// From top to bottom.
const ROOMS: [Room; 20] = [
    Room {
        name: "main",
        modules: &["main"],
        knows: &["cli", "commands", "runner", "inject/cargo_shim", "inject/build", "protocol", "context", "ui"],
    },
    Room { name: "cli", modules: &["cli"], knows: &["commands", "gate/policy", "gate", "context", "ui"] },
    Room { name: "commands", modules: &["commands"], knows: BELOW },
    Room { name: "gate/output", modules: &["gate/output"], knows: BELOW },
    Room { name: "gate/explain", modules: &["gate/explain"], knows: BELOW },
    Room { name: "gate/baseline", modules: &["gate/baseline"], knows: BELOW },
    Room { name: "gate/compare", modules: &["gate/compare"], knows: BELOW },
    Room { name: "gate/policy", modules: &["gate/policy"], knows: &["gate", "context", "ui"] },
    // The words that the gate's rooms have in common.
    Room { name: "gate", modules: &["gate"], knows: &["context", "ui"] },
    Room { name: "report", modules: &["report"], knows: &["collect", "protocol", "context", "files", "ui"] },
    Room { name: "collect", modules: &["collect"], knows: &["protocol", "context", "files", "ui"] },
    Room { name: "runner", modules: &["runner"], knows: &["protocol", "context", "files", "ui"] },
    Room {
        name: "inject/cargo_shim",
        modules: &["inject/cargo_shim"],
        knows: &["inject/build", "inject/harness", "inject", "protocol", "context", "files", "ui"],
    },
    Room {
        name: "inject/build",
        modules: &["inject/build"],
        knows: &["inject/harness", "inject", "protocol", "context", "files", "ui"],
    },
    Room {
        name: "inject/harness",
        modules: &["inject/harness"],
        knows: &["inject", "protocol", "context", "files", "ui"],
    },
    Room { name: "inject", modules: &["inject"], knows: &["context"] },
    Room { name: "protocol", modules: &["protocol"], knows: &["context", "files", "ui"] },
    Room { name: "context", modules: &["context", "git"], knows: &["files", "ui"] },
    Room { name: "files", modules: &["files"], knows: &["ui"] },
    Room { name: "ui", modules: &["ui"], knows: &[] },
];

/// Those of the harness. The rooms of its engine serve one event together and are no order; what does hold is that the walk of stacks knows
/// memory alone, that blocks know no hook, that only `life` has leaks looked for, and that the engine knows nothing of who drives it.
const ROOMS_OF_HARNESS: [Room; 13] = [
    Room { name: "lib", modules: &["lib"], knows: BELOW },
    Room { name: "libtest", modules: &["libtest"], knows: BELOW },
    Room { name: "program", modules: &["program", "in_fork"], knows: BELOW },
    Room {
        name: "control",
        modules: &[
            "aslr",
            "descendants",
            "emulator",
            "timeout",
            "no_memory",
            "probe",
            "hash_seeds",
            "settle",
            "terminal",
        ],
        knows: BELOW,
    },
    Room { name: "engine", modules: &["engine"], knows: BELOW },
    Room { name: "engine/hook", modules: &["engine/hook"], knows: BELOW },
    Room {
        name: "engine/leaks",
        modules: &["engine/leaks"],
        knows: &["engine/alloc", "engine/record", "engine/life", "engine/store", "ground"],
    },
    Room {
        name: "engine/record",
        modules: &["engine/record"],
        knows: &["engine/hook", "engine/alloc", "engine/life", "engine/unwind", "engine/store", "ground"],
    },
    Room {
        name: "engine/alloc",
        modules: &["engine/alloc"],
        knows: &["engine/record", "engine/life", "engine/unwind", "engine/store", "ground"],
    },
    Room {
        name: "engine/life",
        modules: &["engine/life"],
        knows: &[
            "engine/hook",
            "engine/leaks",
            "engine/record",
            "engine/alloc",
            "engine/unwind",
            "engine/store",
            "ground",
        ],
    },
    Room { name: "engine/unwind", modules: &["engine/unwind"], knows: &["engine/store", "ground"] },
    Room { name: "engine/store", modules: &["engine/store"], knows: &["engine/record", "engine/alloc", "ground"] },
    Room {
        name: "ground",
        modules: &[
            "environment",
            "file_limit",
            "ledger",
            "libtest_flags",
            "libtest_shapes",
            "link_marker",
            "run_options",
            "os",
            "own_file",
            "pattern",
            "provenance",
            "sources",
            "std_start",
        ],
        knows: &[],
    },
];

/// The crates whose files are held.
const CRATES: [&str; 6] = [
    "src",
    "../memprof-harness/src",
    "../memprof-harness/profile/src",
    "../memprof-harness/live/src",
    "../memprof-harness/live/macros/src",
    "../tests/src",
];

/// Files that do go round in a circle, because what they serve does. Each of a knot leads to all others of it.
const KNOTS: [&[&str]; 5] = [
    // A thread's first event may find a fork that nobody saw to, which forgets the thread's lane; an event may open the window, and what
    // comes after the window's end looks at every thread's blocks.
    &[
        "engine/alloc/system_tagged",
        "engine/alloc/system_untagged",
        "engine/hook/observer",
        "engine/leaks",
        "engine/leaks/roots",
        "engine/life/process",
        "engine/life/seccomp",
        "engine/life/suspension",
        "engine/life/thread",
        "engine/record/both_modes",
    ],
    // Slots come out of spans, and spans are of the pages that no slot uses any more.
    &[
        "engine/alloc/central_list",
        "engine/alloc/open_spans",
        "engine/alloc/slots",
        "engine/alloc/span_pages",
        "engine/alloc/span_pool",
        "engine/alloc/spans",
    ],
    // Tables lie in memory that may not be there, and what is there is known by the tables of the code that put it there.
    &["engine/unwind/code_at", "engine/unwind/eh_frame", "engine/unwind/memory", "engine/unwind/tables"],
    // The second half of each site lies beside the ledger, and grows with it.
    &["engine/record/site_predictor", "engine/store/ledger_map"],
    // An event is counted for regions, and what a region does is itself no event.
    &[
        "active",
        "count/events",
        "count/owned",
        "count/part",
        "count/process",
        "count/quiet",
        "count/region",
        "recorded",
    ],
];

/// Every room that is further down.
const BELOW: &[&str] = &["*"];

#[test]
fn no_room_knows_one_that_is_above_it() {
    let mut found = BTreeSet::new();
    for (rooms, source) in [(&ROOMS[..], source()), (&ROOMS_OF_HARNESS[..], source_of_harness())] {
        for (file, module) in arrows(&source, What::CodeAndTests) {
            let (from, to) = (room_of(rooms, &file), room_of(rooms, &module));
            if from != to && !knows(rooms, from, to) {
                found.insert((file, module));
            }
        }
    }
    assert!(found.is_empty(), "these name what is no business of theirs: {found:#?}");
}

#[test]
fn no_files_go_round_in_a_circle_but_those_of_a_knot() {
    let mut knotted = BTreeSet::new();
    for source in CRATES {
        let arrows = arrows(&folder(source), What::Code);
        let next = followed(arrows.iter().map(|(from, to)| (from.as_str(), to.as_str())));
        let in_knots = next.keys().filter(|file| reached(&next, file).contains(**file));
        for file in in_knots {
            let knot = KNOTS.iter().find(|knot| knot.contains(file));
            let knot = knot.unwrap_or_else(|| panic!("in `{source}`, `{file}` leads back to itself"));
            let back = reached(&next, file).into_iter().filter(|other| reached(&next, other).contains(file));
            assert_eq!(back.collect::<Vec<_>>(), *knot, "in `{source}`, `{file}` is in another knot");
            knotted.insert((*file).to_owned());
        }
    }
    let loose: Vec<_> = KNOTS.concat().into_iter().filter(|file| !knotted.contains(*file)).collect();
    assert!(loose.is_empty(), "these are in no circle any more: take them out of their knot: {loose:?}");
    let round = followed([("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")].into_iter());
    assert!(reached(&round, "a").contains("a") && reached(&round, "d").is_empty());
    assert!(!reached(&followed([("a", "b"), ("a", "c"), ("b", "c")].into_iter()), "a").contains("a"));
}

/// By file, those that arrows lead to.
fn followed<'a>(arrows: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    arrows.for_each(|(from, to)| _ = next.entry(from).or_default().insert(to));
    next
}

/// The files that arrows lead to from `file`.
fn reached<'a>(next: &BTreeMap<&'a str, BTreeSet<&'a str>>, file: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut todo = vec![file];
    while let Some(from) = todo.pop() {
        todo.extend(next.get(from).into_iter().flatten().filter(|to| found.insert(**to)));
    }
    found
}

/// Whether the room with the number `from` may know that with the number `to`.
fn knows(rooms: &[Room], from: usize, to: usize) -> bool {
    let room = &rooms[from];
    if room.knows == BELOW { to > from } else { room.knows.contains(&rooms[to].name) }
}

#[test]
fn rooms_know_only_what_is_below_them_and_have_every_module() {
    for (at, room) in ROOMS.iter().enumerate() {
        for known in room.knows.iter().filter(|known| **known != "*") {
            assert!(ROOMS[at + 1..].iter().any(|below| below.name == *known), "{} knows {known}", room.name);
        }
    }
    for (rooms, source) in [(&ROOMS[..], source()), (&ROOMS_OF_HARNESS[..], source_of_harness())] {
        let modules: Vec<String> = files(&source).into_keys().collect();
        let inhabited: BTreeSet<usize> = modules.iter().map(|module| room_of(rooms, module)).collect();
        assert_eq!(inhabited.len(), rooms.len(), "a room has no module");
    }
}

/// Where a page may leave out the beginning of a path.
const BASES: [&str; 7] = [
    "..",
    "src",
    "../memprof-harness",
    "../memprof-harness/src",
    "../memprof-harness/src/engine",
    "../memprof-harness/profile/src",
    "../memprof-harness/live/src",
];

#[test]
fn every_source_file_that_the_pages_name_is_there() {
    let mut names = 0;
    for page in ["../ARCHITECTURE.md", "../docs/design/stages.md"] {
        let text = std::fs::read_to_string(folder(page)).unwrap();
        for line in text.lines() {
            // A name alone is in the folder of the path before it.
            let mut before = PathBuf::from("/nowhere");
            for name in line.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs") || name.ends_with('/')) {
                names += 1;
                if before.join(name).exists() {
                    continue;
                }
                let found = BASES.iter().map(|base| folder(base).join(name)).find(|path| path.exists());
                let found = found.unwrap_or_else(|| panic!("{page}: `{name}` is not there"));
                before = if found.is_dir() { found } else { found.parent().unwrap().to_owned() };
            }
        }
    }
    assert!(names > 100, "only {names} names were found");
}

/// The number of the room that `module` is in.
fn room_of(rooms: &[Room], module: &str) -> usize {
    let length = |room: &Room| {
        let inside =
            |known: &&&str| module.strip_prefix(**known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        room.modules.iter().filter(inside).map(|known| known.len()).max()
    };
    let rooms = rooms.iter().enumerate().filter_map(|(at, room)| Some((length(room)?, at)));
    rooms.max().unwrap_or_else(|| panic!("`{module}` is in no room: put it where it belongs")).1
}

/// Roots of crates.
const ROOTS: [&str; 2] = ["main", "lib"];

/// What of a file is read. Its tests may look at what stands above it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Code,
    CodeAndTests,
}

fn source() -> PathBuf {
    folder("src")
}

fn source_of_harness() -> PathBuf {
    folder("../memprof-harness/src")
}

fn folder(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// Every module that a file names which is not its own, as paths below `src` without their endings.
fn arrows(source: &Path, what: What) -> BTreeSet<(String, String)> {
    let files = files(source);
    let mut arrows = BTreeSet::new();
    let root = ROOTS.into_iter().find(|root| files.contains_key(*root)).expect("a crate has a root");
    for (module, path) in &files {
        let text = std::fs::read_to_string(path).unwrap();
        let here: Vec<String> = module.split('/').filter(|part| !ROOTS.contains(part)).map(str::to_owned).collect();
        // What stands in a module of tests is one level further down.
        let modules = ["\nmod tests {", "\npub(super) mod tests {"];
        let (code, tests) = modules.iter().find_map(|module| text.split_once(module)).unwrap_or((&text, ""));
        let tests = if what == What::Code { "" } else { tests };
        let inside = [here.as_slice(), &["tests".to_owned()]].concat();
        for mut named in paths(&without_text(code), &here).into_iter().chain(paths(&without_text(tests), &inside)) {
            while !named.is_empty() && !files.contains_key(&named.join("/")) {
                named.pop();
            }
            let named = if named.is_empty() { root.to_owned() } else { named.join("/") };
            if named != *module {
                arrows.insert((module.clone(), named));
            }
        }
    }
    assert!(arrows.len() >= files.len() / 2, "only {} arrows were found", arrows.len());
    arrows
}

/// The source of every module but those of this test, by its path below `src` without its ending.
fn files(source: &Path) -> BTreeMap<String, PathBuf> {
    fn walk(folder: &Path, source: &Path, files: &mut BTreeMap<String, PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, source, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = path.strip_prefix(source).unwrap().with_extension("");
                let module = module.to_str().unwrap();
                files.insert(module.strip_suffix("/mod").unwrap_or(module).to_owned(), path);
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(source, source, &mut files);
    files.retain(|module, _| !module.starts_with("direction"));
    files
}
