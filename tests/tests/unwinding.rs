//! The engine's stacks, compared frame by frame with those of the unwinder that exceptions are thrown with (libgcc's): below code of C
//! without frame pointers, linked statically, dynamically, and loaded as the program runs; below the C library's `qsort` and
//! `bsearch`; through two libraries that are loaded in turn to the same place; in signal handlers, on the thread's stack and on their own; thousands of
//! frames deep; on stacks that were switched to; on the main thread, on one of Rust's, and on one of C's.

use memprof_harness::ledger::layout::{ROUNDS_LEFT_OUT, frames_left_out};
use memprof_harness::ledger::{Finish, Identity, Ledger, LedgerFile, OutcomeCode, read};
use memprof_tests::probe::{self, Hook};
use memprof_tests::{command, workspace};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A return address, and where its function begins.
type Frame = (u64, u64);

/// What the unwinder said: the callers of the function that allocates, outwards, by the size of the block; and how often they called.
type Truth = BTreeMap<u64, Vec<(Vec<Frame>, u64)>>;

fn run(command: &mut Command) {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Compiles one of the fixture's C files, as distributions do.
fn compile(folder: &Path, source: &str, flags: &[&str], file: &str) -> PathBuf {
    let built = folder.join(file);
    let mut command = Command::new("cc");
    command.args(["-O2", "-fomit-frame-pointer"]).args(flags).arg("-o").arg(&built);
    run(command.arg(workspace::fixtures().join("unwinding").join(source)));
    built
}

/// Builds the program with rustc's `flags` and runs it.
fn recorded(name: &str, flags: &[&str]) -> (Ledger, Truth) {
    let folder = TempDir::new().expect("a temporary folder");
    let folder = folder.path();
    let object = compile(folder, "through.c", &["-DPREFIX=static", "-c"], "through.o");
    compile(folder, "through.c", &["-DPREFIX=dynamic", "-shared", "-fPIC"], "libthrough.so");
    // Where functions follow each other without a gap.
    let dense = ["-DPREFIX=loaded", "-shared", "-fPIC", "-fno-align-functions"];
    let library = compile(folder, "through.c", &dense, "libloaded.so");
    let [one, other] = ["16", "80"].map(|room| {
        let room = format!("-DROOM={room}");
        compile(folder, "reload.c", &[&room, "-shared", "-fPIC"], &format!("lib{room}.so"))
    });
    let search = format!("-L{}", folder.display());
    let object = format!("-Clink-arg={}", object.display());
    let runpath = format!("-Clink-arg=-Wl,-rpath,{}", folder.display());
    let linking = [&search, "-ldylib=through", &object, &runpath, "--edition", "2024", "-Cforce-frame-pointers=yes"];
    let program = probe::build(Hook::Rust, name, "unwinding/main.rs", &[&linking, flags].concat());
    let (ledger, truth) = (folder.join("ledger"), folder.join("truth"));
    let file = LedgerFile::create(&ledger, 1, &Identity::default()).expect("a new ledger");
    let mut command = Command::new(program);
    command::clean(&mut command);
    command.args([&ledger, &truth, &library, &one, &other]);
    command.env("MEMPROF_CHILD", "0").env("MEMPROF_RATE", "1").env("MEMPROF_LEDGER", &ledger);
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let ended = Finish { outcome: OutcomeCode::Ok, wait_status: output.status.into_raw(), wall_ns: 0 };
    file.finish(ended).expect("the ledger can be closed");
    let bytes = fs::read(&ledger).expect("the ledger is there");
    (read(&bytes).expect("it can be read"), read_truth(&truth))
}

fn read_truth(path: &Path) -> Truth {
    let mut truth = Truth::new();
    for line in fs::read_to_string(path).expect("the program wrote it").lines() {
        let mut words = line.split(' ');
        let mut metric = || words.next().and_then(|metric| metric.parse().ok()).expect("a metric");
        let [size, times] = [metric(), metric()];
        let frame = |word: &str| {
            let (address, function) = word.split_once(':').expect("two addresses");
            let number = |text| u64::from_str_radix(text, 16).expect("a number");
            (number(address), number(function))
        };
        truth.entry(size).or_default().push((words.map(frame).collect(), times));
    }
    truth
}

/// Whether a stack that was recorded is the one that the unwinder saw. What may be missing is the C library's code that starts
/// threads, at the outer end, and, where a word says so, what lies between two frames of one function.
fn is(recorded: &[u64], truth: &[Frame]) -> bool {
    // How far a stack can be followed: the number of frames that were passed.
    let mut reached = vec![0];
    let mut is_behind_gap = false;
    for &word in recorded {
        match frames_left_out(word) {
            Some(0) => is_behind_gap = true,
            Some(left_out) => {
                reached =
                    reached.into_iter().map(|at| at + left_out as usize).filter(|&at| at <= truth.len()).collect();
            }
            None => {
                let follows = |&at: &usize| {
                    let is_round = move |next: usize| at > 0 && truth[at - 1].1 == truth[next].1;
                    let to = if is_behind_gap { truth.len() } else { truth.len().min(at + 1) };
                    let from = at + usize::from(is_behind_gap);
                    (from..to).filter(move |&next| truth[next].0 == word && (!is_behind_gap || is_round(next)))
                };
                reached = reached.iter().flat_map(follows).map(|next| next + 1).collect();
                is_behind_gap = false;
            }
        }
    }
    // `start_thread` and `clone3`, or what is between `main` and `_start`.
    reached.iter().any(|&at| truth.len() - at <= 2)
}

fn stacks_are_true(name: &str, flags: &[&str]) {
    let (ledger, mut truth) = recorded(name, flags);
    below_made_code_it_is_marked(&ledger, &truth.remove(&60).expect("the program did so"));
    made_code_is_told_from_other_code(&ledger, &truth.remove(&57).expect("the program did so"));
    below_untold_code_it_is_whole_or_marked(&ledger, &mut truth);
    let mut found = BTreeMap::<u64, BTreeMap<Vec<u64>, u64>>::new();
    for site in &ledger.sites {
        let size = site.values.alloc_space / site.values.alloc_objects;
        if let Some(truth) = truth.get(&size) {
            // Up to `note`, which calls the allocator and then the unwinder, the frames are the allocator's.
            let callers: Vec<u64> = truth.iter().map(|(stack, _)| stack[0].0).collect();
            let stack = ledger.stack(site);
            if let Some(first) = stack.iter().position(|address| callers.contains(address)) {
                *found.entry(size).or_default().entry(stack[first..].to_vec()).or_default() +=
                    site.values.alloc_objects;
            }
        }
    }
    assert_eq!(truth.len(), 63, "{:?}", truth.keys());
    for (size, expected) in &truth {
        let stacks = &found[size];
        let mut times: BTreeMap<&Vec<u64>, u64> = stacks.keys().map(|stack| (stack, 0)).collect();
        for (expected, times_expected) in expected {
            let has_gaps = |stack: &Vec<u64>| stack.contains(&ROUNDS_LEFT_OUT);
            let like = stacks.keys().filter(|stack| is(stack, expected));
            let (gaps, whole): (Vec<_>, Vec<_>) = like.partition(|stack| has_gaps(stack));
            let same = if whole.is_empty() { gaps } else { whole };
            let [same] = same.as_slice() else { panic!("{size}: {expected:x?}\nis {same:x?} of {stacks:x?}") };
            *times.entry(same).or_default() += times_expected;
        }
        for (stack, found) in stacks {
            assert_eq!(found, &times[stack], "{size}: {stack:x?}");
        }
    }
    assert!(truth[&70].len() > 500, "{}", truth[&70].len());
    // On each of two threads as many elements have been compared by as many ways through `qsort`.
    assert!(found[&30].len() <= 16, "{:x?}", found[&30]);
    assert!(truth[&30].len() > 60);
}

/// Of code that is in no object nothing is known, so the stack ends there and says so. Not even its address is kept: it might be anything.
fn below_made_code_it_is_marked(ledger: &Ledger, truth: &[(Vec<Frame>, u64)]) {
    let [(truth, _)] = truth else { panic!("{truth:?}") };
    let (made, known) = truth.split_last().expect("frames");
    assert_eq!(made.1, 0, "{made:x?} is not what the program made");
    let known: Vec<u64> = known.iter().map(|frame| frame.0).collect();
    let (stack, is_marked) = only_stack(ledger, 60);
    assert!(is_marked && stack.ends_with(&known), "{stack:x?} {known:x?}");
    let mut marked: Vec<_> =
        ledger.sites.iter().filter(|site| site.unwalkable).map(|site| site.values.alloc_space).collect();
    marked.sort_unstable();
    let expected = vec![53, 54, 56, 59, 60, 61, 62, 63, 65, 68, 4 * 57];
    assert_eq!((ledger.losses.unwalkable_stacks, marked), (expected.len() as u64, expected));
}

/// Of stacks that differ in their last word alone, each has its own events, whichever was kept before.
fn made_code_is_told_from_other_code(ledger: &Ledger, truth: &[(Vec<Frame>, u64)]) {
    let mut sites: Vec<_> = ledger
        .sites
        .iter()
        .filter(|site| [site.values.alloc_objects, site.values.alloc_space] == [4, 4 * 57])
        .collect();
    sites.sort_by_key(|site| site.unwalkable);
    let ([whole, marked], [_, _]) = (sites.as_slice(), truth) else { panic!("{sites:?} {truth:x?}") };
    let (truth, times) = truth.iter().max_by_key(|(stack, _)| stack.len()).expect("two");
    let stack = ledger.stack(whole);
    let first = stack.iter().position(|&address| address == truth[0].0).expect("the caller is there");
    assert!(*times == 4 && !whole.unwalkable && is(&stack[first..], truth), "{stack:x?} {truth:x?}");
    assert!(marked.unwalkable && stack.starts_with(&ledger.stack(marked)), "{stack:x?}");
}

/// The stack on which the block of `size` bytes was allocated, and whether it is marked.
fn only_stack(ledger: &Ledger, size: u64) -> (Vec<u64>, bool) {
    let sites: Vec<_> = ledger
        .sites
        .iter()
        .filter(|site| [site.values.alloc_objects, site.values.alloc_space, site.values.reallocs] == [1, size, 0])
        .collect();
    let [site] = sites.as_slice() else { panic!("{size}: {sites:x?}") };
    (ledger.stack(site).to_vec(), site.unwalkable)
}

/// Below code without tables a stack is whole where the code has a frame pointer, or is a linker's stub; else it ends there, marked, with nothing
/// that the register held, and no caller is passed over. The unwinder knows only what is inside of that code.
fn below_untold_code_it_is_whole_or_marked(ledger: &Ledger, truth: &mut Truth) {
    let (whole, _) = only_stack(ledger, 67);
    let outer = &whole[whole.len() - 3..];
    for size in [53, 54] {
        // What is returned to did not call, and hides what did: it is the last that is known.
        let truth = truth.remove(&size).expect("the program did so");
        let [(truth, 1)] = truth.as_slice() else { panic!("{truth:?}") };
        let (stack, is_marked) = only_stack(ledger, size);
        let first = stack.iter().position(|&address| address == truth[0].0).expect("the caller is there");
        let is_known = stack[first..].iter().zip(truth).all(|(address, frame)| *address == frame.0);
        assert!(is_marked && is_known && stack.len() < whole.len(), "{size}: {stack:x?} {truth:x?}");
    }
    for (size, is_marked) in [
        (55, false),
        (56, true),
        (59, true),
        (61, true),
        (62, true),
        (63, true),
        (64, false),
        (65, true),
        (66, false),
        (68, true),
    ] {
        let truth = truth.remove(&size).expect("the program did so");
        let [(truth, 1)] = truth.as_slice() else { panic!("{truth:?}") };
        let known: Vec<u64> = truth.iter().map(|frame| frame.0).collect();
        let (stack, found) = only_stack(ledger, size);
        assert_eq!(found, is_marked, "{size}: {stack:x?}");
        if is_marked {
            assert!(stack.ends_with(&known), "{size}: {stack:x?} {known:x?}");
            continue;
        }
        // The code itself is the last that the unwinder knows.
        let at = stack.iter().position(|address| address == known.last().expect("frames")).expect("it is there");
        assert!(stack[..=at].ends_with(&known), "{size}: {stack:x?} {known:x?}");
        // Then `through`, where it was called, and `go_through`.
        let callers = if size == 66 { 1 } else { 2 };
        let beyond = &stack[at + 1 + callers..];
        assert!(whole.ends_with(beyond) && beyond.ends_with(outer), "{size}: {stack:x?} {whole:x?}");
        assert_eq!(
            beyond.len(),
            whole.len() - whole.iter().position(|address| beyond.first() == Some(address)).expect("a frame")
        );
    }
    truth.remove(&67);
}

#[test]
fn stacks_through_c_are_those_of_the_unwinder_in_a_debug_build() {
    stacks_are_true("unwinding-debug", &["-Copt-level=0", "-Cdebug-assertions=on"]);
}

#[test]
fn stacks_through_c_are_those_of_the_unwinder_in_a_release_build() {
    stacks_are_true("unwinding-release", &["-Copt-level=3"]);
}
