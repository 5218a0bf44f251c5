//! Stacks of made-up functions through [`assemble`], seen as text.

use super::*;
use crate::symbolize::Request;
use crate::symbolize::modules::Modules;
use crate::symbolize::origin::SourceRoots;
use crate::symbolize::symbols::{Resolved, ResolvedFrame, SymbolTable};
use memprof_harness::ledger::layout::{ROUNDS_LEFT_OUT, left_out};
use memprof_harness::ledger::{Counters, End, Identity, Module, SiteValues, StackTable};

/// Where the object of the tests lies.
const BASE: u64 = 0x10_0000;

/// What stands at addresses 1, 2, 3… of the object, each with its inlined functions innermost first.
const CODE: &[&[&str]] = &[
    &["__rust_alloc"],
    &["alloc::alloc::alloc", "<alloc::alloc::Global as core::alloc::Allocator>::allocate", "alloc::vec::Vec<T>::new"],
    &["app::inner"],
    &["app::tests::works"],
    &["app::tests::works::{{closure}}", "core::ops::function::FnOnce::call_once"],
    &["memprof_harness::libtest::child::run", "std::thread::spawn"],
    &["app::outer"],
    &["app::small", "app::tests::inlines", "app::tests::inlines::{closure#0}"],
];
/// An address that nothing is known of.
const UNKNOWN: u64 = 99;

fn module() -> Module {
    Module { bias: BASE, start: BASE, end: BASE + 0x1000, path: "/app".into() }
}

fn symbols() -> (Symbols, AddressMap) {
    let mut modules = Modules::default();
    let map = modules.add(&[module()]);
    let mut table = SymbolTable::default();
    for (index, names) in CODE.iter().enumerate() {
        let frame = |name: &&str| ResolvedFrame { name: (*name).into(), file: "/app.rs".into(), line: 1, column: 1 };
        let frames = names.iter().map(frame).collect();
        table.insert(Resolved { address: index as u64 + 1, frames, has_lines: true });
    }
    let objects = vec![ObjectSymbols::new(table, "app", &SourceRoots { workspace: "/".into(), beside: Vec::new() })];
    (Symbols { modules, objects, unreadable: Vec::new() }, map)
}

/// One site of a ledger.
#[derive(Debug, Clone, Default)]
struct Recorded {
    /// Return addresses, innermost first.
    stack: Vec<u64>,
    truncated: bool,
    unwalkable: bool,
}

/// A site whose stack, innermost first, is of `calls`.
fn site(calls: &[u64]) -> Recorded {
    // What is recorded is where a call returns to.
    Recorded { stack: calls.iter().map(|call| BASE + call + 1).collect(), ..Recorded::default() }
}

fn ledger(recorded: Vec<Recorded>) -> Ledger {
    let mut table = StackTable::default();
    let mut sites = Vec::new();
    for Recorded { stack, truncated, unwalkable } in recorded {
        let stack = stack.iter().rev().fold(None, |caller, &address| table.push(caller, address));
        let values = SiteValues { alloc_objects: 1, alloc_space: 10, ..SiteValues::default() };
        sites.push(Site { stack, truncated, unwalkable, size: 0, values });
    }
    Ledger {
        stacks: table.finish(),
        identity: Identity::default(),
        end: End { whole: true, started: true, outcome: None, wait_status: 0, state: 0, message: None },
        rate: 1,
        pid: 1,
        fork_of: None,
        started_ns: 0,
        wall_ns: 0,
        counters: Counters::default(),
        losses: Losses::default(),
        modules: vec![module()],
        sites,
    }
}

/// Every stack of `profile`, root first, and how many allocations it has.
fn text(profile: &Profile) -> Vec<String> {
    let mut lines = Vec::new();
    for sample in &profile.samples {
        let mut names: Vec<&str> = Vec::new();
        for location in profile.stacks.locations(sample.stack) {
            for frame in &profile.locations.get(location).frames {
                names.push(profile.strings.get(profile.functions.get(frame.function).name));
            }
        }
        names.reverse();
        lines.push(format!("{} {}", names.join(" > "), sample.values[ValueType::AllocObjects]));
    }
    lines
}

fn assembled(sites: Vec<Recorded>, trimming: Trimming) -> Vec<String> {
    let (symbols, map) = symbols();
    text(&assemble(ledger(sites), &map, &symbols, About::default(), trimming))
}

#[test]
fn the_ways_to_the_test_and_to_the_allocator_are_cut_off() {
    assert_eq!(
        assembled(vec![site(&[1, 2, 3, 4, 5, 6])], Trimming::Glue),
        ["app::tests::works > app::inner > alloc::vec::Vec<T>::new 1"]
    );
    assert_eq!(assembled(vec![site(&[1, 8, 6])], Trimming::Glue), ["app::tests::inlines > app::small 1"]);
}

#[test]
fn nothing_is_cut_off_where_that_is_not_wanted() {
    let whole = assembled(vec![site(&[1, 4, 5])], Trimming::Nothing);
    assert_eq!(
        whole,
        [
            "core::ops::function::FnOnce::call_once > app::tests::works::{{closure}} > app::tests::works > __rust_alloc 1"
        ]
    );
}

#[test]
fn stacks_that_are_equal_without_their_glue_become_one() {
    let sites = vec![site(&[1, 3, 4, 5, 6]), site(&[3, 4, 5]), site(&[3, 4])];
    assert_eq!(assembled(sites, Trimming::Glue), ["app::tests::works > app::inner 3"]);
}

#[test]
fn a_stack_of_nothing_but_glue_keeps_a_frame() {
    assert_eq!(assembled(vec![site(&[1])], Trimming::Glue), ["__rust_alloc 1"]);
    assert_eq!(assembled(vec![site(&[6])], Trimming::Glue), ["std::thread::spawn 1"]);
    assert_eq!(assembled(vec![site(&[1, 6, 6])], Trimming::Glue).len(), 1);
}

#[test]
fn a_stack_without_its_outer_end_says_so_and_loses_no_more_of_it() {
    let mut lost = site(&[1, 3, 6]);
    lost.unwalkable = true;
    let stack = "std::thread::spawn > memprof_harness::libtest::child::run > app::inner 1";
    let seen = assembled(vec![site(&[1, 3, 6]), lost, site(&[1, 3, 6])], Trimming::Glue);
    assert_eq!(seen.len(), 2);
    for expected in [format!("{UNWALKABLE} > {stack}"), "app::inner 2".into()] {
        assert!(seen.contains(&expected), "{expected} is not in {seen:#?}");
    }
}

#[test]
fn a_stack_without_its_middle_says_how_much_of_it_is_left_out() {
    let cut = |frames| {
        let mut cut = site(&[1, 3, 3, 4, 5, 6]);
        cut.stack.insert(2, left_out(frames));
        Recorded { truncated: true, ..cut }
    };
    assert_eq!(
        assembled(vec![cut(7), cut(1), cut(7)], Trimming::Glue),
        [
            "app::tests::works > app::inner > [1 frame left out] > app::inner 1",
            "app::tests::works > app::inner > [7 frames left out] > app::inner 2"
        ]
    );
}

#[test]
fn a_stack_without_some_rounds_of_recursion_says_so() {
    let mut folded = site(&[1, 3, 3, 4, 5, 6]);
    folded.stack.insert(2, ROUNDS_LEFT_OUT);
    assert_eq!(
        assembled(vec![folded], Trimming::Glue),
        ["app::tests::works > app::inner > [frames left out] > app::inner 1"]
    );
}

#[test]
fn code_without_a_name_stays_visible_by_its_place() {
    assert_eq!(assembled(vec![site(&[1, UNKNOWN, 4, 5])], Trimming::Glue), ["app::tests::works > app+0x63 1"]);
}

#[test]
fn allocations_without_a_stack_are_in_the_sum() {
    let (symbols, map) = symbols();
    let mut ledger = ledger(vec![site(&[3, 4]), site(&[])]);
    (ledger.losses.unattributed_objects, ledger.losses.unattributed_space) = (5, 50);
    (ledger.losses.unattributed_frees, ledger.losses.unattributed_freed_space) = (6, 20);
    let profile = assemble(ledger, &map, &symbols, About::default(), Trimming::Glue);
    assert_eq!(text(&profile), [format!("{LOST} 6"), "app::tests::works > app::inner 1".into()]);
    let space: i64 = profile.samples.iter().map(|sample| sample.values[ValueType::AllocSpace]).sum();
    assert_eq!(space, 70);
}

/// Every stack is built upon the one before it; what comes out must not depend on which that was.
#[test]
fn the_order_of_sites_makes_no_difference() {
    let mut random = 1u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut sites = Vec::new();
    for _ in 0..400 {
        let calls: Vec<u64> = (0..next(7)).map(|_| 1 + next(CODE.len() as u64 + 1)).collect();
        let flag = next(12);
        let mut one = Recorded { truncated: flag == 0, unwalkable: flag == 1, ..site(&calls) };
        if next(3) == 0 {
            let at = next(one.stack.len() as u64 + 1) as usize;
            one.stack.insert(at, 7 + next(2));
        }
        sites.push(one);
    }
    let (symbols, map) = symbols();
    for trimming in [Trimming::Glue, Trimming::Nothing] {
        let whole = assembled(sites.clone(), trimming);
        let mut alone = ProfileBuilder::default();
        for one in &sites {
            alone.merge(&assemble(ledger(vec![one.clone()]), &map, &symbols, About::default(), trimming), None);
        }
        assert_eq!(text(&alone.finish(About::default())), whole);
        sites.reverse();
        assert_eq!(assembled(sites.clone(), trimming), whole);
    }
}

/// Looked up in this very program, by way of a cache that is there the second time.
#[inline(never)]
fn a_function_to_be_found() -> u64 {
    std::hint::black_box(line!().into())
}

#[test]
fn a_function_of_this_program_is_found_with_its_file_and_line() {
    let line = a_function_to_be_found();
    let exe = std::env::current_exe().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let address = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let ranges = maps.lines().filter(|line| line.ends_with(exe.to_str().unwrap()));
    let ranges: Vec<(u64, u64)> = ranges
        .map(|line| line.split(' ').next().unwrap().split_once('-').unwrap())
        .map(|(a, b)| (address(a), address(b)))
        .collect();
    let (start, end) = (ranges[0].0, ranges[ranges.len() - 1].1);
    let module = Module { bias: start, start, end, path: exe };
    let inside = a_function_to_be_found as *const () as u64 + 1;
    let site = Recorded { stack: vec![inside], ..Recorded::default() };
    let store = crate::symbolize::cache::InMemory::default();
    let source_roots = SourceRoots { workspace: env!("CARGO_MANIFEST_DIR").into(), beside: Vec::new() };
    for turn in ["resolved", "from the cache"] {
        let mut request = Request::default();
        let map = request.add(std::slice::from_ref(&module), &[inside]);
        let symbols = request.resolve(&store, &source_roots, &|_| ());
        let ledger = Ledger { modules: vec![module.clone()], ..ledger(vec![site.clone()]) };
        let profile = assemble(ledger, &map, &symbols, About::default(), Trimming::Glue);
        let (_, location) = profile.locations.iter().next().unwrap();
        let function = profile.functions.get(location.frames[0].function);
        assert!(profile.strings.get(function.name).ends_with("tests::a_function_to_be_found"), "{turn}");
        let file = profile.strings.get(function.file);
        assert!(file.starts_with('/') && file.ends_with("symbolize/assemble/tests.rs"), "{turn}: {file}");
        assert!(u64::from(location.frames[0].line).abs_diff(line) <= 1, "{turn}: {}", location.frames[0].line);
        assert_eq!(function.origin, Origin::Workspace, "{turn}");
    }
}

/// A stack of `calls`, innermost first, of which those above 1000 are in no object.
fn with_words(calls: &[u64]) -> Recorded {
    let mut site = site(calls);
    site.stack.iter_mut().zip(calls).filter(|(_, call)| **call > 1000).for_each(|(address, call)| *address = *call);
    site
}

#[test]
fn a_word_of_the_programs_is_no_frame_and_in_no_profile() {
    for (calls, expected) in [
        // The way to the test was found, and what stands beyond is nobody's.
        (&[3, 4, 5, 6, 0x7777][..], "app::tests::works > app::inner 1".to_owned()),
        (&[3, 4, 0x7777], format!("{UNWALKABLE} > app::tests::works > app::inner 1")),
        (&[3, 0x7777, 4], format!("app::tests::works > {NOWHERE} > app::inner 1")),
        (&[3, 0x7777, 0x8888, 4], format!("app::tests::works > {NOWHERE} > app::inner 1")),
        (&[0x7777, 4], format!("app::tests::works > {NOWHERE} 1")),
        (&[0x7777, 0x8888], format!("{LOST} 1")),
    ] {
        assert_eq!(assembled(vec![with_words(calls)], Trimming::Glue), [expected], "{calls:x?}");
    }
}

#[test]
fn a_hundred_thousand_words_in_the_place_of_addresses_are_one_stack() {
    let sites = (0..100_000).map(|word| with_words(&[3, 4, 0x1_0000_0000 + word])).collect();
    let expected = format!("{UNWALKABLE} > app::tests::works > app::inner 100000");
    assert_eq!(assembled(sites, Trimming::Glue), [expected]);
}
