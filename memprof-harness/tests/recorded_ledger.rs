//! One process recorded from within: the hook is called by hand with operations whose every effect is known, and the
//! ledger is read back, whole and then broken in every way.
//!
//! A process can be recorded once, so all of it is one test.
#![allow(unsafe_code)] // calls an allocator by hand
#![allow(clippy::unwrap_used)] // all of it is a test

use memprof_harness::engine::{self, Hook};
use memprof_harness::ledger::{self, layout, Identity, Ledger, LedgerFile};
use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::hint::black_box;

/// A linear congruential generator: the same operations on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// What the ledger must say.
#[derive(Default)]
struct Truth {
    alloc_objects: u64,
    alloc_space: u64,
    reallocs: u64,
    frees: u64,
    live: u64,
    peak: u64,
    classes: BTreeMap<u32, u64>,
}

impl Truth {
    fn alloc(&mut self, size: usize, freed: usize) {
        self.alloc_objects += 1;
        self.alloc_space += size as u64;
        self.live = self.live + size as u64 - freed as u64;
        self.peak = self.peak.max(self.live);
        *self.classes.entry(size.ilog2()).or_default() += 1;
    }
}

/// A live block.
struct Block {
    start: *mut u8,
    layout: Layout,
}

#[inline(never)]
fn allocate(size: usize, align: usize, zeroed: bool) -> Block {
    let layout = Layout::from_size_align(size, align).unwrap();
    let start = if zeroed {
        // SAFETY: no layout here has size 0.
        unsafe { Hook.alloc_zeroed(layout) }
    } else {
        // SAFETY: as above.
        unsafe { Hook.alloc(layout) }
    };
    let start = black_box(start);
    assert!(!start.is_null() && start as usize % align == 0);
    if zeroed {
        // SAFETY: the block was just made with that size.
        assert!(unsafe { std::slice::from_raw_parts(start, size) }.iter().all(|&byte| byte == 0));
    }
    // SAFETY: as above.
    unsafe { start.write_bytes(0xa5, size) };
    Block { start, layout }
}

#[inline(never)]
fn resize(block: Block, size: usize) -> Block {
    // SAFETY: the block is live and has that layout.
    let start = black_box(unsafe { Hook.realloc(block.start, block.layout, size) });
    let kept = block.layout.size().min(size);
    // SAFETY: a realloc keeps that many bytes.
    assert!(unsafe { std::slice::from_raw_parts(start, kept) }.iter().all(|&byte| byte == 0xa5));
    // SAFETY: the block has that size now.
    unsafe { start.write_bytes(0xa5, size) };
    Block { start, layout: Layout::from_size_align(size, block.layout.align()).unwrap() }
}

#[inline(never)]
fn free(block: Block) {
    // SAFETY: the block is live, has that layout, and is not used again.
    unsafe { Hook.dealloc(block.start, block.layout) }
}

fn operate(random: &mut Random, truth: &mut Truth) {
    let mut live: Vec<Block> = Vec::new();
    for step in 0..60_000 {
        // Grows, shrinks and grows higher, so that there are many peaks and one that counts.
        let eager = [7, 3, 8, 4][step / 15_000];
        match random.below(10) {
            n if n < eager || live.is_empty() => {
                let align = 1 << random.below(13);
                let size = 1 + random.below(if n == 0 { 5000 } else { 200 });
                live.push(allocate(size, align, n == 1));
                truth.alloc(size, 0);
            }
            8 => {
                let at = random.below(live.len());
                let old = live.swap_remove(at);
                let (size, freed) = (1 + random.below(400), old.layout.size());
                live.push(resize(old, size));
                truth.frees += 1;
                truth.reallocs += 1;
                truth.alloc(size, freed);
            }
            _ => {
                let block = live.swap_remove(random.below(live.len()));
                truth.frees += 1;
                truth.live -= block.layout.size() as u64;
                free(block);
            }
        }
    }
    // Refused: more than the address space holds.
    let absurd = Layout::from_size_align(isize::MAX as usize - 8, 1).unwrap();
    // SAFETY: its size is not 0.
    assert!(unsafe { Hook.alloc(absurd) }.is_null());
}

#[test]
fn a_ledger_says_what_was_done_and_a_broken_one_never_panics() {
    let folder = std::env::temp_dir().join(format!("memprof-recorded-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("test.ledger");
    let file = LedgerFile::create(&path, 1, &Identity { name: "a::b".to_owned(), ..Identity::default() }).unwrap();
    for (name, value) in [("MEMPROF_CHILD", "0"), ("MEMPROF_RATE", "1")] {
        // SAFETY: this is the only test of this executable, and nothing else here reads the environment.
        unsafe { std::env::set_var(name, value) };
    }
    let before = allocate(100, 8, false);
    engine::attach(&path).unwrap();
    let (mut random, mut truth) = (Random(42), Truth::default());
    engine::open();
    operate(&mut random, &mut truth);
    // A block from before the window is none of the test's business.
    free(before);
    let suspended = engine::suspend();
    free(allocate(77, 1, false));
    drop(suspended);
    engine::report(layout::state::PANICKED, Some("why"));
    engine::close();
    free(allocate(1000, 1, false));

    let bytes = std::fs::read(file.path()).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let ledger = ledger::read(&bytes).unwrap();
    assert_eq!(ledger.end.message.as_deref(), Some("why"));
    assert!(ledger.end.whole);
    check_counters(&ledger, &truth);
    check_sites(&ledger, &truth);
    break_it(&bytes, &mut random);
}

fn check_counters(ledger: &Ledger, truth: &Truth) {
    let counters = ledger.counters;
    assert_eq!(counters.alloc_objects, truth.alloc_objects);
    assert_eq!(counters.alloc_space, truth.alloc_space);
    assert_eq!(counters.reallocs, truth.reallocs);
    assert_eq!(counters.frees, truth.frees);
    assert_eq!(counters.inuse_space, truth.live as i64);
    assert_eq!(counters.inuse_objects, (truth.alloc_objects - truth.frees) as i64);
    assert_eq!((counters.peak_space, counters.peak_error), (truth.peak, 0));
    assert_eq!((counters.failed, counters.threads), (1, 1));
    for (class, &objects) in counters.classes.iter().enumerate() {
        assert_eq!(objects, truth.classes.get(&(class as u32)).copied().unwrap_or(0), "class {class}");
    }
}

/// Nothing is lost between the sites and the counters.
fn check_sites(ledger: &Ledger, truth: &Truth) {
    assert_eq!(ledger.losses.unattributed_objects + ledger.losses.unreadable_sites + ledger.losses.unreadable_bytes, 0);
    let sum =
        |metric: fn(&ledger::SiteValues) -> i64| ledger.sites.iter().map(|site| metric(&site.values)).sum::<i64>();
    assert_eq!(sum(|v| v.alloc_objects as i64), truth.alloc_objects as i64);
    assert_eq!(sum(|v| v.alloc_space as i64), truth.alloc_space as i64);
    assert_eq!(sum(|v| v.reallocs as i64), truth.reallocs as i64);
    assert_eq!(sum(|v| v.frees as i64), truth.frees as i64);
    assert_eq!(sum(|v| v.inuse_space()), truth.live as i64);
    assert_eq!(sum(|v| v.peak_space), truth.peak as i64);
    assert!(ledger.sites.iter().all(|site| site.size == 0 && site.values.peak_space >= 0));
}

fn break_it(bytes: &[u8], random: &mut Random) {
    // Truncated: at every byte of the header and the first chunks, and here and there behind them.
    for len in (0..6000.min(bytes.len())).chain((6000..bytes.len()).step_by(37)) {
        let Ok(Ledger { counters, losses, sites, .. }) = ledger::read(&bytes[..len]) else { continue };
        let sum = |metric: fn(&ledger::SiteValues) -> u64| sites.iter().map(|site| metric(&site.values)).sum::<u64>();
        // What is cut away is the stacks', and so is named; or the counters are gone, and what has no stack is nothing.
        let objects = sum(|values| values.alloc_objects) + losses.unattributed_objects;
        let freed_space = sum(|values| values.freed_space) + losses.unattributed_freed_space;
        assert_eq!((objects, freed_space), (counters.alloc_objects, counters.freed_space), "cut at {len}");
    }
    let mut broken = bytes.to_vec();
    // Flipped: every bit where the structure is, and here and there behind it.
    for at in (0..400).chain(4096..5200).chain((5200..bytes.len()).step_by(211)) {
        for bit in 0..8 {
            broken[at] ^= 1 << bit;
            let _ = ledger::read(&broken);
            broken[at] ^= 1 << bit;
        }
    }
    // Overwritten: words set to what numbers break at.
    for _ in 0..3000 {
        let at = random.below(bytes.len() / 8) * 8;
        let word = [0, 1, 63, 64, u64::MAX, i64::MAX as u64, i64::MIN as u64, bytes.len() as u64][random.below(8)];
        broken[at..at + 8].copy_from_slice(&word.to_ne_bytes());
        let _ = ledger::read(&broken);
        if random.below(8) == 0 {
            broken.copy_from_slice(bytes);
        }
    }
}
